//! The programs of a local cluster.

use std::path::PathBuf;

use anyhow::Result;

use crate::cache::Cache;
use crate::client_programs::ClientPrograms;
use crate::output::Step;
use crate::tools::Tool;

/// The programs of a cluster.
#[derive(Clone, Debug)]
pub struct Programs {
    pub(crate) kubernetes: PathBuf,
    pub(crate) coredns: PathBuf,
    pub(crate) traefik: PathBuf,
    pub(crate) local_path_provisioner: PathBuf,
    pub(crate) crane: PathBuf,
}

impl Programs {
    /// Builds the programs that the cache does not have.
    ///
    /// # Errors
    /// As [`Tool::path`].
    pub async fn provide(cache: &Cache, step: &Step) -> Result<Self> {
        let path = async |tool: Tool| tool.path(cache, |what| step.note(what)).await;
        Ok(Self {
            kubernetes: path(Tool::Kubernetes).await?,
            coredns: path(Tool::CoreDns).await?,
            traefik: path(Tool::Traefik).await?,
            local_path_provisioner: path(Tool::LocalPathProvisioner).await?,
            crane: path(Tool::Crane).await?,
        })
    }

    /// The two of them that people call, for any cluster.
    #[must_use]
    pub fn clients(&self) -> ClientPrograms {
        ClientPrograms::new(&self.kubernetes, &self.crane)
    }
}
