//! The driver `inmemory`, as in distribution: a store in memory, for experiments and tests. Nothing survives the process, so
//! both durabilities are the same.

use std::collections::btree_map::Entry as Slot;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, stream};

use super::{
    Append, Condition, Content, Driver, Durability, Entry, EntryKind, Error, LargeWrite, Listing, Metadata,
    Mode, ReadRange, Reclaim, Staged, StorageKey, Swept, Writer,
};

/// A store in memory. Clones share one store.
#[derive(Debug, Clone, Default)]
pub struct InMemory {
    contents: Arc<Mutex<Contents>>,
}

#[derive(Debug, Default)]
struct Contents {
    objects: BTreeMap<String, Object>,
    staged: BTreeMap<String, Staging>,
}

#[derive(Debug, Clone)]
struct Object {
    bytes: Bytes,
    modified: SystemTime,
}

#[derive(Debug)]
struct Staging {
    bytes: BytesMut,
    modified: SystemTime,
    locked: bool,
}

impl InMemory {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// No code that can panic runs while the mutex is held, so its contents are valid even when it is poisoned.
    fn contents(&self) -> MutexGuard<'_, Contents> {
        self.contents.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn object(&self, key: &StorageKey) -> Result<Object, Error> {
        self.contents()
            .objects
            .get(key.as_str())
            .cloned()
            .ok_or_else(|| Error::NotFound { key: key.clone() })
    }
}

#[async_trait]
impl Driver for InMemory {
    fn name(&self) -> &'static str {
        "inmemory"
    }

    async fn stat(&self, key: &StorageKey) -> Result<Metadata, Error> {
        let contents = self.contents();
        if let Some(object) = contents.objects.get(key.as_str()) {
            return Ok(Metadata {
                size: object.bytes.len() as u64,
                modified: object.modified,
            });
        }
        match contents.staged.get(key.as_str()) {
            Some(staging) => Ok(Metadata {
                size: staging.bytes.len() as u64,
                modified: staging.modified,
            }),
            None => Err(Error::NotFound { key: key.clone() }),
        }
    }

    async fn get(&self, key: &StorageKey, limit: u64) -> Result<Bytes, Error> {
        let Object { bytes, .. } = self.object(key)?;
        let size = bytes.len() as u64;
        if size > limit {
            Err(Error::TooLarge {
                key: key.clone(),
                size,
                limit,
            })
        } else {
            Ok(bytes)
        }
    }

    async fn read(&self, key: &StorageKey, range: ReadRange) -> Result<Content, Error> {
        let object = match self.object(key) {
            // A staged object can be read, to hash it again.
            Err(Error::NotFound { .. }) => match self.contents().staged.get(key.as_str()) {
                Some(staging) => Object {
                    bytes: Bytes::copy_from_slice(&staging.bytes),
                    modified: staging.modified,
                },
                None => return Err(Error::NotFound { key: key.clone() }),
            },
            found => found?,
        };
        let metadata = Metadata {
            size: object.bytes.len() as u64,
            modified: object.modified,
        };
        let Some(range) = range.resolve(metadata.size) else {
            return Err(Error::RangeNotSatisfiable {
                key: key.clone(),
                size: metadata.size,
            });
        };
        let part = object.bytes.slice(range.start as usize..range.end as usize);
        let chunks = (!part.is_empty()).then_some(Ok(part));
        Ok(Content::new(metadata, range, stream::iter(chunks)))
    }

    async fn put(&self, key: &StorageKey, bytes: Bytes, mode: Mode, _: Durability) -> Result<(), Error> {
        let mut contents = self.contents();
        if mode == Mode::Create && contents.objects.contains_key(key.as_str()) {
            return Err(Error::AlreadyExists { key: key.clone() });
        }
        contents.objects.insert(
            key.to_string(),
            Object {
                bytes,
                modified: SystemTime::now(),
            },
        );
        Ok(())
    }

    async fn delete(&self, key: &StorageKey) -> Result<(), Error> {
        match self.contents().objects.remove(key.as_str()) {
            Some(_) => Ok(()),
            None => Err(Error::NotFound { key: key.clone() }),
        }
    }

    async fn delete_tree(&self, prefix: &StorageKey, _: Durability) -> Result<(), Error> {
        let below = format!("{prefix}/");
        let covered = |key: &str| key == prefix.as_str() || key.starts_with(&below);
        let mut contents = self.contents();
        contents.objects.retain(|key, _| !covered(key));
        contents.staged.retain(|key, _| !covered(key));
        Ok(())
    }

    async fn list(&self, prefix: &StorageKey) -> Result<Listing, Error> {
        let below = format!("{prefix}/");
        let contents = self.contents();
        let names = |key: &String| {
            key.strip_prefix(&below).map(|rest| match rest.split_once('/') {
                Some((name, _)) => Entry {
                    name: name.to_owned(),
                    kind: EntryKind::Prefix,
                },
                None => Entry {
                    name: rest.to_owned(),
                    kind: EntryKind::Object,
                },
            })
        };
        let entries: BTreeSet<Entry> = contents
            .objects
            .keys()
            .chain(contents.staged.keys())
            .filter_map(names)
            .collect();
        Ok(stream::iter(entries).map(Ok).boxed())
    }

    fn large_write(&self) -> LargeWrite<'_> {
        LargeWrite::Append(self)
    }

    async fn redirect(&self, _key: &StorageKey) -> Result<Option<String>, Error> {
        Ok(None) // Memory has no URL.
    }

    async fn sweep(&self, _age: Duration) -> Result<Swept, Error> {
        Ok(Swept::default()) // Every call is atomic, so that no remains exist.
    }
}

#[async_trait]
impl Reclaim for InMemory {
    async fn touch(&self, key: &StorageKey) -> Result<(), Error> {
        let mut contents = self.contents();
        let now = SystemTime::now();
        if let Some(object) = contents.objects.get_mut(key.as_str()) {
            object.modified = now;
        } else if let Some(staging) = contents.staged.get_mut(key.as_str()) {
            staging.modified = now;
        } else {
            return Err(Error::NotFound { key: key.clone() });
        }
        Ok(())
    }

    async fn delete_if(
        &self,
        key: &StorageKey,
        condition: &Condition,
        _: &StorageKey,
        _: Durability,
    ) -> Result<Option<Metadata>, Error> {
        let mut contents = self.contents();
        let Slot::Occupied(object) = contents.objects.entry(key.to_string()) else {
            return Err(Error::NotFound { key: key.clone() });
        };
        let found = Metadata {
            size: object.get().bytes.len() as u64,
            modified: object.get().modified,
        };
        let holds = match condition {
            Condition::Older(limit) => found.modified <= *limit,
            Condition::Holds(bytes) => object.get().bytes == bytes,
        };
        Ok(holds.then(|| {
            object.remove();
            found
        }))
    }

    async fn stat_touched(&self, key: &StorageKey) -> Result<Metadata, Error> {
        self.stat(key).await
    }
}

#[async_trait]
impl Append for InMemory {
    async fn stage(&self, key: &StorageKey, staged: Staged) -> Result<Box<dyn Writer>, Error> {
        let mut contents = self.contents();
        if staged == Staged::New {
            if contents.staged.contains_key(key.as_str()) {
                return Err(Error::AlreadyExists { key: key.clone() });
            }
            let fresh = Staging {
                bytes: BytesMut::new(),
                modified: SystemTime::now(),
                locked: false,
            };
            contents.staged.insert(key.to_string(), fresh);
        }
        let staging = contents
            .staged
            .get_mut(key.as_str())
            .ok_or_else(|| Error::NotFound { key: key.clone() })?;
        if staging.locked {
            return Err(Error::Busy { key: key.clone() });
        }
        let size = staging.bytes.len() as u64;
        match staged {
            Staged::At(expected) if expected != size => {
                return Err(Error::OffsetMismatch {
                    key: key.clone(),
                    expected,
                    actual: size,
                });
            }
            Staged::New | Staged::At(_) | Staged::AtEnd => {}
        }
        staging.locked = true;
        Ok(Box::new(StagedMemory {
            store: self.clone(),
            key: key.clone(),
            size,
        }))
    }

    async fn publish(&self, staged: &StorageKey, target: &StorageKey, size: u64) -> Result<(), Error> {
        let mut contents = self.contents();
        let staging = contents
            .staged
            .get(staged.as_str())
            .ok_or_else(|| Error::NotFound { key: staged.clone() })?;
        if staging.locked {
            return Err(Error::Busy { key: staged.clone() });
        }
        let actual = staging.bytes.len() as u64;
        if actual != size {
            return Err(Error::OffsetMismatch {
                key: staged.clone(),
                expected: size,
                actual,
            });
        }
        if let Some(staging) = contents.staged.remove(staged.as_str()) {
            let object = Object {
                bytes: staging.bytes.freeze(),
                modified: SystemTime::now(),
            };
            contents.objects.insert(target.to_string(), object);
        }
        Ok(())
    }
}

struct StagedMemory {
    store: InMemory,
    key: StorageKey,
    size: u64,
}

#[async_trait]
impl Writer for StagedMemory {
    fn size(&self) -> u64 {
        self.size
    }

    async fn write(&mut self, bytes: Bytes) -> Result<(), Error> {
        let mut contents = self.store.contents();
        let staging = contents
            .staged
            .get_mut(self.key.as_str())
            .ok_or_else(|| Error::NotFound {
                key: self.key.clone(),
            })?;
        staging.bytes.extend_from_slice(&bytes);
        staging.modified = SystemTime::now();
        self.size += bytes.len() as u64;
        Ok(())
    }

    async fn sync(&mut self) -> Result<(), Error> {
        Ok(())
    }
}

impl Drop for StagedMemory {
    fn drop(&mut self) {
        if let Some(staging) = self.store.contents().staged.get_mut(self.key.as_str()) {
            staging.locked = false;
        }
    }
}
