//! Divides the bytes of an upload into parts. One part is stored while the next one fills.

use std::collections::VecDeque;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::task::JoinHandle;

use super::record::MultipartUpload;
use crate::storage::{self, Driver, StorageKey, Writer};
use crate::task::join;
use crate::telemetry::request::spawn;

/// Writes an upload in parts.
pub(super) struct PartWriter {
    driver: Arc<dyn Driver>,
    key: StorageKey,
    upload: Option<MultipartUpload>,
    /// The bytes that are not stored yet.
    pending: VecDeque<Bytes>,
    pending_size: u64,
    /// How many bytes the upload has.
    size: u64,
    /// The part that is being stored, and its size.
    in_flight: Option<(JoinHandle<Result<String, storage::Error>>, u64)>,
}

impl PartWriter {
    /// Continues an upload of `size` bytes, of which `tail` are not in parts.
    pub(super) fn new(
        driver: Arc<dyn Driver>,
        key: StorageKey,
        size: u64,
        upload: Option<MultipartUpload>,
        tail: Bytes,
    ) -> Self {
        Self {
            driver,
            key,
            upload,
            pending_size: tail.len() as u64,
            pending: Some(tail).filter(|tail| !tail.is_empty()).into_iter().collect(),
            size,
            in_flight: None,
        }
    }

    /// Whether no part was begun.
    pub(super) fn is_unstored(&self) -> bool {
        self.upload.is_none()
    }

    /// The bytes that are not stored.
    pub(super) fn into_blocks(mut self) -> Vec<Bytes> {
        std::mem::take(&mut self.pending).into()
    }

    /// The upload with all stored parts, and the bytes that are not stored.
    ///
    /// # Errors
    /// The store's.
    pub(super) async fn into_parts_and_tail(
        mut self,
    ) -> Result<(Option<MultipartUpload>, Vec<Bytes>), storage::Error> {
        self.await_part().await?;
        Ok((self.upload.take(), std::mem::take(&mut self.pending).into()))
    }

    /// Stores the remaining bytes as the last part. Returns nothing when there were no parts.
    ///
    /// # Errors
    /// The store's.
    pub(super) async fn finish(mut self) -> Result<Option<MultipartUpload>, storage::Error> {
        if self.pending_size > 0 {
            self.store(self.pending_size).await?;
        }
        self.await_part().await?;
        Ok(self.upload.take())
    }

    /// The upload, if there is one. A part that is being stored is aborted.
    pub(super) async fn into_upload(mut self) -> Option<MultipartUpload> {
        if let Some((in_flight, _)) = self.in_flight.take() {
            in_flight.abort();
            let _ = in_flight.await;
        }
        self.upload.take()
    }

    /// Waits for the part that is being stored.
    async fn await_part(&mut self) -> Result<(), storage::Error> {
        let Some((in_flight, size)) = self.in_flight.take() else {
            return Ok(());
        };
        let receipt = join(in_flight).await.ok_or_else(|| self.stopping())??;
        if let Some(upload) = &mut self.upload {
            upload.receipts.push(receipt);
            upload.size += size;
        }
        Ok(())
    }

    /// Begins to store the first `size` pending bytes as a part, after the part that is being stored.
    async fn store(&mut self, size: u64) -> Result<(), storage::Error> {
        self.await_part().await?;
        let (name, number) = match &self.upload {
            Some(upload) => (upload.name.clone(), upload.receipts.len()),
            None => {
                let name = parts(&*self.driver).begin(&self.key).await?;
                self.upload = Some(MultipartUpload {
                    name: name.clone(),
                    receipts: Vec::new(),
                    size: 0,
                });
                (name, 0)
            }
        };
        let blocks = self.cut(size);
        let (driver, key) = (Arc::clone(&self.driver), self.key.clone());
        let in_flight = spawn(async move { parts(&*driver).put_part(&key, &name, number, blocks).await });
        self.in_flight = Some((in_flight, size));
        Ok(())
    }

    fn cut(&mut self, size: u64) -> Vec<Bytes> {
        let (mut blocks, mut missing) = (Vec::new(), size);
        while missing > 0
            && let Some(mut block) = self.pending.pop_front()
        {
            let length = block.len() as u64;
            if length > missing {
                // It is less than the length of a block, so it fits.
                let rest = block.split_off(missing as usize);
                self.pending.push_front(rest);
            }
            missing -= length.min(missing);
            blocks.push(block);
        }
        self.pending_size -= size;
        blocks
    }

    fn stopping(&self) -> storage::Error {
        storage::Error::Stopping {
            action: "store a part of",
            key: self.key.clone(),
        }
    }
}

fn parts(driver: &dyn Driver) -> &dyn storage::Multipart {
    let parts = driver.large_write().multipart();
    parts.expect("this writer is only made for a store that takes parts")
}

#[async_trait]
impl Writer for PartWriter {
    fn size(&self) -> u64 {
        self.size
    }

    async fn write(&mut self, bytes: Bytes) -> Result<(), storage::Error> {
        let length = bytes.len() as u64;
        self.pending.push_back(bytes);
        self.pending_size += length;
        self.size += length;
        loop {
            let part = parts(&*self.driver).part_size(self.size - self.pending_size);
            // A part is only stored when there is one more byte: bytes that fit into one part need no upload in parts.
            if self.pending_size <= part {
                return Ok(());
            }
            self.store(part).await?;
        }
    }

    async fn sync(&mut self) -> Result<(), storage::Error> {
        self.await_part().await
    }
}

impl Drop for PartWriter {
    fn drop(&mut self) {
        if let Some((in_flight, _)) = self.in_flight.take() {
            in_flight.abort();
        }
    }
}
