//! The objects that Pods start with: immutable, kept while Pods use it, and never replaced by what is broken.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use k8s_openapi::ByteString;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, PodSpec, Secret};
use kube::api::DeleteParams;
use operator_api::Registry;
use serde_json::json;

use crate::cluster::Cluster;
use crate::operator::{
    Operator, USERS, config, create, htpasswd, inputs, merge, object, reason, registry, rolled_out,
    rolling_out, secret,
};
use crate::references::replace;

/// The Pods' template.
async fn template(cluster: &Cluster) -> Result<PodSpec> {
    let deployment = cluster.api::<Deployment>().get("harbour").await?;
    let spec = deployment.spec.context("no spec")?.template.spec;
    spec.context("no Pods")
}

async fn generation(cluster: &Cluster) -> Result<Option<i64>> {
    Ok(cluster
        .api::<Deployment>()
        .get("harbour")
        .await?
        .metadata
        .generation)
}

/// Content of the Secret that the server reads again while it runs.
async fn live(cluster: &Cluster) -> Result<BTreeMap<String, ByteString>> {
    Ok(cluster
        .api::<Secret>()
        .get("harbour-live")
        .await?
        .data
        .unwrap_or_default())
}

/// Fails when a Pod of the Deployment that starts now would not find something.
async fn everything_is_there(cluster: &Cluster) -> Result<()> {
    let pod = template(cluster).await?;
    let secret = async |name: &str, keys: Vec<String>| -> Result<()> {
        let data = cluster.api::<Secret>().get(name).await?.data.unwrap_or_default();
        for key in keys {
            assert!(data.contains_key(&key), "Secret `{name}` has no `{key}`");
        }
        Ok(())
    };
    for volume in pod.volumes.iter().flatten() {
        if let Some(source) = &volume.secret {
            let keys = source.items.iter().flatten().map(|item| item.key.clone());
            secret(source.secret_name.as_deref().unwrap_or_default(), keys.collect()).await?;
        }
        if let Some(source) = &volume.config_map {
            cluster.api::<ConfigMap>().get(&source.name).await?;
        }
        let projected = volume
            .projected
            .iter()
            .flat_map(|source| source.sources.iter().flatten());
        for source in projected.filter_map(|source| source.secret.as_ref()) {
            let keys = source.items.iter().flatten().map(|item| item.key.clone());
            secret(&source.name, keys.collect()).await?;
        }
    }
    for variable in pod.containers[0].env.iter().flatten() {
        let from = variable
            .value_from
            .as_ref()
            .and_then(|from| from.secret_key_ref.as_ref());
        if let Some(from) = from {
            secret(&from.name, vec![from.key.clone()]).await?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_changed_configuration_leaves_what_running_pods_were_started_with() -> Result<()> {
    let cluster = Cluster::with_namespace("revisions-kept").await?;
    let _operator = Operator::start(&cluster);
    create(&cluster, &registry("harbour", json!({}))).await?;
    rolling_out(&cluster, "harbour").await?;
    let before = config(&cluster, "harbour").await?;
    assert_eq!(before.immutable, Some(true));
    let name = before.metadata.name.clone().context("no name")?;
    // A Pod of the first rollout.
    let pod = Pod {
        metadata: kube::api::ObjectMeta {
            name: Some("old".to_owned()),
            labels: Some([("berth.dev/registry".to_owned(), "harbour".to_owned())].into()),
            ..Default::default()
        },
        spec: Some(PodSpec {
            service_account_name: None,
            ..template(&cluster).await?
        }),
        status: None,
    };
    create(&cluster, &pod).await?;

    let changed = json!({ "spec": { "config": { "catalog": { "maxentries": 7 } } } });
    merge::<Registry>(&cluster, "harbour", changed).await?;
    object(
        &cluster,
        "harbour",
        "uses another configuration",
        |found: &Deployment| {
            let volumes = found.spec.as_ref()?.template.spec.as_ref()?.volumes.as_ref()?;
            let used = volumes
                .iter()
                .find_map(|volume| Some(&volume.config_map.as_ref()?.name))?;
            (*used != name).then_some(())
        },
    )
    .await?;
    let kept = cluster.api::<ConfigMap>().get(&name).await?;
    assert_eq!(
        kept.data, before.data,
        "a Pod that restarts would take the new one"
    );
    rolled_out(&cluster, "harbour").await?;
    seen(&cluster, 1).await?;
    assert!(
        cluster.api::<ConfigMap>().get_opt(&name).await?.is_some(),
        "a Pod still uses it"
    );
    everything_is_there(&cluster).await?;

    cluster
        .api::<Pod>()
        .delete("old", &kube::api::DeleteParams::default().grace_period(0))
        .await?;
    crate::objects::gone::<ConfigMap>(&cluster, &name).await?;
    everything_is_there(&cluster).await
}

/// Waits until the status has seen so many ready Pods.
async fn seen(cluster: &Cluster, ready: i32) -> Result<()> {
    object(cluster, "harbour", "has seen the rollout", |found: &Registry| {
        (found.status.as_ref()?.ready_replicas == Some(ready)).then_some(())
    })
    .await
}

#[tokio::test]
async fn an_immutable_object_that_is_deleted_or_replaced_comes_back_as_it_was() -> Result<()> {
    let cluster = Cluster::with_namespace("revisions-back").await?;
    let _operator = Operator::start(&cluster);
    create(&cluster, &registry("harbour", json!({}))).await?;
    rolling_out(&cluster, "harbour").await?;
    let before = (
        config(&cluster, "harbour").await?,
        inputs(&cluster, "harbour").await?,
    );
    let generation_before = generation(&cluster).await?;
    let (config_name, inputs_name) = (
        before.0.metadata.name.clone().context("no name")?,
        before.1.metadata.name.clone().context("no name")?,
    );
    let api = cluster.api::<Secret>();
    api.delete(&inputs_name, &DeleteParams::default()).await?;
    object(&cluster, &inputs_name, "comes back", |found: &Secret| {
        (found.data == before.1.data && found.immutable == Some(true)).then_some(())
    })
    .await?;
    let mut other = before.0.clone();
    other.metadata.resource_version = None;
    other.metadata.uid = None;
    other.metadata.managed_fields = None;
    other.immutable = None;
    other.data = Some([("config.yml".to_owned(), "version: 0.1\n".to_owned())].into());
    let api = cluster.api::<ConfigMap>();
    api.delete(&config_name, &DeleteParams::default()).await?;
    // The operator may have been quicker; then its object is the right one.
    match api.create(&Default::default(), &other).await {
        Ok(_) => {}
        Err(kube::Error::Api(status)) if status.code == 409 => {}
        Err(error) => return Err(error.into()),
    }
    object(&cluster, &config_name, "comes back", |found: &ConfigMap| {
        (found.data == before.0.data && found.immutable == Some(true)).then_some(())
    })
    .await?;
    assert_eq!(generation(&cluster).await?, generation_before);
    Ok(())
}

#[tokio::test]
async fn users_of_a_secret_that_was_made_anew_reach_the_running_pods() -> Result<()> {
    let cluster = Cluster::with_namespace("revisions-users").await?;
    let immutable = |users: &str| Secret {
        immutable: Some(true),
        ..secret("users", &[("htpasswd", users)])
    };
    create(&cluster, &immutable(USERS)).await?;
    let _operator = Operator::start(&cluster);
    create(&cluster, &registry("harbour", json!({ "auth": htpasswd() }))).await?;
    rolling_out(&cluster, "harbour").await?;
    let before = generation(&cluster).await?;
    // The kubelet never looks at an immutable Secret again, so no Pod may mount it.
    let mounted = serde_json::to_string(&template(&cluster).await?)?;
    assert!(!mounted.contains("\"users\""), "{mounted}");
    cluster
        .api::<Secret>()
        .delete("users", &DeleteParams::default())
        .await?;
    let bob = USERS.replace("alice", "bob");
    create(&cluster, &immutable(&bob)).await?;
    object(&cluster, "harbour-live", "has the new users", |found: &Secret| {
        (found.data.as_ref()?.get("htpasswd")?.0 == bob.as_bytes()).then_some(())
    })
    .await?;
    assert_eq!(
        generation(&cluster).await?,
        before,
        "the server reads them again by itself"
    );
    Ok(())
}

#[tokio::test]
async fn broken_users_and_keys_change_nothing_for_a_pod_that_restarts() -> Result<()> {
    let cluster = Cluster::with_namespace("revisions-broken").await?;
    create(&cluster, &secret("users", &[("htpasswd", USERS)])).await?;
    create(
        &cluster,
        &secret("papers", &[("id", "AKIAEXAMPLE"), ("key", "hunter2")]),
    )
    .await?;
    let more: ConfigMap =
        serde_json::from_value(json!({ "metadata": { "name": "more" }, "data": { "a.txt": "a" } }))?;
    create(&cluster, &more).await?;
    let _operator = Operator::start(&cluster);
    let keys = json!({ "name": "papers", "accessKeyIDKey": "id", "secretAccessKeyKey": "key" });
    let bucket = json!({ "bucket": "cargo", "region": "a", "credentials": { "secret": keys } });
    let spec = json!({
        "auth": htpasswd(),
        "storage": { "s3": bucket },
        "pod": {
            "env": [{ "name": "KEY", "valueFrom": { "secretKeyRef": { "name": "papers", "key": "id" } } }],
            "volumes": [{ "name": "more", "mountPath": "/more", "configMap": { "name": "more" } }],
        },
    });
    create(&cluster, &registry("harbour", spec)).await?;
    rolling_out(&cluster, "harbour").await?;
    everything_is_there(&cluster).await?;
    let (before, started_with) = (live(&cluster).await?, inputs(&cluster, "harbour").await?);
    let generation_before = generation(&cluster).await?;

    replace(&cluster, "users", &[("htpasswd", "garbage")]).await?;
    let [ready, reconciling, _] = reason(&cluster, "harbour", "SecretInvalid").await?;
    let told = format!("{} {}", ready.message, reconciling.message);
    assert!(
        told.contains("correct it; what was good before stays in use"),
        "{told}"
    );
    // A certificate is renewed all the same.
    let renewed = json!({ "spec": { "tls": { "selfSigned": { "dnsNames": ["extra.example"] } } } });
    merge::<Registry>(&cluster, "harbour", renewed).await?;
    object(
        &cluster,
        "harbour-live",
        "has the new certificate",
        |found: &Secret| (found.data.as_ref()?.get("tls.crt") != before.get("tls.crt")).then_some(()),
    )
    .await?;
    assert_eq!(live(&cluster).await?["htpasswd"], before["htpasswd"]);
    for name in ["users", "papers"] {
        cluster
            .api::<Secret>()
            .delete(name, &DeleteParams::default())
            .await?;
    }
    cluster
        .api::<ConfigMap>()
        .delete("more", &DeleteParams::default())
        .await?;
    reason(&cluster, "harbour", "SecretNotFound").await?;
    everything_is_there(&cluster).await?;
    assert_eq!(live(&cluster).await?["htpasswd"], before["htpasswd"]);
    let after = inputs(&cluster, "harbour").await?;
    assert_eq!(after.metadata.uid, started_with.metadata.uid);
    assert_eq!(generation(&cluster).await?, generation_before);
    Ok(())
}

#[tokio::test]
async fn more_than_an_object_can_hold_is_told() -> Result<()> {
    let cluster = Cluster::with_namespace("revisions-large").await?;
    let large = "x".repeat(600_000);
    create(&cluster, &secret("large", &[("a", &large)])).await?;
    let _operator = Operator::start(&cluster);
    let variable = |name: &str| json!({ "name": name, "valueFrom": { "secretKeyRef": { "name": "large", "key": "a" } } });
    let spec = json!({ "pod": { "env": [variable("A"), variable("B")] } });
    create(&cluster, &registry("harbour", spec)).await?;
    let [ready, reconciling, _] = reason(&cluster, "harbour", "InputsTooLarge").await?;
    let told = format!("{} {}", ready.message, reconciling.message);
    assert!(told.contains("the limit is 1000000 bytes"), "{told}");
    Ok(())
}

#[tokio::test]
async fn a_large_volume_stays_with_its_author() -> Result<()> {
    let cluster = Cluster::with_namespace("revisions-volume").await?;
    let large = "x".repeat(40_000);
    create(&cluster, &secret("large", &[("a", &large)])).await?;
    let _operator = Operator::start(&cluster);
    let volume = json!({ "name": "more", "mountPath": "/more", "secret": { "name": "large" } });
    create(
        &cluster,
        &registry("harbour", json!({ "pod": { "volumes": [volume] } })),
    )
    .await?;
    rolling_out(&cluster, "harbour").await?;
    let pod = template(&cluster).await?;
    let mut volumes = pod.volumes.iter().flatten();
    let more = volumes
        .find(|volume| volume.name == "more")
        .context("no volume")?;
    let source = more
        .secret
        .as_ref()
        .and_then(|source| source.secret_name.as_deref());
    assert_eq!(source, Some("large"));
    Ok(())
}
