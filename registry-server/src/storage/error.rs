//! Errors of a store.

use std::io;
use std::time::Duration;

use super::key::{InvalidKey, StorageKey};
use crate::fault::Fault;

/// Why a store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A create-only put met an object that is already there.
    #[error("`{key}` exists already")]
    AlreadyExists {
        /// The object.
        key: StorageKey,
    },
    /// Another request, process or replica is writing this staged object.
    #[error("`{key}` is being written by another request")]
    Busy {
        /// The object.
        key: StorageKey,
    },
    /// The store has no room left.
    #[error("cannot {action} `{key}`: the store is full")]
    Full {
        /// The action that failed.
        action: &'static str,
        /// The object.
        key: StorageKey,
        /// The error of the operating system.
        #[source]
        source: io::Error,
    },
    /// The whole store is gone that was there when the server started: it was renamed, removed or unmounted.
    #[error("cannot {action} `{key}`: the folder of the store is gone")]
    Gone {
        /// The action that failed.
        action: &'static str,
        /// The object.
        key: StorageKey,
        /// The error of the operating system.
        #[source]
        source: io::Error,
    },
    /// A text is no storage key.
    #[error(transparent)]
    InvalidKey(#[from] InvalidKey),
    /// The store answered with an error.
    #[error("cannot {action} `{key}`")]
    Io {
        /// The action that failed.
        action: &'static str,
        /// The object.
        key: StorageKey,
        /// The error of the operating system.
        #[source]
        source: io::Error,
    },
    /// The bytes of a staged object could not be made to survive a loss of power. They are given up: the object is
    /// gone, and its writer begins again.
    #[error("the bytes of `{key}` could not be written to the disk and are given up")]
    Lost {
        /// The object.
        key: StorageKey,
        /// The error of the operating system.
        #[source]
        source: io::Error,
    },
    /// There is no such object.
    #[error("`{key}` does not exist")]
    NotFound {
        /// The object.
        key: StorageKey,
    },
    /// A staged object does not have the size the caller counted on.
    #[error("`{key}` holds {actual} bytes, not {expected}")]
    OffsetMismatch {
        /// The object.
        key: StorageKey,
        /// The size that the caller expected.
        expected: u64,
        /// The size in the store.
        actual: u64,
    },
    /// The store takes no writes at all.
    #[error("cannot {action} `{key}`: the store is read-only")]
    ReadOnly {
        /// The action that failed.
        action: &'static str,
        /// The object.
        key: StorageKey,
        /// The error of the operating system.
        #[source]
        source: io::Error,
    },
    /// A range begins behind the end of the object.
    #[error("the range begins behind the {size} bytes of `{key}`")]
    RangeNotSatisfiable {
        /// The object.
        key: StorageKey,
        /// Its size.
        size: u64,
    },
    /// A request to a store over the network failed.
    #[error("cannot {action} `{key}`: {cause}")]
    Remote {
        /// The action that failed.
        action: &'static str,
        /// The object.
        key: StorageKey,
        /// The cause.
        cause: Cause,
        /// The error of the store or the network.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The server is stopping.
    #[error("cannot {action} `{key}`: the server is stopping")]
    Stopping {
        /// The action that failed.
        action: &'static str,
        /// The object.
        key: StorageKey,
    },
    /// An object that should be small is not.
    #[error("`{key}` has {size} bytes, more than the {limit} it may have")]
    TooLarge {
        /// The object.
        key: StorageKey,
        /// Its size.
        size: u64,
        /// The limit.
        limit: u64,
    },
    /// An object ended before its size.
    #[error("`{key}` ended after {actual} of {expected} bytes")]
    Truncated {
        /// The object.
        key: StorageKey,
        /// Its size when it was opened.
        expected: u64,
        /// Where it ended.
        actual: u64,
    },
}

const FULL: &str = "storage full";
const READ_ONLY: &str = "storage read-only";
/// The reason when the whole store is missing.
pub(super) const GONE: &str = "storage missing";

/// The cause of a failed request to a store over the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Cause {
    /// The credentials are refused, or they do not permit the request.
    #[error("the store refuses the credentials or what they may do")]
    Refused,
    /// The provider of credentials gave none.
    #[error("no credentials for the store can be had")]
    NoCredentials,
    /// The bucket or container does not exist.
    #[error("the store has no such bucket or container")]
    NoBucket,
    /// The bucket is in another region or at another endpoint.
    #[error("the bucket lies in another region, or at another endpoint")]
    WrongRegion,
    /// The container holds two registries under one root: one with a slash before its names, and one without.
    #[error(
        "the store holds two registries under one root, by names with a slash before them and by names without"
    )]
    TwoTrees,
    /// No connection can be made.
    #[error("the store cannot be reached")]
    Unreachable,
    /// The answer did not come in time.
    #[error("the store does not answer in time")]
    TimedOut,
    /// The store asks for fewer requests.
    #[error("the store is overloaded")]
    Overloaded,
    /// The store failed, or its answer cannot be understood.
    #[error("the store failed")]
    Failed,
}

impl Cause {
    /// A few words without details of the setup, since clients may see them.
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

    /// Whether a retry of the request may work.
    #[cfg(feature = "s3")]
    pub(super) fn is_temporary(self) -> bool {
        self.retry_after().is_some()
    }

    /// The time after which a retry may work; `None` when a person must act first.
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
    /// The fault: who must act.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Busy { .. } | Self::Stopping { .. } => Fault::Transient {
                retry_after: Some(Duration::from_secs(1)),
            },
            Self::Remote { cause, .. } => Fault::Transient {
                retry_after: cause.retry_after(),
            },
            // Waiting alone does not help, but when somebody has freed the disk the same request works.
            Self::Full { .. }
            | Self::Gone { .. }
            | Self::Io { .. }
            | Self::Lost { .. }
            | Self::ReadOnly { .. } => Fault::Transient { retry_after: None },
            Self::OffsetMismatch { .. } | Self::RangeNotSatisfiable { .. } => Fault::Caller,
            Self::AlreadyExists { .. }
            | Self::InvalidKey(_)
            | Self::NotFound { .. }
            | Self::TooLarge { .. }
            | Self::Truncated { .. } => Fault::Permanent,
        }
    }

    /// Whether the error says that the object does not exist.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. })
    }

    /// Whether the operating system denied access.
    pub fn is_denied(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied)
    }

    /// The reason why the whole store takes no writes, in a few words for people, if the error concerns the whole store.
    /// [`super::StoreHealth`] reports it once for all objects.
    pub fn refusal(&self) -> Option<&'static str> {
        match self {
            Self::Full { .. } => Some(FULL),
            Self::ReadOnly { .. } => Some(READ_ONLY),
            Self::Gone { .. } => Some(GONE),
            // A disk may turn out to be full only when the system writes its cache to it.
            Self::Lost { source, .. } => match source.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Some(FULL),
                io::ErrorKind::ReadOnlyFilesystem => Some(READ_ONLY),
                _ => None,
            },
            Self::Remote { cause, .. } => Some(cause.in_words()),
            Self::AlreadyExists { .. }
            | Self::Busy { .. }
            | Self::InvalidKey(_)
            | Self::Io { .. }
            | Self::NotFound { .. }
            | Self::OffsetMismatch { .. }
            | Self::RangeNotSatisfiable { .. }
            | Self::Stopping { .. }
            | Self::TooLarge { .. }
            | Self::Truncated { .. } => None,
        }
    }

    /// The error for one of the operating system.
    pub(crate) fn io(action: &'static str, key: &StorageKey, source: io::Error) -> Self {
        let key = key.clone();
        match source.kind() {
            // A component of the path is a file, so that nothing exists below it.
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
