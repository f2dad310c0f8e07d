//! A Registry of several replicas on a bucket, with the store in the cluster too. Pushes do not fail while replicas
//! come and go.

pub(super) mod pushers;
pub(super) mod store;

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::api::DeleteParams;
use kube::{Api, ResourceExt as _};
use serde_json::json;

use super::lifecycle::is_ready;
use super::ready_registry::{ReadyRegistry, same};
use crate::fixture::{Registry, USER, condition, conditions, told};
use crate::runner::Context;
use crate::wait::{Seen, wait_for};
use pushers::{Pushed, push_during};
use store::Store;

/// The number of replicas behind one Service.
const REPLICAS: usize = 3;
/// Time limit from a change, or a kill, to the wanted number of ready Pods. Generous, because the machine is busy
/// meanwhile.
const ROLL_LIMIT: Duration = Duration::from_secs(300);
/// The folder in the bucket.
const PREFIX: &str = "deck/two";

/// crane, skopeo and docker push new images without a pause while the Deployment is rolled, and again while a Pod is
/// killed. In the first part no client may need a retry; in the second each may make its own retries. Every image
/// then verifies.
pub(super) async fn no_push_fails_while_replicas_come_and_go(context: &Context<'_>) -> Result<()> {
    let namespace = context.namespace().await?;
    let store = Store::start(context, &namespace).await?;
    let mut registry = Registry::new(context.cluster, &namespace, "rolled")
        .with("/storage", store.storage(PREFIX))
        .with("/replicas", json!(REPLICAS));
    registry.apply(context.cluster).await?;
    let status = registry.ready(context.cluster).await?;
    let place = format!("{}/{}/{PREFIX}", store.host(), store::BUCKET);
    same(
        "the place in the status",
        &json!({"backend": "s3", "location": place}),
        &status["storage"],
    )?;
    let target = ReadyRegistry::of(context, registry).await?;
    let clients = context.clients();
    clients.load_first_images().await?;
    clients
        .login(&target.registry.host, USER, &target.registry.password)
        .await?;

    let before = pods(&target).await?;
    same("ready Pods", &REPLICAS, &before.len())?;
    let rolled = push_during(&target, "rolled", 0, roll(&target, &before)).await?;
    let killed = push_during(&target, "killed", 3, kill_one(&target)).await?;

    let all = [rolled.as_slice(), killed.as_slice()].concat();
    for pushed in &all {
        verify(&target, pushed).await?;
    }
    store.holds_nothing_but(PREFIX).await?;
    context.note(format!(
        "{} pushes while {REPLICAS} Pods were replaced, {} while one was killed: none failed, all {} images verify",
        rolled.len(),
        killed.len(),
        all.len()
    ));
    Ok(())
}

/// Keys that the store refuses are rolled out: the replicas that serve go on, and one that is killed meanwhile comes back
/// with the keys that it was started with.
pub(super) async fn a_failed_rollout_leaves_the_replicas_that_serve(context: &Context<'_>) -> Result<()> {
    let namespace = context.namespace().await?;
    let store = Store::start(context, &namespace).await?;
    store.same_keys_as_its_own("papers").await?;
    let mut storage = store.storage(PREFIX);
    storage["s3"]["credentials"]["secret"]["name"] = json!("papers");
    let mut registry = Registry::new(context.cluster, &namespace, "steady")
        .with("/storage", storage)
        .with("/replicas", json!(REPLICAS));
    registry.apply(context.cluster).await?;
    registry.ready(context.cluster).await?;
    let target = ReadyRegistry::of(context, registry).await?;
    let clients = context.clients();
    clients
        .login(&target.registry.host, USER, &target.registry.password)
        .await?;
    store.keys("papers", "somebody", "else").await?;
    wait_for("a Pod with the new keys", ROLL_LIMIT, async || {
        let (all, ready) = (target.server_pods().await?.len(), pods(&target).await?.len());
        Ok(if all > REPLICAS && ready == REPLICAS {
            Seen::Done(())
        } else {
            Seen::NotYet(format!("{ready} of {all} Pods are ready"))
        })
    })
    .await?;
    kill_one(&target).await?;
    let image = target.sample("hold/sample").await?;
    let digest = clients.push(&image).await?;
    same("the image", &digest, &clients.pull(&image).await?)?;
    store.same_keys_as_its_own("papers").await?;
    target.registry.ready(context.cluster).await.map(drop)
}

/// A second Registry on the first one's folder does not serve, and its status names the owner of the folder; the
/// first goes on. In a folder of its own the second serves. Deleted and applied again, the first is still the owner.
pub(super) async fn a_second_registry_on_the_same_folder_is_refused(context: &Context<'_>) -> Result<()> {
    let namespace = context.namespace().await?;
    let store = Store::start(context, &namespace).await?;
    let mut first =
        Registry::new(context.cluster, &namespace, "owner").with("/storage", store.storage(PREFIX));
    first.apply(context.cluster).await?;
    first.ready(context.cluster).await?;
    let target = ReadyRegistry::of(context, first).await?;
    let image = target.sample("hold/sample").await?;
    let digest = context.clients().push(&image).await?;

    let mut second =
        Registry::new(context.cluster, &namespace, "stowaway").with("/storage", store.storage(PREFIX));
    second.apply(context.cluster).await?;
    let owner = format!("`{namespace}/owner`");
    let told = refused(context, &second, &[&owner, "stowaway"]).await?;
    same(
        "the first one's image",
        &digest,
        &context.clients().pull(&image).await?,
    )?;
    let mut third =
        Registry::new(context.cluster, &namespace, "neighbour").with("/storage", store.storage("deck/three"));
    third.apply(context.cluster).await?;
    third.ready(context.cluster).await?;

    let api = target.registry.api(context.cluster).await?;
    api.delete(&target.registry.name, &DeleteParams::foreground())
        .await?;
    wait_for("the first Registry to be gone", ROLL_LIMIT, async || {
        Ok(match api.get_opt(&target.registry.name).await? {
            None => Seen::Done(()),
            Some(object) => Seen::NotYet(conditions(&object)),
        })
    })
    .await?;
    target.registry.apply_object(context.cluster).await?;
    target.registry.ready(context.cluster).await?;
    same(
        "the image after the Registry came back",
        &digest,
        &context.clients().pull(&image).await?,
    )?;
    context.note(told);
    Ok(())
}

/// The status holds the server's own text about a missing bucket, and about keys that the store refuses. A corrected
/// Secret is followed without further action.
pub(super) async fn a_store_that_refuses_is_told_and_followed(context: &Context<'_>) -> Result<()> {
    let namespace = context.namespace().await?;
    let store = Store::start(context, &namespace).await?;
    let mut storage = store.storage(PREFIX);
    storage["s3"]["bucket"] = json!("nowhere");
    let mut lost = Registry::new(context.cluster, &namespace, "lost").with("/storage", storage);
    lost.apply(context.cluster).await?;
    let bucket = refused(context, &lost, &["nowhere"]).await?;

    let mut storage = store.storage(PREFIX);
    storage["s3"]["credentials"]["secret"]["name"] = json!("stranger");
    store.keys("stranger", "somebody", "else").await?;
    let mut stranger = Registry::new(context.cluster, &namespace, "stranger").with("/storage", storage);
    stranger.apply(context.cluster).await?;
    let keys = refused(context, &stranger, &["hold"]).await?;
    ensure!(!keys.contains("else"), "the status holds a key: {keys}");
    store.same_keys_as_its_own("stranger").await?;
    stranger.ready(context.cluster).await?;
    context.note(bucket);
    context.note(keys);
    Ok(())
}

/// Waits until the Registry is not Ready for a reason that contains these texts. Gives the message.
async fn refused(context: &Context<'_>, registry: &Registry, words: &[&str]) -> Result<String> {
    let what = format!("the status of `{}` to say why", registry.name);
    registry
        .await_status(context.cluster, &what, |object| {
            let ready = condition(object, "Ready");
            let message = told(object);
            let message = message.as_str().unwrap_or_default();
            let said = ready["status"] == "False" && words.iter().all(|word| message.contains(word));
            Ok(if said {
                Seen::Done(message.to_owned())
            } else {
                Seen::NotYet(conditions(object))
            })
        })
        .await
}

/// The names of the ready Pods.
async fn pods(target: &ReadyRegistry<'_>) -> Result<BTreeSet<String>> {
    let pods = target.server_pods().await?;
    Ok(pods
        .iter()
        .filter(|pod| is_ready(pod))
        .map(Pod::name_any)
        .collect())
}

/// Changes the configuration and waits until every Pod is replaced.
async fn roll(target: &ReadyRegistry<'_>, before: &BTreeSet<String>) -> Result<()> {
    let changed = target.registry.clone().with("/log", json!({"level": "Debug"}));
    changed.apply_object(target.context.cluster).await?;
    wait_for("every Pod to be a new one", ROLL_LIMIT, async || {
        let now = pods(target).await?;
        Ok(if now.len() == REPLICAS && now.is_disjoint(before) {
            Seen::Done(())
        } else {
            Seen::NotYet(format!("before: {before:?}, now: {now:?}"))
        })
    })
    .await?;
    changed.ready(target.context.cluster).await.map(drop)
}

/// Kills a Pod without a grace period and waits for its replacement.
async fn kill_one(target: &ReadyRegistry<'_>) -> Result<()> {
    let victim = pods(target).await?.pop_first().context("no Pod is ready")?;
    let api: Api<Pod> = Api::namespaced(target.context.cluster.client().await?, &target.registry.namespace);
    let at_once = DeleteParams {
        grace_period_seconds: Some(0),
        ..DeleteParams::default()
    };
    api.delete(&victim, &at_once)
        .await
        .with_context(|| format!("cannot kill Pod `{victim}`"))?;
    wait_for("another Pod in its place", ROLL_LIMIT, async || {
        let now = pods(target).await?;
        Ok(if now.len() == REPLICAS && !now.contains(&victim) {
            Seen::Done(())
        } else {
            Seen::NotYet(format!("killed: {victim}, now: {now:?}"))
        })
    })
    .await
}

/// crane fetches the image and hashes its manifest, configuration and layers.
async fn verify(target: &ReadyRegistry<'_>, pushed: &Pushed) -> Result<()> {
    let by_digest = format!("{}@{}", pushed.repository, pushed.digest);
    let crane = || target.context.clients().crane(&target.ca_file);
    let found = crane().args(["digest", &pushed.reference()]).success().await?;
    ensure!(
        found.trim() == pushed.digest,
        "`{}` was pushed as {} and is {found}",
        pushed.reference(),
        pushed.digest
    );
    crane()
        .args(["validate", "--remote", &by_digest])
        .success()
        .await
        .map(drop)
}
