//! Commands that work on a store from offline, beside its servers or without: how they open it, and how they end.
//!
//! Guarantees: nothing is done to a store that belongs to another owner, or that is a server's own memory; servers that
//! share a cache are told what goes. Start at [`open`].

use registry_config::model::{CacheKind, Config};

use super::config_source::FoundConfig;
use super::output::Output;
use super::{exit, serve};
use crate::fault::Fault;
use crate::registry::{CheckError, CopyError, GarbageError, LiveServerPolicy, Registry, Settings};
use crate::storage::StoreHealth;
use crate::telemetry;

/// Why nothing was done.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// The store is the server's own memory.
    #[error(
        "a store in memory (`storage.inmemory`) ends with its server: nothing of it can be reached from outside"
    )]
    InMemory,
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] serve::Error),
    /// The same, with the place of the value that is to blame.
    #[error("{place}")]
    Placed {
        /// The file and line, or the variable.
        place: String,
        /// Why.
        #[source]
        source: Box<serve::Error>,
    },
    /// The collection ended.
    #[error(transparent)]
    Garbage(#[from] Box<GarbageError>),
    /// The check or the repair ended.
    #[error(transparent)]
    Check(#[from] Box<CheckError>),
    /// The copy ended.
    #[error(transparent)]
    Copy(#[from] Box<CopyError>),
    /// The operating system gives no threads.
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

/// Runs work with the log of a configuration, and turns what it gives into an exit code.
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

/// The registry of a configuration, whose store must not be another owner's, and the store's name for people.
pub(super) async fn open(found: &FoundConfig) -> Result<(Registry, String), Error> {
    opened(&found.loaded.config).await.map_err(|error| match error {
        Error::Store(source) if !source.place(found).is_empty() => Error::Placed {
            place: source.place(found),
            source: Box::new(source),
        },
        error => error,
    })
}

async fn opened(config: &Config) -> Result<(Registry, String), Error> {
    if config.storage.inmemory.is_some() {
        return Err(Error::InMemory);
    }
    let (driver, storage) = serve::driver(config, &StoreHealth::default())?;
    let settings = Settings {
        validation: serve::validation(config)?,
        ..Settings::default()
    };
    // Servers that share a cache are told what goes. What they have in memory is theirs, and short-lived.
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

/// What a live writer means. Whoever set the store read-only has done what a refusal asks for.
pub(super) fn live_server_policy(config: &Config, force: bool) -> LiveServerPolicy {
    match force || config.storage.maintenance.is_read_only() {
        true => LiveServerPolicy::Ignore,
        false => LiveServerPolicy::Refuse,
    }
}
