//! S3Calls of S3 that the library does not have: copies in pieces, and lists of unfinished uploads.
//!
//! The library signs the URL of each request.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::{HeaderName, HeaderValue, Method};
use jiff::Timestamp;
use object_store::aws::AmazonS3;
use object_store::multipart::PartId;
use object_store::path::Path;
use object_store::signer::{SignedUrlOptions, Signer as _};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

use crate::storage::object::classify;
use crate::storage::object::classify::ErrorClassifier;
use crate::storage::object::client::LONG;
use crate::storage::object::retry::retry;
use crate::storage::{Error, InvalidKey, StorageKey, UnfinishedUpload};

/// Validity of a signed URL. It is used at once; the time covers clocks that differ.
const SIGNED_FOR: Duration = Duration::from_secs(15 * 60);

/// The characters of a path that are percent-encoded.
const PATH: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'/')
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

/// Makes the calls.
pub(in crate::storage::object) struct S3Calls {
    pub(in crate::storage::object) store: Arc<AmazonS3>,
    /// With the headers of new objects.
    pub(in crate::storage::object) write: Arc<AmazonS3>,
    pub(super) http: reqwest::Client,
    pub(super) bucket: String,
    pub(in crate::storage::object) whole_up_to: u64,
    pub(in crate::storage::object) piece: u64,
    pub(in crate::storage::object) at_once: usize,
    pub(super) classifier: ErrorClassifier,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct CopyPartResult {
    #[serde(rename = "ETag")]
    e_tag: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ListUploads {
    #[serde(default)]
    is_truncated: bool,
    next_key_marker: Option<String>,
    next_upload_id_marker: Option<String>,
    #[serde(default)]
    upload: Vec<Upload>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Upload {
    key: String,
    upload_id: String,
    initiated: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ListParts {
    #[serde(default)]
    is_truncated: bool,
    next_part_number_marker: Option<String>,
    #[serde(default)]
    part: Vec<Part>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Part {
    last_modified: Option<String>,
    #[serde(default)]
    size: u64,
}

impl S3Calls {
    /// The size up to which one request copies an object.
    pub(in crate::storage::object) fn copy_whole_up_to(&self) -> u64 {
        self.whole_up_to
    }

    /// Sends a signed request and reads its answer. Retries it while it fails for a temporary reason.
    async fn ask<T: for<'de> Deserialize<'de>>(
        &self,
        action: &'static str,
        key: &StorageKey,
        method: Method,
        path: &Path,
        options: &SignedUrlOptions,
    ) -> Result<T, Error> {
        retry(
            LONG,
            |error| matches!(error, Error::Remote { cause, .. } if cause.is_temporary()),
            || self.ask_once(action, key, method.clone(), path, options),
        )
        .await
    }

    async fn ask_once<T: for<'de> Deserialize<'de>>(
        &self,
        action: &'static str,
        key: &StorageKey,
        method: Method,
        path: &Path,
        options: &SignedUrlOptions,
    ) -> Result<T, Error> {
        let url = self
            .store
            .signed_url_opts(method.clone(), path, SIGNED_FOR, options)
            .await;
        let url = url.map_err(|error| self.classifier.classify(action, key, error))?;
        let failed = |error: reqwest::Error| {
            // Its URL is a key to the object.
            let error = error.without_url();
            Error::Remote {
                action,
                key: key.clone(),
                cause: classify::cause(&error),
                source: Box::new(error),
            }
        };
        let request = self
            .http
            .request(method, url)
            .headers(options.signed_headers.clone());
        let answer = request.send().await.map_err(failed)?;
        let status = answer.status();
        let text = answer.text().await.map_err(failed)?;
        if !status.is_success() {
            let said = object_store::Error::Generic {
                store: "S3",
                source: format!("status code: {status}: {text}").into(),
            };
            return Err(match status.as_u16() {
                404 if !text.contains("NoSuchBucket") => Error::NotFound { key: key.clone() },
                _ => self.classifier.classify(action, key, said),
            });
        }
        quick_xml::de::from_str(&text).map_err(|error| Error::Remote {
            action,
            key: key.clone(),
            cause: crate::storage::Cause::Failed,
            source: Box::new(error),
        })
    }

    /// The unfinished uploads below a prefix.
    pub(in crate::storage::object) async fn unfinished(
        &self,
        prefix: &str,
    ) -> Result<Vec<UnfinishedUpload>, Error> {
        const ACTION: &str = "list the unfinished uploads of";
        // Other programs may use the bucket too: only the keys of registries are listed.
        let below = format!("{prefix}docker/");
        let top = StorageKey::parse("docker")?;
        let mut found = Vec::new();
        let mut marker: Option<(String, String)> = None;
        loop {
            let mut query = vec![
                ("uploads".to_owned(), String::new()),
                ("prefix".to_owned(), below.clone()),
            ];
            if let Some((key, upload)) = &marker {
                query.push(("key-marker".to_owned(), key.clone()));
                query.push(("upload-id-marker".to_owned(), upload.clone()));
            }
            let options = SignedUrlOptions::default().with_query(query);
            let page: ListUploads = self.ask(ACTION, &top, Method::GET, &Path::ROOT, &options).await?;
            for upload in page.upload {
                let Some(key) = upload.key.strip_prefix(prefix) else {
                    continue;
                };
                // No registry has such a key.
                let Ok(key) = StorageKey::parse(key) else { continue };
                let begun = time(&upload.initiated);
                match self.parts(&upload, &key).await {
                    Ok((last, bytes)) => found.push(UnfinishedUpload {
                        modified: last.max(begun).unwrap_or_else(SystemTime::now),
                        bytes,
                        key,
                        upload: upload.upload_id,
                    }),
                    // The upload was completed or aborted meanwhile.
                    Err(Error::NotFound { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
            marker = match (
                page.is_truncated,
                page.next_key_marker,
                page.next_upload_id_marker,
            ) {
                (true, Some(key), Some(upload)) => Some((key, upload)),
                _ => return Ok(found),
            };
        }
    }

    /// The time of the last part of an upload, and the size of all parts.
    async fn parts(&self, upload: &Upload, key: &StorageKey) -> Result<(Option<SystemTime>, u64), Error> {
        const ACTION: &str = "list the parts of";
        let path = Path::parse(&upload.key).map_err(|_| InvalidKey::new(&upload.key))?;
        let (mut last, mut bytes, mut marker) = (None, 0, None);
        loop {
            let mut query = vec![("uploadId".to_owned(), upload.upload_id.clone())];
            query.extend(marker.map(|marker: String| ("part-number-marker".to_owned(), marker)));
            let options = SignedUrlOptions::default().with_query(query);
            let page: ListParts = self.ask(ACTION, key, Method::GET, &path, &options).await?;
            for part in page.part {
                last = last.max(part.last_modified.as_deref().and_then(time));
                bytes += part.size;
            }
            marker = match (page.is_truncated, page.next_part_number_marker) {
                (true, Some(marker)) => Some(marker),
                _ => return Ok((last, bytes)),
            };
        }
    }

    pub(in crate::storage::object) async fn copy_piece(
        &self,
        source: &Path,
        target: &Path,
        upload: &str,
        number: u64,
        range: std::ops::Range<u64>,
        key: &StorageKey,
    ) -> Result<PartId, Error> {
        let from = format!("/{}/{}", self.bucket, utf8_percent_encode(source.as_ref(), PATH));
        let header = |value: String| HeaderValue::from_str(&value).map_err(|_| InvalidKey::new(&value));
        let options = SignedUrlOptions::default()
            .with_query([
                ("partNumber", (number + 1).to_string()),
                ("uploadId", upload.to_owned()),
            ])
            .with_signed_header(HeaderName::from_static("x-amz-copy-source"), header(from)?)
            .with_signed_header(
                HeaderName::from_static("x-amz-copy-source-range"),
                header(format!("bytes={}-{}", range.start, range.end - 1))?,
            );
        let copied: CopyPartResult = self.ask("copy", key, Method::PUT, target, &options).await?;
        Ok(PartId {
            content_id: format!("\"{}\"", copied.e_tag.trim_matches('"')),
        })
    }
}

fn time(text: &str) -> Option<SystemTime> {
    text.parse::<Timestamp>().ok().map(Into::into)
}
