//! Errors of setting authentication up.

use std::path::PathBuf;

use registry_config::htpasswd::COSTS;

use crate::fault::Fault;

/// Errors of setting authentication up. A running server only logs them and keeps the last good users.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file exists but cannot be read.
    #[error("cannot read the users of `auth.htpasswd.path`, `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// The file is missing and could not be created.
    #[error("`auth.htpasswd.path`, `{}`, is missing and cannot be created", path.display())]
    Create {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// The file has lines, but no line that can be accepted.
    #[error("`auth.htpasswd.path`, `{}`, holds no user with a bcrypt hash that is accepted; allowed: lines made by `htpasswd -B`, with a cost of {} to {}", path.display(), COSTS.start(), COSTS.end())]
    NoUsers {
        /// The file.
        path: PathBuf,
    },
    /// The operating system's random numbers or bcrypt failed. This is not expected to happen.
    #[error("cannot hash a password; please report this")]
    Bug(#[source] bcrypt::BcryptError),
}

impl Error {
    /// The party that must act.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Read { .. } | Self::Create { .. } | Self::NoUsers { .. } => Fault::Caller,
            Self::Bug(_) => Fault::Permanent,
        }
    }
}
