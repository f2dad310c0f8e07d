//! A driver that measures the time of another driver's calls.
//!
//! Metric, labels and buckets are distribution's: `registry_storage_action_seconds` by `driver` and `action`, where the
//! action is the corresponding method of distribution's drivers. Two actions are Berth's own, `Reader` and `Writer`: the
//! time until an object is open for reading or appending, which distribution does not measure.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::Stream;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::{
    Append, Condition, Content, Driver, Durability, Entry, Error, Expected, LargeWrite, Listing, Metadata,
    Mode, Multipart, ObjectVersion, ReadRange, Reclaim, Space, Staged, StorageKey, Swept, UnfinishedUpload,
    Writer,
};
use crate::telemetry::metrics::BUCKETS;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    driver: &'static str,
    action: &'static str,
}

/// A driver that measures the calls of another one.
#[derive(Debug)]
pub struct Timed {
    inner: Arc<dyn Driver>,
    /// One histogram per action, so that no observation needs a lookup.
    delete: Histogram,
    get_content: Histogram,
    list: Histogram,
    r#move: Histogram,
    put_content: Histogram,
    reader: Histogram,
    redirect_url: Histogram,
    stat: Histogram,
    writer: Histogram,
}

impl Timed {
    /// Measures a driver, and registers the metric.
    pub fn new(inner: Arc<dyn Driver>, registry: &mut Registry) -> Self {
        let family: Family<Labels, Histogram> = Family::new_with_constructor(|| Histogram::new(BUCKETS));
        registry.register(
            "registry_storage_action_seconds",
            "The number of seconds that the storage action takes",
            family.clone(),
        );
        let driver = inner.name();
        let of = |action| family.get_or_create_owned(&Labels { driver, action });
        Self {
            delete: of("Delete"),
            get_content: of("GetContent"),
            list: of("List"),
            r#move: of("Move"),
            put_content: of("PutContent"),
            reader: of("Reader"),
            redirect_url: of("RedirectURL"),
            stat: of("Stat"),
            writer: of("Writer"),
            inner,
        }
    }
}

/// Observes the time when it is dropped, also when the call was cancelled: such a call took at least that long.
struct Span<'a>(&'a Histogram, Instant);

impl<'a> Span<'a> {
    fn of(histogram: &'a Histogram) -> Self {
        Self(histogram, Instant::now())
    }
}

impl Drop for Span<'_> {
    fn drop(&mut self) {
        self.0.observe(self.1.elapsed().as_secs_f64());
    }
}

#[async_trait]
impl Driver for Timed {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    async fn stat(&self, key: &StorageKey) -> Result<Metadata, Error> {
        let _span = Span::of(&self.stat);
        self.inner.stat(key).await
    }

    async fn get(&self, key: &StorageKey, limit: u64) -> Result<Bytes, Error> {
        let _span = Span::of(&self.get_content);
        self.inner.get(key, limit).await
    }

    async fn get_dated(&self, key: &StorageKey, limit: u64) -> Result<(Bytes, Metadata), Error> {
        let _span = Span::of(&self.get_content);
        self.inner.get_dated(key, limit).await
    }

    async fn read(&self, key: &StorageKey, range: ReadRange) -> Result<Content, Error> {
        let _span = Span::of(&self.reader);
        self.inner.read(key, range).await
    }

    async fn put(
        &self,
        key: &StorageKey,
        bytes: Bytes,
        mode: Mode,
        durability: Durability,
    ) -> Result<(), Error> {
        let _span = Span::of(&self.put_content);
        self.inner.put(key, bytes, mode, durability).await
    }

    async fn delete(&self, key: &StorageKey) -> Result<(), Error> {
        let _span = Span::of(&self.delete);
        self.inner.delete(key).await
    }

    async fn persist(&self, keys: &[StorageKey]) -> Result<(), Error> {
        self.inner.persist(keys).await
    }

    async fn delete_tree(&self, prefix: &StorageKey, durability: Durability) -> Result<(), Error> {
        let _span = Span::of(&self.delete);
        self.inner.delete_tree(prefix, durability).await
    }

    async fn list(&self, prefix: &StorageKey) -> Result<Listing, Error> {
        let mut timed = TimedListing {
            taken: Duration::ZERO,
            list: self.list.clone(),
            listing: None,
        };
        let started = Instant::now();
        let listing = self.inner.list(prefix).await;
        timed.taken = started.elapsed();
        timed.listing = Some(listing?);
        Ok(Box::pin(timed))
    }

    async fn stat_all(&self, keys: &[StorageKey]) -> Result<Vec<Option<Metadata>>, Error> {
        let _span = Span::of(&self.stat);
        self.inner.stat_all(keys).await
    }

    async fn space(&self) -> Result<Option<Space>, Error> {
        self.inner.space().await
    }

    fn large_write(&self) -> LargeWrite<'_> {
        match self.inner.large_write() {
            LargeWrite::Append(_) => LargeWrite::Append(self),
            LargeWrite::Multipart(_) => LargeWrite::Multipart(self),
        }
    }

    fn redirects(&self) -> bool {
        self.inner.redirects()
    }

    async fn redirect(&self, key: &StorageKey) -> Result<Option<String>, Error> {
        let _span = Span::of(&self.redirect_url);
        self.inner.redirect(key).await
    }

    async fn sweep(&self, age: Duration) -> Result<Swept, Error> {
        // Distribution has no such call, and the minutes that one takes would say nothing about the store's health.
        self.inner.sweep(age).await
    }
}

#[async_trait]
impl Reclaim for Timed {
    async fn stat_touched(&self, key: &StorageKey) -> Result<Metadata, Error> {
        let _span = Span::of(&self.stat);
        self.inner.stat_touched(key).await
    }

    async fn touch(&self, key: &StorageKey) -> Result<(), Error> {
        // Distribution has no such call.
        self.inner.touch(key).await
    }

    async fn delete_if(
        &self,
        key: &StorageKey,
        condition: &Condition,
        prune_root: &StorageKey,
        durability: Durability,
    ) -> Result<Option<Metadata>, Error> {
        let _span = Span::of(&self.delete);
        self.inner.delete_if(key, condition, prune_root, durability).await
    }

    async fn confirm_put(&self, key: &StorageKey) -> Result<bool, Error> {
        let _span = Span::of(&self.stat);
        self.inner.confirm_put(key).await
    }

    async fn prune(&self, prefix: &StorageKey, prune_root: &StorageKey) -> Result<bool, Error> {
        // Distribution leaves empty folders.
        self.inner.prune(prefix, prune_root).await
    }

    fn keeps_empty_prefixes(&self) -> bool {
        self.inner.keeps_empty_prefixes()
    }
}

impl Timed {
    fn append(&self) -> &dyn Append {
        let inner = self.inner.large_write().append();
        inner.expect("this way of large writes is only handed out when the timed driver has it")
    }

    fn multipart(&self) -> &dyn Multipart {
        let inner = self.inner.large_write().multipart();
        inner.expect("this way of large writes is only handed out when the timed driver has it")
    }
}

#[async_trait]
impl Append for Timed {
    async fn stage(&self, key: &StorageKey, staged: Staged) -> Result<Box<dyn Writer>, Error> {
        let _span = Span::of(&self.writer);
        self.append().stage(key, staged).await
    }

    async fn publish(&self, staged: &StorageKey, target: &StorageKey, size: u64) -> Result<(), Error> {
        let _span = Span::of(&self.r#move);
        self.append().publish(staged, target, size).await
    }
}

#[async_trait]
impl Multipart for Timed {
    fn part_size(&self, offset: u64) -> u64 {
        self.multipart().part_size(offset)
    }

    async fn check_reachable(&self) -> Result<(), Error> {
        self.multipart().check_reachable().await
    }

    async fn begin(&self, key: &StorageKey) -> Result<String, Error> {
        let _span = Span::of(&self.writer);
        self.multipart().begin(key).await
    }

    async fn put_part(
        &self,
        key: &StorageKey,
        upload: &str,
        number: usize,
        blocks: Vec<Bytes>,
    ) -> Result<String, Error> {
        let _span = Span::of(&self.put_content);
        self.multipart().put_part(key, upload, number, blocks).await
    }

    async fn complete(&self, key: &StorageKey, upload: &str, receipts: &[String]) -> Result<(), Error> {
        let _span = Span::of(&self.r#move);
        self.multipart().complete(key, upload, receipts).await
    }

    async fn abort(&self, key: &StorageKey, upload: &str) -> Result<(), Error> {
        let _span = Span::of(&self.delete);
        self.multipart().abort(key, upload).await
    }

    async fn copy(&self, from: &StorageKey, to: &StorageKey, size: u64) -> Result<(), Error> {
        let _span = Span::of(&self.r#move);
        self.multipart().copy(from, to, size).await
    }

    async fn put_blocks(
        &self,
        key: &StorageKey,
        blocks: Vec<Bytes>,
        expected: Expected<'_>,
    ) -> Result<ObjectVersion, Error> {
        let _span = Span::of(&self.put_content);
        self.multipart().put_blocks(key, blocks, expected).await
    }

    async fn get_version(&self, key: &StorageKey, limit: u64) -> Result<(Bytes, ObjectVersion), Error> {
        let _span = Span::of(&self.get_content);
        self.multipart().get_version(key, limit).await
    }

    async fn delete_all(&self, keys: &[StorageKey]) -> Result<(), Error> {
        let _span = Span::of(&self.delete);
        self.multipart().delete_all(keys).await
    }

    async fn unfinished(&self) -> Result<Vec<UnfinishedUpload>, Error> {
        self.multipart().unfinished().await
    }
}

/// A listing that measures the store's time alone, without the time of its reader between two entries.
struct TimedListing {
    taken: Duration,
    list: Histogram,
    listing: Option<Listing>,
}

impl Stream for TimedListing {
    type Item = Result<Entry, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let started = Instant::now();
        let next = match &mut self.listing {
            Some(listing) => listing.as_mut().poll_next(context),
            None => Poll::Ready(None),
        };
        self.taken += started.elapsed();
        next
    }
}

impl Drop for TimedListing {
    fn drop(&mut self) {
        self.list.observe(self.taken.as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use futures_util::TryStreamExt as _;
    use prometheus_client::encoding::text::encode;

    use super::*;
    use crate::storage::InMemory;

    #[tokio::test]
    async fn each_call_is_counted_under_distributions_name_for_it() {
        let mut registry = Registry::default();
        let driver = Timed::new(Arc::new(InMemory::default()), &mut registry);
        let key = StorageKey::parse("a/b").unwrap();
        let put = || driver.put(&key, Bytes::from_static(b"x"), Mode::Replace, Durability::Crash);
        put().await.unwrap();
        put().await.unwrap();
        driver.get(&key, 10).await.unwrap();
        driver.stat(&key).await.unwrap();
        driver.read(&key, ReadRange::Full).await.unwrap();
        let parent = StorageKey::parse("a").unwrap();
        let names: Vec<Entry> = driver.list(&parent).await.unwrap().try_collect().await.unwrap();
        assert_eq!(names.len(), 1);
        driver.delete(&key).await.unwrap();
        driver.delete(&key).await.unwrap_err();
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        for (action, count) in [
            ("PutContent", 2),
            ("GetContent", 1),
            ("Stat", 1),
            ("Reader", 1),
            ("List", 1),
            // Failed calls take time too.
            ("Delete", 2),
            ("Move", 0),
        ] {
            let line = format!(
                "registry_storage_action_seconds_count{{driver=\"inmemory\",action=\"{action}\"}} {count}\n"
            );
            assert!(text.contains(&line), "{line}{text}");
        }
    }
}
