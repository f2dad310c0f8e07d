//! The replacement of `mail` in a build without the feature `mail`: no hook can be started.

use std::time::Duration;

use registry_config::model;

use super::record::LogRecord;

/// This program was built without the feature `mail`.
#[derive(Debug, thiserror::Error)]
#[error("this program was built without the feature `mail`")]
pub(super) struct Error;

/// A running hook. The type has no values, because no hook can run.
#[derive(Debug)]
pub(super) enum Hook {}

impl Hook {
    pub(super) fn start(_: &model::Hook) -> Result<Self, Error> {
        Err(Error)
    }

    pub(super) fn offer(&self, _: &LogRecord) {
        match *self {}
    }

    pub(super) fn stop(&self, _: Duration) {
        match *self {}
    }
}
