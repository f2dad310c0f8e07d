//! Why a collection did not take place. Apart from the room's other errors, because no request can meet these.

use std::io;

use registry_oci::{Digest, RepositoryName};

use crate::fault::Fault;
use crate::registry::Error;
use crate::registry::live_servers::{SeenServer, ServerList};

/// Why garbage was not collected.
#[derive(Debug, thiserror::Error)]
pub enum GarbageError {
    /// Somebody writes to the store.
    #[error("{} to this store", ServerList(servers))]
    Written {
        /// Who.
        servers: Vec<SeenServer>,
    },
    /// A manifest that stays cannot be read.
    #[error(
        "manifest {digest} of {repository} cannot be read, so nobody knows what it refers to: nothing was removed"
    )]
    Unreadable {
        /// The repository.
        repository: RepositoryName,
        /// The manifest.
        digest: Digest,
    },
    /// A folder is a repository by what lies in it, but not by its name.
    #[error(
        "folder `{name}` lies among the repositories but has a name that none can have: nothing was removed"
    )]
    RepositoryNameInvalid {
        /// Its path below them.
        name: String,
    },
    /// Temporary files cannot be written or read.
    #[error("cannot keep notes in the folder for temporary files")]
    Scratch(#[source] io::Error),
    /// The store failed.
    #[error(transparent)]
    Registry(#[from] Error),
}

impl GarbageError {
    /// Who must act.
    pub fn fault(&self) -> Fault {
        match self {
            // Servers stop.
            Self::Written { .. } | Self::Scratch(_) => Fault::Transient { retry_after: None },
            Self::Unreadable { .. } | Self::RepositoryNameInvalid { .. } => Fault::Permanent,
            Self::Registry(error) => error.fault(),
        }
    }

    /// What can be done.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Written { .. } => Some(
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
