//! Each fault of the API server, faults at random, and an API server that is away: the same objects come out of it, and
//! nothing is made twice.

use std::time::Duration;

use anyhow::{Context as _, Result};
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
const FLEET: [&str; 3] = ["harbour", "pier", "quay"];

async fn fleet(cluster: &Cluster) -> Result<()> {
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
async fn disturbed<R>(name: &str, rule: impl Fn() -> R) -> Result<()>
where
    R: FnMut(&Call) -> Option<Fault> + Send + 'static,
{
    let (kinds, [created, changed]) = undisturbed(&format!("{name}-none")).await?;
    let cluster = Cluster::with_namespace(name).await?;
    let relay = Relay::start(cluster.config().await?).await?;
    relay.rule(rule());
    let operator = Operator::behind(&cluster, &relay).await?;
    fleet(&cluster).await?;
    created.reached(&cluster, &kinds).await.context("creating")?;
    let made = generated(&cluster).await?;
    relay.rule(rule());
    changes(&cluster).await?;
    changed.reached(&cluster, &kinds).await.context("changing")?;
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

/// Each third request of the first sixty, which reach into every step of a reconcile. Refusals are fewer: after each
/// one the next try is later, up to minutes.
fn often(fault: Fault, hits: fn(&Call) -> bool) -> impl Fn() -> Rule {
    move || {
        let mut seen = 0;
        Box::new(move |call| {
            if !hits(call) {
                return None;
            }
            seen += 1;
            let last = match fault {
                Fault::Answer(StatusCode::FORBIDDEN, _) => 9,
                _ => 60,
            };
            (seen <= last && seen % 3 == 0).then_some(fault)
        })
    }
}

fn no_watch(call: &Call) -> bool {
    call.verb != Verb::Watch
}

macro_rules! converges {
    ($($name:ident: $namespace:literal, $fault:expr, $hits:expr;)*) => {$(
        #[tokio::test]
        async fn $name() -> Result<()> {
            disturbed($namespace, often($fault, $hits)).await
        }
    )*};
}

converges! {
    refused_requests_hold_up_nothing_for_good:
        "fault-403", Fault::Answer(StatusCode::FORBIDDEN, None), no_watch;
    conflicts_are_tried_again:
        "fault-409", Fault::Answer(StatusCode::CONFLICT, None), Call::is_write;
    requests_that_the_api_server_has_no_time_for_come_later:
        "fault-429", Fault::Answer(StatusCode::TOO_MANY_REQUESTS, Some(1)), no_watch;
    errors_of_the_api_server_pass:
        "fault-500", Fault::Answer(StatusCode::INTERNAL_SERVER_ERROR, None), no_watch;
    a_write_whose_answer_is_lost_is_not_made_twice:
        "fault-lost", Fault::LostAnswer, Call::is_write;
    answers_that_end_in_the_middle_are_no_answers:
        "fault-cut", Fault::CutBody, no_watch;
    old_answers_mislead_only_for_a_moment:
        "fault-stale", Fault::StaleAnswer, Call::is_read;
    events_that_are_merged_are_enough:
        "fault-merged", Fault::MergedEvents, |call| call.verb == Verb::Watch;
    events_that_are_lost_are_made_up_for:
        "fault-410", Fault::LostEvents, |call| call.verb == Verb::Watch;
    watches_that_end_in_the_middle_go_on:
        "fault-cut-watch", Fault::CutBody, |call| call.verb == Verb::Watch;
    watches_that_are_refused_are_tried_again:
        "fault-410-watch", Fault::Answer(StatusCode::GONE, None), |call| call.verb == Verb::Watch;
    writes_that_are_never_answered_block_nothing:
        "fault-never", Fault::NoAnswer, |call| call.is_write() && call.write <= 12;
    a_watch_that_never_answers_is_noticed:
        "fault-never-watch", Fault::NoAnswer, |call| call.verb == Verb::Watch && call.number < 12;
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
