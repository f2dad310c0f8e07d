//! The terms of the OCI specifications as types that cannot hold an invalid value: digests, repository names, tags,
//! references, media types, upload ids, descriptors and manifests.
//!
//! Guarantees: `parse` is the only way in and `Display` the only way out, so that a value of one of these types
//! is safe in a path, a header or a log line; no input panics; every limit is a constant that names its section of the
//! specification. A manifest is only read: the pushed bytes are stored and served unchanged.
//! Must not: read or write files or sockets, know a path, know HTTP.
//! Start at [`Digest`] and [`RepositoryName`]; [`Manifest::parse`] reads a pushed document.
//!
//! ```
//! use registry_oci::{Digest, Manifest, MediaType, Reference, RepositoryName};
//!
//! let repository = RepositoryName::parse("library/alpine")?;
//! let reference = Reference::parse("3.22")?;
//! assert_eq!(format!("{repository}:{reference}"), "library/alpine:3.22");
//! assert!(RepositoryName::parse("Library/Alpine").is_err());
//!
//! let config = Digest::sha256(b"{}");
//! let document = format!(
//!     r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json",
//!         "config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{config}","size":2}},
//!         "layers":[]}}"#
//! );
//! let manifest = Manifest::parse(document.as_bytes(), None)?;
//! assert_eq!(manifest.media_type, MediaType::OCI_MANIFEST);
//! assert!(manifest.references().all(|descriptor| descriptor.digest == config));
//! # Ok::<(), registry_oci::Error>(())
//! ```

mod descriptor;
mod digest;
mod error;
mod fields;
mod hasher;
mod manifest;
mod manifest_references;
mod media_type;
mod reference;
mod repository_name;
mod upload_id;

pub use descriptor::{Descriptor, Platform};
pub use digest::{Algorithm, Digest};
pub use error::{Error, shortened};
pub use hasher::{GO_STATE_LENGTH, Hasher};
pub use manifest::{ARTIFACT_TYPE_MAX, MANIFEST_MAX, Manifest, ManifestKind, Referrer, is_same_type};
pub use manifest_references::ManifestReferences;
pub use media_type::MediaType;
pub use reference::{Reference, TAG_MAX, Tag};
pub use repository_name::{REPOSITORY_NAME_MAX, RepositoryName};
pub use upload_id::{UPLOAD_ID_MAX, UploadId};
