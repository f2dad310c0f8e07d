//! Every answer that names a URL, requested through a proxy.

use std::cell::Cell;

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use reqwest::header::{CONTENT_RANGE, CONTENT_TYPE, HeaderName, LINK, LOCATION};
use reqwest::{Method, Response, Url};
use serde_json::{Value, json};

use super::proxied_server::ProxiedServer;
use crate::protocol::{digest, noise};

/// The media type of an OCI image manifest.
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// Sends every request whose answer names a URL. Each URL must begin with `base`. Gives the number of checked
/// answers.
pub(super) async fn every_answer_names(server: &ProxiedServer<'_>, base: &Url) -> Result<usize> {
    Walk::new(server, base, base.as_str()).go().await
}

/// The same for answers without scheme and host.
pub(super) async fn every_answer_is_relative(server: &ProxiedServer<'_>, base: &Url) -> Result<usize> {
    Walk::new(server, base, base.path()).go().await
}

struct Walk<'a> {
    server: &'a ProxiedServer<'a>,
    base: &'a Url,
    /// The beginning that every `Location` must have.
    expected: &'a str,
    answers: Cell<usize>,
}

impl<'a> Walk<'a> {
    fn new(server: &'a ProxiedServer<'a>, base: &'a Url, expected: &'a str) -> Self {
        let answers = Cell::new(0);
        Self {
            server,
            base,
            expected,
            answers,
        }
    }

    async fn go(&self) -> Result<usize> {
        self.unknown_names().await?;
        let blob = self.uploads().await?;
        self.manifests(&blob).await?;
        for (list, key, count) in [
            ("v2/walk/urls/tags/list?n=1", "tags", 3),
            ("v2/_catalog?n=1", "repositories", 2),
        ] {
            let found = self.pages(list, key).await?;
            ensure!(found.len() >= count, "{list}: only {found:?}");
        }
        Ok(self.answers.get())
    }

    /// The answers to unknown names contain no wrong URL either.
    async fn unknown_names(&self) -> Result<()> {
        for path in ["v2/", "v2/walk/none/tags/list", "v2/walk/none/manifests/1"] {
            self.ask(Method::GET, self.base.join(path)?, &[], Bytes::new())
                .await?;
        }
        Ok(())
    }

    /// Pushes a blob in chunks, in one request and by a mount, and cancels an upload. Gives the blob.
    async fn uploads(&self) -> Result<Bytes> {
        let bytes = noise(31, 300_000);
        let name = digest(&bytes);
        let start = self.base.join("v2/walk/urls/blobs/uploads/")?;
        let uploads = "v2/walk/urls/blobs/uploads/";
        let blob = format!("v2/walk/urls/blobs/{name}");

        let session = self
            .located(Method::POST, start.clone(), 202, uploads, Bytes::new())
            .await?;
        let session = self
            .located(Method::PATCH, session, 202, uploads, bytes.slice(..100_000))
            .await?;
        let wrong = self
            .ask(
                Method::PATCH,
                session.clone(),
                &[(CONTENT_RANGE, "5-9")],
                Bytes::from_static(b"12345"),
            )
            .await?;
        ensure!(
            wrong.status() == 416,
            "a wrong range was answered {}",
            wrong.status()
        );
        let session = self
            .located(Method::GET, session, 204, uploads, Bytes::new())
            .await?;
        let finish = with(session, &[("digest", &name)]);
        self.located(Method::PUT, finish, 201, &blob, bytes.slice(100_000..))
            .await?;

        let single = with(start.clone(), &[("digest", &digest(b"single"))]);
        let place = format!("v2/walk/urls/blobs/{}", digest(b"single"));
        self.located(Method::POST, single, 201, &place, Bytes::from_static(b"single"))
            .await?;
        let other = self.base.join("v2/walk/mounted/blobs/uploads/")?;
        let mount = with(other, &[("mount", &name), ("from", "walk/urls")]);
        self.located(
            Method::POST,
            mount,
            201,
            &format!("v2/walk/mounted/blobs/{name}"),
            Bytes::new(),
        )
        .await?;

        let session = self
            .located(Method::POST, start, 202, uploads, Bytes::new())
            .await?;
        let given_up = self.ask(Method::DELETE, session, &[], Bytes::new()).await?;
        ensure!(
            given_up.status() == 204,
            "an upload given up: {}",
            given_up.status()
        );
        let read = self
            .ask(Method::GET, self.base.join(&blob)?, &[], Bytes::new())
            .await?;
        ensure!(read.bytes().await? == bytes, "the blob read back differs");
        Ok(bytes)
    }

    /// Pushes one manifest under three tags and in another repository, and one that refers to it.
    async fn manifests(&self, blob: &Bytes) -> Result<()> {
        let layer = json!({"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": digest(blob), "size": blob.len()});
        let mut manifest =
            json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": layer, "layers": [layer]});
        let image = Bytes::from(manifest.to_string());
        let place = |bytes: &[u8]| format!("v2/walk/urls/manifests/{}", digest(bytes));
        for tag in ["a", "b", "c"] {
            let url = self.base.join(&format!("v2/walk/urls/manifests/{tag}"))?;
            self.located(Method::PUT, url, 201, &place(&image), image.clone())
                .await?;
        }
        let url = self.base.join("v2/walk/mounted/manifests/a")?;
        let elsewhere = format!("v2/walk/mounted/manifests/{}", digest(&image));
        self.located(Method::PUT, url, 201, &elsewhere, image.clone())
            .await?;
        manifest["subject"] = json!({"mediaType": MANIFEST, "digest": digest(&image), "size": image.len()});
        let referrer = Bytes::from(manifest.to_string());
        let url = self.base.join(&place(&referrer))?;
        self.located(Method::PUT, url, 201, &place(&referrer), referrer.clone())
            .await?;
        let url = self
            .base
            .join(&format!("v2/walk/urls/referrers/{}", digest(&image)))?;
        let list: Value = self
            .ask(Method::GET, url, &[], Bytes::new())
            .await?
            .json()
            .await?;
        ensure!(
            list["manifests"][0]["digest"] == digest(&referrer).as_str(),
            "the referrers are {list}"
        );
        Ok(())
    }

    /// The entries of all pages of a list. Each page is found by the `Link` of the one before.
    async fn pages(&self, first: &str, key: &str) -> Result<Vec<String>> {
        let mut next = Some(self.base.join(first)?);
        let mut found = Vec::new();
        while let Some(url) = next {
            let answer = self.ask(Method::GET, url.clone(), &[], Bytes::new()).await?;
            next = match answer.headers().get(LINK) {
                None => None,
                Some(link) => {
                    let link = link.to_str()?;
                    let target = link
                        .strip_prefix('<')
                        .and_then(|rest| rest.strip_suffix(">; rel=\"next\""))
                        .with_context(|| format!("`Link: {link}`"))?;
                    let next = url.join(target)?;
                    ensure!(
                        next.as_str().starts_with(self.base.as_str()),
                        "{url} leads on to {link}"
                    );
                    Some(next)
                }
            };
            let page: Value = answer.json().await?;
            let names = page[key]
                .as_array()
                .with_context(|| format!("no `{key}` in {page}"))?;
            found.extend(names.iter().filter_map(Value::as_str).map(str::to_owned));
        }
        Ok(found)
    }

    /// Sends a request that must be answered with `status` and a `Location`. Its path must be `path`, or begin with
    /// it for an upload.
    async fn located(&self, method: Method, url: Url, status: u16, path: &str, body: Bytes) -> Result<Url> {
        let asked = format!("{method} {}", url.path());
        let answer = self.ask(method, url, &[], body).await?;
        let location = answer
            .headers()
            .get(LOCATION)
            .map(|value| value.to_str().map(str::to_owned));
        let got = answer.status();
        ensure!(
            got == status,
            "{asked}: expected {status}, got {got}: {}",
            answer.text().await?
        );
        let location = location.with_context(|| format!("{asked}: no `Location`"))??;
        let expected = format!("{}{path}", self.expected);
        let is_right = if path.ends_with('/') {
            location.starts_with(&expected)
        } else {
            location == expected
        };
        ensure!(is_right, "{asked}: expected {expected}, got {location}");
        Ok(self.base.join(&location)?)
    }

    /// Sends a request. The headers of the answer must contain neither the server's own address nor a URL without
    /// TLS.
    async fn ask(
        &self,
        method: Method,
        url: Url,
        headers: &[(HeaderName, &str)],
        body: Bytes,
    ) -> Result<Response> {
        let media_type = if url.path().contains("/manifests/") {
            MANIFEST
        } else {
            "application/octet-stream"
        };
        let mut request = self.server.http.request(method.clone(), url.clone());
        if let Some((user, password)) = self.server.login {
            request = request.basic_auth(user, Some(password));
        }
        if method != Method::GET && method != Method::DELETE {
            request = request.header(CONTENT_TYPE, media_type).body(body);
        }
        for (name, value) in headers {
            request = request.header(name, *value);
        }
        let answer = request
            .send()
            .await
            .with_context(|| format!("{method} {}", url.path()))?;
        for (name, value) in answer.headers() {
            let value = String::from_utf8_lossy(value.as_bytes());
            ensure!(
                !value.contains(&self.server.inner) && !value.contains("http://"),
                "{method} {}: `{name}: {value}`",
                url.path()
            );
        }
        self.answers.set(self.answers.get() + 1);
        Ok(answer)
    }
}

fn with(mut url: Url, pairs: &[(&str, &str)]) -> Url {
    url.query_pairs_mut().extend_pairs(pairs);
    url
}
