//! Registries that an API server stores although today's definition would refuse them: an older or a newer definition
//! took them.

use anyhow::Result;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use kube::api::{DynamicObject, ListParams};
use kube::core::ApiResource;
use operator_api::Registry;
use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::operator::{Operator, create, merge, object, reason, registry, rolling_out};

/// The definition without limits and rules.
fn without_limits() -> Result<CustomResourceDefinition> {
    fn strip(schema: &mut Value) {
        match schema {
            Value::Object(members) => {
                for limit in [
                    "minimum",
                    "maximum",
                    "maxLength",
                    "pattern",
                    "x-kubernetes-validations",
                ] {
                    members.remove(limit);
                }
                // Kubernetes 1.37 checks formats of numbers. A field that is called so has no text.
                if members.get("format").is_some_and(Value::is_string) {
                    members.remove("format");
                }
                members.values_mut().for_each(strip);
            }
            Value::Array(items) => items.iter_mut().for_each(strip),
            _ => {}
        }
    }
    let mut definition = serde_json::to_value(operator_api::crd())?;
    strip(&mut definition["spec"]["versions"][0]["schema"]);
    Ok(serde_json::from_value(definition)?)
}

/// As text: the typed client could not hold these objects, and the parser could not read the answer.
async fn store(cluster: &Cluster, name: &str, changes: Value) -> Result<()> {
    let mut object = serde_json::to_value(registry(name, json!({})))?;
    for (member, value) in changes.as_object().expect("changes are an object") {
        object["spec"][member] = value.clone();
    }
    let path = format!(
        "/apis/berth.dev/v1alpha1/namespaces/{}/registries",
        cluster.namespace
    );
    let request = http::Request::post(path)
        .header("content-type", "application/json")
        .body(serde_json::to_vec(&object)?)?;
    cluster.client.request_text(request).await?;
    Ok(())
}

fn unparsable() -> Value {
    let term = json!({ "weight": 3_000_000_000_u64, "preference": {} });
    json!({ "pod": { "affinity": { "nodeAffinity": {
        "preferredDuringSchedulingIgnoredDuringExecution": [term],
    } } } })
}

/// A nesting that the JSON parser refuses, made without recursion.
fn nested(levels: usize) -> Value {
    (0..levels).fold(json!(1), |inner, _| json!({ "a": inner }))
}

#[tokio::test]
async fn a_registry_that_cannot_be_parsed_says_so_and_holds_up_no_other() -> Result<()> {
    let cluster = Cluster::with_definition("stored-unparsable", &without_limits()?).await?;
    store(&cluster, "a-first", unparsable()).await?;
    store(&cluster, "deep", json!({ "config": nested(300) })).await?;
    let mut operator = Operator::start(&cluster);
    for start in ["first", "second"] {
        let name = format!("harbour-{start}");
        create(&cluster, &registry(&name, json!({}))).await?;
        rolling_out(&cluster, &name).await?;
        operator.stop().await?;
        // With these objects among the first it sees.
        operator = Operator::start(&cluster);
    }
    let kind = ApiResource::erase::<Registry>(&());
    let untyped = Api::<DynamicObject>::namespaced_with(cluster.client.clone(), &cluster.namespace, &kind);
    let message = e2e::wait::wait_for("the condition", crate::operator::DEADLINE, async || {
        let found = untyped.get("a-first").await?;
        let conditions = found.data["status"]["conditions"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let stalled = conditions
            .iter()
            .find(|c| c["type"] == "Stalled" && c["reason"] == "Unparsable");
        Ok(match stalled {
            Some(stalled) => e2e::wait::Seen::Done(stalled["message"].to_string()),
            None => e2e::wait::Seen::NotYet(format!("{conditions:?}")),
        })
    })
    .await?;
    assert!(message.contains("`spec.pod.affinity.nodeAffinity"), "{message}");
    let events =
        Api::<k8s_openapi::api::events::v1::Event>::namespaced(cluster.client.clone(), &cluster.namespace);
    let told = events
        .list(&ListParams::default().fields("reason=Unparsable"))
        .await?
        .items
        .len();
    assert_eq!(told, 1, "one event, also after a restart");
    // A correction is seen at once.
    merge::<Registry>(&cluster, "a-first", json!({ "spec": { "pod": null } })).await?;
    rolling_out(&cluster, "a-first").await?;
    Ok(())
}

#[tokio::test]
async fn a_wrong_name_is_told_and_holds_up_only_what_needs_it() -> Result<()> {
    let cluster = Cluster::with_definition("stored-names", &without_limits()?).await?;
    let _operator = Operator::start(&cluster);
    for (name, wrong) in [
        ("query", "users?x=1#a"),
        ("path", "users/../users"),
        ("space", "my users"),
    ] {
        let auth = json!({ "htpasswd": { "secretKeyRef": { "name": wrong } } });
        store(&cluster, name, json!({ "auth": auth })).await?;
        reason(&cluster, name, "NameInvalid").await?;
        object(&cluster, name, "exists", |_: &Service| Some(())).await?;
        cluster
            .api::<Service>()
            .delete(name, &kube::api::DeleteParams::default())
            .await?;
        object(&cluster, name, "is back", |_: &Service| Some(())).await?;
    }
    Ok(())
}
