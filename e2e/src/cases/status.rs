//! The status of Registries whose Pods run: it is true for clients, names the cause, and says what to do.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, DynamicObject};
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};

use super::lifecycle::is_ready;
use super::object_storage::store::Store;
use super::ready_registry::ReadyRegistry;
use crate::fixture::{Registry, condition, conditions, told};
use crate::runner::Context;
use crate::wait::{Seen, wait_for};

/// Time limit for a change to be rolled out. Generous, because the machine is busy meanwhile.
const ROLL_LIMIT: Duration = Duration::from_secs(300);

fn is(object: &DynamicObject, kind: &str) -> bool {
    condition(object, kind)["status"] == "True"
}

/// Waits until a Registry is as asked again. It must be Ready all the time.
async fn stays_ready(
    target: &ReadyRegistry<'_>,
    what: &str,
    begun: impl Fn(&DynamicObject) -> bool,
) -> Result<()> {
    let api = target.registry.api(target.context.cluster).await?;
    let mut has_begun = false;
    wait_for(what, ROLL_LIMIT, async || {
        let object = api.get(&target.registry.name).await?;
        if !is(&object, "Ready") {
            return Ok(Seen::Never(anyhow::anyhow!("not Ready: {}", conditions(&object))));
        }
        has_begun |= begun(&object);
        let current = object.data["status"]["observedGeneration"] == json!(object.metadata.generation);
        let as_asked = current && !is(&object, "Reconciling") && !is(&object, "Stalled");
        Ok(match has_begun && as_asked {
            true => Seen::Done(()),
            false => Seen::NotYet(conditions(&object)),
        })
    })
    .await
}

/// A Registry of three replicas is Ready while one Pod is deleted, while a changed log level is rolled out, and while a
/// refused change waits for its author.
pub(super) async fn ready_stays_true_while_clients_are_served(context: &Context<'_>) -> Result<()> {
    let namespace = context.namespace().await?;
    let store = Store::start(context, &namespace).await?;
    let mut registry = Registry::new(context.cluster, &namespace, "manned")
        .with("/storage", store.storage("manned"))
        .with("/replicas", json!(3));
    registry.apply(context.cluster).await?;
    registry.ready(context.cluster).await?;
    let target = ReadyRegistry::of(context, registry).await?;

    let pods: Api<Pod> = Api::namespaced(context.cluster.client().await?, &namespace);
    let victim = target.server_pods().await?.pop().context("no Pod")?.name_any();
    pods.delete(&victim, &DeleteParams::default()).await?;
    stays_ready(&target, "a Pod in the place of the deleted one", |object| {
        is(object, "Reconciling")
    })
    .await?;
    let ready = target
        .server_pods()
        .await?
        .iter()
        .filter(|pod| is_ready(pod))
        .count();
    ensure!(ready == 3, "{ready} Pods are ready");

    let generation = target
        .registry
        .api(context.cluster)
        .await?
        .get("manned")
        .await?
        .metadata
        .generation;
    let louder = target.registry.clone().with("/log", json!({ "level": "Debug" }));
    louder.apply_object(context.cluster).await?;
    stays_ready(&target, "the log level to be rolled out", |object| {
        object.metadata.generation > generation && is(object, "Reconciling")
    })
    .await?;

    let refused = louder.with("/config", json!({ "http": { "secret": "x" } }));
    refused.apply_object(context.cluster).await?;
    let said = refused
        .await_status(context.cluster, "the refusal", |object| {
            Ok(match is(object, "Stalled") {
                true => Seen::Done((is(object, "Ready"), told(object))),
                false => Seen::NotYet(conditions(object)),
            })
        })
        .await?;
    ensure!(said.0, "not Ready although the Pods serve");
    context.note(format!("Ready throughout; the refusal: {}", said.1));
    Ok(())
}

/// Of two Registries with one host, one is reached there. The other one says so, and both name each other.
pub(super) async fn a_host_of_two_registries_is_told_by_both(context: &Context<'_>) -> Result<()> {
    let first = ReadyRegistry::ready(context, "first", |registry| {
        registry.with("/storage", json!({"emptyDir": {}}))
    })
    .await?;
    let host = first
        .registry
        .api(context.cluster)
        .await?
        .get("first")
        .await?
        .data["spec"]["ingress"]["hosts"][0]
        .clone();
    let mut second = Registry::new(context.cluster, &first.registry.namespace, "second")
        .with("/storage", json!({"emptyDir": {}}))
        .with("/ingress/hosts", json!([host]));
    second.apply(context.cluster).await?;
    for (registry, other) in [(&first.registry, "second"), (&second, "first")] {
        let named = format!("Registry `{other}` claims");
        registry
            .await_status(context.cluster, "the other Registry to be named", |object| {
                let text = conditions(object);
                Ok(match text.contains(&named) {
                    true => Seen::Done(()),
                    false => Seen::NotYet(text),
                })
            })
            .await?;
    }
    let failed = |object: &DynamicObject| {
        let endpoints = object.data["status"]["endpoints"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        endpoints
            .iter()
            .any(|endpoint| endpoint["reason"] == "OtherRegistry")
    };
    let clients = [&first.registry, &second];
    wait_for(
        "one of both to be told that another answers",
        ROLL_LIMIT,
        async || {
            let mut seen = Vec::new();
            for registry in clients {
                let object = registry.api(context.cluster).await?.get(&registry.name).await?;
                if failed(&object) {
                    return Ok(Seen::Done(()));
                }
                seen.push(object.data["status"]["endpoints"].to_string());
            }
            Ok(Seen::NotYet(seen.join(" and ")))
        },
    )
    .await
}

/// A mistyped class of the Ingress, and a storage class that does not exist, are named with the way out.
pub(super) async fn mistyped_classes_are_named(context: &Context<'_>) -> Result<()> {
    let namespace = context.namespace().await?;
    let template =
        json!({"persistentVolumeClaim": {"template": {"size": "1Gi", "storageClassName": "fats"}}});
    let rows = [
        ("/ingress/className", json!("ngnix"), "`ngnix`"),
        ("/storage", template, "\"fats\" not found"),
    ];
    for (at, (field, value, words)) in rows.into_iter().enumerate() {
        let mut registry = Registry::new(context.cluster, &namespace, &format!("typo-{at}"));
        if at == 0 {
            registry = registry.with("/storage", json!({"emptyDir": {}}));
        }
        let mut registry = registry.with(field, value);
        registry.apply(context.cluster).await?;
        let said: Value = registry
            .await_status(context.cluster, &format!("the status to say {words}"), |object| {
                let told = told(object);
                let named = told.as_str().is_some_and(|told| told.contains(words));
                Ok(match named {
                    true => Seen::Done(told),
                    false => Seen::NotYet(conditions(object)),
                })
            })
            .await?;
        context.note(said.to_string());
    }
    Ok(())
}
