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
    pub(crate) containerd: PathBuf,
    pub(crate) containerd_shim: PathBuf,
    pub(crate) ctr: PathBuf,
    pub(crate) coredns: PathBuf,
    pub(crate) traefik: PathBuf,
    pub(crate) local_path_provisioner: PathBuf,
    pub(crate) crane: PathBuf,
    pub(crate) current_docker: Option<CurrentDocker>,
}

/// docker of today: its command and its engine.
#[derive(Clone, Debug)]
pub(crate) struct CurrentDocker {
    pub(crate) command: PathBuf,
    pub(crate) engine: PathBuf,
}

impl Programs {
    /// Builds the programs that the cache does not have, without docker of today.
    ///
    /// # Errors
    /// As [`Tool::path`].
    pub async fn provide(cache: &Cache, step: &Step) -> Result<Self> {
        let path = async |tool: Tool| tool.path(cache, |what| step.note(what)).await;
        Ok(Self {
            kubernetes: path(Tool::kubernetes()?).await?,
            containerd: path(Tool::Containerd).await?,
            containerd_shim: path(Tool::ContainerdShim).await?,
            ctr: path(Tool::Ctr).await?,
            coredns: path(Tool::CoreDns).await?,
            traefik: path(Tool::Traefik).await?,
            local_path_provisioner: path(Tool::LocalPathProvisioner).await?,
            crane: path(Tool::Crane).await?,
            current_docker: None,
        })
    }

    /// The same with docker of today, which only the suite needs: a demonstration does without the minutes it takes.
    ///
    /// # Errors
    /// As [`Tool::path`].
    pub async fn with_current_docker(self, cache: &Cache, step: &Step) -> Result<Self> {
        let command = Tool::Docker.path(cache, |what| step.note(what)).await?;
        let engine = Tool::Dockerd.path(cache, |what| step.note(what)).await?;
        Ok(Self {
            current_docker: Some(CurrentDocker { command, engine }),
            ..self
        })
    }

    /// The two of them that people call, for any cluster.
    #[must_use]
    pub fn clients(&self) -> ClientPrograms {
        ClientPrograms::new(&self.kubernetes, &self.crane)
    }
}
