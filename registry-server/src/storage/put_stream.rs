//! Puts an object of any size from a stream, when the size is known before.
//!
//! Guarantees: the object appears whole or not at all. Memory is at most [`SMALL`]; for larger objects it is a block of the
//! stream, or a part in object stores. A stream that ends with an error leaves nothing behind. The remains of a crash are
//! found by [`clear`], or are an unfinished upload of the store.
//! Must not: check the bytes.

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, TryStreamExt as _};
use uuid::Uuid;

use super::layout::{self, ObjectPath, PathPrefix};
use super::{Append, Driver, Durability, Error, LargeWrite, Mode, Multipart, Staged, StorageKey};

/// Up to this size an object is put in one step: one request to a store in a network, one rename in a folder.
const SMALL: u64 = 4 << 20;

/// Writes an object of `size` bytes durably. An existing object is replaced.
///
/// # Errors
/// The stream's, [`Error::Truncated`] when it has more or fewer bytes, or the store's.
pub(crate) async fn put<E: From<Error>>(
    driver: &dyn Driver,
    key: &StorageKey,
    size: u64,
    stream: impl Stream<Item = Result<Bytes, E>> + Send + Unpin,
) -> Result<(), E> {
    if size <= SMALL {
        return write_small(driver, key, size, stream).await;
    }
    match driver.large_write() {
        LargeWrite::Append(store) => {
            let staged = ObjectPath::Incoming { id: Uuid::new_v4() }.key();
            let written = append(store, &staged, key, size, stream).await;
            if written.is_err() {
                // The first error is the one to report; the next call of `clear` removes what stays.
                if let Err(error) = driver.delete_tree(&staged, Durability::Crash).await {
                    tracing::debug!(key = %staged, %error, "what was on its way in is left behind");
                }
            }
            written
        }
        LargeWrite::Multipart(store) => {
            let upload = store.begin(key).await?;
            let written = in_parts(store, key, &upload, size, stream).await;
            if written.is_err()
                && let Err(error) = store.abort(key, &upload).await
            {
                tracing::debug!(%key, %error, "an upload in parts is left behind");
            }
            written
        }
    }
}

async fn write_small<E: From<Error>>(
    driver: &dyn Driver,
    key: &StorageKey,
    size: u64,
    mut stream: impl Stream<Item = Result<Bytes, E>> + Send + Unpin,
) -> Result<(), E> {
    let mut bytes = BytesMut::new();
    while let Some(block) = stream.try_next().await? {
        bytes.extend_from_slice(&block);
        if bytes.len() as u64 > size {
            break;
        }
    }
    expect(key, size, bytes.len() as u64)?;
    Ok(driver
        .put(key, bytes.freeze(), Mode::Replace, Durability::PowerLoss)
        .await?)
}

async fn append<E: From<Error>>(
    store: &dyn Append,
    staged: &StorageKey,
    key: &StorageKey,
    size: u64,
    mut stream: impl Stream<Item = Result<Bytes, E>> + Send + Unpin,
) -> Result<(), E> {
    let mut writer = store.stage(staged, Staged::New).await?;
    while let Some(block) = stream.try_next().await? {
        writer.write(block).await?;
        if writer.size() > size {
            break;
        }
    }
    expect(key, size, writer.size())?;
    drop(writer);
    Ok(store.publish(staged, key, size).await?)
}

async fn in_parts<E: From<Error>>(
    store: &dyn Multipart,
    key: &StorageKey,
    upload: &str,
    size: u64,
    mut stream: impl Stream<Item = Result<Bytes, E>> + Send + Unpin,
) -> Result<(), E> {
    let (mut receipts, mut stored, mut ended) = (Vec::new(), 0, false);
    let mut rest = Bytes::new();
    while !ended {
        let wanted = store.part_size(stored);
        let (mut blocks, mut held) = (Vec::new(), 0);
        while held < wanted {
            if rest.is_empty() {
                match stream.try_next().await? {
                    Some(block) => rest = block,
                    None => {
                        ended = true;
                        break;
                    }
                }
            }
            let most = usize::try_from(wanted - held).unwrap_or(usize::MAX);
            let block = rest.split_to(rest.len().min(most));
            held += block.len() as u64;
            blocks.push(block);
        }
        stored += held;
        if ended || stored > size {
            // Checked before the last part, so that no part is stored in vain.
            expect(key, size, stored)?;
        }
        if held > 0 {
            receipts.push(store.put_part(key, upload, receipts.len(), blocks).await?);
        }
    }
    Ok(store.complete(key, upload, &receipts).await?)
}

fn expect(key: &StorageKey, expected: u64, actual: u64) -> Result<(), Error> {
    if actual == expected {
        return Ok(());
    }
    Err(Error::Truncated {
        key: key.clone(),
        expected,
        actual,
    })
}

/// Removes the remains of processes that were killed while they wrote. Gives the number of removed objects.
///
/// # Errors
/// The store's.
pub(crate) async fn clear(driver: &dyn Driver) -> Result<u64, Error> {
    let LargeWrite::Append(store) = driver.large_write() else {
        return Ok(0); // The purge of uploads removes old multipart uploads.
    };
    let mut listing = driver.list(&PathPrefix::Incoming.key()).await?;
    let mut cleared = 0;
    while let Some(entry) = listing.try_next().await? {
        let Some(id) = layout::run(&entry.name) else {
            continue;
        };
        let key = ObjectPath::Incoming { id }.key();
        // A process that still writes holds the lock.
        let lock = match store.stage(&key, Staged::AtEnd).await {
            Ok(lock) => lock,
            Err(Error::Busy { .. } | Error::NotFound { .. }) => continue,
            Err(error) => return Err(error),
        };
        driver.delete_tree(&key, Durability::Crash).await?;
        drop(lock);
        cleared += 1;
    }
    Ok(cleared)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::InMemory;

    #[tokio::test]
    async fn what_a_crash_left_is_cleared_unless_somebody_writes_it() {
        let driver = InMemory::new();
        let keys: Vec<_> = (0..2)
            .map(|_| ObjectPath::Incoming { id: Uuid::new_v4() }.key())
            .collect();
        let store = driver.large_write().append().unwrap();
        let mut open = store.stage(&keys[0], Staged::New).await.unwrap();
        open.write(Bytes::from_static(b"x")).await.unwrap();
        drop(store.stage(&keys[1], Staged::New).await.unwrap());
        assert_eq!(clear(&driver).await.unwrap(), 1);
        assert!(driver.stat(&keys[0]).await.is_ok());
        drop(open);
        assert_eq!(clear(&driver).await.unwrap(), 1);
    }
}
