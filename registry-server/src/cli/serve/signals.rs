//! The signals that a server handles: SIGTERM and SIGINT stop it, SIGHUP makes it read files again, and SIGQUIT, SIGUSR1 and
//! SIGUSR2, which end other programs, have no effect.
//!
//! Start at [`StopSignals`] and [`handle_others`].

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
    /// Handles the signals from now on.
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for a signal, and gives its name.
    pub(super) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// The signals that do not stop a server. SIGHUP means "read your files again". Log rotation sends QUIT, USR1 and USR2, and
/// so do people who know other programs; by default they end a process.
pub(super) struct OtherSignals {
    hangup: Signal,
    quit: Signal,
    user1: Signal,
    user2: Signal,
}

impl OtherSignals {
    /// Handles the signals from now on.
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            quit: signal(SignalKind::quit())?,
            user1: signal(SignalKind::user_defined1())?,
            user2: signal(SignalKind::user_defined2())?,
        })
    }
}

/// Handles the other signals for ever.
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
