//! `serve`: a configuration becomes a running server, until a signal stops it.
//!
//! The stages, in order: [`startup`] opens the parts, [`background`] starts the tasks, [`ownership`] claims the store,
//! [`listening`] answers requests and drains them. [`wiring`] translates the configuration for all of them.
//! Start at [`run`].

mod background;
mod cache;
mod error;
mod listening;
mod maintenance;
mod middleware;
#[cfg(feature = "object-store")]
mod object_stores;
mod ownership;
mod request_log;
mod signals;
mod startup;
mod wiring;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use registry_config::model::Config;
use tokio::task::JoinHandle;

pub(super) use cache::cache;
pub(super) use error::Error;
use listening::{Front, Servers};
use ownership::Ownership;
use signals::{OtherSignals, StopSignals};
use startup::Opened;
pub(super) use wiring::{driver, validation};

use super::config_source::{self, FoundConfig};
use super::exit;
use super::output::Output;
use crate::health::Health;
use crate::http::App;
use crate::http::server::Listener;
use crate::memory_budget::MemoryBudget;
use crate::registry::{Heartbeat, Registry, Settings};
use crate::telemetry;

/// Serves until a signal stops the server. Gives the exit code.
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
    let code = run_with_log(&found, &log, output);
    match code {
        exit::INTERRUPTED => log.cut(),
        _ => log.finish(),
    }
    code
}

/// Serves with a log that is already set up.
fn run_with_log(found: &FoundConfig, log: &telemetry::Log, output: &Output) -> u8 {
    for warning in &found.loaded.warnings {
        tracing::warn!("{}: {warning}", found.place);
    }
    let open_files = raise_open_file_limit();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&Error::System(error), found, output),
    };
    let code = match runtime.block_on(serve(found, log, open_files)) {
        Ok(code) => code,
        Err(error) => {
            // The log lines so far come before the error.
            log.finish();
            fail(&error, found, output)
        }
    };
    // A file call that hangs on a dead disk must not keep the process alive.
    runtime.shutdown_background();
    code
}

fn fail(error: &Error, found: &FoundConfig, output: &Output) -> u8 {
    output.error(&error.place(found), error);
    if let Some(hint) = error.hint() {
        output.hint(&hint);
    }
    exit::code(error.fault())
}

async fn serve(found: &FoundConfig, log: &telemetry::Log, open_files: Option<u64>) -> Result<u8, Error> {
    let config = &found.loaded.config;
    // Before anything that takes time, so that an early signal is not lost.
    let mut stop_signals = StopSignals::new().map_err(Error::System)?;
    let other_signals = OtherSignals::new().map_err(Error::System)?;
    let Some(mut opened) = Opened::open(config, &mut stop_signals).await? else {
        return Ok(exit::DONE);
    };
    let metrics = opened.register_metrics(&config.http, log);

    let health = Health::default();
    background::watch(&opened, config, &health)?;
    let registry = registry(config, &opened)?;
    let maintenance = &config.storage.maintenance;
    let mut ownership = Ownership::claim(&registry, maintenance.owner(), &health)
        .await
        .map_err(Box::new)?;
    let heartbeat = background::maintain(&registry, &opened.driver, maintenance, &ownership);

    let app = App::new(
        registry,
        opened.authenticator.clone(),
        wiring::options(config, &health),
    );
    log_start(found, &opened);
    tokio::spawn(signals::handle_others(
        other_signals,
        opened.authenticator,
        opened.tls.clone(),
    ));
    let front = Front {
        app,
        listener: opened.listener,
        tls: opened.tls,
        open_files,
    };
    let driver = opened.driver;
    let probes = opened.probes.map(|listener| (listener, driver));
    let servers = Servers::start(config, log, &health, front, probes, metrics);

    let signal = tokio::select! {
        signal = stop_signals.next() => signal,
        // Until now every request was answered with 503.
        error = ownership.lost() => return Err(Box::new(error).into()),
    };
    health.draining().store(true, Ordering::Relaxed);
    stop(config, servers, heartbeat, signal, &mut stop_signals).await
}

fn registry(config: &Config, opened: &Opened) -> Result<Registry, Error> {
    let settings = Settings {
        validation: validation(config)?,
        read_only: config.storage.maintenance.is_read_only(),
        request_memory: MemoryBudget::new(config.http.limits.request_memory()),
        ..Settings::default()
    };
    Ok(Registry::new(Arc::clone(&opened.driver), settings).with_cache(opened.cache.clone()))
}

/// Logs the addresses and parts of the server.
fn log_start(found: &FoundConfig, opened: &Opened) {
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        address = opened.listener.address(),
        probes = opened.probes.as_ref().map(Listener::address).unwrap_or_default(),
        storage = opened.storage,
        cache = opened.cache.as_ref().map_or("none", |cache| cache.name()),
        auth = opened.authenticator.name(),
        tls = opened.tls.is_some(),
        configuration = found.place,
        // The text is distribution's: tests of other programs wait for it and read the port.
        "listening on {}{}",
        opened.listener.address(),
        if opened.tls.is_some() { ", tls" } else { "" }
    );
}

/// Drains the server after a first signal. A second signal stops it at once.
async fn stop(
    config: &Config,
    mut servers: Servers,
    heartbeat: Option<JoinHandle<Heartbeat>>,
    signal: &'static str,
    stop_signals: &mut StopSignals,
) -> Result<u8, Error> {
    let cut = tokio::select! {
        cut = servers.drain(&config.http, signal) => cut,
        signal = stop_signals.next() => {
            tracing::warn!(signal, "stopping at once, as asked a second time");
            return Ok(exit::INTERRUPTED);
        }
    };
    servers.stop_probes().await;
    // A server whose ownership was never confirmed has no heartbeat yet.
    if let Some(heartbeat) = heartbeat.filter(JoinHandle::is_finished)
        && let Ok(heartbeat) = heartbeat.await
    {
        heartbeat.end().await;
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

/// Raises the soft limit of open files to the hard limit, and gives the limit that holds then; nothing if there is none.
/// Every connection and every blob that is read or written is an open file, and the usual soft limit of 1024 is for
/// programs that use `select`.
fn raise_open_file_limit() -> Option<u64> {
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
