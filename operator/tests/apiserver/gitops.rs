//! Registries as Flux and Argo CD see them, by kstatus itself and by the health script in Argo CD's interpreter.
//!
//! The objects are read from the API server. States that a running operator reaches here are its own; those that need
//! Pods are written into the status as the operator writes them.

use anyhow::Result;
use e2e::resource_health::ResourceHealth;
use k8s_openapi::api::apps::v1::Deployment;
use kube::Api;
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::ApiResource;
use operator_api::Registry;
use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::operator::{Operator, create, htpasswd, merge, object, registry, rolling_out};

/// The objects as they are stored, without what the types leave out.
fn registries(cluster: &Cluster) -> Api<DynamicObject> {
    let resource = ApiResource::erase::<Registry>(&());
    Api::namespaced_with(cluster.client.clone(), &cluster.namespace, &resource)
}

async fn check(
    cluster: &Cluster,
    name: &str,
    what: &str,
    kstatus: &str,
    argo: &str,
) -> Result<ResourceHealth> {
    let object = registries(cluster).get(name).await?;
    let got = ResourceHealth::of(&object).await?;
    assert_eq!(
        (got.kstatus.as_str(), got.argo.as_str()),
        (kstatus, argo),
        "{what}: {got:?}\n{}",
        serde_json::to_string_pretty(&object.data["status"])?
    );
    Ok(got)
}

#[tokio::test]
async fn what_a_running_operator_reports_is_read_right() -> Result<()> {
    let cluster = Cluster::with_namespace("gitops-live").await?;
    create(&cluster, &registry("harbour", json!({}))).await?;
    let fresh = ResourceHealth::of(&registries(&cluster).get("harbour").await?).await?;
    assert_eq!(fresh.argo, "Progressing", "before the first reconcile: {fresh:?}");

    let operator = Operator::start(&cluster);
    rolling_out(&cluster, "harbour").await?;
    let got = check(
        &cluster,
        "harbour",
        "waiting for a volume",
        "InProgress",
        "Progressing",
    )
    .await?;
    assert!(
        !got.kstatus_message.is_empty() && !got.argo_message.is_empty(),
        "{got:?}"
    );

    merge::<Registry>(&cluster, "harbour", json!({ "spec": { "auth": null } }))
        .await
        .expect_err("auth is required");
    let users = json!({ "spec": { "auth": { "anonymous": null, "htpasswd": htpasswd()["htpasswd"] } } });
    merge::<Registry>(&cluster, "harbour", users).await?;
    reason_of(&cluster, "harbour", "SecretNotFound").await?;
    let got = check(
        &cluster,
        "harbour",
        "a missing Secret",
        "InProgress",
        "Progressing",
    )
    .await?;
    assert!(got.argo_message.contains("`users`"), "{got:?}");

    let refused = json!({ "spec": {
        "auth": { "htpasswd": null, "anonymous": { "access": "Pull" } },
        "config": { "storage": { "filesystem": { "rootdirectory": "/elsewhere" } } },
    } });
    merge::<Registry>(&cluster, "harbour", refused).await?;
    reason_of(&cluster, "harbour", "ConfigKeyRefused").await?;
    let got = check(&cluster, "harbour", "a refused spec", "Failed", "Degraded").await?;
    assert!(got.argo_message.contains("rootdirectory"), "{got:?}");

    // A tool that has just applied something must not see the answer to what was there before.
    operator.stop().await?;
    merge::<Registry>(&cluster, "harbour", json!({ "spec": { "config": null } })).await?;
    check(&cluster, "harbour", "a newer spec", "InProgress", "Progressing").await?;

    let stay = json!({ "metadata": { "finalizers": ["somebody.example/stay"] }, "spec": { "paused": true } });
    merge::<Registry>(&cluster, "harbour", stay).await?;
    check(
        &cluster,
        "harbour",
        "paused over a newer spec",
        "InProgress",
        "Suspended",
    )
    .await?;
    registries(&cluster)
        .delete("harbour", &DeleteParams::default())
        .await?;
    check(&cluster, "harbour", "being deleted", "Terminating", "Progressing").await?;
    let go = json!({ "metadata": { "finalizers": null } });
    merge::<Registry>(&cluster, "harbour", go).await?;
    Ok(())
}

#[tokio::test]
async fn a_registry_that_hibernates_or_is_only_paused_is_current() -> Result<()> {
    let cluster = Cluster::with_namespace("gitops-hibernates").await?;
    let _operator = Operator::start(&cluster);
    create(&cluster, &registry("harbour", json!({ "replicas": 0 }))).await?;
    let deployments = cluster.api::<Deployment>();
    let made = object(&cluster, "harbour", "is made", |deployment: &Deployment| {
        Some(deployment.metadata.generation)
    })
    .await?;
    // As the Deployment's controller does it.
    let status = json!({ "status": { "observedGeneration": made } });
    deployments
        .patch_status("harbour", &PatchParams::default(), &Patch::Merge(status))
        .await?;
    reason_of(&cluster, "harbour", "ScaledToZero").await?;
    let got = check(&cluster, "harbour", "hibernating", "Current", "Suspended").await?;
    assert!(got.argo_message.contains("`spec.replicas`"), "{got:?}");

    merge::<Registry>(&cluster, "harbour", json!({ "spec": { "paused": true } })).await?;
    reason_of(&cluster, "harbour", "Paused").await?;
    check(&cluster, "harbour", "only paused", "Current", "Suspended").await?;

    merge::<Registry>(&cluster, "harbour", json!({ "spec": { "mode": "ReadOnly" } })).await?;
    object(&cluster, "harbour", "says what waits", |registry: &Registry| {
        let mut conditions = registry.status.iter().flat_map(|status| &status.conditions);
        conditions
            .any(|condition| condition.message.contains("not applied"))
            .then_some(())
    })
    .await?;
    check(
        &cluster,
        "harbour",
        "changed while paused",
        "InProgress",
        "Suspended",
    )
    .await?;

    let awake = json!({ "spec": { "paused": false, "replicas": 1 } });
    merge::<Registry>(&cluster, "harbour", awake).await?;
    object(&cluster, "harbour", "wakes up", |deployment: &Deployment| {
        (deployment.spec.as_ref()?.replicas == Some(1)).then_some(())
    })
    .await?;
    reason_of(&cluster, "harbour", "VolumePending").await?;
    check(&cluster, "harbour", "waking up", "InProgress", "Progressing").await?;
    Ok(())
}

/// Waits for a condition with that reason, whichever it is.
async fn reason_of(cluster: &Cluster, name: &str, reason: &str) -> Result<()> {
    crate::operator::object(
        cluster,
        name,
        &format!("reason {reason}"),
        |registry: &Registry| {
            let status = registry.status.as_ref()?;
            let current = status.observed_generation == registry.metadata.generation;
            let found = status
                .conditions
                .iter()
                .any(|condition| condition.reason == reason);
            (current && found).then_some(())
        },
    )
    .await
}

/// A status as the operator writes it: Ready, Reconciling and Stalled, and the changes to the least spec.
struct State {
    what: &'static str,
    conditions: [&'static str; 3],
    spec: Value,
    kstatus: &'static str,
    argo: &'static str,
}

fn states() -> Vec<State> {
    let state = |what, conditions, kstatus, argo| State {
        what,
        conditions,
        spec: json!({}),
        kstatus,
        argo,
    };
    let with = |state: State, spec: Value| State { spec, ..state };
    vec![
        state("serving", ["True", "False", "False"], "Current", "Healthy"),
        state(
            "first-rollout",
            ["False", "True", "False"],
            "InProgress",
            "Progressing",
        ),
        state(
            "rollout-while-serving",
            ["True", "True", "False"],
            "InProgress",
            "Progressing",
        ),
        state(
            "refused-while-serving",
            ["True", "False", "True"],
            "Failed",
            "Degraded",
        ),
        state(
            "refused-from-the-start",
            ["False", "False", "True"],
            "Failed",
            "Degraded",
        ),
        state(
            "not-known",
            ["Unknown", "False", "False"],
            "InProgress",
            "Progressing",
        ),
        // Nothing is being done and nobody is served: no tool may call that a success.
        state(
            "lost-its-pods",
            ["False", "False", "False"],
            "InProgress",
            "Degraded",
        ),
        with(
            state("paused", ["True", "False", "False"], "Current", "Suspended"),
            json!({ "paused": true }),
        ),
        with(
            state("hibernating", ["True", "False", "False"], "Current", "Suspended"),
            json!({ "replicas": 0 }),
        ),
        with(
            state(
                "going-to-hibernate",
                ["True", "True", "False"],
                "InProgress",
                "Progressing",
            ),
            json!({ "replicas": 0 }),
        ),
        with(
            state(
                "refused-in-hibernation",
                ["False", "False", "True"],
                "Failed",
                "Degraded",
            ),
            json!({ "replicas": 0 }),
        ),
    ]
}

#[tokio::test]
async fn every_state_of_the_conditions_is_read_right() -> Result<()> {
    let cluster = Cluster::with_namespace("gitops-states").await?;
    for state in states() {
        let object = registry(state.what, state.spec);
        let generation = cluster
            .api::<Registry>()
            .create(&PostParams::default(), &object)
            .await?
            .metadata
            .generation;
        let condition = |kind: &str, status: &str| {
            json!({
                "type": kind, "status": status, "reason": "Told", "message": format!("{kind} is {status}"),
                "observedGeneration": generation, "lastTransitionTime": "2026-01-02T03:04:05Z",
            })
        };
        let [ready, reconciling, stalled] = state.conditions;
        let status = json!({ "status": {
            "observedGeneration": generation,
            "conditions": [
                condition("Ready", ready),
                condition("Reconciling", reconciling),
                condition("Stalled", stalled),
            ],
        } });
        cluster
            .api::<Registry>()
            .patch_status(state.what, &PatchParams::default(), &Patch::Merge(status))
            .await?;
        let got = check(&cluster, state.what, state.what, state.kstatus, state.argo).await?;
        // The sentence that a person sees is that of the condition which decided.
        let told = match state.argo {
            "Degraded" if stalled == "True" => "Stalled is True",
            "Progressing" if reconciling == "True" => "Reconciling is True",
            "Healthy" => "Ready is True",
            _ => "",
        };
        assert!(got.argo_message.contains(told), "{}: {got:?}", state.what);
    }
    Ok(())
}
