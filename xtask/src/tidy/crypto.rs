//! The workspace has one crypto provider.
//!
//! Start at [`breaches`].

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use e2e::images::checkout;

pub(super) const RULE: &str = "aws-lc-rs is the one crypto provider (docs/adr/0002)";

pub(super) fn breaches() -> Result<Vec<String>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let arguments = "tree --workspace --edges normal,build --prefix none --format {p} --locked";
    let tree = Command::new(cargo)
        .args(arguments.split(' '))
        .current_dir(checkout())
        .output()
        .context("running cargo tree")?;
    ensure!(
        tree.status.success(),
        "cargo tree failed: {}",
        String::from_utf8_lossy(&tree.stderr)
    );
    let tree = String::from_utf8(tree.stdout).context("cargo tree prints UTF-8")?;
    ensure!(
        tree.contains("aws-lc-rs v"),
        "the tree holds no crypto provider at all:\n{tree}"
    );
    let ring = tree.lines().filter(|line| line.starts_with("ring v"));
    Ok(ring.map(str::to_owned).collect())
}
