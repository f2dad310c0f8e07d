//! An [`Object`] store: a bucket's clients, and the reads and writes from which its driver is made.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use object_store::list::{PaginatedListOptions, PaginatedListStore};
use object_store::multipart::MultipartStore;
use object_store::path::Path;
use object_store::signer::Signer;
use object_store::{GetOptions, ObjectMeta, ObjectStore, PutMode, PutOptions, PutPayload, PutResult};

use super::classify::{self, ErrorClassifier};
use super::conditional_writes::ConditionalWrites;
#[cfg(feature = "s3")]
use super::s3::S3Calls;
use crate::storage::{Cause, Driver as _, Error, InvalidKey, Metadata, StorageKey};

/// All traits of the library that a store implements.
pub(super) trait Store: ObjectStore + MultipartStore + PaginatedListStore + Signer {}
impl<T: ObjectStore + MultipartStore + PaginatedListStore + Signer> Store for T {}

/// Clients of one store, with short or long timeouts, and with or without the headers of new objects.
pub(super) struct Clients {
    /// Short timeouts: for metadata, small objects, lists, removals.
    pub(super) quick: Arc<dyn Store>,
    /// Long timeouts: for reads of large objects and for parts.
    pub(super) long: Arc<dyn Store>,
    /// Long timeouts and the headers of new objects: encryption, storage class, access control list.
    pub(super) write: Arc<dyn Store>,
    /// Short timeouts and the headers of new objects, for small ones.
    pub(super) small_write: Arc<dyn Store>,
}

/// The vendor, with the calls that the library does not have.
pub(super) enum Vendor {
    #[cfg(feature = "s3")]
    S3(S3Calls),
    #[cfg(feature = "azure")]
    Azure,
    #[cfg(feature = "gcs")]
    Gcs,
}

/// A store of objects in a bucket.
pub struct Object {
    pub(super) name: &'static str,
    pub(super) clients: Clients,
    /// The prefix of every key: empty, or a path that ends in `/`.
    pub(super) prefix: String,
    pub(super) classifier: ErrorClassifier,
    /// The size of the first parts of an upload in bytes.
    pub(super) part: u64,
    pub(super) conditional_writes: ConditionalWrites,
    pub(super) vendor: Vendor,
    pub(super) redirects: Option<Arc<dyn Store>>,
}

impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Object")
            .field("name", &self.name)
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}

impl Object {
    /// The store's name for log lines.
    pub fn name_in_full(&self) -> &str {
        &self.classifier.store
    }

    pub(super) fn text(&self, key: &StorageKey) -> String {
        format!("{}{key}", self.prefix)
    }

    pub(super) fn path(&self, key: &StorageKey) -> Result<Path, Error> {
        Path::parse(self.text(key)).map_err(|_| InvalidKey::new(key.as_str()).into())
    }

    pub(super) async fn head(&self, action: &'static str, key: &StorageKey) -> Result<Metadata, Error> {
        let options = GetOptions {
            head: true,
            ..GetOptions::default()
        };
        match self.clients.quick.get_opts(&self.path(key)?, options).await {
            Ok(found) => {
                self.classifier.note_read();
                Ok(metadata(&found.meta))
            }
            Err(error) => {
                // Expired credentials, or another region: the answer to a HEAD has no error code, that to a list has one.
                if classify::status(&error) == Some(400) {
                    self.page(key, false, None).await?;
                }
                Err(self.unread(action, key, error).await)
            }
        }
    }

    /// Reads a whole object with one of the clients.
    pub(super) async fn fetch(
        &self,
        store: &dyn Store,
        key: &StorageKey,
        limit: u64,
    ) -> Result<(Bytes, ObjectMeta), Error> {
        let failed = |error| self.classifier.classify("read", key, error);
        let path = self.path(key)?;
        let found = match store.get_opts(&path, GetOptions::default()).await {
            Ok(found) => found,
            Err(error) => return Err(self.unread("read", key, error).await),
        };
        self.classifier.note_read();
        let meta = found.meta.clone();
        if meta.size > limit {
            return Err(Error::TooLarge {
                key: key.clone(),
                size: meta.size,
                limit,
            });
        }
        let bytes = found.bytes().await.map_err(failed)?;
        whole(key, meta.size, bytes.len() as u64)?;
        Ok((bytes, meta))
    }

    /// The error of a failed read. If it says that the object is missing and the bucket may be, a list decides.
    pub(super) async fn unread(
        &self,
        action: &'static str,
        key: &StorageKey,
        error: object_store::Error,
    ) -> Error {
        let error = self.classifier.classify(action, key, error);
        if !error.is_not_found()
            || (self.classifier.seen.lately() && self.classifier.store_health.problem().is_none())
        {
            return error;
        }
        match self.list_top().await {
            Ok(()) => error,
            Err(gone) => gone,
        }
    }

    /// A small list. It succeeds if the bucket exists, even when it is empty.
    pub(super) async fn list_top(&self) -> Result<(), Error> {
        let top = StorageKey::parse("docker")?;
        self.page(&top, true, None).await.map(drop)
    }

    /// One page of what lies below a prefix.
    pub(super) async fn page(
        &self,
        below: &StorageKey,
        delimiter: bool,
        token: Option<String>,
    ) -> Result<(object_store::ListResult, Option<String>), Error> {
        self.pager().page(below, delimiter, token).await
    }
}

pub(super) fn metadata(found: &ObjectMeta) -> Metadata {
    Metadata {
        size: found.size,
        modified: found.last_modified.into(),
    }
}

/// Objects up to this size are written with short timeouts: links, records, marks.
const SMALL: usize = 64 * 1024;

/// How often an unconditional write is tried when it conflicts with another write.
const CONFLICTS: usize = 8;

impl Object {
    /// Writes an object in one step.
    pub(super) async fn write(
        &self,
        key: &StorageKey,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult, Error> {
        let path = self.path(key)?;
        let mut options = options;
        if options.mode != PutMode::Overwrite && self.conditional_writes.are_unknown() {
            self.meets(key, &options.mode).await?;
            options.mode = PutMode::Overwrite;
        }
        let unconditional = options.mode == PutMode::Overwrite;
        let store = match payload.content_length() <= SMALL {
            true => &self.clients.small_write,
            false => &self.clients.write,
        };
        for _ in 0..CONFLICTS {
            match store.put_opts(&path, payload.clone(), options.clone()).await {
                // Two writers at the same moment: S3 answers 409, and the write is tried again.
                Err(object_store::Error::AlreadyExists { .. }) if unconditional => {}
                Err(error) if !unconditional && classify::status(&error) == Some(501) => {
                    self.meets(key, &options.mode).await?;
                    options.mode = PutMode::Overwrite;
                    let written = Box::pin(self.write(key, payload, options)).await?;
                    self.conditional_writes.turned_out_unknown(&self.classifier.store);
                    return Ok(written);
                }
                // A 404 on a write means that the bucket does not exist.
                Err(error @ object_store::Error::NotFound { .. }) => {
                    return Err(self.classifier.note(Error::Remote {
                        action: "write",
                        key: key.clone(),
                        cause: Cause::NoBucket,
                        source: Box::new(error),
                    }));
                }
                Ok(written) => {
                    self.classifier.note_write();
                    return Ok(written);
                }
                Err(error) => return Err(self.classifier.classify("write", key, error)),
            }
        }
        Err(Error::Busy { key: key.clone() })
    }

    /// Checks the condition of a write by a request of its own.
    ///
    /// # Errors
    /// [`Error::AlreadyExists`] when the condition does not hold, or the store's.
    pub(super) async fn meets(&self, key: &StorageKey, mode: &PutMode) -> Result<(), Error> {
        let options = GetOptions {
            head: true,
            ..GetOptions::default()
        };
        let found = match self.clients.quick.get_opts(&self.path(key)?, options).await {
            Ok(found) => Some(found.meta),
            Err(error) => match self.unread("look at", key, error).await {
                Error::NotFound { .. } => None,
                error => return Err(error),
            },
        };
        let met = match mode {
            PutMode::Overwrite => true,
            PutMode::Create => found.is_none(),
            PutMode::Update(version) => found.is_some_and(|found| found.e_tag == version.e_tag),
        };
        if met {
            Ok(())
        } else {
            Err(Error::AlreadyExists { key: key.clone() })
        }
    }

    /// Removes objects. Missing objects are no error.
    pub(super) async fn remove(
        &self,
        action: &'static str,
        key: &StorageKey,
        paths: Vec<Path>,
    ) -> Result<(), Error> {
        let failed = |error| self.classifier.classify(action, key, error);
        let doomed = stream::iter(paths).map(Ok).boxed();
        let removed = self.clients.quick.delete_stream(doomed);
        removed.try_for_each(|_| async { Ok(()) }).await.map_err(failed)
    }

    pub(super) fn pager(&self) -> Pager {
        Pager {
            store: Arc::clone(&self.clients.quick),
            prefix: self.prefix.clone(),
            classifier: self.classifier.clone(),
        }
    }

    /// Sizes and times of several objects. Objects below one prefix are found by one list, if it fits one page: a list costs
    /// as much as a request for one object.
    pub(super) async fn stat_together(&self, keys: &[StorageKey]) -> Result<Vec<Option<Metadata>>, Error> {
        const WORTH_IT: usize = 3;
        let common = common_prefix(keys).filter(|_| keys.len() >= WORTH_IT);
        let mut found = std::collections::HashMap::new();
        let mut complete = false;
        if let Some(common) = common {
            let (page, next) = self.page(&common, false, None).await?;
            complete = next.is_none();
            for object in page.objects {
                found.insert(object.location.to_string(), metadata(&object));
            }
        }
        let looks = keys.iter().map(|key| {
            let known = found.get(&self.text(key)).copied();
            async move {
                match known {
                    None if !complete => self.try_stat(key).await,
                    known => Ok(known),
                }
            }
        });
        stream::iter(looks.collect::<Vec<_>>())
            .buffered(LOOKS_AT_ONCE)
            .try_collect()
            .await
    }
}

const LOOKS_AT_ONCE: usize = 16;

/// The longest prefix of all keys.
fn common_prefix(keys: &[StorageKey]) -> Option<StorageKey> {
    let first = keys.first()?.as_str();
    let mut common = first.rsplit_once('/')?.0;
    for key in keys {
        while !key
            .as_str()
            .strip_prefix(common)
            .is_some_and(|rest| rest.starts_with('/'))
        {
            common = common.rsplit_once('/')?.0;
        }
    }
    StorageKey::parse(common).ok()
}

/// Reads pages of a list. A listing keeps its own copy to read the next pages.
#[derive(Clone)]
pub(super) struct Pager {
    store: Arc<dyn Store>,
    prefix: String,
    classifier: ErrorClassifier,
}

impl Pager {
    pub(super) async fn page(
        &self,
        below: &StorageKey,
        delimiter: bool,
        token: Option<String>,
    ) -> Result<(object_store::ListResult, Option<String>), Error> {
        let options = PaginatedListOptions {
            delimiter: delimiter.then(|| "/".into()),
            page_token: token,
            ..PaginatedListOptions::default()
        };
        let prefix = format!("{}{below}/", self.prefix);
        match self.store.list_paginated(Some(&prefix), options).await {
            Ok(page) => {
                self.classifier.note_read();
                Ok((page.result, page.page_token))
            }
            // A prefix without objects is an empty list, so a 404 means that the bucket does not exist.
            Err(error @ object_store::Error::NotFound { .. }) => Err(self.classifier.note(Error::Remote {
                action: "list",
                key: below.clone(),
                cause: Cause::NoBucket,
                source: Box::new(error),
            })),
            Err(error) => Err(self.classifier.classify("list", below, error)),
        }
    }
}

pub(super) fn whole(key: &StorageKey, expected: u64, actual: u64) -> Result<(), Error> {
    if expected == actual {
        Ok(())
    } else {
        Err(Error::Truncated {
            key: key.clone(),
            expected,
            actual,
        })
    }
}
