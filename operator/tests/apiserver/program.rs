//! The program itself, started as a Pod would start it.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::cluster::Cluster;

/// A running operator. It ends when this is dropped.
pub(crate) struct Program {
    child: Child,
    folder: tempfile::TempDir,
}

impl Program {
    /// With the administrator's rights, for the cluster's namespace.
    pub(crate) fn start(cluster: &Cluster, pod: &str) -> Result<Self> {
        let env = [
            ("BERTH_NAMESPACES", cluster.namespace.as_str()),
            ("POD_NAME", pod),
        ];
        Self::start_as(cluster, None, &env, &[])
    }

    /// As `user`, with these variables and further arguments.
    pub(crate) fn start_as(
        cluster: &Cluster,
        user: Option<&str>,
        env: &[(&str, &str)],
        arguments: &[&str],
    ) -> Result<Self> {
        let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
        let kubeconfig = folder.path().join("kubeconfig");
        let text = std::fs::read_to_string(cluster.server.kubeconfig())?;
        let mut content: Value = serde_saphyr::from_str(&text).context("cannot read the kubeconfig")?;
        if let Some(user) = user {
            content["users"][0]["user"]["as"] = user.into();
        }
        // The namespace of the Lease, which a Pod reads from its files.
        content["contexts"][0]["context"]["namespace"] = cluster.namespace.as_str().into();
        std::fs::write(&kubeconfig, content.to_string())?;
        let log = std::fs::File::create(folder.path().join("log"))?;
        let child = Command::new(env!("CARGO_BIN_EXE_operator"))
            .args(["run", "--health-address", "127.0.0.1:0"])
            .args([
                "--metrics-address",
                "127.0.0.1:0",
                "--debug-address",
                "127.0.0.1:0",
            ])
            .args(arguments)
            .arg("--kubeconfig")
            .arg(&kubeconfig)
            .envs(env.iter().copied())
            .stderr(log)
            .stdout(Stdio::null())
            .spawn()
            .context("cannot start the operator")?;
        Ok(Self { child, folder })
    }

    /// Its log.
    pub(crate) fn log(&self) -> Result<String> {
        let path: PathBuf = self.folder.path().join("log");
        std::fs::read_to_string(path).context("cannot read the log")
    }

    /// The addresses of `metrics` and `support`, which it logs.
    pub(crate) fn address(&self, purpose: &str) -> Result<String> {
        let log = self.log()?;
        let mut lines = log
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let line = lines.find(|line| line["purpose"] == purpose);
        let address = line.and_then(|line| line["address"].as_str().map(str::to_owned));
        address.with_context(|| format!("no address of {purpose} in the log:\n{log}"))
    }

    /// SIGTERM, as the kubelet sends it.
    pub(crate) fn terminate(&self) -> Result<()> {
        let sent = Command::new("kill")
            .args(["-TERM", &self.child.id().to_string()])
            .status()?;
        anyhow::ensure!(sent.success(), "cannot send SIGTERM");
        Ok(())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // One that has ended is what was wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("the operator logged:\n{}", self.log().unwrap_or_default());
        }
    }
}
