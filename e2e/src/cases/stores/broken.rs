//! A store that cannot be used, or not now: what clients, probes and the log are told, and that nothing else happens.
//!
//! Start at [`Site`].

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use futures_util::future::try_join_all;
use reqwest::header::RETRY_AFTER;
use reqwest::{Client, Method, StatusCode, Url};
use serde_json::Value;

use super::verify_blobs;
use crate::cache::Cache;
use crate::loopback::Loopback;
use crate::peers::Kind;
use crate::protocol::{digest, noise};
use crate::relay::{Call, Relay, Trouble};
use crate::runner::Bench;
use crate::server::{Server, Settings, Setup};
use crate::stores::{self, BUCKET};
use crate::wait::{Seen, wait_for};

/// How long readiness may take to follow, and a client to be told. Generous: the machine may be building beside us.
const LIMIT: Duration = Duration::from_secs(120);

/// A repository that has an image, once there is a store.
const NAME: &str = "broken/store";

/// Small layers, and one that is stored in parts.
const LAYERS: [usize; 2] = [100_000, 9_000_000];

/// Nothing in the configuration of the store may be wrong, one thing at a time.
pub(in crate::cases) async fn a_store_that_cannot_be_used(bench: &Bench<'_>) -> Result<()> {
    let store = stores::Setup::new(stores::Kind::S3, bench.dir)?;
    let _running = store.start(&Cache::open()?, |_| ()).await?;
    let s3 = store.s3()?;
    let right = s3.section(store.address(), "registry");
    let other = |from: &str, to: &str| right.replace(from, to);
    let nobody = s3.section("127.0.0.1:1".parse()?, "registry");
    // What is wrong, what the log says of it, what clients and probes are told, and whether waiting may help.
    let rows = [
        (
            "credentials",
            other(&s3.secretkey, "wrong"),
            "refuses the credentials",
            "misconfigured",
            false,
        ),
        (
            "bucket",
            other(BUCKET, "nobody-has-it"),
            "no such bucket",
            "misconfigured",
            false,
        ),
        // Probes ask by HEAD, whose answers have no body that could say more.
        (
            "region",
            other(&s3.region, "eu-test-2"),
            "another region",
            "400 Bad Request",
            false,
        ),
        ("endpoint", nobody, "cannot be reached", "unreachable", true),
    ];
    for (what, section, cause, words, helps) in rows {
        let proved = async {
            let site = Site::start(bench, what, section).await?;
            site.refuses(1, helps).await?;
            site.ready(StatusCode::SERVICE_UNAVAILABLE, &[cause, words])
                .await?;
            let log = std::fs::read_to_string(bench.dir.join(what).join("server.log"))?;
            let store = format!(
                "store=\"s3 {}\"",
                if what == "bucket" { "nobody-has-it" } else { BUCKET }
            );
            let told: Vec<&str> = log
                .lines()
                .filter(|line| line.contains(cause) && line.contains(&store))
                .collect();
            ensure!(told.len() == 1, "{} lines of the log say it:\n{log}", told.len());
            site.answers_without_a_store().await
        };
        proved.await.with_context(|| format!("with a wrong {what}"))?;
    }
    Ok(())
}

/// The store fails for a while, in every way.
pub(in crate::cases) async fn a_store_in_trouble(bench: &Bench<'_>) -> Result<()> {
    let store = stores::Setup::new(stores::Kind::S3, bench.dir)?;
    let _running = store.start(&Cache::open()?, |_| ()).await?;
    let relay = Relay::start(vec![store.address()]).await?;
    let site = Site::start(bench, "server", store.s3()?.section(relay.address(), "registry")).await?;
    let clients = Loopback::new(&bench.dir.join("home"), "").await?;
    let image = format!("{}/{NAME}:1", site.server.address()?);
    clients.push_layers(&image, &LAYERS, 1).await?;
    site.ready(StatusCode::OK, &["ok"]).await?;

    let troubles = [
        (
            Trouble::Answer(500, "InternalError"),
            ["the store failed", "storage failed"],
        ),
        (
            Trouble::Answer(503, "SlowDown"),
            ["the store is overloaded", "storage overloaded"],
        ),
        (Trouble::Refuse, ["cannot be reached", "storage unreachable"]),
    ];
    for (seed, (trouble, words)) in (10..).zip(troubles) {
        let proved = async {
            relay.trouble(trouble);
            site.refuses(seed, true).await?;
            site.ready(StatusCode::SERVICE_UNAVAILABLE, &words).await?;
            site.answers_without_a_store().await?;
            relay.heal();
            site.recovers(seed).await
        };
        proved.await.with_context(|| format!("with {trouble:?}"))?;
    }

    // Pushes wait for as long as a large part may take; a pull does not.
    relay.trouble(Trouble::Hang);
    site.told(
        "a manifest of a store that hangs",
        Method::GET,
        &site.manifest(),
        Bytes::new(),
        true,
    )
    .await?;
    relay.heal();
    site.recovers(20).await?;

    // A body that ends early never looks like a whole one, and what is acknowledged all the same is there.
    relay.trouble(Trouble::Cut);
    site.told(
        "a cut manifest",
        Method::GET,
        &site.manifest(),
        Bytes::new(),
        true,
    )
    .await?;
    let pulled = clients.pull_image(&image).await;
    ensure!(
        pulled.is_err(),
        "an image was pulled from a store that cuts all answers"
    );
    site.push(21).await?;
    relay.heal();
    site.recovers(21).await?;

    // What passes soon is seen by nobody.
    for (seed, call) in (30..).zip([Call::Put, Call::Create, Call::Part, Call::Complete, Call::Head]) {
        for trouble in [
            Trouble::Answer(500, "InternalError"),
            Trouble::Answer(503, "SlowDown"),
        ] {
            relay.trouble_for(call, 1, trouble);
            let pushed = clients.push_layers(&image, &LAYERS, seed).await;
            pushed.with_context(|| format!("one {call} met {trouble:?}"))?;
        }
    }
    relay.heal();
    clients.pull_image(&image).await?;
    let tree = store
        .data()
        .join(BUCKET)
        .join("registry/docker/registry/v2/blobs/sha256");
    let blobs = verify_blobs(&tree)?;
    bench.note(format!("{blobs} blobs are what their names say"));
    Ok(())
}

/// One server on a store that may not work.
struct Site {
    server: Server,
    client: Client,
    /// Where readiness is asked for.
    ready: Url,
}

impl Site {
    async fn start(bench: &Bench<'_>, what: &str, section: String) -> Result<Self> {
        let root = bench.dir.join(what);
        std::fs::create_dir_all(&root)?;
        let program = Kind::Ours.program(&Cache::open()?).await?;
        // Only for its port, which was free a moment ago.
        let debug = Setup::new(&program, Path::new("/"))?.address();
        let settings = Settings {
            storage: Some(section),
            ..Settings::default()
        };
        let setup = Setup::new(&program, &root)?
            .configured(&settings)
            .with("REGISTRY_HEALTH_STORAGEDRIVER_INTERVAL", "1s")
            .with("REGISTRY_HTTP_DEBUG_ADDR", &debug.to_string());
        Ok(Self {
            server: setup.start().await?,
            client: Client::builder().no_proxy().timeout(LIMIT).build()?,
            ready: Url::parse(&format!("http://{debug}/readyz"))?,
        })
    }

    fn manifest(&self) -> String {
        format!("v2/{NAME}/manifests/1")
    }

    /// Everything that needs the store is refused, and told to wait when that helps. Another `seed` is another blob.
    async fn refuses(&self, seed: u64, helps: bool) -> Result<()> {
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
        // At once: each is tried for some time before it is refused.
        let told = asks
            .into_iter()
            .map(async |(what, method, path, body)| self.told(what, method, &path, body, helps).await);
        try_join_all(told).await.map(drop)
    }

    /// One request is refused as the specification and the issue want it.
    async fn told(&self, what: &str, method: Method, path: &str, body: Bytes, helps: bool) -> Result<()> {
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

    /// The process lives.
    async fn answers_without_a_store(&self) -> Result<()> {
        let answer = self.client.get(self.server.base().join("v2/")?).send().await?;
        ensure!(answer.status() == StatusCode::OK, "`/v2/`: {}", answer.status());
        Ok(())
    }

    /// Readiness follows, and says why.
    async fn ready(&self, status: StatusCode, words: &[&str]) -> Result<()> {
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

    /// Pushes a blob by one request; whether it was acknowledged.
    async fn push(&self, seed: u64) -> Result<bool> {
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

    /// With the store back, the same process does what it refused; a blob that was acknowledged is there before.
    async fn recovers(&self, seed: u64) -> Result<()> {
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
