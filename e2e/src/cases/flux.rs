//! Flux's own controllers apply a Registry. Their source is an artifact in another Registry.

mod controllers;

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use kube::api::DynamicObject;
use serde_json::{Value, json};

use super::ready_registry::{ReadyRegistry, same};
use crate::fixture::{Registry, condition, conditions, told};
use crate::runner::Context;
use crate::wait::{Seen, wait_for};
use controllers::Flux;

/// Time for a change to go from an artifact to a Registry that is as asked.
const LIMIT: Duration = Duration::from_secs(300);

/// A Registry comes from an artifact in another Registry. Flux calls it healthy in the moment in which a push works: not
/// while its users are missing, and not while a change is refused. Taken out of the artifact it is pruned and its volume
/// stays; put back, it serves what was pushed.
pub(super) async fn applied_from_an_artifact(context: &Context<'_>) -> Result<()> {
    let origin = ReadyRegistry::ready(context, "origin", |registry| {
        registry.with("/storage", json!({"emptyDir": {}}))
    })
    .await?;
    let flux = Flux::start(&origin).await?;
    let shown = follows_the_artifact(&flux).await;
    // Their objects have finalizers, without which the namespace could not go.
    let removed = flux.remove().await;
    shown.and(removed)
}

async fn follows_the_artifact(flux: &Flux<'_>) -> Result<()> {
    let context = flux.origin.context;
    let cluster = context.cluster;
    let clients = context.clients();
    let mut registry = Registry::new(cluster, &flux.origin.registry.namespace, "fleet");
    let object = registry.object();

    let first = flux.push(std::slice::from_ref(&object)).await?;
    flux.follow().await?;
    registry
        .await_status(cluster, "the missing users to be named", |object| {
            let named = told(object)
                .as_str()
                .is_some_and(|text| text.contains("fleet-users"));
            Ok(if named {
                Seen::Done(())
            } else {
                Seen::NotYet(conditions(object))
            })
        })
        .await?;
    let waiting = flux.kustomization().await?;
    ensure!(
        condition(&waiting, "Ready")["status"] == "Unknown",
        "while the users are missing Flux says {}",
        conditions(&waiting)
    );
    registry.apply_users(cluster).await?;
    applied(flux, &first).await?;
    let target = ReadyRegistry::of(context, registry.clone()).await?;
    let image = target.sample("flux/sample").await?;
    let digest = clients
        .push(&image)
        .await
        .context("the push right after Flux is ready")?;

    let mut refused = object.clone();
    refused["spec"]["config"] = json!({"storage": {"filesystem": {"rootdirectory": "/elsewhere"}}});
    let second = flux.push(&[refused]).await?;
    let said = failed(flux, &second).await?;
    let sentence = told(&registry.api(cluster).await?.get("fleet").await?);
    ensure!(
        sentence
            .as_str()
            .is_some_and(|text| text.contains("rootdirectory")),
        "the Registry says {sentence}"
    );
    same(
        "the image while a change is refused",
        &digest,
        &clients.push(&image).await?,
    )?;

    let third = flux.push(std::slice::from_ref(&object)).await?;
    applied(flux, &third).await?;
    clients.push(&image).await?;

    let volume = claim(&target).await?;
    let fourth = flux.push(&[]).await?;
    applied(flux, &fourth).await?;
    let left = registry.api(cluster).await?.get_opt("fleet").await?;
    ensure!(
        left.is_none_or(|left| left.metadata.deletion_timestamp.is_some()),
        "Flux did not prune the Registry"
    );
    same("the claim of a pruned Registry", &volume, &claim(&target).await?)?;

    let fifth = flux.push(&[object]).await?;
    applied(flux, &fifth).await?;
    same("the CA", &target.ca, &registry.ca_certificate(cluster).await?)?;
    same("what is pulled", &digest, &clients.pull(&image).await?)?;
    clients.docker().args(["rmi", &image]).success().await?;
    context.note(format!(
        "Flux on a refused change: {said}; the Registry: {sentence}"
    ));
    Ok(())
}

/// Waits until Flux has applied that artifact and calls the result healthy. In that moment the Registry in it, if there is
/// one, must be Ready and as asked.
async fn applied(flux: &Flux<'_>, digest: &str) -> Result<()> {
    let registry = Registry::new(
        flux.origin.context.cluster,
        &flux.origin.registry.namespace,
        "fleet",
    );
    let api = registry.api(flux.origin.context.cluster).await?;
    let what = format!("Flux to have applied {digest}");
    wait_for(&what, LIMIT, async || {
        let kustomization = flux.kustomization().await?;
        let revision = kustomization.data["status"]["lastAppliedRevision"]
            .as_str()
            .unwrap_or_default();
        if !revision.ends_with(digest) || condition(&kustomization, "Ready")["status"] != "True" {
            return Ok(Seen::NotYet(state(flux, &kustomization).await));
        }
        let Some(object) = api.get_opt(&registry.name).await? else {
            return Ok(Seen::Done(()));
        };
        let is = |kind: &str| condition(&object, kind)["status"] == "True";
        let as_asked = is("Ready") && !is("Reconciling") && !is("Stalled");
        Ok(if as_asked || object.metadata.deletion_timestamp.is_some() {
            Seen::Done(())
        } else {
            Seen::Never(anyhow::anyhow!(
                "Flux is ready, and the Registry says {}",
                conditions(&object)
            ))
        })
    })
    .await
}

/// Waits until Flux calls that artifact's result unhealthy, and gives its sentence.
async fn failed(flux: &Flux<'_>, digest: &str) -> Result<String> {
    let what = format!("Flux to call {digest} unhealthy");
    wait_for(&what, LIMIT, async || {
        let kustomization = flux.kustomization().await?;
        let attempted = kustomization.data["status"]["lastAttemptedRevision"]
            .as_str()
            .unwrap_or_default();
        let ready = condition(&kustomization, "Ready");
        let message = ready["message"].as_str().unwrap_or_default();
        let named = message.contains("Registry/") && message.contains("Failed");
        Ok(
            if attempted.ends_with(digest) && ready["reason"] == "HealthCheckFailed" && named {
                Seen::Done(message.to_owned())
            } else {
                Seen::NotYet(state(flux, &kustomization).await)
            },
        )
    })
    .await
}

/// The state of both objects in their own words, for errors.
async fn state(flux: &Flux<'_>, kustomization: &DynamicObject) -> String {
    format!("{}; {}", conditions(kustomization), flux.source_state().await)
}

/// The UID and volume of the Registry's claim.
async fn claim(target: &ReadyRegistry<'_>) -> Result<(Value, Value)> {
    let name = format!("{}-data", target.registry.name);
    let text = target
        .kubectl()
        .args(["get", "pvc", &name, "--output=json"])
        .success()
        .await?;
    let claim: Value = serde_json::from_str(&text)?;
    ensure!(
        claim["metadata"]["deletionTimestamp"].is_null(),
        "the claim is being deleted"
    );
    Ok((
        claim["metadata"]["uid"].clone(),
        claim["spec"]["volumeName"].clone(),
    ))
}
