//! Problems of a Registry, in sentences for its author.
//!
//! Guarantees: a sentence names objects and fields, never the contents of a Secret. Start at [`Error`].

use crate::certificate::KeyPairError;
use crate::children::ForeignObject;
use crate::fault::Fault;
use crate::input_keys::MAX_BYTES;
use crate::read::Unreadable;

/// The field with the Secret that the Ingress, and no Pod, reads.
pub(super) const INGRESS_CERTIFICATE: &str = "spec.ingress.tls.secretName";

/// Collects everything that is wrong or worth knowing while the parts of a Registry are checked.
#[derive(Default)]
pub(super) struct Collector {
    pub(super) problems: Vec<Error>,
    pub(super) notes: Vec<String>,
}

impl Collector {
    /// Keeps the error of a part that is wrong.
    pub(super) fn collect<T>(&mut self, part: Result<T, Error>) -> Option<T> {
        part.map_err(|error| self.problems.push(error)).ok()
    }

    /// Keeps a sentence about something that is not wrong.
    pub(super) fn note(&mut self, sentence: String) {
        self.notes.push(sentence);
    }
}

/// A problem of one part of a Registry.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Error {
    /// A key of `config` that has a field of its own, or that only the operator may set.
    #[error("`spec.config` must not set `{path}`")]
    ConfigKeyOwned {
        /// The key.
        path: String,
        /// The field to use.
        instead: &'static str,
    },
    /// A key of `config` whose value is a secret.
    #[error("`spec.config` must not set `{path}`, which is a secret")]
    ConfigKeySecret {
        /// The key.
        path: String,
    },
    /// The server would refuse the configuration.
    #[error("the server would refuse `spec.config`: {problem}")]
    ConfigInvalid {
        /// The message of the server's own parser.
        problem: String,
    },
    /// A name that no object can have.
    #[error(
        "`{field}` names a {kind} `{}`, and no object can have this name",
        name.escape_debug()
    )]
    NameInvalid {
        /// The kind of the object.
        kind: &'static str,
        /// The name.
        name: String,
        /// The field that names it.
        field: &'static str,
    },
    /// The claim of `claimName` does not exist.
    #[error(
        "PersistentVolumeClaim `{name}` of `spec.storage.persistentVolumeClaim.claimName` does not exist"
    )]
    ClaimMissing {
        /// The claim.
        name: String,
    },
    /// A claim that is being deleted.
    #[error("PersistentVolumeClaim `{name}` is being deleted")]
    ClaimTerminating {
        /// The claim.
        name: String,
    },
    /// The claim with the content is gone, or another one has its name.
    #[error("PersistentVolumeClaim `{name}`, which held the content, was {}", if *replaced { "replaced by another one" } else { "deleted" })]
    StorageLost {
        /// The claim.
        name: String,
        /// UID of the claim with the content.
        uid: String,
        /// Whether there is another claim of that name.
        replaced: bool,
    },
    /// The spec names other storage, and the annotation does not confirm it.
    #[error("the storage changed from `{from}` to `{to}`, which would show clients an empty registry")]
    StorageChanged {
        /// The storage with the content.
        from: String,
        /// The storage that the spec names.
        to: String,
    },
    /// A Secret does not exist.
    #[error("Secret `{name}` of `{field}` does not exist")]
    SecretMissing {
        /// The Secret.
        name: String,
        /// The field that names it.
        field: &'static str,
    },
    /// A ConfigMap does not exist.
    #[error("ConfigMap `{name}` of `{field}` does not exist")]
    ConfigMapMissing {
        /// The ConfigMap.
        name: String,
        /// The field that names it.
        field: &'static str,
    },
    /// An object could not be read.
    #[error("{kind} `{name}` of `{field}` cannot be read: {}", why.problem)]
    Unreadable {
        /// Its kind.
        kind: &'static str,
        /// The object.
        name: String,
        /// The field that names it.
        field: &'static str,
        /// Why.
        why: Unreadable,
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
    /// More configuration and secrets than one object can hold.
    #[error("the configuration and everything the Pods start with have {bytes} bytes")]
    InputsTooLarge {
        /// Their size.
        bytes: usize,
    },
    /// The value of a Secret's key cannot be used.
    #[error("key `{key}` of Secret `{name}` of `{field}` {problem}")]
    SecretInvalid {
        /// The Secret.
        name: String,
        /// The key.
        key: String,
        /// The field that names it.
        field: &'static str,
        /// The problem with the value, as the rest of the sentence.
        problem: &'static str,
        /// Whether Pods go on, and start again, with what was good before.
        kept: bool,
    },
    /// The value of a ConfigMap's key cannot be used.
    #[error("key `{key}` of ConfigMap `{name}` of `{field}` {problem}")]
    ConfigMapInvalid {
        /// The ConfigMap.
        name: String,
        /// The key.
        key: String,
        /// The field that names it.
        field: &'static str,
        /// The problem with the value, as the rest of the sentence.
        problem: &'static str,
        /// Whether Pods go on, and start again, with what was good before.
        kept: bool,
    },
    /// A certificate and key that cannot be used.
    #[error("Secret `{name}` of `{field}` cannot be used: {problem}")]
    CertificateInvalid {
        /// The Secret.
        name: String,
        /// The field that names it.
        field: &'static str,
        /// The problem.
        problem: KeyPairError,
        /// Whether Pods go on, and start again, with what was good before.
        kept: bool,
    },
    /// A generated secret that somebody changed. It is not overwritten, because clients or Pods know it.
    #[error("Secret `{name}`, which the operator made, was changed and cannot be used any more: {problem}")]
    GeneratedSecretSpoilt {
        /// The Secret.
        name: String,
        /// The problem.
        problem: String,
        /// The cost of a new one, as the rest of the sentence.
        price: &'static str,
    },
    /// Somebody applied another certificate over one that the operator made.
    #[error("Secret `{name}` holds a certificate that the operator did not make")]
    CertificateReplaced {
        /// The Secret.
        name: String,
        /// The field that would name it.
        field: &'static str,
    },
    /// A generated secret is needed, but its name is taken.
    #[error(transparent)]
    Foreign(#[from] ForeignObject),
}

impl Error {
    pub(super) fn secret_invalid(name: &str, key: &str, field: &'static str, problem: &'static str) -> Self {
        Self::SecretInvalid {
            name: name.to_owned(),
            key: key.to_owned(),
            field,
            problem,
            kept: false,
        }
    }

    /// Notes that Pods have a copy of what was good before. The Ingress has none of its certificate.
    pub(super) fn keeps_what_was_good(&mut self) {
        if let Self::SecretInvalid { field, kept, .. }
        | Self::ConfigMapInvalid { field, kept, .. }
        | Self::CertificateInvalid { field, kept, .. } = self
        {
            *kept = *field != INGRESS_CERTIFICATE;
        }
    }

    /// The party that must act.
    pub fn fault(&self) -> Fault {
        match self {
            Self::ConfigKeyOwned { .. }
            | Self::ConfigKeySecret { .. }
            | Self::ConfigInvalid { .. }
            | Self::StorageLost { .. }
            | Self::NameInvalid { .. }
            | Self::StorageChanged { .. } => Fault::Caller,
            Self::Unreadable { why, .. } => why.fault,
            Self::ClaimMissing { .. }
            | Self::ClaimTerminating { .. }
            | Self::SecretMissing { .. }
            | Self::ConfigMapMissing { .. }
            | Self::KeyMissing { .. }
            | Self::InputsTooLarge { .. }
            | Self::SecretInvalid { .. }
            | Self::ConfigMapInvalid { .. }
            | Self::CertificateInvalid { .. }
            | Self::GeneratedSecretSpoilt { .. }
            | Self::CertificateReplaced { .. }
            | Self::Foreign(_) => Fault::Waiting,
        }
    }

    /// The next thing that the author of the Registry can do.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::ConfigKeyOwned { instead, .. } => Some(format!("use {instead}")),
            Self::ConfigKeySecret { path } => Some(format!(
                "put it into a Secret and name that in `spec.configFrom` with path `{path}`"
            )),
            Self::ConfigInvalid { .. } => None,
            Self::NameInvalid { .. } => {
                Some("use the object's own name: lower-case letters, digits, dashes and dots".to_owned())
            }
            Self::ClaimMissing { .. } => Some("create it, or name another".to_owned()),
            Self::ClaimTerminating { .. } => Some(
                "its content goes when the last Pod that uses it ends: copy it while the registry still serves, or wait \
                 until the claim is gone and create it again"
                    .to_owned(),
            ),
            Self::StorageLost { uid, replaced, .. } => Some(format!(
                "{}, and confirm with the annotation `{}: {uid}`",
                match replaced {
                    true => "check that the new one has what clients need",
                    false => "restore its volume under this name, or give the content up",
                },
                operator_api::ACCEPT_EMPTY_STORAGE_ANNOTATION
            )),
            Self::StorageChanged { to, .. } => Some(format!(
                "copy the content, then confirm with the annotation `{}: {to}`, or change the storage back",
                operator_api::CHANGE_STORAGE_ANNOTATION
            )),
            Self::SecretMissing { .. } | Self::ConfigMapMissing { .. } => Some("create it".to_owned()),
            Self::Unreadable { why, .. } => why.hint.clone(),
            Self::KeyMissing { .. } => Some("add it".to_owned()),
            Self::SecretInvalid { kept, .. }
            | Self::ConfigMapInvalid { kept, .. }
            | Self::CertificateInvalid { kept, .. } => Some(match kept {
                true => "correct it; what was good before stays in use".to_owned(),
                false => "correct it".to_owned(),
            }),
            Self::InputsTooLarge { .. } => Some(format!(
                "the limit is {MAX_BYTES} bytes; make `spec.config` or the Secrets and ConfigMaps that the Registry names \
                 smaller"
            )),
            Self::GeneratedSecretSpoilt { price, .. } => Some(format!(
                "restore it, or delete it to have a new one made, {price}"
            )),
            Self::CertificateReplaced { field, .. } => {
                Some(format!("name it in `{field}`, or delete it to have one made"))
            }
            Self::Foreign(foreign) => Some(foreign.hint()),
        }
    }
}
