//! A docker engine of the suite's own on this machine, for pushes and pulls alone.
//!
//! Guarantees: it makes no bridge, no firewall rule and no image of anybody else's; everything it keeps lies in its folder.
//! It can run nothing: containers are the cluster's matter. Start at [`Engine::start`].

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

use crate::exec::Exec;
use crate::local;
use crate::wait::{Seen, wait_for};

/// How long it may take to answer, and to end.
const LIMIT: Duration = Duration::from_secs(60);

/// A running engine, killed with its containerd when it is dropped.
pub(crate) struct Engine {
    process: Child,
    folder: PathBuf,
}

impl Engine {
    /// Starts one that keeps its things in `folder/engine`, and gives it the suite's small images.
    ///
    /// # Errors
    /// It ends, or does not answer in time.
    pub(crate) async fn start(folder: &Path) -> Result<Self> {
        let log = std::fs::File::create(folder.join("engine.log"))?;
        let folder = folder.join("engine");
        std::fs::create_dir(&folder).with_context(|| format!("cannot make `{}`", folder.display()))?;
        let path = |name: &str| folder.join(name).display().to_string();
        let process = Command::new("/usr/sbin/dockerd")
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

    /// Ends it in good order.
    ///
    /// # Errors
    /// It does not end in time.
    pub(crate) async fn stop(mut self) -> Result<()> {
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
