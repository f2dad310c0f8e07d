//! Rights that the operator does not have: each holds up what needs it, and the status names it.

use anyhow::Result;
use e2e::wait::{Seen, wait_for};
use k8s_openapi::api::core::v1::{Secret, Service};
use k8s_openapi::api::rbac::v1::ClusterRole;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use operator_api::Registry;
use serde_json::json;

use crate::cluster::Cluster;
use crate::installed::{grant, operator_role};
use crate::operator::{DEADLINE, Operator, create, merge, object, registry, rolling_out};

/// Takes all rights to a resource out of the role.
fn without(role: &ClusterRole, resource: &str) -> ClusterRole {
    let mut role = role.clone();
    for rule in role.rules.iter_mut().flatten() {
        let kept = |name: &String| name != resource;
        rule.resources
            .iter_mut()
            .for_each(|resources| resources.retain(kept));
    }
    let rules = role.rules.iter_mut();
    rules.for_each(|rules| rules.retain(|rule| rule.resources.as_ref().is_some_and(|all| !all.is_empty())));
    role
}

/// Waits until a condition of the Registry says `text`.
async fn says(cluster: &Cluster, text: &str) -> Result<()> {
    object(
        cluster,
        "harbour",
        &format!("a condition with `{text}`"),
        |registry: &Registry| {
            let conditions = &registry.status.as_ref()?.conditions;
            conditions
                .iter()
                .any(|condition| condition.message.contains(text))
                .then_some(())
        },
    )
    .await
}

/// Deletes the Service and waits for another one.
async fn service_comes_back(cluster: &Cluster) -> Result<()> {
    let services = cluster.api::<Service>();
    let before = object(cluster, "harbour", "its UID", |service: &Service| {
        service.metadata.uid.clone()
    })
    .await?;
    services.delete("harbour", &DeleteParams::default()).await?;
    wait_for("another Service", DEADLINE, async || {
        let found = services.get_opt("harbour").await?;
        Ok(
            match found.filter(|service| service.metadata.uid.as_ref() != Some(&before)) {
                Some(_) => Seen::Done(()),
                None => Seen::NotYet("none".to_owned()),
            },
        )
    })
    .await
}

async fn one_missing_right(namespace: &str, resource: &str) -> Result<()> {
    let cluster = Cluster::with_namespace(namespace).await?;
    let role = operator_role(namespace)?;
    grant(&cluster, &without(&role, resource), namespace).await?;
    let _operator = Operator::with_client(&cluster, cluster.impersonating(namespace).await?);
    create(
        &cluster,
        &registry("harbour", json!({ "storage": { "emptyDir": {} } })),
    )
    .await?;
    says(&cluster, &format!("resource \"{resource}\"")).await?;
    says(&cluster, "lusterRole `berth-operator`").await?;
    service_comes_back(&cluster).await?;
    Api::<ClusterRole>::all(cluster.client.clone())
        .patch(namespace, &PatchParams::default(), &Patch::Merge(&role))
        .await?;
    rolling_out(&cluster, "harbour").await.map(drop)
}

#[tokio::test]
async fn without_the_right_to_pods_the_status_names_it_and_the_rest_goes_on() -> Result<()> {
    one_missing_right("rights-pods", "pods").await
}

#[tokio::test]
async fn without_the_right_to_ingresses_the_status_names_it_and_the_rest_goes_on() -> Result<()> {
    one_missing_right("rights-ingresses", "ingresses").await
}

#[tokio::test]
async fn without_the_right_to_endpoints_the_status_names_it_and_the_rest_goes_on() -> Result<()> {
    one_missing_right("rights-endpoints", "endpointslices").await
}

#[tokio::test]
async fn labels_that_somebody_takes_off_are_noticed_at_once() -> Result<()> {
    let cluster = Cluster::with_namespace("rights-labels").await?;
    let _operator = Operator::start(&cluster);
    create(
        &cluster,
        &registry("harbour", json!({ "storage": { "emptyDir": {} } })),
    )
    .await?;
    rolling_out(&cluster, "harbour").await?;
    let labels = object(&cluster, "harbour-http", "its labels", |secret: &Secret| {
        secret.metadata.labels.clone()
    });
    let labels = labels.await?;
    // A merge patch with null takes the member away.
    let off = json!({ "metadata": { "labels": null } });
    merge::<Secret>(&cluster, "harbour-http", off).await?;
    says(
        &cluster,
        "Secret `harbour-http` exists and does not belong to this Registry",
    )
    .await?;
    let on = json!({ "metadata": { "labels": labels } });
    merge::<Secret>(&cluster, "harbour-http", on).await?;
    rolling_out(&cluster, "harbour").await.map(drop)
}
