//! moto from its Python packages. It stands for Amazon's services that versitygw does not have.
//!
//! Guarantees: the versions and checksums are those of the committed `requirements.txt` (`--require-hashes`). Nothing
//! is built, so no package script runs during installation. A set of versions is installed once, by one run at a
//! time, and appears only when it is complete. Must not: change a file of the checkout. Start at [`moto`]; the list
//! is in `e2e/tools/moto/`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use sha2::{Digest as _, Sha256};

use crate::cache::Cache;
use crate::exec::Exec;
use crate::tools::short;

/// Debian's own Python. Packages that are installed for it do not fit another one.
const PYTHON: &str = "/usr/bin/python3";

/// The Python that has moto, and the program for it to run. moto is installed first when the cache does not have it;
/// `say` is told before.
///
/// # Errors
/// Python is missing, or pip cannot install it. The error holds pip's output.
pub(crate) async fn moto(cache: &Cache, say: impl FnOnce(&str)) -> Result<(PathBuf, PathBuf)> {
    let package = Path::new(env!("CARGO_MANIFEST_DIR")).join("tools/moto");
    let list = package.join("requirements.txt");
    let program = package.join("cloud.py");
    let text = fs::read(&list).with_context(|| format!("cannot read `{}`", list.display()))?;
    let version = Exec::new(PYTHON).arg("--version").success().await?;
    let mut hash = Sha256::new();
    hash.update(&text);
    hash.update(version);
    let folder = cache.folder("tools")?.join(format!("moto-{}", short(hash)));
    let python = folder.join("bin/python");
    if python.exists() {
        return Ok((python, program));
    }
    let _lock = {
        let cache = cache.clone();
        tokio::task::spawn_blocking(move || cache.lock("tool-moto"))
            .await
            .context("the wait for a lock was cut off")??
    };
    // Another run may have installed it while this one waited for the lock.
    if python.exists() {
        return Ok((python, program));
    }
    say("installing moto by pip, about 1 min");
    let fresh = folder.with_extension("partial");
    if fresh.exists() {
        fs::remove_dir_all(&fresh).with_context(|| format!("cannot remove `{}`", fresh.display()))?;
    }
    Exec::new(PYTHON)
        .args(["-m", "venv"])
        .arg(&fresh)
        .success()
        .await
        .context("cannot make a folder for moto")?;
    Exec::new(fresh.join("bin/python"))
        .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
        .args(["--require-hashes", "--only-binary", ":all:", "--requirement"])
        .arg(&list)
        .success()
        .await
        .context("cannot install moto")?;
    // Python finds its packages relative to itself, so the folder can be moved.
    fs::rename(&fresh, &folder).with_context(|| format!("cannot move moto to `{}`", folder.display()))?;
    Ok((python, program))
}
