//! Keeps a connection to Redis, and connects again when it is lost.
//!
//! No command waits for a connection: while there is none, every command fails at once. A command that is not answered in time
//! ends its connection. So of all concurrent commands none waits longer than the timeout, and later ones do not wait at all.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rand::Rng as _;
use redis::{Cmd, ErrorKind, FromRedisValue, RedisError, RedisResult};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::connection::{Connection, Settings};
use crate::cache::Error;
use crate::fault::chain;

/// The first pause after a failed connection.
const SHORTEST: Duration = Duration::from_millis(200);
/// The longest pause.
const LONGEST: Duration = Duration::from_secs(5);

/// A connection that is made again when it is lost.
#[derive(Debug)]
pub(super) struct Keeper {
    settings: Arc<Settings>,
    state: watch::Sender<State>,
    /// Whether a refused command was logged.
    refused: AtomicBool,
    task: JoinHandle<()>,
}

#[derive(Debug, Clone)]
enum State {
    Up {
        connection: Connection,
        /// The number of the connection: a command may end only the connection that it used.
        number: u64,
    },
    Away {
        /// It was too slow. That is logged even if the next connection works.
        slow: bool,
    },
}

impl Keeper {
    /// Begins to connect. Must be called in a runtime; the connection ends with the keeper.
    pub(super) fn new(settings: Settings) -> Result<Self, Error> {
        settings.check()?;
        let settings = Arc::new(settings);
        let (state, _) = watch::channel(State::Away { slow: false });
        let task = tokio::spawn(keep(Arc::clone(&settings), state.clone()));
        Ok(Self {
            settings,
            state,
            refused: AtomicBool::new(false),
            task,
        })
    }

    /// Sends a command, if there is a connection.
    pub(super) async fn ask<T: FromRedisValue>(&self, question: &Cmd) -> RedisResult<T> {
        let state = self.state.borrow().clone();
        let State::Up {
            mut connection,
            number,
        } = state
        else {
            return Err(RedisError::from((ErrorKind::Io, "there is no connection")));
        };
        let answer = connection.ask(question).await;
        match &answer {
            Ok(_) => {}
            Err(error) if is_refusal(error) => {
                if !self.refused.swap(true, Ordering::Relaxed) {
                    tracing::warn!(
                        servers = %self.settings.servers,
                        error = chain(error),
                        "Redis refuses what the cache of descriptors asks; said once"
                    );
                }
            }
            Err(error) => self.end(number, error),
        }
        answer
    }

    /// Waits until there is a connection.
    pub(super) async fn up(&self) {
        let mut state = self.state.subscribe();
        // The sender is a field of this type, so it exists.
        let _ = state.wait_for(|state| matches!(state, State::Up { .. })).await;
    }

    pub(super) fn away(&self) -> Error {
        self.settings.away()
    }

    pub(super) fn error(&self, source: RedisError) -> Error {
        self.settings.error(source)
    }

    /// Ends a connection for later commands.
    fn end(&self, used: u64, error: &RedisError) {
        self.state.send_if_modified(|state| {
            let current = matches!(state, State::Up { number, .. } if *number == used);
            if current {
                tracing::debug!(servers = %self.settings.servers, error = chain(error), "the connection to Redis ended");
                let slow = error.is_timeout();
                *state = State::Away { slow };
            }
            current
        });
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Whether a working server refused a command: it supports no scripts, is out of memory, or is read-only.
fn is_refusal(error: &RedisError) -> bool {
    matches!(
        error.code(),
        Some("ERR" | "NOPERM" | "OOM" | "WRONGTYPE" | "MISCONF" | "NOREPLICAS")
    )
}

/// Connects whenever there is no connection, for ever. Dropping the future stops it.
async fn keep(settings: Arc<Settings>, state: watch::Sender<State>) {
    let servers = &settings.servers;
    let mut changes = state.subscribe();
    let mut pause = SHORTEST;
    let mut number = 0;
    // Whether it was logged that Redis is away.
    let mut said = false;
    loop {
        // This function holds the sender, so the channel is open.
        let gone = changes
            .wait_for(|state| matches!(state, State::Away { .. }))
            .await;
        let slow = gone.is_ok_and(|state| matches!(*state, State::Away { slow: true }));
        if slow && !said {
            tracing::warn!(%servers, patience = ?settings.patience, "Redis is too slow: descriptors are read from the store");
            said = true;
        }
        match settings.connect().await {
            Ok(connection) => {
                if said || number == 0 {
                    tracing::info!(%servers, "Redis answers: descriptors are remembered there");
                    said = false;
                }
                number += 1;
                let since = Instant::now();
                state.send_replace(State::Up { connection, number });
                let _ = changes
                    .wait_for(|state| matches!(state, State::Away { .. }))
                    .await;
                if since.elapsed() > LONGEST {
                    pause = SHORTEST;
                    continue;
                }
            }
            Err(error) => {
                if !said {
                    tracing::warn!(
                        error = chain(&error),
                        "Redis is away: descriptors are read from the store"
                    );
                    said = true;
                }
            }
        }
        // A random pause, so that not all replicas connect at once.
        let part = rand::rng().random_range(0.5..1.0);
        tokio::time::sleep(pause.mul_f64(part)).await;
        pause = (pause * 2).min(LONGEST);
    }
}
