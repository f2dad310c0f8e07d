//! The words of the OCI specifications as values that cannot be invalid: digests, repository names, tags,
//! references, media types, upload ids, descriptors and manifests.
//!
//! Guarantees: `parse` is the only way in and `Display` the only way out, so that a value of one of these types
//! is safe to put into a path, a header or a log line; no input panics; every limit is a constant that names
//! the section it comes from. A manifest is only looked at: its bytes are what was pushed and stay what they are.
//! Must not: read or write anything, know a path, know HTTP.
//! Start at [`Digest`] and [`RepositoryName`]; [`Manifest::parse`] shows what is read from a pushed document.

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
