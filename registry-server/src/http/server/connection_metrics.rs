//! Metrics of connections, and the log lines about their limits. Each line is logged once a minute at most, or an
//! attack would fill the log as well.

use std::net::IpAddr;
use std::sync::Arc;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::client_key::ClientKey;
use crate::telemetry::LogThrottle;

/// The metrics of a listener. A clone is another handle of the same metrics.
#[derive(Debug, Clone, Default)]
pub struct ConnectionMetrics(Arc<Metrics>);

#[derive(Debug, Default)]
struct Metrics {
    open: Gauge,
    ended: Family<Reason, Counter>,
    full: LogThrottle,
    client: LogThrottle,
    stalled: LogThrottle,
    memory: LogThrottle,
    accept: LogThrottle,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

impl ConnectionMetrics {
    /// Exposes the metrics.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "registry_http_connections",
            "The open connections",
            self.0.open.clone(),
        );
        registry.register(
            "registry_http_connections_ended",
            "Connections, streams and answers that were ended because of a limit",
            self.0.ended.clone(),
        );
    }

    pub(super) fn opened(&self) {
        self.0.open.inc();
    }

    pub(super) fn closed(&self) {
        self.0.open.dec();
    }

    /// An idle connection was closed to make room for another one.
    pub(super) fn idle_closed(&self) {
        self.ended("idle");
    }

    /// All connections are in use and new ones have to wait.
    pub(super) fn full(&self) {
        if let Some(since) = self.0.full.count() {
            tracing::warn!(
                since,
                "all connections are in use: new ones wait; see `http.limits.connections` and the limit of open files"
            );
        }
    }

    /// A client with as many connections as it may have, all in use, opened another one, which was rejected.
    pub(super) fn client_refused(&self, client: ClientKey) {
        self.ended("client");
        if let Some(since) = self.0.client.count() {
            tracing::warn!(
                %client,
                since,
                "a client has as many connections as it may: another one was refused; see \
                 `http.limits.connectionsperclient` and `http.trustedproxies`"
            );
        }
    }

    /// A client read nothing of a response for too long.
    pub(super) fn stalled(&self, peer: Option<IpAddr>) {
        self.ended("stalled");
        if let Some(since) = self.0.stalled.count() {
            let peer = peer.map(|peer| peer.to_string()).unwrap_or_default();
            tracing::warn!(
                peer,
                since,
                "a client read nothing of an answer for too long: the answer was ended; see \
                 `http.limits.writetimeout`"
            );
        }
    }

    /// There is no memory for a response, so an error is sent instead.
    pub fn no_memory(&self) {
        self.ended("memory");
        if let Some(since) = self.0.memory.count() {
            tracing::warn!(
                since,
                "no memory for an answer: it was refused; see `http.limits.responsememory`"
            );
        }
    }

    /// A connection could not be accepted.
    pub(super) fn accept_failed(&self, error: &std::io::Error) {
        if let Some(since) = self.0.accept.count() {
            tracing::error!(%error, since, "cannot accept a connection; trying again");
        }
    }

    fn ended(&self, reason: &'static str) {
        self.0.ended.get_or_create(&Reason { reason }).inc();
    }
}
