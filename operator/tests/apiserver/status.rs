//! The status of a Registry that serves, as far as that can be seen without nodes: the test writes what a
//! Deployment's controller, an endpoint controller and a provisioner would.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context as _, Result, ensure};
use e2e::audit::Marker;
use e2e::wait::{Seen, wait_for};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Event, Namespace, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use operator_api::{EndpointState, Registry, RegistryStatus};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::cluster::Cluster;
use crate::operator::{DEADLINE, Operator, create, merge, object, reason, registry, rolling_out, told};

/// A registry without a volume.
pub(crate) fn on_a_folder(changes: Value) -> Registry {
    let mut spec = json!({ "storage": { "emptyDir": {} } });
    for (member, value) in changes.as_object().expect("changes are an object") {
        spec[member] = value.clone();
    }
    registry("harbour", spec)
}

/// Writes what Kubernetes' controllers would when so many Pods of the Deployment's newest template are ready.
pub(crate) async fn pods_are_ready(cluster: &Cluster, name: &str, ready: i32) -> Result<()> {
    let generation = cluster.api::<Deployment>().get(name).await?.metadata.generation;
    let wanted = cluster
        .api::<Deployment>()
        .get(name)
        .await?
        .spec
        .and_then(|spec| spec.replicas);
    let status = json!({ "status": {
        "observedGeneration": generation, "replicas": wanted, "updatedReplicas": wanted, "readyReplicas": ready,
        "availableReplicas": ready,
        "conditions": [{ "type": "Available", "status": "True", "reason": "A", "message": "" }],
    } });
    cluster
        .api::<Deployment>()
        .patch_status(name, &PatchParams::default(), &Patch::Merge(status))
        .await?;
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": name,
            "labels": { "kubernetes.io/service-name": name, "berth.dev/registry": name },
        },
        "addressType": "IPv4",
        "endpoints": [{ "addresses": ["10.0.0.1"], "conditions": { "ready": ready > 0 } }],
    });
    cluster
        .api::<EndpointSlice>()
        .patch(name, &PatchParams::apply("test").force(), &Patch::Apply(slice))
        .await?;
    Ok(())
}

/// Waits until the status satisfies `look`.
async fn status(
    cluster: &Cluster,
    what: &str,
    look: impl Fn(&RegistryStatus) -> bool,
) -> Result<RegistryStatus> {
    object(cluster, "harbour", what, |registry: &Registry| {
        registry.status.clone().filter(|status| look(status))
    })
    .await
}

/// Ready, Reconciling and Stalled as letters.
fn letters(status: &RegistryStatus) -> String {
    let letter = |kind: &&str| {
        let mut conditions = status.conditions.iter();
        conditions
            .find(|c| c.type_ == *kind)
            .map_or("-", |c| &c.status[..1])
    };
    ["Ready", "Reconciling", "Stalled"].iter().map(letter).collect()
}

#[tokio::test]
async fn before_the_first_reconcile_nobody_takes_a_registry_for_current() -> Result<()> {
    let cluster = Cluster::with_namespace("status-default").await?;
    let created = create(&cluster, &on_a_folder(json!({}))).await?;
    let read = cluster.api::<Registry>().get("harbour").await?;
    for (when, registry) in [("created", created), ("read", read)] {
        let status = registry.status.with_context(|| format!("{when}: no status"))?;
        // kstatus: InProgress, because the observed generation is another one.
        assert_eq!(status.observed_generation, Some(-1), "{when}");
        let ready = &status.conditions[0];
        assert_eq!(
            (ready.type_.as_str(), ready.status.as_str()),
            ("Ready", "Unknown"),
            "{when}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_registry_that_serves_stays_ready_while_a_pod_moves_and_while_a_change_is_refused() -> Result<()> {
    let cluster = Cluster::with_namespace("status-serving").await?;
    let _operator = Operator::start(&cluster);
    let bucket = json!({ "bucket": "cargo", "region": "north-1", "credentials": { "workloadIdentity": {} } });
    let spec = json!({ "replicas": 3, "probe": "Disabled", "storage": { "s3": bucket } });
    create(&cluster, &registry("harbour", spec)).await?;
    rolling_out(&cluster, "harbour").await?;
    pods_are_ready(&cluster, "harbour", 3).await?;
    let serving = status(&cluster, "serves", |status| letters(status) == "TFF").await?;
    assert_eq!(
        serving.url.as_deref(),
        Some("https://harbour.status-serving.svc:5000"),
        "nobody may ask"
    );
    assert_eq!(
        serving.image.as_deref(),
        Some("registry.invalid/berth/registry:test")
    );

    pods_are_ready(&cluster, "harbour", 2).await?;
    let [ready, reconciling, _] = reason(&cluster, "harbour", "RollingOut").await?;
    assert_eq!(
        (ready.status.as_str(), ready.message.as_str()),
        ("True", "Serving with 2 of 3 replicas")
    );
    assert_eq!(reconciling.message, "2 of 3 replicas are ready");
    pods_are_ready(&cluster, "harbour", 3).await?;

    let refused = json!({ "spec": { "config": { "http": { "secret": "x" } } } });
    merge::<Registry>(&cluster, "harbour", refused).await?;
    let seen = reason(&cluster, "harbour", "ConfigKeyRefused").await?;
    let [ready, _, stalled] = &seen;
    assert_eq!((ready.status.as_str(), stalled.status.as_str()), ("True", "True"));
    assert_eq!(
        told(&seen),
        "`spec.config` must not set `http.secret`; use `spec.http.secretKeyRef`"
    );
    Ok(())
}

/// The answer of a server at an address that clients use.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Answers {
    AsThisRegistry,
    AsAnotherRegistry,
    WithALogin,
}

/// A server that answers each request as it was told last.
struct Proxy {
    port: u16,
    requests: Arc<AtomicUsize>,
    answers: watch::Sender<(Answers, String)>,
}

impl Proxy {
    async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let requests = Arc::new(AtomicUsize::new(0));
        let (answers, told) = watch::channel((Answers::WithALogin, String::new()));
        let counted = Arc::clone(&requests);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut head = vec![0; 2048];
                let read = stream.read(&mut head).await;
                counted.fetch_add(1, Ordering::Relaxed);
                let (answer, identity) = told.borrow().clone();
                let identity = match answer {
                    Answers::AsThisRegistry => identity,
                    Answers::AsAnotherRegistry | Answers::WithALogin => "0123456789abcdef".to_owned(),
                };
                let head = match answer {
                    Answers::WithALogin => "HTTP/1.1 302 Found\r\nlocation: /login\r\n".to_owned(),
                    _ => format!(
                        "HTTP/1.1 200 OK\r\ndocker-distribution-api-version: registry/2.0\r\nberth-registry-id: {identity}\r\n"
                    ),
                };
                if read.is_ok() {
                    let whole = format!("{head}content-length: 0\r\nconnection: close\r\n\r\n");
                    let _ = stream.write_all(whole.as_bytes()).await;
                }
            }
        });
        Ok(Self {
            port,
            requests,
            answers,
        })
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

/// The identity that the operator gave to the Registry's servers.
pub(crate) async fn identity(cluster: &Cluster) -> Result<String> {
    let maps = cluster
        .api::<ConfigMap>()
        .list(&ListParams::default())
        .await?
        .items;
    let files = maps.into_iter().filter_map(|map| map.data?.remove("config.yml"));
    let mut found = files.flat_map(|file| {
        let lines: Vec<String> = file.lines().map(str::to_owned).collect();
        let at = lines
            .iter()
            .position(|line| line.to_lowercase().contains("berth-registry-id"));
        at.map(|at| lines[at..].join(" ")).into_iter().collect::<Vec<_>>()
    });
    let rest = found.next().context("no config.yml names an identity")?;
    let is_identity = |word: &&str| word.len() == 16 && word.chars().all(|c| c.is_ascii_hexdigit());
    let mut words = rest.split(|c: char| !c.is_ascii_alphanumeric());
    let number = words
        .find(is_identity)
        .context("the identity holds no hexadecimal number")?;
    Ok(format!("r-{number}"))
}

#[tokio::test]
async fn an_address_is_published_when_this_registry_answered_there_and_a_login_ends_no_service() -> Result<()>
{
    let cluster = Cluster::with_namespace("status-url").await?;
    let proxy = Proxy::start().await?;
    let _operator = Operator::start(&cluster);
    create(&cluster, &on_a_folder(json!({ "publicURL": proxy.url() }))).await?;
    rolling_out(&cluster, "harbour").await?;
    let state = |status: &RegistryStatus| status.endpoints.first().map(|endpoint| endpoint.state);

    proxy.answers.send((Answers::AsAnotherRegistry, String::new()))?;
    pods_are_ready(&cluster, "harbour", 1).await?;
    // Ready waits for a proxy that may not know the Pods yet.
    let waiting = status(&cluster, "says what answers", |status| {
        let mut conditions = status.conditions.iter();
        conditions.any(|c| c.reason == "NotAnswering" && c.message.contains("leads to another registry"))
    })
    .await?;
    assert_eq!(letters(&waiting), "FTF");

    proxy
        .answers
        .send((Answers::AsThisRegistry, identity(&cluster).await?))?;
    let verified = status(&cluster, "is verified", |status| {
        state(status) == Some(EndpointState::Verified) && letters(status).starts_with('T')
    })
    .await?;
    assert_eq!(verified.url, Some(proxy.url()));

    // A login page in front, from now on. A changed spec makes the operator ask again.
    proxy.answers.send((Answers::WithALogin, String::new()))?;
    let before = Marker::now(&cluster.server.audit_log())?;
    let asked_before = proxy.requests.load(Ordering::Relaxed);
    pods_are_ready(&cluster, "harbour", 0).await?;
    status(&cluster, "does not serve", |status| {
        letters(status).starts_with('F')
    })
    .await?;
    pods_are_ready(&cluster, "harbour", 1).await?;
    let failed = status(&cluster, "has failed", |status| {
        state(status) == Some(EndpointState::Failed)
    })
    .await?;
    assert_eq!(letters(&failed), "TTF", "clients of the Service are served");
    assert_eq!(failed.url, None, "neither address was verified");
    let asked = proxy.requests.load(Ordering::Relaxed) - asked_before;
    ensure!(asked < 25, "the address was asked {asked} times in half a minute");
    let uri = format!(
        "/apis/apps/v1/namespaces/{}/deployments/harbour",
        cluster.namespace
    );
    let reads = before
        .requests()?
        .iter()
        .filter(|r| r.verb == "get" && r.uri == uri)
        .count();
    ensure!(
        reads < 15,
        "{reads} reconciles read the Deployment in half a minute"
    );
    Ok(())
}

#[tokio::test]
async fn a_refused_storage_class_is_named_and_becomes_an_event() -> Result<()> {
    let cluster = Cluster::with_namespace("status-class").await?;
    let _operator = Operator::start(&cluster);
    create(&cluster, &registry("harbour", json!({}))).await?;
    rolling_out(&cluster, "harbour").await?;
    let warning: Event = serde_json::from_value(json!({
        "metadata": { "name": "harbour-data.1" },
        "involvedObject": { "kind": "PersistentVolumeClaim", "name": "harbour-data", "namespace": cluster.namespace },
        "type": "Warning", "reason": "ProvisioningFailed",
        "message": "storageclass.storage.k8s.io \"fats\" not found",
        "lastTimestamp": "2026-03-01T12:00:00Z",
    }))?;
    create(&cluster, &warning).await?;
    let told = object(&cluster, "harbour", "names the class", |registry: &Registry| {
        let mut conditions = registry.status.as_ref()?.conditions.iter();
        let reconciling = conditions.find(|c| c.type_ == "Reconciling")?;
        reconciling
            .message
            .contains("\"fats\" not found")
            .then(|| reconciling.message.clone())
    })
    .await?;
    ensure!(told.contains("storageClassName"), "no way out: {told}");
    event(&cluster, "ProvisioningFailed", "Warning").await
}

/// Waits for an event about a Registry.
async fn event(cluster: &Cluster, reason: &str, type_: &str) -> Result<()> {
    let api = cluster.api::<Event>();
    wait_for(&format!("an event {reason}"), DEADLINE, async || {
        let selector = ListParams::default().fields("involvedObject.kind=Registry");
        let all: Vec<_> = api
            .list(&selector)
            .await?
            .items
            .into_iter()
            .map(|e| (e.reason, e.type_))
            .collect();
        let wanted = (Some(reason.to_owned()), Some(type_.to_owned()));
        Ok(match all.contains(&wanted) {
            true => Seen::Done(()),
            false => Seen::NotYet(format!("{all:?}")),
        })
    })
    .await
}

#[tokio::test]
async fn a_registry_that_goes_with_its_namespace_warns_nobody() -> Result<()> {
    let cluster = Cluster::with_namespace("status-namespace").await?;
    let _operator = Operator::start(&cluster);
    create(&cluster, &on_a_folder(json!({}))).await?;
    rolling_out(&cluster, "harbour").await?;
    // Without a namespace controller the namespace stays as it is: nothing can be created any more.
    Api::<Namespace>::all(cluster.client.clone())
        .delete(&cluster.namespace, &DeleteParams::default())
        .await?;
    let before = cluster.api::<Registry>().get("harbour").await?;
    let marker = Marker::now(&cluster.server.audit_log())?;
    cluster
        .api::<Service>()
        .delete("harbour", &DeleteParams::default())
        .await?;
    let services = format!("/api/v1/namespaces/{}/services", cluster.namespace);
    let tried = async |times: usize| {
        wait_for("the operator to try", DEADLINE, async || {
            let requests = marker.requests()?;
            let count = requests
                .iter()
                .filter(|r| r.uri.starts_with(&services) && r.is_write())
                .count();
            // The test itself deleted the Service.
            Ok(match count > times {
                true => Seen::Done(()),
                false => Seen::NotYet(format!("{count} writes of the Service")),
            })
        })
        .await
    };
    tried(1).await?;
    // Reconciles of one Registry never run at the same time: when the second one tries, the first has ended.
    merge::<Registry>(
        &cluster,
        "harbour",
        json!({ "metadata": { "annotations": { "a.example/b": "c" } } }),
    )
    .await?;
    tried(2).await?;
    let after = cluster.api::<Registry>().get("harbour").await?;
    assert_eq!(after.status, before.status);
    let events = cluster.api::<Event>().list(&ListParams::default()).await?.items;
    let warnings: Vec<_> = events
        .iter()
        .filter(|e| e.type_.as_deref() == Some("Warning"))
        .collect();
    ensure!(warnings.is_empty(), "{warnings:?}");
    Ok(())
}

#[tokio::test]
async fn the_wide_table_shows_what_to_do() -> Result<()> {
    let cluster = Cluster::with_namespace("status-table").await?;
    let _operator = Operator::start(&cluster);
    create(
        &cluster,
        &on_a_folder(json!({ "config": { "http": { "secret": "x" } } })),
    )
    .await?;
    reason(&cluster, "harbour", "ConfigKeyRefused").await?;
    let request = http::Request::get(format!(
        "/apis/berth.dev/v1alpha1/namespaces/{}/registries",
        cluster.namespace
    ))
    .header("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io")
    .body(Vec::new())?;
    let table: Value = cluster.client.request(request).await?;
    let names = table["columnDefinitions"].as_array().cloned().unwrap_or_default();
    let cell = |name: &str| {
        let at = names.iter().position(|column| column["name"] == name);
        at.map(|at| table["rows"][0]["cells"][at].clone())
    };
    assert_eq!(cell("Ready"), Some(json!("False")));
    assert_eq!(cell("Reason"), Some(json!("ConfigKeyRefused")));
    assert_eq!(
        cell("Message"),
        Some(json!(
            "`spec.config` must not set `http.secret`; use `spec.http.secretKeyRef`"
        ))
    );
    Ok(())
}

#[tokio::test]
async fn two_registries_with_one_host_both_say_it_until_one_gives_it_up() -> Result<()> {
    let cluster = Cluster::with_namespace("status-hosts").await?;
    let _operator = Operator::start(&cluster);
    for name in ["harbour", "pier"] {
        let spec = json!({ "storage": { "emptyDir": {} }, "ingress": { "hosts": ["a.example"] } });
        create(&cluster, &registry(name, spec)).await?;
    }
    let note = |registry: &Registry| {
        let mut conditions = registry.status.as_ref()?.conditions.iter();
        let ready = conditions.find(|c| c.type_ == "Ready")?;
        Some(ready.message.contains("claims `a.example` too"))
    };
    for name in ["harbour", "pier"] {
        object(&cluster, name, "names the other", |found| {
            note(found).filter(|told| *told)
        })
        .await?;
    }
    let other = json!({ "spec": { "ingress": { "hosts": ["b.example"] } } });
    merge::<Registry>(&cluster, "pier", other).await?;
    for name in ["harbour", "pier"] {
        object(&cluster, name, "has a host of its own", |found| {
            note(found).filter(|told| !told)
        })
        .await?;
    }
    Ok(())
}
