//! registry:2, registry:3 and ours as loopback processes with equal configuration.
//!
//! Guarantees: all three get the same file except for folder and port, and the same HTTP secret. Any difference
//! between their answers or their trees comes from the servers. Must not: judge differences; `differential` and the
//! cases do. Start at [`ServerKind`].

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::cache::Cache;
use crate::images;
use crate::server::{Server, ServerSetup, Settings};
use crate::tools::Tool;

/// A kind of registry server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ServerKind {
    /// Debian's docker-registry 2.8.2.
    V2,
    /// distribution v3.1.2.
    V3,
    /// The server of this checkout.
    Ours,
}

impl ServerKind {
    /// All kinds, the oldest first.
    pub const ALL: [ServerKind; 3] = [ServerKind::V2, ServerKind::V3, ServerKind::Ours];

    /// Its name in lists and reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            ServerKind::V2 => "2.8",
            ServerKind::V3 => "3.1",
            ServerKind::Ours => "ours",
        }
    }

    /// Its program. registry:3 is built first when the cache does not have it.
    ///
    /// # Errors
    /// registry:3 cannot be built.
    pub async fn program(self, cache: &Cache) -> Result<PathBuf> {
        match self {
            // Debian's package of it is one of the suite's packages.
            ServerKind::V2 => Ok(PathBuf::from("/usr/bin/docker-registry")),
            ServerKind::V3 => Tool::Distribution.path(cache, |_| ()).await,
            ServerKind::Ours => Ok(images::server_program()),
        }
    }

    /// Starts it with `settings` on the data below `root`, which is created when it is missing. The server is killed
    /// when the result is dropped. Another kind started on the same folder sees the same tree.
    ///
    /// # Errors
    /// The program is missing, or ends before it answers. The error holds its output.
    pub async fn start(self, cache: &Cache, root: &Path, settings: &Settings) -> Result<Server> {
        let program = self.program(cache).await?;
        std::fs::create_dir_all(root).with_context(|| format!("cannot make `{}`", root.display()))?;
        ServerSetup::new(&program, root)?
            .configured(settings)
            // Without this registry:3 would look for a trace collector. The others ignore the variable.
            .with("OTEL_TRACES_EXPORTER", "none")
            .start()
            .await
            .with_context(|| format!("cannot start {}", self.name()))
    }
}
