//! `serve`: a configuration becomes a store, an authenticator, listeners and probes, until a signal ends it.

mod cache;
mod maintenance;
mod middleware;
#[cfg(feature = "object-store")]
mod object_stores;
mod ownership;
mod request_log;
mod signals;
mod wiring;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use ::http::Request;
use hyper::body::Incoming;
use registry_config::Loaded;
use tokio::task::JoinHandle;

pub(super) use cache::cache;
use middleware::Middleware;
use ownership::Ownership;
use signals::{OtherSignals, StopSignals};
use wiring::{authenticator, options};
pub(super) use wiring::{driver, validation};

use super::config_source::{self, FoundConfig};
use super::features::NotBuilt;
use super::output::Output;
use super::{exit, output};
use crate::auth;
use crate::fault::Fault;
use crate::health::{self, Check, Health, Probes};
use crate::http::App;
use crate::http::server::{self, ConnectionInfo, ConnectionMetrics, Listener, Protocols, Server, Stop};
use crate::http::tls::{self, Tls};
use crate::memory_budget::MemoryBudget;
use crate::registry::{Heartbeat, LiveServer, OwnerError, Registry, Settings};
#[cfg(feature = "object-store")]
use crate::storage::StoreError;
use crate::storage::{Driver, StoreHealth, Timed};
use crate::telemetry;
use crate::telemetry::metrics::Metrics;

/// Why the server did not start.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// The store's folder cannot be used.
    #[error("cannot use `storage.filesystem.rootdirectory`, `{root}`")]
    Storage {
        /// The folder.
        root: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The bucket or container cannot be used.
    #[cfg(feature = "object-store")]
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store's driver is not in this program.
    #[error(transparent)]
    NotBuilt(#[from] NotBuilt),
    /// The store is another registry's.
    #[error(transparent)]
    Owner(#[from] Box<OwnerError>),
    /// The cache cannot be used.
    #[error("cannot use the cache of `storage.cache`")]
    Cache(#[from] crate::cache::Error),
    /// Users cannot be read.
    #[error(transparent)]
    Auth(#[from] auth::Error),
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] tls::Error),
    /// Checks cannot be made.
    #[error(transparent)]
    Health(#[from] health::Error),
    /// An address cannot be had.
    #[error("cannot use `{key}`")]
    Listen {
        /// The configuration's key.
        key: &'static str,
        /// Why.
        #[source]
        source: server::Error,
    },
    /// A pattern is none. The configuration's check finds each of them first; all of them together can still be too
    /// large.
    #[error("cannot use `validation.manifests.urls`")]
    Patterns(#[from] regex::Error),
    /// The operating system refuses threads or signals.
    #[error("cannot start")]
    System(#[source] std::io::Error),
}

impl Error {
    pub(super) fn fault(&self) -> Fault {
        match self {
            Self::Storage { .. } | Self::Patterns(_) => Fault::Caller,
            #[cfg(feature = "object-store")]
            Self::Store(error) => error.fault(),
            Self::NotBuilt(_) => Fault::Caller,
            Self::Owner(error) => error.fault(),
            Self::Cache(error) => error.fault(),
            Self::Auth(error) => error.fault(),
            Self::Tls(error) => error.fault(),
            Self::Health(error) => error.fault(),
            Self::Listen { source, .. } => source.fault(),
            Self::System(_) => Fault::Permanent,
        }
    }

    /// The configuration's key whose value is to blame, to say where it comes from.
    fn key(&self) -> Option<&'static str> {
        match self {
            Self::Storage { .. } => Some("storage.filesystem.rootdirectory"),
            #[cfg(feature = "object-store")]
            Self::Store(error) => Some(error.key()),
            Self::NotBuilt(error) => Some(error.key),
            Self::Owner(_) => Some("storage.maintenance.owner"),
            Self::Cache(_) => Some("redis"),
            Self::Auth(_) => Some("auth.htpasswd.path"),
            Self::Tls(error) => Some(error.key()),
            Self::Health(_) => Some("health.http"),
            Self::Listen { key, .. } => Some(*key),
            Self::Patterns(_) => Some("validation.manifests.urls"),
            Self::System(_) => None,
        }
    }

    /// The file and line, or the variable, that the value to blame comes from; nothing when no value is.
    pub(super) fn place(&self, found: &FoundConfig) -> String {
        self.key().map(|key| found.place_of(key)).unwrap_or_default()
    }

    /// What can be done.
    pub(super) fn hint(&self) -> Option<String> {
        match self {
            Self::Owner(error) => error.hint(),
            Self::NotBuilt(error) => Some(error.hint()),
            #[cfg(feature = "object-store")]
            Self::Store(_) => None,
            Self::Storage { .. }
            | Self::Cache(_)
            | Self::Auth(_)
            | Self::Tls(_)
            | Self::Health(_)
            | Self::Listen { .. }
            | Self::Patterns(_)
            | Self::System(_) => None,
        }
    }
}

/// Serves until a signal says otherwise.
pub(super) fn run(named: Option<PathBuf>, output: &Output) -> u8 {
    let found = match config_source::find(named) {
        Ok(found) => found,
        Err(error) => {
            error.print(output);
            return exit::CALLER;
        }
    };
    let log = match telemetry::start(&found.loaded.config.log) {
        Ok(log) => log,
        Err(error) => return fail(&Error::System(error), &found, output),
    };
    let code = logged(&found, &log, output);
    match code {
        exit::INTERRUPTED => log.cut(),
        _ => log.finish(),
    }
    code
}

/// What happens once there is a log.
fn logged(found: &FoundConfig, log: &telemetry::Log, output: &Output) -> u8 {
    for warning in &found.loaded.warnings {
        tracing::warn!("{}: {warning}", found.place);
    }
    let files = raise_file_limit();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&Error::System(error), found, output),
    };
    let code = match runtime.block_on(serve(found, log, files)) {
        Ok(code) => code,
        Err(error) => {
            // What was said before stands above it.
            log.finish();
            fail(&error, found, output)
        }
    };
    // A file call that hangs on a dead disk must not keep the process alive.
    runtime.shutdown_background();
    code
}

fn fail(error: &Error, found: &FoundConfig, output: &output::Output) -> u8 {
    output.error(&error.place(found), error);
    if let Some(hint) = error.hint() {
        output.hint(&hint);
    }
    exit::code(error.fault())
}

async fn serve(found: &FoundConfig, log: &telemetry::Log, files: Option<u64>) -> Result<u8, Error> {
    let Loaded { config, .. } = &found.loaded;
    let http = &config.http;
    // Before anything that takes time, so that an early signal is not lost.
    let mut stop_signals = StopSignals::new().map_err(Error::System)?;
    let other_signals = OtherSignals::new().map_err(Error::System)?;
    let store_health = StoreHealth::default();
    let (driver, storage) = driver(config, &store_health)?;
    let cache = cache(config)?;
    let authenticator = tokio::select! {
        authenticator = authenticator(config) => authenticator?,
        signal = stop_signals.next() => {
            tracing::info!(signal, "stopped before the users were read");
            return Ok(exit::DONE);
        }
    };
    let http2 = http.http2.disabled != Some(true);
    let tls = Tls::load(&http.tls, http2)?;
    let listener = Listener::bind(
        http.net.unwrap_or_default(),
        http.addr.as_deref().unwrap_or(":5000"),
    )
    .await
    .map_err(|source| Error::Listen {
        key: "http.addr",
        source,
    })?;
    let probes = match &http.debug.addr {
        Some(address) => {
            let bound = Listener::bind(http.debug.net(), address).await;
            let listener = bound.map_err(|source| Error::Listen {
                key: "http.debug.addr",
                source,
            })?;
            tracing::info!("debug server listening {address}");
            Some(listener)
        }
        None => None,
    };

    // Counting costs little, but nothing is less when nobody can read it.
    let mut metrics = probes
        .as_ref()
        .filter(|_| http.debug.prometheus.enabled == Some(true))
        .map(|_| prometheus_client::registry::Registry::default());
    let driver: Arc<dyn Driver> = match &mut metrics {
        Some(metrics) => {
            log.register(metrics);
            authenticator.register(metrics);
            if let Some(cache) = &cache {
                cache.register(metrics);
            }
            Arc::new(Timed::new(driver, metrics))
        }
        None => driver,
    };
    let health = Health::default();
    if config.health.storagedriver.enabled != Some(false) {
        health.watch_writes(driver.name(), store_health);
    }
    for check in Check::all(&config.health, &driver)? {
        tokio::spawn(health.clone().follow(check));
    }
    if let Some(tls) = &tls {
        tokio::spawn(tls.clone().watch_files());
    }
    tokio::spawn(authenticator.clone().watch_users());
    let maintenance = &config.storage.maintenance;
    let registry = Registry::new(
        Arc::clone(&driver),
        Settings {
            validation: validation(config)?,
            read_only: maintenance.is_read_only(),
            request_memory: MemoryBudget::new(http.limits.request_memory()),
            ..Settings::default()
        },
    )
    .with_cache(cache.clone());
    let mut ownership = Ownership::claim(&registry, maintenance.owner(), &health)
        .await
        .map_err(Box::new)?;
    // One that writes nothing gives no sign.
    let presence = (!maintenance.is_read_only()).then(|| {
        let (registry, confirmed) = (registry.clone(), ownership.confirmed());
        tokio::spawn(async move {
            confirmed.wait().await;
            Heartbeat::begin(&registry, LiveServer::this_process())
        })
    });
    // A read-only registry changes nothing in its store, leftovers included; nor does one in another's.
    if !maintenance.is_read_only() {
        let confirmed = ownership.confirmed();
        tokio::spawn(async move {
            confirmed.wait().await;
            maintenance::sweep_leftovers_periodically(driver).await
        });
    }
    if let Some(purging) = maintenance::PurgeSchedule::of(maintenance) {
        let (registry, confirmed) = (registry.clone(), ownership.confirmed());
        tokio::spawn(async move {
            confirmed.wait().await;
            maintenance::purge_uploads_periodically(registry, purging).await
        });
    }
    let app = App::new(registry, authenticator.clone(), options(config, &health));

    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        address = listener.address(),
        probes = probes.as_ref().map(Listener::address).unwrap_or_default(),
        storage,
        cache = cache.map_or("none", |cache| cache.name()),
        auth = authenticator.name(),
        tls = tls.is_some(),
        configuration = found.place,
        // Distribution's words: tests of other programs wait for them, and read the port.
        "listening on {}{}",
        listener.address(),
        if tls.is_some() { ", tls" } else { "" }
    );
    tokio::spawn(signals::handle_others(other_signals, authenticator, tls.clone()));
    let protocols = Protocols {
        tls,
        h2c: http.h2c.enabled == Some(true),
    };
    let connection_metrics = ConnectionMetrics::default();
    if let Some(metrics) = &mut metrics {
        connection_metrics.register(metrics);
    }
    let middleware = Arc::new(Middleware {
        app,
        health: health.clone(),
        metrics: metrics.as_mut().map(crate::http::metrics::Metrics::new),
        access_log: (config.log.accesslog.disabled != Some(true)).then(|| log.access.clone()),
        connection_metrics: connection_metrics.clone(),
    });
    let main = Server::new(
        listener,
        protocols,
        wiring::limits(http, files),
        move |request: Request<_>, connection: ConnectionInfo| {
            Arc::clone(&middleware).answer(request, connection)
        },
    )
    .with_metrics(connection_metrics);
    let stop = Stop::default();
    let drain = http.drain();
    let main = tokio::spawn(main.run(stop.clone(), drain));
    // Answers on while requests finish, so that whoever watches sees "draining" and not a dead server.
    let stop_probes = Stop::default();
    let probes = probes.map(|listener| {
        let mut probes = Probes::new(health.clone());
        if let Some(metrics) = metrics {
            probes = probes.with_metrics(http.debug.prometheus.path(), Arc::new(Metrics::new(metrics)));
        }
        let answer = move |request: Request<Incoming>, connection: ConnectionInfo| {
            let probes = probes.clone();
            async move { probes.respond(request, connection.peer.address).await }
        };
        tokio::spawn(
            Server::new(listener, Protocols::default(), wiring::probe_limits(), answer)
                .run(stop_probes.clone(), Default::default()),
        )
    });

    let signal = tokio::select! {
        signal = stop_signals.next() => signal,
        // Nothing was answered until now but that the server is out of service.
        error = ownership.lost() => return Err(Box::new(error).into()),
    };
    health.draining().store(true, Ordering::Relaxed);
    let delay = http.drain_delay();
    let ended = async {
        if !delay.is_zero() {
            // Load balancers and proxies that go by readiness hear of it a probe or two later; whom they send until
            // then must not be refused.
            tracing::info!(
                signal,
                ?delay,
                "stopping soon: unready, and still taking connections"
            );
            tokio::time::sleep(delay).await;
        }
        tracing::info!(signal, drain = ?drain, "stopping: no new connections, running requests finish");
        stop.stop();
        main.await.unwrap_or(0)
    };
    let cut = tokio::select! {
        cut = ended => cut,
        signal = stop_signals.next() => {
            tracing::warn!(signal, "stopping at once, as asked a second time");
            return Ok(exit::INTERRUPTED);
        }
    };
    stop_probes.stop();
    if let Some(probes) = probes {
        let _ = probes.await;
    }
    // Where it is not known whose store it is, no sign was given.
    if let Some(presence) = presence.filter(JoinHandle::is_finished)
        && let Ok(presence) = presence.await
    {
        presence.end().await;
    }
    match cut {
        0 => tracing::info!("stopped"),
        cut => tracing::warn!(
            cut,
            "stopped: requests were still running after `http.draintimeout` and were cut"
        ),
    }
    Ok(exit::DONE)
}

/// Takes as many open files as the system lets this process have: every connection and every blob on its way is
/// one, and the usual soft limit of 1024 is for programs that use `select`. Gives how many it has; nothing when
/// there is no limit.
fn raise_file_limit() -> Option<u64> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return limit.current;
    }
    let most = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    match setrlimit(Resource::Nofile, most) {
        Ok(()) => limit.maximum,
        Err(error) => {
            tracing::debug!(%error, "the limit of open files stays as it is");
            limit.current
        }
    }
}
