//! `cargo xtask stores`: the object stores for the driver tests, until it is interrupted.
//!
//! Guarantees: the stores end with this program when it is interrupted or terminated, and leave nothing. Must not:
//! print anything but shell lines to standard output. Start at [`Stores::start`]; the stores are `e2e::stores`.

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use e2e::cache::Cache;
use e2e::output::Output;
use e2e::packages;
use e2e::stores::{Store, StoreKind, StoreSetup};
use tempfile::TempDir;
use tokio::signal::unix::{SignalKind, signal};

/// The feature of the server's tests that makes them run on these stores too.
pub(crate) const FEATURE: &str = "registry-server/stores";

/// One running store of each kind. Killed when this is dropped.
pub(crate) struct Stores {
    // Dropped before the folder, so that no store still writes into it when it is removed.
    running: Vec<(StoreSetup, Store)>,
    _folder: TempDir,
}

impl Stores {
    /// Starts one store of each kind, in a folder that is removed with them.
    ///
    /// # Errors
    /// A store cannot be built or installed, or does not answer.
    pub(crate) async fn start(out: &Output) -> Result<Self> {
        let folder = TempDir::with_prefix("berth-stores-").context("cannot make a folder")?;
        let cache = Cache::open()?;
        let running = out
            .step("Starting", "object stores", async |step| {
                let mut running = Vec::new();
                for kind in StoreKind::ALL {
                    let setup = StoreSetup::new(kind, folder.path())?;
                    let store = setup.start(&cache, |what| step.note(what)).await?;
                    running.push((setup, store));
                }
                anyhow::Ok(running)
            })
            .await?;
        Ok(Self {
            running,
            _folder: folder,
        })
    }

    /// The variables that the tests read.
    ///
    /// # Errors
    /// As [`e2e::stores::Access::json`].
    pub(crate) fn variables(&self) -> Result<Vec<(&'static str, String)>> {
        let each = self.running.iter();
        each.map(|(setup, _)| Ok((setup.kind().variable(), setup.access().json()?)))
            .collect()
    }
}

pub(crate) async fn stores(out: &Output) -> Result<ExitCode> {
    packages::install(out).await?;
    let stores = Stores::start(out).await?;
    let mut text = String::new();
    for (name, value) in stores.variables()? {
        // The JSON contains nothing that ends a quoted word of a shell.
        text.push_str(&format!("export {name}='{value}'\n"));
    }
    std::io::stdout().write_all(text.as_bytes())?;
    out.say(
        "Running",
        "until interrupted; in another shell, with the lines above:",
    );
    out.text(&format!(
        "  cargo test --features {FEATURE} -p registry-server --lib storage"
    ));
    let mut ended = signal(SignalKind::terminate())?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted?,
        _ = ended.recv() => {}
    }
    Ok(ExitCode::from(130))
}
