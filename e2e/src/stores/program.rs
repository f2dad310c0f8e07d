//! How a store's program is started, and the names and limits all stores share. Start at [`launch`].

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::process::{Child, Command};

/// The bucket or container of every store.
pub const BUCKET: &str = "berth-test";
/// Time limit for a store's first answer. Generous, because the machine may be busy.
pub(super) const START_LIMIT: Duration = Duration::from_secs(120);

/// A program to run, with arguments and environment.
pub(super) struct Program {
    pub(super) path: PathBuf,
    pub(super) arguments: Vec<String>,
    pub(super) variables: Vec<(&'static str, String)>,
}

/// Starts a program that writes to `log` and is killed when the result is dropped.
pub(super) fn launch(program: &Program, log: &Path) -> Result<Child> {
    let output = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(log)
        .with_context(|| format!("cannot write `{}`", log.display()))?;
    Command::new(&program.path)
        .args(&program.arguments)
        .envs(program.variables.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output)
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("cannot run `{}`", program.path.display()))
}

/// A random key for one run.
pub(super) fn secret() -> String {
    let bytes: [u8; 16] = rand::random();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
