//! The cluster under test behind one interface: what the cases and `cargo xtask up` may ask of it.
//!
//! Guarantees: an existing cluster is used only by an explicit kubeconfig and context; `KUBECONFIG` and
//! `~/.kube/config` are never read. Differences between providers show as errors that say what is missing.
//! Must not: decide what is tested. Start at [`Cluster`]; a provider for `kind` is to be a third variant.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, Result, bail};

use crate::audit::Marker;
use crate::exec::Exec;
use crate::kubeconfig;
use crate::local::{DOMAIN, Local, Programs};

/// A cluster to run against.
#[derive(Debug)]
pub enum Cluster {
    /// One that somebody else runs.
    Existing(Existing),
    /// The one this suite makes, in namespaces of this machine.
    Local(Local),
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
    /// Where its Ingress controller for class `nginx` listens.
    pub ingress_address: IpAddr,
    /// A domain of which any name leads to that address, for its Pods and nodes too.
    pub domain: String,
    /// The suite's own programs.
    pub programs: Programs,
    /// Folders of this machine that [`Cluster::trust`] made; begins empty.
    pub trusted: Mutex<Vec<PathBuf>>,
}

/// The image names under which the suite builds and loads its own.
pub const OPERATOR_IMAGE: &str = concat!("berth/operator:", env!("CARGO_PKG_VERSION"));
/// As [`OPERATOR_IMAGE`].
pub const REGISTRY_IMAGE: &str = concat!("berth/registry:", env!("CARGO_PKG_VERSION"));

impl Cluster {
    /// The administrator's kubeconfig.
    #[must_use]
    pub fn kubeconfig(&self) -> &Path {
        match self {
            Cluster::Existing(existing) => &existing.kubeconfig,
            Cluster::Local(local) => local.kubeconfig(),
        }
    }

    /// Its context.
    #[must_use]
    pub fn context(&self) -> &str {
        match self {
            Cluster::Existing(existing) => &existing.context,
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

    /// The suite's own programs.
    #[must_use]
    pub fn programs(&self) -> &Programs {
        match self {
            Cluster::Existing(existing) => &existing.programs,
            Cluster::Local(local) => local.programs(),
        }
    }

    /// The command, to be run where docker is and where [`Cluster::domain`] leads to the Ingress: inside the local
    /// cluster's namespaces, or on this machine.
    #[must_use]
    pub fn node(&self, command: Exec) -> Exec {
        match self {
            Cluster::Existing(_) => command,
            Cluster::Local(local) => local.exec(command),
        }
    }

    /// A file as commands of [`Cluster::node`] see it, for reading and writing from here.
    #[must_use]
    pub fn inside(&self, path: &str) -> PathBuf {
        match self {
            Cluster::Existing(_) => PathBuf::from(path),
            Cluster::Local(local) => local.inside(path),
        }
    }

    /// Makes an image of docker's runnable by the kubelet, without a registry in between.
    ///
    /// # Errors
    /// docker does not have it, or the nodes are somebody else's.
    pub async fn load_image(&self, image: &str) -> Result<()> {
        match self {
            Cluster::Existing(_) => {
                bail!("`{image}` cannot be put onto the nodes of an existing cluster; push it")
            }
            Cluster::Local(local) => local.load_image(image).await,
        }
    }

    /// Where the Ingress controller listens.
    #[must_use]
    pub fn ingress_address(&self) -> IpAddr {
        match self {
            Cluster::Existing(existing) => existing.ingress_address,
            Cluster::Local(local) => IpAddr::V4(local.address()),
        }
    }

    /// A domain of which any name leads to the Ingress controller.
    #[must_use]
    pub fn domain(&self) -> &str {
        match self {
            Cluster::Existing(existing) => &existing.domain,
            Cluster::Local(_) => DOMAIN,
        }
    }

    /// The images the operator's Deployment and its Registries run.
    #[must_use]
    pub fn images(&self) -> (&str, &str) {
        match self {
            Cluster::Existing(existing) => (&existing.operator_image, &existing.registry_image),
            Cluster::Local(_) => (OPERATOR_IMAGE, REGISTRY_IMAGE),
        }
    }

    /// Has docker and containerd trust an authority for one registry (`host` or `host:port`). With an existing
    /// cluster this reaches only the machine the suite runs on; other nodes have to trust it already. What is
    /// written there is taken back by [`Cluster::forget`].
    ///
    /// # Errors
    /// The files cannot be written.
    pub fn trust(&self, registry: &str, ca: &str) -> Result<()> {
        // Both read their folder for each request; nothing has to be restarted.
        for program in ["docker", "containerd"] {
            let folder = self.inside(&format!("/etc/{program}/certs.d/{registry}"));
            if let Cluster::Existing(existing) = self
                && !folder.exists()
            {
                existing
                    .trusted
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(folder.clone());
            }
            fs::create_dir_all(&folder).with_context(|| format!("cannot create `{}`", folder.display()))?;
            write_changed(&folder.join("ca.crt"), ca)?;
        }
        let text = format!(
            "server = \"https://{registry}\"\n[host.\"https://{registry}\"]\n  ca = \"/etc/containerd/certs.d/{registry}/ca.crt\"\n"
        );
        write_changed(
            &self.inside(&format!("/etc/containerd/certs.d/{registry}/hosts.toml")),
            &text,
        )
    }

    /// Takes back what [`Cluster::trust`] wrote on a machine that stays. A local cluster's files go with it.
    ///
    /// # Errors
    /// A folder cannot be removed.
    pub fn forget(&self) -> Result<()> {
        let Cluster::Existing(existing) = self else {
            return Ok(());
        };
        for folder in std::mem::take(&mut *existing.trusted.lock().unwrap_or_else(PoisonError::into_inner)) {
            fs::remove_dir_all(&folder).with_context(|| format!("cannot remove `{}`", folder.display()))?;
        }
        Ok(())
    }

    /// The present end of the API server's audit log.
    ///
    /// # Errors
    /// The API server is somebody else's.
    pub fn audit(&self) -> Result<Marker> {
        match self {
            Cluster::Existing(_) => bail!("the audit log of an existing cluster cannot be read"),
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
