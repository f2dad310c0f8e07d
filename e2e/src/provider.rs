//! The cluster under test behind one interface, for the cases and `cargo xtask up`.
//!
//! Guarantees: an existing cluster is used only by an explicit kubeconfig and context; `KUBECONFIG` and
//! `~/.kube/config` are never read. An operation that a provider cannot do is an error that says what is missing.
//! Must not: decide what is tested. Start at [`Cluster`].

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, Result, bail};

use crate::audit::Marker;
use crate::client_programs::ClientPrograms;
use crate::exec::Exec;
use crate::kind::Kind;
use crate::kubeconfig;
use crate::local::{DOMAIN, Local};

/// A cluster to run against.
#[derive(Debug)]
pub enum Cluster {
    /// A cluster that somebody else runs.
    Existing(Existing),
    /// A cluster that kind makes in this machine's docker.
    Kind(Kind),
    /// The cluster that this suite makes, in namespaces of this machine.
    Local(Box<Local>),
}

/// How to reach a cluster that somebody else runs.
#[derive(Debug)]
pub struct Existing {
    /// The file with the credentials.
    pub kubeconfig: PathBuf,
    /// Its context; there is no default.
    pub context: String,
    /// The operator's image, where the cluster's nodes can pull it.
    pub operator_image: String,
    /// The server's image, where the cluster's nodes can pull it.
    pub registry_image: String,
    /// The address of its Ingress controller for class `nginx`.
    pub ingress_address: IpAddr,
    /// A domain under which every name resolves to that address, for its Pods and nodes too.
    pub domain: String,
    /// The suite's own programs.
    pub programs: ClientPrograms,
    /// The folders that [`Cluster::trust`] made on this machine; empty at first.
    pub trusted: Mutex<Vec<PathBuf>>,
}

/// The name of the operator's image that the suite builds and loads.
pub const OPERATOR_IMAGE: &str = concat!("berth/operator:", env!("CARGO_PKG_VERSION"));
/// The name of the server's image that the suite builds and loads.
pub const REGISTRY_IMAGE: &str = concat!("berth/registry:", env!("CARGO_PKG_VERSION"));

impl Cluster {
    /// The administrator's kubeconfig.
    #[must_use]
    pub fn kubeconfig(&self) -> &Path {
        match self {
            Cluster::Existing(existing) => &existing.kubeconfig,
            Cluster::Kind(kind) => kind.kubeconfig(),
            Cluster::Local(local) => local.kubeconfig(),
        }
    }

    /// Its context.
    #[must_use]
    pub fn context(&self) -> &str {
        match self {
            Cluster::Existing(existing) => &existing.context,
            Cluster::Kind(kind) => kind.context(),
            Cluster::Local(_) => kubeconfig::CONTEXT,
        }
    }

    /// A client with the kubeconfig's rights.
    ///
    /// # Errors
    /// The kubeconfig is unreadable.
    pub async fn client(&self) -> Result<kube::Client> {
        kubeconfig::client(self.kubeconfig(), self.context()).await
    }

    /// kubectl with these credentials, run on this machine.
    #[must_use]
    pub fn kubectl(&self) -> Exec {
        self.programs().kubectl(self.kubeconfig(), self.context())
    }

    /// Creates the objects of these files. What somebody else installed is an error, so that it is neither changed nor
    /// deleted.
    ///
    /// # Errors
    /// The API server refuses an object, or has it already.
    pub async fn create_files(&self, files: &[PathBuf]) -> Result<()> {
        for file in files {
            let create = self.kubectl().args(["create", "--filename"]);
            create.arg(file).success().await?;
        }
        Ok(())
    }

    /// Deletes the objects of these files that are there.
    ///
    /// # Errors
    /// The API server refuses a deletion.
    pub async fn delete_files(&self, files: &[PathBuf]) -> Result<()> {
        for file in files {
            let delete = self
                .kubectl()
                .args(["delete", "--ignore-not-found", "--filename"]);
            delete.arg(file).success().await?;
        }
        Ok(())
    }

    /// The suite's own programs.
    #[must_use]
    pub fn programs(&self) -> &ClientPrograms {
        match self {
            Cluster::Existing(existing) => &existing.programs,
            Cluster::Kind(kind) => kind.programs(),
            Cluster::Local(local) => local.clients(),
        }
    }

    /// The command, run where docker is and where names under [`Cluster::domain`] lead to the Ingress: inside the
    /// local cluster's namespaces, or on this machine.
    #[must_use]
    pub fn node(&self, command: Exec) -> Exec {
        match self {
            Cluster::Existing(_) | Cluster::Kind(_) => command,
            Cluster::Local(local) => local.exec(command),
        }
    }

    /// The command, run where the kubelet's containerd is.
    ///
    /// # Errors
    /// The nodes are somebody else's.
    pub fn kubelet_node(&self, command: Exec) -> Result<Exec> {
        match self {
            Cluster::Existing(_) => bail!("nothing can be run on the nodes of an existing cluster"),
            Cluster::Kind(kind) => Ok(kind.inside_node(command)),
            Cluster::Local(local) => Ok(local.exec(command)),
        }
    }

    /// The kubelet's own folder, and a kubeconfig, as commands of [`Cluster::kubelet_node`] see them.
    ///
    /// # Errors
    /// The nodes are somebody else's.
    pub fn kubelet_files(&self) -> Result<(PathBuf, PathBuf)> {
        match self {
            Cluster::Existing(_) => bail!("the kubelets of an existing cluster are somebody else's"),
            Cluster::Kind(_) => Ok(("/var/lib/kubelet".into(), "/etc/kubernetes/admin.conf".into())),
            Cluster::Local(local) => Ok((local.kubelet_folder(), local.kubeconfig().to_owned())),
        }
    }

    /// Puts a static program where commands of [`Cluster::kubelet_node`] see it, and gives its path there.
    ///
    /// # Errors
    /// It cannot be copied, or the nodes are somebody else's.
    pub async fn onto_kubelet_node(&self, program: &Path) -> Result<PathBuf> {
        match self {
            Cluster::Existing(_) => bail!("nothing can be put onto the nodes of an existing cluster"),
            Cluster::Kind(kind) => kind.copy_to_node(program).await,
            Cluster::Local(_) => Ok(program.to_owned()),
        }
    }

    /// The path of a file that commands of [`Cluster::node`] see, for reading and writing from here.
    #[must_use]
    pub fn inside(&self, path: &str) -> PathBuf {
        match self {
            Cluster::Existing(_) | Cluster::Kind(_) => PathBuf::from(path),
            Cluster::Local(local) => local.inside(path),
        }
    }

    /// Copies an image from docker to the kubelet's containerd, without a registry.
    ///
    /// # Errors
    /// docker does not have it, or the nodes are somebody else's.
    pub async fn load_image(&self, image: &str) -> Result<()> {
        match self {
            Cluster::Existing(_) => {
                bail!("`{image}` cannot be put onto the nodes of an existing cluster; push it")
            }
            Cluster::Kind(kind) => kind.load_image(image).await,
            Cluster::Local(local) => local.load_image(image).await,
        }
    }

    /// The address of the Ingress controller.
    #[must_use]
    pub fn ingress_address(&self) -> IpAddr {
        match self {
            Cluster::Existing(existing) => existing.ingress_address,
            Cluster::Kind(kind) => kind.address(),
            Cluster::Local(local) => IpAddr::V4(local.address()),
        }
    }

    /// A domain under which every name resolves to the Ingress controller.
    #[must_use]
    pub fn domain(&self) -> &str {
        match self {
            Cluster::Existing(existing) => &existing.domain,
            Cluster::Kind(kind) => kind.domain(),
            Cluster::Local(_) => DOMAIN,
        }
    }

    /// The images of the operator's Deployment and of its Registries.
    #[must_use]
    pub fn images(&self) -> (&str, &str) {
        match self {
            Cluster::Existing(existing) => (&existing.operator_image, &existing.registry_image),
            Cluster::Kind(_) | Cluster::Local(_) => (OPERATOR_IMAGE, REGISTRY_IMAGE),
        }
    }

    /// Makes docker and containerd trust a CA for one registry (`host` or `host:port`). With an existing cluster this
    /// changes only the machine the suite runs on; other nodes must trust the CA already. [`Cluster::forget`] removes
    /// the files again.
    ///
    /// # Errors
    /// The files cannot be written.
    pub fn trust(&self, registry: &str, ca: &str) -> Result<()> {
        // docker and containerd read these folders at each request, so nothing has to be restarted.
        let docker = self.inside(&format!("/etc/docker/certs.d/{registry}"));
        let containerd = match self {
            Cluster::Kind(kind) => kind.trust_folder().join(registry),
            Cluster::Existing(_) | Cluster::Local(_) => {
                self.inside(&format!("/etc/containerd/certs.d/{registry}"))
            }
        };
        for folder in [&docker, &containerd] {
            self.remember(folder);
            fs::create_dir_all(folder).with_context(|| format!("cannot create `{}`", folder.display()))?;
            write_changed(&folder.join("ca.crt"), ca)?;
        }
        let text = format!(
            "server = \"https://{registry}\"\n[host.\"https://{registry}\"]\n  ca = \"/etc/containerd/certs.d/{registry}/ca.crt\"\n"
        );
        write_changed(&containerd.join("hosts.toml"), &text)
    }

    /// Notes a folder that does not exist yet, so that [`Cluster::forget`] removes it. The files of a local cluster end
    /// with it.
    fn remember(&self, folder: &Path) {
        let made = match self {
            Cluster::Existing(existing) => &existing.trusted,
            Cluster::Kind(kind) => kind.trusted(),
            Cluster::Local(_) => return,
        };
        if !folder.exists() {
            let mut made = made.lock().unwrap_or_else(PoisonError::into_inner);
            made.push(folder.to_owned());
        }
    }

    /// Removes the files that [`Cluster::trust`] wrote on this machine.
    ///
    /// # Errors
    /// A folder cannot be removed.
    pub fn forget(&self) -> Result<()> {
        let made = match self {
            Cluster::Existing(existing) => &existing.trusted,
            Cluster::Kind(kind) => kind.trusted(),
            Cluster::Local(_) => return Ok(()),
        };
        for folder in std::mem::take(&mut *made.lock().unwrap_or_else(PoisonError::into_inner)) {
            fs::remove_dir_all(&folder).with_context(|| format!("cannot remove `{}`", folder.display()))?;
        }
        Ok(())
    }

    /// The current end of the API server's audit log.
    ///
    /// # Errors
    /// The API server is somebody else's.
    pub fn audit(&self) -> Result<Marker> {
        match self {
            Cluster::Existing(_) => bail!("the audit log of an existing cluster cannot be read"),
            Cluster::Kind(kind) => Marker::now(&kind.audit_log()),
            Cluster::Local(local) => Marker::now(local.audit_log()),
        }
    }
}

fn write_changed(file: &Path, text: &str) -> Result<()> {
    if fs::read_to_string(file).is_ok_and(|there| there == text) {
        return Ok(());
    }
    fs::write(file, text).with_context(|| format!("cannot write `{}`", file.display()))
}
