//! The signals a server knows: those that stop it, one that makes it read files again, and those that other programs
//! end by and a registry should not.
//!
//! Start at [`StopSignals`] for the end, at [`handle_others`] for the rest.

use std::convert::Infallible;
use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::auth::Authenticator;
use crate::http::tls::Tls;

/// The signals that stop a server.
pub(super) struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    /// Takes them from now on.
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for one, and names it.
    pub(super) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// StopSignals that stop nothing. Whoever sends SIGHUP means "read your files again"; QUIT and USR1 and USR2 come from log
/// rotation and from habits with other programs, whose default is to end.
pub(super) struct OtherSignals {
    hangup: Signal,
    quit: Signal,
    user1: Signal,
    user2: Signal,
}

impl OtherSignals {
    /// Takes them from now on.
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            quit: signal(SignalKind::quit())?,
            user1: signal(SignalKind::user_defined1())?,
            user2: signal(SignalKind::user_defined2())?,
        })
    }
}

/// Answers them for ever.
pub(super) async fn handle_others(
    mut signals: OtherSignals,
    authenticator: Authenticator,
    tls: Option<Tls>,
) -> Infallible {
    loop {
        let name = tokio::select! {
            _ = signals.hangup.recv() => {
                tracing::info!("SIGHUP: users and certificates are read again; the configuration is not");
                if let Some(tls) = &tls {
                    tls.reload();
                }
                authenticator.reload().await;
                continue;
            }
            _ = signals.quit.recv() => "SIGQUIT",
            _ = signals.user1.recv() => "SIGUSR1",
            _ = signals.user2.recv() => "SIGUSR2",
        };
        tracing::info!(
            signal = name,
            "a signal without effect; SIGHUP reads files again, SIGTERM stops"
        );
    }
}
