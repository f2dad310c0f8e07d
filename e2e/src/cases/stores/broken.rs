//! Stores that cannot be used, for good or for a while: what clients, probes and the log are told, and that nothing
//! else happens.
//!
//! This file has wrong configurations; `outage` has failures that pass, `server` the server that is asked. Start at
//! [`a_store_that_cannot_be_used`].

mod outage;
mod server;

use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context as _, Result};
use futures_util::future::try_join_all;
use reqwest::StatusCode;

use crate::cache::Cache;
use crate::relay::{Fault, Relay};
use crate::runner::Bench;
use crate::stores::{self, Access, BUCKET};
use server::ServerUnderTest;

pub(in crate::cases) use outage::a_store_that_fails_for_a_while;

/// A bucket that no store has.
const NOBODYS: &str = "nobody-has-it";

/// An error in a store's configuration, and how it is reported.
struct Wrong {
    what: &'static str,
    section: String,
    /// The store's name in the log.
    store: String,
    /// The cause in the log.
    cause: &'static str,
    /// The text of readiness, if it is not the cause.
    words: &'static str,
    /// Whether clients are told to wait.
    helps: bool,
}

/// Each part of a store's configuration is wrong in turn.
pub(in crate::cases) async fn a_store_that_cannot_be_used(bench: &Bench<'_>) -> Result<()> {
    let kinds = stores::StoreKind::ALL.map(async |kind| {
        let root = bench.dir.join(kind.variable());
        let store = stores::StoreSetup::new(kind, &root)?;
        let _running = store.start(&Cache::open()?, |_| ()).await?;
        // Google's answers are made by a relay: the emulator checks no token, and does not report a missing bucket.
        let strange = Relay::before(&store).await?;
        strange.fail_all(Fault::Answer(401, "authError"));
        let empty = Relay::before(&store).await?;
        empty.fail_all(Fault::Answer(404, "NoSuchBucket"));
        let rows = wrong(&store, strange.address(), empty.address())?;
        let rows = rows.into_iter().map(async |wrong| {
            let proved = proves(&root, &wrong).await;
            proved.with_context(|| format!("{kind} with a wrong {}", wrong.what))
        });
        try_join_all(rows).await
    });
    // All kinds run at once, because each request is retried for some time before it is refused.
    try_join_all(kinds).await.map(drop)
}

/// All wrong configurations of a store. The relay `strange` refuses all credentials, and `empty` has no bucket.
fn wrong(store: &stores::StoreSetup, strange: SocketAddr, empty: SocketAddr) -> Result<Vec<Wrong>> {
    let right = store.section(store.address(), "registry")?;
    let row = |what, section: String, cause, words, helps| Wrong {
        what,
        store: store.logged(if section.contains(NOBODYS) {
            NOBODYS
        } else {
            BUCKET
        }),
        section,
        cause,
        words,
        helps,
    };
    let nobody = store.section("127.0.0.1:1".parse()?, "registry")?;
    let (stranger, bucket) = match store.access() {
        Access::Azure(azure) => (
            right.replace(&azure.accountkey, "c29tZWJvZHkgZWxzZSdzIGtleQ=="),
            right.replace(BUCKET, NOBODYS),
        ),
        Access::Gcs(_) => (
            store.section(strange, "registry")?,
            store.section(empty, "registry")?,
        ),
        Access::S3(s3) => (
            right.replace(&s3.secretkey, "wrong"),
            right.replace(BUCKET, NOBODYS),
        ),
    };
    let mut rows = vec![
        row(
            "credentials",
            stranger,
            "refuses the credentials",
            "misconfigured",
            false,
        ),
        row("bucket", bucket, "no such bucket", "misconfigured", false),
        row("endpoint", nobody, "cannot be reached", "unreachable", true),
    ];
    if let Access::S3(s3) = store.access() {
        let elsewhere = right.replace(&s3.region, "eu-test-2");
        // Probes use HEAD, whose answers have no body that could say more.
        rows.push(row(
            "region",
            elsewhere,
            "another region",
            "400 Bad Request",
            false,
        ));
    }
    Ok(rows)
}

async fn proves(root: &Path, wrong: &Wrong) -> Result<()> {
    let server = ServerUnderTest::start(root, wrong.what, wrong.section.clone()).await?;
    server.refuses(1, wrong.helps).await?;
    server
        .ready(StatusCode::SERVICE_UNAVAILABLE, &[wrong.cause, wrong.words])
        .await?;
    server.logged_once(&wrong.store, wrong.cause)?;
    server.answers_without_a_store().await
}
