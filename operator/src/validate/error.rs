//! Why a Registry cannot be brought up, in sentences for its author.

use crate::Fault;
use crate::issue::KeyPairError;

/// What keeps a Registry from running. Texts name objects and fields, never contents of Secrets.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Error {
    /// A key of `config` that has a field of its own, or that the operator must own.
    #[error("`spec.config` must not set `{path}`")]
    ConfigKeyOwned {
        /// The key.
        path: String,
        /// The field to use.
        instead: &'static str,
    },
    /// A key of `config` that carries a secret.
    #[error("`spec.config` must not set `{path}`, which is a secret")]
    ConfigKeySecret {
        /// The key.
        path: String,
    },
    /// The server would refuse the configuration.
    #[error("the server would refuse `spec.config`: {problem}")]
    ConfigInvalid {
        /// The server's own words.
        problem: String,
    },
    /// The claim of `claimName` is not there.
    #[error(
        "PersistentVolumeClaim `{name}` of `spec.storage.persistentVolumeClaim.claimName` does not exist"
    )]
    ClaimMissing {
        /// The claim.
        name: String,
    },
    /// A claim that is going away.
    #[error("PersistentVolumeClaim `{name}` is being deleted")]
    ClaimTerminating {
        /// The claim.
        name: String,
    },
    /// The storage was changed without saying so.
    #[error("the storage changed from `{from}` to `{to}`, which would show clients an empty registry")]
    StorageChanged {
        /// Where the content is.
        from: String,
        /// Where the Registry now says it is.
        to: String,
    },
    /// A Secret is not there.
    #[error("Secret `{name}` of `{field}` does not exist")]
    SecretMissing {
        /// The Secret.
        name: String,
        /// The field that names it.
        field: &'static str,
    },
    /// A ConfigMap is not there.
    #[error("ConfigMap `{name}` of `{field}` does not exist")]
    ConfigMapMissing {
        /// The ConfigMap.
        name: String,
        /// The field that names it.
        field: &'static str,
    },
    /// A Secret or ConfigMap lacks a key.
    #[error("{kind} `{name}` of `{field}` has no key `{key}`")]
    KeyMissing {
        /// `Secret` or `ConfigMap`.
        kind: &'static str,
        /// The object.
        name: String,
        /// The key.
        key: String,
        /// The field that names it.
        field: &'static str,
    },
    /// A Secret's key holds something else than it should.
    #[error("key `{key}` of Secret `{name}` of `{field}` {problem}")]
    SecretInvalid {
        /// The Secret.
        name: String,
        /// The key.
        key: String,
        /// The field that names it.
        field: &'static str,
        /// What is wrong, as the rest of the sentence.
        problem: &'static str,
    },
    /// A ConfigMap's key holds something else than it should.
    #[error("key `{key}` of ConfigMap `{name}` of `{field}` {problem}")]
    ConfigMapInvalid {
        /// The ConfigMap.
        name: String,
        /// The key.
        key: String,
        /// The field that names it.
        field: &'static str,
        /// What is wrong, as the rest of the sentence.
        problem: &'static str,
    },
    /// A certificate and a key that do not work.
    #[error("Secret `{name}` of `{field}` cannot be used: {problem}")]
    CertificateInvalid {
        /// The Secret.
        name: String,
        /// The field that names it.
        field: &'static str,
        /// What is wrong.
        problem: KeyPairError,
    },
    /// Generated issued that somebody changed. It is not overwritten, because clients trust it.
    #[error("Secret `{name}`, which the operator made, was changed and cannot be used any more: {problem}")]
    GeneratedSecretSpoilt {
        /// The Secret.
        name: String,
        /// What is wrong.
        problem: String,
        /// What a new one means, as the rest of a sentence.
        price: &'static str,
    },
    /// An object with one of our names that is not ours.
    #[error("{kind} `{name}` exists and does not belong to this Registry")]
    ForeignObject {
        /// Its kind.
        kind: &'static str,
        /// Its name.
        name: String,
    },
}

impl Error {
    /// Who must act.
    pub fn fault(&self) -> Fault {
        match self {
            Self::ConfigKeyOwned { .. }
            | Self::ConfigKeySecret { .. }
            | Self::ConfigInvalid { .. }
            | Self::StorageChanged { .. } => Fault::Caller,
            Self::ClaimMissing { .. }
            | Self::ClaimTerminating { .. }
            | Self::SecretMissing { .. }
            | Self::ConfigMapMissing { .. }
            | Self::KeyMissing { .. }
            | Self::SecretInvalid { .. }
            | Self::ConfigMapInvalid { .. }
            | Self::CertificateInvalid { .. }
            | Self::GeneratedSecretSpoilt { .. }
            | Self::ForeignObject { .. } => Fault::Waiting,
        }
    }

    /// What the author can do next.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::ConfigKeyOwned { instead, .. } => Some(format!("use {instead}")),
            Self::ConfigKeySecret { path } => Some(format!(
                "put it into a Secret and name that in `spec.configFrom` with path `{path}`"
            )),
            Self::ConfigInvalid { .. } => None,
            Self::ClaimMissing { .. } => Some("create it, or name another".to_owned()),
            Self::ClaimTerminating { .. } => Some("wait until it is gone and create it again".to_owned()),
            Self::StorageChanged { to, .. } => Some(format!(
                "copy the content, then confirm with the annotation `{}: {to}`, or change the storage back",
                operator_api::CHANGE_STORAGE_ANNOTATION
            )),
            Self::SecretMissing { .. } | Self::ConfigMapMissing { .. } => Some("create it".to_owned()),
            Self::KeyMissing { .. } => Some("add it".to_owned()),
            Self::SecretInvalid { .. } | Self::ConfigMapInvalid { .. } | Self::CertificateInvalid { .. } => {
                Some("correct it; what was good before stays in use".to_owned())
            }
            Self::GeneratedSecretSpoilt { price, .. } => Some(format!(
                "restore it, or delete it to have a new one made, {price}"
            )),
            Self::ForeignObject { .. } => Some("delete or rename it, or rename the Registry".to_owned()),
        }
    }
}
