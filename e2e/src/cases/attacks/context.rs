//! What an attack works with: a folder, the server to attack, and how much of everything.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;

use crate::images;
use crate::server::ServerSetup;

/// What an attack works with.
pub(super) struct AttackContext<'a> {
    /// A folder of its own.
    pub(super) root: &'a Path,
    pub(super) is_long: bool,
}

impl AttackContext<'_> {
    /// How many of something.
    pub(super) fn number(&self, short: usize, long: usize) -> usize {
        match self.is_long {
            true => long,
            false => short,
        }
    }

    /// How long something that lasts goes on.
    pub(super) fn hold(&self) -> Duration {
        match self.is_long {
            true => Duration::from_secs(15),
            false => Duration::from_millis(800),
        }
    }

    pub(super) fn setup(&self) -> Result<ServerSetup> {
        ServerSetup::new(&images::server_program(), self.root)
    }

    pub(super) fn data(&self) -> PathBuf {
        self.root.join("data")
    }
}
