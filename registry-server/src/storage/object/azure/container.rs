//! A container, whether its names begin with a slash or not.
//!
//! Distribution 2 names an object `/docker/…`, version 3 and all other registries `docker/…`; to Azure these are two objects.
//! The form of a container is looked up before the first request that names an object, and remembered. When that lookup
//! fails, nothing is decided, and the next request looks it up again.
//! A container with both forms below one root is not served: half of the content would be missing, and only its owner knows
//! which half.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use object_store::azure::{MicrosoftAzure, MicrosoftAzureBuilder};
use object_store::client::{
    ClientOptions, HttpClient, HttpConnector, HttpError, HttpRequest, HttpResponse, HttpService,
    ReqwestConnector,
};
use object_store::list::{PaginatedListOptions, PaginatedListResult, PaginatedListStore};
use object_store::path::Path;
use object_store::signer::Signer;
use object_store::{
    CopyMode, CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

use super::calls::AzureCalls;
use super::options::AzureOptions;
use crate::storage::object::classify::{self, TwoTrees};
use crate::storage::object::client::{Certificates, StoreError, Timeouts, prefix};

/// How many objects are removed in parallel.
const REMOVED_AT_ONCE: usize = 16;

/// The form of a container's names.
pub(super) struct Names {
    asks: MicrosoftAzure,
    pub(super) prefix: String,
    slash: OnceLock<bool>,
}

impl Names {
    pub(super) fn new(asks: MicrosoftAzure, root: &str) -> Self {
        Self {
            asks,
            prefix: prefix(root),
            slash: OnceLock::new(),
        }
    }

    /// Whether names begin with a slash. Concurrent calls do not wait for each other: in a line, each would wait for a store
    /// that does not answer the one before.
    pub(super) async fn slash(&self) -> Result<bool> {
        if let Some(slash) = self.slash.get() {
            return Ok(*slash);
        }
        let prefix = &self.prefix;
        let slash = self.any(&format!("/{prefix}docker/")).await?;
        if slash && self.any(&format!("{prefix}docker/registry/v2/")).await? {
            return Err(Error::Generic {
                store: "Azure",
                source: Box::new(TwoTrees {
                    prefix: prefix.clone(),
                }),
            });
        }
        Ok(*self.slash.get_or_init(|| slash))
    }

    /// Whether any name begins with this prefix.
    async fn any(&self, prefix: &str) -> Result<bool> {
        let mut options = PaginatedListOptions {
            max_keys: Some(1),
            ..PaginatedListOptions::default()
        };
        loop {
            let page = self.asks.list_paginated(Some(prefix), options.clone()).await?;
            if !page.result.objects.is_empty() {
                return Ok(true);
            }
            // An empty page need not be the last one.
            match page.page_token {
                Some(token) => options.page_token = Some(token),
                None => return Ok(false),
            }
        }
    }
}

/// A container.
pub(super) struct Container {
    plain: MicrosoftAzure,
    slashed: MicrosoftAzure,
    pub(super) calls: Arc<AzureCalls>,
    pub(super) names: Arc<Names>,
}

impl Container {
    pub(super) fn new(
        options: &AzureOptions,
        builder: &MicrosoftAzureBuilder,
        timeouts: Timeouts,
        certificates: &Certificates,
        plain: MicrosoftAzure,
        names: Arc<Names>,
    ) -> Result<Self, StoreError> {
        // The container as a part of the address leaves an empty component before each name: the slash.
        let slashed = builder
            .clone()
            .with_endpoint(format!("{}/{}", options.address(), options.container))
            .with_container_name("")
            .with_http_connector(Delegating);
        Ok(Self {
            slashed: options.client(slashed, timeouts, certificates)?,
            calls: Arc::new(AzureCalls::new(options, timeouts, certificates, &plain)?),
            plain,
            names,
        })
    }

    /// The client for requests that name an object.
    pub(super) async fn named(&self) -> Result<&MicrosoftAzure> {
        match self.names.slash().await? {
            true => Ok(&self.slashed),
            false => Ok(&self.plain),
        }
    }
}

/// Whether a write met an append blob.
pub(super) fn is_append_blob(error: &Error) -> bool {
    classify::says(error, &["InvalidBlobType"])
}

impl fmt::Debug for Container {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Container")
            .field("prefix", &self.names.prefix)
            .field("slash", &self.names.slash.get())
            .finish_non_exhaustive()
    }
}

impl fmt::Display for Container {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.plain.fmt(f)
    }
}

#[async_trait]
impl ObjectStore for Container {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let unconditional = options.mode == PutMode::Overwrite;
        let written = self
            .named()
            .await?
            .put_opts(location, payload.clone(), options)
            .await;
        match written {
            Err(error) if unconditional && is_append_blob(&error) => {
                self.put_over_append_blob(location, payload).await
            }
            written => written,
        }
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.named().await?.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.named().await?.get_opts(location, options).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let (calls, names) = (Arc::clone(&self.calls), Arc::clone(&self.names));
        locations
            .map(move |location| {
                let (calls, names) = (Arc::clone(&calls), Arc::clone(&names));
                async move {
                    let location = location?;
                    calls.remove(&location, names.slash().await?).await?;
                    Ok(location)
                }
            })
            .buffered(REMOVED_AT_ONCE)
            .boxed()
    }

    /// Lists names without a slash alone. The driver does not use it: it lists by pages.
    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.plain.list(prefix)
    }

    /// Lists names without a slash alone. The driver does not use it: it lists by pages.
    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.plain.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        let unconditional = options.mode == CopyMode::Overwrite;
        match self.named().await?.copy_opts(from, to, options).await {
            Err(error) if unconditional && is_append_blob(&error) => {
                self.copy_over_append_blob(from, to).await
            }
            copied => copied,
        }
    }
}

#[async_trait]
impl PaginatedListStore for Container {
    async fn list_paginated(
        &self,
        prefix: Option<&str>,
        options: PaginatedListOptions,
    ) -> Result<PaginatedListResult> {
        let slash = match self.names.slash().await? {
            true => "/",
            false => "",
        };
        let prefix = format!("{slash}{}", prefix.unwrap_or_default());
        self.plain.list_paginated(Some(&prefix), options).await
    }
}

#[async_trait]
impl Signer for Container {
    async fn signed_url(
        &self,
        method: http::Method,
        path: &Path,
        expires_in: Duration,
    ) -> Result<reqwest::Url> {
        self.named().await?.signed_url(method, path, expires_in).await
    }
}

/// Makes the HTTP client for the library's client whose address ends in the container. That client would send one request for
/// the account, the one for a user delegation key, to the container.
#[derive(Debug)]
struct Delegating;

impl HttpConnector for Delegating {
    fn connect(&self, options: &ClientOptions) -> Result<HttpClient> {
        let client = ReqwestConnector::default().connect(options)?;
        Ok(HttpClient::new(Delegated(client)))
    }
}

#[derive(Debug)]
struct Delegated(HttpClient);

#[async_trait]
impl HttpService for Delegated {
    async fn call(&self, mut request: HttpRequest) -> Result<HttpResponse, HttpError> {
        if let Some(account) = of_account(request.uri()) {
            *request.uri_mut() = account;
        }
        self.0.execute(request).await
    }
}

/// The account's address for a request for a user delegation key.
fn of_account(uri: &http::Uri) -> Option<http::Uri> {
    let query = uri.query()?;
    if !query.split('&').any(|pair| pair == "comp=userdelegationkey") {
        return None;
    }
    let (account, _container) = uri.path().trim_end_matches('/').rsplit_once('/')?;
    let account = if account.is_empty() { "/" } else { account };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(format!("{account}?{query}").parse().ok()?);
    http::Uri::from_parts(parts).ok()
}
