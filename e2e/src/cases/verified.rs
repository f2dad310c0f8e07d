//! The condition `Verified`: a push and a pull by the operator, through the Ingress.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::ready_registry::ReadyRegistry;
use crate::fixture::{USER, condition};
use crate::runner::Context;
use crate::wait::Seen;

/// The annotation is answered by a push and a pull that leave nothing; a wrong password is told, and a corrected one is
/// noticed.
pub(super) async fn an_artifact_is_pushed_and_pulled_when_somebody_asks(context: &Context<'_>) -> Result<()> {
    let target = ReadyRegistry::ready(context, "proven", |registry| {
        registry
            .with("/storage/deletion", json!("Enabled"))
            .with("/verify", json!({"secret": {"name": "proven-robot"}}))
    })
    .await?;
    robot(&target, "wrong").await?;
    ask(&target, "first").await?;
    let failed = verified(&target, "False").await?;
    ensure!(failed["reason"] == "LoginFailed", "{failed}");

    robot(&target, &target.registry.password).await?;
    let verified_by = verified(&target, "True").await?;
    ensure!(verified_by["reason"] == "PushedAndPulled", "{verified_by}");
    let object = target
        .registry
        .api(context.cluster)
        .await?
        .get(&target.registry.name)
        .await?;
    let latest = &object.data["status"]["verification"];
    ensure!(latest["lastHandledRequest"] == "first", "{latest}");
    ensure!(latest["url"] == object.data["status"]["url"], "{latest}");

    let host = &target.registry.host;
    let tags = target
        .curl()
        .args(["--silent", "--resolve"])
        .arg(format!("{host}:443:{}", context.cluster.ingress_address()))
        .arg(format!("https://{host}/v2/berth-verify/tags/list"))
        .output()
        .await?
        .all();
    ensure!(
        !tags.contains("verify\"]"),
        "the artifact's tag is still there: {tags}"
    );
    let events = target.kubectl().args(["get", "events"]).output().await?.all();
    for reason in ["LoginFailed", "PushedAndPulled"] {
        ensure!(events.contains(reason), "no event {reason}:\n{events}");
    }
    context.note(verified_by["message"].as_str().unwrap_or_default().to_owned());
    Ok(())
}

/// Puts a password of the user into the Secret that `spec.verify.secret` names.
async fn robot(target: &ReadyRegistry<'_>, password: &str) -> Result<()> {
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/basic-auth",
        "metadata": {"name": "proven-robot", "namespace": target.registry.namespace},
        "stringData": {"username": USER, "password": password},
    });
    let apply = target.kubectl().args(["apply", "-f", "-"]);
    apply.stdin(secret.to_string()).success().await?;
    Ok(())
}

async fn ask(target: &ReadyRegistry<'_>, value: &str) -> Result<()> {
    let name = &target.registry.name;
    let annotate = target.kubectl().args(["annotate", "registry", name]);
    annotate
        .arg(format!("berth.dev/verify={value}"))
        .success()
        .await?;
    Ok(())
}

async fn verified(target: &ReadyRegistry<'_>, status: &str) -> Result<Value> {
    let what = format!("condition Verified to be {status}");
    target
        .registry
        .await_status(target.context.cluster, &what, |object| {
            let verified = condition(object, "Verified");
            Ok(match verified["status"] == status {
                true => Seen::Done(verified),
                false => Seen::NotYet(verified.to_string()),
            })
        })
        .await
}
