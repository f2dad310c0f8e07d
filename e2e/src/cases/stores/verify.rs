//! Checks of a store's content after a case: by the server's own `storage check`, and by hashing every blob.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};

use crate::cache::Cache;
use crate::exec::Exec;
use crate::peers::ServerKind;

/// Runs the server's check of every byte in the store of the server in the folder `root`. Gives the summary line.
pub(super) async fn check(root: &Path) -> Result<String> {
    let program = ServerKind::Ours.program(&Cache::open()?).await?;
    let command = Exec::new(program)
        .args(["storage", "check", "--digests"])
        .arg(root.join("config.yml"));
    let done = command.output().await?;
    ensure!(
        done.status.success(),
        "the check of the store ends with {}:\n{}",
        done.status,
        done.all()
    );
    let said = done.stderr.lines().find(|line| line.contains("Checked"));
    Ok(said.context("the check does not sum up")?.trim().to_owned())
}

/// Compares every blob of a tree with its digest. Gives the number of blobs.
pub(super) fn verify_blobs(tree: &Path) -> Result<usize> {
    let mut count = 0;
    for prefix in std::fs::read_dir(tree).with_context(|| format!("cannot list `{}`", tree.display()))? {
        for blob in std::fs::read_dir(prefix?.path())? {
            let blob = blob?;
            let name = format!("sha256:{}", blob.file_name().to_string_lossy());
            let bytes = std::fs::read(blob.path().join("data"))
                .with_context(|| format!("blob {name} has no content"))?;
            let digest = crate::protocol::digest(&bytes);
            ensure!(
                digest == name,
                "blob {name} holds {digest}, {} bytes",
                bytes.len()
            );
            count += 1;
        }
    }
    Ok(count)
}
