//! The scheme, the host and the client's address of a request, as the proxies in front report them.
//!
//! Scheme and host come from `Forwarded` (RFC 7239), else from `X-Forwarded-Proto` and `X-Forwarded-Host`, as in
//! distribution. The address comes from `X-Forwarded-For`, else from `X-Real-IP`, as in distribution, else from
//! `Forwarded`: most proxies set one of the first two and pass a client's own `Forwarded` on. Parsed here and not by a
//! library, because of this order and of our rule of trust.
//!
//! Guarantees: URLs and logged addresses trust the same proxies, and that is decided here alone; whatever the headers
//! hold, the results are valid parts of a URL.
//! Must not: know a URL. Start at [`Forwarded::of`] and [`client_address`].

use std::net::{IpAddr, SocketAddr};

use http::header::FORWARDED;
use http::{HeaderMap, HeaderName};

use super::Peer;
use registry_config::cidr::Cidr;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

/// The longest DNS name (RFC 1035, section 2.3.4). A longer host is not valid.
const NAME_MAX: usize = 253;

/// The trusted values of one request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Forwarded {
    pub(super) proto: Option<Scheme>,
    pub(super) host: Option<Host>,
    /// The client's address, if a proxy reports one.
    pub(super) client: Option<IpAddr>,
}

/// The schemes of a registry's URLs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scheme {
    Http,
    Https,
}

/// A host with or without a port, as it may stand between `//` and `/` of a URL (RFC 3986, section 3.2). It has no
/// credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Host(String);

impl Forwarded {
    /// Reads the headers if the peer is trusted. When `trusted` is empty, every peer is, as in distribution. A peer on
    /// a unix socket always is, because the administrator of the machine decides who can open the socket.
    pub(super) fn of(trusted: &[Cidr], headers: &HeaderMap, peer: &Peer) -> Self {
        if let Some(address) = peer.address
            && !trusted.is_empty()
            && !Cidr::any_contains(trusted, address.ip())
        {
            return Self::default();
        }
        let lines: Vec<&str> = values(headers, &FORWARDED).collect();
        let elements: Vec<Element> = lines.iter().flat_map(|line| elements(line)).collect();
        let (proto, host) = match elements.first() {
            Some(first) => (first.get("proto"), first.get("host")),
            // A `Forwarded` that cannot be read gives no values, and the other headers are not read instead.
            None if headers.get(FORWARDED).is_some_and(|value| !value.is_empty()) => (None, None),
            None => {
                let first = |name| values(headers, name).next()?.split(',').next();
                (first(&X_FORWARDED_PROTO), first(&X_FORWARDED_HOST))
            }
        };
        let listed: Vec<&str> = values(headers, &X_FORWARDED_FOR)
            .flat_map(|line| line.split(','))
            .collect();
        let hops: Vec<&str> = elements
            .iter()
            .map(|element| element.get("for").unwrap_or_default())
            .collect();
        let client = client(&listed, trusted)
            .or_else(|| values(headers, &X_REAL_IP).next().and_then(address))
            .or_else(|| client(&hops, trusted));
        Self {
            proto: proto.and_then(Scheme::parse),
            host: host.and_then(Host::parse),
            client,
        }
    }
}

/// The address of the client: the one that a trusted proxy reports, else the peer's. `None` on a unix socket without a
/// proxy.
pub(super) fn client_address(trusted: &[Cidr], headers: &HeaderMap, peer: &Peer) -> Option<IpAddr> {
    Forwarded::of(trusted, headers, peer)
        .client
        .or_else(|| peer.address.map(|address| address.ip()))
}

/// The address whose limits a request counts against. Without a list of trusted proxies it is always the peer's: every
/// peer is trusted then, and a client could report another address with each request.
pub(super) fn accountable_address(trusted: &[Cidr], headers: &HeaderMap, peer: &Peer) -> Option<IpAddr> {
    match peer.address {
        Some(address) if trusted.is_empty() => Some(address.ip()),
        _ => client_address(trusted, headers, peer),
    }
}

impl Scheme {
    /// Accepts upper case as well.
    fn parse(text: &str) -> Option<Self> {
        match text.trim().to_ascii_lowercase().as_str() {
            "http" => Some(Self::Http),
            "https" => Some(Self::Https),
            _ => None,
        }
    }

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

impl Host {
    /// Parses a DNS name or an address, IPv6 in brackets, with or without a port.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let (is_host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (address, port) = rest.split_once(']')?;
                (address.parse::<std::net::Ipv6Addr>().is_ok(), port)
            }
            None => {
                let (name, port) = text.split_at(text.find(':').unwrap_or(text.len()));
                let is_named = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
                (
                    !name.is_empty() && name.len() <= NAME_MAX && name.bytes().all(is_named),
                    port,
                )
            }
        };
        let is_port = match port.strip_prefix(':') {
            Some(digits) => digits.bytes().all(|byte| byte.is_ascii_digit()) && digits.parse::<u16>().is_ok(),
            None => port.is_empty(),
        };
        (is_host && is_port).then(|| Self(text.to_owned()))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

/// The client of a list of hops. Each proxy appends the address that it saw, so the client should be the first. Without
/// a list of trusted proxies the first entry is taken, as in distribution. With one, it is the last entry that is no
/// trusted proxy, because the client itself can have written the entries before that.
fn client(hops: &[&str], trusted: &[Cidr]) -> Option<IpAddr> {
    let (first, others) = hops.split_first()?;
    if !trusted.is_empty() {
        for hop in others.iter().rev() {
            let address = address(hop)?;
            if !Cidr::any_contains(trusted, address) {
                return Some(address);
            }
        }
    }
    address(first)
}

/// Parses an address with or without a port, IPv6 with or without brackets.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let bare = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    let address: Option<IpAddr> = text
        .parse()
        .ok()
        .or_else(|| Some(text.parse::<SocketAddr>().ok()?.ip()))
        .or_else(|| bare().map(IpAddr::V6));
    address.map(|address| address.to_canonical())
}

/// One proxy's part of a `Forwarded` header.
struct Element(Vec<(String, String)>);

impl Element {
    fn get(&self, name: &str) -> Option<&str> {
        let mut pairs = self.0.iter();
        let (_, value) = pairs.find(|(key, _)| key.eq_ignore_ascii_case(name))?;
        Some(value)
    }
}

/// The elements of a `Forwarded` header (RFC 7239, section 4), up to where it is broken.
fn elements(line: &str) -> Vec<Element> {
    let mut elements = Vec::new();
    let mut pairs = Vec::new();
    let mut rest = line.chars().peekable();
    loop {
        let mut name = String::new();
        while let Some(next) = rest.next_if(|next| !"=;,".contains(*next)) {
            name.push(next);
        }
        let mut value = String::new();
        if rest.next_if_eq(&'=').is_some() {
            if rest.next_if_eq(&'"').is_some() {
                loop {
                    match rest.next() {
                        Some('"') => break,
                        Some('\\') => value.extend(rest.next()),
                        Some(other) => value.push(other),
                        // The quote is never closed, so nothing of this element is used.
                        None => return elements,
                    }
                }
            } else {
                while let Some(next) = rest.next_if(|next| !";,".contains(*next)) {
                    value.push(next);
                }
            }
            pairs.push((name.trim().to_owned(), value.trim().to_owned()));
        }
        while rest.next_if(|next| next.is_ascii_whitespace()).is_some() {}
        match rest.next() {
            Some(';') => {}
            Some(',') => elements.push(Element(std::mem::take(&mut pairs))),
            Some(_) | None => {
                if !pairs.is_empty() {
                    elements.push(Element(pairs));
                }
                return elements;
            }
        }
    }
}

fn values<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    headers
        .get_all(name)
        .into_iter()
        .filter_map(|value| value.to_str().ok())
}

#[cfg(test)]
mod tests;
