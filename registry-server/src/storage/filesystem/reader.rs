//! Reading a file in blocks.

use std::fs::File;
use std::future::Future as _;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use rustix::io::{Errno, ReadWriteFlags};
use tokio::task::JoinHandle;

use super::file_metadata::object_metadata;
use super::handle::{Handle, blocking};
use crate::storage::content::Blocks;
use crate::storage::{Content, Error, ReadRange, StorageKey};
use crate::task::finished;

/// How many bytes are read when a file is opened. A small object needs no second trip to a blocking thread, and an unreadable
/// disk is found before the response status is sent. Not more, because the bytes wait in memory for the client.
const FIRST: usize = 8 * 1024;

/// Opens a file and reads its first bytes.
pub(super) fn open(path: &Path, key: &StorageKey, range: ReadRange) -> Result<Content, Error> {
    let failed = |error| Error::io("read", key, error);
    let file = Arc::new(Handle::new(File::open(path).map_err(failed)?));
    let metadata = object_metadata(key, &file.metadata().map_err(failed)?)?;
    let Some(range) = range.resolve(metadata.size) else {
        return Err(Error::RangeNotSatisfiable {
            key: key.clone(),
            size: metadata.size,
        });
    };
    let mut reader = Reader {
        file: Some(file),
        key: key.clone(),
        left: range.clone(),
        ready: None,
        reading: None,
        without_waiting_fails: false,
    };
    if let Some((file, next)) = reader.next_block(FIRST) {
        reader.ready = Some(read_block(&file, &reader.key, next)?);
    }
    Ok(Content::from_blocks(metadata, range, reader))
}

/// An open file that is read block by block.
struct Reader {
    /// `None` once the read of the last block began. That read closes the file, on a thread that may block.
    file: Option<Arc<Handle>>,
    key: StorageKey,
    /// The bytes whose read has not begun.
    left: Range<u64>,
    ready: Option<Bytes>,
    reading: Option<JoinHandle<Result<Bytes, Error>>>,
    /// The file system does not support reads without waiting.
    without_waiting_fails: bool,
}

impl Reader {
    fn next_block(&mut self, most: usize) -> Option<(Arc<Handle>, Range<u64>)> {
        if self.left.is_empty() {
            return None;
        }
        let block = self.left.start..self.left.end.min(self.left.start + most as u64);
        self.left.start = block.end;
        let file = match self.left.is_empty() {
            true => self.file.take(),
            false => self.file.clone(),
        };
        file.map(|file| (file, block))
    }

    /// Reads the part of the next block that is in the page cache, on the current thread. Measured: the way to a blocking
    /// thread and back costs as much as a read of 128 KiB.
    fn read_cached(&mut self, most: usize) -> Option<Bytes> {
        let wanted = (self.left.end - self.left.start).min(most as u64) as usize;
        if self.without_waiting_fails || wanted == 0 {
            return None;
        }
        let file = self.file.as_deref()?;
        let mut bytes = vec![0; wanted];
        let read = rustix::io::preadv2(
            &**file,
            &mut [io::IoSliceMut::new(&mut bytes)],
            self.left.start,
            ReadWriteFlags::NOWAIT,
        );
        match read {
            Ok(count) if count > 0 => {
                // Callers count memory by the length of the block.
                bytes.truncate(count);
                bytes.shrink_to_fit();
                self.left.start += count as u64;
                if self.left.is_empty() {
                    self.file = None;
                }
                Some(bytes.into())
            }
            // Not in the page cache, or the file has become shorter, which the blocking read reports.
            Ok(_) | Err(Errno::AGAIN | Errno::INTR) => None,
            // Not supported, or an error, which the blocking read reports too.
            Err(_) => {
                self.without_waiting_fails = true;
                None
            }
        }
    }

    fn begin(&mut self, most: usize) {
        if let Some((file, block)) = self.next_block(most) {
            let key = self.key.clone();
            self.reading = Some(blocking(move || read_block(&file, &key, block)));
        }
    }
}

impl Blocks for Reader {
    fn poll_block(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        most: usize,
        ahead: bool,
    ) -> Poll<Option<Result<Bytes, Error>>> {
        if let Some(mut block) = self.ready.take() {
            if block.len() > most {
                let rest = block.split_off(most);
                self.ready = Some(rest);
            } else if ahead {
                self.begin(most);
            }
            return Poll::Ready(Some(Ok(block)));
        }
        if self.reading.is_none() {
            if !ahead && let Some(block) = self.read_cached(most) {
                return Poll::Ready(Some(Ok(block)));
            }
            self.begin(most);
        }
        let Some(reading) = self.reading.as_mut() else {
            return Poll::Ready(None);
        };
        let joined = ready!(Pin::new(reading).poll(context));
        self.reading = None;
        let block = finished(joined).unwrap_or_else(|| {
            Err(Error::Stopping {
                action: "read",
                key: self.key.clone(),
            })
        });
        match &block {
            Ok(_) if ahead => self.begin(most),
            Ok(_) => {}
            Err(_) => self.left = 0..0,
        }
        Poll::Ready(Some(block))
    }
}

fn read_block(file: &File, key: &StorageKey, block: Range<u64>) -> Result<Bytes, Error> {
    let wanted = (block.end - block.start) as usize;
    let mut bytes: Vec<u8> = Vec::with_capacity(wanted);
    while bytes.len() < wanted {
        let offset = block.start + bytes.len() as u64;
        let read = rustix::io::pread(file, rustix::buffer::spare_capacity(&mut bytes), offset);
        match read {
            Ok(0) => {
                return Err(Error::Truncated {
                    key: key.clone(),
                    expected: block.end,
                    actual: offset,
                });
            }
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(Error::io("read", key, io::Error::from(error))),
        }
    }
    // The allocator may have given more capacity than requested, and the file may have grown meanwhile.
    bytes.truncate(wanted);
    Ok(bytes.into())
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use futures_util::StreamExt as _;
    use tokio::task::spawn_blocking;

    use super::*;

    fn opened(size: usize, range: ReadRange) -> (Content, Vec<u8>) {
        let file = tempfile::NamedTempFile::new().unwrap();
        let bytes: Vec<u8> = (0..size).map(|at| (at / 7) as u8).collect();
        std::fs::write(file.path(), &bytes).unwrap();
        let key = StorageKey::parse("a/b").unwrap();
        (open(file.path(), &key, range).unwrap(), bytes)
    }

    #[tokio::test]
    async fn blocks_are_as_large_as_they_are_asked_for_and_make_the_whole() {
        let (mut content, bytes) = opened(1_000_000, ReadRange::Full);
        let mut read = Vec::new();
        for most in [1000, 100_000, 8 << 10, 1].into_iter().cycle() {
            match poll_fn(|context| content.poll_block(context, most)).await {
                Some(block) => {
                    let block = block.unwrap();
                    assert!((1..=most).contains(&block.len()), "{} of {most}", block.len());
                    read.extend_from_slice(&block);
                }
                None => break,
            }
            if read.len() > 900_000 {
                break;
            }
        }
        // And the rest as those take it who want all.
        while let Some(block) = content.next().await {
            read.extend_from_slice(&block.unwrap());
        }
        assert!(read == bytes);
    }

    #[test]
    fn nothing_is_read_before_it_is_asked_for() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            // Reads run one after the other, so that a wait for another task waits for all reads before it.
            .max_blocking_threads(1)
            .build()
            .unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        let key = StorageKey::parse("a/b").unwrap();
        // The bytes show which version of the file was read.
        let write = |version: u8| std::fs::write(file.path(), vec![version; 100_000]).unwrap();
        runtime.block_on(async {
            write(1);
            let mut content = open(file.path(), &key, ReadRange::Full).unwrap();
            let mut block = async || {
                let block = poll_fn(|context| content.poll_block(context, 64 << 10)).await;
                block.unwrap().unwrap()
            };
            write(2);
            assert_eq!(block().await, [1; FIRST][..]);
            spawn_blocking(|| ()).await.unwrap();
            write(3);
            assert_eq!(block().await, [3; 64 << 10][..]);
            spawn_blocking(|| ()).await.unwrap();
            write(4);
            assert_eq!(block().await, [4; 100_000 - FIRST - (64 << 10)][..]);
        });
    }
}
