//! Offline commands work on a store without a server. This file opens the store for them and turns their result into an
//! exit code. Servers of the store may run meanwhile.
//!
//! Guarantees: a store of another owner, and the memory of a server, are refused. Servers that share a cache learn of
//! deletions. Start at [`open`] and [`finish`].

use registry_config::model::{CacheKind, Config};

use super::config_source::FoundConfig;
use super::output::Output;
use super::{exit, serve};
use crate::fault::Fault;
use crate::registry::{CheckError, CopyError, GarbageError, LiveServerPolicy, Registry, Settings};
use crate::storage::StoreHealth;
use crate::telemetry;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// The store is the memory of a server.
    #[error("a store in memory (`storage.inmemory`) ends with its server: no other process can reach it")]
    InMemory,
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] serve::Error),
    /// The store cannot be used, and the configuration has a value that is to blame.
    #[error("{place}")]
    Placed {
        /// The file and line, or the variable.
        place: String,
        /// The cause.
        #[source]
        source: Box<serve::Error>,
    },
    /// A garbage collection failed.
    #[error(transparent)]
    Garbage(#[from] Box<GarbageError>),
    /// A check or repair failed.
    #[error(transparent)]
    Check(#[from] Box<CheckError>),
    /// A copy failed.
    #[error(transparent)]
    Copy(#[from] Box<CopyError>),
    /// The operating system refuses a thread.
    #[error("cannot start")]
    System(#[source] std::io::Error),
}

impl Error {
    fn fault(&self) -> Fault {
        match self {
            Self::InMemory => Fault::Caller,
            Self::Store(error) => error.fault(),
            Self::Placed { source, .. } => source.fault(),
            Self::Garbage(error) => error.fault(),
            Self::Check(error) => error.fault(),
            Self::Copy(error) => error.fault(),
            Self::System(_) => Fault::Permanent,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Garbage(error) => error.hint(),
            Self::Check(error) => error.hint().map(str::to_owned),
            Self::Copy(error) => error.hint().map(str::to_owned),
            Self::Store(error) => error.hint(),
            Self::Placed { source, .. } => source.hint(),
            Self::InMemory | Self::System(_) => None,
        }
    }
}

/// Runs a command with the log of a configuration, prints its error, and gives the exit code.
pub(super) fn finish(config: &Config, output: &Output, work: impl Future<Output = Result<u8, Error>>) -> u8 {
    let result = telemetry::start(&config.log)
        .map_err(Error::System)
        .and_then(|log| {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .enable_all()
                .build()
                .map_err(Error::System)?;
            let result = runtime.block_on(work);
            log.finish();
            result
        });
    match result {
        Ok(code) => code,
        Err(error) => {
            output.error("", &error);
            if let Some(hint) = error.hint() {
                output.hint(&hint);
            }
            exit::code(error.fault())
        }
    }
}

/// Opens the registry of a configuration, and gives the name of its store for messages.
///
/// # Errors
/// The store cannot be used, or belongs to another owner.
pub(super) async fn open(found: &FoundConfig) -> Result<(Registry, String), Error> {
    open_config(&found.loaded.config)
        .await
        .map_err(|error| match error {
            Error::Store(source) if !source.place(found).is_empty() => Error::Placed {
                place: source.place(found),
                source: Box::new(source),
            },
            error => error,
        })
}

async fn open_config(config: &Config) -> Result<(Registry, String), Error> {
    if config.storage.inmemory.is_some() {
        return Err(Error::InMemory);
    }
    let (driver, storage) = serve::driver(config, &StoreHealth::default())?;
    let settings = Settings {
        validation: serve::validation(config)?,
        ..Settings::default()
    };
    // Servers that share a cache in Redis have to learn of deletions. A cache in a server's memory is short-lived.
    let cache = match config.storage.cache.kind() {
        Some(CacheKind::Redis) => serve::cache(config).map_err(serve::Error::from)?,
        Some(CacheKind::Inmemory) | None => None,
    };
    let registry = Registry::new(driver, settings).with_cache(cache);
    if let Some(owner) = config.storage.maintenance.owner() {
        registry
            .check_owner(owner)
            .await
            .map_err(|error| serve::Error::from(Box::new(error)))?;
    }
    Ok((registry, storage))
}

/// The policy for a server that writes to the store. A read-only configuration counts as `--force`: setting the registry
/// read-only is what a refusal asks for.
pub(super) fn live_server_policy(config: &Config, force: bool) -> LiveServerPolicy {
    match force || config.storage.maintenance.is_read_only() {
        true => LiveServerPolicy::Ignore,
        false => LiveServerPolicy::Refuse,
    }
}
