//! Content as people push it, by docker, crane, skopeo and single requests.

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use reqwest::header::CONTENT_TYPE;
use reqwest::{Method, Url};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha512};

use super::shared_store::{SharedStore, host};
use crate::docker_engine::DockerEngine;
use crate::exec::Exec;
use crate::local::BUSYBOX_IMAGE;
use crate::peers::ServerKind;
use crate::protocol::{digest, noise};
use crate::server::Server;

/// The media type of an OCI image manifest.
pub(super) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// Pushes everything that a server of that kind accepts.
pub(super) async fn push_everything(
    store: &SharedStore<'_>,
    kind: ServerKind,
    server: &Server,
    engine: &DockerEngine,
) -> Result<()> {
    let host = host(server)?;
    by_docker(engine, &host).await.context("docker")?;
    by_crane(store, &host).await.context("crane")?;
    by_skopeo(store, &host).await.context("skopeo")?;
    by_hand(store, kind, server).await.context("by hand")
}

/// A push, a push of the same image to a second, nested repository, and a moved tag.
async fn by_docker(engine: &DockerEngine, host: &str) -> Result<()> {
    let docker = async |args: &[&str]| engine.docker().args(args).success().await;
    let names = ["docker/busybox:1", "docker/again/and/again:1", "docker/busybox:2"];
    for name in names {
        let image = format!("{host}/{name}");
        docker(&["tag", BUSYBOX_IMAGE, &image]).await?;
        docker(&["push", &image]).await?;
        docker(&["rmi", &image]).await?;
    }
    let moved = format!("{host}/docker/busybox:2");
    let build = engine
        .docker()
        .env("DOCKER_BUILDKIT", "0")
        .args(["build", "--quiet", "--tag", &moved, "-"]);
    let recipe = format!("FROM {BUSYBOX_IMAGE}\nLABEL moved=yes\n");
    build.stdin(recipe).success().await?;
    docker(&["push", &moved]).await?;
    docker(&["rmi", &moved]).await?;
    Ok(())
}

/// Images of several layers, an index, a moved tag, and a copy to a deep name by mounts.
async fn by_crane(store: &SharedStore<'_>, host: &str) -> Result<()> {
    let clients = &store.clients;
    let image = |tag: &str| format!("{host}/crane/image:{tag}");
    clients.push_image(&image("1"), 3, 300_000, 1).await?;
    clients.push_image(&image("2"), 2, 10_000, 2).await?;
    clients.push_image(&image("2"), 2, 10_000, 3).await?;
    let (one, two, all) = (image("1"), image("2"), image("all"));
    let deep = format!("{host}/crane/a/very/deep/name:all");
    for args in [
        &["index", "append", "-m", &one, "-m", &two, "-t", &all][..],
        &["tag", &one, "other"],
        &["copy", &all, &deep],
    ] {
        clients.crane().args(args).success().await?;
    }
    Ok(())
}

/// Both image formats, an index with all its images, and an image that is deleted.
async fn by_skopeo(store: &SharedStore<'_>, host: &str) -> Result<()> {
    let source = format!("docker://{host}/crane/image:1");
    let index = format!("docker://{host}/crane/image:all");
    for (source, target, options) in [
        (&source, "skopeo/oci:1", &["--format", "oci"][..]),
        (&source, "skopeo/docker:1", &["--format", "v2s2"]),
        (&source, "skopeo/gone:1", &["--format", "oci"]),
        (&index, "skopeo/index:all", &["--all"]),
    ] {
        let target = format!("docker://{host}/{target}");
        skopeo(store, source, &target).args(options).success().await?;
    }
    let delete = store.clients.skopeo().args(["delete", "--tls-verify=false"]);
    delete
        .arg(format!("docker://{host}/skopeo/gone:1"))
        .success()
        .await?;
    Ok(())
}

/// `skopeo copy` between servers without TLS.
pub(super) fn skopeo(store: &SharedStore<'_>, from: &str, to: &str) -> Exec {
    let copy = store.clients.skopeo_copy();
    copy.args(["--src-tls-verify=false", "--dest-tls-verify=false", from, to])
}

/// Content the other clients do not push: chunks, artifacts, referrers, sha512, deletions, unfinished uploads.
async fn by_hand(store: &SharedStore<'_>, kind: ServerKind, server: &Server) -> Result<()> {
    let client = RawClient { store, server };
    let blob = noise(51, 50_000);
    client.chunks("hand/chunks", &blob).await?;
    let image = client.image("hand/chunks", "1", &json!({}), &blob).await?;
    // A manifest without a media type, an artifact, and two manifests that refer to the image, one of them untagged.
    client
        .image("hand/chunks", "untyped", &json!({"mediaType": null}), &blob)
        .await?;
    client
        .image(
            "hand/chunks",
            "artifact",
            &json!({"artifactType": "application/vnd.example.sbom"}),
            &blob,
        )
        .await?;
    let subject = json!({"mediaType": MANIFEST, "digest": digest(&image), "size": image.len()});
    client
        .image("hand/chunks", "signed", &json!({"subject": subject}), &blob)
        .await?;
    let untagged = json!({"subject": subject, "annotations": {"tagged": "no"}});
    client.image("hand/chunks", "", &untagged, &blob).await?;

    // A blob by sha512 too, also in a repository that has nothing else.
    client.blob("hand/sha512", &blob, &sha512(&blob)).await?;
    let name = digest(&blob);
    let mount = format!("hand/mounted/blobs/uploads/?mount={name}&from=hand/chunks");
    client.expect(Method::POST, &mount, "", Bytes::new(), 201).await?;

    // Deletions: a blob, a manifest by its digest, and a tag where the server allows it.
    for text in ["first", "second"] {
        client
            .blob("hand/deleted", text.as_bytes(), &digest(text.as_bytes()))
            .await?;
    }
    let path = format!("hand/deleted/blobs/{}", digest(b"first"));
    client
        .expect(Method::DELETE, &path, "", Bytes::new(), 202)
        .await?;
    let second = Bytes::from_static(b"second");
    client
        .image(
            "hand/deleted",
            "kept",
            &json!({"annotations": {"a": "kept"}}),
            &second,
        )
        .await?;
    let gone = client.image("hand/deleted", "gone", &json!({}), &second).await?;
    let path = format!("hand/deleted/manifests/{}", digest(&gone));
    client
        .expect(Method::DELETE, &path, "", Bytes::new(), 202)
        .await?;
    client
        .image(
            "hand/deleted",
            "untagged",
            &json!({"annotations": {"a": "b"}}),
            &second,
        )
        .await?;
    match kind {
        ServerKind::V2 => {}
        ServerKind::V3 | ServerKind::Ours => {
            client
                .expect(
                    Method::DELETE,
                    "hand/deleted/manifests/untagged",
                    "",
                    Bytes::new(),
                    202,
                )
                .await?;
        }
    }
    // An upload that is cancelled, and one that is never finished.
    let server = client.server;
    server.repository("hand/empty").start().await?;
    let session = server.repository("hand/half").start().await?;
    server.repository("hand/half").append(&session, blob).await?;
    Ok(())
}

/// Pushes an untagged manifest by sha512, which only ours supports. Gives its path.
pub(super) async fn push_sha512_manifest(store: &SharedStore<'_>, server: &Server) -> Result<String> {
    let client = RawClient { store, server };
    let blob = noise(51, 50_000);
    let manifest = manifest(&blob, &json!({"annotations": {"by": "sha512"}}));
    let path = format!("hand/chunks/manifests/{}", sha512(&manifest));
    client.expect(Method::PUT, &path, MANIFEST, manifest, 201).await?;
    Ok(path)
}

/// docker, crane and skopeo pull the content from `server`.
pub(super) async fn pull_everything(
    store: &SharedStore<'_>,
    server: &Server,
    engine: &DockerEngine,
) -> Result<()> {
    let host = host(server)?;
    for name in [
        "docker/busybox:1",
        "docker/busybox:2",
        "docker/again/and/again:1",
        "skopeo/oci:1",
    ] {
        let image = format!("{host}/{name}");
        engine.docker().args(["pull", &image]).success().await?;
        engine.docker().args(["rmi", "--force", &image]).success().await?;
    }
    for name in [
        "crane/image:1",
        "crane/image:2",
        "crane/image:other",
        "crane/a/very/deep/name:all",
        "skopeo/index:all",
    ] {
        let image = format!("{host}/{name}");
        store
            .clients
            .crane()
            .args(["validate", "--remote", &image])
            .success()
            .await?;
    }
    let folder = tempfile::tempdir_in(store.bench.dir)?;
    let copy = skopeo(
        store,
        &format!("docker://{host}/skopeo/index:all"),
        &format!("oci:{}:all", folder.path().display()),
    );
    copy.arg("--all").success().await.map(drop)
}

/// The digest of `bytes`, `sha512:…`.
pub(super) fn sha512(bytes: &[u8]) -> String {
    let hash = Sha512::digest(bytes);
    hash.iter()
        .fold("sha512:".to_owned(), |text, byte| text + &format!("{byte:02x}"))
}

/// An image manifest with one blob as configuration and layer. `changes` adds fields, and null removes one.
pub(super) fn manifest(blob: &[u8], changes: &Value) -> Bytes {
    let layer = json!({"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": digest(blob), "size": blob.len()});
    let mut manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": layer, "layers": [layer]});
    if let (Some(manifest), Some(changes)) = (manifest.as_object_mut(), changes.as_object()) {
        for (name, value) in changes {
            match value {
                Value::Null => manifest.remove(name),
                value => manifest.insert(name.clone(), value.clone()),
            };
        }
    }
    manifest.to_string().into()
}

/// Single requests to one server.
pub(super) struct RawClient<'a> {
    pub(super) store: &'a SharedStore<'a>,
    pub(super) server: &'a Server,
}

impl RawClient<'_> {
    /// Sends a request below `v2/` that must be answered with `status`. Gives the body.
    pub(super) async fn expect(
        &self,
        method: Method,
        path: &str,
        media_type: &str,
        body: Bytes,
        status: u16,
    ) -> Result<Bytes> {
        let url: Url = self.server.base().join(&format!("v2/{path}"))?;
        let mut request = self.store.http.request(method.clone(), url).body(body);
        if !media_type.is_empty() {
            request = request.header(CONTENT_TYPE, media_type);
        }
        let answer = request.send().await?;
        let got = answer.status();
        let body = answer.bytes().await?;
        ensure!(
            got == status,
            "{method} {path}: expected {status}, got {got}: {}",
            String::from_utf8_lossy(&body)
        );
        Ok(body)
    }

    /// Pushes a blob with a POST and one PUT.
    pub(super) async fn blob(&self, repository: &str, bytes: &[u8], name: &str) -> Result<()> {
        let repository = self.server.repository(repository);
        let session = repository.start().await?;
        let session = repository.append(&session, Bytes::copy_from_slice(bytes)).await?;
        repository.finish(&session, name).await
    }

    /// Pushes a blob in three chunks.
    async fn chunks(&self, repository: &str, bytes: &Bytes) -> Result<()> {
        let repository = self.server.repository(repository);
        let mut session = repository.start().await?;
        for cut in [0..1, 1..20_000, 20_000..bytes.len()] {
            session = repository.append(&session, bytes.slice(cut)).await?;
        }
        repository.finish(&session, &digest(bytes)).await
    }

    /// Pushes [`manifest`] under a tag, or by its digest without one.
    pub(super) async fn image(
        &self,
        repository: &str,
        tag: &str,
        changes: &Value,
        blob: &[u8],
    ) -> Result<Bytes> {
        let manifest = manifest(blob, changes);
        let reference = if tag.is_empty() {
            digest(&manifest)
        } else {
            tag.to_owned()
        };
        let path = format!("{repository}/manifests/{reference}");
        self.expect(Method::PUT, &path, MANIFEST, manifest.clone(), 201)
            .await?;
        Ok(manifest)
    }
}
