//! The two HTTP servers of a process, from the first request to the last: the registry, and the probes.
//!
//! Guarantees: the probes answer until the last request of the registry is finished, so that a load balancer sees
//! "draining" and not a dead server.
//! Start at [`Servers::start`] and [`Servers::drain`].

use std::sync::Arc;

use ::http::Request;
use hyper::body::Incoming;
use prometheus_client::registry::Registry as MetricsRegistry;
use registry_config::model::{Config, Http};
use tokio::task::JoinHandle;

use super::middleware::Middleware;
use super::wiring;
use crate::health::{Health, Probes};
use crate::http::App;
use crate::http::server::{ConnectionInfo, ConnectionMetrics, Listener, Protocols, Server, Stop};
use crate::http::tls::Tls;
use crate::storage::Driver;
use crate::telemetry::Log;
use crate::telemetry::metrics::Metrics;

/// The running servers.
pub(super) struct Servers {
    /// Ends with the number of requests that were cut off.
    main: JoinHandle<usize>,
    stop_main: Stop,
    probes: Option<JoinHandle<usize>>,
    stop_probes: Stop,
}

/// The registry's address with everything that stands between a connection and the application.
pub(super) struct Front {
    pub(super) app: App,
    pub(super) listener: Listener,
    pub(super) tls: Option<Tls>,
    /// How many files this process may open; nothing if there is no limit.
    pub(super) open_files: Option<u64>,
}

impl Servers {
    /// Starts to answer on the address of the registry and, if it was opened, on that of the probes.
    pub(super) fn start(
        config: &Config,
        log: &Log,
        health: &Health,
        front: Front,
        probes: Option<(Listener, Arc<dyn Driver>)>,
        mut metrics: Option<MetricsRegistry>,
    ) -> Self {
        let http = &config.http;
        let stop_main = Stop::default();
        let connection_metrics = ConnectionMetrics::default();
        if let Some(metrics) = &mut metrics {
            connection_metrics.register(metrics);
        }
        let middleware = Arc::new(Middleware {
            app: front.app,
            health: health.clone(),
            metrics: metrics.as_mut().map(crate::http::metrics::Metrics::new),
            access_log: (config.log.accesslog.disabled != Some(true)).then(|| log.access.clone()),
            connection_metrics: connection_metrics.clone(),
        });
        let protocols = Protocols {
            tls: front.tls,
            plaintext: http.tls.allowplaintext == Some(true),
            h2c: http.h2c.enabled == Some(true),
        };
        let limits = wiring::limits(http, front.open_files);
        let answer = move |request: Request<Incoming>, connection: ConnectionInfo| {
            Arc::clone(&middleware).answer(request, connection)
        };
        let main = Server::new(front.listener, protocols, limits, answer).with_metrics(connection_metrics);
        let main = tokio::spawn(main.run(stop_main.clone(), http.drain()));
        let stop_probes = Stop::default();
        let probes = probes.map(|probes| start_probes(probes, http, health, metrics, stop_probes.clone()));
        Self {
            main,
            stop_main,
            probes,
            stop_probes,
        }
    }

    /// Stops the registry: takes connections for `http.draindelay`, then lets running requests finish. Gives the
    /// number of requests that were cut off. The probes go on.
    pub(super) async fn drain(&mut self, http: &Http, signal: &str) -> usize {
        let delay = http.drain_delay();
        if !delay.is_zero() {
            // Load balancers and proxies notice an unready server a probe or two later. Requests that they send until
            // then must not be refused.
            tracing::info!(
                signal,
                ?delay,
                "stopping soon: unready, and still taking connections"
            );
            tokio::time::sleep(delay).await;
        }
        tracing::info!(signal, drain = ?http.drain(), "stopping: no new connections, running requests finish");
        self.stop_main.stop();
        (&mut self.main).await.unwrap_or(0)
    }

    /// Stops the probes.
    pub(super) async fn stop_probes(self) {
        self.stop_probes.stop();
        if let Some(probes) = self.probes {
            let _ = probes.await;
        }
    }
}

fn start_probes(
    (listener, driver): (Listener, Arc<dyn Driver>),
    http: &Http,
    health: &Health,
    metrics: Option<MetricsRegistry>,
    stop: Stop,
) -> JoinHandle<usize> {
    let mut probes = Probes::new(health.clone()).with_storage(driver);
    if let Some(metrics) = metrics {
        probes = probes.with_metrics(http.debug.prometheus.path(), Arc::new(Metrics::new(metrics)));
    }
    let answer = move |request: Request<Incoming>, connection: ConnectionInfo| {
        let probes = probes.clone();
        async move { probes.respond(request, connection.peer.address).await }
    };
    let server = Server::new(listener, Protocols::default(), wiring::probe_limits(), answer);
    tokio::spawn(server.run(stop, Default::default()))
}
