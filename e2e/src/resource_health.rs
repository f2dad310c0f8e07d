//! The health of a Registry as deployment tools see it: Flux by kstatus, Argo CD by the script in `config/argocd`.
//!
//! Guarantees: both are asked themselves, kstatus as a library and the script in Argo CD's interpreter. Start at
//! [`ResourceHealth::of`].

use anyhow::{Context as _, Result};
use kube::api::DynamicObject;
use serde::Deserialize;

use crate::cache::Cache;
use crate::exec::Exec;
use crate::images::checkout;
use crate::tools::Tool;

/// The health of an object to both tools.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ResourceHealth {
    /// `InProgress`, `Current`, `Failed` or `Terminating`.
    pub kstatus: String,
    /// Its reason.
    pub kstatus_message: String,
    /// `Progressing`, `Healthy`, `Degraded` or `Suspended`.
    pub argo: String,
    /// Its reason.
    pub argo_message: String,
}

impl ResourceHealth {
    /// Asks both tools about an object as it is stored.
    ///
    /// # Errors
    /// The program cannot be built, or the script fails.
    pub async fn of(object: &DynamicObject) -> Result<Self> {
        let program = Tool::ResourceHealth
            .path(&Cache::open()?, |what| eprintln!("{what}"))
            .await?;
        let answer = Exec::new(program)
            .arg(checkout().join("config/argocd/health.lua"))
            .stdin(serde_json::to_string(&[object])?)
            .success()
            .await?;
        let mut all: Vec<Self> = serde_json::from_str(&answer).context("the answer is no list of healths")?;
        all.pop().context("one object has one health")
    }
}
