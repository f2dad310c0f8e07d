//! A docker engine that the suite starts on this machine, for pushes and pulls only.
//!
//! Guarantees: it makes no bridge and no firewall rule, and touches no other engine's images; all its data is in its
//! folder. It cannot run containers; the cluster does that. Start at [`DockerEngine::during`].

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

use crate::exec::Exec;
use crate::local;
use crate::wait::{Seen, wait_for};

/// Time limit for its first answer, and for its end.
const LIMIT: Duration = Duration::from_secs(60);

/// A running engine, killed with its containerd when it is dropped.
pub(crate) struct DockerEngine {
    process: Child,
    folder: PathBuf,
}

impl DockerEngine {
    /// Runs an engine while `work` runs. It is stopped in good order even when `work` fails: a killed dockerd would
    /// leave its containerd behind for a moment, which could keep the folder from being removed.
    ///
    /// # Errors
    /// `work` fails, or the engine does not start or does not end.
    pub(crate) async fn during(folder: &Path, work: impl AsyncFnOnce(&Self) -> Result<()>) -> Result<()> {
        let engine = Self::start(folder).await?;
        let done = work(&engine).await;
        let stopped = engine.stop().await;
        done.and(stopped)
    }

    /// Starts an engine with its data in `folder/engine`, and loads the suite's small images.
    async fn start(folder: &Path) -> Result<Self> {
        let log = std::fs::File::create(folder.join("engine.log"))?;
        let folder = folder.join("engine");
        std::fs::create_dir(&folder).with_context(|| format!("cannot make `{}`", folder.display()))?;
        let path = |name: &str| folder.join(name).display().to_string();
        // dockerd makes its data folder a mount. Outside a mount namespace of its own the mount would survive a kill.
        let process = Command::new("/usr/bin/unshare")
            .args(["--mount", "--", "/usr/sbin/dockerd"])
            .args([
                format!("--data-root={}", path("data")),
                format!("--exec-root={}", path("exec")),
                format!("--pidfile={}", path("pid")),
                format!("--host=unix://{}", path("socket")),
            ])
            .args([
                "--bridge=none",
                "--iptables=false",
                "--ip-forward=false",
                "--ip-masq=false",
                "--storage-driver=vfs",
            ])
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .context("cannot start `dockerd`")?;
        let mut engine = Self { process, folder };
        wait_for("a docker engine's first answer", LIMIT, async || {
            if let Some(status) = engine.process.try_wait()? {
                return Ok(Seen::Never(anyhow::anyhow!("dockerd ended with {status}")));
            }
            engine.docker().arg("version").success().await?;
            Ok(Seen::Done(()))
        })
        .await?;
        engine
            .docker()
            .arg("load")
            .stdin(local::first_images()?)
            .success()
            .await?;
        Ok(engine)
    }

    /// Debian's docker, talking to this engine.
    pub(crate) fn docker(&self) -> Exec {
        Exec::new("/usr/bin/docker")
            .env("DOCKER_HOST", format!("unix://{}/socket", self.folder.display()))
            .env("DOCKER_CONFIG", &self.folder)
    }

    async fn stop(mut self) -> Result<()> {
        let id = self.process.id().and_then(|id| i32::try_from(id).ok());
        let id = id
            .and_then(Pid::from_raw)
            .context("dockerd has ended by itself")?;
        kill_process(id, Signal::TERM).context("cannot stop dockerd")?;
        tokio::time::timeout(LIMIT, self.process.wait())
            .await
            .context("dockerd does not end")??;
        Ok(())
    }
}
