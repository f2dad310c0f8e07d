//! The operator is stopped at each of its writes, or never hears the answer: the same objects come out of it.
//!
//! Every fifth write is taken, from a random one on; `BERTH_SAMPLE=all` takes all.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use e2e::sample::Sample;
use e2e::wait::{Seen, wait_for};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt as _;
use kube::api::{DeleteParams, ListParams};
use operator_api::Registry;
use serde_json::json;

use crate::cluster::Cluster;
use crate::objects::gone;
use crate::operator::{DEADLINE, Operator, USERS, create, htpasswd, merge, registry, secret};
use crate::relay::{Fault, Relay};
use crate::snapshot::{ApiResources, Snapshot};

/// Runs at the same time.
const AT_ONCE: usize = 3;
/// Without a write for so long, the operator has nothing left to do.
const QUIET: Duration = Duration::from_secs(3);

/// A reason for the operator to write several objects.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Change {
    /// A Registry is created.
    Creation,
    /// Most parts of its spec change, and its Ingress is no longer wanted.
    Spec,
    /// Certificates last for a shorter time, and the HTTP secret is gone.
    Rotation,
    /// It is deleted.
    Deletion,
    /// It is deleted and made again at once.
    Replacement,
}

impl Change {
    async fn make(self, cluster: &Cluster) -> Result<()> {
        match self {
            Self::Creation => {
                create(cluster, &secret("users", &[("htpasswd", USERS)])).await?;
                create(cluster, &harbour()).await?;
            }
            Self::Spec => {
                let spec = json!({
                    "ingress": null,
                    "mode": "ReadOnly",
                    "log": { "level": "Debug" },
                    "service": { "type": "NodePort", "annotations": { "x.example/y": "z" } },
                    "tls": { "selfSigned": { "dnsNames": ["other.example"] } },
                    "pod": { "labels": { "x.example/a": "b" } },
                });
                merge::<Registry>(cluster, "harbour", json!({ "spec": spec })).await?;
            }
            Self::Rotation => {
                let shorter = json!({ "spec": { "tls": { "selfSigned": { "duration": "48h" } } } });
                merge::<Registry>(cluster, "harbour", shorter).await?;
                cluster
                    .api::<Secret>()
                    .delete("harbour-http", &DeleteParams::default())
                    .await?;
            }
            Self::Deletion => delete(cluster).await?,
            Self::Replacement => {
                delete(cluster).await?;
                create(cluster, &harbour()).await?;
            }
        }
        Ok(())
    }
}

/// A Registry with every kind of child.
fn harbour() -> Registry {
    registry(
        "harbour",
        json!({ "auth": htpasswd(), "ingress": { "hosts": ["harbour.example"] } }),
    )
}

async fn delete(cluster: &Cluster) -> Result<()> {
    let registries = cluster.api::<Registry>();
    registries.delete("harbour", &DeleteParams::default()).await?;
    gone::<Registry>(cluster, "harbour").await
}

/// The end of an undisturbed run.
struct Undisturbed {
    objects: Snapshot,
    writes: usize,
}

/// A change in a namespace of its own, with nothing in its way.
async fn undisturbed(change: Change, namespace: &str, kinds: &ApiResources) -> Result<Undisturbed> {
    let cluster = Cluster::with_namespace(namespace).await?;
    if change != Change::Creation {
        let relay = Relay::start(cluster.config().await?).await?;
        let operator = Operator::behind(&cluster, &relay).await?;
        Change::Creation.make(&cluster).await?;
        quiet(&relay).await?;
        operator.stop().await?;
    }
    let relay = Relay::start(cluster.config().await?).await?;
    change.make(&cluster).await?;
    let operator = Operator::behind(&cluster, &relay).await?;
    quiet(&relay).await?;
    operator.stop().await?;
    Ok(Undisturbed {
        objects: Snapshot::of(&cluster, kinds).await?,
        writes: relay.writes(),
    })
}

/// Waits until the operator has looked and writes no more.
pub(crate) async fn quiet(relay: &Relay) -> Result<()> {
    let mut seen = (0, tokio::time::Instant::now());
    wait_for("the operator to write no more", DEADLINE, async || {
        let writes = relay.writes();
        if writes != seen.0 || relay.calls().is_empty() {
            seen = (writes, tokio::time::Instant::now());
        }
        Ok(if seen.1.elapsed() > QUIET {
            Seen::Done(())
        } else {
            Seen::NotYet(format!("{writes} writes"))
        })
    })
    .await
}

/// One write at which something happens.
async fn disturbed(
    change: Change,
    fault: Fault,
    write: usize,
    kinds: &ApiResources,
    [start, end]: [&Snapshot; 2],
) -> Result<bool> {
    let name = format!("crash-{change:?}-{fault:?}-{write}").to_lowercase();
    let cluster = Cluster::with_namespace(&name).await?;
    if change != Change::Creation {
        let operator = Operator::start(&cluster);
        Change::Creation.make(&cluster).await?;
        start.reached(&cluster, kinds).await?;
        operator.stop().await?;
    }
    let relay = Relay::start(cluster.config().await?).await?;
    relay.rule(move |call| (call.write == write).then_some(fault));
    change.make(&cluster).await?;
    let mut operator = Operator::behind(&cluster, &relay).await?;
    let mut happened = true;
    if fault == Fault::Crash {
        // Another order of events may have needed fewer writes.
        happened = tokio::select! {
            () = relay.crashed() => true,
            reached = end.reached(&cluster, kinds) => { reached?; false }
        };
        operator.abort();
        let stored = generated(&cluster).await?;
        operator = Operator::start(&cluster);
        end.reached(&cluster, kinds).await?;
        let now = generated(&cluster).await?;
        for (name, value) in &stored {
            ensure!(now.get(name) == Some(value), "{name} was made twice");
        }
    } else {
        end.reached(&cluster, kinds).await?;
    }
    operator.stop().await?;
    Ok(happened)
}

/// The contents that can be made only once.
async fn generated(cluster: &Cluster) -> Result<BTreeMap<String, Option<BTreeMap<String, ByteString>>>> {
    let secrets = cluster.api::<Secret>().list(&ListParams::default()).await?;
    let once = secrets.into_iter().filter(|secret| {
        ["-http", "-ca-key"]
            .iter()
            .any(|end| secret.name_any().ends_with(end))
    });
    Ok(once.map(|secret| (secret.name_any(), secret.data)).collect())
}

async fn sweep(change: Change) -> Result<()> {
    let sample = Sample::of_this_run()?;
    let name = format!("crash-{change:?}").to_lowercase();
    let cluster = Cluster::with_namespace(&name).await?;
    let kinds = ApiResources::of(&cluster).await?;
    let (start, end) = (format!("{name}-start"), format!("{name}-end"));
    let start = undisturbed(Change::Creation, &start, &kinds)
        .await
        .context("creating")?;
    let end = match change {
        Change::Creation => None,
        _ => Some(undisturbed(change, &end, &kinds).await.context("changing")?),
    };
    let end = end.as_ref().unwrap_or(&start);
    let moments = (1..=end.writes)
        .filter(|write| sample.has(*write))
        .flat_map(|write| [(Fault::Crash, write), (Fault::LostAnswer, write)]);
    let snapshots = [&start.objects, &end.objects];
    let happened: Vec<bool> = stream::iter(moments)
        .map(async |(fault, write)| {
            let ran = disturbed(change, fault, write, &kinds, snapshots).await;
            ran.with_context(|| format!("{fault:?} at write {write} of {}", end.writes))
        })
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await?;
    eprintln!(
        "{change:?}: {} writes, {} of {} faults happened (sample {sample}): {:?}",
        end.writes,
        happened.iter().filter(|happened| **happened).count(),
        happened.len(),
        end.objects.names(),
    );
    Ok(())
}

#[tokio::test]
async fn an_operator_that_dies_at_any_write_of_a_creation_leaves_nothing_half_done() -> Result<()> {
    sweep(Change::Creation).await
}

#[tokio::test]
async fn an_operator_that_dies_at_any_write_of_a_change_leaves_nothing_half_done() -> Result<()> {
    sweep(Change::Spec).await
}

#[tokio::test]
async fn an_operator_that_dies_at_any_write_of_a_rotation_leaves_nothing_half_done() -> Result<()> {
    sweep(Change::Rotation).await
}

#[tokio::test]
async fn a_registry_that_is_deleted_needs_no_write_of_the_operator() -> Result<()> {
    let cluster = Cluster::with_namespace("crash-deletion").await?;
    let kinds = ApiResources::of(&cluster).await?;
    let deleted = undisturbed(Change::Deletion, "crash-deletion-none", &kinds).await?;
    assert_eq!(
        deleted.writes, 0,
        "an operator can die at these: sweep them as those of other changes"
    );
    Ok(())
}

#[tokio::test]
async fn an_operator_that_dies_while_a_registry_is_replaced_leaves_nothing_half_done() -> Result<()> {
    sweep(Change::Replacement).await
}
