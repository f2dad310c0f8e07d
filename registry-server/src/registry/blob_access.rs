//! The only file that makes content reachable or answers that it exists.
//!
//! A garbage collection beside running pushes is safe only if it learns of both: of each link that makes content
//! reachable, and of each answer on which a client relies to skip a transfer. No other file of this room writes the
//! link of a blob or a manifest, or tells a client that a blob exists without sending it. Sending a blob's bytes is no
//! such answer: a reader keeps what it opened.
//!
//! A collection removes by age ([`super::garbage`]). So an answer renews the content: its time in the store is set to
//! now once it is older than [`RENEW_AFTER`]. Content that turns out to be gone in that moment counts as missing. A
//! read-only registry renews nothing: nobody pushes to it.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use registry_oci::{Algorithm, Digest, ManifestReferences, RepositoryName};

use super::links::DatedLink;
use super::manifest_parser::STORED_MAX;
use super::{Error, Registry, offload};
use crate::storage::StorageKey;
use crate::storage::layout::ObjectPath;

/// Content that was written or renewed within this time is not renewed again. It is a quarter of the age at which a
/// collection removes anything. The other quarters are for clocks that differ, and for the time that a push takes from
/// here to the link of its manifest.
const RENEW_AFTER: Duration = Duration::from_secs(15 * 60);

/// How many blobs are looked up at once.
const LOOKUPS_AT_ONCE: usize = 16;

/// A blob in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlobDescriptor {
    /// The digest by which it was asked for.
    pub digest: Digest,
    /// The digest under which its payload is stored; another one when it was asked for by SHA-512.
    pub canonical: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// When its payload was last written.
    pub modified: SystemTime,
}

impl Registry {
    /// The blob, if the repository has a link to it and its payload is in the store. The answer always comes from the
    /// store: a client that gets it will not send the blob.
    pub(super) async fn linked_blob(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<Option<BlobDescriptor>, Error> {
        let path = ObjectPath::layer_link(repository, digest);
        match self.read_dated_link(&path).await? {
            // The link first: a collection that finds a young link leaves its payload alone.
            Some(DatedLink {
                target: Some(canonical),
                modified,
            }) if self.renew(&path.key(), modified).await? => self.stored_blob(digest, canonical).await,
            Some(_) | None => Ok(None),
        }
    }

    /// The same as [`Registry::linked_blob`] for all blobs of one manifest, in the order in which they were asked for.
    /// A store that can look up many links at once is asked once.
    pub(super) async fn linked_blobs(
        &self,
        repository: &RepositoryName,
        digests: &[Digest],
    ) -> Result<Vec<Option<BlobDescriptor>>, Error> {
        let paths: Vec<ObjectPath> = digests
            .iter()
            .map(|digest| ObjectPath::layer_link(repository, digest))
            .collect();
        let keys: Vec<StorageKey> = paths.iter().map(ObjectPath::key).collect();
        let links = self.driver.stat_all(&keys).await;
        let links = links.map_err(Error::storage("look at the links of blobs"))?;
        let looks = digests
            .iter()
            .zip(links)
            .zip(&keys)
            .map(async |((digest, link), key)| {
                match link {
                    None => Ok(None),
                    // A link of this length under a SHA-256 holds that digest. Any other link has to be read: a crash
                    // of an old server may have emptied it.
                    Some(link)
                        if digest.algorithm() == Algorithm::Sha256
                            && link.size == digest.to_string().len() as u64 =>
                    {
                        match self.renew(key, link.modified).await? {
                            true => self.stored_blob(digest, *digest).await,
                            false => Ok(None),
                        }
                    }
                    Some(_) => self.linked_blob(repository, digest).await,
                }
            });
        stream::iter(looks.collect::<Vec<_>>())
            .buffered(LOOKUPS_AT_ONCE)
            .try_collect()
            .await
    }

    /// The manifest, if the repository has a link to it and its payload is in the store: for another manifest that
    /// refers to it. What it refers to itself is renewed too, because nothing kept that as long as nothing referred to
    /// the manifest.
    pub(super) async fn linked_manifest(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<Option<BlobDescriptor>, Error> {
        let mut seen = BTreeSet::from([*digest]);
        let mut pending = vec![*digest];
        let mut first = None;
        while let Some(digest) = pending.pop() {
            let path = ObjectPath::revision_link(repository, &digest);
            let there = match self.read_dated_link(&path).await? {
                Some(DatedLink {
                    target: Some(canonical),
                    modified,
                }) if self.renew(&path.key(), modified).await? => {
                    let there = match self.has_canonical_link(repository, &digest, &canonical).await? {
                        true => self.stored_blob(&digest, canonical).await?,
                        false => None,
                    };
                    // The links below a recent link are recent too: they were pushed or renewed with it.
                    if there.is_some() && !self.settings.read_only && !is_recent(modified) {
                        for below in self.references_of(&canonical).await? {
                            self.linked_blob(repository, &below).await?;
                            if seen.insert(below) {
                                pending.push(below);
                            }
                        }
                    }
                    there
                }
                Some(_) | None => None,
            };
            first.get_or_insert(there);
        }
        Ok(first.flatten())
    }

    /// The digests that a stored manifest refers to; none when it cannot be read, which is no reason to refuse a push.
    async fn references_of(&self, canonical: &Digest) -> Result<Vec<Digest>, Error> {
        let key = ObjectPath::blob_data(canonical).key();
        match self.driver.get(&key, STORED_MAX).await {
            Ok(bytes) => {
                offload::blocking(move || {
                    ManifestReferences::read(&bytes).map_or_else(|_| Vec::new(), |mentions| mentions.content)
                })
                .await
            }
            Err(crate::storage::Error::NotFound { .. } | crate::storage::Error::TooLarge { .. }) => {
                Ok(Vec::new())
            }
            Err(source) => Err(Error::storage("read a manifest")(source)),
        }
    }

    /// Sets the time of an object to now, unless it is recent. Returns whether the object still exists. A recent object
    /// may have been written by a process that was killed before it made the object durable, so it is made durable
    /// here.
    async fn renew(&self, key: &StorageKey, written: SystemTime) -> Result<bool, Error> {
        if self.settings.read_only {
            return Ok(true);
        }
        if is_recent(written) {
            self.persist(std::slice::from_ref(key)).await?;
            return Ok(true);
        }
        match self.driver.touch(key).await {
            Ok(()) => Ok(true),
            Err(error) if error.is_not_found() => Ok(false),
            // A volume that cannot be written to still serves pulls, and no push to it succeeds.
            Err(error) => {
                tracing::debug!(%key, %error, "an object cannot be renewed");
                Ok(true)
            }
        }
    }

    /// Makes objects durable that a client will not send because the answer says that they exist. A read-only registry
    /// does nothing here: nobody pushes to it.
    pub(super) async fn persist(&self, keys: &[StorageKey]) -> Result<(), Error> {
        if self.settings.read_only {
            return Ok(());
        }
        match self.driver.persist(keys).await {
            // A volume that cannot be written to still serves pulls, and no push to it succeeds.
            Ok(()) | Err(crate::storage::Error::ReadOnly { .. }) => Ok(()),
            Err(source) => Err(Error::storage("make existing objects durable")(source)),
        }
    }

    /// The canonical digest that a repository's link to a blob holds.
    pub(super) async fn blob_link_target(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<Option<Digest>, Error> {
        self.read_link(&ObjectPath::layer_link(repository, digest)).await
    }

    /// The blob, if its payload is in the store, whether or not a repository has a link to it.
    pub(super) async fn stored_blob(
        &self,
        digest: &Digest,
        canonical: Digest,
    ) -> Result<Option<BlobDescriptor>, Error> {
        let key = ObjectPath::blob_data(&canonical).key();
        match self.driver.stat(&key).await {
            Ok(found) if !self.is_plausible_size(&canonical, found.size) => Ok(None),
            Ok(found) => {
                let blob = BlobDescriptor {
                    digest: *digest,
                    canonical,
                    size: found.size,
                    modified: found.modified,
                };
                Ok(self.renew(&key, found.modified).await?.then_some(blob))
            }
            Err(error) if error.is_not_found() => Ok(None),
            Err(source) => Err(Error::Storage {
                doing: "look for a blob",
                source,
            }),
        }
    }

    /// The blob, if its payload is in the store, by any digest under which it was ever pushed.
    pub(super) async fn blob_of_any_repository(
        &self,
        digest: &Digest,
    ) -> Result<Option<BlobDescriptor>, Error> {
        let canonical = match digest.algorithm() {
            Algorithm::Sha256 => Some(*digest),
            Algorithm::Sha512 => self.read_link(&ObjectPath::blob_alias(digest)).await?,
        };
        match canonical {
            Some(canonical) => self.stored_blob(digest, canonical).await,
            None => Ok(None),
        }
    }

    /// Links a blob whose payload is in the store to a repository.
    pub(super) async fn link_blob(
        &self,
        repository: &RepositoryName,
        blob: &BlobDescriptor,
    ) -> Result<(), Error> {
        if blob.digest != blob.canonical {
            self.write_link(&ObjectPath::blob_alias(&blob.digest), &blob.canonical)
                .await?;
        }
        for digest in link_names(blob.digest, blob.canonical) {
            let path = ObjectPath::layer_link(repository, &digest);
            self.write_link(&path, &blob.canonical).await?;
        }
        Ok(())
    }

    /// The canonical digest of a manifest, if the repository has the manifest under `digest`.
    pub(super) async fn manifest_link_target(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<Option<Digest>, Error> {
        let path = ObjectPath::revision_link(repository, digest);
        match self.read_link(&path).await? {
            Some(canonical) if self.has_canonical_link(repository, digest, &canonical).await? => {
                Ok(Some(canonical))
            }
            Some(_) | None => Ok(None),
        }
    }

    /// Whether a repository still has the canonical link of a manifest. A distribution server knows of no second digest
    /// and may have deleted only the canonical link.
    async fn has_canonical_link(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        canonical: &Digest,
    ) -> Result<bool, Error> {
        if digest == canonical {
            return Ok(true);
        }
        let first = ObjectPath::revision_link(repository, canonical);
        Ok(self.read_link(&first).await?.is_some())
    }

    /// Links a manifest whose payload is in the store to a repository.
    pub(super) async fn link_manifest(
        &self,
        repository: &RepositoryName,
        digest: Digest,
        canonical: Digest,
    ) -> Result<(), Error> {
        for digest in link_names(digest, canonical) {
            let path = ObjectPath::revision_link(repository, &digest);
            self.write_link(&path, &canonical).await?;
        }
        Ok(())
    }
}

/// Whether a time is recent. A time in the future is: clocks differ.
fn is_recent(written: SystemTime) -> bool {
    SystemTime::now()
        .duration_since(written)
        .map_or(true, |age| age < RENEW_AFTER)
}

/// The digests under which content gets a link: first the canonical one, then the one it was sent as, if that is
/// another. Distribution finds content by the canonical digest alone.
pub(super) fn link_names(digest: Digest, canonical: Digest) -> impl Iterator<Item = Digest> {
    [
        Some(canonical),
        Some(digest).filter(|digest| *digest != canonical),
    ]
    .into_iter()
    .flatten()
}
