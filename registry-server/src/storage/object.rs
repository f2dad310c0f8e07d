//! The driver for object stores: S3, Azure Blob Storage and Google Cloud Storage.
//!
//! The wire protocols are those of the crate `object_store`; what is ours is the meaning: how objects are named, cut
//! into parts, copied, listed, and removed without losing what somebody counts on.
//!
//! Guarantees beyond [`Driver`]'s: keys are distribution's, so that either server goes on with the other's bucket;
//! nothing outside `rootdirectory` is read, written or removed; every call ends, by an answer or after the deadlines of
//! `Patience`; an object is never read back to be published.
//! An object's time cannot be renewed in a bucket without writing it again. So [`Driver::touch`] leaves a mark beside
//! it, and [`Driver::delete_if`] minds that: see `marks`. Listings do not show marks.
//! Must not: know a vendor; what differs is in `s3`, `azure` and `gcs`, which make an [`Object`].

mod again;
#[cfg(all(test, any(feature = "azure", feature = "gcs")))]
mod answers;
#[cfg(feature = "azure")]
mod azure;
#[cfg(any(feature = "azure", feature = "gcs"))]
mod beside;
mod bucket;
mod classify;
mod client;
mod conditions;
#[cfg(feature = "gcs")]
mod gcs;
mod marks;
mod parts;
#[cfg(feature = "s3")]
mod s3;
mod schedule;

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use object_store::list::{PaginatedListOptions, PaginatedListStore};
use object_store::multipart::MultipartStore;
use object_store::path::Path;
use object_store::signer::Signer;
use object_store::{
    GetOptions, GetRange, ObjectMeta, ObjectStore, PutMode, PutOptions, PutPayload, PutResult,
};

#[cfg(feature = "azure")]
pub use azure::{AzureCredentials, AzureOptions};
use classify::ErrorClassifier;
pub use client::StoreError;
use client::{Certificates, LONG, Patience, QUICK, header, prefix};
use conditions::Conditions;
#[cfg(feature = "gcs")]
pub use gcs::{GcsCredentials, GcsOptions, ServiceAccount};
#[cfg(feature = "s3")]
pub use s3::{S3Credentials, S3Encryption, S3Options};

use super::{
    Cause, Condition, Content, Driver, Durability, Entry, EntryKind, Error, LargeWrite, Listing, Metadata,
    Mode, ReadRange, Reclaim, StorageKey, Swept,
};

/// Everything the library can do with a store.
trait Store: ObjectStore + MultipartStore + PaginatedListStore + Signer {}
impl<T: ObjectStore + MultipartStore + PaginatedListStore + Signer> Store for T {}

/// The same store with two kinds of patience, and with what is said of objects that are written.
struct Clients {
    /// Looks, small objects, lists, removals.
    quick: Arc<dyn Store>,
    /// Reads of large objects, parts.
    long: Arc<dyn Store>,
    /// What makes a new object: with its encryption, class and owner.
    write: Arc<dyn Store>,
    /// The same for small ones.
    jot: Arc<dyn Store>,
}

/// What a vendor's store does beyond the library, or otherwise.
enum Vendor {
    #[cfg(feature = "s3")]
    S3(s3::Calls),
    #[cfg(feature = "azure")]
    Azure,
    #[cfg(feature = "gcs")]
    Gcs,
}

/// A store of objects in a bucket.
pub struct Object {
    name: &'static str,
    clients: Clients,
    /// What stands before every key: nothing, or a path that ends in `/`.
    prefix: String,
    classifier: ErrorClassifier,
    /// How many bytes the first parts of an upload have.
    part: u64,
    conditions: Conditions,
    vendor: Vendor,
    redirects: Option<Arc<dyn Store>>,
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
    /// The store's name for people.
    pub fn name_in_full(&self) -> &str {
        &self.classifier.store
    }

    fn text(&self, key: &StorageKey) -> String {
        format!("{}{key}", self.prefix)
    }

    fn path(&self, key: &StorageKey) -> Result<Path, Error> {
        Path::parse(self.text(key)).map_err(|_| Error::InvalidKey {
            given: key.as_str().escape_debug().to_string(),
        })
    }

    async fn head(&self, action: &'static str, key: &StorageKey) -> Result<Metadata, Error> {
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
                // Credentials that are over, another region: the answer to a HEAD has no words, that to a list has.
                if classify::status(&error) == Some(400) {
                    self.page(key, false, None).await?;
                }
                Err(self.unread(action, key, error).await)
            }
        }
    }

    /// An object, whole, by the patience of a client of ours.
    async fn fetch(
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

    /// One page of what lies below a prefix.
    async fn page(
        &self,
        below: &StorageKey,
        delimiter: bool,
        token: Option<String>,
    ) -> Result<(object_store::ListResult, Option<String>), Error> {
        self.pager().page(below, delimiter, token).await
    }
}

fn metadata(found: &ObjectMeta) -> Metadata {
    Metadata {
        size: found.size,
        modified: found.last_modified.into(),
    }
}

#[async_trait]
impl Driver for Object {
    fn name(&self) -> &'static str {
        self.name
    }

    async fn stat(&self, key: &StorageKey) -> Result<Metadata, Error> {
        self.head("stat", key).await
    }

    async fn stat_all(&self, keys: &[StorageKey]) -> Result<Vec<Option<Metadata>>, Error> {
        self.stat_together(keys).await
    }

    async fn get(&self, key: &StorageKey, limit: u64) -> Result<Bytes, Error> {
        let fetched = self.fetch(&*self.clients.quick, key, limit).await;
        fetched.map(|(bytes, _)| bytes)
    }

    // With little patience, as any look: the library would give a stream.
    async fn get_dated(&self, key: &StorageKey, limit: u64) -> Result<(Bytes, Metadata), Error> {
        let (bytes, meta) = self.fetch(&*self.clients.quick, key, limit).await?;
        Ok((bytes, metadata(&meta)))
    }

    async fn read(&self, key: &StorageKey, range: ReadRange) -> Result<Content, Error> {
        const ACTION: &str = "read";
        let asked = match range {
            ReadRange::Full => None,
            ReadRange::From(start) => Some(GetRange::Offset(start)),
            ReadRange::Between(start, end) if start <= end => {
                Some(GetRange::Bounded(start..end.saturating_add(1)))
            }
            // Not every store knows the end of an object as a range, and none knows what is none.
            ReadRange::Last(_) | ReadRange::Between(..) => {
                let found = self.head(ACTION, key).await?;
                let range = range.resolve(found.size).ok_or_else(|| behind(key, found.size))?;
                Some(GetRange::Bounded(range))
            }
        };
        let options = GetOptions {
            range: asked,
            ..GetOptions::default()
        };
        let found = match self.clients.long.get_opts(&self.path(key)?, options).await {
            Ok(found) => {
                self.classifier.note_read();
                found
            }
            Err(error) => {
                let error = self.unread(ACTION, key, error).await;
                // Stores differ in how they say that there is no such range; the object's size tells.
                if let (
                    false,
                    Error::Remote {
                        cause: Cause::Failed, ..
                    },
                ) = (range == ReadRange::Full, &error)
                    && let size = self.head(ACTION, key).await?.size
                    && range.resolve(size).is_none()
                {
                    return Err(behind(key, size));
                }
                return Err(error);
            }
        };
        let (metadata, range) = (metadata(&found.meta), found.range.clone());
        if found.range.is_empty() && metadata.size > 0 {
            return Err(behind(key, metadata.size));
        }
        let length = range.end - range.start;
        let (key, classifier, mut actual) = (key.clone(), self.classifier.clone(), 0);
        let blocks = found.into_stream().map(Some).chain(stream::iter([None]));
        let blocks = blocks.filter_map(move |block| {
            let block = match block {
                Some(Ok(block)) => {
                    actual += block.len() as u64;
                    Some(Ok(block))
                }
                Some(Err(error)) => Some(Err(classifier.classify(ACTION, &key, error))),
                None => whole(&key, length, actual).err().map(Err),
            };
            async move { block }
        });
        Ok(Content::new(metadata, range, blocks))
    }

    async fn put(&self, key: &StorageKey, bytes: Bytes, mode: Mode, _: Durability) -> Result<(), Error> {
        let options = PutOptions {
            mode: match mode {
                Mode::Create => PutMode::Create,
                Mode::Replace => PutMode::Overwrite,
            },
            ..PutOptions::default()
        };
        self.write(key, bytes.into(), options).await.map(drop)
    }

    async fn delete(&self, key: &StorageKey) -> Result<(), Error> {
        const ACTION: &str = "delete";
        // Object stores remove what is not there without a word.
        self.head(ACTION, key).await?;
        self.remove(ACTION, key, vec![self.path(key)?]).await
    }

    async fn delete_tree(&self, prefix: &StorageKey, _: Durability) -> Result<(), Error> {
        const ACTION: &str = "delete";
        let mut doomed = vec![self.path(prefix)?];
        let mut token = None;
        loop {
            let (page, next) = self.page(prefix, false, token).await?;
            doomed.extend(page.objects.into_iter().map(|found| found.location));
            self.remove(ACTION, prefix, std::mem::take(&mut doomed)).await?;
            token = next;
            if token.is_none() {
                return Ok(());
            }
        }
    }

    async fn list(&self, prefix: &StorageKey) -> Result<Listing, Error> {
        let first = self.page(prefix, true, None).await?;
        let (pages, prefix) = (self.pager(), prefix.clone());
        // One page ahead of the reader at most, and none before somebody reads on.
        let entries = stream::try_unfold(
            (entries(first.0), first.1),
            move |(mut names, token): (VecDeque<Entry>, Option<String>)| {
                let (pages, prefix) = (pages.clone(), prefix.clone());
                async move {
                    let mut token = token;
                    loop {
                        if let Some(entry) = names.pop_front() {
                            return Ok(Some((entry, (names, token))));
                        }
                        let Some(current) = token else { return Ok(None) };
                        let (page, next) = pages.page(&prefix, true, Some(current)).await?;
                        (names, token) = (entries(page), next);
                    }
                }
            },
        );
        Ok(entries.boxed())
    }

    fn large_write(&self) -> LargeWrite<'_> {
        LargeWrite::Multipart(self)
    }

    fn redirects(&self) -> bool {
        self.redirects.is_some()
    }

    async fn redirect(&self, key: &StorageKey) -> Result<Option<String>, Error> {
        let Some(store) = &self.redirects else {
            return Ok(None);
        };
        let url = store
            .signed_url(http::Method::GET, &self.path(key)?, REDIRECT_FOR)
            .await;
        url.map(|url| Some(url.into()))
            .map_err(|error| self.classifier.classify("make a URL for", key, error))
    }

    async fn sweep(&self, _age: Duration) -> Result<Swept, Error> {
        // A write to a bucket happens or does not. Uploads that were begun are the purge's to judge.
        Ok(Swept::default())
    }
}

#[async_trait]
impl Reclaim for Object {
    async fn stat_touched(&self, key: &StorageKey) -> Result<Metadata, Error> {
        self.stat_with_mark(key).await
    }

    async fn touch(&self, key: &StorageKey) -> Result<(), Error> {
        self.mark(key).await
    }

    async fn delete_if(
        &self,
        key: &StorageKey,
        condition: &Condition,
        _: &StorageKey,
        _: Durability,
    ) -> Result<Option<Metadata>, Error> {
        self.delete_unless_marked(key, condition).await
    }

    async fn confirm_put(&self, key: &StorageKey) -> Result<bool, Error> {
        self.stands_beside_marks(key).await
    }
}

/// How long a client may use a URL it was sent to; as in distribution.
const REDIRECT_FOR: Duration = Duration::from_secs(20 * 60);

/// What is written with little patience: links, records, marks.
const SMALL: usize = 64 * 1024;

/// How often an unconditional write is tried that meets another one.
const CONFLICTS: usize = 8;

impl Object {
    /// Writes an object in one step.
    async fn write(
        &self,
        key: &StorageKey,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult, Error> {
        let path = self.path(key)?;
        let mut options = options;
        if options.mode != PutMode::Overwrite && self.conditions.are_unknown() {
            self.meets(key, &options.mode).await?;
            options.mode = PutMode::Overwrite;
        }
        let unconditional = options.mode == PutMode::Overwrite;
        let store = match payload.content_length() <= SMALL {
            true => &self.clients.jot,
            false => &self.clients.write,
        };
        for _ in 0..CONFLICTS {
            match store.put_opts(&path, payload.clone(), options.clone()).await {
                // Two writers at the same moment: S3 says 409 and means "again".
                Err(object_store::Error::AlreadyExists { .. }) if unconditional => {}
                Err(error) if !unconditional && classify::status(&error) == Some(501) => {
                    self.meets(key, &options.mode).await?;
                    options.mode = PutMode::Overwrite;
                    let written = Box::pin(self.write(key, payload, options)).await?;
                    self.conditions.turned_out_unknown(&self.classifier.store);
                    return Ok(written);
                }
                // A 404 on a write can only be the bucket's.
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

    /// Removes objects that may be there or not.
    async fn remove(&self, action: &'static str, key: &StorageKey, paths: Vec<Path>) -> Result<(), Error> {
        let failed = |error| self.classifier.classify(action, key, error);
        let doomed = stream::iter(paths).map(Ok).boxed();
        let removed = self.clients.quick.delete_stream(doomed);
        removed.try_for_each(|_| async { Ok(()) }).await.map_err(failed)
    }

    fn pager(&self) -> Pager {
        Pager {
            store: Arc::clone(&self.clients.quick),
            prefix: self.prefix.clone(),
            classifier: self.classifier.clone(),
        }
    }

    /// Objects of one prefix are looked at by listing it, as long as it fits one page; a list costs as much as a look.
    async fn stat_together(&self, keys: &[StorageKey]) -> Result<Vec<Option<Metadata>>, Error> {
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

/// The longest prefix all keys lie below.
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

/// Lists by page; a listing takes it along to read on.
#[derive(Clone)]
struct Pager {
    store: Arc<dyn Store>,
    prefix: String,
    classifier: ErrorClassifier,
}

impl Pager {
    async fn page(
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
            // A prefix without objects is an empty list, so it is the bucket that is not there.
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

/// The names of a page.
fn entries(page: object_store::ListResult) -> VecDeque<Entry> {
    let name = |path: &Path| path.filename().map(str::to_owned);
    let prefixes = page.common_prefixes.iter().filter_map(name).map(|name| Entry {
        name,
        kind: EntryKind::Prefix,
    });
    let objects = page.objects.iter().filter_map(|found| name(&found.location));
    let objects = objects.filter(|name| !marks::is_mark(name)).map(|name| Entry {
        name,
        kind: EntryKind::Object,
    });
    prefixes.chain(objects).collect()
}

fn behind(key: &StorageKey, size: u64) -> Error {
    Error::RangeNotSatisfiable {
        key: key.clone(),
        size,
    }
}

fn whole(key: &StorageKey, expected: u64, actual: u64) -> Result<(), Error> {
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
