//! `cargo xtask features`: the server compiles, without warnings, with each of its features alone, and with none.
//!
//! The features are those that Cargo.toml calls the default ones, so that a new one is never forgotten here.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use e2e::exec::Exec;
use e2e::images::checkout;
use e2e::output::Output;
use serde_json::Value;

const PACKAGE: &str = "registry-server";
/// All dependencies, on two busy cores.
const DEADLINE: Duration = Duration::from_secs(40 * 60);

pub(crate) async fn features(out: &Output) -> Result<()> {
    let features = default_features().await?;
    let mut broken = Vec::new();
    for feature in std::iter::once("").chain(features.iter().map(String::as_str)) {
        let name = match feature {
            "" => format!("{PACKAGE} with no feature"),
            feature => format!("{PACKAGE} with `{feature}` alone"),
        };
        let command = cargo()
            .args(["check", "--locked", "--all-targets", "--package", PACKAGE])
            .args(["--no-default-features", "--features", feature])
            .deadline(DEADLINE);
        let checked = out
            .step("Checking", &name, async |_| command.output().await)
            .await?;
        let warned = checked
            .stderr
            .lines()
            .any(|line| line.starts_with("warning: ") || line.starts_with("error"));
        if !checked.status.success() || warned {
            out.text(&checked.stderr);
            broken.push(name);
        }
    }
    ensure!(
        broken.is_empty(),
        "these do not compile, or warn: {}",
        broken.join(", ")
    );
    Ok(())
}

/// The features that `default` lists in the package's Cargo.toml.
async fn default_features() -> Result<Vec<String>> {
    let metadata = cargo()
        .args(["metadata", "--format-version=1", "--no-deps", "--locked"])
        .success()
        .await?;
    let metadata: Value = serde_json::from_str(&metadata).context("`cargo metadata` gave no JSON")?;
    let packages = metadata["packages"].as_array().into_iter().flatten();
    let package = packages.into_iter().find(|package| package["name"] == PACKAGE);
    let package = package.with_context(|| format!("the workspace has no package `{PACKAGE}`"))?;
    let features = package["features"]["default"].as_array().into_iter().flatten();
    let features: Vec<String> = features
        .filter_map(|name| name.as_str())
        .map(str::to_owned)
        .collect();
    if features.is_empty() {
        bail!("`{PACKAGE}` has no default features");
    }
    Ok(features)
}

fn cargo() -> Exec {
    Exec::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())).dir(checkout())
}
