//! Why a collection did not take place. These errors are separate from the room's other errors, because no request can
//! meet them.

use std::io;

use registry_oci::{Digest, RepositoryName};

use crate::fault::Fault;
use crate::registry::Error;
use crate::registry::live_servers::{SeenServer, ServerList};

/// Why garbage was not collected.
#[derive(Debug, thiserror::Error)]
pub enum GarbageError {
    /// A live server writes to the store.
    #[error("{} to this store", ServerList(servers))]
    LiveServers {
        /// The servers.
        servers: Vec<SeenServer>,
    },
    /// A kept manifest cannot be read.
    #[error(
        "manifest {digest} of {repository} cannot be read, so nobody knows what it refers to: nothing was removed"
    )]
    Unreadable {
        /// The repository.
        repository: RepositoryName,
        /// The manifest.
        digest: Digest,
    },
    /// A folder holds a repository, but its name is none that a repository can have.
    #[error(
        "folder `{name}` lies among the repositories but has a name that none can have: nothing was removed"
    )]
    RepositoryNameInvalid {
        /// Its path below the folder of all repositories.
        name: String,
    },
    /// A temporary file cannot be written or read.
    #[error("cannot write or read temporary files")]
    Scratch(#[source] io::Error),
    /// The store failed.
    #[error(transparent)]
    Registry(#[from] Error),
}

impl GarbageError {
    /// The party that must act.
    pub fn fault(&self) -> Fault {
        match self {
            // A live server may stop.
            Self::LiveServers { .. } | Self::Scratch(_) => Fault::Transient { retry_after: None },
            Self::Unreadable { .. } | Self::RepositoryNameInvalid { .. } => Fault::Permanent,
            Self::Registry(error) => error.fault(),
        }
    }

    /// A way out, for people.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::LiveServers { .. } => Some(
                "stop the server, or set `storage.maintenance.readonly.enabled` for it and here, or use `--force` \
                 after reading what that means in `help garbage-collect`"
                    .to_owned(),
            ),
            Self::Unreadable { repository, digest } => Some(format!(
                "restore it, or delete it with `DELETE /v2/{repository}/manifests/{digest}`"
            )),
            Self::RepositoryNameInvalid { .. } => Some("rename it, or move it out of the store".to_owned()),
            Self::Scratch(_) => Some("TMPDIR chooses another folder".to_owned()),
            Self::Registry(_) => None,
        }
    }
}
