//! The storage of a Registry's content.

use operator_api::{AccessMode, EmptyDir, RetentionPolicy};

/// The storage of a Registry's content.
#[derive(Clone, Debug, PartialEq)]
pub enum Backend {
    /// A claim that the Registry names.
    Claim {
        /// Its name.
        name: String,
        /// Whether more than one Pod can use it.
        shared: bool,
    },
    /// A claim made from the template.
    MadeClaim(MadeClaim),
    /// A bucket or a container.
    ObjectStore(ObjectStore),
    /// A volume that is deleted with its Pod.
    EmptyDir(EmptyDir),
}

/// A folder in an object store. `config.yml` says how it is reached.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ObjectStore {
    /// Name of its field in `spec.storage`.
    pub kind: &'static str,
    /// Host of a named endpoint, account, bucket or container, and folder, joined by slashes.
    pub location: String,
}

/// A claim made from the template. Once it exists, only its size changes.
#[derive(Clone, Debug, PartialEq)]
pub struct MadeClaim {
    /// Its name.
    pub name: String,
    /// Requested size, never less than what it has.
    pub size: String,
    /// Its storage class.
    pub storage_class_name: Option<String>,
    /// How Pods may share it.
    pub access_modes: Vec<String>,
    /// Whether it is deleted with the Registry.
    pub retention_policy: RetentionPolicy,
}

impl Backend {
    /// Its name in the status.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Claim { .. } | Self::MadeClaim(_) => "persistentVolumeClaim",
            Self::ObjectStore(store) => store.kind,
            Self::EmptyDir(_) => "emptyDir",
        }
    }

    /// Name of the claim in use.
    pub fn claim_name(&self) -> Option<&str> {
        match self {
            Self::Claim { name, .. } => Some(name),
            Self::MadeClaim(claim) => Some(&claim.name),
            Self::ObjectStore(_) | Self::EmptyDir(_) => None,
        }
    }

    /// The folder in an object store.
    pub fn location(&self) -> Option<&str> {
        match self {
            Self::ObjectStore(store) => Some(&store.location),
            Self::Claim { .. } | Self::MadeClaim(_) | Self::EmptyDir(_) => None,
        }
    }

    /// Whether more than one Pod can use it.
    pub fn shared(&self) -> bool {
        match self {
            Self::Claim { shared, .. } => *shared,
            Self::MadeClaim(claim) => claim
                .access_modes
                .iter()
                .any(|m| m == AccessMode::ReadWriteMany.as_str()),
            Self::ObjectStore(_) => true,
            Self::EmptyDir(_) => false,
        }
    }
}
