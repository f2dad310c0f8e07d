//! The URLs of `Location` headers.
//!
//! Scheme and host follow distribution's rules, in this order: `http.host`; the values of a trusted proxy
//! ([`Forwarded`]); the request's own. A path prefix before `/v2/` is kept. With `http.relativeurls` the URL has no
//! scheme and no host, nor has it for a request without a valid host.

use http::header::HOST;
use http::{HeaderMap, Uri};
use registry_oci::{Digest, RepositoryName, UploadId};

use super::forwarded::{Forwarded, Host, Scheme};
use super::{Options, Peer, query};

/// The common beginning of the URLs of one response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Locations {
    /// Scheme, host and the path before `/v2/`.
    base: String,
}

impl Locations {
    /// The locations for a request whose path has `prefix` before `/v2/`.
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
    let forwarded = Forwarded::of(&options.trusted_proxies, headers, peer);
    let own_host = || {
        // The host of an absolute target takes precedence over the header (RFC 9112, section 3.2.2).
        let target = uri.authority().map(http::uri::Authority::as_str);
        Host::parse(target.or_else(|| headers.get(HOST)?.to_str().ok())?)
    };
    let host = forwarded.host.or_else(own_host)?;
    let own_scheme = if peer.tls { Scheme::Https } else { Scheme::Http };
    let scheme = forwarded.proto.unwrap_or(own_scheme);
    Some(format!("{}://{}", scheme.as_str(), host.as_str()))
}

#[cfg(test)]
mod tests;
