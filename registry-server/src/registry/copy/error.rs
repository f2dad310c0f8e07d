//! Why a copy did not take place, or ended early.

use crate::fault::Fault;
use crate::registry::Error;
use crate::registry::live_servers::{SeenServer, ServerList};

/// Why not everything was copied.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// Both are one store.
    #[error("both configurations mean the same store")]
    SameStore,
    /// Somebody writes to the target.
    #[error("{} to the store that is copied into", ServerList(servers))]
    Written {
        /// Who.
        servers: Vec<SeenServer>,
    },
    /// One look after the other failed.
    #[error(
        "the store that is copied does not answer: {failed} looks at it failed one after the other, the last"
    )]
    Unresponsive {
        /// How many.
        failed: u32,
        /// How the last one did.
        #[source]
        source: Box<Error>,
    },
    /// The source failed.
    #[error("cannot read the store that is copied")]
    Source {
        /// How.
        #[source]
        source: Box<Error>,
    },
    /// The target failed.
    #[error("cannot use the store that is copied into")]
    Target {
        /// How.
        #[source]
        source: Box<Error>,
    },
}

impl CopyError {
    /// Who must act.
    pub fn fault(&self) -> Fault {
        match self {
            Self::SameStore => Fault::Caller,
            // Servers stop.
            Self::Written { .. } => Fault::Transient { retry_after: None },
            Self::Unresponsive { source, .. } | Self::Source { source } | Self::Target { source } => {
                source.fault()
            }
        }
    }

    /// What can be done.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Written { .. } => Some(
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
