//! The calls of Google's JSON protocol. <https://cloud.google.com/storage/docs/json_api/v1>
//!
//! A call is retried while it fails for a temporary reason. All calls are idempotent, since they name the resulting object, and
//! its generation where that matters. Only a conditional write whose answer was lost is not retried: the second write would
//! find the first one's object and take it for that of another writer.

use std::time::SystemTime;

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::Method;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use jiff::Timestamp;
use object_store::gcp::GcpCredentialProvider;
use object_store::list::{PaginatedListOptions, PaginatedListResult};
use object_store::path::Path;
use object_store::{Error, ListResult, ObjectMeta, PutPayload, Result};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};

use crate::storage::object::client::Timeouts;
use crate::storage::object::retry::retry;

/// How many objects one call composes.
pub(super) const COMPOSED: usize = 32;

/// The content type of every object, as in distribution.
const KIND: &str = "application/octet-stream";

/// The characters of a path or a query that are percent-encoded. A slash is one of them, since a name is one component.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

/// Makes the calls.
pub(super) struct JsonCalls {
    http: reqwest::Client,
    credentials: GcpCredentialProvider,
    address: String,
    bucket: String,
    timeouts: Timeouts,
}

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
enum Failure {
    // The same text as in the library's errors, since `classify` reads both.
    #[error("status code: {status}: {text}")]
    Answer { status: u16, text: String },
    #[error("the request failed")]
    Network(#[source] reqwest::Error),
    #[error("the answer is not understood")]
    Unknown(#[source] serde_json::Error),
    #[error("there is no token")]
    Token(#[source] Error),
}

/// A request.
struct Ask<'a> {
    method: Method,
    url: String,
    kind: &'static str,
    /// Pieces of the body.
    body: PutPayload,
    /// The object, for errors.
    path: &'a str,
    /// Whether it may be sent again when its answer was lost.
    idempotent: bool,
}

#[derive(Deserialize)]
struct Written {
    generation: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rewritten {
    #[serde(default)]
    done: bool,
    rewrite_token: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Listed {
    #[serde(default)]
    prefixes: Vec<String>,
    #[serde(default)]
    items: Vec<Item>,
    next_page_token: Option<String>,
}

#[derive(Deserialize)]
struct Item {
    name: String,
    /// A number as a text, since JSON numbers have 53 bits.
    size: String,
    updated: String,
    generation: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Compose<'a> {
    source_objects: Vec<Source<'a>>,
    destination: Destination,
}

#[derive(Serialize)]
struct Source<'a> {
    name: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Destination {
    content_type: &'static str,
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, PLAIN).to_string()
}

impl JsonCalls {
    pub(super) fn new(
        http: reqwest::Client,
        credentials: GcpCredentialProvider,
        address: String,
        bucket: &str,
        timeouts: Timeouts,
    ) -> Self {
        Self {
            http,
            credentials,
            address,
            bucket: encoded(bucket),
            timeouts,
        }
    }

    fn object(&self, path: &Path) -> String {
        let (address, bucket) = (&self.address, &self.bucket);
        format!("{address}/storage/v1/b/{bucket}/o/{}", encoded(path.as_ref()))
    }

    /// Writes an object if it has this generation; `0` means that it does not exist. Gives the new generation.
    pub(super) async fn put(
        &self,
        path: &Path,
        body: PutPayload,
        generation: Option<&str>,
    ) -> Result<String> {
        let (address, bucket, name) = (&self.address, &self.bucket, encoded(path.as_ref()));
        let url = format!(
            "{address}/upload/storage/v1/b/{bucket}/o?uploadType=media&fields=generation&name={name}{}",
            if_generation(generation)
        );
        let ask = Ask {
            method: Method::POST,
            url,
            kind: KIND,
            body,
            path: path.as_ref(),
            idempotent: generation.is_none(),
        };
        self.ask::<Written>(ask).await.map(|written| written.generation)
    }

    /// Copies an object of any size, if the target has this generation.
    pub(super) async fn copy(&self, from: &Path, to: &Path, generation: Option<&str>) -> Result<()> {
        let target = format!("{}/o/{}", self.bucket, encoded(to.as_ref()));
        let url = format!(
            "{}/rewriteTo/b/{target}?fields=done,rewriteToken{}",
            self.object(from),
            if_generation(generation)
        );
        let mut token: Option<String> = None;
        loop {
            let token_said = token.map(|token| format!("&rewriteToken={}", encoded(&token)));
            let ask = Ask {
                method: Method::POST,
                url: format!("{url}{}", token_said.unwrap_or_default()),
                kind: "application/json",
                body: PutPayload::new(),
                path: from.as_ref(),
                idempotent: generation.is_none(),
            };
            let rewritten: Rewritten = self.ask(ask).await?;
            // Large objects that change location or class are copied piece by piece.
            token = match rewritten {
                Rewritten { done: true, .. } => return Ok(()),
                Rewritten {
                    rewrite_token: Some(token),
                    ..
                } => Some(token),
                Rewritten {
                    rewrite_token: None, ..
                } => {
                    return Err(Error::Generic {
                        store: "GCS",
                        source: "a copy is not done and cannot be gone on with".into(),
                    });
                }
            };
        }
    }

    /// Composes an object of up to [`COMPOSED`] others, in order.
    pub(super) async fn compose(&self, parts: &[Path], target: &Path) -> Result<()> {
        let body = Compose {
            source_objects: parts.iter().map(|part| Source { name: part.as_ref() }).collect(),
            destination: Destination { content_type: KIND },
        };
        let body =
            serde_json::to_vec(&body).map_err(|error| failed(target.as_ref(), Failure::Unknown(error)))?;
        let ask = Ask {
            method: Method::POST,
            url: format!("{}/compose?fields=generation", self.object(target)),
            kind: "application/json",
            body: body.into(),
            path: target.as_ref(),
            idempotent: true,
        };
        self.ask::<Written>(ask).await.map(drop)
    }

    /// One page of the objects below a prefix.
    pub(super) async fn list(
        &self,
        prefix: &str,
        options: PaginatedListOptions,
    ) -> Result<PaginatedListResult> {
        let mut url = format!(
            "{}/storage/v1/b/{}/o?fields=prefixes,items(name,size,updated,generation),nextPageToken&prefix={}",
            self.address,
            self.bucket,
            encoded(prefix)
        );
        let mut add = |name: &str, value: &str| {
            url.push_str(&format!("&{name}={}", encoded(value)));
        };
        let (token, last) = match &options.page_token {
            Some(token) => token.split_once(BEHIND).unwrap_or((token, "")),
            None => ("", ""),
        };
        if !token.is_empty() {
            add("pageToken", token);
        }
        if let Some(delimiter) = &options.delimiter {
            add("delimiter", delimiter);
        }
        if let Some(most) = options.max_keys {
            add("maxResults", &most.to_string());
        }
        if let Some(offset) = &options.offset {
            add("startOffset", offset);
        }
        let ask = Ask {
            method: Method::GET,
            url,
            kind: KIND,
            body: PutPayload::new(),
            path: prefix,
            idempotent: true,
        };
        let listed: Listed = match self.ask(ask).await {
            // A prefix without objects is an empty list, so a 404 means that the bucket does not exist.
            Err(Error::NotFound { path, source }) => {
                return Err(Error::NotFound {
                    path,
                    source: format!("NoSuchBucket: {source}").into(),
                });
            }
            listed => listed?,
        };
        Ok(listed.page(last, options.offset.as_deref()))
    }

    async fn ask<T: for<'de> Deserialize<'de>>(&self, ask: Ask<'_>) -> Result<T> {
        let is_temporary = |failure: &Failure| match failure {
            Failure::Answer { status, .. } => matches!(status, 408 | 429 | 500..),
            Failure::Network(error) => ask.idempotent || error.is_connect(),
            Failure::Unknown(_) | Failure::Token(_) => false,
        };
        let answer = retry(self.timeouts, is_temporary, || self.ask_once(&ask)).await;
        let answer = answer.map_err(|failure| failed(ask.path, failure))?;
        serde_json::from_slice(&answer).map_err(|error| failed(ask.path, Failure::Unknown(error)))
    }

    async fn ask_once(&self, ask: &Ask<'_>) -> Result<Bytes, Failure> {
        let token = self.credentials.get_credential().await.map_err(Failure::Token)?;
        let pieces = stream::iter(ask.body.clone()).map(Ok::<Bytes, std::convert::Infallible>);
        let request = self
            .http
            .request(ask.method.clone(), &ask.url)
            .bearer_auth(&token.bearer)
            .header(CONTENT_TYPE, ask.kind)
            .header(CONTENT_LENGTH, ask.body.content_length())
            .body(reqwest::Body::wrap_stream(pieces));
        let network = |error: reqwest::Error| Failure::Network(error.without_url());
        let answer = request.send().await.map_err(network)?;
        let status = answer.status();
        let bytes = answer.bytes().await.map_err(network)?;
        if status.is_success() {
            return Ok(bytes);
        }
        Err(Failure::Answer {
            status: status.as_u16(),
            text: String::from_utf8_lossy(&bytes).into_owned(),
        })
    }
}

/// Separates Google's page token from the last name of the page in our page tokens.
const BEHIND: char = '\n';

impl Listed {
    /// The page as the library's type, without prefixes up to the last name of the page before.
    fn page(self, last: &str, offset: Option<&str>) -> PaginatedListResult {
        let mut prefixes = self.prefixes;
        // Names are in order, so all names of a page come after those of the page before. Emulators repeat prefixes.
        prefixes.retain(|prefix| prefix.as_str() > last);
        prefixes.dedup();
        let names = self.items.iter().map(|item| &item.name);
        let newest = prefixes.iter().chain(names).max();
        let newest = newest.map_or(last, |name| name.as_str().max(last)).to_owned();
        // Names that do not parse are not those of a registry.
        let items = self.items.into_iter();
        let objects = items.filter(|item| offset.is_none_or(|offset| item.name != offset));
        PaginatedListResult {
            page_token: self
                .next_page_token
                .filter(|token| !token.is_empty())
                .map(|token| format!("{token}{BEHIND}{newest}")),
            result: ListResult {
                common_prefixes: prefixes
                    .iter()
                    .filter_map(|prefix| Path::parse(prefix).ok())
                    .collect(),
                objects: objects.filter_map(Item::metadata).collect(),
                extensions: http::Extensions::default(),
            },
        }
    }
}

impl Item {
    fn metadata(self) -> Option<ObjectMeta> {
        let updated: SystemTime = self.updated.parse::<Timestamp>().ok()?.into();
        Some(ObjectMeta {
            location: Path::parse(&self.name).ok()?,
            last_modified: updated.into(),
            size: self.size.parse().ok()?,
            e_tag: None,
            version: Some(self.generation),
        })
    }
}

fn if_generation(generation: Option<&str>) -> String {
    generation.map_or_else(String::new, |generation| {
        format!("&ifGenerationMatch={}", encoded(generation))
    })
}

/// The library's error for a failure.
fn failed(path: &str, failure: Failure) -> Error {
    let path = path.to_owned();
    let failure = match failure {
        Failure::Token(error) => return error,
        Failure::Answer { status, text } if status == 404 && text.contains("bucket does not exist") => {
            let text = format!("NoSuchBucket: {text}");
            Failure::Answer { status, text }
        }
        failure => failure,
    };
    let status = match &failure {
        Failure::Answer { status, .. } => Some(*status),
        _ => None,
    };
    let source = Box::new(failure);
    match status {
        Some(404) => Error::NotFound { path, source },
        Some(412) => Error::Precondition { path, source },
        _ => Error::Generic { store: "GCS", source },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_that_is_told_on_two_pages_counts_once() {
        let page = |text: &str, last: &str| serde_json::from_str::<Listed>(text).unwrap().page(last, None);
        let item = |name: &str| {
            format!(r#"{{"name":"{name}","size":"5","updated":"2026-01-02T03:04:05.678Z","generation":"7"}}"#)
        };
        let first = page(
            &format!(
                r#"{{"prefixes":["a/b/","a/d/"],"items":[{}],"nextPageToken":"t"}}"#,
                item("a/c")
            ),
            "",
        );
        let token = first.page_token.unwrap();
        let (theirs, last) = token.split_once(BEHIND).unwrap();
        assert_eq!((theirs, last), ("t", "a/d/"));
        let second = page(
            &format!(r#"{{"prefixes":["a/d/","a/f/"],"items":[{}]}}"#, item("a/e")),
            last,
        );
        let names: Vec<&str> = second.result.common_prefixes.iter().map(AsRef::as_ref).collect();
        assert_eq!(names, ["a/f"]);
        let [found] = second.result.objects.as_slice() else {
            panic!("{:?}", second.result.objects);
        };
        assert_eq!((found.location.as_ref(), found.size), ("a/e", 5));
        assert_eq!(found.version.as_deref(), Some("7"));
        assert_eq!(found.last_modified.to_rfc3339(), "2026-01-02T03:04:05.678+00:00");
        assert_eq!(second.page_token, None);
    }

    #[test]
    fn a_page_may_be_empty_and_go_on() {
        let page = serde_json::from_str::<Listed>(r#"{"nextPageToken":"u"}"#)
            .unwrap()
            .page("a/d/", None);
        assert!(page.result.objects.is_empty());
        assert_eq!(page.page_token.as_deref(), Some("u\na/d/"));
    }
}
