//! Two operators at once, and somebody who writes the same objects all the time.

use std::time::Duration;

use anyhow::Result;
use futures_util::future::join_all;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Service};
use kube::Api;
use kube::api::{Patch, PatchParams};
use operator_api::Registry;
use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::crash::quiet;
use crate::faults::{FLEET, fleet};
use crate::operator::{Operator, merge};
use crate::relay::Relay;
use crate::snapshot::{ApiResources, Snapshot};

/// How often the other writer writes each object, so that its writes lie between those of a reconcile.
const ROUNDS: usize = 60;
const PAUSE: Duration = Duration::from_millis(40);

async fn changes(cluster: &Cluster) -> Result<()> {
    for name in FLEET {
        let spec = json!({ "spec": { "mode": "ReadOnly", "service": { "type": "NodePort" }, "log": { "level": "Debug" } } });
        merge::<Registry>(cluster, name, spec).await?;
    }
    Ok(())
}

/// Two operators, each through a relay, which tells when both have nothing left to do.
struct Two([(Relay, Operator); 2]);

impl Two {
    async fn start(cluster: &Cluster) -> Result<Self> {
        let one = async || {
            let relay = Relay::start(cluster.config().await?).await?;
            let operator = Operator::behind(cluster, &relay).await?;
            Ok::<_, anyhow::Error>((relay, operator))
        };
        Ok(Self([one().await?, one().await?]))
    }

    async fn quiet(&self) -> Result<()> {
        let [(one, _), (other, _)] = &self.0;
        loop {
            let before = other.writes();
            quiet(one).await?;
            quiet(other).await?;
            if other.writes() == before {
                return Ok(());
            }
        }
    }

    fn writes(&self) -> [usize; 2] {
        [self.0[0].0.writes(), self.0[1].0.writes()]
    }

    async fn stop(self) -> Result<()> {
        let [(_one, first), (_other, second)] = self.0;
        first.stop().await?;
        second.stop().await
    }
}

async fn undisturbed(name: &str) -> Result<(ApiResources, Snapshot)> {
    let cluster = Cluster::with_namespace(name).await?;
    let relay = Relay::start(cluster.config().await?).await?;
    let operator = Operator::behind(&cluster, &relay).await?;
    fleet(&cluster).await?;
    quiet(&relay).await?;
    changes(&cluster).await?;
    quiet(&relay).await?;
    let kinds = ApiResources::of(&cluster).await?;
    let objects = Snapshot::of(&cluster, &kinds).await?;
    operator.stop().await?;
    eprintln!("one operator made {} writes", relay.writes());
    Ok((kinds, objects))
}

#[tokio::test]
async fn two_operators_at_once_make_what_one_makes_and_come_to_rest() -> Result<()> {
    let (kinds, expected) = undisturbed("storms-one").await?;
    let cluster = Cluster::with_namespace("storms-two").await?;
    let two = Two::start(&cluster).await?;
    fleet(&cluster).await?;
    two.quiet().await?;
    changes(&cluster).await?;
    two.quiet().await?;
    expected.reached(&cluster, &kinds).await?;
    eprintln!("two operators made {:?} writes", two.writes());
    two.stop().await
}

#[tokio::test]
async fn somebody_who_writes_the_same_objects_all_the_time_only_delays_the_end() -> Result<()> {
    let (kinds, expected) = undisturbed("storms-calm").await?;
    let cluster = Cluster::with_namespace("storms-storm").await?;
    let two = Two::start(&cluster).await?;
    fleet(&cluster).await?;
    let other = storm(&cluster);
    let ours = async {
        two.quiet().await.ok();
        changes(&cluster).await
    };
    let (_, changed) = tokio::join!(other, ours);
    changed?;
    two.quiet().await?;
    // The annotation of the storm stays on the Registries, where it is a person's.
    for name in FLEET {
        merge::<Registry>(&cluster, name, json!({ "metadata": { "annotations": null } })).await?;
    }
    expected.reached(&cluster, &kinds).await?;
    two.stop().await
}

/// Writes fields of the operator, and each Registry, as fast as it can for a while.
async fn storm(cluster: &Cluster) {
    for round in 0..ROUNDS {
        let label =
            json!({ "metadata": { "labels": { "app.kubernetes.io/part-of": format!("storm-{round}") } } });
        let touched = json!({ "metadata": { "annotations": { "storm.example/round": round.to_string() } } });
        join_all(FLEET.map(async |name| {
            throw(&cluster.api::<Deployment>(), name, &label).await;
            throw(&cluster.api::<Service>(), name, &label).await;
            throw(&cluster.api::<ConfigMap>(), &format!("{name}-ca"), &label).await;
            throw(&cluster.api::<Registry>(), name, &touched).await;
        }))
        .await;
        tokio::time::sleep(PAUSE).await;
    }
}

async fn throw<K>(api: &Api<K>, name: &str, change: &Value)
where
    K: Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    // An object that is not there yet is hit in a later round.
    let _ = api
        .patch(name, &PatchParams::default(), &Patch::Merge(change))
        .await;
}
