//! Where a client finds what it is told about: the URLs of `Location` headers.
//!
//! The rules are distribution's, in this order: `http.host`; `Forwarded`, else `X-Forwarded-Proto` and
//! `X-Forwarded-Host`, if the peer is a trusted proxy; the request's own scheme and host. A path prefix in front
//! of `/v2/` is kept. `http.relativeurls` leaves scheme and host away.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use http::header::{FORWARDED, HOST};
use http::{HeaderMap, HeaderName, Uri};
use registry_oci::{Digest, RepositoryName, UploadId};

use super::{Options, Peer, query};

const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// The beginning of every URL of one answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Locations {
    /// Scheme, host and path up to and without `/v2/`.
    base: String,
}

impl Locations {
    /// For one request, whose path has `prefix` in front of `/v2/`.
    pub(super) fn of(options: &Options, headers: &HeaderMap, uri: &Uri, peer: &Peer, prefix: &str) -> Self {
        let prefix = prefix.trim_end_matches('/');
        if let Some(host) = &options.host {
            return Self {
                base: host.trim_end_matches('/').to_owned(),
            };
        }
        let origin = match origin(options, headers, uri, peer) {
            Some(origin) if !options.relative_urls => origin,
            Some(_) | None => String::new(),
        };
        Self {
            base: origin + prefix,
        }
    }

    /// `/v2/<name>/blobs/<digest>`
    pub(super) fn blob(&self, name: &RepositoryName, digest: &Digest) -> String {
        format!("{}/v2/{name}/blobs/{digest}", self.base)
    }

    /// `/v2/<name>/manifests/<digest>`
    pub(super) fn manifest(&self, name: &RepositoryName, digest: &Digest) -> String {
        format!("{}/v2/{name}/manifests/{digest}", self.base)
    }

    /// `/v2/<name>/blobs/uploads/<id>?_state=<token>`
    pub(super) fn upload(&self, name: &RepositoryName, id: &UploadId, state: &str) -> String {
        format!(
            "{}/v2/{name}/blobs/uploads/{id}?_state={}",
            self.base,
            query::encode(state)
        )
    }
}

fn origin(options: &Options, headers: &HeaderMap, uri: &Uri, peer: &Peer) -> Option<String> {
    let forwarded = if is_trusted(&options.trusted_proxies, peer.address) {
        Forwarded::read(headers)
    } else {
        Forwarded::default()
    };
    let own_host = || text(headers, &HOST).or_else(|| uri.authority().map(http::uri::Authority::as_str));
    let host = forwarded
        .host
        .as_deref()
        .or_else(own_host)
        .filter(|host| is_host(host))?;
    let own_scheme = if peer.tls { "https" } else { "http" };
    let scheme = forwarded.proto.as_deref().unwrap_or(own_scheme);
    Some(format!("{scheme}://{host}"))
}

/// What the last proxy says of the client's request.
#[derive(Debug, Default, PartialEq, Eq)]
struct Forwarded {
    proto: Option<String>,
    host: Option<String>,
}

impl Forwarded {
    fn read(headers: &HeaderMap) -> Self {
        let found = match text(headers, &FORWARDED) {
            Some(value) => Self::parse(value),
            None => {
                let first = |name| {
                    let value = text(headers, name)?.split(',').next()?.trim();
                    (!value.is_empty()).then(|| value.to_owned())
                };
                Self {
                    proto: first(&X_FORWARDED_PROTO),
                    host: first(&X_FORWARDED_HOST),
                }
            }
        };
        Self {
            proto: found
                .proto
                .map(|proto| proto.to_ascii_lowercase())
                .filter(|proto| is_scheme(proto)),
            host: found.host.filter(|host| is_host(host)),
        }
    }

    /// The first element of a `Forwarded` header (RFC 7239, section 4).
    fn parse(value: &str) -> Self {
        let mut found = Self::default();
        for (name, value) in first_element(value) {
            match name.to_ascii_lowercase().as_str() {
                "proto" => found.proto = Some(value),
                "host" => found.host = Some(value),
                _ => {}
            }
        }
        found
    }
}

/// `name=value` pairs separated by `;` up to the first `,` outside of quotes; a broken rest is dropped.
fn first_element(value: &str) -> Vec<(String, String)> {
    let mut pairs = Vec::new();
    let mut rest = value.chars().peekable();
    loop {
        let mut name = String::new();
        while let Some(next) = rest.next_if(|next| !"=;,".contains(*next)) {
            name.push(next);
        }
        let mut text = String::new();
        if rest.next_if_eq(&'=').is_some() {
            if rest.next_if_eq(&'"').is_some() {
                loop {
                    match rest.next() {
                        Some('"') => break,
                        Some('\\') => text.extend(rest.next()),
                        Some(other) => text.push(other),
                        None => return pairs,
                    }
                }
            } else {
                while let Some(next) = rest.next_if(|next| !";,".contains(*next)) {
                    text.push(next);
                }
            }
            pairs.push((name.trim().to_owned(), text.trim().to_owned()));
        }
        while rest.next_if(|next| next.is_ascii_whitespace()).is_some() {}
        if rest.next_if_eq(&';').is_none() {
            return pairs;
        }
    }
}

fn is_scheme(text: &str) -> bool {
    text == "http" || text == "https"
}

/// Host and port: what may stand between `//` and `/` of a URL, without credentials.
fn is_host(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 255 + 6
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte))
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// No list trusts everybody, as distribution does.
pub(super) fn is_trusted(networks: &[Network], address: Option<SocketAddr>) -> bool {
    networks.is_empty()
        || address.is_some_and(|address| networks.iter().any(|network| network.contains(address.ip())))
}

/// A range of addresses in CIDR form, or a single address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

/// The text is no network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{given}` is no network: write an address, or an address, `/` and the number of fixed bits")]
pub struct NetworkError {
    given: String,
}

impl Network {
    /// Reads `10.0.0.0/8`, `fd00::/8` or a single address.
    ///
    /// # Errors
    /// [`NetworkError`], the caller's fault.
    pub fn parse(text: &str) -> Result<Self, NetworkError> {
        let invalid = || NetworkError {
            given: text.escape_debug().to_string(),
        };
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address = IpAddr::from_str(address).map_err(|_| invalid())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            Some(bits) => bits
                .parse()
                .ok()
                .filter(|bits| *bits <= most)
                .ok_or_else(invalid)?,
            None => most,
        };
        Ok(Self { address, bits })
    }

    /// Whether an address is in it. An IPv4 address written as an IPv6 one counts as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                let shift = 32 - u32::from(self.bits);
                (network.to_bits() ^ address.to_bits())
                    .checked_shr(shift)
                    .unwrap_or(0)
                    == 0
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                let shift = 128 - u32::from(self.bits);
                (network.to_bits() ^ address.to_bits())
                    .checked_shr(shift)
                    .unwrap_or(0)
                    == 0
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

#[cfg(test)]
mod tests;
