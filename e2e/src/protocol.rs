//! The upload protocol spoken by hand: for the cases that need to stop a client in the middle of a request.
//!
//! docker, crane and skopeo always finish or retry; what is left behind by one that dies can only be seen by a client that
//! controls every byte. OCI distribution 1.1, "Pushing a blob in chunks".
//!
//! Start at [`Repository`].

use std::cell::Cell;

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use futures_util::stream;
use reqwest::header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, LOCATION, RANGE};
use reqwest::{Body, Client, RequestBuilder, Response, StatusCode, Url};
use sha2::{Digest, Sha256};

/// How much of a body is handed to the connection at a time.
const FRAME: usize = 64 * 1024;

/// One repository on one registry, as a client sees it.
#[derive(Clone)]
pub struct Repository {
    client: Client,
    base: Url,
    name: String,
    login: Option<(String, String)>,
}

/// Where an upload session stands.
#[derive(Debug, Clone)]
pub struct Session {
    /// Where the next request goes; carries the `_state` token.
    pub location: Url,
    /// How many bytes the registry says it has.
    pub received: usize,
}

impl Repository {
    /// A repository below `base`, for example `https://registry.example/`.
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
    /// When the registry cannot be reached or does not answer 202 with a `Location`.
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
    /// When the connection ends early or the answer is not 202.
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

    /// Promises all of `bytes`, sends the first `limit`, then calls `interrupt` with the connection still open.
    ///
    /// # Errors
    /// When the registry answered or hung up before it was interrupted, or `interrupt` failed.
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
                    // The connection asked for more: everything before has been handed to the socket.
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
                // The interruption is seen here first: the connection ends before `interrupt` has heard that the
                // server is gone.
                Err(_) if begun.get() => interrupted.await,
                Err(error) => bail!("the PATCH ended before it was interrupted: {error}"),
            },
            done = &mut interrupted => done,
        }
    }

    /// Asks how far a session is.
    ///
    /// # Errors
    /// When the answer is not 204 with a `Range`.
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

    /// Ends the session: the blob is `digest` from here on.
    ///
    /// # Errors
    /// When the answer is not 201.
    pub async fn finish(&self, session: &Session, digest: &str) -> Result<()> {
        self.finish_with(session, digest, Bytes::new()).await
    }

    /// Appends `rest` and ends the session.
    ///
    /// # Errors
    /// When the answer is not 201.
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
    /// When the answer is not 200.
    pub async fn is_known(&self, digest: &str) -> Result<()> {
        let url = self.base.join(&format!("v2/{}/blobs/{digest}", self.name))?;
        let answer = self.login(self.client.head(url)).send().await?;
        expect(&answer, StatusCode::OK)
    }

    /// Reads a blob whole.
    ///
    /// # Errors
    /// When the answer is not 200 or ends early.
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

/// `sha256:…` of `bytes`.
pub fn digest(bytes: &[u8]) -> String {
    let hash = Sha256::digest(bytes);
    hash.iter()
        .fold("sha256:".to_owned(), |text, byte| text + &format!("{byte:02x}"))
}

/// Bytes that do not compress and are the same for the same seed (xorshift64*).
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

/// The length a `Range: 0-<last>` states. Zero bytes and one byte are both written `0-0` (distribution's form), so a
/// caller must not rely on the difference.
fn received(answer: &Response) -> Result<usize> {
    let text = answer.headers().get(RANGE).context("no `Range`")?.to_str()?;
    let last = text
        .strip_prefix("0-")
        .with_context(|| format!("`Range: {text}` does not begin at 0"))?;
    Ok(last.parse::<usize>()? + 1)
}
