//! A Registry and its users, applied to a cluster as people do it: as objects.
//!
//! Guarantees: the password is generated once per namespace and name, and read from the cluster after that. Applying
//! twice changes nothing. Must not: link the operator or its types, because the suite drives it from outside. Start
//! at [`Registry::new`].

use std::fmt;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use base64::Engine as _;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret};
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::{Api, ResourceExt as _};
use rand::Rng as _;
use serde_json::{Value, json};

use crate::exec::Exec;
use crate::provider::Cluster;
use crate::wait::{Seen, wait_for};

/// The field manager of the suite's objects.
const MANAGER: &str = "berth-e2e";
/// The one user of a fixture.
pub const USER: &str = "berth";
/// Time from applying to Ready: a volume, a certificate, a Pod.
const READY_DEADLINE: Duration = Duration::from_secs(180);

/// A Registry to apply and then use.
#[derive(Clone)]
pub struct Registry {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The first host of its Ingress.
    pub host: String,
    /// The password of [`USER`].
    pub password: String,
    spec: Value,
}

impl fmt::Debug for Registry {
    /// Prints everything but the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Registry {}/{} at {}", self.namespace, self.name, self.host)
    }
}

impl Registry {
    /// Self-signed TLS, htpasswd, a claim of 1 GiB and an Ingress at `<name>.<domain of the cluster>`.
    #[must_use]
    pub fn new(cluster: &Cluster, namespace: &str, name: &str) -> Self {
        let host = format!("{name}.{}", cluster.domain());
        Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            host: host.clone(),
            password: password(),
            spec: json!({
                "storage": {"persistentVolumeClaim": {"template": {"size": "1Gi"}}},
                "tls": {"selfSigned": {}},
                "auth": {"htpasswd": {"secretKeyRef": {"name": format!("{name}-users"), "key": "htpasswd"}}},
                "ingress": {"className": "nginx", "hosts": [host]},
            }),
        }
    }

    /// Sets one value of the spec by its path (`/ingress/tls/mode`, as in JSON Pointer); `null` removes it.
    #[must_use]
    pub fn with(mut self, path: &str, value: Value) -> Self {
        let (parents, last) = path.rsplit_once('/').unwrap_or(("", path));
        let mut place = &mut self.spec;
        for part in parents.split('/').filter(|part| !part.is_empty()) {
            place = &mut place[part];
        }
        if !value.is_null() {
            place[last] = value;
        } else if let Some(fields) = place.as_object_mut() {
            fields.remove(last);
        }
        self
    }

    /// The object to apply.
    #[must_use]
    pub fn object(&self) -> Value {
        json!({
            "apiVersion": "berth.dev/v1alpha1",
            "kind": "Registry",
            "metadata": {"name": self.name, "namespace": self.namespace},
            "spec": self.spec,
        })
    }

    /// Applies users, pull secret and Registry. When they already exist, this fixture takes their password.
    ///
    /// # Errors
    /// The API server refuses an object; its sentence is in the error.
    pub async fn apply(&mut self, cluster: &Cluster) -> Result<()> {
        self.apply_users(cluster).await?;
        self.apply_object(cluster).await
    }

    /// Applies users and pull secret. When they already exist, this fixture takes their password.
    ///
    /// # Errors
    /// The API server refuses an object; its sentence is in the error.
    pub async fn apply_users(&mut self, cluster: &Cluster) -> Result<()> {
        let client = cluster.client().await?;
        let secrets: Api<Secret> = Api::namespaced(client.clone(), &self.namespace);
        match self.known_password(&secrets).await? {
            Some(password) => self.password = password,
            None => self.create_users(&secrets).await?,
        }
        Ok(())
    }

    /// Applies only the Registry.
    ///
    /// # Errors
    /// The API server refuses it; its sentence is in the error.
    pub async fn apply_object(&self, cluster: &Cluster) -> Result<()> {
        let params = PatchParams::apply(MANAGER).force();
        self.api(cluster)
            .await?
            .patch(&self.name, &params, &Patch::Apply(self.object()))
            .await
            .map(drop)
            .with_context(|| format!("cannot apply Registry `{}`", self.name))
    }

    /// Waits until the Registry is Ready and as asked, which GitOps tools call Current, and gives its status.
    ///
    /// # Errors
    /// It is not in time; the error quotes its conditions.
    pub async fn ready(&self, cluster: &Cluster) -> Result<Value> {
        let what = format!("Registry `{}/{}` to be Ready", self.namespace, self.name);
        self.await_status(cluster, &what, |object| {
            let is = |kind: &str| condition(object, kind)["status"] == "True";
            let current = object.data["status"]["observedGeneration"] == json!(object.metadata.generation);
            if current && is("Ready") && !is("Reconciling") && !is("Stalled") {
                Ok(Seen::Done(object.data["status"].clone()))
            } else {
                Ok(Seen::NotYet(conditions(object)))
            }
        })
        .await
    }

    /// Waits until the status satisfies `look`.
    ///
    /// # Errors
    /// It does not in time. The error holds the last state seen.
    pub async fn await_status<T>(
        &self,
        cluster: &Cluster,
        what: &str,
        mut look: impl FnMut(&DynamicObject) -> Result<Seen<T>>,
    ) -> Result<T> {
        let api = self.api(cluster).await?;
        wait_for(what, READY_DEADLINE, async || look(&api.get(&self.name).await?)).await
    }

    /// The certificate of the CA that signed its certificates, from the ConfigMap its status names.
    ///
    /// # Errors
    /// The status names no ConfigMap, or the ConfigMap does not exist.
    pub async fn ca_certificate(&self, cluster: &Cluster) -> Result<String> {
        let object = self
            .api(cluster)
            .await?
            .get(&self.name)
            .await
            .context("cannot read the Registry")?;
        let Some(name) = object.data["status"]["tls"]["caConfigMap"].as_str() else {
            bail!(
                "the status of Registry `{}` names no CA: {}",
                self.name,
                object.data["status"]
            );
        };
        let maps: Api<ConfigMap> = Api::namespaced(cluster.client().await?, &self.namespace);
        let map = maps
            .get(name)
            .await
            .with_context(|| format!("cannot read ConfigMap `{name}`"))?;
        map.data
            .and_then(|mut data| data.remove("ca.crt"))
            .with_context(|| format!("ConfigMap `{name}` has no key ca.crt"))
    }

    /// The name of the Secret for a Pod's `imagePullSecrets`.
    #[must_use]
    pub fn pull_secret(&self) -> String {
        format!("{}-login", self.name)
    }

    /// The API of Registries in this namespace.
    ///
    /// # Errors
    /// The kubeconfig is unreadable.
    pub async fn api(&self, cluster: &Cluster) -> Result<Api<DynamicObject>> {
        let kind = GroupVersionKind::gvk("berth.dev", "v1alpha1", "Registry");
        let resource = ApiResource::from_gvk_with_plural(&kind, "registries");
        Ok(Api::namespaced_with(
            cluster.client().await?,
            &self.namespace,
            &resource,
        ))
    }

    async fn known_password(&self, secrets: &Api<Secret>) -> Result<Option<String>> {
        let name = self.pull_secret();
        let secret = secrets
            .get_opt(&name)
            .await
            .with_context(|| format!("cannot read Secret `{name}`"))?;
        let Some(mut data) = secret.and_then(|secret| secret.data) else {
            return Ok(None);
        };
        let text = data.remove(".dockerconfigjson").unwrap_or_default().0;
        let config: Value = serde_json::from_slice(&text)
            .with_context(|| format!("Secret `{name}` is no docker configuration"))?;
        let login = &config["auths"][&self.host]["password"];
        Ok(login.as_str().map(str::to_owned))
    }

    async fn create_users(&self, secrets: &Api<Secret>) -> Result<()> {
        let users = users(&self.password)?;
        let auth = base64::engine::general_purpose::STANDARD.encode(format!("{USER}:{}", self.password));
        let login =
            json!({"auths": {&self.host: {"username": USER, "password": self.password, "auth": auth}}});
        let params = PatchParams::apply(MANAGER).force();
        for (name, kind, key, value) in [
            (format!("{}-users", self.name), "Opaque", "htpasswd", users),
            (
                self.pull_secret(),
                "kubernetes.io/dockerconfigjson",
                ".dockerconfigjson",
                login.to_string(),
            ),
        ] {
            let encoded = base64::engine::general_purpose::STANDARD.encode(value);
            let secret = json!({
                "apiVersion": "v1", "kind": "Secret", "type": kind,
                "metadata": {"name": name, "namespace": self.namespace},
                "data": {key: encoded},
            });
            secrets
                .patch(&name, &params, &Patch::Apply(secret))
                .await
                .with_context(|| format!("cannot apply Secret `{name}`"))?;
        }
        Ok(())
    }
}

/// The condition of that type, `null` when the object has none.
#[must_use]
pub fn condition(object: &DynamicObject, kind: &str) -> Value {
    let all = object.data["status"]["conditions"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    all.into_iter()
        .find(|condition| condition["type"] == kind)
        .unwrap_or(Value::Null)
}

/// The sentence about what keeps a Registry from being as asked; `null` when nothing does.
#[must_use]
pub fn told(object: &DynamicObject) -> Value {
    let active = ["Stalled", "Reconciling"].map(|kind| condition(object, kind));
    let mut active = active
        .into_iter()
        .filter(|condition| condition["status"] == "True");
    active
        .next()
        .map_or(Value::Null, |condition| condition["message"].clone())
}

/// All conditions of an object on one line, for messages.
#[must_use]
pub fn conditions(object: &DynamicObject) -> String {
    let all = object.data["status"]["conditions"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let texts: Vec<String> = all
        .iter()
        .map(|condition| {
            let text = |field: &str| condition[field].as_str().unwrap_or("?").to_owned();
            format!(
                "{}={} {} ({})",
                text("type"),
                text("status"),
                text("reason"),
                text("message")
            )
        })
        .collect();
    if texts.is_empty() {
        format!("`{}` has no conditions", object.name_any())
    } else {
        texts.join("; ")
    }
}

/// A namespace that only admits Pods of PodSecurity level `restricted`.
///
/// # Errors
/// The API server refuses it.
pub async fn namespace(cluster: &Cluster, name: &str, labels: &[(&str, &str)]) -> Result<()> {
    let mut all = json!({"pod-security.kubernetes.io/enforce": "restricted"});
    for (key, value) in labels {
        all[*key] = json!(value);
    }
    let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": all}});
    let namespaces: Api<Namespace> = Api::all(cluster.client().await?);
    namespaces
        .patch(name, &PatchParams::apply(MANAGER).force(), &Patch::Apply(object))
        .await
        .map(drop)
        .with_context(|| format!("cannot create namespace `{name}`"))
}

/// Installs the CustomResourceDefinition and the operator from `config/default`, and waits until the operator runs.
///
/// # Errors
/// The API server refuses something, or the operator does not start; the error quotes its Pod's state.
pub async fn install_operator(cluster: &Cluster) -> Result<()> {
    let config = crate::images::checkout().join("config/default");
    cluster
        .kubectl()
        .args(["apply", "--server-side", "--force-conflicts", "--kustomize"])
        .arg(&config)
        .success()
        .await
        .context("cannot install the operator")?;
    let (operator, registry) = cluster.images();
    if matches!(cluster, Cluster::Existing(_)) {
        let set = cluster.kubectl().args(["--namespace=berth-system", "set"]);
        let image = format!("operator={operator}");
        set.clone()
            .args(["image", "deployment/berth-operator", &image])
            .success()
            .await?;
        let variable = format!("BERTH_REGISTRY_IMAGE={registry}");
        set.args(["env", "deployment/berth-operator", &variable])
            .success()
            .await?;
    }
    let rollout = cluster.kubectl().args([
        "--namespace=berth-system",
        "rollout",
        "status",
        "deployment/berth-operator",
        "--timeout=120s",
    ]);
    if let Err(error) = rollout.success().await {
        let about: Exec = cluster
            .kubectl()
            .args(["--namespace=berth-system", "describe", "pods"]);
        let state = about.success().await.unwrap_or_else(|error| format!("{error:#}"));
        return Err(error.context(format!(
            "the operator does not start:\n{}",
            crate::exec::tail(&state, 15)
        )));
    }
    Ok(())
}

/// A password file with [`USER`] in it, as `htpasswd -B` writes it.
///
/// # Errors
/// The password cannot be hashed.
pub fn users(password: &str) -> Result<String> {
    users_at_cost(password, 10)
}

/// A password file with a hash of 2^`cost` rounds, for cases that log in hundreds of times.
///
/// # Errors
/// The password cannot be hashed.
pub fn users_at_cost(password: &str, cost: u32) -> Result<String> {
    let hash = bcrypt::hash_with_result(password, cost).context("cannot hash a password")?;
    Ok(format!(
        "{USER}:{}\n",
        hash.format_for_version(bcrypt::Version::TwoY)
    ))
}

/// 24 letters and digits, about 142 bits.
fn password() -> String {
    rand::rng()
        .sample_iter(rand::distr::Alphanumeric)
        .take(24)
        .map(char::from)
        .collect()
}
