//! kubectl and crane: what the suite needs with any cluster, whoever made it.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::cache::Cache;
use crate::exec::Exec;
use crate::output::{Hint, Step};
use crate::tools::Tool;

/// kubectl and crane.
#[derive(Clone, Debug)]
pub struct ClientPrograms {
    kubectl: Exec,
    pub(crate) crane: PathBuf,
}

impl ClientPrograms {
    /// kubectl as part of the program that has all Kubernetes components, and crane.
    #[must_use]
    pub fn new(kubernetes: &Path, crane: &Path) -> Self {
        Self {
            kubectl: Exec::new(kubernetes).arg("kubectl"),
            crane: crane.to_owned(),
        }
    }

    /// Both, compiled by the suite.
    ///
    /// # Errors
    /// As [`Tool::path`].
    pub async fn compiled(cache: &Cache, step: &Step) -> Result<Self> {
        let kubernetes = Tool::kubernetes()?.path(cache, |what| step.note(what)).await?;
        let crane = Tool::Crane.path(cache, |what| step.note(what)).await?;
        Ok(Self::new(&kubernetes, &crane))
    }

    /// The kubectl of this machine, which saves compiling all of Kubernetes, and crane.
    ///
    /// # Errors
    /// There is no kubectl, or as [`Tool::path`].
    pub async fn of_this_machine(cache: &Cache, step: &Step) -> Result<Self> {
        let kubectl = Exec::new("kubectl");
        let version = kubectl.clone().args(["version", "--client"]).success().await;
        version
            .context("kubectl does not run")
            .map_err(|error| Hint::on(error, "install kubectl"))?;
        let crane = Tool::Crane.path(cache, |what| step.note(what)).await?;
        Ok(Self { kubectl, crane })
    }

    /// kubectl, with these credentials and no others.
    #[must_use]
    pub fn kubectl(&self, kubeconfig: &Path, context: &str) -> Exec {
        self.kubectl
            .clone()
            .arg(format!("--kubeconfig={}", kubeconfig.display()))
            .arg(format!("--context={context}"))
    }

    /// The registry client `crane`.
    #[must_use]
    pub fn crane(&self) -> Exec {
        Exec::new(&self.crane)
    }
}
