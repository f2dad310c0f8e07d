//! A program that runs for as long as a case needs it, where the cluster's names are known.
//!
//! Guarantees: it is killed when its [`NodeProgram`] is dropped; its log is saved when the case fails. Start at
//! [`NodeProgram::start`].

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use tokio::process::Child;

use crate::exec::{Exec, tail};
use crate::pki::write_secret;
use crate::provider::Cluster;

/// Runs its arguments until standard input ends. The program may be in another PID namespace, where a signal to the child
/// that this process has does not reach it.
const UNTIL_INPUT_ENDS: &str = "\"$@\" & cat > /dev/null; kill $!; wait";

/// A running program.
pub(super) struct NodeProgram {
    log: PathBuf,
    _process: Child,
}

impl NodeProgram {
    /// Starts a command. `place` puts it where it has to run, for example [`Cluster::node`].
    pub(super) fn start(
        name: &str,
        dir: &Path,
        command: Exec,
        place: impl FnOnce(Exec) -> Result<Exec>,
    ) -> Result<Self> {
        let log = dir.join(format!("{name}.log"));
        let command = command.within(Exec::new("sh").args(["-c", UNTIL_INPUT_ENDS, "sh"]));
        let process = place(command)?.started(&log)?;
        Ok(Self {
            log,
            _process: process,
        })
    }

    /// The end of its log, for errors.
    pub(super) fn log(&self) -> String {
        tail(&fs::read_to_string(&self.log).unwrap_or_default(), 8)
    }
}

/// A kubeconfig of a cluster's administrator with one context, for programs that cannot be told which.
pub(super) async fn kubeconfig(cluster: &Cluster, dir: &Path) -> Result<PathBuf> {
    let text = cluster
        .kubectl()
        .args(["config", "view", "--minify", "--flatten", "--raw"])
        .success()
        .await?;
    let path = dir.join("kubeconfig");
    write_secret(&path, &text)?;
    Ok(path)
}
