//! The condition `Verified`, with a registry in this process at the published address.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use anyhow::{Context as _, Result};
use e2e::wait::{Seen, wait_for};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use k8s_openapi::api::core::v1::Event;
use kube::api::ListParams;
use operator::http_server::{self, Answer};
use operator_api::{Registry, RegistryStatus};
use serde_json::json;

use crate::cluster::Cluster;
use crate::operator::{DEADLINE, Operator, create, merge, object, rolling_out};
use crate::status::{identity, on_a_folder, pods_are_ready};

/// A registry in memory, as far as a push and a pull need it.
#[derive(Clone, Default)]
struct Server(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    identity: String,
    /// Bodies are refused as too large.
    limited: bool,
    stored: BTreeMap<String, Vec<u8>>,
    manifests_pushed: usize,
}

impl Server {
    fn start(&self) -> Result<SocketAddr> {
        let server = self.clone();
        http_server::serve("127.0.0.1:0".parse()?, "a registry", move |request| {
            let server = server.clone();
            async move { server.respond(request).await }
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no holder panics")
    }

    async fn respond(&self, request: http::Request<Incoming>) -> Answer {
        let (head, body) = request.into_parts();
        let body = body.collect().await.map(|body| body.to_bytes().to_vec());
        let body = body.unwrap_or_default();
        let path = head.uri.path().to_owned();
        let mut state = self.state();
        let (status, content) = match head.method.as_str() {
            "POST" => (202, Vec::new()),
            "PUT" if state.limited => (413, Vec::new()),
            "PUT" => {
                state.manifests_pushed += usize::from(path.contains("/manifests/"));
                let digest = head.uri.query().and_then(|query| query.split("digest=").nth(1));
                let key = digest.map_or(path, |digest| {
                    format!("/v2/berth-verify/blobs/{}", digest.replace("%3A", ":"))
                });
                state.stored.insert(key, body);
                (201, Vec::new())
            }
            "DELETE" => {
                state
                    .stored
                    .retain(|key, _| *key != path && !key.ends_with("/verify"));
                (202, Vec::new())
            }
            _ if path == "/v2/" => (200, Vec::new()),
            _ => state
                .stored
                .get(&path)
                .map_or((404, Vec::new()), |found| (200, found.clone())),
        };
        let answer = http::Response::builder()
            .status(status)
            .header("docker-distribution-api-version", "registry/2.0")
            .header("berth-registry-id", &state.identity)
            .header("location", "/v2/berth-verify/blobs/uploads/7?_state=x");
        answer.body(Full::new(content.into())).expect("a valid answer")
    }
}

/// Waits until the request is answered, and gives reason and status of the condition with the whole status.
async fn answered(cluster: &Cluster, request: &str) -> Result<(String, String, RegistryStatus)> {
    let annotation = json!({ "metadata": { "annotations": { "berth.dev/verify": request } } });
    merge::<Registry>(cluster, "harbour", annotation).await?;
    let what = format!("answers `{request}`");
    object(cluster, "harbour", &what, |registry: &Registry| {
        let status = registry.status.clone()?;
        let latest = status.verification.as_ref()?.last_handled_request.as_deref();
        let verified = status.conditions.iter().find(|c| c.type_ == "Verified")?;
        let told = (verified.status.clone(), verified.reason.clone());
        (latest == Some(request) && told.0 != "Unknown").then(|| (told.0, told.1, status.clone()))
    })
    .await
}

#[tokio::test]
async fn an_annotation_has_an_artifact_pushed_and_pulled_once_and_the_condition_shows_it() -> Result<()> {
    let cluster = Cluster::with_namespace("verified").await?;
    let server = Server::default();
    let url = format!("http://{}", server.start()?);
    let operator = Operator::start(&cluster);
    let storage = json!({ "emptyDir": {}, "deletion": "Enabled" });
    create(
        &cluster,
        &on_a_folder(json!({ "publicURL": url, "storage": storage })),
    )
    .await?;
    rolling_out(&cluster, "harbour").await?;
    server.state().identity = identity(&cluster).await?;
    pods_are_ready(&cluster, "harbour", 1).await?;
    object(
        &cluster,
        "harbour",
        "is published and Ready",
        |registry: &Registry| {
            let status = registry.status.as_ref()?;
            let asked = status.conditions.iter().any(|c| c.type_ == "Verified");
            let ready = status
                .conditions
                .iter()
                .any(|c| c.type_ == "Ready" && c.status == "True");
            (status.url.as_ref() == Some(&url) && ready && !asked).then_some(())
        },
    )
    .await?;
    assert_eq!(server.state().manifests_pushed, 0, "nobody has asked");

    let (holds, reason, status) = answered(&cluster, "monday").await?;
    assert_eq!((holds.as_str(), reason.as_str()), ("True", "PushedAndPulled"));
    assert_eq!(status.verification.context("no verification")?.url, Some(url));
    assert_eq!(server.state().manifests_pushed, 1);
    assert!(server.state().stored.is_empty(), "something was left behind");

    // Another operator finds the answer in the status.
    operator.stop().await?;
    let _operator = Operator::start(&cluster);
    let (holds, ..) = answered(&cluster, "tuesday").await?;
    assert_eq!(holds, "True");
    assert_eq!(server.state().manifests_pushed, 2);

    server.state().limited = true;
    let (holds, reason, status) = answered(&cluster, "wednesday").await?;
    assert_eq!((holds.as_str(), reason.as_str()), ("False", "PushFailed"));
    let ready = status.conditions.iter().find(|c| c.type_ == "Ready");
    assert_eq!(
        ready.map(|ready| ready.status.as_str()),
        Some("True"),
        "clients are served"
    );
    wait_for("an event about each result", DEADLINE, async || {
        let events = cluster.api::<Event>().list(&ListParams::default()).await?;
        let reasons: Vec<_> = events
            .items
            .into_iter()
            .filter_map(|event| event.reason)
            .collect();
        let told = |reason: &str| reasons.iter().any(|told| told == reason);
        Ok(match told("PushedAndPulled") && told("PushFailed") {
            true => Seen::Done(()),
            false => Seen::NotYet(reasons.join(", ")),
        })
    })
    .await
}
