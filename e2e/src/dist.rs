//! The two programs for the images: statically linked, in the checkout's `dist/`, with the root certificates.
//!
//! Guarantees: an unchanged file is not written again, so docker's build cache stays valid. Must not: be needed by
//! `docker build` on a machine with internet; there the Dockerfile compiles by itself. Start at [`fill`].

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::exec::Exec;
use crate::images::checkout;
use crate::output::Step;

/// Debian's root certificates in one file.
const CERTIFICATES: &str = "/etc/ssl/certs/ca-certificates.crt";
/// The operator and the server. Package and program have the same name.
pub const PROGRAMS: [&str; 2] = ["operator", "registry-server"];
/// Static programs. Their table of addresses to relocate is packed, which saves 1.7 MB and needs glibc 2.36, linked in.
/// The image files give the same flags.
const FLAGS: &str = "-C target-feature=+crt-static -C link-arg=-Wl,-z,pack-relative-relocs";
/// Time to compile all dependencies, optimised, on two busy cores.
const BUILD_DEADLINE: Duration = Duration::from_secs(40 * 60);

/// Compiles both programs and refreshes them in `dist/`. Always both: a build of one alone would compile shared
/// dependencies again with fewer features.
///
/// # Errors
/// They do not compile, or a file cannot be written.
pub async fn fill(step: &Step) -> Result<()> {
    let root = checkout();
    let target = host_target().await?;
    let cargo = || Exec::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())).dir(&root);
    // The flags are set by the target's own variable, so that procedural macros, which run on the host, stay dynamic.
    // An inherited RUSTFLAGS would win over it.
    let flags = format!(
        "CARGO_TARGET_{}_RUSTFLAGS",
        target.to_uppercase().replace(['-', '.'], "_")
    );
    let mut build = cargo().args(["build", "--release", "--locked", "--target", &target]);
    for program in PROGRAMS {
        build = build.args(["--package", program]);
    }
    build
        .env(flags, FLAGS)
        .env_remove("RUSTFLAGS")
        .deadline(BUILD_DEADLINE)
        .watched(|line| step.note(line.trim()))
        .await
        .with_context(|| format!("cannot compile {}", PROGRAMS.join(" and ")))?;
    let metadata = cargo()
        .args(["metadata", "--format-version=1", "--no-deps"])
        .success()
        .await?;
    let metadata: Value = serde_json::from_str(&metadata).context("`cargo metadata` gave no JSON")?;
    let folder = metadata["target_directory"]
        .as_str()
        .context("`cargo metadata` names no target folder")?;
    let release = Path::new(folder).join(&target).join("release");
    let dist = root.join("dist");
    fs::create_dir_all(&dist).with_context(|| format!("cannot create `{}`", dist.display()))?;
    for program in PROGRAMS {
        refresh(&release.join(program), &dist.join(program))?;
    }
    refresh(Path::new(CERTIFICATES), &dist.join("ca-certificates.crt"))
}

async fn host_target() -> Result<String> {
    let target = Exec::new("rustc")
        .args(["--print", "host-tuple"])
        .success()
        .await
        .context("rustc is missing")?;
    Ok(target.trim().to_owned())
}

/// Copies a file if it differs, under a temporary name first.
fn refresh(from: &Path, to: &Path) -> Result<()> {
    let bytes = fs::read(from).with_context(|| format!("cannot read `{}`", from.display()))?;
    if fs::read(to).is_ok_and(|there| there == bytes) {
        return Ok(());
    }
    let fresh = to.with_extension("partial");
    fs::copy(from, &fresh).with_context(|| format!("cannot write `{}`", fresh.display()))?;
    fs::rename(&fresh, to).with_context(|| format!("cannot rename `{}`", fresh.display()))
}
