//! HTTP/1.1 byte by byte: it sends what a client library would refuse to send, and keeps what a library would change
//! in an answer.
//!
//! Must not: follow, retry or repair anything. Start at [`Connection::ask`].

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

/// Time limit for an answer. Generous, because servers and client share the machine with others.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);

/// A request as bytes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Message {
    /// All bytes up to the empty line, which is included.
    pub(crate) head: Vec<u8>,
    /// All bytes after the empty line.
    pub(crate) body: Vec<u8>,
    /// Whether the body is sent only after `100 Continue`.
    pub(crate) waits: bool,
    /// Whether the answer has no body, whatever its headers say.
    pub(crate) is_head: bool,
    /// Whether the connection cannot be used again.
    pub(crate) is_last: bool,
    /// Whether the sending half is closed after the body.
    pub(crate) ends: bool,
}

/// The result of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// An answer.
    Answer(Answer),
    /// The connection was closed without an answer.
    Closed,
}

/// An answer as it was sent. Header names are in lower case.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Answer {
    /// The statuses of interim answers before it.
    pub(crate) interim: Vec<String>,
    /// `HTTP/1.1`
    pub(crate) version: String,
    /// `200`
    pub(crate) status: String,
    /// Names and values in the order in which they were sent.
    pub(crate) headers: Vec<(String, String)>,
    /// The body without its transfer coding.
    pub(crate) body: Vec<u8>,
    /// Whether the connection ended before the answer did.
    pub(crate) is_cut: bool,
}

impl Answer {
    /// The first value of a header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }
}

/// A connection to one server, opened when it is needed.
pub(crate) struct Connection {
    address: SocketAddr,
    halves: Option<(BufReader<OwnedReadHalf>, OwnedWriteHalf)>,
}

impl Connection {
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self {
            address,
            halves: None,
        }
    }

    /// Sends a request and reads its answer. A connection is used again only when both sides want to keep it and the
    /// whole request was sent.
    ///
    /// # Errors
    /// The server cannot be reached, does not answer in time, or its answer is no HTTP.
    pub(crate) async fn ask(&mut self, message: &Message) -> Result<Outcome> {
        let was_kept = self.halves.is_some() && !message.is_last;
        match self.ask_once(message).await? {
            // The server had closed the kept connection before the request came.
            Outcome::Closed if was_kept => self.ask_once(message).await,
            outcome => Ok(outcome),
        }
    }

    async fn ask_once(&mut self, message: &Message) -> Result<Outcome> {
        let kept = if message.is_last { None } else { self.halves.take() };
        let (mut reader, mut writer) = match kept {
            Some(halves) => halves,
            None => {
                let stream = TcpStream::connect(self.address)
                    .await
                    .with_context(|| format!("cannot connect to {}", self.address))?;
                stream.set_nodelay(true)?;
                let (reader, writer) = stream.into_split();
                (BufReader::new(reader), writer)
            }
        };
        let asked = async {
            let mut sent = false;
            let mut interim = Vec::new();
            if message.waits {
                writer.write_all(&message.head).await?;
            } else {
                let send = async {
                    // Sent in one piece: when a server refuses the head, it keeps the connection only if it has seen
                    // all of a short body. It may also answer and close before it has read all of a long body; the
                    // answer counts.
                    let whole = [message.head.as_slice(), &message.body].concat();
                    let all = writer.write_all(&whole).await.is_ok();
                    if message.ends && all {
                        let _ = writer.shutdown().await;
                    }
                    all
                };
                tokio::pin!(send);
                tokio::select! {
                    biased;
                    all = &mut send => sent = all,
                    ready = async { reader.fill_buf().await.map(<[u8]>::len) } => { let _ = ready; }
                }
            }
            loop {
                let Some(mut answer) = read_head(&mut reader).await? else {
                    return Ok::<_, anyhow::Error>((Outcome::Closed, false));
                };
                if answer.status.starts_with('1') {
                    if answer.status == "100" && message.waits && !sent {
                        sent = writer.write_all(&message.body).await.is_ok();
                    }
                    interim.push(answer.status);
                    continue;
                }
                let framed = read_body(&mut reader, message.is_head, &mut answer).await?;
                let keep = framed && sent && answer.header("connection") != Some("close");
                answer.interim = interim;
                return Ok((Outcome::Answer(answer), keep && answer_is_1_1(&message.head)));
            }
        };
        let (outcome, keep) = match tokio::time::timeout(ANSWER_LIMIT, asked).await {
            Ok(result) => result?,
            Err(_) => bail!("no answer within {ANSWER_LIMIT:?}"),
        };
        if keep && !message.is_last {
            self.halves = Some((reader, writer));
        }
        Ok(outcome)
    }
}

/// HTTP/1.0 ends a connection with its answer.
fn answer_is_1_1(head: &[u8]) -> bool {
    head.split(|byte| *byte == b'\n')
        .next()
        .is_some_and(|line| line.trim_ascii_end().ends_with(b"HTTP/1.1"))
}

/// Reads one answer whole. Gives `None` when the connection ended, or was reset, before the first byte.
///
/// # Errors
/// The answer is no HTTP.
pub(crate) async fn read_answer<R>(reader: &mut R, is_head: bool) -> Result<Option<Answer>>
where
    R: AsyncBufRead + Unpin,
{
    let Some(mut answer) = read_head(reader).await? else {
        return Ok(None);
    };
    read_body(reader, is_head, &mut answer).await?;
    Ok(Some(answer))
}

/// Reads a status line and headers. Gives `None` when the connection ended, or was reset, before the first byte.
async fn read_head<R: AsyncBufRead + Unpin>(reader: &mut R) -> Result<Option<Answer>> {
    let mut line = Vec::new();
    if let Ok(0) | Err(_) = reader.read_until(b'\n', &mut line).await {
        return Ok(None);
    }
    let first = text(&line);
    let mut parts = first.splitn(3, ' ');
    let (Some(version), Some(status)) = (parts.next(), parts.next()) else {
        bail!("no status line: {first:?}");
    };
    let mut answer = Answer {
        version: version.to_owned(),
        status: status.to_owned(),
        ..Answer::default()
    };
    loop {
        line.clear();
        answer.is_cut = reader.read_until(b'\n', &mut line).await? == 0;
        let header = text(&line);
        if header.is_empty() {
            return Ok(Some(answer));
        }
        let (name, value) = header
            .split_once(':')
            .with_context(|| format!("no header: {header:?}"))?;
        answer
            .headers
            .push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
}

/// Reads the body. Gives whether the body had an end other than the end of the connection.
async fn read_body<R>(reader: &mut R, is_head: bool, answer: &mut Answer) -> Result<bool>
where
    R: AsyncBufRead + Unpin,
{
    if answer.is_cut {
        return Ok(false);
    }
    if is_head || answer.status == "204" || answer.status == "304" {
        return Ok(true);
    }
    if answer.header("transfer-encoding") == Some("chunked") {
        let mut line = Vec::new();
        loop {
            line.clear();
            reader.read_until(b'\n', &mut line).await?;
            let size = text(&line);
            let size =
                usize::from_str_radix(&size, 16).with_context(|| format!("no chunk size: {size:?}"))?;
            let mut chunk = vec![0; size + 2];
            reader.read_exact(&mut chunk).await?;
            if size == 0 {
                return Ok(true);
            }
            chunk.truncate(size);
            answer.body.append(&mut chunk);
        }
    }
    match answer.header("content-length").map(str::parse) {
        Some(length) => {
            let length: u64 = length.context("no `Content-Length`")?;
            // A client treats a reset like an end.
            let _ = reader.take(length).read_to_end(&mut answer.body).await;
            answer.is_cut = (answer.body.len() as u64) < length;
            Ok(!answer.is_cut)
        }
        None => {
            reader.read_to_end(&mut answer.body).await?;
            Ok(false)
        }
    }
}

/// Each byte as the character of its number, so that nothing is lost in any encoding.
fn text(line: &[u8]) -> String {
    line.trim_ascii_end().iter().copied().map(char::from).collect()
}
