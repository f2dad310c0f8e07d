//! A client of the upload protocol, for cases that stop a client in the middle of a request.
//!
//! docker, crane and skopeo always finish or retry. Only a client that controls every byte shows what a dying client
//! leaves behind. OCI distribution 1.1, "Pushing a blob in chunks".
//!
//! Start at [`Repository`].

use std::cell::Cell;

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use futures_util::stream;
use reqwest::header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, LOCATION, RANGE};
use reqwest::{Body, Client, RequestBuilder, Response, StatusCode, Url};
use sha2::{Digest, Sha256};

/// The number of bytes that are given to the connection at a time.
const FRAME: usize = 64 * 1024;

/// A client of one repository of one registry.
#[derive(Clone)]
pub struct Repository {
    client: Client,
    base: Url,
    name: String,
    login: Option<(String, String)>,
}

/// The state of an upload session.
#[derive(Debug, Clone)]
pub struct Session {
    /// The URL of the next request. It carries the `_state` token.
    pub location: Url,
    /// The number of bytes the registry reports.
    pub received: usize,
}

impl Repository {
    /// A client of a repository below `base`, for example `https://registry.example/`.
    pub fn new(client: Client, base: Url, name: &str, login: Option<(String, String)>) -> Self {
        Self {
            client,
            base,
            name: name.to_owned(),
            login,
        }
    }

    /// Starts an upload session.
    ///
    /// # Errors
    /// The registry cannot be reached, or does not answer 202 with a `Location`.
    pub async fn start(&self) -> Result<Session> {
        let url = self.base.join(&format!("v2/{}/blobs/uploads/", self.name))?;
        let answer = self
            .login(self.client.post(url))
            .header(CONTENT_LENGTH, 0)
            .send()
            .await?;
        expect(&answer, StatusCode::ACCEPTED)?;
        Ok(Session {
            location: self.location(&answer)?,
            received: 0,
        })
    }

    /// Appends `bytes`, which begin at the session's offset.
    ///
    /// # Errors
    /// The connection ends early, or the answer is not 202.
    pub async fn append(&self, session: &Session, bytes: Bytes) -> Result<Session> {
        let end = session.received + bytes.len();
        let range = format!("{}-{}", session.received, end - 1);
        let answer = self
            .login(self.client.patch(session.location.clone()))
            .header(CONTENT_TYPE, "application/octet-stream")
            .header(CONTENT_RANGE, range)
            .header(CONTENT_LENGTH, bytes.len())
            .body(bytes)
            .send()
            .await?;
        expect(&answer, StatusCode::ACCEPTED)?;
        Ok(Session {
            location: self.location(&answer)?,
            received: received(&answer)?,
        })
    }

    /// Announces all of `bytes`, sends the first `limit`, then runs `interrupt` while the connection is open.
    ///
    /// # Errors
    /// The registry answered or closed the connection before it was interrupted, or `interrupt` failed.
    pub async fn append_interrupted<F>(
        &self,
        session: &Session,
        bytes: Bytes,
        limit: usize,
        interrupt: F,
    ) -> Result<()>
    where
        F: Future<Output = Result<()>>,
    {
        let (taken, all_taken) = tokio::sync::oneshot::channel();
        let whole = bytes.len();
        let frames = stream::unfold(
            (bytes.slice(..limit), Some(taken)),
            |(mut rest, mut taken)| async move {
                if rest.is_empty() {
                    // The connection asks for more, so everything before has been given to the socket.
                    if let Some(taken) = taken.take() {
                        let _ = taken.send(());
                    }
                    std::future::pending::<()>().await;
                }
                let frame = rest.split_to(rest.len().min(FRAME));
                Some((Ok::<_, std::io::Error>(frame), (rest, taken)))
            },
        );
        let request = self
            .login(self.client.patch(session.location.clone()))
            .header(CONTENT_TYPE, "application/octet-stream")
            .header(CONTENT_LENGTH, whole)
            .body(Body::wrap_stream(frames))
            .send();
        let begun = Cell::new(false);
        let interrupted = async {
            all_taken
                .await
                .context("the request ended before its body was sent")?;
            begun.set(true);
            interrupt.await
        };
        tokio::pin!(request, interrupted);
        tokio::select! {
            answer = &mut request => match answer {
                Ok(answer) => bail!("an unfinished PATCH was answered {}", answer.status()),
                // The connection ends before `interrupt` has noticed that the server is gone.
                Err(_) if begun.get() => interrupted.await,
                Err(error) => bail!("the PATCH ended before it was interrupted: {error}"),
            },
            done = &mut interrupted => done,
        }
    }

    /// Asks how many bytes a session has.
    ///
    /// # Errors
    /// The answer is not 204 with a `Range`.
    pub async fn status(&self, session: &Session) -> Result<Session> {
        let answer = self
            .login(self.client.get(session.location.clone()))
            .send()
            .await?;
        expect(&answer, StatusCode::NO_CONTENT)?;
        Ok(Session {
            location: self.location(&answer)?,
            received: received(&answer)?,
        })
    }

    /// Ends the session: its bytes become the blob `digest`.
    ///
    /// # Errors
    /// The answer is not 201.
    pub async fn finish(&self, session: &Session, digest: &str) -> Result<()> {
        self.finish_with(session, digest, Bytes::new()).await
    }

    /// Appends `rest` and ends the session.
    ///
    /// # Errors
    /// The answer is not 201.
    pub async fn finish_with(&self, session: &Session, digest: &str, rest: Bytes) -> Result<()> {
        let mut url = session.location.clone();
        url.query_pairs_mut().append_pair("digest", digest);
        let answer = self
            .login(self.client.put(url))
            .header(CONTENT_TYPE, "application/octet-stream")
            .header(CONTENT_LENGTH, rest.len())
            .body(rest)
            .send()
            .await?;
        expect(&answer, StatusCode::CREATED)
    }

    /// Asks whether the repository has a blob.
    ///
    /// # Errors
    /// The answer is not 200.
    pub async fn is_known(&self, digest: &str) -> Result<()> {
        let url = self.base.join(&format!("v2/{}/blobs/{digest}", self.name))?;
        let answer = self.login(self.client.head(url)).send().await?;
        expect(&answer, StatusCode::OK)
    }

    /// Reads a whole blob.
    ///
    /// # Errors
    /// The answer is not 200 or ends early.
    pub async fn blob(&self, digest: &str) -> Result<Bytes> {
        let url = self.base.join(&format!("v2/{}/blobs/{digest}", self.name))?;
        let answer = self.login(self.client.get(url)).send().await?;
        expect(&answer, StatusCode::OK)?;
        Ok(answer.bytes().await?)
    }

    fn login(&self, request: RequestBuilder) -> RequestBuilder {
        match &self.login {
            Some((user, password)) => request.basic_auth(user, Some(password)),
            None => request,
        }
    }

    fn location(&self, answer: &Response) -> Result<Url> {
        let text = answer
            .headers()
            .get(LOCATION)
            .context("no `Location`")?
            .to_str()?;
        Ok(self.base.join(text)?)
    }
}

/// The digest of `bytes`, `sha256:…`.
pub fn digest(bytes: &[u8]) -> String {
    let hash = Sha256::digest(bytes);
    hash.iter()
        .fold("sha256:".to_owned(), |text, byte| text + &format!("{byte:02x}"))
}

/// Random bytes that do not compress. The same seed gives the same bytes (xorshift64*).
pub fn noise(seed: u64, length: usize) -> Bytes {
    let mut state = seed | 1;
    let mut out = Vec::with_capacity(length + 8);
    while out.len() < length {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        out.extend_from_slice(&state.wrapping_mul(0x2545_F491_4F6C_DD1D).to_le_bytes());
    }
    out.truncate(length);
    out.into()
}

fn expect(answer: &Response, status: StatusCode) -> Result<()> {
    ensure!(
        answer.status() == status,
        "{}: expected {status}, got {}",
        answer.url().path(),
        answer.status()
    );
    Ok(())
}

/// The length that `Range: 0-<last>` states. Distribution writes both zero bytes and one byte as `0-0`, so a caller
/// must not rely on the difference.
fn received(answer: &Response) -> Result<usize> {
    let text = answer.headers().get(RANGE).context("no `Range`")?.to_str()?;
    let last = text
        .strip_prefix("0-")
        .with_context(|| format!("`Range: {text}` does not begin at 0"))?;
    Ok(last.parse::<usize>()? + 1)
}
