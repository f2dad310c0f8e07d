//! AzureCalls of Azure that the library does not have: to remove one object, and to touch one.
//!
//! The library removes objects by batch requests, which cannot name an object with a slash before its name. One request for
//! each object works for all names, several at once. The library signs each request with the account's credentials.

use http::header::{CONTENT_LENGTH, ETAG};
use http::response::Parts;
use http::{Method, StatusCode};
use object_store::azure::{AzureAuthorizer, AzureCredentialProvider, MicrosoftAzure};
use object_store::client::{
    HttpClient, HttpConnector as _, HttpError, HttpRequest, HttpRequestBody, ReqwestConnector,
};
use object_store::path::Path;
use object_store::{Error, Result};
use reqwest::Url;

use super::options::{AzureOptions, failed};
use crate::storage::object::client::{Certificates, StoreError, Timeouts};
use crate::storage::object::retry::retry;

/// Makes the calls.
pub(super) struct AzureCalls {
    http: HttpClient,
    credentials: AzureCredentialProvider,
    account: String,
    container: Url,
    timeouts: Timeouts,
}

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
enum Failure {
    // The same text as in the library's errors, since `classify` reads both.
    #[error("status code: {status}: {text}")]
    Answer { status: StatusCode, text: String },
    #[error("the request failed")]
    Network(#[source] HttpError),
    #[error("the request cannot be made")]
    Request(#[source] http::Error),
    #[error("the request cannot be signed")]
    Signature(#[source] Error),
}

impl Failure {
    fn is_temporary(&self) -> bool {
        match self {
            Self::Answer { status, .. } => matches!(status.as_u16(), 408 | 429 | 500..),
            Self::Network(_) => true,
            Self::Request(_) | Self::Signature(_) => false,
        }
    }

    /// The library's error for this failure.
    fn of_the_library(self) -> Error {
        match self {
            Self::Signature(error) => error,
            failure => Error::Generic {
                store: "Azure",
                source: Box::new(failure),
            },
        }
    }
}

impl AzureCalls {
    pub(super) fn new(
        options: &AzureOptions,
        timeouts: Timeouts,
        certificates: &Certificates,
        plain: &MicrosoftAzure,
    ) -> Result<Self, StoreError> {
        let timeouts = options.timeouts(timeouts);
        let client = certificates
            .trusted_by(timeouts.client(options.skip_verify))
            .map_err(failed)?;
        let address = format!("{}/{}", options.address(), options.container);
        let container = Url::parse(&address).map_err(|source| {
            failed(Error::Generic {
                store: "Azure",
                source: Box::new(source),
            })
        })?;
        Ok(Self {
            http: ReqwestConnector::default().connect(&client).map_err(failed)?,
            credentials: plain.credentials().clone(),
            account: options.account.clone(),
            container,
            timeouts,
        })
    }

    /// Removes an object. A missing object is no error.
    /// <https://learn.microsoft.com/en-us/rest/api/storageservices/delete-blob>
    pub(super) async fn remove(&self, path: &Path, slash: bool) -> Result<()> {
        match self.ask(Method::DELETE, &self.url(path, slash)).await {
            Err(Failure::Answer { status, text })
                if status == StatusCode::NOT_FOUND && !text.contains("ContainerNotFound") =>
            {
                Ok(())
            }
            answered => answered.map(drop).map_err(Failure::of_the_library),
        }
    }

    /// Touches an object, whatever its blob type, by setting its metadata, which no registry uses. Gives its version.
    /// <https://learn.microsoft.com/en-us/rest/api/storageservices/set-blob-metadata>
    pub(super) async fn touch(&self, path: &Path, slash: bool) -> Result<Option<String>> {
        let url = format!("{}?comp=metadata", self.url(path, slash));
        let answer = self
            .ask(Method::PUT, &url)
            .await
            .map_err(Failure::of_the_library)?;
        let version = answer.headers.get(ETAG).and_then(|version| version.to_str().ok());
        Ok(version.map(str::to_owned))
    }

    fn url(&self, path: &Path, slash: bool) -> String {
        let mut url = self.container.clone();
        if let Ok(mut components) = url.path_segments_mut() {
            components.extend(slash.then_some(""));
            components.extend(path.parts());
        }
        url.into()
    }

    /// Sends an idempotent request, and retries it while it fails for a temporary reason.
    async fn ask(&self, method: Method, url: &str) -> Result<Parts, Failure> {
        retry(self.timeouts, Failure::is_temporary, || {
            self.ask_once(method.clone(), url)
        })
        .await
    }

    async fn ask_once(&self, method: Method, url: &str) -> Result<Parts, Failure> {
        let credential = self.credentials.get_credential().await;
        let credential = credential.map_err(Failure::Signature)?;
        let mut request: HttpRequest = http::Request::builder()
            .method(method)
            .uri(url)
            .header(CONTENT_LENGTH, 0)
            .body(HttpRequestBody::empty())
            .map_err(Failure::Request)?;
        AzureAuthorizer::new(&credential, &self.account)
            .try_authorize(&mut request)
            .map_err(Failure::Signature)?;
        let answer = self.http.execute(request).await.map_err(Failure::Network)?;
        let (head, body) = answer.into_parts();
        if head.status.is_success() {
            return Ok(head);
        }
        let text = body.bytes().await.map_err(Failure::Network)?;
        Err(Failure::Answer {
            status: head.status,
            text: String::from_utf8_lossy(&text).into_owned(),
        })
    }
}
