//! A CSI driver of the suite's own, the sidecars and the controller that make VolumeSnapshots of its volumes. Start at
//! [`Snapshots::start`].

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::cache::Cache;
use crate::cases::node_program::NodeProgram;
use crate::exec::Exec;
use crate::runner::Context;
use crate::tools::Tool;
use crate::wait::{Seen, wait_for};

/// The driver's name, which its program knows too.
const DRIVER: &str = "folder.csi.berth.test";
/// The name of the storage class and of the snapshot class.
pub(super) const CLASS: &str = "folder";
/// Time for a volume, a snapshot or a program. Generous, because the machine may be busy.
const LIMIT: Duration = Duration::from_secs(180);
/// The module with the definitions.
const MODULE: &str = "github.com/kubernetes-csi/external-snapshotter/client/v8";
/// The definitions, below `config/crd`.
const DEFINITIONS: [&str; 3] = [
    "snapshot.storage.k8s.io_volumesnapshotclasses.yaml",
    "snapshot.storage.k8s.io_volumesnapshotcontents.yaml",
    "snapshot.storage.k8s.io_volumesnapshots.yaml",
];

/// The running programs.
pub(super) struct Snapshots<'a> {
    context: &'a Context<'a>,
    namespace: String,
    programs: Vec<NodeProgram>,
}

impl<'a> Snapshots<'a> {
    /// Installs the definitions and classes, and starts the programs.
    pub(super) async fn start(context: &'a Context<'a>, namespace: &str) -> Result<Self> {
        let cluster = context.cluster;
        cluster.create_files(&definitions().await?).await?;
        let create = cluster.kubectl().args(["create", "--filename=-"]);
        create.stdin(classes().to_string()).success().await?;
        let (kubelet, kubeconfig) = cluster.kubelet_files()?;
        let socket = kubelet.join("plugins").join(DRIVER).join("csi.sock");
        let data = kubelet.join("plugins").join(DRIVER).join("data");
        let node = node(context).await?;
        let driver = [
            format!("--kubelet={}", kubelet.display()),
            format!("--data={}", data.display()),
            format!("--node={node}"),
        ];
        let api = format!("--kubeconfig={}", kubeconfig.display());
        let sidecar = [api.clone(), format!("--csi-address={}", socket.display())];
        let programs = vec![
            program(context, Tool::CsiFolder, &driver).await?,
            program(context, Tool::CsiProvisioner, &sidecar).await?,
            program(context, Tool::CsiSnapshotter, &sidecar).await?,
            program(context, Tool::SnapshotController, &[api]).await?,
        ];
        let snapshots = Self {
            context,
            namespace: namespace.to_owned(),
            programs,
        };
        snapshots.registered(&node).await?;
        Ok(snapshots)
    }

    /// Takes a snapshot of a claim and waits until it can be used.
    pub(super) async fn take(&self, name: &str, claim: &str) -> Result<()> {
        let snapshot = json!({"apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshot", "metadata": {"name": name},
            "spec": {"volumeSnapshotClassName": CLASS, "source": {"persistentVolumeClaimName": claim}}});
        let create = self.kubectl().args(["create", "--filename=-"]);
        create.stdin(snapshot.to_string()).success().await?;
        wait_for("the snapshot to be ready", LIMIT, async || {
            let get = self
                .kubectl()
                .args(["get", "volumesnapshot", name, "--output=json"]);
            let object: Value = serde_json::from_str(&get.success().await?)?;
            Ok(if object["status"]["readyToUse"] == true {
                Seen::Done(())
            } else {
                Seen::NotYet(format!("{}; {}", object["status"], self.logs()))
            })
        })
        .await
    }

    /// Creates a claim whose volume is made from a snapshot.
    pub(super) async fn restore(&self, snapshot: &str, claim: &str, labels: Value) -> Result<()> {
        let claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": claim, "labels": labels},
            "spec": {"storageClassName": CLASS, "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}},
                "dataSource": {"apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": snapshot}}});
        let create = self.kubectl().args(["create", "--filename=-"]);
        create.stdin(claim.to_string()).success().await.map(drop)
    }

    /// Deletes what has volumes or snapshots while the programs run, and then the definitions.
    pub(super) async fn remove(self) -> Result<()> {
        for kind in ["registries", "persistentvolumeclaims", "volumesnapshots"] {
            let delete = self.kubectl().args(["delete", kind, "--all", "--timeout=120s"]);
            delete.success().await.with_context(|| self.logs())?;
        }
        wait_for("the driver's volumes to go", LIMIT, async || {
            let get = self
                .context
                .cluster
                .kubectl()
                .args(["get", "persistentvolumes", "--output=json"]);
            let list: Value = serde_json::from_str(&get.success().await?)?;
            let volumes = list["items"].as_array().context("a list has items")?;
            let left = volumes
                .iter()
                .filter(|volume| volume["spec"]["storageClassName"] == CLASS)
                .count();
            Ok(match left {
                0 => Seen::Done(()),
                _ => Seen::NotYet(format!("{left} volumes; {}", self.logs())),
            })
        })
        .await?;
        let delete = self
            .context
            .cluster
            .kubectl()
            .args(["delete", "--ignore-not-found", "--filename=-"]);
        delete.stdin(classes().to_string()).success().await?;
        self.context.cluster.delete_files(&definitions().await?).await
    }

    /// Waits until the kubelet knows the driver.
    async fn registered(&self, node: &str) -> Result<()> {
        wait_for("the kubelet to know the driver", LIMIT, async || {
            let get = self
                .context
                .cluster
                .kubectl()
                .args(["get", "csinode", node, "--output=json"]);
            let object: Value = serde_json::from_str(&get.success().await?)?;
            let drivers = object["spec"]["drivers"].as_array().cloned().unwrap_or_default();
            Ok(match drivers.iter().any(|driver| driver["name"] == DRIVER) {
                true => Seen::Done(()),
                false => Seen::NotYet(self.logs()),
            })
        })
        .await
    }

    fn kubectl(&self) -> Exec {
        let namespace = format!("--namespace={}", self.namespace);
        self.context.cluster.kubectl().arg(namespace)
    }

    /// The ends of all logs, for errors.
    fn logs(&self) -> String {
        let logs: Vec<String> = self.programs.iter().map(NodeProgram::log).collect();
        logs.join("\n")
    }
}

async fn program(context: &Context<'_>, tool: Tool, args: &[String]) -> Result<NodeProgram> {
    let program = tool.path(&Cache::open()?, |_| ()).await?;
    let program = context.cluster.onto_kubelet_node(&program).await?;
    let command = Exec::new(program).args(args);
    NodeProgram::start(tool.name(), context.dir, command, |command| {
        context.cluster.kubelet_node(command)
    })
}

/// The only node.
async fn node(context: &Context<'_>) -> Result<String> {
    let get = context
        .cluster
        .kubectl()
        .args(["get", "nodes", "--output=jsonpath={.items[0].metadata.name}"]);
    get.success().await
}

/// The driver and its classes, as the cluster knows them.
fn classes() -> Value {
    let of = |api: &str, kind: &str, rest: Value| {
        let mut object = json!({"apiVersion": api, "kind": kind, "metadata": {"name": CLASS}});
        for (key, value) in rest.as_object().into_iter().flatten() {
            object[key] = value.clone();
        }
        object
    };
    json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "storage.k8s.io/v1", "kind": "CSIDriver", "metadata": {"name": DRIVER},
            "spec": {"attachRequired": false, "fsGroupPolicy": "None"}},
        of("storage.k8s.io/v1", "StorageClass", json!({"provisioner": DRIVER, "reclaimPolicy": "Delete"})),
        of("snapshot.storage.k8s.io/v1", "VolumeSnapshotClass", json!({"driver": DRIVER, "deletionPolicy": "Delete"})),
    ]})
}

/// The files of the definitions.
async fn definitions() -> Result<Vec<PathBuf>> {
    let folder = Tool::SnapshotController
        .dependency_folder(MODULE)
        .await?
        .join("config/crd");
    Ok(DEFINITIONS.iter().map(|name| folder.join(name)).collect())
}
