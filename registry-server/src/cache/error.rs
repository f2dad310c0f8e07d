//! Errors of the cache. All are about Redis, since the cache in memory cannot fail.

use std::path::PathBuf;
use std::time::Duration;

use crate::fault::Fault;

/// Why Redis cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no connection.
    #[error("Redis at {servers} does not answer")]
    Away {
        /// Where it should be.
        servers: String,
    },
    /// Redis refused, or broke off.
    #[cfg(feature = "redis")]
    #[error("Redis at {servers} did not do what it was asked")]
    Redis {
        /// Where it is.
        servers: String,
        /// The error of the connection or of Redis.
        #[source]
        source: redis::RedisError,
    },
    /// A file of `redis.tls` cannot be read.
    #[error("cannot read `{}` of `redis.tls`", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The settings are none that Redis can be reached by.
    #[cfg(feature = "redis")]
    #[error("cannot use `redis`")]
    Settings(#[source] redis::RedisError),
    /// This program has no client for Redis.
    #[cfg(not(feature = "redis"))]
    #[error("this program was built without the feature `redis`")]
    NotBuilt,
}

/// Redis may be back soon.
const AWAY: Fault = Fault::Transient {
    retry_after: Some(Duration::from_secs(5)),
};

impl Error {
    /// The fault: who must act.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Away { .. } => AWAY,
            #[cfg(feature = "redis")]
            Self::Redis { .. } => AWAY,
            Self::File { .. } => Fault::Caller,
            #[cfg(feature = "redis")]
            Self::Settings(_) => Fault::Caller,
            #[cfg(not(feature = "redis"))]
            Self::NotBuilt => Fault::Caller,
        }
    }
}
