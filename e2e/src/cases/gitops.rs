//! Flux and Argo CD on a Registry that people use: healthy exactly when a push works.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::ready_registry::ReadyRegistry;
use crate::resource_health::ResourceHealth;
use crate::runner::Context;
use crate::wait::{Seen, wait_for};

/// Time for a change to be seen in the status.
const LIMIT: Duration = Duration::from_secs(120);

/// A Registry that serves is Current and Healthy; a refused change is told while pushes go on; paused and scaled to zero it
/// is Suspended; mended it is healthy again.
pub(super) async fn healthy_exactly_when_a_push_works(context: &Context<'_>) -> Result<()> {
    let target = ReadyRegistry::ready(context, "gitops", |registry| registry).await?;
    let clients = context.clients();
    let image = target.sample("gitops/sample").await?;
    becomes(&target, "Current", "Healthy").await?;
    clients.push(&image).await?;

    let refused = json!({"storage": {"filesystem": {"rootdirectory": "/elsewhere"}}});
    change(&target, json!({"config": refused})).await?;
    let told = becomes(&target, "Failed", "Degraded").await?;
    ensure!(
        told.argo_message.contains("rootdirectory") && told.kstatus_message == told.argo_message,
        "a refused key is told as {told:?}"
    );
    clients.push(&image).await?;

    change(&target, json!({"config": null})).await?;
    becomes(&target, "Current", "Healthy").await?;
    clients.push(&image).await?;

    change(&target, json!({"paused": true})).await?;
    becomes(&target, "Current", "Suspended").await?;
    clients.push(&image).await?;

    change(&target, json!({"paused": null, "replicas": 0})).await?;
    becomes(&target, "Current", "Suspended").await?;
    // The Pod ends after its running requests; then nobody answers.
    let ask = target.curl().arg("--fail").arg(format!("{}v2/", target.url()?));
    wait_for("a Registry without Pods", LIMIT, async || {
        let answer = ask.output().await?;
        Ok(if answer.status.success() {
            Seen::NotYet("it still answers".to_owned())
        } else {
            Seen::Done(())
        })
    })
    .await?;

    change(&target, json!({"replicas": 1})).await?;
    becomes(&target, "Current", "Healthy").await?;
    clients.push(&image).await?;
    clients.docker().args(["rmi", &image]).success().await?;
    Ok(())
}

async fn change(target: &ReadyRegistry<'_>, spec: Value) -> Result<()> {
    let patch = json!({"spec": spec}).to_string();
    target
        .kubectl()
        .args([
            "patch",
            "registry",
            &target.registry.name,
            "--type=merge",
            "--patch",
            &patch,
        ])
        .success()
        .await
        .map(drop)
}

async fn becomes(target: &ReadyRegistry<'_>, kstatus: &str, argo: &str) -> Result<ResourceHealth> {
    until(target, &format!("{kstatus} and {argo}"), |health| {
        health.kstatus == kstatus && health.argo == argo
    })
    .await
}

async fn until(
    target: &ReadyRegistry<'_>,
    what: &str,
    is_so: impl Fn(&ResourceHealth) -> bool,
) -> Result<ResourceHealth> {
    let api = target.registry.api(target.context.cluster).await?;
    wait_for(&format!("a Registry that is {what}"), LIMIT, async || {
        let object = api.get(&target.registry.name).await?;
        let health = ResourceHealth::of(&object).await?;
        Ok(if is_so(&health) {
            Seen::Done(health)
        } else {
            Seen::NotYet(format!("{health:?}, status {}", object.data["status"]))
        })
    })
    .await
}
