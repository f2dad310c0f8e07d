//! The push and the pull of a tiny artifact, as a client does them.
//!
//! Guarantees: each request has a time limit; a password is only sent to an address that has named itself as this
//! Registry, over TLS under a certificate that clients accept; an artifact that may be removed is, also after a failure.
//! Must not: quote an answer, which may hold anything. Start at [`push_and_pull`].

mod artifact;

use std::net::SocketAddr;
use std::time::Duration;

use http::header::{ACCEPT, CONTENT_TYPE, LOCATION};
use http::{Method, StatusCode};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, RequestBuilder, Response, Url};
use tokio::net::lookup_host;

use super::address::{Address, host_and_port};
use super::ask::recognise;
use super::request::body;
use crate::fault::chain;
use crate::verify_plan::{Credentials, Hindrance};
use artifact::{Artifact, Blob, MANIFEST_TYPE};

/// Time limit of one request.
const TIMEOUT: Duration = Duration::from_secs(15);
/// The longest body that is read, in bytes. The artifact is smaller.
const BODY_MAX: usize = 4096;
/// The tag of the artifact.
const TAG: &str = "verify";

/// A push and a pull that should be made.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Question {
    pub(super) address: Address,
    /// CAs in PEM that clients are told to trust, in addition to the public ones.
    pub(super) cas: String,
    pub(super) repository: String,
    pub(super) credentials: Option<Credentials>,
    /// Whether the artifact can be removed again.
    pub(super) removable: bool,
    /// The value of the annotation that asked for it.
    pub(super) request: Option<String>,
    /// A hash of what is served.
    pub(super) served: String,
}

/// Pushes, pulls and removes the artifact.
pub(super) async fn push_and_pull(question: &Question) -> Result<(), Hindrance> {
    let session = Session::open(question).await?;
    session.log_in().await?;
    let artifact = Artifact::new();
    let result = session.exchange(&artifact).await;
    if !question.removable {
        return result;
    }
    let removed = session.remove(&artifact).await;
    // The first failure is the cause of the second.
    result.and(removed)
}

/// The requests of one verification.
struct Session<'a> {
    question: &'a Question,
    client: Client,
    root: Url,
}

/// A step of the verification, as the subject of a sentence.
#[derive(Clone, Copy)]
struct Step {
    reason: &'static str,
    what: &'static str,
}

const CONNECT: Step = Step {
    reason: "NoAnswer",
    what: "a request for `/v2/`",
};
const LOGIN: Step = Step {
    reason: "LoginFailed",
    what: "the login",
};
const PUSH: Step = Step {
    reason: "PushFailed",
    what: "a push",
};
const PULL: Step = Step {
    reason: "PullFailed",
    what: "a pull",
};
const REMOVAL: Step = Step {
    reason: "RemovalFailed",
    what: "the removal of the artifact",
};

impl<'a> Session<'a> {
    /// Prepares the requests to the first target of the address.
    async fn open(question: &'a Question) -> Result<Self, Hindrance> {
        let address = &question.address;
        let failed = |problem: &str| Hindrance {
            reason: CONNECT.reason,
            message: format!("`{}` {problem}", address.url),
        };
        let root = Url::parse(&address.url).map_err(|_| failed("is no URL"))?;
        let (host, port) = host_and_port(&root).ok_or_else(|| failed("has no host"))?;
        let target = address.targets.first().unwrap_or(&host);
        let lookup = tokio::time::timeout(TIMEOUT, lookup_host((target.as_str(), port))).await;
        let resolved = lookup.ok().and_then(Result::ok).and_then(|mut all| all.next());
        let resolved = resolved.ok_or_else(|| failed("is unknown to the DNS of the operator"))?;
        let client = client(&host, resolved, &question.cas).map_err(|_| Hindrance {
            reason: "CertificateNotTrusted",
            message: format!(
                "No CA is known by which the certificate of `{}` could be checked",
                address.url
            ),
        })?;
        Ok(Self {
            question,
            client,
            root,
        })
    }

    /// Sees that this Registry answers, and that it accepts the user.
    async fn log_in(&self) -> Result<(), Hindrance> {
        let url = self.url("")?;
        let first = self.send(self.client.get(url.clone()), CONNECT).await?;
        let host = self.root.host_str().unwrap_or_default();
        let subject = format!("`{}`", self.question.address.url);
        recognise(&first, &self.question.address, &subject, host).map_err(|failure| Hindrance {
            reason: failure.reason,
            message: failure.message,
        })?;
        let answer = self.send(self.request(Method::GET, url), LOGIN).await?;
        match (answer.status(), &self.question.credentials) {
            (StatusCode::OK, _) => Ok(()),
            (StatusCode::UNAUTHORIZED, None) => {
                Err(self.failed(LOGIN, "needs a user; name one in `spec.verify.secret`"))
            }
            (StatusCode::UNAUTHORIZED, Some(_)) => {
                Err(self.failed(LOGIN, "is refused; correct the user of `spec.verify.secret`"))
            }
            (status, _) => Err(self.wrong_status(LOGIN, status)),
        }
    }

    /// Pushes the artifact and compares it with what is pulled.
    async fn exchange(&self, artifact: &Artifact) -> Result<(), Hindrance> {
        for blob in &artifact.blobs {
            self.push_blob(blob).await?;
        }
        let by_tag = self.url(&format!("manifests/{TAG}"))?;
        let put = self.request(Method::PUT, by_tag.clone());
        let put = put
            .header(CONTENT_TYPE, MANIFEST_TYPE)
            .body(artifact.manifest.bytes.clone());
        self.expect(put, PUSH, StatusCode::CREATED).await?;

        let get = self.request(Method::GET, by_tag).header(ACCEPT, MANIFEST_TYPE);
        self.pull(get, &artifact.manifest).await?;
        for blob in &artifact.blobs {
            let url = self.url(&format!("blobs/{}", blob.digest))?;
            self.pull(self.request(Method::GET, url), blob).await?;
        }
        Ok(())
    }

    async fn push_blob(&self, blob: &Blob) -> Result<(), Hindrance> {
        let start = self.request(Method::POST, self.url("blobs/uploads/")?);
        let started = self.expect(start, PUSH, StatusCode::ACCEPTED).await?;
        let mut session = self.location(&started, PUSH)?;
        // The password goes nowhere else; nor does the push of a client that cannot reach that address.
        if session.origin() != self.root.origin() {
            let (from, to) = (&self.question.address.url, session.origin().ascii_serialization());
            return Err(Hindrance {
                reason: "WrongLocation",
                message: format!(
                    "A push to `{from}` is sent on to `{to}`; correct `spec.publicURL`, or the proxy's `X-Forwarded-*` headers"
                ),
            });
        }
        session.query_pairs_mut().append_pair("digest", &blob.digest);
        let put = self.request(Method::PUT, session);
        let put = put
            .header(CONTENT_TYPE, "application/octet-stream")
            .body(blob.bytes.clone());
        self.expect(put, PUSH, StatusCode::CREATED).await.map(drop)
    }

    /// Compares an answer with what was pushed. It may come from the object store.
    async fn pull(&self, request: RequestBuilder, pushed: &Blob) -> Result<(), Hindrance> {
        let mut answer = self.send(request, PULL).await?;
        if answer.status() == StatusCode::TEMPORARY_REDIRECT {
            let store = self.location(&answer, PULL)?;
            // Without the password: the URL is signed.
            answer = self.send(self.client.get(store), PULL).await?;
        }
        if answer.status() != StatusCode::OK {
            return Err(self.wrong_status(PULL, answer.status()));
        }
        match body(answer, BODY_MAX).await {
            Some(bytes) if bytes == pushed.bytes => Ok(()),
            _ => Err(self.failed(PULL, "gives other content than was pushed")),
        }
    }

    /// Removes what is there of the artifact.
    async fn remove(&self, artifact: &Artifact) -> Result<(), Hindrance> {
        let manifest = format!("manifests/{}", artifact.manifest.digest);
        let blobs = artifact.blobs.iter().map(|blob| format!("blobs/{}", blob.digest));
        let mut result = Ok(());
        for path in std::iter::once(manifest).chain(blobs) {
            let answer = self
                .send(self.request(Method::DELETE, self.url(&path)?), REMOVAL)
                .await;
            let removed = answer.and_then(|answer| match answer.status() {
                StatusCode::ACCEPTED | StatusCode::NOT_FOUND => Ok(()),
                status => Err(self.wrong_status(REMOVAL, status)),
            });
            result = result.and(removed);
        }
        result
    }

    /// A URL below `/v2/`, in the repository unless `path` is empty.
    fn url(&self, path: &str) -> Result<Url, Hindrance> {
        let path = match path {
            "" => "/v2/".to_owned(),
            path => format!("/v2/{}/{path}", self.question.repository),
        };
        self.root
            .join(&path)
            .map_err(|_| self.failed(CONNECT, "has no URL"))
    }

    /// The URL in the header `Location`.
    fn location(&self, answer: &Response, step: Step) -> Result<Url, Hindrance> {
        let location = answer
            .headers()
            .get(LOCATION)
            .and_then(|value| value.to_str().ok());
        let url = location.and_then(|location| answer.url().join(location).ok());
        url.ok_or_else(|| self.failed(step, "is answered without the header `Location`"))
    }

    fn request(&self, method: Method, url: Url) -> RequestBuilder {
        let request = self.client.request(method, url);
        match &self.question.credentials {
            Some(user) => request.basic_auth(&user.username, Some(&user.password)),
            None => request,
        }
    }

    async fn expect(
        &self,
        request: RequestBuilder,
        step: Step,
        expected: StatusCode,
    ) -> Result<Response, Hindrance> {
        let answer = self.send(request, step).await?;
        match answer.status() == expected {
            true => Ok(answer),
            false => Err(self.wrong_status(step, answer.status())),
        }
    }

    async fn send(&self, request: RequestBuilder, step: Step) -> Result<Response, Hindrance> {
        request.send().await.map_err(|error| {
            // The error's text is only looked at: it changes from time to time, and may name addresses.
            match chain(&error).contains("certificate") {
                true => Hindrance {
                    reason: "CertificateNotTrusted",
                    message: format!(
                        "Clients do not accept the certificate of `{}`: it must be valid, name the host, and be signed by a \
                         public CA or by one in `ca.crt` of its Secret",
                        self.question.address.url
                    ),
                },
                false if error.is_timeout() => self.failed(step, "is not answered in time"),
                false => self.failed(step, "is not answered"),
            }
        })
    }

    fn wrong_status(&self, step: Step, status: StatusCode) -> Hindrance {
        let problem = match status {
            StatusCode::PAYLOAD_TOO_LARGE => {
                "is answered 413: a proxy limits the size of a body; raise the limit".to_owned()
            }
            StatusCode::FORBIDDEN => {
                "is answered 403: the user may not do it, or a proxy refuses it".to_owned()
            }
            status => format!("is answered {}; the server's log tells why", status.as_u16()),
        };
        self.failed(step, &problem)
    }

    fn failed(&self, step: Step, problem: &str) -> Hindrance {
        let Step { reason, what } = step;
        let url = &self.question.address.url;
        Hindrance {
            reason,
            message: format!("At `{url}` {what} {problem}"),
        }
    }
}

/// A client that trusts what other clients trust, and for which `host` is at `resolved`.
fn client(host: &str, resolved: SocketAddr, cas: &str) -> Result<Client, reqwest::Error> {
    Client::builder()
        .timeout(TIMEOUT)
        .redirect(Policy::none())
        .no_proxy()
        .http1_only()
        .tls_certs_merge(Certificate::from_pem_bundle(cas.as_bytes())?)
        .resolve(host, resolved)
        .build()
}

#[cfg(test)]
mod tests;
