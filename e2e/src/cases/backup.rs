//! Backup and restore of a Registry by Kubernetes' own means, as `docs/backup.md` says.

mod snapshots;

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use kube::api::DeleteParams;
use serde_json::{Value, json};

use super::ready_registry::{ReadyRegistry, same};
use crate::fixture::{Registry, conditions};
use crate::protocol::{digest, noise};
use crate::runner::Context;
use crate::wait::{Seen, wait_for};
use snapshots::{CLASS, Snapshots};

const MIB: usize = 1024 * 1024;
/// Time for objects to come and to go.
const LIMIT: Duration = Duration::from_secs(180);

/// A claim is snapshotted, its CA key and HTTP secret are saved. Registry, claim and Secrets are deleted. From the snapshot
/// and the saved Secrets comes a Registry that serves what was pushed, under the same CA, and goes on with an upload that was
/// begun before: once with a claim that the Registry names, and once with a claim in the place of the lost one.
pub(super) async fn restored_from_a_snapshot(context: &Context<'_>) -> Result<()> {
    let namespace = context.namespace().await?;
    let snapshots = Snapshots::start(context, &namespace).await?;
    let shown = saved_and_restored(context, &namespace, &snapshots).await;
    // Volumes cannot go without the driver.
    let removed = snapshots.remove().await;
    shown.and(removed)
}

async fn saved_and_restored(context: &Context<'_>, namespace: &str, snapshots: &Snapshots<'_>) -> Result<()> {
    let template = json!({"persistentVolumeClaim": {"template": {"size": "1Gi", "storageClassName": CLASS}}});
    let mut registry = Registry::new(context.cluster, namespace, "vault").with("/storage", template);
    registry.apply(context.cluster).await?;
    registry.ready(context.cluster).await?;
    let target = ReadyRegistry::of(context, registry).await?;
    let image = target.sample("vault/sample").await?;
    let pushed = context.clients().push(&image).await?;
    let bytes = noise(31, 2 * MIB);
    let repository = target.repository("vault/blob")?;
    let session = repository
        .append(&repository.start().await?, bytes.slice(..MIB))
        .await?;

    let secrets = saved_secrets(&target).await?;
    snapshots.take("before", "vault-data").await?;
    let labels = json!({"app.kubernetes.io/managed-by": "berth-operator", "berth.dev/registry": "vault"});
    let named = target.registry.clone().with(
        "/storage",
        json!({"persistentVolumeClaim": {"claimName": "vault-restored"}}),
    );
    for (claim, labels, back) in [
        ("vault-restored", json!({}), &named),
        ("vault-data", labels, &target.registry),
    ] {
        lose_everything(&target).await?;
        let apply = target.kubectl().args(["apply", "--filename=-"]);
        apply.stdin(secrets.to_string()).success().await?;
        snapshots.restore("before", claim, labels).await?;
        back.apply_object(context.cluster).await?;
        back.ready(context.cluster).await?;

        same("the CA", &target.ca, &back.ca_certificate(context.cluster).await?)?;
        same("what is pulled", &pushed, &context.clients().pull(&image).await?)?;
        let name = digest(&bytes);
        let session = repository.append(&session, bytes.slice(MIB..)).await?;
        repository.finish(&session, &name).await?;
        ensure!(
            repository.blob(&name).await? == bytes,
            "the blob read back differs"
        );
        context.note(format!(
            "{pushed} pulled from the claim `{claim}`, under the same CA; an upload went on"
        ));
    }
    context.clients().docker().args(["rmi", &image]).success().await?;
    Ok(())
}

/// Deletes the Registry, its claims, and the Secrets that outlive it.
async fn lose_everything(target: &ReadyRegistry<'_>) -> Result<()> {
    let api = target.registry.api(target.context.cluster).await?;
    api.delete("vault", &DeleteParams::foreground()).await?;
    wait_for("the Registry to be gone", LIMIT, async || {
        Ok(match api.get_opt("vault").await? {
            None => Seen::Done(()),
            Some(object) => Seen::NotYet(conditions(&object)),
        })
    })
    .await?;
    for kind in [
        ["persistentvolumeclaims", "--all"],
        [
            "secrets",
            "--selector=app.kubernetes.io/managed-by=berth-operator",
        ],
    ] {
        target
            .kubectl()
            .arg("delete")
            .args(kind)
            .arg("--timeout=120s")
            .success()
            .await?;
    }
    Ok(())
}

/// The CA key and the HTTP secret without what only the API server may set, as `docs/backup.md` saves them.
async fn saved_secrets(target: &ReadyRegistry<'_>) -> Result<Value> {
    let get = target
        .kubectl()
        .args(["get", "secret", "vault-http", "vault-ca-key", "--output=json"]);
    let mut list: Value = serde_json::from_str(&get.success().await?)?;
    for item in list["items"].as_array_mut().context("a list has items")? {
        let metadata = item["metadata"]
            .as_object_mut()
            .context("an object has metadata")?;
        metadata.retain(|key, _| ["name", "labels", "annotations"].contains(&key.as_str()));
    }
    Ok(list)
}
