//! The definition is removed and comes back, and the namespace goes: nothing is stuck, and nothing is left that should
//! not be.

use anyhow::{Context as _, Result, ensure};
use e2e::wait::{Seen, wait_for};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DeleteParams, ObjectMeta, PostParams};
use kube::{Api, Resource as _};
use operator_api::Registry;
use serde_json::json;

use crate::cluster::{self, Cluster};
use crate::objects;
use crate::operator::{DEADLINE, Operator, USERS, create, htpasswd, object, registry, rolling_out, secret};
use crate::snapshot::{ApiResources, Snapshot};

/// The controllers that delete.
const DELETING: [&str; 2] = ["garbage-collector-controller", "namespace-controller"];

async fn harbour(cluster: &Cluster) -> Result<()> {
    create(cluster, &secret("users", &[("htpasswd", USERS)])).await?;
    let spec = json!({ "auth": htpasswd(), "ingress": { "hosts": ["harbour.example"] } });
    create(cluster, &registry("harbour", spec)).await?;
    rolling_out(cluster, "harbour").await?;
    Ok(())
}

/// Waits until an object without a namespace is gone.
async fn gone<K>(cluster: &Cluster, name: &str) -> Result<()>
where
    K: kube::Resource<DynamicType = (), Scope = kube::core::ClusterResourceScope>
        + Clone
        + std::fmt::Debug
        + serde::Serialize
        + serde::de::DeserializeOwned,
{
    let api: Api<K> = Api::all(cluster.client.clone());
    api.delete(name, &DeleteParams::default()).await?;
    wait_for(
        &format!("{} `{name}` to go", K::kind(&())),
        DEADLINE,
        async || {
            Ok(match api.get_opt(name).await? {
                None => Seen::Done(()),
                Some(left) => Seen::NotYet(serde_json::to_string(&left)?),
            })
        },
    )
    .await
}

/// Waits until the garbage collector deletes with Registries. It looks for new kinds every half minute, and objects whose
/// owner's kind it never knew stay.
async fn the_collector_knows_registries(cluster: &Cluster) -> Result<()> {
    let owner = create(cluster, &registry("pilot", json!({ "paused": true }))).await?;
    let owned = ConfigMap {
        metadata: ObjectMeta {
            name: Some("pilot-owned".to_owned()),
            owner_references: owner.owner_ref(&()).map(|owner| vec![owner]),
            ..Default::default()
        },
        ..Default::default()
    };
    create(cluster, &owned).await?;
    let registries = cluster.api::<Registry>();
    registries.delete("pilot", &DeleteParams::default()).await?;
    objects::gone::<ConfigMap>(cluster, "pilot-owned").await
}

#[tokio::test]
async fn a_definition_that_is_removed_and_comes_back_leaves_nothing_stuck() -> Result<()> {
    let cluster = Cluster::of_its_own("removed-definition", &DELETING).await?;
    let operator = Operator::start(&cluster);
    harbour(&cluster).await?;
    let kinds = ApiResources::of(&cluster).await?;
    let before = Snapshot::of(&cluster, &kinds).await?;
    let once = async || {
        cluster
            .api::<Secret>()
            .get("harbour-ca-key")
            .await
            .map(|secret| secret.data)
    };
    let made = once().await?;
    the_collector_knows_registries(&cluster).await?;

    gone::<CustomResourceDefinition>(&cluster, "registries.berth.dev").await?;
    wait_for("the children to go", DEADLINE, async || {
        Ok(match cluster.api::<Deployment>().get_opt("harbour").await? {
            None => Seen::Done(()),
            Some(left) => Seen::NotYet(format!("{:?}", left.metadata.owner_references)),
        })
    })
    .await?;
    ensure!(once().await? == made, "the CA went with the definition");

    cluster::install(&cluster.client, &operator_api::crd()).await?;
    let spec = json!({ "auth": htpasswd(), "ingress": { "hosts": ["harbour.example"] } });
    let again = create(&cluster, &registry("harbour", spec)).await?;
    rolling_out(&cluster, "harbour").await?;
    before.reached(&cluster, &kinds).await?;
    ensure!(once().await? == made, "the CA was made twice");
    object(
        &cluster,
        "harbour",
        "belongs to the new Registry",
        |found: &Deployment| {
            let owner = found.metadata.owner_references.as_ref()?.first()?;
            (Some(&owner.uid) == again.metadata.uid.as_ref()).then_some(())
        },
    )
    .await?;
    operator.stop().await
}

/// A namespace is deleted while the operator runs or not, and made again under the same name.
async fn namespace_goes(name: &str, with_operator: bool) -> Result<()> {
    let cluster = Cluster::of_its_own(name, &DELETING).await?;
    let first = Operator::start(&cluster);
    harbour(&cluster).await?;
    let kinds = ApiResources::of(&cluster).await?;
    let before = Snapshot::of(&cluster, &kinds).await?;
    let running = match with_operator {
        true => Some(first),
        false => first.stop().await.map(|()| None)?,
    };
    // No kubelet and no claim controller tell that the claim is used by nobody.
    let free = json!({ "metadata": { "finalizers": null } });
    crate::operator::merge::<k8s_openapi::api::core::v1::PersistentVolumeClaim>(
        &cluster,
        "harbour-data",
        free,
    )
    .await?;
    gone::<Namespace>(&cluster, name)
        .await
        .context("the namespace is stuck")?;

    let again = Namespace {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            ..Default::default()
        },
        ..Default::default()
    };
    let namespaces: Api<Namespace> = Api::all(cluster.client.clone());
    namespaces.create(&PostParams::default(), &again).await?;
    let empty = Snapshot::of(&cluster, &kinds).await?;
    ensure!(empty.names().is_empty(), "left behind: {:?}", empty.names());
    let operator = running.unwrap_or_else(|| Operator::start(&cluster));
    harbour(&cluster).await?;
    before.reached(&cluster, &kinds).await?;
    operator.stop().await
}

#[tokio::test]
async fn a_namespace_that_is_deleted_under_the_operator_goes_and_can_be_made_again() -> Result<()> {
    namespace_goes("removed-namespace-up", true).await
}

#[tokio::test]
async fn a_namespace_that_is_deleted_without_the_operator_goes_and_can_be_made_again() -> Result<()> {
    namespace_goes("removed-namespace-down", false).await
}
