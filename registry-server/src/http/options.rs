//! The settings of the HTTP interface.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use http::HeaderMap;

use super::Secrets;
use registry_config::cidr::Cidr;

/// The settings.
#[derive(Debug, Clone)]
pub struct Options {
    /// The URL by which clients know the registry (`http.host`). It takes precedence over every header.
    pub host: Option<String>,
    /// The path before `/v2/` (`http.prefix`): `/`, or a path with a slash at both ends.
    pub prefix: String,
    /// Whether `Location` has no scheme and no host (`http.relativeurls`).
    pub relative_urls: bool,
    /// The headers of every response (`http.headers`).
    pub headers: HeaderMap,
    /// The secrets that sign upload URLs (`http.secret`).
    pub secrets: Secrets,
    /// The most repositories on a page of the catalog (`catalog.maxentries`).
    pub catalog_max: usize,
    /// The most tags on a page, for clients that request pages (`tags.maxtags`).
    pub tags_max: usize,
    /// Whether nothing may be written (`storage.maintenance.readonly.enabled`).
    pub read_only: bool,
    /// Whether manifests, tags and blobs may be deleted (`storage.delete.enabled`).
    pub delete: bool,
    /// The proxies whose forwarding headers are trusted. When the list is empty, every peer is trusted, as in
    /// distribution.
    pub trusted_proxies: Vec<Cidr>,
    /// How long a client may pause while it sends a body (`http.limits.bodytimeout`).
    pub body_timeout: Duration,
    /// Set when the server is stopping. Responses then close their connections.
    pub draining: Arc<AtomicBool>,
}

impl Options {
    /// Distribution's defaults. The secrets have no default.
    pub fn new(secrets: Secrets) -> Self {
        Self {
            host: None,
            prefix: "/".to_owned(),
            relative_urls: false,
            headers: HeaderMap::new(),
            secrets,
            catalog_max: 1000,
            tags_max: 1000,
            read_only: false,
            delete: false,
            trusted_proxies: Vec::new(),
            body_timeout: Duration::from_secs(90),
            draining: Arc::new(AtomicBool::new(false)),
        }
    }
}
