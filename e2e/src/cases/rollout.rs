//! A rollout as clients see it: without a failed push where two Pods can run at once, and with a gap where they cannot.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use kube::api::DynamicObject;
use serde_json::{Value, json};

use super::object_storage::pushers::push_during;
use super::object_storage::store::Store;
use super::ready_registry::ReadyRegistry;
use crate::fixture::{Registry, USER, condition, conditions};
use crate::runner::Context;
use crate::wait::{Seen, wait_for};

/// Time limit for a change to be rolled out. Generous, because the machine is busy meanwhile.
const ROLL_LIMIT: Duration = Duration::from_secs(300);

/// crane, skopeo and docker push without a pause, and without retries, while the image, the configuration, and the TLS of
/// the server and its Ingress are changed one after another.
pub(super) async fn no_push_fails_while_everything_changes(context: &Context<'_>) -> Result<()> {
    let namespace = context.namespace().await?;
    let store = Store::start(context, &namespace).await?;
    let mut registry = Registry::new(context.cluster, &namespace, "changing")
        .with("/storage", store.storage("deck/changing"))
        .with("/replicas", json!(2));
    registry.apply(context.cluster).await?;
    registry.ready(context.cluster).await?;
    let target = ReadyRegistry::of(context, registry).await?;
    let clients = context.clients();
    clients.load_first_images().await?;
    clients
        .login(&target.registry.host, USER, &target.registry.password)
        .await?;

    // The same server under another name, so that nothing but the rollout itself can fail.
    let image = "berth.test/registry-of-tomorrow:1";
    let (_, present) = context.cluster.images();
    clients.docker().args(["tag", present, image]).success().await?;
    context.cluster.load_image(image).await?;
    let changes = [
        (
            "image",
            json!({"image": {"repository": "berth.test/registry-of-tomorrow", "tag": "1", "pullPolicy": "Never"}}),
        ),
        ("log level", json!({"log": {"level": "Debug"}})),
        (
            "TLS of the server",
            json!({"tls": {"selfSigned": null, "disabled": {}}, "ingress": {"tls": {"mode": "Edge"}}}),
        ),
        (
            "TLS of the server, put back",
            json!({"tls": {"disabled": null, "selfSigned": {}}, "ingress": {"tls": null}}),
        ),
    ];
    let mut pushes = 0;
    for (at, (what, change)) in changes.iter().enumerate() {
        let pushed = push_during(&target, &format!("change-{at}"), 0, rolled(&target, change))
            .await
            .with_context(|| format!("while the {what} changed"))?;
        context.note(format!("{what}: {} pushes, none failed", pushed.len()));
        pushes += pushed.len();
    }
    context.note(format!("{pushes} pushes"));
    Ok(())
}

/// With ReadWriteOnce the old Pod ends before the new one starts. How long nobody answers is measured; a push after that
/// succeeds.
pub(super) async fn one_volume_for_one_node_means_a_gap(context: &Context<'_>) -> Result<()> {
    let target = ReadyRegistry::ready(context, "single", |registry| registry).await?;
    let image = target.sample("single/sample").await?;
    let over = Cell::new(false);
    let change = async {
        rolled(&target, &json!({"log": {"level": "Debug"}})).await?;
        over.set(true);
        anyhow::Ok(())
    };
    let ((), longest) = tokio::try_join!(change, longest_gap(&target, &over))?;
    context.clients().push(&image).await?;
    ensure!(
        longest > Duration::ZERO,
        "a server that is replaced by another on one volume never stopped answering"
    );
    context.note(format!("nobody answered for {:.1} s", longest.as_secs_f64()));
    context.clients().docker().args(["rmi", &image]).success().await?;
    Ok(())
}

/// Asks without a pause until the change is over. Gives the longest time without a good answer.
async fn longest_gap(target: &ReadyRegistry<'_>, over: &Cell<bool>) -> Result<Duration> {
    let url = format!("{}v2/", target.url()?);
    let ask = target
        .curl()
        .args(["--fail", "--max-time", "2", "--output", "/dev/null", &url]);
    let (mut longest, mut last) = (Duration::ZERO, Instant::now());
    let mut failing = false;
    while !over.get() || failing {
        failing = !ask.output().await?.status.success();
        if failing {
            longest = longest.max(last.elapsed());
        } else {
            last = Instant::now();
        }
    }
    Ok(longest)
}

/// Changes the spec by a merge patch and waits until every Pod is another one and the Registry is as asked.
async fn rolled(target: &ReadyRegistry<'_>, change: &Value) -> Result<()> {
    let before = pods(target).await?;
    let patch = json!({"spec": change}).to_string();
    let name = &target.registry.name;
    target
        .kubectl()
        .args(["patch", "registry", name, "--type=merge", "--patch", &patch])
        .success()
        .await?;
    let api = target.registry.api(target.context.cluster).await?;
    wait_for("a change to be rolled out", ROLL_LIMIT, async || {
        let object = api.get(name).await?;
        let now = pods(target).await?;
        Ok(
            if is_as_asked(&object)
                && now.is_disjoint(&before)
                && json!(now.len()) == object.data["spec"]["replicas"]
                && is_over(target).await?
            {
                Seen::Done(())
            } else {
                Seen::NotYet(format!(
                    "before: {before:?}, now: {now:?}; {}",
                    conditions(&object)
                ))
            },
        )
    })
    .await
}

/// Whether no Pod is ending, and the Pods answer only what the spec asks for: from TLS to plain HTTP they are replaced twice.
async fn is_over(target: &ReadyRegistry<'_>) -> Result<bool> {
    let name = &target.registry.name;
    let annotation = "jsonpath={.spec.template.metadata.annotations.berth\\.dev/plain-http-and-tls}";
    let moving = target
        .kubectl()
        .args(["get", "deployment", name, "--output", annotation]);
    let selector = format!("--selector=berth.dev/registry={name}");
    let all = target.kubectl().args(["get", "pods", &selector, "--output=name"]);
    let all = all.success().await?.lines().count();
    Ok(moving.success().await?.is_empty() && all == pods(target).await?.len())
}

fn is_as_asked(object: &DynamicObject) -> bool {
    let is = |kind: &str| condition(object, kind)["status"] == "True";
    let current = object.data["status"]["observedGeneration"] == json!(object.metadata.generation);
    current && is("Ready") && !is("Reconciling") && !is("Stalled")
}

/// The names of the Pods.
async fn pods(target: &ReadyRegistry<'_>) -> Result<BTreeSet<String>> {
    Ok(target.server_pods().await?.iter().map(Pod::name_any).collect())
}
