//! An API server that does not answer: requests and watches that hang hold nothing up for long.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use e2e::wait::{Seen, wait_for};
use http::{Method, Request};
use kube::Client;
use kube::client::Body;
use operator::health::Health;
use operator_api::Registry;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::cluster::Cluster;
use crate::operator::{DEADLINE, Operator, create, registry, rolling_out};

/// A client whose next `count` writes are swallowed: they reach no server and are never answered.
fn swallowing(client: Client, count: usize) -> (Client, Arc<AtomicUsize>) {
    let left = Arc::new(AtomicUsize::new(count));
    let (namespace, shared) = (client.default_namespace().to_owned(), Arc::clone(&left));
    let service = tower::service_fn(move |request: Request<Body>| {
        let (client, left) = (client.clone(), Arc::clone(&shared));
        async move {
            let writes = matches!(*request.method(), Method::POST | Method::PATCH);
            let take = |left: usize| left.checked_sub(1);
            if writes
                && left
                    .fetch_update(Ordering::SeqCst, Ordering::SeqCst, take)
                    .is_ok()
            {
                std::future::pending::<()>().await;
            }
            client.send(request).await
        }
    });
    (Client::new(service, namespace), left)
}

#[tokio::test]
async fn as_many_hanging_requests_as_there_are_workers_stop_no_registry() -> Result<()> {
    let cluster = Cluster::with_namespace("hanging-requests").await?;
    let (client, left) = swallowing(cluster.client.clone(), 8);
    let _operator = Operator::with_client(&cluster, client);
    let names: Vec<String> = (0..12).map(|number| format!("harbour-{number}")).collect();
    for name in &names {
        create(
            &cluster,
            &registry(name, json!({ "storage": { "emptyDir": {} } })),
        )
        .await?;
    }
    for name in &names {
        rolling_out(&cluster, name).await?;
    }
    assert_eq!(left.load(Ordering::SeqCst), 0, "all eight were swallowed");
    Ok(())
}

/// A relay in front of the API server. What goes through it can be stopped, as by a node that drops packets.
struct Relay {
    address: SocketAddr,
    /// Connections of a generation below this one carry nothing any more, and stay open.
    dead_below: watch::Sender<u64>,
    _task: tokio::task::JoinHandle<()>,
}

impl Relay {
    async fn before(server: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let (dead_below, generation) = watch::channel(0);
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                connections.spawn(forward(client, server, generation.clone()));
            }
        });
        Ok(Self {
            address,
            dead_below,
            _task: task,
        })
    }

    /// Every connection that is open carries nothing any more. New ones work.
    fn stop_open_connections(&self) {
        self.dead_below.send_modify(|generation| *generation += 1);
    }

    /// No connection carries anything any more, until [`Self::heal`].
    fn stop_everything(&self) {
        self.dead_below.send_replace(u64::MAX);
    }

    fn heal(&self) {
        self.dead_below.send_replace(u64::MAX / 2);
    }
}

async fn forward(mut client: TcpStream, server: SocketAddr, mut generation: watch::Receiver<u64>) {
    let born = *generation.borrow_and_update();
    if born == u64::MAX {
        let _healed = generation.changed().await;
        return;
    }
    let Ok(mut server) = TcpStream::connect(server).await else {
        return;
    };
    let died = async {
        let _ = generation.wait_for(|now| *now > born).await;
    };
    tokio::select! {
        _ = tokio::io::copy_bidirectional(&mut client, &mut server) => {}
        () = died => std::future::pending().await,
    }
}

async fn through(cluster: &Cluster) -> Result<(Client, Relay)> {
    let mut config = cluster.config().await?;
    let port = config
        .cluster_url
        .port_u16()
        .context("the API server's URL has no port")?;
    let relay = Relay::before((Ipv4Addr::LOCALHOST, port).into()).await?;
    config.cluster_url = format!("https://127.0.0.1:{}", relay.address.port()).parse()?;
    Ok((
        Client::try_from(operator::client::with_connection_limits(config))?,
        relay,
    ))
}

#[tokio::test]
async fn watches_whose_connections_are_dead_are_noticed() -> Result<()> {
    let cluster = Cluster::with_namespace("hanging-watches").await?;
    let (client, relay) = through(&cluster).await?;
    let _operator = Operator::with_client(&cluster, client);
    let empty_dir = || json!({ "storage": { "emptyDir": {} } });
    create(&cluster, &registry("harbour", empty_dir())).await?;
    rolling_out(&cluster, "harbour").await?;
    relay.stop_open_connections();
    create(&cluster, &registry("pier", empty_dir())).await?;
    // Without a limit of their own the watches notice it after 295 s.
    wait_for(
        "a Registry that no live watch told of",
        DEADLINE * 2,
        async || {
            let status = cluster.api::<Registry>().get("pier").await?.status;
            Ok(
                match status.is_some_and(|status| status.observed_generation.is_some_and(|seen| seen > 0)) {
                    true => Seen::Done(()),
                    false => Seen::NotYet("no status".to_owned()),
                },
            )
        },
    )
    .await
}

#[tokio::test]
async fn an_api_server_that_stops_answering_makes_the_operator_unready_until_it_answers() -> Result<()> {
    let cluster = Cluster::with_namespace("hanging-server").await?;
    let (client, relay) = through(&cluster).await?;
    let operator = Operator::with_client(&cluster, client);
    is_ready(&operator.health, true).await?;
    relay.stop_everything();
    is_ready(&operator.health, false).await?;
    relay.heal();
    is_ready(&operator.health, true).await
}

async fn is_ready(health: &Health, wanted: bool) -> Result<()> {
    wait_for("the operator's readiness", Duration::from_secs(120), async || {
        Ok(match health.is_ready() == wanted {
            true => Seen::Done(()),
            false => Seen::NotYet(format!("ready: {}", !wanted)),
        })
    })
    .await
}
