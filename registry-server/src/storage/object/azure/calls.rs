//! What is said to Azure without the library: the removal of one object, and that one is young.
//!
//! The library removes by batches alone, which cannot name an object with a slash before its name. A request for each
//! does as well for all: several are under way at once. Each is signed by the library, with whatever it is signed by.

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

use super::{AzureOptions, Certificates, Patience, StoreError, failed};
use crate::storage::object::again::again;

/// What is needed for the calls.
pub(super) struct Calls {
    http: HttpClient,
    credentials: AzureCredentialProvider,
    account: String,
    container: Url,
    patience: Patience,
}

/// Why there is no answer that helps.
#[derive(Debug, thiserror::Error)]
enum Failure {
    // As the library's errors have it, since one place reads both.
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
    fn may_pass(&self) -> bool {
        match self {
            Self::Answer { status, .. } => matches!(status.as_u16(), 408 | 429 | 500..),
            Self::Network(_) => true,
            Self::Request(_) | Self::Signature(_) => false,
        }
    }

    /// The library's error for one of ours.
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

impl Calls {
    pub(super) fn new(
        options: &AzureOptions,
        patience: Patience,
        certificates: &Certificates,
        plain: &MicrosoftAzure,
    ) -> Result<Self, StoreError> {
        let patience = options.patience(patience);
        let client = certificates
            .believed_by(patience.client(options.skip_verify))
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
            patience,
        })
    }

    /// Removes what may be there or not.
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

    /// Makes an object as young as one that was just written, of whatever kind it is; gives its version. By setting its
    /// metadata, of which no registry's has any.
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

    /// Sends a request that may be sent any number of times; again while it fails in a way that may pass.
    async fn ask(&self, method: Method, url: &str) -> Result<Parts, Failure> {
        again(self.patience, Failure::may_pass, || {
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
