//! Nothing is written while nothing changes, over a longer time and with many Registries.
//!
//! An ordinary run has 20 Registries and looks for a minute; `BERTH_QUIET=1000/600` has 1,000 and looks for 600 seconds,
//! which `cargo xtask soak` does.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use e2e::audit::Marker;
use e2e::wait::{Seen, wait_for};
use kube::Api;
use kube::api::ListParams;
use operator_api::Registry;
use serde_json::json;

use crate::cluster::Cluster;
use crate::crash::quiet;
use crate::operator::{Operator, USERS, create, htpasswd, registry, secret};
use crate::relay::Relay;

/// Registries and seconds, with a slash between them.
const VARIABLE: &str = "BERTH_QUIET";
/// For the first look at 1,000 Registries.
const DEADLINE: Duration = Duration::from_secs(1200);

fn extent() -> Result<(usize, u64)> {
    let text = std::env::var(VARIABLE).unwrap_or_else(|_| "20/60".to_owned());
    let (registries, seconds) = text
        .split_once('/')
        .with_context(|| format!("`{VARIABLE}` is `{text}`: something like `1000/600` is expected"))?;
    Ok((registries.parse()?, seconds.parse()?))
}

/// Waits until each Registry has a status for its present generation.
async fn all_reported(cluster: &Cluster, wanted: usize) -> Result<()> {
    let api: Api<Registry> = cluster.api();
    wait_for("a status of each Registry", DEADLINE, async || {
        let list = api.list(&ListParams::default()).await?;
        let current = list.iter().filter(|registry| {
            let seen = registry
                .status
                .as_ref()
                .and_then(|status| status.observed_generation);
            seen.is_some() && seen == registry.metadata.generation
        });
        let count = current.count();
        Ok(if count == wanted {
            Seen::Done(())
        } else {
            Seen::NotYet(format!("{count} of {wanted}"))
        })
    })
    .await
}

/// The writes of the operator in the namespace while `seconds` go by.
async fn writes_within(cluster: &Cluster, seconds: u64) -> Result<Vec<String>> {
    let start = Marker::now(&cluster.server.audit_log())?;
    // The time is the input of this test.
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    let place = format!("/namespaces/{}/", cluster.namespace);
    Ok(start
        .requests()?
        .into_iter()
        .filter(|request| request.is_write() && request.uri.contains(&place))
        .filter(|request| !request.uri.contains("/leases/"))
        .map(|request| format!("{} {}", request.verb, request.uri))
        .collect())
}

async fn stays_quiet(namespace: &str, registries: usize, seconds: u64) -> Result<()> {
    let cluster = Cluster::with_namespace(namespace).await?;
    let relay = Relay::start(cluster.config().await?).await?;
    let operator = Operator::behind(&cluster, &relay).await?;
    create(&cluster, &secret("users", &[("htpasswd", USERS)])).await?;
    let start = Instant::now();
    for number in 0..registries {
        let spec = json!({ "auth": htpasswd(), "ingress": { "hosts": [format!("r{number}.example")] } });
        create(&cluster, &registry(&format!("r{number}"), spec)).await?;
    }
    all_reported(&cluster, registries).await?;
    quiet(&relay).await?;
    let (calls, writes) = (relay.calls().len(), relay.writes());
    eprintln!(
        "{registries} Registries: {:.1} s, {calls} requests, {writes} of them writes",
        start.elapsed().as_secs_f32()
    );
    assert_eq!(
        writes_within(&cluster, seconds).await?,
        Vec::<String>::new(),
        "after a creation"
    );
    operator.stop().await?;

    // A relay of its own, so that its first requests are those of the restart.
    let before = Marker::now(&cluster.server.audit_log())?;
    let relay = Relay::start(cluster.config().await?).await?;
    let operator = Operator::behind(&cluster, &relay).await?;
    quiet(&relay).await?;
    let after_restart = before
        .requests()?
        .into_iter()
        .filter(|request| request.is_write() && request.uri.contains(&format!("/namespaces/{namespace}/")));
    let after_restart: Vec<_> = after_restart
        .filter(|request| !request.uri.contains("/leases/"))
        .map(|request| format!("{} {}", request.verb, request.uri))
        .collect();
    assert_eq!(after_restart, Vec::<String>::new(), "after a restart");
    eprintln!(
        "{registries} Registries: {} requests after a restart",
        relay.calls().len()
    );
    operator.stop().await
}

#[tokio::test]
async fn one_registry_causes_no_write_while_nothing_changes() -> Result<()> {
    let (_, seconds) = extent()?;
    stays_quiet("still-one", 1, seconds).await
}

#[tokio::test]
async fn many_registries_cause_no_write_while_nothing_changes() -> Result<()> {
    let (registries, seconds) = extent()?;
    stays_quiet("still-many", registries, seconds).await
}
