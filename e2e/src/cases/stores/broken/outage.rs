//! A store that fails for a while, in every way: what is refused meanwhile, what goes on, and that the server
//! recovers by itself.
//!
//! Start at [`fails_for_a_while`].

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use futures_util::future::try_join_all;
use reqwest::{Method, StatusCode};

use super::server::{NAME, ServerUnderTest};
use crate::cache::Cache;
use crate::cases::stores::verify::{check, verify_blobs};
use crate::host_clients::HostClients;
use crate::protocol::{digest, noise};
use crate::relay::{Fault, Operation, Relay};
use crate::runner::Bench;
use crate::stores::{self, BUCKET};

/// A small layer, and one that is stored in parts.
const LAYERS: [usize; 2] = [100_000, 9_000_000];

/// Stores of all kinds fail for a while, in every way.
pub(in crate::cases) async fn a_store_that_fails_for_a_while(bench: &Bench<'_>) -> Result<()> {
    let kinds = stores::StoreKind::ALL.map(async |kind| {
        let proved = fails_for_a_while(bench, kind).await;
        proved.with_context(|| kind.to_string())
    });
    for note in try_join_all(kinds).await? {
        bench.note(note);
    }
    Ok(())
}

async fn fails_for_a_while(bench: &Bench<'_>, kind: stores::StoreKind) -> Result<String> {
    let root = bench.dir.join(kind.variable());
    let store = stores::StoreSetup::new(kind, &root)?;
    let _running = store.start(&Cache::open()?, |_| ()).await?;
    let clients = HostClients::new(&root.join("home"), "").await?;
    let relayed = Relayed::start(&root, "server", &store).await?;
    clients.push_layers(&relayed.image()?, &LAYERS, 1).await?;

    let overloaded = match kind {
        stores::StoreKind::Azure => Fault::Answer(503, "ServerBusy"),
        stores::StoreKind::Gcs => Fault::Answer(429, "rateLimitExceeded"),
        stores::StoreKind::S3 => Fault::Answer(503, "SlowDown"),
    };
    let faults = [
        (
            "500",
            Fault::Answer(500, "InternalError"),
            "the store failed",
            "storage failed",
        ),
        (
            "slow-down",
            overloaded,
            "the store is overloaded",
            "storage overloaded",
        ),
        (
            "refused",
            Fault::Refuse,
            "cannot be reached",
            "storage unreachable",
        ),
        ("hang", Fault::Hang, "does not answer in time", "no answer within"),
    ];
    // All faults run at once, each with a server of its own, because nearly all of the time is waiting for retries.
    let lasting = (10..)
        .zip(faults)
        .map(async |(seed, (what, fault, cause, words))| {
            let proved = async {
                let Relayed { relay, server } = Relayed::start(&root, what, &store).await?;
                server.ready(StatusCode::OK, &["ok"]).await?;
                relay.fail_all(fault);
                server.refuses(seed, true).await?;
                server
                    .ready(StatusCode::SERVICE_UNAVAILABLE, &[cause, words])
                    .await?;
                server.answers_without_a_store().await?;
                server.logged_once(&store.logged(BUCKET), cause)?;
                relay.heal();
                server.recovers(seed).await
            };
            proved.await.with_context(|| format!("with {fault:?}"))
        });
    tokio::try_join!(
        try_join_all(lasting),
        is_cut(&root, &store, &clients),
        takes_no_writes(&root, &store, &clients, overloaded),
        passes_soon(&relayed, &clients, kind),
    )?;
    clients.pull_image(&relayed.image()?).await?;
    if kind == stores::StoreKind::S3 {
        // From outside the store is a folder.
        let tree = store.data().join(BUCKET);
        verify_blobs(&tree.join("registry/docker/registry/v2/blobs/sha256"))?;
    }
    Ok(format!("{kind}: {}", check(&root.join("server")).await?))
}

/// A body that ends early is never taken for a complete one. Content that is acknowledged nevertheless exists.
async fn is_cut(root: &Path, store: &stores::StoreSetup, clients: &HostClients) -> Result<()> {
    let relayed = Relayed::start(root, "cut", store).await?;
    let (server, relay) = (&relayed.server, &relayed.relay);
    relay.fail_all(Fault::Cut);
    let manifest = server.manifest();
    server
        .told("a cut manifest", Method::GET, &manifest, Bytes::new(), true)
        .await?;
    let pulled = clients.pull_image(&relayed.image()?).await;
    ensure!(
        pulled.is_err(),
        "an image was pulled from a store that cuts all answers"
    );
    server.push(20).await?;
    relay.heal();
    server.recovers(20).await
}

/// A store that answers only reads: pulls go on, pushes are refused.
async fn takes_no_writes(
    root: &Path,
    store: &stores::StoreSetup,
    clients: &HostClients,
    fault: Fault,
) -> Result<()> {
    let relayed = Relayed::start(root, "no-writes", store).await?;
    relayed.relay.fail_next(Operation::WRITES, usize::MAX, fault);
    let blob = noise(21, 5000);
    let path = format!("v2/{NAME}/blobs/uploads/?digest={}", digest(&blob));
    let told = relayed
        .server
        .told("a blob's push", Method::POST, &path, blob, true);
    tokio::try_join!(told, async { clients.pull_image(&relayed.image()?).await })?;
    relayed.relay.heal();
    relayed.server.recovers(21).await
}

/// A fault of a single request is not visible to clients.
async fn passes_soon(relayed: &Relayed, clients: &HostClients, kind: stores::StoreKind) -> Result<()> {
    // The operations in the push of an image: a link and a small layer, a layer in parts, lookups.
    let operations: &[&[Operation]] = match kind {
        stores::StoreKind::Azure => &[
            &[Operation::Put],
            &[Operation::Part],
            &[Operation::Complete],
            &[Operation::Copy],
            &[Operation::Head],
        ],
        // In this store a part is an object of its own.
        stores::StoreKind::Gcs => &[&[Operation::Put], &[Operation::Complete], &[Operation::Head]],
        stores::StoreKind::S3 => &[
            &[Operation::Put],
            &[Operation::Create],
            &[Operation::Part],
            &[Operation::Complete],
            &[Operation::Copy],
            &[Operation::Head],
        ],
    };
    let image = relayed.image()?;
    // Each seed gives another image, because an existing one is not pushed again.
    let mut seeds = 30..;
    for only in operations {
        for (fault, seed) in [
            Fault::Answer(500, "InternalError"),
            Fault::Answer(503, "SlowDown"),
        ]
        .into_iter()
        .zip(&mut seeds)
        {
            relayed.relay.fail_next(only, 1, fault);
            let pushed = clients.push_layers(&image, &LAYERS, seed).await;
            pushed.with_context(|| format!("one {} met {fault:?}", only[0]))?;
            ensure!(
                relayed.relay.faults_left() == Some(0),
                "no {} met {fault:?}",
                only[0]
            );
        }
    }
    relayed.relay.fail_next(&[Operation::Get], 1, Fault::Cut);
    let pulled = clients.pull_image(&image).await;
    pulled.context("one answer was cut")?;
    ensure!(relayed.relay.faults_left() == Some(0), "no answer was cut");
    relayed.relay.heal();
    Ok(())
}

/// A server that reaches its store through a relay that can fail.
struct Relayed {
    relay: Relay,
    server: ServerUnderTest,
}

impl Relayed {
    async fn start(root: &Path, what: &str, store: &stores::StoreSetup) -> Result<Self> {
        let relay = Relay::before(store).await?;
        let section = store.section(relay.address(), "registry")?;
        // With redirects a pull would not go through the relay.
        let section = format!("{section}\n  redirect: {{disable: true}}");
        let server = ServerUnderTest::start(root, what, section).await?;
        Ok(Self { relay, server })
    }

    /// An image that exists after the first push.
    fn image(&self) -> Result<String> {
        Ok(format!("{}/{NAME}:1", self.server.server.address()?))
    }
}
