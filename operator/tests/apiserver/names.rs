//! Names at the limits of what the API server takes: each Registry gets objects of its own, with valid names.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Secret};
use kube::ResourceExt as _;
use kube::api::ListParams;
use operator::names::Names;
use operator_api::Registry;
use serde_json::json;

use crate::cluster::Cluster;
use crate::operator::{Operator, create, object, registry, rolling_out};

/// Pairs of names that are shortened to the same text: the hashes of the first pair have the same first ten digits, and
/// the second name of the other one is what the first is shortened to.
const ALIKE: [[&str; 2]; 2] = [
    [
        "registry-of-the-harbour-and-of-its-many-piers-0010eccb",
        "registry-of-the-harbour-and-of-its-many-piers-00011e99",
    ],
    ["registry.example.com", "registry-example-com-1752fe171e"],
];

#[tokio::test]
async fn names_of_any_length_and_form_have_objects_of_their_own() -> Result<()> {
    let cluster = Cluster::with_namespace("names-forms").await?;
    let operator = Operator::start(&cluster);
    let label = |length: usize| "n".repeat(length);
    let names = [
        "a".to_owned(),
        label(52),
        label(53),
        label(63),
        label(64),
        label(253),
        format!("{}.{}", "9".repeat(126), "b".repeat(126)),
        // Cut after 41 characters, these two end in dashes and a dot.
        format!("{}---{}", label(40), "x".repeat(30)),
        format!("{}.{}", label(41), "x".repeat(30)),
        "a.b".to_owned(),
        "a-b".to_owned(),
        "a-b.c".to_owned(),
        "0".to_owned(),
        "xn--bcher-kva.example".to_owned(),
    ];
    for name in &names {
        create(
            &cluster,
            &registry(name, json!({ "ingress": { "hosts": ["a.example"] } })),
        )
        .await?;
    }
    for name in &names {
        rolling_out(&cluster, name).await?;
    }
    let deployments = cluster.api::<Deployment>().list(&ListParams::default()).await?;
    let owners: BTreeSet<String> = deployments
        .iter()
        .flat_map(|deployment| deployment.owner_references())
        .map(|owner| owner.name.clone())
        .collect();
    ensure!(
        owners == names.iter().cloned().collect(),
        "each has one Deployment: {owners:?}"
    );
    let claims = cluster
        .api::<PersistentVolumeClaim>()
        .list(&ListParams::default())
        .await?;
    ensure!(claims.items.len() == names.len(), "{} claims", claims.items.len());
    operator.stop().await
}

#[tokio::test]
async fn of_two_registries_whose_names_are_shortened_alike_the_second_takes_nothing_of_the_first()
-> Result<()> {
    for (at, [first, second]) in ALIKE.into_iter().enumerate() {
        assert_eq!(
            Names::of(first).label(),
            Names::of(second).label(),
            "other names have to be found"
        );
        let cluster = Cluster::with_namespace(&format!("names-alike-{at}")).await?;
        second_takes_nothing(&cluster, first, second).await?;
    }
    Ok(())
}

async fn second_takes_nothing(cluster: &Cluster, first: &str, second: &str) -> Result<()> {
    let operator = Operator::start(cluster);
    create(cluster, &registry(first, json!({}))).await?;
    rolling_out(cluster, first).await?;
    let everything = async || -> Result<_> {
        let names = Names::of(first);
        let deployment = cluster.api::<Deployment>().get(&names.deployment()).await?;
        let claim = cluster.api::<PersistentVolumeClaim>().get(&names.claim()).await?;
        let ca = cluster.api::<Secret>().get(&names.ca_key()).await?;
        Ok([deployment.metadata, claim.metadata, ca.metadata].map(|meta| (meta.uid, meta.resource_version)))
    };
    let before = everything().await?;
    create(cluster, &registry(second, json!({}))).await?;
    let told = object(
        cluster,
        second,
        "tells of the names that are taken",
        |found: &Registry| {
            let conditions = &found.status.as_ref()?.conditions;
            let said = conditions
                .iter()
                .find(|condition| condition.message.contains("does not belong to this Registry"))?;
            Some(said.message.clone())
        },
    )
    .await?;
    let claim = Names::of(first).claim();
    ensure!(
        told.contains(&claim) && told.contains("-ca-key"),
        "not all are named: {told}"
    );
    ensure!(
        everything().await? == before,
        "the objects of the first were changed"
    );
    let claims = cluster
        .api::<Registry>()
        .get(second)
        .await?
        .status
        .and_then(|status| status.storage?.claim_name);
    ensure!(
        claims.is_none(),
        "the second says that its content lies in {claims:?}"
    );
    operator.stop().await
}
