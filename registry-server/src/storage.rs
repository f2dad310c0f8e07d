//! Where the registry's bytes lie: one [`Driver`] trait and its drivers.
//!
//! Guarantees: what a driver acknowledges survives what its [`Durability`] says; a reader sees the whole old
//! value or the whole new one, never a part; no call blocks an async thread; no call holds more than a constant
//! amount of memory per object.
//! Must not: know what a repository is ([`layout`] excepted, which is the only file that knows a path), know HTTP.
//! Start at [`Driver`]; its behaviour is held by `conformance`, which runs on every driver.

mod content;
mod driver;
mod error;
mod filesystem;
pub(crate) mod incoming;
mod inmemory;
mod key;
pub mod layout;
mod object;
mod store_health;
mod timed;

#[cfg(test)]
pub(crate) mod conformance;

pub use content::Content;
pub use driver::{
    Append, Condition, Driver, Durability, Entry, EntryKind, Expected, Intake, Listing, Metadata, Mode,
    Parts, ReadRange, Staged, Swept, Unfinished, Version, Writer,
};
pub use error::{Cause, Error};
#[cfg(test)]
pub(crate) use filesystem::calls::Calls;
pub use filesystem::{Filesystem, FilesystemOptions, Sync};
pub use inmemory::InMemory;
pub use key::StorageKey;
pub use object::{
    AzureCredentials, AzureOptions, GcsCredentials, GcsOptions, Object, S3Credentials, S3Encryption,
    S3Options, ServiceAccount, StoreError,
};
pub use store_health::StoreHealth;
pub use timed::Timed;
