//! Checks payloads, and the aliases under which other digests lead to them.

use std::sync::Arc;

use futures_util::{StreamExt as _, TryStreamExt as _};
use registry_oci::{Algorithm, Digest};

use super::diagnosis::Diagnosis;
use super::error::CheckError;
use super::finding::Finding;
use super::inspector::Inspector;
use super::report::Digests;
use super::run::CheckRun;
use crate::registry::Error;
use crate::storage::layout::{ObjectPath, PathPrefix};

/// How many payloads are checked at once.
const AT_ONCE: usize = 8;

/// A payload that was checked.
struct Payload {
    size: u64,
    damaged: Option<(Digest, Diagnosis)>,
}

impl CheckRun<'_> {
    /// Checks all payloads.
    pub(super) async fn payloads(&mut self) -> Result<(), CheckError> {
        let registry = self.registry;
        for algorithm in Algorithm::ALL {
            let mut starts = match registry.first_bytes(&PathPrefix::BlobStarts(algorithm)).await {
                Ok(starts) => starts,
                Err(error) => {
                    self.unreadable(error).await?;
                    continue;
                }
            };
            starts.sort_unstable();
            for start in starts {
                let prefix = PathPrefix::Blobs(algorithm, start);
                let digests = match registry.list_digests(&prefix, algorithm, "list blobs").await {
                    Ok(digests) => digests,
                    Err(error) => {
                        self.unreadable(error).await?;
                        continue;
                    }
                };
                let inspector = Arc::clone(&self.inspector);
                let mut looks = digests
                    // A payload in the folder of another first byte is never read.
                    .try_filter(|digest| std::future::ready(digest.hash().first() == Some(&start)))
                    .map(|digest| {
                        let inspector = Arc::clone(&inspector);
                        async move { inspector.check_payload(digest?).await }
                    })
                    .buffer_unordered(AT_ONCE)
                    .boxed();
                // Digests are spread evenly, so their first bytes tell the progress.
                let part = f64::from(start) / 256.0;
                while let Some(look) = self.next(&mut looks, part).await {
                    let mut found = Vec::new();
                    match look {
                        Ok(None) => {}
                        Ok(Some(Payload { size, damaged })) => {
                            self.checked.blobs += 1;
                            self.checked.bytes += size;
                            if let Some((digest, damage)) = damaged {
                                self.inspector.mark_damaged(digest);
                                found.push(damage);
                            }
                        }
                        Err(error) => {
                            self.unreadable(error).await?;
                            continue;
                        }
                    }
                    self.handle(Ok(found)).await?;
                }
                self.report_blobs(part);
            }
        }
        Ok(())
    }

    /// Checks all aliases.
    pub(super) async fn aliases(&mut self) -> Result<(), CheckError> {
        let registry = self.registry;
        for algorithm in Algorithm::ALL {
            let starts = match registry
                .first_bytes(&PathPrefix::BlobAliasStarts(algorithm))
                .await
            {
                Ok(starts) => starts,
                Err(error) => {
                    self.unreadable(error).await?;
                    continue;
                }
            };
            for start in starts {
                let prefix = PathPrefix::BlobAliases(algorithm, start);
                let listed = registry
                    .list_digests(&prefix, algorithm, "list other digests")
                    .await;
                let mut digests = match listed {
                    Ok(digests) => digests,
                    Err(error) => {
                        self.unreadable(error).await?;
                        continue;
                    }
                };
                while let Some(digest) = digests.next().await {
                    let look = match digest {
                        Ok(digest) => {
                            self.inspector
                                .link_to_blob(ObjectPath::blob_alias(&digest), digest)
                                .await
                        }
                        Err(error) => Err(error),
                    };
                    self.checked.links += 1;
                    self.handle(look).await?;
                }
            }
        }
        Ok(())
    }
}

impl Inspector<'_> {
    /// Checks a payload; nothing when the folder of its name holds none.
    async fn check_payload(&self, digest: Digest) -> Result<Option<Payload>, Error> {
        let path = ObjectPath::blob_data(&digest);
        let key = path.key();
        let Some(found) = self
            .registry
            .driver
            .try_stat(&key)
            .await
            .map_err(Error::storage("look at a blob"))?
        else {
            return Ok(None);
        };
        let size = found.size;
        let damaged = |seen| {
            let finding = Finding::BlobDamaged { digest, size };
            Some((digest, Diagnosis::at(finding, path, seen)))
        };
        // A payload that a crash emptied is found without reading.
        let torn = size == 0 && Digest::of(digest.algorithm(), b"") != digest;
        let damaged = match self.digests {
            _ if torn => damaged(found.modified),
            Digests::Trusted => None,
            Digests::Hashed => {
                let hashed = self.registry.hash_object(&key, digest.algorithm(), &self.hashed);
                match hashed.await? {
                    Some(actual) if actual.digest != digest => damaged(actual.modified),
                    Some(_) => None,
                    None => return Ok(None),
                }
            }
        };
        Ok(Some(Payload { size, damaged }))
    }
}
