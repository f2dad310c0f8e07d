//! Builds the parts of a server from a configuration: the driver, the authenticator, the validation of manifests, and the
//! options and limits of HTTP.
//!
//! Must not: start anything. Start at the function of the part.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use rand::Rng;
use registry_config::Secret;
use registry_config::cidr::Cidr;
use registry_config::model::Config;

use super::error::Error;
#[cfg(feature = "object-store")]
use super::object_stores;
use crate::auth::{Authenticator, Htpasswd};
use crate::cli::features;
use crate::health::Health;
use crate::http::server::{ConnectionLimits, Limits};
use crate::http::{Options, ResponseMemory, Secrets};
use crate::registry::{IndexChildren, Platform, ReferencePolicy, Urls, Validation};
use crate::storage::{Driver, Filesystem, FilesystemOptions, InMemory, StoreHealth};

/// The store and its name for people. What keeps it from taking writes is noted in `trouble`.
pub(in crate::cli) fn driver(
    config: &Config,
    store_health: &StoreHealth,
) -> Result<(Arc<dyn Driver>, String), Error> {
    let storage = &config.storage;
    if let Some(filesystem) = &storage.filesystem {
        let root = filesystem.root();
        let defaults = FilesystemOptions::default();
        let max_threads = filesystem.threads().unwrap_or(defaults.max_threads);
        let options = FilesystemOptions {
            max_threads,
            store_health: store_health.clone(),
            ..defaults
        };
        let driver = Filesystem::new(root, &options).map_err(|source| Error::Storage {
            root: root.to_owned(),
            source,
        })?;
        let name = driver.name_in_full().to_owned();
        return Ok((Arc::new(driver), name));
    }
    #[cfg(feature = "object-store")]
    if let Some(opened) = object_stores::open(storage, store_health)? {
        let name = opened.name_in_full().to_owned();
        return Ok((Arc::new(opened), name));
    }
    if let Some(missing) = features::missing(config) {
        return Err(missing.into());
    }
    // Exactly one driver is configured, and only this one is left.
    Ok((Arc::new(InMemory::default()), "inmemory".to_owned()))
}

/// The rules that pushed manifests have to fulfil.
pub(in crate::cli) fn validation(config: &Config) -> Result<Validation, Error> {
    use registry_config::model;
    let model::Validation { manifests, .. } = &config.validation;
    let references = match manifests.references.unwrap_or_default() {
        _ if !config.validation.is_on() => ReferencePolicy::Unchecked,
        model::ReferencePolicy::Required => ReferencePolicy::Required,
        model::ReferencePolicy::Any => ReferencePolicy::Any,
    };
    let platforms = manifests.indexes.platformlist.iter().map(|platform| Platform {
        architecture: platform.architecture.clone(),
        os: platform.os.clone(),
    });
    let children = match manifests.indexes.platforms.unwrap_or_default() {
        model::Platforms::All => IndexChildren::All,
        // As in distribution.
        model::Platforms::List if manifests.indexes.platformlist.is_empty() => IndexChildren::All,
        model::Platforms::List => IndexChildren::Of(platforms.collect()),
        model::Platforms::None => IndexChildren::None,
    };
    Ok(Validation {
        references,
        urls: Urls::new(&manifests.urls.allow, &manifests.urls.deny)?,
        children,
        classes: config.policy.repository.classes.clone(),
    })
}

/// The authenticator of every request. Reads the users.
pub(super) async fn authenticator(config: &Config) -> Result<Authenticator, Error> {
    if let Some(registry_config::model::Htpasswd { realm, path }) = config.auth.htpasswd.clone() {
        // A file on a network may take long to read, and signals must be handled meanwhile.
        let opened = tokio::task::spawn_blocking(move || Htpasswd::open(realm, path)).await;
        let users = opened.map_err(|error| Error::System(error.into()))??;
        return Ok(Authenticator::htpasswd(users));
    }
    if let Some(silly) = &config.auth.silly {
        tracing::warn!("`auth.silly` lets everybody in who sends any Authorization header; it is for tests");
        return Ok(Authenticator::silly(&silly.realm, &silly.service));
    }
    Ok(Authenticator::open())
}

/// The options of the HTTP interface.
pub(super) fn options(config: &Config, health: &Health) -> Options {
    let http = &config.http;
    let expose = |secret: &Secret| secret.expose().as_bytes().to_vec();
    let current = http.secret.as_ref().filter(|secret| !secret.is_empty()).map(expose).unwrap_or_else(|| {
        tracing::warn!(
            "`http.secret` is not set: a random one is used; uploads do not survive a restart and cannot be continued \
             on another replica"
        );
        rand::rng().random::<[u8; 32]>().to_vec()
    });
    let mut options = Options::new(Secrets::new(current, http.previoussecrets.iter().map(expose)));
    options.host.clone_from(&http.host);
    if let Some(prefix) = &http.prefix {
        options.prefix.clone_from(prefix);
    }
    options.relative_urls = http.relativeurls == Some(true);
    options.headers = headers(config);
    options.catalog_max = config.catalog.limit();
    options.tags_max = config.tags.limit();
    options.read_only = config.storage.maintenance.is_read_only();
    options.delete = config.storage.delete.enabled == Some(true);
    options.trusted_proxies = trusted_proxies(http);
    options.body_timeout = http.limits.body_timeout();
    options.draining = health.draining();
    options
}

/// The limits for clients, in a process that may have `open_files` open files.
pub(super) fn limits(http: &registry_config::model::Http, open_files: Option<u64>) -> Limits {
    let limits = &http.limits;
    let wanted = limits.connections();
    let all = open_files.map_or(wanted, |files| wanted.min(max_connections(files)));
    if let Some(files) = open_files
        && all < wanted
    {
        tracing::warn!(
            connections = all,
            files,
            "fewer connections than `http.limits.connections`: the limit of open files leaves no room for more"
        );
    }
    Limits {
        connections: ConnectionLimits {
            all,
            per_client: limits.connections_per_client(),
            proxies: trusted_proxies(http),
        },
        streams: limits.streams(),
        memory: ResponseMemory::new(limits.response_memory()),
        write_timeout: limits.write_timeout(),
    }
}

/// The number of connections for which `open_files` suffice. Each connection may read a file while it is served. Some files
/// are left for the store, the log, the probes and the runtime.
fn max_connections(open_files: u64) -> usize {
    const RESERVED: u64 = 56;
    usize::try_from(open_files.saturating_sub(RESERVED) / 2)
        .unwrap_or(usize::MAX)
        .max(1)
}

/// The limits for clients of the probes, which are few.
pub(super) fn probe_limits() -> Limits {
    Limits {
        connections: ConnectionLimits {
            all: 32,
            ..ConnectionLimits::default()
        },
        streams: 1,
        memory: ResponseMemory::new(8 << 20),
        write_timeout: Duration::from_secs(10),
    }
}

fn trusted_proxies(http: &registry_config::model::Http) -> Vec<Cidr> {
    // The check of the configuration accepted the same notations.
    let networks = http.trustedproxies.iter().flatten();
    networks.filter_map(|network| Cidr::parse(network)).collect()
}

/// The configured headers of every response. The check of the configuration made sure that they are valid.
fn headers(config: &Config) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, values) in &config.http.headers {
        for value in values {
            if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), HeaderValue::from_str(value)) {
                headers.append(name, value);
            }
        }
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_for_serving_are_left_whatever_the_limit_is() {
        for (files, connections) in [(0, 1), (64, 4), (256, 100), (1024, 484), (1 << 20, 524_260)] {
            assert_eq!(max_connections(files), connections, "{files}");
        }
    }
}
