//! An HTTP/1.1 client for attacks, which can stop in the middle of a request.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tokio::io::{AsyncWriteExt as _, BufReader};
use tokio::net::{TcpSocket, TcpStream};

use crate::raw_http;

/// Time limit for an answer.
const LIMIT: Duration = Duration::from_secs(60);

/// An answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

impl Answer {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        headers
            .find(|(other, _)| other == name)
            .map(|(_, value)| value.as_str())
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

/// A connection with a small receive buffer.
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

/// The `Authorization` header of a login.
pub(super) fn login(user: &str, password: &str) -> String {
    use base64::Engine as _;
    let credentials = base64::prelude::BASE64_STANDARD.encode(format!("{user}:{password}"));
    format!("Authorization: Basic {credentials}")
}

/// Sends one request on a connection of its own and reads the answer.
pub(super) async fn ask(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[&str],
    body: &[u8],
) -> Result<Answer> {
    ask_on(connect(address).await?, method, path, headers, body).await
}

/// Sends one request and reads the answer.
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
pub(super) async fn answer(stream: impl tokio::io::AsyncRead + Unpin, is_head: bool) -> Result<Answer> {
    tokio::time::timeout(LIMIT, read(stream, is_head))
        .await
        .context("no answer in time")?
}

async fn read(stream: impl tokio::io::AsyncRead + Unpin, is_head: bool) -> Result<Answer> {
    let answer = raw_http::read_answer(&mut BufReader::new(stream), is_head)
        .await?
        .context("the connection ended before an answer")?;
    ensure!(!answer.is_cut, "the answer broke off");
    Ok(Answer {
        status: answer.status.parse().context("no status")?,
        headers: answer.headers,
        body: answer.body,
    })
}

/// Sends as much as the server takes until `hold` is over.
pub(super) async fn send_for(stream: &mut TcpStream, bytes: &[u8], hold: Duration) {
    // A server that takes no more or hangs up is no failure of the attack.
    let _ = tokio::time::timeout(hold, stream.write_all(bytes)).await;
}
