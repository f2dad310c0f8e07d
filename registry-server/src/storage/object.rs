//! The driver for object stores: S3, Azure Blob Storage and Google Cloud Storage.
//!
//! The crate `object_store` speaks the wire protocols. This driver decides how objects are named, cut into parts, copied,
//! listed, and removed without losing content that is in use.
//!
//! Guarantees beyond [`Driver`]'s: keys are distribution's, so that each server can continue with the bucket of the other;
//! nothing outside `rootdirectory` is read, written or removed; every call ends within the `Timeouts`; an object is never
//! read back to be published.
//! The time of an object in a bucket cannot be changed without writing the object again. So [`Reclaim::touch`] writes a mark
//! beside the object, and [`Reclaim::delete_if`] respects it: see `marks`. Listings do not show marks.
//! Must not: know a vendor. The differences are in `s3`, `azure` and `gcs`, which make an [`Object`].
//! Start at [`Object`] in `store`.

#[cfg(feature = "azure")]
mod azure;
#[cfg(all(test, any(feature = "azure", feature = "gcs")))]
mod canned_answers;
mod classify;
mod client;
mod conditional_writes;
#[cfg(feature = "gcs")]
mod gcs;
mod last_seen;
mod marks;
mod multipart;
#[cfg(any(feature = "azure", feature = "gcs"))]
mod part_objects;
mod part_size;
mod retry;
#[cfg(feature = "s3")]
mod s3;
mod store;

use std::collections::VecDeque;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use object_store::path::Path;
use object_store::{GetOptions, GetRange, PutMode, PutOptions};

#[cfg(feature = "azure")]
pub use azure::{AzureCredentials, AzureOptions};
pub use client::StoreError;
#[cfg(feature = "gcs")]
pub use gcs::{GcsCredentials, GcsOptions, ServiceAccount};
#[cfg(feature = "s3")]
pub use s3::{S3Credentials, S3Encryption, S3Options};
pub use store::Object;
use store::{metadata, whole};

use super::{
    Cause, Condition, Content, Driver, Durability, Entry, EntryKind, Error, LargeWrite, Listing, Metadata,
    Mode, ReadRange, Reclaim, StorageKey, Swept,
};

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

    // With short timeouts, since the object is small; the default implementation would read a stream.
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
            // Not every store supports a range from the end, and an invalid range is refused here.
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
                // Stores differ in their errors for an invalid range, so the object's size decides.
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
        // Object stores report no error when a missing object is removed.
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
        // At most one page is read ahead, and only when the reader continues.
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
        // A write to a bucket leaves no remains. Unfinished uploads are left to the purge.
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
        self.confirm_put_by_marks(key).await
    }
}

/// How long a redirect URL is valid; as in distribution.
const REDIRECT_FOR: Duration = Duration::from_secs(20 * 60);

/// The entries of a page.
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
