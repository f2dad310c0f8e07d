//! A page of referrers while it is built, and the limit on the bytes of all pages.

use std::sync::Arc;

use bytes::Bytes;
use registry_oci::{ARTIFACT_TYPE_MAX, Digest, MANIFEST_MAX, MediaType};
use serde::Deserialize;
use serde::de::IgnoredAny;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::registry::Error;

/// How many bytes the descriptors of a page may have together. The page is an index, and clients read one of up to
/// 4 MiB.
pub(super) const DESCRIPTOR_MAX: usize = MANIFEST_MAX - 1024;

/// Up to this size a page does not count against the limit.
const UNCOUNTED: usize = 64 * 1024;

/// The size of all larger pages that are built or sent at once, in KiB.
const ALL_KIB: usize = 32 * 1024;

/// The size that a page reserves until it is known, in KiB.
const PAGE_KIB: u32 = (MANIFEST_MAX / 1024) as u32;

/// The limit on the bytes of all pages. A clone shares it.
#[derive(Debug, Clone)]
pub(in crate::registry) struct Pages(Arc<Semaphore>);

impl Default for Pages {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(ALL_KIB)))
    }
}

/// A page of the referrers of a subject.
#[derive(Debug)]
pub struct Referrers {
    /// Their descriptors as JSON, with commas between them, sorted by digest.
    pub descriptors: Bytes,
    /// The digest behind which the next page begins, if there is one.
    pub next: Option<Digest>,
}

/// A descriptor of the index, as JSON.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) json: Bytes,
    pub(super) artifact_type: Option<String>,
}

/// The fields of an entry that are read. The rest has to be JSON.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Fields {
    #[serde(rename = "mediaType")]
    _media_type: MediaType,
    digest: Digest,
    #[serde(rename = "size")]
    _size: u64,
    artifact_type: Option<String>,
    #[serde(rename = "annotations")]
    _annotations: Option<IgnoredAny>,
}

impl Entry {
    /// Parses an entry; nothing when it is broken, belongs to another manifest, or has a type for which no page has
    /// room.
    pub(super) fn read(json: Bytes, referrer: &Digest) -> Option<Self> {
        let fields: Fields = serde_json::from_slice(&json).ok()?;
        let fits = |kind: &String| kind.len() <= ARTIFACT_TYPE_MAX;
        (fields.digest == *referrer && fields.artifact_type.as_ref().is_none_or(fits)).then_some(Self {
            json,
            artifact_type: fields.artifact_type,
        })
    }
}

/// A page that is being built.
pub(super) struct ReferrersPage<'a> {
    pages: &'a Pages,
    bytes: Vec<u8>,
    count: usize,
    last: Option<Digest>,
    room: Option<OwnedSemaphorePermit>,
}

impl<'a> ReferrersPage<'a> {
    pub(super) fn new(pages: &'a Pages) -> Self {
        Self {
            pages,
            bytes: Vec::new(),
            count: 0,
            last: None,
            room: None,
        }
    }

    /// How many descriptors it has.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Whether there is room for another descriptor.
    pub(super) fn fits(&self, entry: &Entry) -> bool {
        self.bytes.len() + 1 + entry.json.len() <= DESCRIPTOR_MAX
    }

    /// Waits until this page may be large.
    pub(super) async fn reserve(&mut self) -> Result<(), Error> {
        if self.room.is_none() {
            let room = Arc::clone(&self.pages.0).acquire_many_owned(PAGE_KIB).await;
            self.room = Some(room.map_err(|_| Error::Stopping)?);
        }
        Ok(())
    }

    /// Adds a descriptor.
    pub(super) async fn push(&mut self, referrer: Digest, entry: Entry) -> Result<(), Error> {
        if self.bytes.len() + entry.json.len() > UNCOUNTED {
            self.reserve().await?;
        }
        if self.count > 0 {
            self.bytes.push(b',');
        }
        self.bytes.extend_from_slice(&entry.json);
        self.count += 1;
        self.last = Some(referrer);
        Ok(())
    }

    /// The finished page.
    pub(super) fn finish(self, more: bool) -> Referrers {
        let next = self.last.filter(|_| more);
        self.with_next(next)
    }

    /// The finished page, when the next one begins behind the last digest that was read.
    pub(super) fn finish_behind(self, looked_at: Digest) -> Referrers {
        self.with_next(Some(looked_at))
    }

    fn with_next(self, next: Option<Digest>) -> Referrers {
        let Self {
            mut bytes, mut room, ..
        } = self;
        bytes.shrink_to_fit();
        if let Some(room) = &mut room {
            let spare = (PAGE_KIB as usize).saturating_sub(bytes.len().div_ceil(1024));
            drop(room.split(spare));
        }
        let descriptors = match room {
            // The bytes count until they are sent, because a client may be slow to read them.
            Some(room) => Bytes::from_owner(CountedBytes { bytes, _room: room }),
            None => bytes.into(),
        };
        Referrers { descriptors, next }
    }
}

/// Bytes that count against the limit until they are dropped.
struct CountedBytes {
    bytes: Vec<u8>,
    _room: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for CountedBytes {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(length: usize) -> Entry {
        Entry {
            json: vec![b'x'; length].into(),
            artifact_type: None,
        }
    }

    #[tokio::test]
    async fn large_pages_have_room_together_and_give_it_back_when_they_are_sent() {
        let pages = Pages::default();
        let digest = Digest::sha256(b"x");
        let mut sent = Vec::new();
        for _ in 0..8 {
            let mut page = ReferrersPage::new(&pages);
            page.push(digest, entry(DESCRIPTOR_MAX)).await.unwrap();
            sent.push(page.finish(false).descriptors);
        }
        let mut small = ReferrersPage::new(&pages);
        small.push(digest, entry(UNCOUNTED)).await.unwrap();
        let mut large = ReferrersPage::new(&pages);
        let mut push = Box::pin(large.push(digest, entry(UNCOUNTED + 1)));
        assert!(
            futures_util::poll!(push.as_mut()).is_pending(),
            "there is no room"
        );
        sent.pop();
        push.as_mut().await.unwrap();
        drop(push);
        let page = large.finish(false).descriptors;
        drop(sent);
        assert_eq!(pages.0.available_permits(), ALL_KIB - 65, "as much as it has");
        drop(page);
        assert_eq!(pages.0.available_permits(), ALL_KIB);
    }
}
