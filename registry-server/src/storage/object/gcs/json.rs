//! The calls of Google's JSON protocol. <https://cloud.google.com/storage/docs/json_api/v1>
//!
//! Each is tried again while its failure may pass. All of them may be: they say by name, and where it matters by
//! generation, what will be there. Only a conditional write whose answer got lost is left as it is, since a second
//! one would meet the first and take it for somebody else's.

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

use crate::storage::object::Patience;
use crate::storage::object::again::again;

/// How many objects one call puts together.
pub(super) const COMPOSED: usize = 32;

/// What every object is, as in distribution.
const KIND: &str = "application/octet-stream";

/// What stands in a path or a query as it is; a slash does not, since a name is one component.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

/// What is needed for the calls.
pub(super) struct Calls {
    http: reqwest::Client,
    credentials: GcpCredentialProvider,
    address: String,
    bucket: String,
    patience: Patience,
}

/// Why there is no answer that helps.
#[derive(Debug, thiserror::Error)]
enum Failure {
    // As the library's errors have it, since one place reads both.
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
    /// The object it is about, for errors.
    path: &'a str,
    /// Whether it may be sent again when nobody knows what became of it.
    again: bool,
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
    /// A number in a text, since numbers of JSON have 53 bits.
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

impl Calls {
    pub(super) fn new(
        http: reqwest::Client,
        credentials: GcpCredentialProvider,
        address: String,
        bucket: &str,
        patience: Patience,
    ) -> Self {
        Self {
            http,
            credentials,
            address,
            bucket: encoded(bucket),
            patience,
        }
    }

    fn object(&self, path: &Path) -> String {
        let (address, bucket) = (&self.address, &self.bucket);
        format!("{address}/storage/v1/b/{bucket}/o/{}", encoded(path.as_ref()))
    }

    /// Writes an object if it has this generation, or none for `0`; gives the one it has now.
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
            again: generation.is_none(),
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
                again: generation.is_none(),
            };
            let rewritten: Rewritten = self.ask(ask).await?;
            // Large objects that change their place or class are copied a piece at a time.
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

    /// Makes an object of up to [`COMPOSED`] others, in order.
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
            again: true,
        };
        self.ask::<Written>(ask).await.map(drop)
    }

    /// One page of what begins with a prefix.
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
            again: true,
        };
        let listed: Listed = match self.ask(ask).await {
            // A prefix below which nothing lies is an empty list. What is missing is the bucket.
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
        let may_pass = |failure: &Failure| match failure {
            Failure::Answer { status, .. } => matches!(status, 408 | 429 | 500..),
            Failure::Network(error) => ask.again || error.is_connect(),
            Failure::Unknown(_) | Failure::Token(_) => false,
        };
        let answer = again(self.patience, may_pass, || self.ask_once(&ask)).await;
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

/// Stands in our page tokens between Google's and the last name of the page.
const BEHIND: char = '\n';

impl Listed {
    /// What is listed behind a name.
    fn page(self, last: &str, offset: Option<&str>) -> PaginatedListResult {
        let mut prefixes = self.prefixes;
        // In order of names everything behind a page is later than all of it. Emulators repeat prefixes.
        prefixes.retain(|prefix| prefix.as_str() > last);
        prefixes.dedup();
        let names = self.items.iter().map(|item| &item.name);
        let newest = prefixes.iter().chain(names).max();
        let newest = newest.map_or(last, |name| name.as_str().max(last)).to_owned();
        // Names no registry has are none of ours.
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

/// The library's error for one of ours.
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
