//! The life cycle of a Registry: created, used at once, its Secrets rotated, its Pod killed, deleted and applied
//! again.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::api::DeleteParams;
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};

use super::ready_registry::{ReadyRegistry, same};
use crate::exec::Exec;
use crate::fixture::{self, Registry, USER, condition, conditions, told};
use crate::protocol::{digest, noise};
use crate::runner::Context;
use crate::wait::{Seen, wait_for};

const MIB: usize = 1024 * 1024;

/// The number of Registries that get a push in the moment they are Ready.
const READY_ROUNDS: usize = 20;

/// The time without a write by the operator.
const QUIET: Duration = Duration::from_secs(60);

/// Time limit for a changed Secret to reach the Pod. The kubelet refreshes mounted Secrets about every minute.
const MOUNT_LIMIT: Duration = Duration::from_secs(180);

/// The very first push through the Ingress, in the moment a Registry becomes Ready, succeeds without a retry.
pub(super) async fn a_push_right_after_ready_succeeds(context: &Context<'_>) -> Result<()> {
    let namespace = context.namespace().await?;
    for round in 0..READY_ROUNDS {
        let name = format!("prompt-{round}");
        let mut registry =
            Registry::new(context.cluster, &namespace, &name).with("/storage", json!({"emptyDir": {}}));
        registry.apply(context.cluster).await?;
        registry.ready(context.cluster).await?;
        let target = ReadyRegistry::of(context, registry).await?;
        let bytes = noise(round as u64, 100_000);
        let repository = target.repository("prompt/blob")?;
        let pushed = async {
            let session = repository
                .append(&repository.start().await?, bytes.clone())
                .await?;
            repository.finish(&session, &digest(&bytes)).await?;
            repository.blob(&digest(&bytes)).await
        };
        let read = pushed
            .await
            .with_context(|| format!("round {round} of {READY_ROUNDS}"))?;
        ensure!(read == bytes, "round {round}: the blob read back differs");
        let api = target.registry.api(context.cluster).await?;
        api.delete(&name, &DeleteParams::default()).await?;
    }
    context.note(format!("{READY_ROUNDS} of {READY_ROUNDS}"));
    Ok(())
}

/// Deleted and applied again, a Registry serves the same digests with the same CA, and uploads stay valid.
pub(super) async fn a_reapplied_registry_is_the_same(context: &Context<'_>) -> Result<()> {
    let target = ReadyRegistry::ready(context, "phoenix", |registry| registry).await?;
    let bytes = noise(21, 2 * MIB);
    let name = digest(&bytes);
    let repository = target.repository("phoenix/blob")?;
    let session = repository
        .append(&repository.start().await?, bytes.clone())
        .await?;
    repository.finish(&session, &name).await?;
    let half = repository
        .append(&repository.start().await?, bytes.slice(..MIB))
        .await?;

    let api = target.registry.api(context.cluster).await?;
    api.delete(&target.registry.name, &DeleteParams::foreground())
        .await?;
    wait_for("the Registry to be gone", Duration::from_secs(120), async || {
        Ok(match api.get_opt(&target.registry.name).await? {
            None => Seen::Done(()),
            Some(object) => Seen::NotYet(conditions(&object)),
        })
    })
    .await?;
    target.registry.apply_object(context.cluster).await?;
    target.registry.ready(context.cluster).await?;
    let again = ReadyRegistry::of(context, target.registry.clone()).await?;
    ensure!(again.ca == target.ca, "it came back with another CA");
    let repository = again.repository("phoenix/blob")?;
    ensure!(
        repository.blob(&name).await? == bytes,
        "the blob read back differs"
    );
    // The HTTP secret is the same too: a session from before the deletion continues.
    let half = repository.append(&half, bytes.slice(MIB..)).await?;
    repository.finish(&half, &name).await?;
    context.note(format!("{name} with the same CA"));
    Ok(())
}

/// An upload continues on the next Pod when the server's Pod is killed.
pub(super) async fn a_killed_pods_upload_goes_on_with_its_successor(context: &Context<'_>) -> Result<()> {
    let target = ReadyRegistry::ready(context, "relay", |registry| registry).await?;
    let bytes = noise(22, 64 * MIB);
    let repository = target.repository("relay/blob")?;
    let session = repository.start().await?;
    let pods: Api<Pod> = Api::namespaced(context.cluster.client().await?, &target.registry.namespace);
    let victim = target
        .server_pods()
        .await?
        .pop()
        .context("a Ready Registry without a Pod")?
        .name_any();
    let kill = async {
        let at_once = DeleteParams {
            grace_period_seconds: Some(0),
            ..DeleteParams::default()
        };
        pods.delete(&victim, &at_once)
            .await
            .map(drop)
            .with_context(|| format!("cannot kill Pod `{victim}`"))
    };
    repository
        .append_interrupted(&session, bytes.clone(), 40 * MIB, kill)
        .await?;
    wait_for("a successor of the Pod", Duration::from_secs(180), async || {
        let ready = target
            .server_pods()
            .await?
            .into_iter()
            .any(|pod| pod.name_any() != victim && is_ready(&pod));
        let object = target
            .registry
            .api(context.cluster)
            .await?
            .get(&target.registry.name)
            .await?;
        let told = condition(&object, "Ready")["status"] == "True";
        Ok(if ready && told {
            Seen::Done(())
        } else {
            Seen::NotYet(conditions(&object))
        })
    })
    .await?;
    let session = repository.status(&session).await?;
    let kept = session.received;
    ensure!(
        kept > MIB && kept <= 40 * MIB,
        "{kept} bytes were kept of 40 MiB sent"
    );
    let session = repository.append(&session, bytes.slice(kept..)).await?;
    repository.finish(&session, &digest(&bytes)).await?;
    ensure!(
        repository.blob(&digest(&bytes)).await? == bytes,
        "the blob read back differs"
    );
    context.note(format!(
        "{kept} of {} bytes were kept by the Pod's end and continued",
        bytes.len()
    ));
    Ok(())
}

/// Whether the Pod's condition `Ready` is true.
pub(super) fn is_ready(pod: &Pod) -> bool {
    let conditions = pod
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten());
    conditions
        .into_iter()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// The operator writes nothing when nothing changes, by the API server's audit log.
pub(super) async fn a_quiet_minute_has_no_write(context: &Context<'_>) -> Result<()> {
    let _target = ReadyRegistry::ready(context, "quiet", |registry| registry).await?;
    // Writes that follow Ready (the Ingress's address, the last endpoint slice) must be over first. The minute begins
    // with the operator's last write, and is waited for because time itself is tested.
    let mut log = context.cluster.audit()?;
    let mut waited = Duration::ZERO;
    let mut quiet = Duration::ZERO;
    let tick = Duration::from_secs(5);
    while quiet < QUIET {
        ensure!(
            waited < 5 * QUIET,
            "in {} s there was no minute without a write",
            waited.as_secs()
        );
        tokio::time::sleep(tick).await;
        (waited, quiet) = (waited + tick, quiet + tick);
        if !log.writes_by(OPERATOR)?.is_empty() {
            // Writes while a Registry settles are expected. A repeated write is not.
            ensure!(
                waited <= QUIET,
                "still writing after {} s: {:?}",
                waited.as_secs(),
                log.writes_by(OPERATOR)?
            );
            log = context.cluster.audit()?;
            quiet = Duration::ZERO;
        }
    }
    context.note(format!("0 writes in {} s", quiet.as_secs()));
    Ok(())
}

/// The operator's user name in the audit log.
const OPERATOR: &str = "system:serviceaccount:berth-system:berth-operator";

/// An existing claim that only one node can mount gets one replica, and a sentence in the status.
pub(super) async fn an_existing_claim_for_one_node_gets_one_replica(context: &Context<'_>) -> Result<()> {
    let namespace = context.namespace().await?;
    let claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "old-data", "namespace": namespace},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}});
    context
        .cluster
        .kubectl()
        .args(["create", "-f", "-"])
        .stdin(claim.to_string())
        .success()
        .await?;
    let mut registry = Registry::new(context.cluster, &namespace, "solo")
        .with(
            "/storage",
            json!({"persistentVolumeClaim": {"claimName": "old-data"}}),
        )
        .with("/replicas", json!(2));
    registry.apply(context.cluster).await?;
    registry.ready(context.cluster).await?;
    let target = ReadyRegistry::of(context, registry).await?;
    same("server Pods", &1, &target.server_pods().await?.len())?;
    let object = target.registry.api(context.cluster).await?.get("solo").await?;
    let told = conditions(&object);
    ensure!(
        told.contains("old-data") && told.contains("One replica runs instead of 2"),
        "no condition says why there is one replica: {told}"
    );
    let owners = context.cluster.kubectl().args([
        "--namespace",
        &namespace,
        "get",
        "pvc",
        "old-data",
        "-o",
        "jsonpath={.metadata.ownerReferences}",
    ]);
    same("owners of the claim", &String::new(), &owners.success().await?)?;
    context.note(told);
    Ok(())
}

/// The status names a Secret that is missing, lacks its key or holds garbage. When the Secret is right the Registry
/// follows without a restart.
pub(super) async fn a_missing_secret_is_named_and_followed(context: &Context<'_>) -> Result<()> {
    let namespace = context.namespace().await?;
    let registry = Registry::new(context.cluster, &namespace, "patient");
    registry.apply_object(context.cluster).await?;
    let users = "patient-users";
    let line = fixture::users(&registry.password)?;
    let states = [
        ("missing", None, users),
        ("without its key", Some(("other", "x".to_owned())), "htpasswd"),
        (
            "garbage",
            Some(("htpasswd", "not a password file".to_owned())),
            users,
        ),
    ];
    for (state, content, word) in states {
        if let Some((key, value)) = content {
            put_secret(context, &namespace, users, key, &value).await?;
        }
        registry
            .await_status(
                context.cluster,
                &format!("the status to name a Secret that is {state}"),
                |object| {
                    let (ready, reconciling) = (condition(object, "Ready"), condition(object, "Reconciling"));
                    let named = told(object)
                        .as_str()
                        .is_some_and(|text| text.contains(users) && text.contains(word));
                    let right = ready["status"] == "False"
                        && reconciling["status"] == "True"
                        && ready["reason"] != Value::Null
                        && named;
                    Ok(if right {
                        Seen::Done(())
                    } else {
                        Seen::NotYet(conditions(object))
                    })
                },
            )
            .await?;
        let there = context
            .cluster
            .kubectl()
            .args(["--namespace", &namespace, "get", "deployments", "-o", "name"])
            .success()
            .await?;
        same(
            &format!("Deployments while the Secret is {state}"),
            &String::new(),
            &there,
        )?;
    }
    put_secret(context, &namespace, users, "htpasswd", &line).await?;
    registry.ready(context.cluster).await?;
    Ok(())
}

/// The running Pod follows a rotated password file. A broken file changes nothing for users.
pub(super) async fn a_rotated_password_is_followed_by_the_same_pod(context: &Context<'_>) -> Result<()> {
    let target = ReadyRegistry::ready(context, "rotate", |registry| registry).await?;
    let pod = target
        .server_pods()
        .await?
        .pop()
        .context("a Ready Registry without a Pod")?
        .name_any();
    let namespace = &target.registry.namespace;
    put_secret(
        context,
        namespace,
        "rotate-users",
        "htpasswd",
        "garbage: nobody can log in with this\n",
    )
    .await?;
    target
        .registry
        .await_status(
            context.cluster,
            "the status to name the broken Secret",
            |object| {
                let told = conditions(object);
                Ok(if told.contains("rotate-users") {
                    Seen::Done(())
                } else {
                    Seen::NotYet(told)
                })
            },
        )
        .await?;
    // The Pod reads a copy of the operator's, which only ever holds users that were checked.
    let users = target
        .kubectl()
        .args([
            "get",
            "secret",
            "rotate-live",
            "--output=go-template={{index .data \"htpasswd\" | base64decode}}",
        ])
        .success()
        .await?;
    ensure!(
        users.contains(USER) && !users.contains("garbage"),
        "the Pod's copy holds other users than before"
    );
    login_answers(&target, &target.registry.password, "200")
        .await
        .context("after a broken rotation")?;

    let password = "the next password";
    let line = fixture::users(password)?;
    put_secret(context, namespace, "rotate-users", "htpasswd", &line).await?;
    login_answers(&target, password, "200").await?;
    login_answers(&target, &target.registry.password, "401").await?;
    target.registry.ready(context.cluster).await?;
    same(
        "the server's Pod",
        &vec![pod],
        &target.server_pods().await?.iter().map(Pod::name_any).collect(),
    )?;
    Ok(())
}

/// A login that prints the status of the answer.
fn login(target: &ReadyRegistry<'_>, password: &str) -> Result<Exec> {
    let curl = target
        .curl()
        .args(["--output", "/dev/null", "--write-out", "%{http_code}"]);
    Ok(curl
        .arg(format!("{}v2/", target.url()?))
        .stdin(format!("user = \"{USER}:{password}\"\n")))
}

/// Waits until a login gets the expected answer, because the kubelet brings mounted Secrets later.
async fn login_answers(target: &ReadyRegistry<'_>, password: &str, status: &str) -> Result<()> {
    let curl = login(target, password)?;
    wait_for(
        &format!("a login to be answered {status}"),
        MOUNT_LIMIT,
        async || {
            let got = curl.success().await?;
            Ok(if got == status {
                Seen::Done(())
            } else {
                Seen::NotYet(got)
            })
        },
    )
    .await
}

async fn put_secret(
    context: &Context<'_>,
    namespace: &str,
    name: &str,
    key: &str,
    value: &str,
) -> Result<()> {
    let secrets: Api<Secret> = Api::namespaced(context.cluster.client().await?, namespace);
    let secret: Secret =
        serde_json::from_value(json!({"metadata": {"name": name}, "stringData": {key: value}}))?;
    let done = match secrets.get_opt(name).await? {
        None => secrets.create(&kube::api::PostParams::default(), &secret).await,
        Some(old) => {
            let mut secret = secret;
            secret.metadata.resource_version = old.resource_version();
            secrets
                .replace(name, &kube::api::PostParams::default(), &secret)
                .await
        }
    };
    match done {
        Ok(_) => Ok(()),
        Err(error) => bail!("cannot put Secret `{name}`: {error}"),
    }
}
