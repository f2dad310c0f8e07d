//! Flux's source-controller and kustomize-controller, restricted to the namespace of a case. Start at [`Flux::start`].

use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use kube::Api;
use kube::api::{ApiResource, DynamicObject};
use kube::core::GroupVersionKind;
use serde_json::{Value, json};

use crate::cache::Cache;
use crate::cases::node_program::{NodeProgram, kubeconfig};
use crate::cases::ready_registry::ReadyRegistry;
use crate::exec::Exec;
use crate::fixture::{USER, conditions};
use crate::ports;
use crate::tools::Tool;
use crate::wait::{Seen, wait_for};

/// The name of the source, of the Kustomization, and of the repository.
const NAME: &str = "fleet";
/// Time for a controller to start, and for its objects to go.
const LIMIT: Duration = Duration::from_secs(120);
/// Files with the definitions of the objects, below `config/crd/bases` of their modules.
const DEFINITIONS: [(Tool, &str, &[&str]); 2] = [
    (
        Tool::SourceController,
        "github.com/fluxcd/source-controller",
        &[
            "source.toolkit.fluxcd.io_buckets.yaml",
            "source.toolkit.fluxcd.io_externalartifacts.yaml",
            "source.toolkit.fluxcd.io_gitrepositories.yaml",
            "source.toolkit.fluxcd.io_helmcharts.yaml",
            "source.toolkit.fluxcd.io_helmrepositories.yaml",
            "source.toolkit.fluxcd.io_ocirepositories.yaml",
        ],
    ),
    (
        Tool::KustomizeController,
        "github.com/fluxcd/kustomize-controller",
        &["kustomize.toolkit.fluxcd.io_kustomizations.yaml"],
    ),
];

/// Both controllers, and a Registry that holds what they apply.
pub(super) struct Flux<'a> {
    pub(super) origin: &'a ReadyRegistry<'a>,
    _controllers: [NodeProgram; 2],
    pushes: Cell<usize>,
}

impl<'a> Flux<'a> {
    /// Installs the definitions and starts both controllers.
    pub(super) async fn start(origin: &'a ReadyRegistry<'a>) -> Result<Self> {
        let context = origin.context;
        context.cluster.create_files(&definitions().await?).await?;
        let kubeconfig = kubeconfig(context.cluster, context.dir).await?;
        let storage = context.dir.join("flux-storage");
        fs::create_dir(&storage)?;
        let artifacts = ports::free()?.to_string();
        let source = [
            format!("--storage-path={}", storage.display()),
            format!("--storage-addr={artifacts}"),
            format!("--storage-adv-addr={artifacts}"),
        ];
        Ok(Self {
            origin,
            _controllers: [
                controller(origin, &kubeconfig, Tool::SourceController, &source).await?,
                controller(origin, &kubeconfig, Tool::KustomizeController, &[]).await?,
            ],
            pushes: Cell::new(0),
        })
    }

    /// Pushes an artifact as `flux push artifact` does, with these objects and one ConfigMap. Tells Flux to look. Gives
    /// the digest.
    pub(super) async fn push(&self, objects: &[Value]) -> Result<String> {
        let number = self.pushes.replace(self.pushes.get() + 1);
        let dir = self.origin.context.dir.join(format!("artifact-{number}"));
        let manifests = dir.join("manifests");
        fs::create_dir_all(&manifests)?;
        let marker = json!({"apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "fleet-marker", "namespace": self.origin.registry.namespace},
            "data": {"push": number.to_string()}});
        for (at, object) in objects.iter().chain([&marker]).enumerate() {
            fs::write(manifests.join(format!("{at}.yaml")), object.to_string())?;
        }
        Exec::new("tar")
            .args([
                "--create",
                "--gzip",
                "--file=content.tgz",
                "--directory=manifests",
                ".",
            ])
            .dir(&dir)
            .success()
            .await?;
        fs::write(dir.join("config.json"), "{}")?;
        let oras = Tool::Oras.path(&Cache::open()?, |_| ()).await?;
        let push = Exec::new(oras)
            .args([
                "push",
                &self.repository(),
                "--config",
                "config.json:application/vnd.cncf.flux.config.v1+json",
            ])
            .arg("content.tgz:application/vnd.cncf.flux.content.v1.tar+gzip")
            .args([
                "--annotation",
                "org.opencontainers.image.source=https://git.example.com/fleet",
            ])
            .args([
                "--annotation",
                &format!("org.opencontainers.image.revision=main@sha1:{number}"),
            ])
            .args([
                "--username",
                USER,
                "--password-stdin",
                "--format=json",
                "--ca-file",
            ])
            .arg(&self.origin.ca_file)
            .dir(&dir)
            .stdin(self.origin.registry.password.clone());
        let told: Value = serde_json::from_str(&self.origin.context.cluster.node(push).success().await?)?;
        let digest = told["digest"]
            .as_str()
            .context("oras tells no digest")?
            .to_owned();
        if number > 0 {
            let at = format!("reconcile.fluxcd.io/requestedAt=push-{number}");
            self.origin
                .kubectl()
                .args(["annotate", "--overwrite", "ocirepository", NAME, &at])
                .success()
                .await?;
        }
        Ok(digest)
    }

    /// Applies the source and the Kustomization.
    pub(super) async fn follow(&self) -> Result<()> {
        let (repository, _) = self.repository_and_tag();
        let objects = json!({"apiVersion": "v1", "kind": "List", "items": [
            {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "origin-ca-for-flux"},
                "stringData": {"ca.crt": self.origin.ca}},
            {"apiVersion": "source.toolkit.fluxcd.io/v1", "kind": "OCIRepository", "metadata": {"name": NAME},
                "spec": {"interval": "1h", "url": format!("oci://{repository}"), "ref": {"tag": "main"},
                    "secretRef": {"name": self.origin.registry.pull_secret()},
                    "certSecretRef": {"name": "origin-ca-for-flux"}}},
            {"apiVersion": "kustomize.toolkit.fluxcd.io/v1", "kind": "Kustomization", "metadata": {"name": NAME},
                "spec": {"interval": "1h", "timeout": "4m", "path": "./", "prune": true, "wait": true,
                    "sourceRef": {"kind": "OCIRepository", "name": NAME}}},
        ]});
        let apply = self
            .origin
            .kubectl()
            .args(["apply", "--server-side", "--filename=-"]);
        apply.stdin(objects.to_string()).success().await.map(drop)
    }

    /// The Kustomization.
    pub(super) async fn kustomization(&self) -> Result<DynamicObject> {
        let api = self
            .api("kustomize.toolkit.fluxcd.io", "Kustomization", "kustomizations")
            .await?;
        Ok(api.get(NAME).await?)
    }

    /// The state of the source in its own words, for errors.
    pub(super) async fn source_state(&self) -> String {
        let api = self
            .api("source.toolkit.fluxcd.io", "OCIRepository", "ocirepositories")
            .await;
        let read = async || anyhow::Ok(conditions(&api?.get(NAME).await?));
        read().await.unwrap_or_else(|error| format!("{error:#}"))
    }

    /// Deletes the objects, while the controllers that remove their finalizers run, and then the definitions.
    pub(super) async fn remove(self) -> Result<()> {
        for kind in ["kustomizations", "ocirepositories"] {
            let delete = self
                .origin
                .kubectl()
                .args(["delete", kind, "--all", "--timeout=120s"]);
            let finished = delete.output().await?;
            ensure!(
                finished.status.success(),
                "Flux's objects do not go: {}",
                finished.all()
            );
        }
        self.origin
            .context
            .cluster
            .delete_files(&definitions().await?)
            .await
    }

    fn repository(&self) -> String {
        let (repository, tag) = self.repository_and_tag();
        format!("{repository}:{tag}")
    }

    fn repository_and_tag(&self) -> (String, &'static str) {
        (format!("{}/gitops/{NAME}", self.origin.registry.host), "main")
    }

    async fn api(&self, group: &str, kind: &str, plural: &str) -> Result<Api<DynamicObject>> {
        let resource = ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, "v1", kind), plural);
        let client = self.origin.context.cluster.client().await?;
        Ok(Api::namespaced_with(
            client,
            &self.origin.registry.namespace,
            &resource,
        ))
    }
}

/// Starts a controller and waits until it answers.
async fn controller(
    origin: &ReadyRegistry<'_>,
    kubeconfig: &Path,
    tool: Tool,
    args: &[String],
) -> Result<NodeProgram> {
    let context = origin.context;
    let program = tool.path(&Cache::open()?, |_| ()).await?;
    let health = ports::free()?;
    let command = Exec::new(program)
        .args([
            "--watch-all-namespaces=false",
            "--log-encoding=console",
            "--metrics-addr=0",
        ])
        .arg(format!("--health-addr={health}"))
        .args(args)
        .env("KUBECONFIG", kubeconfig)
        .env("RUNTIME_NAMESPACE", &origin.registry.namespace);
    let running = NodeProgram::start(tool.name(), context.dir, command, |command| {
        Ok(context.cluster.node(command))
    })?;
    let ask = context
        .clients()
        .curl()
        .args(["--fail", "--noproxy", "*", &format!("http://{health}/readyz")]);
    wait_for(&format!("{} to answer", tool.name()), LIMIT, async || {
        Ok(match ask.output().await?.status.success() {
            true => Seen::Done(()),
            false => Seen::NotYet(running.log()),
        })
    })
    .await?;
    Ok(running)
}

/// The files of all definitions.
async fn definitions() -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for (tool, module, names) in DEFINITIONS {
        let folder = tool.dependency_folder(module).await?.join("config/crd/bases");
        files.extend(names.iter().map(|name| folder.join(name)));
    }
    Ok(files)
}
