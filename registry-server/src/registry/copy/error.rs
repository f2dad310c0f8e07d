//! Why a copy was refused or ended early.

use crate::fault::Fault;
use crate::registry::Error;
use crate::registry::live_servers::{SeenServer, ServerList};

/// Why a copy was refused or ended early.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// The source and the target are the same store.
    #[error("both configurations mean the same store")]
    SameStore,
    /// A live server writes to the target.
    #[error("{} to the store that is copied into", ServerList(servers))]
    LiveServers {
        /// The servers.
        servers: Vec<SeenServer>,
    },
    /// One request to the source after the other failed.
    #[error(
        "the store that is copied does not answer: {failed} requests failed one after the other, the last"
    )]
    Unresponsive {
        /// How many requests failed.
        failed: u32,
        /// The error of the last one.
        #[source]
        source: Box<Error>,
    },
    /// The source failed.
    #[error("cannot read the store that is copied")]
    Source {
        /// The error of the source.
        #[source]
        source: Box<Error>,
    },
    /// The target failed.
    #[error("cannot use the store that is copied into")]
    Target {
        /// The error of the target.
        #[source]
        source: Box<Error>,
    },
}

impl CopyError {
    /// The party that must act.
    pub fn fault(&self) -> Fault {
        match self {
            Self::SameStore => Fault::Caller,
            // A live server may stop.
            Self::LiveServers { .. } => Fault::Transient { retry_after: None },
            Self::Unresponsive { source, .. } | Self::Source { source } | Self::Target { source } => {
                source.fault()
            }
        }
    }

    /// A way out, for people.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::LiveServers { .. } => Some(
                "stop the server, or set `storage.maintenance.readonly.enabled` for it and in its configuration here, \
                 or use `--force` after reading what that means in `help storage copy`",
            ),
            Self::Unresponsive { .. } | Self::Source { .. } | Self::Target { .. } => {
                Some("the same command goes on where this one ended")
            }
            Self::SameStore => None,
        }
    }
}
