//! Why a check or a repair did not take place.

use uuid::Uuid;

use crate::fault::Fault;
use crate::registry::Error;
use crate::registry::live_servers::{SeenServer, ServerList};

/// Why a check was refused or ended early.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// A live server writes to the store.
    #[error("{} to this store", ServerList(servers))]
    LiveServers {
        /// The servers.
        servers: Vec<SeenServer>,
    },
    /// One request after the other failed.
    #[error("the store does not answer: {failed} requests failed one after the other, the last")]
    Unresponsive {
        /// How many requests failed.
        failed: u32,
        /// The error of the last one.
        #[source]
        source: Error,
    },
    /// The trash holds no such repair.
    #[error("no repair `{run}` is in the trash of this store")]
    NoSuchRepair {
        /// The id of the repair.
        run: Uuid,
    },
    /// The store failed.
    #[error(transparent)]
    Registry(#[from] Error),
}

impl CheckError {
    /// The party that must act.
    pub fn fault(&self) -> Fault {
        match self {
            // A live server may stop.
            Self::LiveServers { .. } => Fault::Transient { retry_after: None },
            Self::NoSuchRepair { .. } => Fault::Caller,
            Self::Unresponsive { source, .. } | Self::Registry(source) => source.fault(),
        }
    }

    /// A way out, for people.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::LiveServers { .. } => Some(
                "stop the server, or set `storage.maintenance.readonly.enabled` for it and here, or use `--force` \
                 after reading what that means in `help storage check`",
            ),
            Self::Unresponsive { .. } | Self::NoSuchRepair { .. } | Self::Registry(_) => None,
        }
    }
}
