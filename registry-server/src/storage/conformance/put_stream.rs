//! Objects that come as a stream, by whichever intake a driver has.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::{Stream, TryStreamExt as _, stream};

use crate::storage::{Driver, Error, ReadRange, StorageKey, put_stream};

/// Larger than what is put in one step, and than two parts of a store that takes them.
const LARGE: usize = 11_000_000;

fn blocks(size: usize) -> impl Stream<Item = Result<Bytes, Error>> + Send + Unpin {
    let all = Bytes::from((0..size).map(|at| (at ^ (at >> 9)) as u8).collect::<Vec<_>>());
    let cuts = (0..size).step_by(600_000);
    let blocks = cuts.map(move |at| Ok(all.slice(at..(at + 600_000).min(size))));
    stream::iter(blocks.collect::<Vec<_>>())
}

async fn write(
    driver: &Arc<dyn Driver>,
    key: &StorageKey,
    size: usize,
    stream: impl Stream<Item = Result<Bytes, Error>> + Send + Unpin,
) -> Result<(), Error> {
    put_stream::put(&**driver, key, size as u64, stream).await
}

pub(super) async fn a_stream_of_any_size_arrives_whole_and_replaces_what_is_there(driver: Arc<dyn Driver>) {
    let key = StorageKey::parse("docker/streamed").unwrap();
    for size in [0, 1, 4 << 20, (4 << 20) + 1, 5 << 20, 10 << 20, LARGE] {
        write(&driver, &key, size, blocks(size)).await.unwrap();
        let content = driver.read(&key, ReadRange::Full).await.unwrap();
        let read: Vec<Bytes> = content.try_collect().await.unwrap();
        let expected: Vec<Bytes> = blocks(size).try_collect().await.unwrap();
        assert!(read.concat() == expected.concat(), "{size}");
        assert_eq!(put_stream::clear(&*driver).await.unwrap(), 0, "{size}");
    }
    driver.delete(&key).await.unwrap();
}

pub(super) async fn a_stream_of_another_length_or_with_an_error_writes_nothing(driver: Arc<dyn Driver>) {
    let key = StorageKey::parse("docker/streamed").unwrap();
    for (said, size) in [(9, 8), (8, 9), (LARGE, LARGE - 1), (LARGE - 1, LARGE)] {
        let error = write(&driver, &key, said, blocks(size)).await.unwrap_err();
        assert!(matches!(error, Error::Truncated { .. }), "{said}: {error:?}");
    }
    for size in [100, LARGE] {
        let broken = stream::iter([
            Ok(Bytes::from(vec![1; size - 1])),
            Err(Error::NotFound { key: key.clone() }),
        ]);
        let error = write(&driver, &key, size, broken).await.unwrap_err();
        assert!(error.is_not_found(), "{error:?}");
    }
    assert!(driver.stat(&key).await.unwrap_err().is_not_found());
    assert_eq!(put_stream::clear(&*driver).await.unwrap(), 0);
    if let Some(store) = driver.large_write().multipart() {
        let unfinished = store.unfinished().await.unwrap();
        assert!(unfinished.is_empty(), "{unfinished:?}");
    }
}
