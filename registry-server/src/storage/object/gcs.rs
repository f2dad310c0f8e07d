//! Google Cloud Storage: the options of `storage.gcs`, and the client of a bucket.
//!
//! Reads, removals and signed URLs use the library, which speaks Google's XML protocol. Writes, copies and lists use the JSON
//! protocol (`json`), which has conditions on generations, composes objects and copies any size. The parts of an upload are
//! objects of their own (`parts`), because one of Google's upload sessions can only be continued with knowledge of its
//! progress.
//! The generation tells versions of an object apart. Both protocols have it, while they spell hashes differently.

mod json;
mod parts;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use object_store::gcp::{GoogleCloudStorage, GoogleCloudStorageBuilder};
use object_store::list::{PaginatedListOptions, PaginatedListResult, PaginatedListStore};
use object_store::path::Path;
use object_store::signer::{SignedUrlOptions, Signer};
use object_store::{
    CopyMode, CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, ObjectStoreExt as _, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult,
    Result,
};
use serde::{Deserialize, Serialize};

use super::classify::{self, ErrorClassifier};
use super::client::{Certificates, LONG, QUICK, StoreError, Timeouts, header, prefix};
use super::conditional_writes::ConditionalWrites;
use super::last_seen::LastSeen;
use super::part_size;
use super::store::{Clients, Object, Store, Vendor};
use crate::storage::StoreHealth;
use json::JsonCalls;

/// The section of the configuration.
const SECTION: &str = "storage.gcs";

/// The suffix of Google's addresses.
const UNIVERSE: &str = "googleapis.com";

/// How many objects are removed in parallel.
const REMOVED_AT_ONCE: usize = 16;

/// The options of `storage.gcs`.
#[derive(Debug, Clone, Default)]
pub struct GcsOptions {
    /// The bucket.
    pub bucket: String,
    /// The store's address when it is not Google's.
    pub endpoint: Option<String>,
    /// The credentials.
    pub credentials: GcsCredentials,
    /// Prefix of all object names.
    pub root: String,
    /// Size of the first parts of an upload, in bytes.
    pub part_size: Option<u64>,
    /// A PEM file of CA certificates that are trusted in addition to the system's.
    pub ca_file: Option<PathBuf>,
    /// The `User-Agent` of requests to the store.
    pub user_agent: Option<String>,
    /// Whether clients are redirected to the store for blobs.
    pub redirect: bool,
}

/// The credentials for Google. `Debug` does not print them.
#[derive(Clone, Default)]
pub enum GcsCredentials {
    /// Those of the environment or the machine.
    #[default]
    Found,
    /// A file with a service account's key.
    KeyFile(PathBuf),
    /// The content of such a key file.
    Key(ServiceAccount),
}

impl fmt::Debug for GcsCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GcsCredentials(..)")
    }
}

/// The parts of a service account's key file that are used.
#[derive(Clone, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct ServiceAccount {
    /// The account.
    pub client_email: String,
    /// Its key, in PEM.
    pub private_key: String,
    /// The key's id.
    pub private_key_id: String,
    /// Suffix of Google's addresses, when it is not `googleapis.com`.
    #[serde(skip_serializing)]
    pub universe_domain: String,
}

impl ServiceAccount {
    fn read(path: &FilePath) -> Result<Self, StoreError> {
        let wrong = |lacks| StoreError::Key {
            path: path.to_owned(),
            lacks,
        };
        let text = crate::files::text::read(path).map_err(|source| StoreError::KeyFile {
            path: path.to_owned(),
            source,
        })?;
        let account: Self =
            serde_json::from_str(&text).map_err(|_| wrong("it is not a JSON object of texts"))?;
        if account.client_email.is_empty() {
            return Err(wrong("it has no `client_email`"));
        }
        if account.private_key.is_empty() {
            return Err(wrong("it has no `private_key`"));
        }
        Ok(account)
    }
}

impl Object {
    /// The store in a bucket. No request is sent yet. Failures are reported to `store_health`.
    ///
    /// # Errors
    /// The options are invalid, or the key or the certificates cannot be read.
    pub fn gcs(options: &GcsOptions, store_health: StoreHealth) -> Result<Self, StoreError> {
        let certificates = Certificates::read("storage.gcs.cacert", options.ca_file.as_deref())?;
        let account = options.account()?;
        let client = |timeouts| Gcs::new(options, account.as_ref(), timeouts, &certificates);
        let quick = Arc::new(client(QUICK)?);
        let long = Arc::new(client(LONG)?);
        Ok(Self {
            name: "gcs",
            clients: Clients {
                quick: quick.clone(),
                long: long.clone(),
                write: long,
                small_write: quick.clone(),
            },
            prefix: prefix(&options.root),
            classifier: ErrorClassifier {
                store: format!("gcs {}", options.bucket).into(),
                store_health,
                seen: LastSeen::default(),
            },
            part: options.part_size.unwrap_or(part_size::PART),
            conditional_writes: ConditionalWrites::default(),
            vendor: Vendor::Gcs,
            redirects: options.redirect.then_some(quick as Arc<dyn Store>),
        })
    }
}

impl GcsOptions {
    fn account(&self) -> Result<Option<ServiceAccount>, StoreError> {
        match &self.credentials {
            GcsCredentials::Found => Ok(None),
            GcsCredentials::KeyFile(path) => ServiceAccount::read(path).map(Some),
            GcsCredentials::Key(account) => Ok(Some(account.clone())),
        }
    }

    /// The store's address.
    fn address(&self, account: Option<&ServiceAccount>) -> String {
        if let Some(endpoint) = &self.endpoint {
            let endpoint = endpoint.trim_end_matches('/');
            return match endpoint.contains("://") {
                true => endpoint.to_owned(),
                false => format!("https://{endpoint}"),
            };
        }
        let universe = account.map(|account| account.universe_domain.as_str());
        let universe = universe.filter(|universe| !universe.is_empty());
        format!("https://storage.{}", universe.unwrap_or(UNIVERSE))
    }
}

/// The client of a bucket.
pub(super) struct Gcs {
    /// The library's client.
    xml: GoogleCloudStorage,
    json: JsonCalls,
    /// The prefix of every key.
    prefix: String,
}

impl Gcs {
    fn new(
        options: &GcsOptions,
        account: Option<&ServiceAccount>,
        timeouts: Timeouts,
        certificates: &Certificates,
    ) -> Result<Self, StoreError> {
        let failed = |source| StoreError::Options {
            section: SECTION,
            source,
        };
        let address = options.address(account);
        let mut client = certificates.trusted_by(timeouts.client(false)).map_err(failed)?;
        // HTTP/1 alone, as in the library: over one shared connection all requests would wait for a part.
        let mut http = timeouts.http(SECTION, false, certificates)?.http1_only();
        if let Some(agent) = &options.user_agent {
            let agent = header("storage.gcs.useragent", agent)?;
            client = client.with_user_agent(agent.clone());
            http = http.user_agent(agent);
        }
        let builder = match account {
            Some(account) => {
                let text = serde_json::to_string(account).map_err(|error| {
                    failed(Error::Generic {
                        store: "GCS",
                        source: Box::new(error),
                    })
                })?;
                GoogleCloudStorageBuilder::new().with_service_account_key(text)
            }
            // A file that the environment names, or the file of `gcloud`, or the machine's metadata. The library would read
            // more variables, which Google's own programs do not have.
            None => match std::env::var("GOOGLE_APPLICATION_CREDENTIALS") {
                Ok(path) if !path.is_empty() => {
                    GoogleCloudStorageBuilder::new().with_application_credentials(path)
                }
                _ => GoogleCloudStorageBuilder::new(),
            },
        };
        let xml = builder
            .with_bucket_name(&options.bucket)
            .with_base_url(&address)
            .with_retry(timeouts.retry())
            .with_client_options(client)
            .build()
            .map_err(failed)?;
        let http = http.build().map_err(|source| StoreError::Tls {
            section: SECTION,
            source,
        })?;
        Ok(Self {
            json: JsonCalls::new(
                http,
                Arc::clone(xml.credentials()),
                address,
                &options.bucket,
                timeouts,
            ),
            xml,
            prefix: prefix(&options.root),
        })
    }
}

/// Removes an object. A missing object is no error.
async fn remove(xml: GoogleCloudStorage, path: Path) -> Result<Path> {
    match xml.delete(&path).await {
        Err(error @ Error::NotFound { .. }) if classify::says(&error, &["NoSuchBucket"]) => Err(error),
        Ok(()) | Err(Error::NotFound { .. }) => Ok(path),
        Err(error) => Err(error),
    }
}

impl fmt::Debug for Gcs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gcs")
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for Gcs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.xml.fmt(f)
    }
}

#[async_trait]
impl ObjectStore for Gcs {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let generation = match &options.mode {
            PutMode::Overwrite => None,
            PutMode::Create => Some("0"),
            PutMode::Update(version) => {
                Some(version.version.as_deref().ok_or_else(|| Error::Precondition {
                    path: location.to_string(),
                    source: "a version without a generation is none of this store's".into(),
                })?)
            }
        };
        match self.json.put(location, payload, generation).await {
            Ok(generation) => Ok(PutResult {
                e_tag: None,
                version: Some(generation),
                extensions: Default::default(),
            }),
            Err(Error::Precondition { path, source }) if options.mode == PutMode::Create => {
                Err(Error::AlreadyExists { path, source })
            }
            Err(error) => Err(error),
        }
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.xml.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let mut found = self.xml.get_opts(location, options).await?;
        if found.meta.version.is_some() {
            found.meta.e_tag = None;
        }
        Ok(found)
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let xml = self.xml.clone();
        locations
            .map(move |location| {
                let xml = xml.clone();
                async move { remove(xml, location?).await }
            })
            .buffered(REMOVED_AT_ONCE)
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.xml.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.xml.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        let generation = match options.mode {
            CopyMode::Overwrite => None,
            CopyMode::Create => Some("0"),
        };
        match self.json.copy(from, to, generation).await {
            Err(Error::Precondition { path, source }) => Err(Error::AlreadyExists { path, source }),
            copied => copied,
        }
    }
}

#[async_trait]
impl PaginatedListStore for Gcs {
    async fn list_paginated(
        &self,
        prefix: Option<&str>,
        options: PaginatedListOptions,
    ) -> Result<PaginatedListResult> {
        self.json.list(prefix.unwrap_or_default(), options).await
    }
}

#[async_trait]
impl Signer for Gcs {
    async fn signed_url(
        &self,
        method: http::Method,
        path: &Path,
        expires_in: Duration,
    ) -> Result<reqwest::Url> {
        self.xml.signed_url(method, path, expires_in).await
    }

    async fn signed_url_opts(
        &self,
        method: http::Method,
        path: &Path,
        expires_in: Duration,
        options: &SignedUrlOptions,
    ) -> Result<reqwest::Url> {
        self.xml.signed_url_opts(method, path, expires_in, options).await
    }
}
