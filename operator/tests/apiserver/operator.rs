//! A controller for one namespace in this process, and helpers to change and watch objects.

use std::time::Duration;

use anyhow::{Context as _, Result};
use e2e::wait::{Seen, wait_for};
use k8s_openapi::ByteString;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, PodSpec, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use kube::core::NamespaceResourceScope;
use kube::{Api, Client, Resource};
use operator::Settings;
use operator::health::Health;
use operator_api::Registry;
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::cluster::Cluster;
use crate::relay::Relay;

/// Generous: the machine may be compiling.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// A user with a bcrypt hash. No test logs in.
pub(crate) const USERS: &str = "alice:$2y$05$c4WoMPo3SXsafkva.HHa6uXQZWr7oboPiC2bT/r7q1BB8I2s0BRqC\n";

/// Stops when it is dropped.
pub(crate) struct Operator {
    pub(crate) health: Health,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<Result<()>>,
}

impl Operator {
    pub(crate) fn start(cluster: &Cluster) -> Self {
        Self::with_client(cluster, cluster.client.clone())
    }

    /// With another client than that of the test, which may do everything.
    pub(crate) fn with_client(cluster: &Cluster, client: Client) -> Self {
        Self::with_settings(client, Self::settings(cluster))
    }

    /// The settings of every test's operator.
    pub(crate) fn settings(cluster: &Cluster) -> Settings {
        Settings {
            registry_image: "registry.invalid/berth/registry:test".to_owned(),
            namespace: Some(cluster.namespace.clone()),
            ..Settings::default()
        }
    }

    /// With other settings than those of every test.
    pub(crate) fn with_settings(client: Client, settings: Settings) -> Self {
        let (stop, stopped) = oneshot::channel();
        let until = async {
            let _ = stopped.await;
        };
        let health = Health::default();
        let running = operator::driver::run(client, settings, health.clone(), Default::default(), until);
        Self {
            health,
            stop: Some(stop),
            task: tokio::spawn(running),
        }
    }

    /// With a relay between it and the API server.
    pub(crate) async fn behind(cluster: &Cluster, relay: &Relay) -> Result<Self> {
        let config = operator::client::with_connection_limits(relay.config()?);
        Ok(Self::with_client(cluster, Client::try_from(config)?))
    }

    /// Stops it in the middle of whatever it does.
    pub(crate) fn abort(&self) {
        self.task.abort();
    }

    /// Stops it and waits until it has stopped.
    pub(crate) async fn stop(mut self) -> Result<()> {
        drop(self.stop.take());
        (&mut self.task).await.context("the controller panicked")?
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A Registry that needs nothing else; `changes` replace members of its spec.
pub(crate) fn registry(name: &str, changes: Value) -> Registry {
    let mut object = json!({
        "apiVersion": "berth.dev/v1alpha1",
        "kind": "Registry",
        "metadata": { "name": name },
        "spec": {
            "storage": { "persistentVolumeClaim": { "template": { "size": "5Gi" } } },
            "auth": { "anonymous": { "access": "PullPush" } },
        },
    });
    for (member, value) in changes.as_object().expect("changes are an object") {
        object["spec"][member] = value.clone();
    }
    serde_json::from_value(object).expect("a Registry as the API server takes it")
}

/// Users from the Secret `users`.
pub(crate) fn htpasswd() -> Value {
    json!({ "htpasswd": { "secretKeyRef": { "name": "users" } } })
}

pub(crate) fn secret(name: &str, entries: &[(&str, &str)]) -> Secret {
    let entry = |(key, text): &(&str, &str)| ((*key).to_owned(), ByteString(text.as_bytes().to_vec()));
    Secret {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            ..Default::default()
        },
        data: Some(entries.iter().map(entry).collect()),
        ..Default::default()
    }
}

pub(crate) async fn create<K>(cluster: &Cluster, object: &K) -> Result<K>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + serde::Serialize
        + serde::de::DeserializeOwned,
{
    let created = cluster.api::<K>().create(&PostParams::default(), object).await;
    created.with_context(|| format!("cannot create {}", K::kind(&())))
}

/// Changes an object as a person would.
pub(crate) async fn merge<K>(cluster: &Cluster, name: &str, patch: Value) -> Result<K>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + serde::de::DeserializeOwned,
{
    let patched = cluster
        .api::<K>()
        .patch(name, &PatchParams::default(), &Patch::Merge(patch))
        .await;
    patched.with_context(|| format!("cannot change {} `{name}`", K::kind(&())))
}

/// Waits until an object exists and `look` gives a value.
pub(crate) async fn object<K, T>(
    cluster: &Cluster,
    name: &str,
    what: &str,
    look: impl Fn(&K) -> Option<T>,
) -> Result<T>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + serde::Serialize
        + serde::de::DeserializeOwned,
{
    let api: Api<K> = cluster.api();
    let what = format!("{} `{name}`: {what}", K::kind(&()));
    wait_for(&what, DEADLINE, async || {
        Ok(match api.get_opt(name).await? {
            None => Seen::NotYet("there is none".to_owned()),
            Some(found) => match look(&found) {
                Some(value) => Seen::Done(value),
                None => Seen::NotYet(serde_json::to_string(&found)?),
            },
        })
    })
    .await
}

/// The sentence about what keeps a Registry from being as asked; that of Ready when nothing does.
pub(crate) fn told(conditions: &[Condition; 3]) -> &str {
    let [ready, reconciling, stalled] = conditions;
    let mut active = [stalled, reconciling].into_iter().filter(|c| c.status == "True");
    &active.next().unwrap_or(ready).message
}

/// Waits until the Registry's status says `reason`, and returns its conditions in the order Ready, Reconciling, Stalled.
pub(crate) async fn reason(cluster: &Cluster, name: &str, reason: &str) -> Result<[Condition; 3]> {
    object(
        cluster,
        name,
        &format!("reason {reason}"),
        |registry: &Registry| {
            let status = registry.status.as_ref()?;
            let condition = |kind: &str| status.conditions.iter().find(|c| c.type_ == kind).cloned();
            let all = [
                condition("Ready")?,
                condition("Reconciling")?,
                condition("Stalled")?,
            ];
            // Nobody applies the spec of a paused Registry.
            let current = reason == "Paused" || status.observed_generation == registry.metadata.generation;
            (current && all[0].reason == reason).then_some(all)
        },
    )
    .await
}

/// Waits until the operator has nothing left to do on a server without nodes.
pub(crate) async fn rolling_out(cluster: &Cluster, name: &str) -> Result<[Condition; 3]> {
    // No controller binds claims or starts Pods here.
    let claimed = cluster
        .api::<Registry>()
        .get(name)
        .await?
        .spec
        .storage
        .persistent_volume_claim
        .is_some();
    reason(
        cluster,
        name,
        if claimed { "VolumePending" } else { "RollingOut" },
    )
    .await
}

/// The ConfigMap with `config.yml` that the Deployment uses.
pub(crate) async fn config(cluster: &Cluster, name: &str) -> Result<ConfigMap> {
    let pod = pod(cluster, name).await?;
    let mut volumes = pod.volumes.iter().flatten();
    let volume = volumes
        .find(|volume| volume.name == "config")
        .context("no configuration")?;
    let source = volume
        .config_map
        .as_ref()
        .context("the configuration is no ConfigMap")?;
    Ok(cluster.api().get(&source.name).await?)
}

/// The Secret with the inputs that the Deployment uses.
pub(crate) async fn inputs(cluster: &Cluster, name: &str) -> Result<Secret> {
    let pod = pod(cluster, name).await?;
    let mut variables = pod
        .containers
        .iter()
        .flat_map(|container| container.env.iter().flatten());
    let from = variables.find_map(|variable| variable.value_from.as_ref()?.secret_key_ref.as_ref());
    Ok(cluster.api().get(&from.context("no inputs")?.name).await?)
}

async fn pod(cluster: &Cluster, name: &str) -> Result<PodSpec> {
    let deployment = cluster.api::<Deployment>().get(name).await?;
    let spec = deployment.spec.context("no spec")?.template.spec;
    spec.context("no Pods")
}

/// Says of a Deployment what its controller would say after a rollout.
pub(crate) async fn rolled_out(cluster: &Cluster, name: &str) -> Result<()> {
    let api = cluster.api::<Deployment>();
    let generation = api.get(name).await?.metadata.generation;
    let status = json!({ "status": {
        "observedGeneration": generation, "replicas": 1, "updatedReplicas": 1, "readyReplicas": 1, "availableReplicas": 1,
        "conditions": [{ "type": "Available", "status": "True" }],
    } });
    api.patch_status(name, &PatchParams::default(), &Patch::Merge(&status))
        .await?;
    Ok(())
}
