//! How a store's program is started, and the names and limits all stores share. Start at [`launch`].

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::process::{Child, Command};

/// What the bucket or container of every store is called.
pub const BUCKET: &str = "berth-test";
/// How long a store may take to answer. Generous: the machine may be building beside us.
pub(super) const START_LIMIT: Duration = Duration::from_secs(120);

/// What to run, and in which environment.
pub(super) struct Program {
    pub(super) path: PathBuf,
    pub(super) arguments: Vec<String>,
    pub(super) variables: Vec<(&'static str, String)>,
}

/// Starts a program that prints to `log` and ends with the caller's interest in it.
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

/// Letters nobody guesses, for a key that is good for one run.
pub(super) fn secret() -> String {
    let bytes: [u8; 16] = rand::random();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
