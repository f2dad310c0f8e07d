//! Tests of the HTTP interface without a socket: requests go in, and statuses, headers and bodies come out, with a real
//! store in a temporary folder.

mod blobs;
mod foreign;
mod general;
mod lists;
mod manifests;
mod uploads;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use registry_oci::Digest;

use super::{App, Body, Options, Peer, Secrets};
use crate::auth::Authenticator;
use crate::registry::{Registry, Settings};
use crate::storage::{Filesystem, FilesystemOptions, Sync};

/// A registry in a temporary folder.
struct Server {
    app: App,
    folder: tempfile::TempDir,
}

/// A server with distribution's defaults, but with deletion on.
fn server() -> Server {
    server_with(Settings::default(), |_| {})
}

fn server_with(settings: Settings, change: impl FnOnce(&mut Options)) -> Server {
    let folder = tempfile::tempdir().unwrap();
    let app = app_in(folder.path(), settings, change);
    Server { app, folder }
}

/// A server on a given folder. A second one on the same folder stands for a restart or another replica.
fn app_in(folder: &Path, settings: Settings, change: impl FnOnce(&mut Options)) -> App {
    let options = FilesystemOptions {
        sync: Sync::Never,
        ..FilesystemOptions::default()
    };
    let driver = Filesystem::new(folder, &options).unwrap();
    let mut options = Options::new(Secrets::new("a shared secret", []));
    options.delete = true;
    change(&mut options);
    App::new(
        Registry::new(Arc::new(driver), settings),
        Authenticator::open(),
        options,
    )
}

/// A response with its whole body.
#[derive(Debug)]
struct Answer {
    status: u16,
    headers: http::HeaderMap,
    body: Bytes,
}

type Headers<'a> = &'a [(&'a str, &'a str)];

impl Server {
    async fn send(&self, method: &str, path: &str, headers: Headers<'_>, body: impl Into<Bytes>) -> Answer {
        send(&self.app, method, path, headers, body).await
    }

    async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], "").await
    }

    /// Pushes a blob in one request.
    async fn push_blob(&self, name: &str, bytes: &[u8]) -> Digest {
        let digest = Digest::sha256(bytes);
        let path = format!("/v2/{name}/blobs/uploads/?digest={digest}");
        self.send("POST", &path, &[], bytes.to_vec()).await.is(201, &[]);
        digest
    }

    /// Pushes an image with one layer under a tag. Returns its digest.
    async fn push_image(&self, name: &str, tag: &str, content: &str) -> Digest {
        let manifest = self.image(name, content, "").await;
        let path = format!("/v2/{name}/manifests/{tag}");
        self.send("PUT", &path, &[("content-type", OCI_MANIFEST)], manifest.clone())
            .await
            .is(201, &[]);
        Digest::sha256(manifest.as_bytes())
    }

    /// Pushes the blobs of an image. Returns its manifest, with `more` fields at its end.
    async fn image(&self, name: &str, content: &str, more: &str) -> String {
        let config = self.push_blob(name, b"{}").await;
        let layer = self.push_blob(name, content.as_bytes()).await;
        let size = content.len();
        format!(
            r#"{{"schemaVersion":2,"mediaType":"{OCI_MANIFEST}","config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{config}","size":2}},"layers":[{{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"{layer}","size":{size}}}]{more}}}"#
        )
    }

    /// The files of the store and their sizes, by their path below the folder.
    fn files(&self) -> BTreeMap<String, u64> {
        let mut found = BTreeMap::new();
        let mut folders = vec![self.folder.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    let name = path
                        .strip_prefix(self.folder.path())
                        .unwrap()
                        .to_str()
                        .unwrap()
                        .to_owned();
                    found.insert(name, path.metadata().unwrap().len());
                }
            }
        }
        found
    }

    /// Sets the modification time of every file to two hours ago.
    fn make_old(&self) {
        let then = std::time::SystemTime::now() - std::time::Duration::from_secs(2 * 3600);
        for path in self.files().keys() {
            let file = std::fs::File::options()
                .write(true)
                .open(self.folder.path().join(path));
            file.unwrap().set_modified(then).unwrap();
        }
    }

    fn blob_path(&self, digest: &Digest) -> PathBuf {
        let hex = digest.hex();
        self.folder.path().join(format!(
            "docker/registry/v2/blobs/sha256/{}/{hex}/data",
            &hex[..2]
        ))
    }
}

const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";

async fn send(app: &App, method: &str, path: &str, headers: Headers<'_>, body: impl Into<Bytes>) -> Answer {
    let body = body.into();
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "registry.test");
    // Real HTTP/1.1 clients send a length with every body.
    if !body.is_empty() {
        request = request.header("content-length", body.len());
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    answer(app, request.body(Full::new(body)).unwrap()).await
}

async fn answer<B>(app: &App, request: Request<B>) -> Answer
where
    B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + std::marker::Sync>>,
{
    let (parts, body) = app.respond(request, Peer::default()).await.into_parts();
    let body: Body = body;
    Answer {
        status: parts.status.as_u16(),
        headers: parts.headers,
        body: body.collect().await.unwrap().to_bytes(),
    }
}

impl Answer {
    /// Checks the status and some headers. The value `-` stands for a header that must be absent.
    #[track_caller]
    fn is(self, status: u16, headers: Headers<'_>) -> Self {
        assert_eq!(
            self.status,
            status,
            "body: {:?}, headers: {:?}",
            self.text(),
            self.headers
        );
        for (name, expected) in headers {
            assert_eq!(
                self.header(name),
                *expected,
                "header {name} of {:?}",
                self.headers
            );
        }
        self
    }

    /// Checks that the response is an error with this code.
    #[track_caller]
    fn refuses(self, status: u16, code: &str) -> Self {
        let answer = self.is(status, &[("content-type", "application/json")]);
        let document: serde_json::Value =
            serde_json::from_slice(&answer.body).expect("an error body is JSON");
        assert_eq!(document["errors"][0]["code"], code, "{document}");
        assert_eq!(answer.header("docker-distribution-api-version"), "registry/2.0");
        answer
    }

    fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("-", |value| value.to_str().unwrap())
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// Path and query of the `Location`.
    fn location(&self) -> String {
        self.header("location")
            .strip_prefix("http://registry.test")
            .expect("an absolute location")
            .to_owned()
    }
}
