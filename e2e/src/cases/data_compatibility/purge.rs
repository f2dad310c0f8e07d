//! Any server purges an abandoned upload, whichever server began it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::shared_store::{PEERS, SharedStore};
use crate::exec::Exec;
use crate::peers::ServerKind;
use crate::protocol::noise;
use crate::runner::Bench;
use crate::wait::{Seen, wait_for};

/// Time limit for a purge that has begun.
const LIMIT: Duration = Duration::from_secs(60);

/// Distribution waits a random number of minutes, 0 to 59, before its first purge, and is restarted until it draws 0.
/// It fails to do so in this many starts with a probability of one in ten million millions.
const DRAWS: usize = 1_800;

/// Each server begins two uploads, and one is made to look abandoned. The purge of another server removes that one
/// and keeps the other.
pub(in super::super) async fn abandoned_uploads_are_purged(bench: &Bench<'_>) -> Result<()> {
    let mut draws = 0;
    for (writer, purger) in PEERS
        .map(|peer| [(peer, ServerKind::Ours), (ServerKind::Ours, peer)])
        .concat()
    {
        let store = SharedStore::new(bench, &format!("purge-{}-{}", writer.name(), purger.name())).await?;
        let server = store.serve(writer).await?;
        let repository = server.repository("purge/upload");
        for seed in [81, 82] {
            let session = repository.start().await?;
            // Large enough for both servers to save a hash's state.
            repository.append(&session, noise(seed, 2 << 20)).await?;
        }
        server.kill().await?;
        let uploads = uploads(&store)?;
        let [young, old] = &uploads[..] else {
            anyhow::bail!("{} left {uploads:?}", writer.name())
        };
        abandon(old).await?;
        let _server = match purger {
            ServerKind::Ours => {
                store
                    .serve_with(
                        purger,
                        &[("REGISTRY_STORAGE_MAINTENANCE_UPLOADPURGING_INTERVAL", "1s")],
                    )
                    .await?
            }
            ServerKind::V2 | ServerKind::V3 => {
                let mut drawn = None;
                while drawn.is_none() && draws < 4 * DRAWS {
                    draws += 1;
                    let server = store.serve(purger).await?;
                    if log(&store)?.contains("Starting upload purge in 0s") {
                        drawn = Some(server);
                    }
                }
                drawn.context("0 minutes were never drawn")?
            }
        };
        wait_for("an abandoned upload to be purged", LIMIT, async || {
            Ok(if old.exists() {
                Seen::NotYet(format!("{} is there", old.display()))
            } else {
                Seen::Done(())
            })
        })
        .await
        .with_context(|| format!("{}'s upload, purged by {}", writer.name(), purger.name()))?;
        ensure!(
            young.join("data").exists(),
            "{} purged a young upload of {}",
            purger.name(),
            writer.name()
        );
    }
    bench.note(format!(
        "4 directions; the others were started {draws} times until they purged at once"
    ));
    Ok(())
}

/// The folders of uploads, sorted by name.
fn uploads(store: &SharedStore<'_>) -> Result<Vec<PathBuf>> {
    let folder = store.tree().join("repositories/purge/upload/_uploads");
    let mut found = Vec::new();
    for entry in std::fs::read_dir(&folder).with_context(|| format!("no `{}`", folder.display()))? {
        found.push(entry?.path());
    }
    found.sort();
    Ok(found)
}

/// Makes an upload 200 hours old. Ours looks at the time of the last write, the others at `startedat`.
async fn abandon(upload: &Path) -> Result<()> {
    let then = Exec::new("date").args(["--utc", "--date=200 hours ago", "+%Y-%m-%dT%H:%M:%SZ"]);
    let then = then.success().await?;
    std::fs::write(upload.join("startedat"), then.trim())?;
    let touch = Exec::new("find")
        .arg(upload)
        .args(["-exec", "touch", "--date", then.trim(), "{}", "+"]);
    touch.success().await.map(drop)
}

/// The log of the server that was started last.
fn log(store: &SharedStore<'_>) -> Result<String> {
    let path = store.last_root().join("server.log");
    std::fs::read_to_string(&path).with_context(|| format!("cannot read `{}`", path.display()))
}
