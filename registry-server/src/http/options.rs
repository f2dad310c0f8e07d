//! What the interface is configured with.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use http::HeaderMap;

use super::Secrets;
use registry_config::cidr::Cidr;

/// What the interface is configured with.
#[derive(Debug, Clone)]
pub struct Options {
    /// The URL clients know the registry by (`http.host`); wins over every header.
    pub host: Option<String>,
    /// What stands in front of `/v2/` (`http.prefix`): `/`, or a path with a slash at both ends.
    pub prefix: String,
    /// Whether `Location` leaves scheme and host away (`http.relativeurls`).
    pub relative_urls: bool,
    /// Headers every answer carries (`http.headers`).
    pub headers: HeaderMap,
    /// What upload URLs are signed with (`http.secret`).
    pub secrets: Secrets,
    /// The most repositories one page of the catalog has (`catalog.maxentries`).
    pub catalog_max: usize,
    /// The most tags one page has when a client asks for pages (`tags.maxtags`).
    pub tags_max: usize,
    /// Whether nothing may be written (`storage.maintenance.readonly.enabled`).
    pub read_only: bool,
    /// Whether manifests, tags and blobs may be deleted (`storage.delete.enabled`).
    pub delete: bool,
    /// Whose forwarded headers are believed; nobody listed means everybody, as in distribution.
    pub trusted_proxies: Vec<Cidr>,
    /// How long a client that is sending a body may send nothing (`http.limits.bodytimeout`).
    pub body_timeout: Duration,
    /// Set when the server is stopping: answers then close their connections.
    pub draining: Arc<AtomicBool>,
}

impl Options {
    /// Distribution's defaults, with the one thing that has none.
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
