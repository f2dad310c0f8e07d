//! Storage: the [`Driver`] trait and its drivers.
//!
//! Guarantees: an acknowledged write survives what its [`Durability`] names; a reader sees the whole old value or the whole
//! new one, never a part; no call blocks an async thread; no call holds more than a constant amount of memory per object.
//! Must not: know what a repository is (only [`layout`] does, the one file that knows paths), know HTTP.
//! Start at [`Driver`]; `conformance` tests its behaviour on every driver.

mod content;
mod driver;
mod error;
mod filesystem;
mod inmemory;
mod key;
mod large_write;
pub mod layout;
mod multipart;
#[cfg(feature = "object-store")]
mod object;
pub(crate) mod put_stream;
mod reclaim;
mod store_health;
mod timed;
mod types;

#[cfg(test)]
pub(crate) mod conformance;

pub use content::Content;
pub use driver::Driver;
pub use error::{Cause, Error, OptionalExtension};
#[cfg(test)]
pub(crate) use filesystem::system_calls::SystemCalls;
pub use filesystem::{Filesystem, FilesystemOptions, Sync};
pub use inmemory::InMemory;
pub use key::{InvalidKey, StorageKey};
pub use large_write::{Append, LargeWrite, Staged, Writer};
pub use multipart::{Expected, Multipart, ObjectVersion, UnfinishedUpload};
#[cfg(feature = "azure")]
pub use object::{AzureCredentials, AzureOptions};
#[cfg(feature = "gcs")]
pub use object::{GcsCredentials, GcsOptions, ServiceAccount};
#[cfg(feature = "object-store")]
pub use object::{Object, StoreError};
#[cfg(feature = "s3")]
pub use object::{S3Credentials, S3Encryption, S3Options};
pub use reclaim::{Condition, Reclaim};
pub use store_health::StoreHealth;
pub use timed::Timed;
pub use types::{Durability, Entry, EntryKind, Listing, Metadata, Mode, ReadRange, Space, Swept};
