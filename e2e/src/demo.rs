//! Pushes one small image and runs it: the shortest proof that the whole chain works.
//!
//! `cargo xtask up` does this on its demonstration Registry, the suite's first case on a fresh one. Guarantees:
//! nothing is retried; a second run over the same Registry changes nothing. Start at [`push_and_pull`].

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::clients::Clients;
use crate::fixture::{Registry, USER};
use crate::local;
use crate::provider::Cluster;
use crate::wait::{Seen, wait_for};

/// The text the Pod prints.
pub const GREETING: &str = "hello from an image that was pushed a moment ago";

/// A pushed image, with the digest of the push and the digest of the pull.
#[derive(Clone, Debug)]
pub struct Pushed {
    /// `<host>/<repository>:<tag>`.
    pub reference: String,
    /// The digest that `docker push` reported.
    pub pushed: String,
    /// The digest that `docker pull` verified.
    pub pulled: String,
}

/// Makes docker trust the Registry, logs in, pushes a small busybox image through the Ingress and pulls it back.
///
/// # Errors
/// A step fails, or the digests differ.
pub async fn push_and_pull(cluster: &Cluster, clients: &Clients<'_>, registry: &Registry) -> Result<Pushed> {
    let host = &registry.host;
    cluster.trust(host, &registry.ca_certificate(cluster).await?)?;
    clients.load_first_images().await?;
    let reference = format!("{host}/demo/busybox:1");
    clients
        .docker()
        .args(["tag", local::BUSYBOX_IMAGE, &reference])
        .success()
        .await?;
    clients.login(host, USER, &registry.password).await?;
    let pushed = clients.push(&reference).await?;
    let pulled = clients.pull(&reference).await?;
    if pushed != pulled {
        bail!("`{reference}` was pushed as {pushed} and came back as {pulled}");
    }
    Ok(Pushed {
        reference,
        pushed,
        pulled,
    })
}

/// Tells tools such as Tilt and Skaffold which registry this cluster has, as KEP-1755 says: by a ConfigMap that all may read.
///
/// # Errors
/// The API server refuses it.
pub async fn announce(cluster: &Cluster, registry: &Registry) -> Result<()> {
    let map = hosting(&registry.host, &registry.namespace, &registry.name);
    let maps: Api<ConfigMap> = Api::namespaced(cluster.client().await?, "kube-public");
    maps.patch(
        HOSTING,
        &PatchParams::apply("berth-e2e").force(),
        &Patch::Apply(map),
    )
    .await
    .map(drop)
    .with_context(|| format!("cannot write ConfigMap `kube-public/{HOSTING}`"))
}

/// The name that KEP-1755 gives the ConfigMap.
pub const HOSTING: &str = "local-registry-hosting";

fn hosting(host: &str, namespace: &str, name: &str) -> Value {
    let text = format!("host: \"{host}\"\nhostFromClusterNetwork: \"{name}.{namespace}.svc:5000\"\n");
    json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": HOSTING, "namespace": "kube-public"},
        "data": {"localRegistryHosting.v1": text},
    })
}

/// Runs a Pod from the image, by its digest, with the Registry's pull secret. Gives the Pod's output.
///
/// # Errors
/// The kubelet cannot pull it, or the Pod does not succeed; the error quotes its state.
pub async fn run_pod(cluster: &Cluster, registry: &Registry, pushed: &Pushed) -> Result<String> {
    let (repository, _) = pushed
        .reference
        .rsplit_once(':')
        .context("a reference has a tag")?;
    let name = format!("hello-{}", &pushed.pushed["sha256:".len()..][..8]);
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": registry.namespace},
        "spec": {
            "restartPolicy": "Never",
            "imagePullSecrets": [{"name": registry.pull_secret()}],
            "securityContext": {"runAsNonRoot": true, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{
                "name": "hello",
                "image": format!("{repository}@{}", pushed.pushed),
                // `Always` makes the kubelet ask the registry, even if the node has the image from another run.
                "imagePullPolicy": "Always",
                "command": ["sh", "-c", format!("echo {GREETING}")],
                "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
            }],
        },
    });
    let pods: Api<Pod> = Api::namespaced(cluster.client().await?, &registry.namespace);
    pods.patch(
        &name,
        &PatchParams::apply("berth-e2e").force(),
        &Patch::Apply(pod),
    )
    .await
    .with_context(|| format!("cannot create Pod `{name}`"))?;
    wait_for(
        &format!("Pod `{name}` to end"),
        Duration::from_secs(90),
        async || {
            let status = pods.get(&name).await?.status.unwrap_or_default();
            Ok(match status.phase.as_deref() {
                Some("Succeeded") => Seen::Done(()),
                Some("Failed") => Seen::Never(anyhow::anyhow!("the Pod failed: {status:?}")),
                _ => Seen::NotYet(waiting(&status)),
            })
        },
    )
    .await?;
    Ok(pods
        .logs(&name, &kube::api::LogParams::default())
        .await
        .context("cannot read the Pod's log")?
        .trim()
        .to_owned())
}

fn waiting(status: &k8s_openapi::api::core::v1::PodStatus) -> String {
    let reasons: Vec<String> = status
        .container_statuses
        .iter()
        .flatten()
        .filter_map(|container| container.state.as_ref()?.waiting.as_ref())
        .map(|waiting| {
            let text = |text: &Option<String>| text.clone().unwrap_or_default();
            format!("{} {}", text(&waiting.reason), text(&waiting.message))
        })
        .collect();
    if reasons.is_empty() {
        format!("phase {:?}", status.phase)
    } else {
        reasons.join("; ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_announcement_has_the_keys_of_kep_1755() {
        let map = hosting("registry.berth.test", "berth-demo", "registry");
        let text = map["data"]["localRegistryHosting.v1"].as_str().unwrap();
        let content: Value = serde_saphyr::from_str(text).unwrap();
        let expected = json!({
            "host": "registry.berth.test",
            "hostFromClusterNetwork": "registry.berth-demo.svc:5000",
        });
        assert_eq!(content, expected);
    }
}
