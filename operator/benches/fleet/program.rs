//! The operator as a process.

use std::fs::File;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use e2e::apiserver::ApiServer;
use serde_json::{Value, json};

use crate::FLEET;

/// The user as whom the operator works, so that its requests are known in the audit log.
pub(crate) const USER: &str = "bench-operator";

/// A running operator. It is killed when this is dropped.
pub(crate) struct Program {
    child: Child,
    _folder: tempfile::TempDir,
}

impl Program {
    /// Starts it as the Pod `pod`, with leader election.
    pub(crate) fn start(server: &ApiServer, pod: &str) -> Result<Self> {
        let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
        let kubeconfig = folder.path().join("kubeconfig");
        let text = std::fs::read_to_string(server.kubeconfig())?;
        let mut content: Value = serde_saphyr::from_str(&text).context("cannot read the kubeconfig")?;
        content["users"][0]["user"]["as"] = json!(USER);
        content["users"][0]["user"]["as-groups"] = json!(["system:masters"]);
        content["contexts"][0]["context"]["namespace"] = json!(FLEET);
        std::fs::write(&kubeconfig, content.to_string())?;
        let child = Command::new(env!("CARGO_BIN_EXE_operator"))
            .args(["run", "--health-address", "127.0.0.1:0"])
            .args([
                "--metrics-address",
                "off",
                "--debug-address",
                "off",
                "--kubeconfig",
            ])
            .arg(&kubeconfig)
            .env("POD_NAME", pod)
            .stdout(Stdio::null())
            .stderr(File::create(folder.path().join("log"))?)
            .spawn()
            .context("cannot start the operator")?;
        Ok(Self {
            child,
            _folder: folder,
        })
    }

    /// Its resident memory in bytes.
    pub(crate) fn memory(&self) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let line = line.context("the process has ended")?;
        let kib: u64 = line.trim().trim_end_matches(" kB").parse()?;
        Ok(kib * 1024)
    }

    /// SIGTERM, as the kubelet sends it, and the end of the process.
    pub(crate) async fn terminate(self) -> Result<()> {
        let sent = Command::new("kill")
            .args(["-TERM", &self.child.id().to_string()])
            .status()?;
        ensure!(sent.success(), "cannot send SIGTERM");
        let ended = tokio::task::spawn_blocking(move || {
            let mut program = self;
            program.child.wait()
        });
        let ended = ended.await??;
        ensure!(ended.success(), "the operator ended with {ended}");
        Ok(())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // One that has ended is what was wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
