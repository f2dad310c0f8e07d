//! The life of a Registry as kubectl prints it: born, changed, broken, mended, upgraded, deleted.
//!
//! With `BERTH_UPDATE=1` the transcript is written to `docs/life-of-a-registry.md`. Start at [`told_by_kubectl`].

mod transcript;

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::json;

use super::ready_registry::ReadyRegistry;
use crate::fixture::{Registry, condition, conditions, told};
use crate::images::checkout;
use crate::runner::Context;
use crate::wait::{Seen, wait_for};
use transcript::Transcript;

/// Time for a change to be told. Generous, because the machine may be busy.
const LIMIT: Duration = Duration::from_secs(300);
/// The page.
const PAGE: &str = "docs/life-of-a-registry.md";
/// The name of the Registry.
const NAME: &str = "images";

/// Every step of a Registry's life is seen in what kubectl prints: the status tells a refused change and a missing Secret
/// with the way out while clients are served, and what stays after the deletion.
pub(super) async fn told_by_kubectl(context: &Context<'_>) -> Result<()> {
    let namespace = context.namespace().await?;
    let mut registry = Registry::new(context.cluster, &namespace, NAME);
    registry.apply_users(context.cluster).await?;
    let mut page = Transcript::new(context.cluster, &namespace);

    page.heading("The fields explain themselves");
    let fields = page.run(&["explain", "registry.spec"]).await?;
    ensure!(
        fields.contains("storage") && !fields.contains("<no description>"),
        "explain says\n{fields}"
    );
    page.run(&["explain", "registry.spec.storage.persistentVolumeClaim.template"])
        .await?;

    page.heading("Birth");
    page.apply("registry.yaml", &registry.object()).await?;
    page.run(&["get", "registry", NAME]).await?;
    page.run(&["wait", "--for=condition=Ready", "registry/images", "--timeout=3m"])
        .await?;
    registry.ready(context.cluster).await?;
    page.run(&["get", "registry", NAME]).await?;
    let wide = page.run(&["get", "registry", NAME, "--output=wide"]).await?;
    ensure!(
        wide.contains("Serving"),
        "a Registry that serves is shown as\n{wide}"
    );
    page.run(&["describe", "registry", NAME]).await?;
    let children = "deployments,services,ingresses,persistentvolumeclaims,configmaps,secrets,serviceaccounts";
    page.run(&[
        "get",
        children,
        "--selector=app.kubernetes.io/managed-by=berth-operator",
        "--output=name",
    ])
    .await?;
    let target = ReadyRegistry::of(context, registry.clone()).await?;
    let image = target.sample("life/sample").await?;
    let clients = context.clients();
    clients.push(&image).await?;

    page.heading("A change");
    page.say("Clients are served meanwhile, or for a moment not: the volume of this Registry can be mounted by one Pod at a time.");
    page.patch(NAME, &json!({"log": {"level": "Debug"}})).await?;
    until(&registry, context, "the rollout to be told", |told, _| {
        !told.is_empty()
    })
    .await?;
    page.run(&["get", "registry", NAME, "--output=wide"]).await?;
    registry.ready(context.cluster).await?;
    page.run(&["get", "registry", NAME]).await?;

    page.heading("A mistake in the spec");
    page.say("The registry goes on serving with the configuration it has.");
    page.patch(
        NAME,
        &json!({"config": {"storage": {"filesystem": {"rootdirectory": "/elsewhere"}}}}),
    )
    .await?;
    until(&registry, context, "the refusal", |told, ready| {
        told.contains("rootdirectory") && ready
    })
    .await?;
    page.run(&["get", "registry", NAME, "--output=wide"]).await?;
    page.run(&["describe", "registry", NAME]).await?;
    clients.push(&image).await?;
    page.heading("Mended");
    page.patch(NAME, &json!({"config": null})).await?;
    registry.ready(context.cluster).await?;
    page.run(&["get", "registry", NAME]).await?;

    page.heading("A Secret that disappears");
    page.run(&["delete", "secret", "images-users"]).await?;
    until(&registry, context, "the missing Secret", |told, ready| {
        told.contains("images-users") && ready
    })
    .await?;
    page.run(&["get", "registry", NAME, "--output=wide"]).await?;
    clients.push(&image).await?;
    page.heading("Back again");
    page.say("The same users are applied again.");
    // The password is kept in the pull secret, so the users must be made from it.
    page.silently(&["delete", "secret", "images-login"]).await?;
    registry.apply_users(context.cluster).await?;
    registry.ready(context.cluster).await?;
    page.run(&["get", "registry", NAME]).await?;

    page.heading("Another image");
    let (_, present) = context.cluster.images();
    let next = "berth.test/registry-next:1";
    clients.docker().args(["tag", present, next]).success().await?;
    context.cluster.load_image(next).await?;
    page.patch(
        NAME,
        &json!({"image": {"repository": "berth.test/registry-next", "tag": "1", "pullPolicy": "Never"}}),
    )
    .await?;
    until(&registry, context, "the rollout to be told", |told, _| {
        !told.is_empty()
    })
    .await?;
    page.run(&["get", "registry", NAME, "--output=wide"]).await?;
    registry.ready(context.cluster).await?;
    let wide = page.run(&["get", "registry", NAME, "--output=wide"]).await?;
    ensure!(
        wide.contains("berth.test/registry-next:1"),
        "the next image is shown as\n{wide}"
    );

    page.heading("Events of this life");
    page.run(&["events", "--for=registry/images"]).await?;

    page.heading("Deletion");
    page.run(&["delete", "registry", NAME]).await?;
    wait_for("the Deployment to be gone", LIMIT, async || {
        let left = page
            .look(&["get", "deployments,services,ingresses", "--output=name"])
            .await?;
        Ok(if left.trim().is_empty() {
            Seen::Done(())
        } else {
            Seen::NotYet(left)
        })
    })
    .await?;
    page.say("What holds content, or cannot be made again, stays.");
    let left = page
        .run(&[
            "get",
            children,
            "--selector=app.kubernetes.io/managed-by=berth-operator",
            "--output=name",
        ])
        .await?;
    for kept in [
        "persistentvolumeclaim/images-data",
        "secret/images-ca-key",
        "secret/images-http",
    ] {
        ensure!(left.contains(kept), "after the deletion there are\n{left}");
    }
    clients.docker().args(["rmi", &image]).success().await?;
    if std::env::var_os("BERTH_UPDATE").is_some_and(|value| value == "1") {
        std::fs::write(checkout().join(PAGE), page.page())?;
        context.note(format!("written to {PAGE}"));
    }
    Ok(())
}

/// Waits until the sentence of the status, and whether the Registry is Ready, are as they should be.
async fn until(
    registry: &Registry,
    context: &Context<'_>,
    what: &str,
    is_so: impl Fn(&str, bool) -> bool,
) -> Result<()> {
    let api = registry.api(context.cluster).await?;
    wait_for(what, LIMIT, async || {
        let object = api.get(NAME).await?;
        let ready = condition(&object, "Ready")["status"] == "True";
        let told = told(&object);
        Ok(if is_so(told.as_str().unwrap_or_default(), ready) {
            Seen::Done(())
        } else {
            Seen::NotYet(conditions(&object))
        })
    })
    .await
}
