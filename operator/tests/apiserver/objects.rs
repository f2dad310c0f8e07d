//! The objects a Registry becomes: created, put back after drift, changed, deleted.

use anyhow::Result;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{
    ConfigMap, Namespace, PersistentVolumeClaim, Pod, Secret, Service, ServiceAccount,
};
use k8s_openapi::api::networking::v1::Ingress;
use kube::Api;
use kube::api::{DeleteParams, ObjectMeta, Patch, PatchParams, PostParams};
use operator_api::{EndpointState, Registry};
use serde_json::json;

use crate::cluster::Cluster;
use crate::operator::{
    Operator, USERS, create, htpasswd, merge, object, reason, registry, rolling_out, secret, told,
};

#[tokio::test]
async fn the_first_reconcile_reports_all_conditions_with_the_generation_they_are_about() -> Result<()> {
    let cluster = Cluster::with_namespace("objects-conditions").await?;
    let _operator = Operator::start(&cluster);
    create(&cluster, &registry("harbour", json!({}))).await?;
    let seen = rolling_out(&cluster, "harbour").await?;
    let [ready, reconciling, stalled] = &seen;
    let states = [ready, reconciling, stalled].map(|c| (c.status.as_str(), c.observed_generation));
    assert_eq!(
        states,
        [("False", Some(1)), ("True", Some(1)), ("False", Some(1))]
    );
    assert_eq!(
        told(&seen),
        "PersistentVolumeClaim `harbour-data` is Pending; see what it waits for with `kubectl describe \
         persistentvolumeclaim harbour-data`"
    );
    let status = cluster
        .api::<Registry>()
        .get("harbour")
        .await?
        .status
        .unwrap_or_default();
    let endpoint = status
        .endpoints
        .first()
        .map(|endpoint| (endpoint.url.as_str(), endpoint.state));
    let address = "https://harbour.objects-conditions.svc:5000";
    assert_eq!(endpoint, Some((address, EndpointState::Pending)));
    assert_eq!(status.url, None, "nobody has answered there");
    assert_eq!(status.selector.as_deref(), Some("berth.dev/registry=harbour"));
    assert_eq!(
        status.tls.and_then(|tls| tls.ca_config_map).as_deref(),
        Some("harbour-ca")
    );
    assert_eq!(
        status.storage.and_then(|storage| storage.claim_name).as_deref(),
        Some("harbour-data")
    );
    Ok(())
}

#[tokio::test]
async fn its_pods_are_admitted_where_pod_security_restricted_is_enforced() -> Result<()> {
    let cluster = Cluster::with_namespace("objects-restricted").await?;
    let labels = json!({ "metadata": { "labels": { "pod-security.kubernetes.io/enforce": "restricted" } } });
    Api::<Namespace>::all(cluster.client.clone())
        .patch(&cluster.namespace, &PatchParams::default(), &Patch::Merge(labels))
        .await?;
    let _operator = Operator::start(&cluster);
    create(&cluster, &secret("users", &[("htpasswd", USERS)])).await?;
    let everything = json!({
        "auth": htpasswd(),
        "pod": { "volumes": [{ "name": "more", "mountPath": "/more", "secret": { "name": "users" } }] },
    });
    create(&cluster, &registry("harbour", everything)).await?;
    rolling_out(&cluster, "harbour").await?;
    let deployment = cluster.api::<Deployment>().get("harbour").await?;
    let template = deployment.spec.map(|spec| spec.template).unwrap_or_default();
    let pod = Pod {
        metadata: ObjectMeta {
            name: Some("trial".to_owned()),
            ..template.metadata.unwrap_or_default()
        },
        spec: template.spec,
        status: None,
    };
    let dry_run = PostParams {
        dry_run: true,
        ..Default::default()
    };
    cluster.api::<Pod>().create(&dry_run, &pod).await?;
    // The same Pod as root is refused: the namespace really enforces.
    let mut as_root = pod;
    if let Some(spec) = &mut as_root.spec {
        spec.security_context = None;
    }
    let refused = cluster.api::<Pod>().create(&dry_run, &as_root).await;
    assert!(refused.is_err_and(|error| error.to_string().contains("violates PodSecurity \"restricted")));
    Ok(())
}

#[tokio::test]
async fn a_deleted_child_comes_back() -> Result<()> {
    let cluster = Cluster::with_namespace("objects-children").await?;
    let _operator = Operator::start(&cluster);
    create(
        &cluster,
        &registry("harbour", json!({ "ingress": { "hosts": ["harbour.example"] } })),
    )
    .await?;
    rolling_out(&cluster, "harbour").await?;
    let ca = cluster.api::<ConfigMap>().get("harbour-ca").await?.data;
    macro_rules! comes_back {
        ($($kind:ident $name:literal),* $(,)?) => {$(
            let old = cluster.api::<$kind>().get($name).await?.metadata.uid;
            cluster.api::<$kind>().delete($name, &DeleteParams::default()).await?;
            object(&cluster, $name, "comes back", |found: &$kind| {
                (found.metadata.uid != old).then_some(())
            })
            .await?;
        )*};
    }
    comes_back!(
        Deployment "harbour",
        Service "harbour",
        ServiceAccount "harbour",
        Ingress "harbour",
        ConfigMap "harbour-ca",
        Secret "harbour-cabundle",
        Secret "harbour-live",
        Secret "harbour-tls",
        Secret "harbour-edge",
        Secret "harbour-upstream",
        Secret "harbour-http",
    );
    assert_eq!(
        cluster.api::<ConfigMap>().get("harbour-ca").await?.data,
        ca,
        "clients trust another ca now"
    );
    Ok(())
}

#[tokio::test]
async fn drift_in_our_fields_is_put_back_and_other_fields_are_left_alone() -> Result<()> {
    let cluster = Cluster::with_namespace("objects-drift").await?;
    let _operator = Operator::start(&cluster);
    create(&cluster, &registry("harbour", json!({}))).await?;
    rolling_out(&cluster, "harbour").await?;
    let meddling = json!({
        "metadata": { "annotations": { "somebody.example/note": "mine" }, "labels": { "berth.dev/registry": "theirs" } },
        "spec": { "replicas": 5, "minReadySeconds": 7 },
    });
    merge::<Deployment>(&cluster, "harbour", meddling).await?;
    let deployment = object(&cluster, "harbour", "is put back", |found: &Deployment| {
        (found.spec.as_ref()?.replicas == Some(1)).then(|| found.clone())
    })
    .await?;
    let meta = deployment.metadata;
    assert_eq!(meta.labels.unwrap_or_default()["berth.dev/registry"], "harbour");
    assert_eq!(
        meta.annotations.unwrap_or_default()["somebody.example/note"],
        "mine"
    );
    assert_eq!(deployment.spec.and_then(|spec| spec.min_ready_seconds), Some(7));
    let meddling = json!({ "data": { "ca.crt": "none", "more": "x" } });
    merge::<ConfigMap>(&cluster, "harbour-ca", meddling).await?;
    object(&cluster, "harbour-ca", "is put back", |found: &ConfigMap| {
        let data = found.data.as_ref()?;
        data["ca.crt"].contains("BEGIN CERTIFICATE").then_some(())
    })
    .await?;
    Ok(())
}

#[tokio::test]
async fn what_is_no_longer_asked_for_goes_and_what_was_changed_follows() -> Result<()> {
    let cluster = Cluster::with_namespace("objects-changes").await?;
    let _operator = Operator::start(&cluster);
    create(
        &cluster,
        &registry("harbour", json!({ "ingress": { "hosts": ["a.example"] } })),
    )
    .await?;
    rolling_out(&cluster, "harbour").await?;
    let hosts = json!({ "spec": { "ingress": { "hosts": ["a.example", "b.example"], "annotations": { "x.example/y": "z" } } } });
    merge::<Registry>(&cluster, "harbour", hosts).await?;
    object(&cluster, "harbour", "has both hosts", |ingress: &Ingress| {
        let rules = ingress.spec.as_ref()?.rules.as_ref()?;
        (rules.len() == 2 && ingress.metadata.annotations.as_ref()?.contains_key("x.example/y")).then_some(())
    })
    .await?;
    let fewer = json!({ "spec": { "ingress": { "hosts": ["b.example"], "annotations": null } } });
    merge::<Registry>(&cluster, "harbour", fewer).await?;
    object(
        &cluster,
        "harbour",
        "has one host and no foreign annotation",
        |ingress: &Ingress| {
            let rules = ingress.spec.as_ref()?.rules.as_ref()?;
            (rules.len() == 1 && !ingress.metadata.annotations.as_ref()?.contains_key("x.example/y"))
                .then_some(())
        },
    )
    .await?;
    merge::<Registry>(&cluster, "harbour", json!({ "spec": { "ingress": null } })).await?;
    gone::<Ingress>(&cluster, "harbour").await?;
    assert!(cluster.api::<Service>().get_opt("harbour").await?.is_some());
    Ok(())
}

#[tokio::test]
async fn a_claim_that_one_node_can_mount_runs_one_replica_and_says_so() -> Result<()> {
    let cluster = Cluster::with_namespace("objects-rwo").await?;
    let claim: PersistentVolumeClaim = serde_json::from_value(json!({
        "metadata": { "name": "old-data" },
        "spec": { "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "1Gi" } } },
    }))?;
    create(&cluster, &claim).await?;
    let _operator = Operator::start(&cluster);
    let storage = json!({ "persistentVolumeClaim": { "claimName": "old-data" } });
    create(
        &cluster,
        &registry("harbour", json!({ "replicas": 2, "storage": storage })),
    )
    .await?;
    let [ready, ..] = rolling_out(&cluster, "harbour").await?;
    let sentence =
        "One replica runs instead of 2, because PersistentVolumeClaim `old-data` is not ReadWriteMany";
    assert!(ready.message.contains(sentence), "got: {}", ready.message);
    let spec = cluster
        .api::<Deployment>()
        .get("harbour")
        .await?
        .spec
        .unwrap_or_default();
    assert_eq!(spec.replicas, Some(1));
    assert_eq!(
        spec.strategy.and_then(|strategy| strategy.type_).as_deref(),
        Some("Recreate")
    );
    let claim = cluster
        .api::<PersistentVolumeClaim>()
        .get("old-data")
        .await?
        .metadata;
    assert_eq!(
        (claim.labels, claim.owner_references),
        (None, None),
        "a foreign claim was touched"
    );
    Ok(())
}

#[tokio::test]
async fn other_storage_needs_its_name_in_the_annotation_and_then_the_strategy_follows() -> Result<()> {
    let cluster = Cluster::with_namespace("objects-storage").await?;
    let _operator = Operator::start(&cluster);
    let shared = json!({ "persistentVolumeClaim": { "template": { "size": "1Gi", "accessModes": ["ReadWriteMany"] } } });
    create(&cluster, &registry("harbour", json!({ "storage": shared }))).await?;
    rolling_out(&cluster, "harbour").await?;
    let before = cluster.api::<Deployment>().get("harbour").await?;
    let strategy = |deployment: &Deployment| deployment.spec.as_ref()?.strategy.as_ref()?.type_.clone();
    assert_eq!(strategy(&before).as_deref(), Some("RollingUpdate"));

    let other = json!({ "spec": { "storage": { "persistentVolumeClaim": null, "emptyDir": {} } } });
    merge::<Registry>(&cluster, "harbour", other).await?;
    let seen = reason(&cluster, "harbour", "StorageChanged").await?;
    let [_, _, stalled] = &seen;
    assert_eq!(
        told(&seen),
        "The storage changed from `persistentVolumeClaim/harbour-data` to `emptyDir`, which would show clients an empty \
         registry; copy the content, then confirm with the annotation `berth.dev/change-storage-to: emptyDir`, or change \
         the storage back"
    );
    assert_eq!(stalled.status, "True");
    let untouched = cluster.api::<Deployment>().get("harbour").await?;
    assert_eq!(
        untouched.metadata.resource_version,
        before.metadata.resource_version
    );

    let confirmed = json!({ "metadata": { "annotations": { "berth.dev/change-storage-to": "emptyDir" } } });
    merge::<Registry>(&cluster, "harbour", confirmed).await?;
    object(
        &cluster,
        "harbour",
        "is recreated instead of rolled",
        |found: &Deployment| (strategy(found).as_deref() == Some("Recreate")).then_some(()),
    )
    .await?;
    assert!(
        cluster
            .api::<PersistentVolumeClaim>()
            .get_opt("harbour-data")
            .await?
            .is_some(),
        "the content is gone"
    );
    Ok(())
}

#[tokio::test]
async fn a_registry_that_is_deleted_and_applied_again_has_its_ca_secret_and_claim_back() -> Result<()> {
    let cluster = Cluster::with_namespace("objects-again").await?;
    let _operator = Operator::start(&cluster);
    create(&cluster, &registry("harbour", json!({}))).await?;
    rolling_out(&cluster, "harbour").await?;
    let kept = async || -> Result<_> {
        Ok((
            cluster.api::<Secret>().get("harbour-ca-key").await?.data,
            cluster.api::<Secret>().get("harbour-http").await?.data,
            cluster.api::<ConfigMap>().get("harbour-ca").await?.data,
            cluster
                .api::<PersistentVolumeClaim>()
                .get("harbour-data")
                .await?
                .metadata
                .uid,
        ))
    };
    let before = kept().await?;
    cluster
        .api::<Registry>()
        .delete("harbour", &DeleteParams::default())
        .await?;
    gone::<Registry>(&cluster, "harbour").await?;
    let again = create(&cluster, &registry("harbour", json!({}))).await?;
    rolling_out(&cluster, "harbour").await?;
    assert!(kept().await? == before, "something was made anew");
    // Nothing collects garbage here: what the first Registry left has to be taken over.
    let owners = cluster
        .api::<Deployment>()
        .get("harbour")
        .await?
        .metadata
        .owner_references
        .unwrap_or_default();
    let owners: Vec<_> = owners.iter().map(|owner| Some(&owner.uid)).collect();
    assert_eq!(owners, [again.metadata.uid.as_ref()]);
    Ok(())
}

#[tokio::test]
async fn a_paused_registry_is_left_as_it_is() -> Result<()> {
    let cluster = Cluster::with_namespace("objects-paused").await?;
    let _operator = Operator::start(&cluster);
    create(&cluster, &registry("harbour", json!({}))).await?;
    rolling_out(&cluster, "harbour").await?;
    merge::<Registry>(
        &cluster,
        "harbour",
        json!({ "spec": { "paused": true, "mode": "ReadOnly" } }),
    )
    .await?;
    reason(&cluster, "harbour", "Paused").await?;
    let before = cluster
        .api::<Deployment>()
        .get("harbour")
        .await?
        .metadata
        .generation;
    merge::<Registry>(&cluster, "harbour", json!({ "spec": { "paused": false } })).await?;
    object(
        &cluster,
        "harbour",
        "follows after the pause",
        |found: &Deployment| (found.metadata.generation > before).then_some(()),
    )
    .await
}

pub(crate) async fn gone<K>(cluster: &Cluster, name: &str) -> Result<()>
where
    K: kube::Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + serde::de::DeserializeOwned,
{
    let api = cluster.api::<K>();
    e2e::wait::wait_for(
        &format!("{} `{name}` to go", K::kind(&())),
        crate::operator::DEADLINE,
        async || {
            Ok(match api.get_opt(name).await? {
                None => e2e::wait::Seen::Done(()),
                Some(found) => e2e::wait::Seen::NotYet(format!("{:?}", found.meta().deletion_timestamp)),
            })
        },
    )
    .await
}
