//! A registry without HTTP: blobs, uploads, manifests, tags, referrers, the catalog, and maintenance.
//!
//! Guarantees: a call returns after what it acknowledges is durable in the store. No content is stored under a digest
//! that it does not have. A repository shows only content that it has a link to. Only `blob_access` makes a blob
//! reachable or answers that it exists, because a garbage collection that runs beside pushes relies on exactly that.
//! Must not: know a header, a status or a path.
//! Start at [`Registry`]. A push begins in [`start_upload`](Registry::start_upload) and ends in
//! [`put_manifest`](Registry::put_manifest).

mod blob_access;
mod blobs;
mod catalog;
mod check;
mod concurrent_deletion;
mod copy;
mod error;
mod garbage;
mod handle;
mod hashing;
mod link_cache;
mod links;
mod live_servers;
mod manifest_parser;
mod manifest_rules;
mod manifests;
pub mod offload;
mod owner;
mod purge;
mod referrers;
mod store_body;
mod tags;
mod ticker;
mod truncated_blobs;
mod uploads;
mod validation;
mod verified_sizes;
mod verify;
mod walk;
mod warn_once;

pub use blob_access::BlobDescriptor;
pub use blobs::Blob;
pub use catalog::CatalogPage;
pub use check::error::CheckError;
pub use check::finding::{About, Finding, TagHistory};
pub use check::report::{CheckEvent, CheckOptions, CheckReport, Digests, FindingOutcome, Repair};
pub use check::undo::{UndoEvent, UndoReport};
pub use copy::error::CopyError;
pub use copy::report::{CopyEvent, CopyReport};
pub use error::Error;
pub use garbage::error::GarbageError;
pub use garbage::report::{
    CollectionEvent, CollectionOptions, CollectionReport, Eligible, Removal, Untagged,
};
pub use handle::{Registry, Settings};
pub use live_servers::heartbeat::Heartbeat;
pub use live_servers::{LiveServer, LiveServerPolicy, SeenServer};
pub use manifest_rules::{
    IndexChildren, MissingReference, Notice, Platform, ReferencePolicy, Urls, Validation,
};
pub use manifests::{Accepts, PushedManifest, StoredManifest};
pub use owner::{Claim, OwnerError};
pub use purge::{PurgeMode, PurgeReport};
pub use referrers::page::Referrers;
pub use tags::Page;
pub use uploads::resume::Resume;
pub use uploads::session::{Chunk, Offset, Progress, Session};

#[cfg(test)]
mod tests;
