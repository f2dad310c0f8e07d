//! The errors of `htpasswd` and Apache's exit codes for them.

use std::path::PathBuf;

use registry_config::htpasswd::Problem;

/// Apache's exit codes.
pub(super) mod code {
    pub(in crate::cli::htpasswd) const DONE: u8 = 0;
    pub(in crate::cli::htpasswd) const FILE: u8 = 1;
    pub(in crate::cli::htpasswd) const SYNTAX: u8 = 2;
    pub(in crate::cli::htpasswd) const MISMATCH: u8 = 3;
    pub(in crate::cli::htpasswd) const INTERRUPTED: u8 = 4;
    pub(in crate::cli::htpasswd) const TOO_LONG: u8 = 5;
    pub(in crate::cli::htpasswd) const USER: u8 = 6;
    pub(in crate::cli::htpasswd) const INVALID_FILE: u8 = 7;
}

/// Apache's limit for a user name and for a password.
pub(super) const MAX_LENGTH: usize = 255;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("{0}")]
    Syntax(String),
    #[error("the {what} is longer than {MAX_LENGTH} bytes")]
    TooLong { what: &'static str },
    #[error("username contains illegal character ':'")]
    Colon,
    #[error("the username is empty")]
    NoUser,
    #[error("User {user} not found")]
    Unknown { user: String },
    #[error("cannot modify file {}; use '-c' to create it", path.display())]
    Missing { path: PathBuf },
    #[error("cannot {action} {}", path.display())]
    File {
        action: &'static str,
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("The file {} does not appear to be a valid htpasswd file.", path.display())]
    InvalidFile { path: PathBuf },
    #[error("the password of user {user} is not accepted by the registry")]
    Unusable {
        user: String,
        #[source]
        problem: Problem,
    },
    #[error("password verification failed")]
    Mismatch,
    #[error("interrupted while a password was asked for")]
    Interrupted(#[source] std::io::Error),
    #[error("cannot hash the password")]
    Hash(#[source] bcrypt::BcryptError),
}

impl Error {
    /// The exit code of the error.
    pub(super) fn code(&self) -> u8 {
        match self {
            Self::Syntax(_) => code::SYNTAX,
            Self::TooLong { .. } => code::TOO_LONG,
            Self::Colon | Self::NoUser | Self::Unknown { .. } => code::USER,
            Self::Missing { .. } | Self::File { .. } | Self::Hash(_) => code::FILE,
            Self::InvalidFile { .. } => code::INVALID_FILE,
            // Apache uses this exit code for a hash of an unknown kind too.
            Self::Unusable { .. } | Self::Mismatch => code::MISMATCH,
            Self::Interrupted(_) => code::INTERRUPTED,
        }
    }
}
