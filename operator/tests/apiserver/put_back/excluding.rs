//! Changes after which server-side apply alone would have both the old and the new.

use anyhow::{Context as _, Result, ensure};
use e2e::wait::{Seen, wait_for};
use kube::api::{DynamicObject, PostParams};
use serde_json::{Value, json};

use super::{Child, harbour};
use crate::cluster::Cluster;
use crate::operator::DEADLINE;

/// Kind and field, a change by somebody, and whether it is undone.
type Edit = (&'static str, &'static str, fn(&mut Value), fn(&Value) -> bool);

/// The API server refuses the old and the new together.
const EXCLUDING: [Edit; 7] = [
    (
        "Service",
        "the port",
        |found| found["spec"]["ports"][0]["port"] = json!(5001),
        |found| numbers(&found["spec"]["ports"], "port") == [5000],
    ),
    (
        "Service",
        "the protocol",
        |found| found["spec"]["ports"][0]["protocol"] = json!("UDP"),
        |found| {
            numbers(&found["spec"]["ports"], "port") == [5000]
                && found["spec"]["ports"][0]["protocol"] == "TCP"
        },
    ),
    (
        "Deployment",
        "a port of the container",
        |found| container(found)["ports"][0]["containerPort"] = json!(5002),
        |found| numbers(&container(&mut found.clone())["ports"], "containerPort") == [5000, 5001],
    ),
    (
        "Deployment",
        "the strategy",
        |found| {
            found["spec"]["strategy"] =
                json!({ "type": "RollingUpdate", "rollingUpdate": { "maxSurge": 3 } });
        },
        |found| found["spec"]["strategy"] == json!({ "type": "Recreate" }),
    ),
    (
        "Deployment",
        "the source of a variable",
        |found| {
            let field = json!({ "fieldRef": { "fieldPath": "metadata.name" } });
            *variable(found) = json!({ "name": "BERTH_EXTRA", "valueFrom": field });
        },
        |found| *variable(&mut found.clone()) == json!({ "name": "BERTH_EXTRA", "value": "x" }),
    ),
    (
        "Deployment",
        "the handler of a probe",
        |found| {
            let probe = container(found)["livenessProbe"]
                .as_object_mut()
                .expect("a probe");
            probe.remove("httpGet");
            probe.insert("tcpSocket".to_owned(), json!({ "port": 5000 }));
        },
        |found| {
            let probe = container(&mut found.clone())["livenessProbe"].clone();
            probe["httpGet"].is_object() && probe.get("tcpSocket").is_none()
        },
    ),
    (
        "Deployment",
        "the source of a volume",
        |found| found["spec"]["template"]["spec"]["volumes"][0] = json!({ "name": "config", "emptyDir": {} }),
        |found| {
            let volume = &found["spec"]["template"]["spec"]["volumes"][0];
            volume["configMap"].is_object() && volume.get("emptyDir").is_none()
        },
    ),
];

fn numbers(list: &Value, member: &str) -> Vec<u64> {
    let items = list.as_array().into_iter().flatten();
    let mut all: Vec<u64> = items.filter_map(|item| item[member].as_u64()).collect();
    all.sort_unstable();
    all
}

fn container(deployment: &mut Value) -> &mut Value {
    &mut deployment["spec"]["template"]["spec"]["containers"][0]
}

fn variable(deployment: &mut Value) -> &mut Value {
    let all = container(deployment)["env"].as_array_mut().expect("variables");
    let mut all = all.iter_mut();
    all.find(|variable| variable["name"] == "BERTH_EXTRA")
        .expect("the variable of the spec")
}

#[tokio::test]
async fn fields_beside_which_the_api_server_refuses_ours_are_taken_away() -> Result<()> {
    let cluster = Cluster::with_namespace("put-back-excluding").await?;
    let (operator, kinds) = harbour(&cluster).await?;
    let children = Child::all(&cluster, &kinds, "harbour").await?;
    let mut left = Vec::new();
    for (kind, what, change, is_back) in EXCLUDING {
        let child = children.iter().find(|child| child.kind == kind);
        let child = child.context("no such child")?;
        let before = child.get().await?;
        ensure!(is_back(&before), "{what}: {before}");
        changed_by_somebody(child, change).await?;
        let awaited = format!("{what} of {child} to be put back");
        let back = wait_for(&awaited, DEADLINE, async || {
            let now = child.get().await?;
            let same_address = now["spec"]["clusterIP"] == before["spec"]["clusterIP"];
            Ok(if is_back(&now) && same_address {
                Seen::Done(())
            } else {
                Seen::NotYet(now["spec"].to_string())
            })
        });
        left.extend(back.await.err().map(|error| format!("{error:#}")));
    }
    ensure!(left.is_empty(), "not put back:\n{}", left.join("\n"));
    operator.stop().await
}

/// Replaces an object that has these changes.
async fn changed_by_somebody(child: &Child, change: fn(&mut Value)) -> Result<()> {
    let params = PostParams {
        field_manager: Some("somebody".to_owned()),
        ..Default::default()
    };
    loop {
        let mut changed = child.get().await?;
        change(&mut changed);
        let changed: DynamicObject = serde_json::from_value(changed)?;
        match child.api.replace(&child.name, &params, &changed).await {
            // Somebody was faster.
            Err(kube::Error::Api(status)) if status.is_conflict() => {}
            replaced => return Ok(replaced.map(drop)?),
        }
    }
}
