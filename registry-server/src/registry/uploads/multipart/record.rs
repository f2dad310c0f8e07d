//! The record of a session: one line of JSON, and behind it the bytes that are too few for a part.
//!
//! Both are one object, so they change together.

use bytes::Bytes;
use registry_oci::{Hasher, RepositoryName, UploadId};
use serde::{Deserialize, Serialize};

use crate::registry::Error;
use crate::registry::uploads::base64_hash;
use crate::storage::layout::ObjectPath;
use crate::storage::{self, Expected, Multipart, ObjectVersion, StorageKey};

/// A record is never this large. It may hold one of the last and largest parts of an object, and the receipts of all
/// parts.
pub(super) const MAX: u64 = 6 << 30;

/// How far a session is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct SessionRecord {
    /// The state of the hash over all bytes.
    #[serde(with = "base64_hash")]
    pub(super) hash: Hasher,
    /// The parts, once there are any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) upload: Option<MultipartUpload>,
    /// Whether the session ended.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) ended: bool,
}

/// An upload in parts, as the store knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct MultipartUpload {
    /// The store's name of it.
    pub(super) name: String,
    /// The receipt that the store gave for each part.
    pub(super) receipts: Vec<String>,
    /// How many bytes the parts have.
    pub(super) size: u64,
}

/// The record of a session as it is in the store.
pub(super) struct StoredRecord {
    pub(super) record: SessionRecord,
    /// The bytes behind the last part.
    pub(super) tail: Bytes,
    pub(super) version: ObjectVersion,
}

impl SessionRecord {
    /// The record of a session that was cancelled or removed.
    pub(super) fn ended() -> Self {
        Self {
            ended: true,
            ..Self::default()
        }
    }

    /// The line before the bytes.
    pub(super) fn head(&self) -> Bytes {
        let mut line = serde_json::to_vec(self).expect("a struct of texts and numbers is always JSON");
        line.push(b'\n');
        line.into()
    }

    /// Parses a record. Nothing when it is none, or when its numbers contradict each other.
    pub(super) fn read(bytes: &Bytes) -> Option<(Self, Bytes)> {
        let end = bytes.iter().position(|byte| *byte == b'\n')?;
        let record: Self = serde_json::from_slice(&bytes[..end]).ok()?;
        let tail = bytes.slice(end + 1..);
        let parts = record.upload.as_ref().map_or(0, |upload| upload.size);
        (parts.checked_add(tail.len() as u64) == Some(record.hash.length())).then_some((record, tail))
    }
}

pub(super) fn session_key(repository: &RepositoryName, id: &UploadId) -> StorageKey {
    ObjectPath::upload_session(repository, id).key()
}

/// Reads the record of a session.
pub(super) async fn read_record(
    store: &dyn Multipart,
    repository: &RepositoryName,
    id: &UploadId,
) -> Result<Option<StoredRecord>, Error> {
    let key = session_key(repository, id);
    match store.get_version(&key, MAX).await {
        Ok((bytes, version)) => match SessionRecord::read(&bytes) {
            Some((record, tail)) => Ok(Some(StoredRecord {
                record,
                tail,
                version,
            })),
            None => {
                tracing::warn!(%key, "the record of an upload cannot be read; the upload counts as unknown");
                Ok(None)
            }
        },
        Err(error) if error.is_not_found() => Ok(None),
        Err(source) => Err(Error::storage("look for an upload")(source)),
    }
}

pub(super) async fn write_record(
    store: &dyn Multipart,
    repository: &RepositoryName,
    id: &UploadId,
    record: &SessionRecord,
    tail: Vec<Bytes>,
    expected: Expected<'_>,
) -> Result<ObjectVersion, storage::Error> {
    let blocks = std::iter::once(record.head()).chain(tail).collect();
    store
        .put_blocks(&session_key(repository, id), blocks, expected)
        .await
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record() -> SessionRecord {
        let mut hash = Hasher::new();
        hash.update(b"parts and tail");
        SessionRecord {
            hash,
            upload: Some(MultipartUpload {
                name: "it's \"an\" upload\n".to_owned(),
                receipts: vec!["\"etag\"".to_owned()],
                size: 9,
            }),
            ended: false,
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let bytes = [record().head().as_ref(), b" tail"].concat().into();
        assert_eq!(
            SessionRecord::read(&bytes),
            Some((record(), Bytes::from_static(b" tail")))
        );
    }

    #[test]
    fn a_record_whose_bytes_are_not_those_it_speaks_of_is_none() {
        for tail in ["", "tail", "longer tail"] {
            let bytes = [record().head().as_ref(), tail.as_bytes()].concat().into();
            assert_eq!(SessionRecord::read(&bytes), None, "{tail:?}");
        }
    }

    const WRITTEN: &str = "{\"hash\":\"c2hhA2oJ5me7Z67OPG4x6UT/6pOUGm0C2wU1OI7yrQ0GnjWGq5mdBiAxAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA==\",\"upload\":{\"name\":\"1\",\"receipts\":[\"2\"],\"size\":0}}\n";

    proptest! {
        #[test]
        fn no_mutated_record_panics(bytes in registry_mutation::mutated(&[
            WRITTEN,
            "{\"hash\":\"\",\"ended\":true}\n",
        ])) {
            if let Some((record, tail)) = SessionRecord::read(&bytes.into()) {
                let again = [record.head(), tail.clone()].concat().into();
                prop_assert_eq!(SessionRecord::read(&again), Some((record, tail)));
            }
        }
    }
}
