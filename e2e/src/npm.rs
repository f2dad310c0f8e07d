//! Azurite from its npm package. It is the only store that is no Go module.
//!
//! Guarantees: the versions and checksums are those of the committed `package-lock.json` (`npm ci`). No package
//! script runs during installation. A version is installed once, by one run at a time, and appears only when it is
//! complete. Must not: change a file of the checkout. Start at [`azurite`]; the package is in `e2e/tools/azurite/`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use sha2::{Digest as _, Sha256};

use crate::cache::Cache;
use crate::exec::Exec;
use crate::tools::short;

/// The files npm reads. The installed version is named after them.
const FILES: [&str; 2] = ["package.json", "package-lock.json"];

/// The script that `node` runs as Azure's blob service, installed first when the cache does not have it. `say` is
/// told before an installation.
///
/// # Errors
/// npm is missing, or cannot install it. The error holds npm's output.
pub(crate) async fn azurite(cache: &Cache, say: impl FnOnce(&str)) -> Result<PathBuf> {
    let package = Path::new(env!("CARGO_MANIFEST_DIR")).join("tools/azurite");
    let mut hash = Sha256::new();
    for file in FILES {
        let path = package.join(file);
        let text = fs::read(&path).with_context(|| format!("cannot read `{}`", path.display()))?;
        hash.update((text.len() as u64).to_be_bytes());
        hash.update(text);
    }
    let folder = cache.folder("tools")?.join(format!("azurite-{}", short(hash)));
    let script = folder.join("node_modules/azurite/dist/src/blob/main.js");
    if script.exists() {
        return Ok(script);
    }
    let _lock = {
        let cache = cache.clone();
        tokio::task::spawn_blocking(move || cache.lock("tool-azurite"))
            .await
            .context("the wait for a lock was cut off")??
    };
    // Another run may have installed it while this one waited for the lock.
    if script.exists() {
        return Ok(script);
    }
    say("installing azurite by npm, about 1 min");
    let fresh = folder.with_extension("partial");
    if fresh.exists() {
        fs::remove_dir_all(&fresh).with_context(|| format!("cannot remove `{}`", fresh.display()))?;
    }
    fs::create_dir_all(&fresh).with_context(|| format!("cannot make `{}`", fresh.display()))?;
    for file in FILES {
        fs::copy(package.join(file), fresh.join(file))
            .with_context(|| format!("cannot copy `{file}` to `{}`", fresh.display()))?;
    }
    Exec::new("npm")
        .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"])
        .dir(&fresh)
        .success()
        .await
        .context("cannot install azurite")?;
    fs::rename(&fresh, &folder).with_context(|| format!("cannot move azurite to `{}`", folder.display()))?;
    Ok(script)
}
