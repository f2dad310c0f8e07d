//! A Registry that is Ready, with all that a case needs to use it. Start at [`ReadyRegistry::ready`].

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use reqwest::Url;
use serde_json::{Value, json};

use crate::exec::Exec;
use crate::fixture::{Registry, USER};
use crate::local;
use crate::protocol::Repository;
use crate::runner::Context;
use crate::wait::{Seen, wait_for};

/// Time limit for a Pod to end. Generous, because the machine may be busy.
pub(super) const POD_LIMIT: Duration = Duration::from_secs(180);

/// One Registry in a namespace of the case's own, trusted by docker and the nodes.
pub(super) struct ReadyRegistry<'a> {
    pub(super) context: &'a Context<'a>,
    pub(super) registry: Registry,
    /// The certificate of its CA.
    pub(super) ca: String,
    /// A file with the CA.
    pub(super) ca_file: PathBuf,
}

impl<'a> ReadyRegistry<'a> {
    /// Applies a Registry, changed by `change`, in a new namespace and waits until it is Ready.
    pub(super) async fn ready(
        context: &'a Context<'a>,
        name: &str,
        change: impl FnOnce(Registry) -> Registry,
    ) -> Result<Self> {
        let namespace = context.namespace().await?;
        let mut registry = change(Registry::new(context.cluster, &namespace, name));
        registry.apply(context.cluster).await?;
        registry.ready(context.cluster).await?;
        Self::of(context, registry).await
    }

    /// Takes a Registry that is Ready.
    pub(super) async fn of(context: &'a Context<'a>, registry: Registry) -> Result<Self> {
        let ca = registry.ca_certificate(context.cluster).await?;
        context.cluster.trust(&registry.host, &ca)?;
        let ca_file = context.dir.join(format!("{}.crt", registry.name));
        std::fs::write(&ca_file, &ca)?;
        Ok(Self {
            context,
            registry,
            ca,
            ca_file,
        })
    }

    /// `https://<host>/`, the address of its Ingress.
    pub(super) fn url(&self) -> Result<Url> {
        Ok(Url::parse(&format!("https://{}/", self.registry.host))?)
    }

    /// The Service's name and port, for other Pods.
    pub(super) fn service(&self) -> String {
        format!("{}.{}.svc:5000", self.registry.name, self.registry.namespace)
    }

    /// A client of one of its repositories, through the Ingress.
    pub(super) fn repository(&self, name: &str) -> Result<Repository> {
        let address = SocketAddr::new(self.context.cluster.ingress_address(), 443);
        let client = reqwest::Client::builder()
            .no_proxy()
            .tls_certs_only([reqwest::Certificate::from_pem(self.ca.as_bytes())?])
            .resolve(&self.registry.host, address)
            .build()?;
        let login = (USER.to_owned(), self.registry.password.clone());
        Ok(Repository::new(client, self.url()?, name, Some(login)))
    }

    /// `kubectl` in its namespace.
    pub(super) fn kubectl(&self) -> Exec {
        self.context
            .cluster
            .kubectl()
            .arg(format!("--namespace={}", self.registry.namespace))
    }

    /// curl on the node, trusting its CA and logged in. The password goes through standard input.
    pub(super) fn curl(&self) -> Exec {
        self.context
            .clients()
            .curl()
            .args(["--noproxy", "*", "--config", "-", "--cacert"])
            .arg(&self.ca_file)
            .stdin(format!("user = \"{USER}:{}\"\n", self.registry.password))
    }

    /// Gives docker's small sample image a name in this Registry and logs docker in.
    pub(super) async fn sample(&self, repository: &str) -> Result<String> {
        let clients = self.context.clients();
        clients.load_first_images().await?;
        let reference = format!("{}/{repository}:1", self.registry.host);
        clients
            .docker()
            .args(["tag", local::BUSYBOX_IMAGE, &reference])
            .success()
            .await?;
        clients
            .login(&self.registry.host, USER, &self.registry.password)
            .await?;
        Ok(reference)
    }

    /// Runs a Pod that PodSecurity `restricted` admits until it ends. Gives the Pod and its output.
    pub(super) async fn run_pod(&self, name: &str, mut spec: Value) -> Result<(Pod, String)> {
        let log = async || {
            self.kubectl()
                .args(["logs", name, "--all-containers"])
                .output()
                .await
                .map(|done| done.all())
        };
        spec["restartPolicy"] = "Never".into();
        let pods = self.create_pod(name, spec).await?;
        let ended = wait_for(&format!("Pod `{name}` to end"), POD_LIMIT, async || {
            let pod = pods.get(name).await?;
            let status = pod.status.clone().unwrap_or_default();
            Ok(match status.phase.as_deref() {
                Some("Succeeded") => Seen::Done(pod),
                Some("Failed") => {
                    Seen::Never(anyhow::anyhow!("it failed, having printed:\n{}", log().await?))
                }
                _ => Seen::NotYet(serde_json::to_string(&status.container_statuses)?),
            })
        })
        .await?;
        Ok((ended, log().await?))
    }

    /// Creates a Pod that PodSecurity `restricted` admits.
    pub(super) async fn create_pod(&self, name: &str, spec: Value) -> Result<Api<Pod>> {
        let spec = restricted(spec)?;
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": self.registry.namespace}, "spec": spec});
        self.kubectl()
            .args(["create", "-f", "-"])
            .stdin(pod.to_string())
            .success()
            .await?;
        Ok(Api::namespaced(
            self.context.cluster.client().await?,
            &self.registry.namespace,
        ))
    }

    /// The Pods of the Registry itself, without those that are being deleted.
    pub(super) async fn server_pods(&self) -> Result<Vec<Pod>> {
        let object = self
            .registry
            .api(self.context.cluster)
            .await?
            .get(&self.registry.name)
            .await?;
        let selector = object.data["status"]["selector"]
            .as_str()
            .context("the status has no selector")?
            .to_owned();
        let pods: Api<Pod> = Api::namespaced(self.context.cluster.client().await?, &self.registry.namespace);
        let all = pods
            .list(&kube::api::ListParams::default().labels(&selector))
            .await?;
        Ok(all
            .into_iter()
            .filter(|pod| pod.metadata.deletion_timestamp.is_none())
            .collect())
    }
}

/// A Pod's spec with the settings that PodSecurity `restricted` requires.
pub(super) fn restricted(mut spec: Value) -> Result<Value> {
    spec["automountServiceAccountToken"] = false.into();
    spec["enableServiceLinks"] = false.into();
    spec["securityContext"] =
        json!({"runAsNonRoot": true, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}});
    for container in spec["containers"]
        .as_array_mut()
        .context("a Pod without containers")?
    {
        container["securityContext"] =
            json!({"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}});
    }
    Ok(spec)
}

/// Builds an image of busybox and one more program, called `name`, for docker and the kubelet. Gives the image's
/// name.
pub(super) async fn image_with(context: &Context<'_>, program: &Path, name: &str) -> Result<String> {
    let clients = context.clients();
    clients.load_first_images().await?;
    let folder = context.dir.join(format!("{name}-image"));
    std::fs::create_dir(&folder)?;
    std::fs::copy(program, folder.join(name))?;
    std::fs::write(
        folder.join("Dockerfile"),
        format!("FROM {}\nCOPY {name} /bin/{name}\n", local::BUSYBOX_IMAGE),
    )?;
    let image = format!("berth.test/{name}:1");
    clients.build(&image, &folder).await?;
    context.cluster.load_image(&image).await?;
    Ok(image)
}

/// Compares two values. The error shows both.
#[track_caller]
pub(super) fn same<T: PartialEq + std::fmt::Debug>(what: &str, expected: &T, got: &T) -> Result<()> {
    ensure!(expected == got, "{what}\nexpected: {expected:?}\ngot: {got:?}");
    Ok(())
}

/// Whether a client says that a login is missing or wrong.
pub(super) fn says_unauthorized(said: &str) -> bool {
    let words = [
        "401",
        "unauthorized",
        "no basic auth credentials",
        "authentication required",
    ];
    words.iter().any(|word| said.contains(word))
}

/// Whether the kubelet says that a pull was refused because it had no login.
pub(super) fn pull_is_refused(said: &str) -> bool {
    let words = ["401", "authorization failed", "no basic auth credentials"];
    words.iter().any(|word| said.contains(word))
}
