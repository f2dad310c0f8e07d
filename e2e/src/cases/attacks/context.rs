//! The context of an attack: a folder, the server to attack, and the size of the attack.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;

use crate::images;
use crate::server::ServerSetup;

/// The context of an attack.
pub(super) struct AttackContext<'a> {
    /// The attack's own folder.
    pub(super) root: &'a Path,
    pub(super) is_long: bool,
}

impl AttackContext<'_> {
    /// The short or the long number.
    pub(super) fn number(&self, short: usize, long: usize) -> usize {
        match self.is_long {
            true => long,
            false => short,
        }
    }

    /// The duration of something that lasts.
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
