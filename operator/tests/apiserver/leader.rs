//! Several replicas of the operator: one works, the next one takes over, and none writes beside another.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context as TaskContext, Poll};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use e2e::audit::Marker;
use e2e::wait::{Seen, wait_for};
use http::{Request, Response};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Service};
use k8s_openapi::api::events::v1::Event;
use kube::api::{DeleteParams, ListParams};
use kube::client::{Body, ClientBuilder};
use operator::leader::{self, Election, Fence, Timing};
use serde_json::json;
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;
use tower::{Layer, Service as TowerService};

use crate::cluster::Cluster;
use crate::operator::{DEADLINE, create, merge, object, registry, rolling_out};
use crate::program::Program;

const LEASE: &str = "berth-operator";

/// Short, so that the tests are; the deadline stays shorter than the Lease.
const SHORT: Timing = Timing {
    lease: Duration::from_secs(4),
    deadline: Duration::from_secs(2),
    retry: Duration::from_millis(500),
};

/// One replica: its controller in this process.
struct Replica {
    fence: Fence,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<Result<()>>,
}

impl Replica {
    /// A replica whose requests go through `hold`.
    async fn start(cluster: &Cluster, identity: &str, hold: &Hold) -> Result<Self> {
        let election = Election {
            namespace: cluster.namespace.clone(),
            name: LEASE.to_owned(),
            identity: identity.to_owned(),
            timing: SHORT,
        };
        let fence = Fence::closed();
        let mut config = cluster.config().await?;
        config.headers.push((http::header::USER_AGENT, identity.parse()?));
        let client = ClientBuilder::try_from(config)?
            .with_layer(hold)
            .with_layer(&fence.layer(election.path()))
            .build();
        let settings = operator::Settings {
            registry_image: "registry.invalid/berth/registry:test".to_owned(),
            namespace: Some(cluster.namespace.clone()),
            ..operator::Settings::default()
        };
        let (stop, stopped) = oneshot::channel::<()>();
        let controllers = client.clone();
        let running = leader::run(
            client,
            election,
            fence.clone(),
            || {},
            async {
                let _ = stopped.await;
            },
            move |stop| {
                let stopped = async {
                    let _ = stop.await;
                };
                operator::driver::run(
                    controllers.clone(),
                    settings.clone(),
                    Default::default(),
                    Default::default(),
                    stopped,
                )
            },
        );
        Ok(Self {
            fence,
            stop: Some(stop),
            task: tokio::spawn(running),
        })
    }

    async fn leads(&self) -> Result<()> {
        wait_for("the replica to lead", DEADLINE, async || {
            Ok(match self.fence.is_open() {
                true => Seen::Done(()),
                false => Seen::NotYet("it waits".to_owned()),
            })
        })
        .await
    }

    async fn stop(mut self) -> Result<()> {
        drop(self.stop.take());
        (&mut self.task).await.context("the replica panicked")?
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A layer that holds requests back while it is told to, as a network that is down or a process that is paused.
#[derive(Clone, Default)]
struct Hold {
    /// The methods that are held.
    methods: Arc<Mutex<&'static str>>,
    released: Arc<Notify>,
    /// The requests that were held.
    held: Arc<Mutex<Vec<String>>>,
}

impl Hold {
    fn hold(&self, methods: &'static str) {
        *self.methods.lock().unwrap() = methods;
    }

    fn release(&self) {
        self.hold("");
        self.released.notify_waiters();
    }

    async fn let_through(&self, method: http::Method, path: String) {
        loop {
            let released = self.released.notified();
            if !self.methods.lock().unwrap().contains(method.as_str()) {
                return;
            }
            self.held.lock().unwrap().push(format!("{method} {path}"));
            released.await;
        }
    }
}

impl<S> Layer<S> for Hold {
    type Service = Held<S>;

    fn layer(&self, inner: S) -> Held<S> {
        Held {
            // The stack of a client is in a buffer, so that a request can wait while others go on.
            inner: Arc::new(tokio::sync::Mutex::new(inner)),
            hold: self.clone(),
        }
    }
}

struct Held<S> {
    inner: Arc<tokio::sync::Mutex<S>>,
    hold: Hold,
}

impl<S, R> TowerService<Request<Body>> for Held<S>
where
    S: TowerService<Request<Body>, Response = Response<R>> + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
    R: Send + 'static,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<R>, S::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<Result<(), S::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (inner, hold) = (Arc::clone(&self.inner), self.hold.clone());
        Box::pin(async move {
            hold.let_through(request.method().clone(), request.uri().path().to_owned())
                .await;
            let answer = {
                let mut inner = inner.lock().await;
                std::future::poll_fn(|context| inner.poll_ready(context)).await?;
                inner.call(request)
            };
            answer.await
        })
    }
}

async fn holder(cluster: &Cluster) -> Result<String> {
    let lease = cluster.api::<Lease>().get(LEASE).await?;
    Ok(lease
        .spec
        .and_then(|spec| spec.holder_identity)
        .unwrap_or_default())
}

async fn held_by(cluster: &Cluster, identity: &str) -> Result<()> {
    object(cluster, LEASE, &format!("held by {identity}"), |lease: &Lease| {
        (lease.spec.as_ref()?.holder_identity.as_deref()? == identity).then_some(())
    })
    .await
}

/// Deletes the Service and waits until it is back: somebody reconciles.
async fn somebody_reconciles(cluster: &Cluster, name: &str) -> Result<()> {
    let uid = |service: &Service| service.metadata.uid.clone();
    let before = object(cluster, name, "is there", |service: &Service| Some(uid(service))).await?;
    cluster
        .api::<Service>()
        .delete(name, &DeleteParams::default())
        .await?;
    object(cluster, name, "is back", |service: &Service| {
        (uid(service) != before).then_some(())
    })
    .await
}

#[tokio::test]
async fn a_write_of_a_leader_that_was_held_up_is_never_sent_after_its_deadline() -> Result<()> {
    let cluster = Cluster::with_namespace("leader-paused").await?;
    let (hold, none) = (Hold::default(), Hold::default());
    let first = Replica::start(&cluster, "first", &hold).await?;
    first.leads().await?;
    create(&cluster, &registry("harbour", json!({}))).await?;
    rolling_out(&cluster, "harbour").await?;
    let second = Replica::start(&cluster, "second", &none).await?;
    assert!(!second.fence.is_open(), "two replicas lead");

    // The first one sees that the Service is gone; the write that brings it back stays on its way, as do its renewals.
    hold.hold("PATCH PUT POST DELETE");
    cluster
        .api::<Service>()
        .delete("harbour", &DeleteParams::default())
        .await?;
    wait_for("a write and a renewal on their way", DEADLINE, async || {
        let held = hold.held.lock().unwrap().clone();
        let has = |text: &str| held.iter().any(|request| request.contains(text));
        Ok(match has("/services/harbour") && has("/leases/") {
            true => Seen::Done(()),
            false => Seen::NotYet(format!("{held:?}")),
        })
    })
    .await?;
    second.leads().await?;
    assert!(!first.fence.is_open(), "two replicas lead");
    held_by(&cluster, "second").await?;
    somebody_reconciles(&cluster, "harbour").await?;

    let since = Marker::now(&cluster.server.audit_log())?;
    hold.release();
    for _ in 0..3 {
        somebody_reconciles(&cluster, "harbour").await?;
    }
    let requests = since.requests()?;
    let by = |name: &str| {
        let own = requests.iter().filter(|request| request.user_agent == name);
        let writes = own.filter(|request| request.is_write() && !request.is_about_lease());
        writes.map(|request| request.uri.clone()).collect::<Vec<_>>()
    };
    assert_eq!(by("first"), Vec::<String>::new());
    assert!(!by("second").is_empty());
    held_by(&cluster, "second").await?;
    assert!(!first.fence.is_open());
    second.stop().await?;
    first.leads().await?;
    somebody_reconciles(&cluster, "harbour").await
}

#[tokio::test]
async fn a_deleted_or_edited_lease_stays_with_its_holder_or_finds_a_new_one() -> Result<()> {
    let cluster = Cluster::with_namespace("leader-edited").await?;
    let (one, other) = (Hold::default(), Hold::default());
    let first = Replica::start(&cluster, "first", &one).await?;
    first.leads().await?;
    let second = Replica::start(&cluster, "second", &other).await?;
    create(&cluster, &registry("harbour", json!({}))).await?;
    rolling_out(&cluster, "harbour").await?;

    let uid = cluster.api::<Lease>().get(LEASE).await?.metadata.uid;
    cluster
        .api::<Lease>()
        .delete(LEASE, &DeleteParams::default())
        .await?;
    object(&cluster, LEASE, "is made again by its holder", |lease: &Lease| {
        let holder = lease.spec.as_ref()?.holder_identity.as_deref()?;
        (lease.metadata.uid != uid && holder == "first").then_some(())
    })
    .await?;
    assert!(first.fence.is_open() && !second.fence.is_open());

    // Labels of somebody are no loss, and stay.
    merge::<Lease>(
        &cluster,
        LEASE,
        json!({ "metadata": { "labels": { "somebody.example/note": "mine" } } }),
    )
    .await?;
    somebody_reconciles(&cluster, "harbour").await?;
    assert!(first.fence.is_open() && !second.fence.is_open());

    // A person's word moves it.
    merge::<Lease>(
        &cluster,
        LEASE,
        json!({ "spec": { "holderIdentity": "somebody" } }),
    )
    .await?;
    wait_for("the first replica to stop", DEADLINE, async || {
        let open = first.fence.is_open();
        let holder = holder(&cluster).await?;
        Ok(if !open || holder != "somebody" {
            Seen::Done(())
        } else {
            Seen::NotYet(holder)
        })
    })
    .await?;
    wait_for("one replica to lead", DEADLINE, async || {
        let leaders = [&first, &second]
            .iter()
            .filter(|replica| replica.fence.is_open())
            .count();
        Ok(match leaders {
            1 => Seen::Done(()),
            0 => Seen::NotYet("none does".to_owned()),
            _ => Seen::Never(anyhow::anyhow!("both lead")),
        })
    })
    .await?;
    somebody_reconciles(&cluster, "harbour").await?;
    let labels = cluster
        .api::<Lease>()
        .get(LEASE)
        .await?
        .metadata
        .labels
        .unwrap_or_default();
    assert_eq!(
        labels.get("somebody.example/note").map(String::as_str),
        Some("mine")
    );
    Ok(())
}

#[tokio::test]
async fn on_sigterm_the_next_replica_takes_over_at_once_and_nothing_happens_twice() -> Result<()> {
    let cluster = Cluster::with_namespace("leader-handover").await?;
    let first = Program::start(&cluster, "first")?;
    object(&cluster, LEASE, "is held", |lease: &Lease| {
        lease
            .spec
            .as_ref()?
            .holder_identity
            .as_deref()?
            .starts_with("first_")
            .then_some(())
    })
    .await?;
    let second = Program::start(&cluster, "second")?;
    create(&cluster, &registry("harbour", json!({}))).await?;
    rolling_out(&cluster, "harbour").await?;
    wait_for("the second replica to watch the Lease", DEADLINE, async || {
        let log = second.log()?;
        Ok(if log.contains("starting") {
            Seen::Done(())
        } else {
            Seen::NotYet(log)
        })
    })
    .await?;

    // A change that comes between the two is seen by the second one when it starts.
    let config = |map: &ConfigMap| map.metadata.uid.clone();
    let before = config(&cluster.api::<ConfigMap>().get("harbour-ca").await?);
    let start = Instant::now();
    first.terminate()?;
    object(&cluster, LEASE, "is taken over", |lease: &Lease| {
        lease
            .spec
            .as_ref()?
            .holder_identity
            .as_deref()?
            .starts_with("second_")
            .then_some(())
    })
    .await?;
    let taken = start.elapsed();
    cluster
        .api::<ConfigMap>()
        .delete("harbour-ca", &DeleteParams::default())
        .await?;
    object(&cluster, "harbour-ca", "is back", |map: &ConfigMap| {
        (config(map) != before).then_some(())
    })
    .await?;
    println!(
        "hand-over on SIGTERM: the Lease after {} ms, a deleted ConfigMap back after {} ms",
        taken.as_millis(),
        start.elapsed().as_millis()
    );

    let events = cluster.api::<Event>().list(&ListParams::default()).await?.items;
    let mut counts = BTreeMap::new();
    for event in &events {
        let reports = event.series.as_ref().map_or(1, |series| series.count);
        *counts
            .entry(event.reason.clone().unwrap_or_default())
            .or_insert(0) += reports;
    }
    let twice: Vec<_> = counts.iter().filter(|(_, count)| **count > 1).collect();
    assert!(!counts.is_empty() && twice.is_empty(), "{counts:?}");
    Ok(())
}

#[tokio::test]
async fn while_the_api_server_is_away_the_leader_stops_and_comes_back() -> Result<()> {
    let cluster = Cluster::with_namespace("leader-away").await?;
    let hold = Hold::default();
    let only = Replica::start(&cluster, "only", &hold).await?;
    only.leads().await?;
    create(&cluster, &registry("harbour", json!({}))).await?;
    rolling_out(&cluster, "harbour").await?;
    hold.hold("GET PATCH PUT POST DELETE");
    wait_for("the deadline", DEADLINE, async || {
        Ok(match only.fence.is_open() {
            false => Seen::Done(()),
            true => Seen::NotYet("it leads".to_owned()),
        })
    })
    .await?;
    hold.release();
    only.leads().await?;
    somebody_reconciles(&cluster, "harbour").await
}
