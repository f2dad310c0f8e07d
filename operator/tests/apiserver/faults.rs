//! Each fault of the API server, faults at random, and an API server that is away: the same objects come out of it, and
//! nothing is made twice.

use std::time::Duration;

use anyhow::{Context as _, Result};
use e2e::sample::Sample;
use http::StatusCode;
use k8s_openapi::api::core::v1::{Secret, Service};
use kube::api::DeleteParams;
use operator_api::Registry;
use serde_json::json;

use crate::cluster::Cluster;
use crate::crash::quiet;
use crate::operator::{Operator, USERS, create, htpasswd, merge, registry, rolling_out, secret};
use crate::relay::{Call, Fault, Relay, Rule, Seed, Verb};
use crate::snapshot::{ApiResources, Snapshot};

/// The seconds for which the API server is away; `cargo xtask soak` takes 600.
const AWAY: &str = "BERTH_API_SERVER_AWAY";

/// Names of Registries that need each kind of child.
pub(crate) const FLEET: [&str; 3] = ["harbour", "pier", "quay"];

/// Makes them, and the users that they name.
pub(crate) async fn fleet(cluster: &Cluster) -> Result<()> {
    create(cluster, &secret("users", &[("htpasswd", USERS)])).await?;
    for name in FLEET {
        let spec = json!({ "auth": htpasswd(), "ingress": { "hosts": [format!("{name}.example")] } });
        create(cluster, &registry(name, spec)).await?;
    }
    Ok(())
}

/// Changes and damage for the operator to follow.
async fn changes(cluster: &Cluster) -> Result<()> {
    merge::<Registry>(cluster, "harbour", json!({ "spec": { "mode": "ReadOnly" } })).await?;
    merge::<Registry>(cluster, "pier", json!({ "spec": { "ingress": null } })).await?;
    let services = cluster.api::<Service>();
    services.delete("quay", &DeleteParams::default()).await?;
    Ok(())
}

/// The objects of a creation and of the changes after it, without faults.
async fn undisturbed(name: &str) -> Result<(ApiResources, [Snapshot; 2])> {
    let cluster = Cluster::with_namespace(name).await?;
    let kinds = ApiResources::of(&cluster).await?;
    let relay = Relay::start(cluster.config().await?).await?;
    let operator = Operator::behind(&cluster, &relay).await?;
    fleet(&cluster).await?;
    quiet(&relay).await?;
    let created = Snapshot::of(&cluster, &kinds).await?;
    changes(&cluster).await?;
    quiet(&relay).await?;
    let changed = Snapshot::of(&cluster, &kinds).await?;
    operator.stop().await?;
    Ok((kinds, [created, changed]))
}

/// A creation and the changes after it, with faults by a rule.
async fn disturbed(
    name: &str,
    (kinds, [created, changed]): &(ApiResources, [Snapshot; 2]),
    rule: impl Fn() -> Rule,
) -> Result<()> {
    let cluster = Cluster::with_namespace(name).await?;
    let relay = Relay::start(cluster.config().await?).await?;
    relay.rule(rule());
    let operator = Operator::behind(&cluster, &relay).await?;
    fleet(&cluster).await?;
    created.reached(&cluster, kinds).await.context("creating")?;
    let made = generated(&cluster).await?;
    relay.rule(rule());
    changes(&cluster).await?;
    changed.reached(&cluster, kinds).await.context("changing")?;
    assert_eq!(generated(&cluster).await?, made, "a secret was made twice");
    operator.stop().await
}

/// The contents that are made once.
async fn generated(cluster: &Cluster) -> Result<Vec<Option<String>>> {
    let mut all = Vec::new();
    for name in FLEET {
        for end in ["http", "ca-key"] {
            let secret = cluster.api::<Secret>().get(&format!("{name}-{end}")).await?;
            all.push(secret.data.map(|data| format!("{data:?}")));
        }
    }
    Ok(all)
}

/// Each third request of the first fifteen. More would all hit one Registry, whose next try is later after each one, up
/// to minutes.
fn often(fault: Fault, hits: fn(&Call) -> bool) -> impl Fn() -> Rule {
    move || {
        let mut seen = 0;
        Box::new(move |call| {
            if !hits(call) {
                return None;
            }
            seen += 1;
            (seen <= 15 && seen % 3 == 0).then_some(fault)
        })
    }
}

fn no_watch(call: &Call) -> bool {
    call.verb != Verb::Watch
}

/// A fault, the requests that it hits, and the namespace of its run.
type Disturbance = (&'static str, Fault, fn(&Call) -> bool);

const DISTURBANCES: [Disturbance; 13] = [
    // Refused requests.
    ("fault-403", Fault::Answer(StatusCode::FORBIDDEN, None), no_watch),
    (
        "fault-409",
        Fault::Answer(StatusCode::CONFLICT, None),
        Call::is_write,
    ),
    // No time now.
    (
        "fault-429",
        Fault::Answer(StatusCode::TOO_MANY_REQUESTS, Some(1)),
        no_watch,
    ),
    (
        "fault-500",
        Fault::Answer(StatusCode::INTERNAL_SERVER_ERROR, None),
        no_watch,
    ),
    // The write is made, and its answer is lost.
    ("fault-lost", Fault::LostAnswer, Call::is_write),
    ("fault-cut", Fault::CutBody, no_watch),
    ("fault-stale", Fault::StaleAnswer, Call::is_read),
    // Watches whose events are merged or lost, that end in the middle, or are refused.
    ("fault-merged", Fault::MergedEvents, is_watch),
    ("fault-410", Fault::LostEvents, is_watch),
    ("fault-cut-watch", Fault::CutBody, is_watch),
    ("fault-410-watch", Fault::Answer(StatusCode::GONE, None), is_watch),
    // Requests that are never answered.
    ("fault-never", Fault::NoAnswer, |call| {
        call.is_write() && call.write <= 12
    }),
    ("fault-never-watch", Fault::NoAnswer, |call| {
        is_watch(call) && call.number < 12
    }),
];

fn is_watch(call: &Call) -> bool {
    call.verb == Verb::Watch
}

/// The runs are side by side, because they mostly wait for time limits.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_fault_delays_and_changes_nothing_in_the_end() -> Result<()> {
    let sample = Sample::of_this_run()?;
    eprintln!("faults: {sample}");
    let expected = undisturbed("fault-none").await?;
    let taken = DISTURBANCES.iter().enumerate().filter(|(at, _)| sample.has(*at));
    let runs = taken.map(|(_, (namespace, fault, hits))| {
        let expected = &expected;
        async move {
            let run = disturbed(namespace, expected, often(*fault, *hits)).await;
            run.with_context(|| format!("{namespace}: {fault:?}"))
        }
    });
    futures_util::future::try_join_all(runs).await.map(drop)
}

#[tokio::test]
async fn faults_at_random_change_nothing_in_the_end() -> Result<()> {
    let (kinds, [created, changed]) = undisturbed("fault-random-none").await?;
    let cluster = Cluster::with_namespace("fault-random").await?;
    let relay = Relay::start(cluster.config().await?).await?;
    let mut rule = Seed::of_this_run().rule(8, Fault::all());
    // An operator whose first request fails ends, and its Pod starts again.
    relay.rule(move |call| rule(call).filter(|_| call.number > 1));
    let operator = Operator::behind(&cluster, &relay).await?;
    fleet(&cluster).await?;
    // The faults go on until so many requests were sent, and then the operator has to recover from the last ones.
    e2e::wait::wait_for(
        "60 requests among faults",
        crate::operator::DEADLINE,
        async || {
            let calls = relay.calls().len();
            Ok(if calls >= 60 {
                e2e::wait::Seen::Done(())
            } else {
                e2e::wait::Seen::NotYet(format!("{calls} requests"))
            })
        },
    )
    .await?;
    relay.no_faults();
    created.reached(&cluster, &kinds).await?;
    changes(&cluster).await?;
    changed.reached(&cluster, &kinds).await?;
    operator.stop().await
}

#[tokio::test]
async fn what_happens_while_the_api_server_is_away_is_made_up_for() -> Result<()> {
    let seconds = std::env::var(AWAY).map_or(Ok(15), |text| text.parse())?;
    let (kinds, [created, changed]) = undisturbed("fault-away-none").await?;
    let cluster = Cluster::with_namespace("fault-away").await?;
    let relay = Relay::start(cluster.config().await?).await?;
    let operator = Operator::behind(&cluster, &relay).await?;
    fleet(&cluster).await?;
    for name in FLEET {
        rolling_out(&cluster, name).await?;
    }
    created.reached(&cluster, &kinds).await?;
    let made = generated(&cluster).await?;
    relay.disconnect();
    changes(&cluster).await?;
    // The time is the input of this test: delays of retries grow with it.
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    relay.connect();
    let back = std::time::Instant::now();
    changed.reached(&cluster, &kinds).await?;
    eprintln!(
        "away for {seconds} s; as asked {:.1} s after it was back",
        back.elapsed().as_secs_f32()
    );
    assert_eq!(generated(&cluster).await?, made, "a secret was made twice");
    operator.stop().await
}
