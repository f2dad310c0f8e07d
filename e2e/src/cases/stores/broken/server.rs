//! A server on a store that may fail, and the requests to it. Start at [`ServerUnderTest`].

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use futures_util::future::try_join_all;
use reqwest::header::RETRY_AFTER;
use reqwest::{Client, Method, StatusCode, Url};
use serde_json::Value;

use crate::cache::Cache;
use crate::peers::ServerKind;
use crate::protocol::{digest, noise};
use crate::server::{Server, ServerSetup, Settings};
use crate::wait::{Seen, wait_for};

/// Time limit for readiness and for answers. Generous, because the machine may be busy.
const LIMIT: Duration = Duration::from_secs(120);

/// A repository that has an image when the store works.
pub(super) const NAME: &str = "broken/store";

/// A server on a store that may fail.
pub(super) struct ServerUnderTest {
    pub(super) server: Server,
    client: Client,
    /// The URL of readiness.
    ready: Url,
    log: PathBuf,
}

impl ServerUnderTest {
    pub(super) async fn start(root: &Path, what: &str, section: String) -> Result<Self> {
        let root = root.join(what);
        std::fs::create_dir_all(&root)?;
        let program = ServerKind::Ours.program(&Cache::open()?).await?;
        // This setup is used only for its port, which was free a moment ago.
        let debug = ServerSetup::new(&program, Path::new("/"))?.address();
        let settings = Settings {
            storage: Some(section),
            ..Settings::default()
        };
        let setup = ServerSetup::new(&program, &root)?
            .configured(&settings)
            .with("REGISTRY_HEALTH_STORAGEDRIVER_INTERVAL", "1s")
            .with("REGISTRY_HEALTH_STORAGEDRIVER_THRESHOLD", "1")
            .with("REGISTRY_HTTP_DEBUG_ADDR", &debug.to_string());
        Ok(Self {
            log: root.join("server.log"),
            server: setup.start().await?,
            client: Client::builder().no_proxy().timeout(LIMIT).build()?,
            ready: Url::parse(&format!("http://{debug}/readyz"))?,
        })
    }

    pub(super) fn manifest(&self) -> String {
        format!("v2/{NAME}/manifests/1")
    }

    /// Every request that needs the store is refused, and the client is told to wait when that helps. Another `seed`
    /// gives another blob.
    pub(super) async fn refuses(&self, seed: u64, helps: bool) -> Result<()> {
        let blob = noise(seed, 5000);
        let known = digest(&blob);
        let manifest = Bytes::from_static(
            br#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}"#,
        );
        let empty = Bytes::new();
        let asks = [
            ("a manifest", Method::GET, self.manifest(), empty.clone()),
            (
                "the tags",
                Method::GET,
                format!("v2/{NAME}/tags/list"),
                empty.clone(),
            ),
            (
                "the catalog",
                Method::GET,
                "v2/_catalog".to_owned(),
                empty.clone(),
            ),
            (
                "a blob's head",
                Method::HEAD,
                format!("v2/{NAME}/blobs/{known}"),
                empty,
            ),
            (
                "a manifest's push",
                Method::PUT,
                format!("v2/{NAME}/manifests/{seed}"),
                manifest,
            ),
            (
                "a blob's push",
                Method::POST,
                format!("v2/{NAME}/blobs/uploads/?digest={known}"),
                blob,
            ),
        ];
        // All requests run at once, because each is retried for some time before it is refused.
        let told = asks
            .into_iter()
            .map(async |(what, method, path, body)| self.told(what, method, &path, body, helps).await);
        try_join_all(told).await.map(drop)
    }

    /// Checks that one request is refused as the specification requires.
    pub(super) async fn told(
        &self,
        what: &str,
        method: Method,
        path: &str,
        body: Bytes,
        helps: bool,
    ) -> Result<()> {
        let head = method == Method::HEAD;
        let request = self
            .client
            .request(method, self.server.base().join(path)?)
            .body(body);
        let request = request.header("content-type", "application/vnd.oci.image.index.v1+json");
        let answer = request
            .send()
            .await
            .with_context(|| format!("{what} was not answered"))?;
        let (status, waits) = (answer.status(), answer.headers().contains_key(RETRY_AFTER));
        let text = answer.text().await?;
        ensure!(
            status == StatusCode::SERVICE_UNAVAILABLE,
            "{what}: {status}\n{text}"
        );
        ensure!(
            waits == helps,
            "{what}: waiting helps: {helps}, `Retry-After` is there: {waits}\n{text}"
        );
        if !head {
            let said: Value = serde_json::from_str(&text).with_context(|| format!("{what}: {text}"))?;
            ensure!(said["errors"][0]["code"] == "UNAVAILABLE", "{what}: {text}");
        }
        Ok(())
    }

    /// Liveness and requests without a store are answered.
    pub(super) async fn answers_without_a_store(&self) -> Result<()> {
        let answer = self.client.get(self.server.base().join("v2/")?).send().await?;
        ensure!(answer.status() == StatusCode::OK, "`/v2/`: {}", answer.status());
        Ok(())
    }

    /// The log names the store and the cause exactly once.
    pub(super) fn logged_once(&self, store: &str, cause: &str) -> Result<()> {
        let log = std::fs::read_to_string(&self.log)?;
        let store = format!("store=\"{store}\"");
        let told = log
            .lines()
            .filter(|line| line.contains(cause) && line.contains(&store));
        let told = told.count();
        ensure!(
            told == 1,
            "{told} lines of the log say {store} and `{cause}`:\n{log}"
        );
        Ok(())
    }

    /// Waits until readiness has this status with one of these texts.
    pub(super) async fn ready(&self, status: StatusCode, words: &[&str]) -> Result<()> {
        wait_for(
            &format!("readiness to be {status} by one of {words:?}"),
            LIMIT,
            async || {
                let answer = self.client.get(self.ready.clone()).send().await?;
                let (now, text) = (answer.status(), answer.text().await?);
                Ok(if now == status && words.iter().any(|word| text.contains(word)) {
                    Seen::Done(())
                } else {
                    Seen::NotYet(format!("{now}: {text}"))
                })
            },
        )
        .await
    }

    /// Pushes a blob in one request. Gives whether it was acknowledged.
    pub(super) async fn push(&self, seed: u64) -> Result<bool> {
        let blob = noise(seed, 5000);
        let path = format!("v2/{NAME}/blobs/uploads/?digest={}", digest(&blob));
        let answer = self
            .client
            .post(self.server.base().join(&path)?)
            .body(blob)
            .send()
            .await?;
        Ok(answer.status() == StatusCode::CREATED)
    }

    /// When the store works again, the same process does what it refused. An acknowledged blob still exists.
    pub(super) async fn recovers(&self, seed: u64) -> Result<()> {
        self.ready(StatusCode::OK, &["ok"]).await?;
        let answer = self
            .client
            .get(self.server.base().join(&self.manifest())?)
            .send()
            .await?;
        ensure!(
            answer.status() == StatusCode::OK,
            "a manifest after that: {}",
            answer.status()
        );
        ensure!(self.push(seed).await?, "a push after that is refused");
        let blob = noise(seed, 5000);
        let read = self.server.repository(NAME).blob(&digest(&blob)).await?;
        ensure!(read == blob, "the blob read back differs");
        Ok(())
    }
}
