//! Google Cloud Storage: the options of `storage.gcs`, and the bucket as a [`Store`](super::Store).
//!
//! What the library says in Google's XML protocol is read with it: objects and their removal, signed URLs. What
//! changes or lists something is said in the JSON protocol (`json`), which has conditions on generations, puts objects
//! together and copies any size. Uploads in parts are objects of our own (`parts`): Google's sessions can only be gone
//! on with by whoever knows how far they are.
//! What tells versions of an object apart is its generation; both protocols tell it, and spell hashes differently.

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

use super::bucket::Seen;
use super::classify::{self, ErrorClassifier};
use super::{
    Certificates, Clients, Conditions, LONG, Object, Patience, QUICK, StoreError, Vendor, header, prefix,
    schedule,
};
use crate::storage::StoreHealth;
use json::Calls;

/// The section of the configuration.
const SECTION: &str = "storage.gcs";

/// Where Google's own addresses end.
const UNIVERSE: &str = "googleapis.com";

/// How many objects are removed at once.
const REMOVED_AT_ONCE: usize = 16;

/// How a bucket is reached (`storage.gcs`).
#[derive(Debug, Clone, Default)]
pub struct GcsOptions {
    /// The bucket.
    pub bucket: String,
    /// The store's address when it is not Google's.
    pub endpoint: Option<String>,
    /// Who we are.
    pub credentials: GcsCredentials,
    /// What every name begins with.
    pub root: String,
    /// Size of the first parts of an upload, in bytes.
    pub part_size: Option<u64>,
    /// A file of certificates that are believed beside the system's.
    pub ca_file: Option<PathBuf>,
    /// What we call ourselves.
    pub user_agent: Option<String>,
    /// Whether clients are sent to the store for blobs.
    pub redirect: bool,
}

/// Who we are to Google. Prints nothing of itself.
#[derive(Clone, Default)]
pub enum GcsCredentials {
    /// What the environment or the machine says.
    #[default]
    Found,
    /// A file with a service account's key.
    KeyFile(PathBuf),
    /// What would stand in such a file.
    Key(ServiceAccount),
}

impl fmt::Debug for GcsCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GcsCredentials(..)")
    }
}

/// What counts of a service account's key file.
#[derive(Clone, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct ServiceAccount {
    /// The account.
    pub client_email: String,
    /// Its key, in PEM.
    pub private_key: String,
    /// The key's id.
    pub private_key_id: String,
    /// Where Google's addresses end, when not in `googleapis.com`.
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
    /// The store in a bucket. Nothing is sent yet. What keeps it from answering is noted in `trouble`.
    ///
    /// # Errors
    /// When the options make no sense, or the key or the certificates cannot be read.
    pub fn gcs(options: &GcsOptions, store_health: StoreHealth) -> Result<Self, StoreError> {
        let certificates = Certificates::read("storage.gcs.cacert", options.ca_file.as_deref())?;
        let account = options.account()?;
        let client = |patience| Gcs::new(options, account.as_ref(), patience, &certificates);
        let quick = Arc::new(client(QUICK)?);
        let long = Arc::new(client(LONG)?);
        Ok(Self {
            name: "gcs",
            clients: Clients {
                quick: quick.clone(),
                long: long.clone(),
                write: long,
                jot: quick.clone(),
            },
            prefix: prefix(&options.root),
            classifier: ErrorClassifier {
                store: format!("gcs {}", options.bucket).into(),
                store_health,
                seen: Seen::default(),
            },
            part: options.part_size.unwrap_or(schedule::PART),
            conditions: Conditions::default(),
            vendor: Vendor::Gcs,
            redirects: options.redirect.then_some(quick as Arc<dyn super::Store>),
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

    /// Where the store is.
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

/// A bucket.
pub(super) struct Gcs {
    /// The library's.
    xml: GoogleCloudStorage,
    json: Calls,
    /// What stands before every key.
    prefix: String,
}

impl Gcs {
    fn new(
        options: &GcsOptions,
        account: Option<&ServiceAccount>,
        patience: Patience,
        certificates: &Certificates,
    ) -> Result<Self, StoreError> {
        let failed = |source| StoreError::Options {
            section: SECTION,
            source,
        };
        let address = options.address(account);
        let mut client = certificates.believed_by(patience.client(false)).map_err(failed)?;
        // The library's reason: over one connection everybody waits for whoever moves a part.
        let mut http = patience.http(SECTION, false, certificates)?.http1_only();
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
            // A file the environment names, or `gcloud` left, or what the machine's metadata say. The library would
            // read more variables, which Google's own programs do not know.
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
            .with_retry(patience.retry())
            .with_client_options(client)
            .build()
            .map_err(failed)?;
        let http = http.build().map_err(|source| StoreError::Tls {
            section: SECTION,
            source,
        })?;
        Ok(Self {
            json: Calls::new(
                http,
                Arc::clone(xml.credentials()),
                address,
                &options.bucket,
                patience,
            ),
            xml,
            prefix: prefix(&options.root),
        })
    }
}

/// Removes what may be there or not.
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
