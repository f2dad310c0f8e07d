//! Sends the requests of a [`Scenario`] until the server is gone.

use anyhow::{Context as _, Result, bail, ensure};
use bytes::Bytes;
use reqwest::header::{CONTENT_TYPE, LOCATION};
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode, Url};

use super::scenario::{HERE, MANIFEST, Scenario, Step, THERE};
use crate::protocol::digest;

/// A client of one server that remembers the locations of its uploads.
#[derive(Debug, Clone)]
pub(super) struct ScenarioClient {
    client: Client,
    pub(super) base: Url,
    /// Path and query of each upload, from the last answer about it.
    pub(super) uploads: Vec<Option<String>>,
}

/// How much of the scenario was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sent {
    /// The number of steps that were answered.
    pub(super) done: usize,
    /// Whether one more step was sent.
    pub(super) underway: bool,
}

impl ScenarioClient {
    /// A client that has sent nothing yet.
    pub(super) fn new(base: &Url) -> Result<Self> {
        Ok(Self {
            client: Client::builder().no_proxy().build()?,
            base: base.clone(),
            uploads: Vec::new(),
        })
    }

    /// A client of another server that continues with the same uploads.
    pub(super) fn at(&self, base: &Url) -> Self {
        Self {
            base: base.clone(),
            ..self.clone()
        }
    }

    /// Asks for blobs that do not exist.
    ///
    /// # Errors
    /// The server is gone.
    pub(super) async fn warm_up(&self, times: usize) -> Result<()> {
        for number in 0..times {
            let path = format!("/v2/{HERE}/blobs/{}", digest(&number.to_be_bytes()));
            self.send(Method::GET, &path, Bytes::new(), 404).await?;
        }
        Ok(())
    }

    /// Sends all steps, or as many as the server lives for.
    ///
    /// # Errors
    /// A step gets an unexpected answer.
    pub(super) async fn send_all(&mut self, scenario: &Scenario) -> Result<Sent> {
        self.uploads = vec![None; scenario.uploads.len()];
        for (done, step) in scenario.steps.iter().enumerate() {
            match self.step(scenario, step).await {
                Ok(()) => {}
                // There was no answer, so the server is gone. A wrong answer is an error of another type.
                Err(error) if error.downcast_ref::<reqwest::Error>().is_some() => {
                    return Ok(Sent { done, underway: true });
                }
                Err(error) => return Err(error.context(format!("step {done}, {}", named(step)))),
            }
        }
        Ok(Sent {
            done: scenario.steps.len(),
            underway: false,
        })
    }

    async fn step(&mut self, scenario: &Scenario, step: &Step) -> Result<()> {
        match step {
            Step::Start { upload } => {
                let path = format!("/v2/{HERE}/blobs/uploads/");
                let answer = self.send(Method::POST, &path, Bytes::new(), 202).await?;
                self.uploads[*upload] = Some(location(&answer)?);
            }
            Step::Append { upload, from, to } => {
                let path = self.upload(*upload)?;
                let chunk = scenario.uploads[*upload].slice(*from..*to);
                let answer = self.send(Method::PATCH, &path, chunk, 202).await?;
                self.uploads[*upload] = Some(location(&answer)?);
            }
            Step::Finish { upload } => {
                let whole = digest(&scenario.uploads[*upload]);
                let path = format!("{}&digest={whole}", self.upload(*upload)?);
                self.send(Method::PUT, &path, Bytes::new(), 201).await?;
            }
            Step::Cancel { upload } => {
                let path = self.upload(*upload)?;
                self.send(Method::DELETE, &path, Bytes::new(), 204).await?;
            }
            Step::Push { repository, blob } => {
                let path = format!("/v2/{repository}/blobs/uploads/?digest={}", digest(blob));
                self.send(Method::POST, &path, blob.clone(), 201).await?;
            }
            Step::Mount { blob } => {
                let path = format!("/v2/{HERE}/blobs/uploads/?mount={}&from={THERE}", digest(blob));
                self.send(Method::POST, &path, Bytes::new(), 201).await?;
            }
            Step::DeleteBlob { blob } => {
                let path = format!("/v2/{HERE}/blobs/{}", digest(blob));
                self.send(Method::DELETE, &path, Bytes::new(), 202).await?;
            }
            Step::Tag { tag, manifest } => {
                let path = format!("/v2/{HERE}/manifests/{tag}");
                self.send(Method::PUT, &path, manifest.clone(), 201).await?;
            }
            Step::DeleteTag { tag } => {
                let path = format!("/v2/{HERE}/manifests/{tag}");
                self.send(Method::DELETE, &path, Bytes::new(), 202).await?;
            }
            Step::DeleteManifest { manifest } => {
                let path = format!("/v2/{HERE}/manifests/{}", digest(manifest));
                self.send(Method::DELETE, &path, Bytes::new(), 202).await?;
            }
        }
        Ok(())
    }

    /// The location of an upload.
    fn upload(&self, upload: usize) -> Result<String> {
        self.uploads[upload]
            .clone()
            .context("an upload that was not begun")
    }

    /// One request, with the manifest type where the path is that of a manifest.
    pub(super) fn request(&self, method: Method, path: &str, body: Bytes) -> Result<RequestBuilder> {
        let kind = if path.contains("/manifests/") {
            MANIFEST
        } else {
            "application/octet-stream"
        };
        let request = self.client.request(method, self.base.join(path)?);
        Ok(request.header(CONTENT_TYPE, kind).body(body))
    }

    async fn send(&self, method: Method, path: &str, body: Bytes, expected: u16) -> Result<Response> {
        let answer = self.request(method.clone(), path, body)?.send().await?;
        let expected = StatusCode::from_u16(expected)?;
        if answer.status() != expected {
            let status = answer.status();
            let body = answer.text().await.unwrap_or_default();
            bail!("{method} {path}: expected {expected}, got {status}: {body:.300}");
        }
        Ok(answer)
    }
}

/// Path and query of an answer's `Location`, without the port, because the next server has another one.
pub(super) fn location(answer: &Response) -> Result<String> {
    let text = answer
        .headers()
        .get(LOCATION)
        .context("no `Location`")?
        .to_str()?;
    let start = text.find("/v2/").context("`Location` is nowhere")?;
    ensure!(text.contains('?'), "`Location: {text}` has no state");
    Ok(text[start..].to_owned())
}

/// The name of a step.
fn named(step: &Step) -> String {
    let text = format!("{step:?}");
    text.split(" {").next().unwrap_or(&text).to_owned()
}
