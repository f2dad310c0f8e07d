//! Errors of setting authentication up.

use std::path::PathBuf;

use registry_config::htpasswd::COSTS;

use crate::fault::Fault;

/// Why authentication cannot be set up. At run time nothing of this stops a server: the last good users stay.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file is there but cannot be read.
    #[error("cannot read the users of `auth.htpasswd.path`, `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file was missing and could not be made.
    #[error("`auth.htpasswd.path`, `{}`, is missing and cannot be made", path.display())]
    Create {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file holds lines, but none that can be accepted.
    #[error("`auth.htpasswd.path`, `{}`, holds no user with a bcrypt hash that is accepted; allowed: lines made by `htpasswd -B`, with a cost of {} to {}", path.display(), COSTS.start(), COSTS.end())]
    NoUsers {
        /// The file.
        path: PathBuf,
    },
    /// The operating system's random numbers or bcrypt failed, which they do not.
    #[error("cannot hash a password; please report this")]
    Bug(#[source] bcrypt::BcryptError),
}

impl Error {
    /// Who must act.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Read { .. } | Self::Create { .. } | Self::NoUsers { .. } => Fault::Caller,
            Self::Bug(_) => Fault::Permanent,
        }
    }
}
