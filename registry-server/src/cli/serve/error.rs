//! Why a server does not start, who must act on it, and which value of the configuration is to blame.

use crate::auth;
use crate::cli::config_source::FoundConfig;
use crate::cli::features::NotBuilt;
use crate::fault::Fault;
use crate::health;
use crate::http::{server, tls};
use crate::registry::OwnerError;
#[cfg(feature = "object-store")]
use crate::storage::StoreError;

/// Why the server did not start.
#[derive(Debug, thiserror::Error)]
pub(in crate::cli) enum Error {
    /// The folder of the store cannot be used.
    #[error("cannot use `storage.filesystem.rootdirectory`, `{root}`")]
    Storage {
        /// The folder.
        root: String,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// The bucket or container cannot be used.
    #[cfg(feature = "object-store")]
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The driver of the store is not part of this binary.
    #[error(transparent)]
    NotBuilt(#[from] NotBuilt),
    /// The store belongs to another registry.
    #[error(transparent)]
    Owner(#[from] Box<OwnerError>),
    /// The cache cannot be used.
    #[error("cannot use the cache of `storage.cache`")]
    Cache(#[from] crate::cache::Error),
    /// The users cannot be read.
    #[error(transparent)]
    Auth(#[from] auth::Error),
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] tls::Error),
    /// The health checks cannot be set up.
    #[error(transparent)]
    Health(#[from] health::Error),
    /// An address cannot be bound.
    #[error("cannot use `{key}`")]
    Listen {
        /// The key of the configuration.
        key: &'static str,
        /// The cause.
        #[source]
        source: server::Error,
    },
    /// The patterns cannot be compiled. The check of the configuration finds each wrong pattern first; all patterns
    /// together can still be too large.
    #[error("cannot use `validation.manifests.urls`")]
    Patterns(#[from] regex::Error),
    /// The operating system refuses a thread or a signal handler.
    #[error("cannot start")]
    System(#[source] std::io::Error),
}

impl Error {
    /// The party that must act on the error.
    pub(in crate::cli) fn fault(&self) -> Fault {
        match self {
            Self::Storage { .. } | Self::Patterns(_) => Fault::Caller,
            #[cfg(feature = "object-store")]
            Self::Store(error) => error.fault(),
            Self::NotBuilt(_) => Fault::Caller,
            Self::Owner(error) => error.fault(),
            Self::Cache(error) => error.fault(),
            Self::Auth(error) => error.fault(),
            Self::Tls(error) => error.fault(),
            Self::Health(error) => error.fault(),
            Self::Listen { source, .. } => source.fault(),
            Self::System(_) => Fault::Permanent,
        }
    }

    /// The configuration key whose value is to blame.
    fn key(&self) -> Option<&'static str> {
        match self {
            Self::Storage { .. } => Some("storage.filesystem.rootdirectory"),
            #[cfg(feature = "object-store")]
            Self::Store(error) => Some(error.key()),
            Self::NotBuilt(error) => Some(error.key),
            Self::Owner(_) => Some("storage.maintenance.owner"),
            Self::Cache(_) => Some("redis"),
            Self::Auth(_) => Some("auth.htpasswd.path"),
            Self::Tls(error) => Some(error.key()),
            Self::Health(_) => Some("health.http"),
            Self::Listen { key, .. } => Some(*key),
            Self::Patterns(_) => Some("validation.manifests.urls"),
            Self::System(_) => None,
        }
    }

    /// The file and line, or the variable, that the value to blame comes from. Empty if no value is to blame.
    pub(in crate::cli) fn place(&self, found: &FoundConfig) -> String {
        self.key().map(|key| found.place_of(key)).unwrap_or_default()
    }

    /// A way out, printed apart from the error.
    pub(in crate::cli) fn hint(&self) -> Option<String> {
        match self {
            Self::Owner(error) => error.hint(),
            Self::NotBuilt(error) => Some(error.hint()),
            #[cfg(feature = "object-store")]
            Self::Store(_) => None,
            Self::Storage { .. }
            | Self::Cache(_)
            | Self::Auth(_)
            | Self::Tls(_)
            | Self::Health(_)
            | Self::Listen { .. }
            | Self::Patterns(_)
            | Self::System(_) => None,
        }
    }
}
