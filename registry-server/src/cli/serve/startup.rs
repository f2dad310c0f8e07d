//! The first stage of `serve`: everything a server opens before it answers a request.
//!
//! Guarantees: both addresses are bound when this stage is over, and nothing is answered yet.
//! Must not: write to the store. Start at [`Opened::open`].

use std::sync::Arc;

use prometheus_client::registry::Registry as MetricsRegistry;
use registry_config::model::{Config, Http};

use super::cache::cache;
use super::error::Error;
use super::signals::StopSignals;
use super::wiring::{authenticator, driver};
use crate::auth::Authenticator;
use crate::cache::Cache;
use crate::http::server::Listener;
use crate::http::tls::Tls;
use crate::storage::{Driver, StoreHealth, Timed};
use crate::telemetry::Log;

/// The opened parts of a server.
pub(super) struct Opened {
    pub(super) driver: Arc<dyn Driver>,
    /// The name of the store, for the log.
    pub(super) storage: String,
    /// Whether the store takes writes, as its driver saw it last.
    pub(super) store_health: StoreHealth,
    pub(super) cache: Option<Arc<Cache>>,
    pub(super) authenticator: Authenticator,
    pub(super) tls: Option<Tls>,
    /// The address that serves the registry.
    pub(super) listener: Listener,
    /// The address of the probes and metrics, if one is configured.
    pub(super) probes: Option<Listener>,
}

impl Opened {
    /// Opens what a configuration names. Gives nothing if a signal asks for the end meanwhile.
    pub(super) async fn open(config: &Config, signals: &mut StopSignals) -> Result<Option<Self>, Error> {
        let http = &config.http;
        let store_health = StoreHealth::default();
        let (driver, storage) = driver(config, &store_health)?;
        let cache = cache(config)?;
        let authenticator = tokio::select! {
            authenticator = authenticator(config) => authenticator?,
            signal = signals.next() => {
                tracing::info!(signal, "stopped before the users were read");
                return Ok(None);
            }
        };
        let tls = Tls::load(&http.tls, http.http2.disabled != Some(true))?;
        let (listener, probes) = listeners(http).await?;
        Ok(Some(Self {
            driver,
            storage,
            store_health,
            cache,
            authenticator,
            tls,
            listener,
            probes,
        }))
    }

    /// Counts what the opened parts do, if the configuration lets somebody read the counts.
    pub(super) fn register_metrics(&mut self, http: &Http, log: &Log) -> Option<MetricsRegistry> {
        if self.probes.is_none() || http.debug.prometheus.enabled != Some(true) {
            return None;
        }
        let mut metrics = MetricsRegistry::default();
        log.register(&mut metrics);
        self.authenticator.register(&mut metrics);
        if let Some(cache) = &self.cache {
            cache.register(&mut metrics);
        }
        self.driver = Arc::new(Timed::new(Arc::clone(&self.driver), &mut metrics));
        Some(metrics)
    }
}

/// Binds the address of the registry and, if there is one, that of the probes.
async fn listeners(http: &Http) -> Result<(Listener, Option<Listener>), Error> {
    let address = http.addr.as_deref().unwrap_or(":5000");
    let main = Listener::bind(http.net.unwrap_or_default(), address)
        .await
        .map_err(|source| Error::Listen {
            key: "http.addr",
            source,
        })?;
    let Some(address) = &http.debug.addr else {
        return Ok((main, None));
    };
    let probes = Listener::bind(http.debug.net(), address)
        .await
        .map_err(|source| Error::Listen {
            key: "http.debug.addr",
            source,
        })?;
    tracing::info!("debug server listening {address}");
    Ok((main, Some(probes)))
}
