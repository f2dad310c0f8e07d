//! The HTTP client of the probes.

use std::net::SocketAddr;
use std::time::Duration;

use reqwest::redirect::Policy;
use reqwest::{Client, Error, Response};

/// Time limit of a probe, from the connection to the end of the answer.
pub(super) const TIMEOUT: Duration = Duration::from_secs(3);

/// A client for one request. With `resolved`, this host name leads to this address.
///
/// It accepts certificates of every CA: an Ingress may show one whose CA the operator does not know. Names and dates are
/// checked by `ask`.
pub(super) fn client(resolved: Option<(&str, SocketAddr)>) -> Result<Client, Error> {
    let builder = Client::builder()
        .timeout(TIMEOUT)
        .redirect(Policy::none())
        .no_proxy()
        .http1_only()
        .tls_info(true)
        .tls_danger_accept_invalid_certs(true);
    match resolved {
        Some((host, address)) => builder.resolve(host, address),
        None => builder,
    }
    .build()
}

/// A body of at most `max` bytes; `None` when it is longer or breaks off.
pub(super) async fn body(mut answer: Response, max: usize) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.ok()? {
        body.extend(chunk);
        if body.len() > max {
            return None;
        }
    }
    Some(body)
}

/// The URL of a path at a port of a Pod.
pub(super) fn pod_url(address: &str, port: u16, path: &str) -> String {
    match address.contains(':') {
        true => format!("http://[{address}]:{port}{path}"),
        false => format!("http://{address}:{port}{path}"),
    }
}
