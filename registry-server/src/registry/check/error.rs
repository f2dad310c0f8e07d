//! Why a check or a repair did not take place.

use uuid::Uuid;

use crate::fault::Fault;
use crate::registry::Error;
use crate::registry::live_servers::{SeenServer, ServerList};

/// Why nothing was checked, or not all of it.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// Somebody writes to the store.
    #[error("{} to this store", ServerList(servers))]
    Written {
        /// Who.
        servers: Vec<SeenServer>,
    },
    /// One look after the other failed.
    #[error("the store does not answer: {failed} looks at it failed one after the other, the last")]
    Unresponsive {
        /// How many.
        failed: u32,
        /// How the last one did.
        #[source]
        source: Error,
    },
    /// There is no such repair to undo.
    #[error("no repair `{run}` is in the trash of this store")]
    NoSuchRepair {
        /// What was asked for.
        run: Uuid,
    },
    /// The store failed.
    #[error(transparent)]
    Registry(#[from] Error),
}

impl CheckError {
    /// Who must act.
    pub fn fault(&self) -> Fault {
        match self {
            // Servers stop.
            Self::Written { .. } => Fault::Transient { retry_after: None },
            Self::NoSuchRepair { .. } => Fault::Caller,
            Self::Unresponsive { source, .. } | Self::Registry(source) => source.fault(),
        }
    }

    /// What can be done.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Written { .. } => Some(
                "stop the server, or set `storage.maintenance.readonly.enabled` for it and here, or use `--force` \
                 after reading what that means in `help storage check`",
            ),
            Self::Unresponsive { .. } | Self::NoSuchRepair { .. } | Self::Registry(_) => None,
        }
    }
}
