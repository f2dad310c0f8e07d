//! Every child that is deleted and every field that is changed is put back; what others add is left.
//!
//! The fields are those that the API server says the operator has applied, one after the other. Every fifth is taken,
//! from a random one on; `BERTH_SAMPLE=all` takes all.

mod excluding;
mod fields;

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use e2e::sample::Sample;
use e2e::wait::{Seen, wait_for};
use futures_util::future::try_join_all;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt as _};
use operator_api::Registry;
use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::operator::{
    DEADLINE, Operator, USERS, create, htpasswd, merge, object, reason, registry, rolling_out, secret,
};
use crate::snapshot::{ApiResources, Snapshot};
use fields::Field;

/// A child, and the requests for its kind.
struct Child {
    kind: String,
    name: String,
    api: Api<DynamicObject>,
}

impl Child {
    /// All children of a Registry.
    async fn all(cluster: &Cluster, kinds: &ApiResources, registry: &str) -> Result<Vec<Self>> {
        let label = ListParams::default().labels(&format!("berth.dev/registry={registry}"));
        let mut children = Vec::new();
        for kind in kinds.iter() {
            let api: Api<DynamicObject> =
                Api::namespaced_with(cluster.client.clone(), &cluster.namespace, kind);
            for found in api.list(&label).await? {
                children.push(Self {
                    kind: kind.kind.clone(),
                    name: found.name_any(),
                    api: api.clone(),
                });
            }
        }
        Ok(children)
    }

    async fn get(&self) -> Result<Value> {
        Ok(serde_json::to_value(self.api.get(&self.name).await?)?)
    }
}

impl std::fmt::Display for Child {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} `{}`", self.kind, self.name)
    }
}

async fn harbour(cluster: &Cluster) -> Result<(Operator, ApiResources)> {
    let operator = Operator::start(cluster);
    create(cluster, &secret("users", &[("htpasswd", USERS)])).await?;
    let spec = json!({
        "auth": htpasswd(),
        "ingress": { "hosts": ["harbour.example"], "className": "front", "annotations": { "x.example/y": "z" } },
        "service": { "type": "NodePort", "labels": { "x.example/y": "z" } },
        "pod": {
            "resources": { "requests": { "cpu": "100m", "memory": "64Mi" }, "limits": { "memory": "256Mi" } },
            "env": [{ "name": "BERTH_EXTRA", "value": "x" }],
            "nodeSelector": { "x.example/disk": "fast" },
            "tolerations": [{ "key": "x.example/taint", "operator": "Exists" }],
        },
    });
    create(cluster, &registry("harbour", spec)).await?;
    rolling_out(cluster, "harbour").await?;
    Ok((operator, ApiResources::of(cluster).await?))
}

/// Whether deleting this child loses something that nobody can make again. Other tests say what happens then.
fn is_made_once(child: &Child) -> bool {
    child.kind == "PersistentVolumeClaim" || ["-ca-key", "-http"].iter().any(|end| child.name.ends_with(end))
}

async fn deleted_and_back(child: &Child) -> Result<()> {
    let old = child.api.get(&child.name).await?.uid();
    child.api.delete(&child.name, &DeleteParams::default()).await?;
    wait_for(&format!("{child} to be back"), DEADLINE, async || {
        let now = child.api.get_opt(&child.name).await?;
        Ok(match now.filter(|now| now.uid() != old) {
            Some(_) => Seen::Done(()),
            None => Seen::NotYet("it is not there".to_owned()),
        })
    })
    .await
}

#[tokio::test]
async fn every_child_that_is_deleted_is_back_as_it_was() -> Result<()> {
    let cluster = Cluster::with_namespace("put-back-deleted").await?;
    let (operator, kinds) = harbour(&cluster).await?;
    let before = Snapshot::of(&cluster, &kinds).await?;
    let generated = async || -> Result<_> {
        let secrets = cluster.api::<Secret>();
        Ok((
            secrets.get("harbour-ca-key").await?.data,
            secrets.get("harbour-http").await?.data,
            cluster.api::<ConfigMap>().get("harbour-ca").await?.data,
        ))
    };
    let made = generated().await?;
    let mut slowest = (Duration::ZERO, String::new());
    for child in Child::all(&cluster, &kinds, "harbour").await? {
        if is_made_once(&child) {
            continue;
        }
        let start = Instant::now();
        deleted_and_back(&child).await?;
        slowest = slowest.max((start.elapsed(), child.to_string()));
    }
    eprintln!(
        "the slowest child was back after {:.1} s: {}",
        slowest.0.as_secs_f32(),
        slowest.1
    );
    before.reached(&cluster, &kinds).await?;
    assert!(generated().await? == made, "something was generated again");
    operator.stop().await
}

#[tokio::test]
async fn every_field_that_somebody_changes_is_put_back() -> Result<()> {
    let cluster = Cluster::with_namespace("put-back-fields").await?;
    let (operator, kinds) = harbour(&cluster).await?;
    let sample = Sample::of_this_run()?;
    let children = Child::all(&cluster, &kinds, "harbour").await?;
    let walks = children.iter().map(async |child| {
        let mut walk = Walk::default();
        let mut fields = Field::applied(&child.get().await?);
        // Without its owner it is somebody else's: tests of ownership say what happens then.
        fields.retain(|field| !field.to_string().starts_with(".metadata.ownerReferences"));
        // Without these labels an object that outlives its Registry is somebody else's.
        let owner = ["managed-by", "berth.dev/registry"];
        fields.retain(|field| {
            !is_made_once(child) || !owner.iter().any(|end| field.to_string().ends_with(end))
        });
        // Keys and certificates that somebody replaces are theirs: tests of ownership say what happens then.
        fields.retain(|field| child.kind != "Secret" || !field.to_string().starts_with(".data"));
        for (_, field) in fields.iter().enumerate().filter(|(at, _)| sample.has(*at)) {
            match put_back(child, field).await {
                Ok(true) => walk.put_back += 1,
                Ok(false) => walk.fixed += 1,
                Err(error) => walk.left.push(format!("{child}: {field}: {error:#}")),
            }
        }
        Ok::<_, anyhow::Error>(walk)
    });
    let walks = try_join_all(walks).await?;
    let put_back: usize = walks.iter().map(|walk| walk.put_back).sum();
    let fixed: usize = walks.iter().map(|walk| walk.fixed).sum();
    let left: Vec<String> = walks.into_iter().flat_map(|walk| walk.left).collect();
    eprintln!(
        "{put_back} fields of {} objects were put back; {fixed} cannot be changed (sample {sample})",
        children.len()
    );
    ensure!(left.is_empty(), "not put back:\n{}", left.join("\n"));
    ensure!(put_back > 0, "no field could be changed");
    operator.stop().await
}

#[tokio::test]
async fn a_child_that_is_deleted_while_the_configuration_is_refused_comes_back() -> Result<()> {
    let cluster = Cluster::with_namespace("put-back-refused").await?;
    let (operator, kinds) = harbour(&cluster).await?;
    let refused = json!({ "spec": { "config": { "http": { "addr": ":1" } } } });
    merge::<Registry>(&cluster, "harbour", refused).await?;
    reason(&cluster, "harbour", "ConfigKeyRefused").await?;
    let mut back = 0;
    for child in Child::all(&cluster, &kinds, "harbour").await? {
        // Content that Pods start with cannot be made from a configuration that is refused.
        let of_configuration = child.kind == "Deployment"
            || ["harbour-config-", "harbour-inputs-"]
                .iter()
                .any(|start| child.name.starts_with(start));
        if is_made_once(&child) || of_configuration {
            continue;
        }
        deleted_and_back(&child).await?;
        back += 1;
    }
    ensure!(back >= 8, "{back} children came back");
    operator.stop().await
}

/// The fields of one child.
#[derive(Default)]
struct Walk {
    put_back: usize,
    /// Those that the API server does not let anybody change.
    fixed: usize,
    /// Those that stayed as somebody made them, with the reason.
    left: Vec<String>,
}

/// Changes one field as somebody else and waits until it is as before. `false` when the API server refuses each change.
async fn put_back(child: &Child, field: &Field) -> Result<bool> {
    let Some(before) = field.value(&child.get().await?) else {
        return Ok(false);
    };
    for change in [Field::other_value, Field::removed] {
        if !edit(child, field, change).await? {
            continue;
        }
        wait_for("the field to be put back", DEADLINE, async || {
            let now = field.value(&child.get().await?);
            Ok(if now.as_ref() == Some(&before) {
                Seen::Done(())
            } else {
                Seen::NotYet(format!("{now:?} instead of {before}"))
            })
        })
        .await?;
        return Ok(true);
    }
    Ok(false)
}

/// Whether the API server takes the change.
async fn edit(child: &Child, field: &Field, change: fn(&Field, &mut Value) -> bool) -> Result<bool> {
    let params = PostParams {
        field_manager: Some("somebody".to_owned()),
        ..Default::default()
    };
    loop {
        let before = child.get().await?;
        let mut changed = before.clone();
        if !change(field, &mut changed) {
            return Ok(false);
        }
        let changed: DynamicObject = serde_json::from_value(changed)?;
        match child.api.replace(&child.name, &params, &changed).await {
            Ok(stored) => {
                // A default may have filled in the same value.
                let stored = serde_json::to_value(stored)?;
                return Ok(field.value(&stored) != field.value(&before));
            }
            // Somebody was faster.
            Err(kube::Error::Api(status)) if status.is_conflict() => {}
            Err(kube::Error::Api(_)) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
    }
}

#[tokio::test]
async fn what_others_add_is_left() -> Result<()> {
    let cluster = Cluster::with_namespace("put-back-others").await?;
    let (operator, kinds) = harbour(&cluster).await?;
    let others = PatchParams::apply("injector");
    let theirs = json!({ "annotations": { "somebody.example/note": "mine" }, "labels": { "somebody.example/team": "a" } });
    let children = Child::all(&cluster, &kinds, "harbour").await?;
    for child in &children {
        let types = child.api.get(&child.name).await?.types;
        let mut body = serde_json::to_value(types)?;
        body["metadata"] = theirs.clone();
        if child.kind == "Deployment" {
            let sidecar = json!({ "name": "sidecar", "image": "injected.example/sidecar" });
            body["spec"]["template"] = json!({
                "metadata": { "annotations": { "injected.example/at": "now" } },
                "spec": { "containers": [sidecar], "hostAliases": [{ "ip": "192.0.2.1", "hostnames": ["a.example"] }] },
            });
        }
        if child.kind == "Service" {
            body["spec"]["ports"] = json!([{ "name": "extra", "port": 9000 }]);
            body["spec"]["internalTrafficPolicy"] = json!("Local");
        }
        child
            .api
            .patch(&child.name, &others, &Patch::Apply(&body))
            .await
            .with_context(|| format!("cannot add to {child}"))?;
    }
    // A change of ours makes the operator write each object that it applies.
    for child in &children {
        let ours = json!({ "metadata": { "labels": { "app.kubernetes.io/part-of": "theirs" } } });
        if is_made_once(child) {
            continue;
        }
        child
            .api
            .patch(&child.name, &PatchParams::default(), &Patch::Merge(&ours))
            .await?;
        wait_for(&format!("{child} to be put back"), DEADLINE, async || {
            let now = child.api.get(&child.name).await?;
            Ok(
                match now.labels().get("app.kubernetes.io/part-of").map(String::as_str) {
                    Some("berth") => Seen::Done(()),
                    other => Seen::NotYet(format!("{other:?}")),
                },
            )
        })
        .await?;
    }
    for child in &children {
        let now = child.api.get(&child.name).await?;
        let kept = (
            now.annotations().get("somebody.example/note"),
            now.labels().get("somebody.example/team"),
        );
        assert_eq!(kept, (Some(&"mine".to_owned()), Some(&"a".to_owned())), "{child}");
    }
    object(&cluster, "harbour", "keeps the sidecar", |found: &Deployment| {
        let template = &found.spec.as_ref()?.template;
        let pod = template.spec.as_ref()?;
        let sidecar = pod.containers.iter().any(|container| container.name == "sidecar");
        let annotated = template
            .metadata
            .as_ref()?
            .annotations
            .as_ref()?
            .contains_key("injected.example/at");
        (sidecar && annotated && pod.host_aliases.is_some()).then_some(())
    })
    .await?;
    object(
        &cluster,
        "harbour",
        "keeps the port",
        |found: &k8s_openapi::api::core::v1::Service| {
            let spec = found.spec.as_ref()?;
            let port = spec.ports.as_ref()?.iter().any(|port| port.port == 9000);
            (port && spec.internal_traffic_policy.as_deref() == Some("Local")).then_some(())
        },
    )
    .await?;
    operator.stop().await
}
