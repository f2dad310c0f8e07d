//! What can go wrong in a store.

use std::io;
use std::time::Duration;

use super::StorageKey;
use crate::fault::Fault;

/// Why a store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A create-only put met an object that is already there.
    #[error("`{key}` exists already")]
    AlreadyExists {
        /// Which object.
        key: StorageKey,
    },
    /// Another request, process or replica is writing this staged object.
    #[error("`{key}` is being written by another request")]
    Busy {
        /// Which object.
        key: StorageKey,
    },
    /// The store has no room left.
    #[error("cannot {action} `{key}`: the store is full")]
    Full {
        /// What was being done.
        action: &'static str,
        /// To which object.
        key: StorageKey,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// The whole store is gone that was there when the server started: it was renamed, removed or unmounted.
    #[error("cannot {action} `{key}`: the folder of the store is gone")]
    Gone {
        /// What was being done.
        action: &'static str,
        /// To which object.
        key: StorageKey,
        /// What is there instead.
        #[source]
        source: io::Error,
    },
    /// The text is no storage key.
    #[error("`{given}` is not a storage key")]
    InvalidKey {
        /// What was given.
        given: String,
    },
    /// The store answered with an error.
    #[error("cannot {action} `{key}`")]
    Io {
        /// What was being done.
        action: &'static str,
        /// To which object.
        key: StorageKey,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// The bytes of a staged object could not be made to survive a loss of power. They are given up: the object is
    /// gone, and its writer begins again.
    #[error("the bytes of `{key}` could not be written to the disk and are given up")]
    Lost {
        /// Which object.
        key: StorageKey,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// There is no such object.
    #[error("`{key}` does not exist")]
    NotFound {
        /// Which object.
        key: StorageKey,
    },
    /// A staged object does not have the size the caller counted on.
    #[error("`{key}` holds {actual} bytes, not {expected}")]
    OffsetMismatch {
        /// Which object.
        key: StorageKey,
        /// What the caller counted on.
        expected: u64,
        /// What the store holds.
        actual: u64,
    },
    /// The store takes no writes at all.
    #[error("cannot {action} `{key}`: the store is read-only")]
    ReadOnly {
        /// What was being done.
        action: &'static str,
        /// To which object.
        key: StorageKey,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// A range begins behind the end of the object.
    #[error("the range begins behind the {size} bytes of `{key}`")]
    RangeNotSatisfiable {
        /// Which object.
        key: StorageKey,
        /// Its size.
        size: u64,
    },
    /// A store over the network did not do it.
    #[error("cannot {action} `{key}`: {cause}")]
    Remote {
        /// What was being done.
        action: &'static str,
        /// To which object.
        key: StorageKey,
        /// What it comes down to.
        cause: Cause,
        /// What the store or the network said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The server is stopping.
    #[error("cannot {action} `{key}`: the server is stopping")]
    Stopping {
        /// What was being done.
        action: &'static str,
        /// To which object.
        key: StorageKey,
    },
    /// An object that should be small is not.
    #[error("`{key}` has {size} bytes, more than the {limit} it may have")]
    TooLarge {
        /// Which object.
        key: StorageKey,
        /// Its size.
        size: u64,
        /// The limit.
        limit: u64,
    },
    /// An object ended before its size.
    #[error("`{key}` ended after {actual} of {expected} bytes")]
    Truncated {
        /// Which object.
        key: StorageKey,
        /// Its size when it was opened.
        expected: u64,
        /// Where it ended.
        actual: u64,
    },
}

const FULL: &str = "storage full";
const READ_ONLY: &str = "storage read-only";
/// Why a store takes no writes that is gone as a whole.
pub(super) const GONE: &str = "storage missing";

/// What the failure of a store over the network comes down to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Cause {
    /// Who we say we are is not who may do this.
    #[error("the store refuses the credentials or what they may do")]
    Refused,
    /// Whoever gives credentials gave none.
    #[error("no credentials for the store can be had")]
    NoCredentials,
    /// The bucket or container does not exist.
    #[error("the store has no such bucket or container")]
    NoBucket,
    /// The bucket lies elsewhere.
    #[error("the bucket lies in another region, or at another endpoint")]
    WrongRegion,
    /// It holds two registries under one root, by names with a slash before them and by names without.
    #[error(
        "the store holds two registries under one root, by names with a slash before them and by names without"
    )]
    TwoTrees,
    /// Nobody answers.
    #[error("the store cannot be reached")]
    Unreachable,
    /// The answer did not come in time.
    #[error("the store does not answer in time")]
    TimedOut,
    /// It asks us to slow down.
    #[error("the store is overloaded")]
    Overloaded,
    /// It failed by itself, or answered what nobody understands.
    #[error("the store failed")]
    Failed,
}

impl Cause {
    /// In words that tell a stranger nothing.
    fn in_words(self) -> &'static str {
        match self {
            Self::Refused | Self::NoBucket | Self::WrongRegion | Self::TwoTrees => "storage misconfigured",
            Self::NoCredentials => "storage credentials unavailable",
            Self::Unreachable => "storage unreachable",
            Self::TimedOut => "storage does not answer",
            Self::Overloaded => "storage overloaded",
            Self::Failed => "storage failed",
        }
    }

    /// Whether the same request may work a moment later.
    #[cfg(feature = "object-store")]
    pub(super) fn may_pass(self) -> bool {
        self.retry_after().is_some()
    }

    /// After which time the same request may work; nothing where a person must act first.
    fn retry_after(self) -> Option<Duration> {
        match self {
            Self::Refused | Self::NoBucket | Self::WrongRegion | Self::TwoTrees => None,
            Self::NoCredentials | Self::Unreachable | Self::TimedOut | Self::Overloaded | Self::Failed => {
                Some(Duration::from_secs(5))
            }
        }
    }
}

impl Error {
    /// Who must act.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Busy { .. } | Self::Stopping { .. } => Fault::Transient {
                retry_after: Some(Duration::from_secs(1)),
            },
            Self::Remote { cause, .. } => Fault::Transient {
                retry_after: cause.retry_after(),
            },
            // Waiting does not empty a disk, but somebody may, and then the same request works.
            Self::Full { .. }
            | Self::Gone { .. }
            | Self::Io { .. }
            | Self::Lost { .. }
            | Self::ReadOnly { .. } => Fault::Transient { retry_after: None },
            Self::OffsetMismatch { .. } | Self::RangeNotSatisfiable { .. } => Fault::Caller,
            Self::AlreadyExists { .. }
            | Self::InvalidKey { .. }
            | Self::NotFound { .. }
            | Self::TooLarge { .. }
            | Self::Truncated { .. } => Fault::Permanent,
        }
    }

    /// Whether the object is simply not there.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. })
    }

    /// Whether the operating system does not let this process look.
    pub fn is_denied(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied)
    }

    /// Why the whole store takes no writes, in a few words for people, if that is what this error says. It concerns
    /// every object: whoever meets it first says it for all ([`super::StoreHealth`]).
    pub fn refusal(&self) -> Option<&'static str> {
        match self {
            Self::Full { .. } => Some(FULL),
            Self::ReadOnly { .. } => Some(READ_ONLY),
            Self::Gone { .. } => Some(GONE),
            // The disk may have no room for what the system had taken in already.
            Self::Lost { source, .. } => match source.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Some(FULL),
                io::ErrorKind::ReadOnlyFilesystem => Some(READ_ONLY),
                _ => None,
            },
            Self::Remote { cause, .. } => Some(cause.in_words()),
            Self::AlreadyExists { .. }
            | Self::Busy { .. }
            | Self::InvalidKey { .. }
            | Self::Io { .. }
            | Self::NotFound { .. }
            | Self::OffsetMismatch { .. }
            | Self::RangeNotSatisfiable { .. }
            | Self::Stopping { .. }
            | Self::TooLarge { .. }
            | Self::Truncated { .. } => None,
        }
    }

    /// Sorts an error of the operating system.
    pub(crate) fn io(action: &'static str, key: &StorageKey, source: io::Error) -> Self {
        let key = key.clone();
        match source.kind() {
            // A component of the path that is a file means: nothing lies below it.
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Self::NotFound { key },
            io::ErrorKind::AlreadyExists => Self::AlreadyExists { key },
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full { action, key, source },
            io::ErrorKind::ReadOnlyFilesystem => Self::ReadOnly { action, key, source },
            _ => Self::Io { action, key, source },
        }
    }
}

/// Turns "there is no such object" into `None`.
pub trait OptionalExtension<T> {
    /// The value; `None` for [`Error::NotFound`].
    ///
    /// # Errors
    /// Every other error.
    fn optional(self) -> Result<Option<T>, Error>;
}

impl<T> OptionalExtension<T> for Result<T, Error> {
    fn optional(self) -> Result<Option<T>, Error> {
        match self {
            Ok(value) => Ok(Some(value)),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}
