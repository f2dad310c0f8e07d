//! HTTP/1.1 by hand, for clients that stop in the middle.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpSocket, TcpStream};

/// How long an answer is waited for.
const LIMIT: Duration = Duration::from_secs(60);

/// An answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    head: String,
    pub(super) body: Vec<u8>,
}

impl Answer {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines();
        lines
            .filter_map(|line| line.split_once(':'))
            .find(|(other, _)| other.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim())
    }

    /// Fails unless the status is one of these.
    pub(super) fn is(self, statuses: &[u16]) -> Result<Self> {
        let said = String::from_utf8_lossy(&self.body[..self.body.len().min(300)]).into_owned();
        ensure!(
            statuses.contains(&self.status),
            "expected {statuses:?}, got {} {said}",
            self.status
        );
        Ok(self)
    }
}

/// A connection with little room for what is not read.
pub(super) async fn connect(address: SocketAddr) -> Result<TcpStream> {
    connect_from(Ipv4Addr::LOCALHOST, address).await
}

/// A connection from another address of this machine.
pub(super) async fn connect_from(host: Ipv4Addr, address: SocketAddr) -> Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(16 * 1024)?;
    socket.bind((host, 0).into())?;
    let stream = socket.connect(address).await.context("cannot connect")?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// A request's head, with the lines of `headers`.
pub(super) fn head(method: &str, path: &str, headers: &[&str]) -> String {
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: attack.example\r\n");
    for header in headers {
        head.push_str(header);
        head.push_str("\r\n");
    }
    head + "\r\n"
}

/// The header of a login.
pub(super) fn login(user: &str, password: &str) -> String {
    use base64::Engine as _;
    let credentials = base64::prelude::BASE64_STANDARD.encode(format!("{user}:{password}"));
    format!("Authorization: Basic {credentials}")
}

/// One request on a connection of its own, with its answer.
pub(super) async fn ask(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[&str],
    body: &[u8],
) -> Result<Answer> {
    ask_on(connect(address).await?, method, path, headers, body).await
}

/// One request, with its answer.
pub(super) async fn ask_on(
    mut stream: TcpStream,
    method: &str,
    path: &str,
    headers: &[&str],
    body: &[u8],
) -> Result<Answer> {
    let length = format!("Content-Length: {}", body.len());
    let mut headers = headers.to_vec();
    headers.push(&length);
    stream.write_all(head(method, path, &headers).as_bytes()).await?;
    stream.write_all(body).await?;
    answer(&mut stream, method == "HEAD").await
}

/// Reads an answer.
pub(super) async fn answer(stream: impl tokio::io::AsyncRead + Unpin, bodyless: bool) -> Result<Answer> {
    tokio::time::timeout(LIMIT, read(stream, bodyless))
        .await
        .context("no answer in time")?
}

async fn read(stream: impl tokio::io::AsyncRead + Unpin, bodyless: bool) -> Result<Answer> {
    let mut stream = BufReader::new(stream);
    let mut head = String::new();
    loop {
        let before = head.len();
        stream.read_line(&mut head).await?;
        ensure!(
            head.len() > before,
            "the connection ended in the middle of an answer's head"
        );
        if head[before..].trim().is_empty() {
            break;
        }
    }
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
        .context("no status")?;
    let mut answer = Answer {
        status,
        head,
        body: Vec::new(),
    };
    let length = answer
        .header("content-length")
        .map(str::parse::<u64>)
        .transpose()?;
    match length {
        _ if bodyless => {}
        Some(length) => {
            stream.take(length).read_to_end(&mut answer.body).await?;
            ensure!(answer.body.len() as u64 == length, "the answer broke off");
        }
        None if answer.header("transfer-encoding").is_some() => chunks(&mut stream, &mut answer.body).await?,
        None => {}
    }
    Ok(answer)
}

/// Reads a body of chunks (RFC 9112, section 7.1).
async fn chunks<R: tokio::io::AsyncRead + Unpin>(
    stream: &mut BufReader<R>,
    body: &mut Vec<u8>,
) -> Result<()> {
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await?;
        let length = u64::from_str_radix(line.trim(), 16).context("no length of a chunk")?;
        let whole = body.len() as u64 + length;
        stream.take(length).read_to_end(body).await?;
        ensure!(body.len() as u64 == whole, "the answer broke off");
        stream.read_line(&mut line).await?;
        if length == 0 {
            return Ok(());
        }
    }
}

/// Sends as much as the server takes until `hold` is over.
pub(super) async fn send_for(stream: &mut TcpStream, bytes: &[u8], hold: Duration) {
    // Neither a server that takes no more nor one that hangs up is a fault of the attack.
    let _ = tokio::time::timeout(hold, stream.write_all(bytes)).await;
}
