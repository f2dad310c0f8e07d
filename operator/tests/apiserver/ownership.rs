//! Whose an object is: a stranger's is never written to, what the spec names is never deleted, and content that is gone is
//! told.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::ByteString;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Secret, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::Ingress;
use kube::api::{DeleteParams, ObjectMeta, Patch, PatchParams};
use operator::issue::StoredSecrets;
use operator::issue_plan::{CertificatePlan, IssuePlan};
use operator::subject::Subject;
use operator_api::Registry;
use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::objects::gone;
use crate::operator::{Operator, create, merge, object, reason, registry, rolled_out, rolling_out};

#[tokio::test]
async fn a_new_object_is_never_merged_into_one_that_has_appeared_meanwhile() -> Result<()> {
    let cluster = Cluster::with_namespace("ownership-appeared").await?;
    let harbour = create(&cluster, &registry("harbour", json!({}))).await?;
    let subject = Subject::of(&harbour.metadata);
    let settings = operator::Settings::default();
    // The steps of a reconcile, with a stranger who is quicker between reading and writing.
    let source = operator::read::Source {
        client: &cluster.client,
        cache: &operator::cache::Cache::default(),
    };
    let (facts, unread) = operator::read::facts(
        source,
        &harbour,
        &subject,
        operator::optional::OptionalObjects::default(),
    )
    .await;
    assert!(unread.is_empty(), "{unread:?}");
    let (validated, problems) = operator::validate::registry(&harbour, &subject, &facts, &settings);
    assert!(problems.is_empty(), "{problems:?}");
    let stored = StoredSecrets::of(&facts.existing);
    let issued = operator::issue::secrets(&validated.issue, stored, facts.now)?;
    let desired = operator::build::children(&validated, Some(&issued));
    let service: Service = serde_json::from_value(json!({
        "metadata": { "name": "harbour" },
        "spec": { "ports": [{ "port": 80 }], "selector": { "app": "theirs" } },
    }))?;
    let service = create(&cluster, &service).await?;
    let bundle: ConfigMap = serde_json::from_value(json!({
        "metadata": { "name": "harbour-ca" }, "data": { "theirs": "x" },
    }))?;
    let bundle = create(&cluster, &bundle).await?;
    let applied = operator::apply::children(&cluster.client, &subject, desired, &facts).await;
    let mut told: Vec<String> = applied.problems.iter().map(ToString::to_string).collect();
    told.sort();
    assert_eq!(
        told,
        [
            "ConfigMap `harbour-ca` exists and does not belong to this Registry",
            "Service `harbour` exists and does not belong to this Registry",
        ]
    );
    let after = cluster.api::<Service>().get("harbour").await?;
    assert_eq!(after.metadata.resource_version, service.metadata.resource_version);
    let after = cluster.api::<ConfigMap>().get("harbour-ca").await?;
    assert_eq!(after.metadata.resource_version, bundle.metadata.resource_version);
    // The independent children were made all the same, and those that depend on them were not.
    cluster.api::<ServiceAccount>().get("harbour").await?;
    cluster.api::<PersistentVolumeClaim>().get("harbour-data").await?;
    assert!(
        cluster.api::<Deployment>().get_opt("harbour").await?.is_none(),
        "its certificate is signed by a CA that nobody is told of"
    );
    Ok(())
}

#[tokio::test]
async fn an_object_that_the_spec_names_is_released_and_never_deleted() -> Result<()> {
    let cluster = Cluster::with_namespace("ownership-named").await?;
    let _operator = Operator::start(&cluster);
    let hosts = json!(["a.example"]);
    create(
        &cluster,
        &registry("harbour", json!({ "ingress": { "hosts": hosts } })),
    )
    .await?;
    rolling_out(&cluster, "harbour").await?;
    let certificate = cluster.api::<Secret>().get("harbour-tls").await?.data;
    let names = json!({ "spec": {
        "tls": { "secret": { "name": "harbour-tls" } },
        "ingress": { "hosts": hosts, "tls": { "secretName": "harbour-edge" } },
    } });
    merge::<Registry>(&cluster, "harbour", names).await?;
    for name in ["harbour-tls", "harbour-edge"] {
        object(&cluster, name, "is released", |secret: &Secret| {
            let meta = &secret.metadata;
            let owned = meta.owner_references.iter().flatten().next().is_some();
            let labelled = meta.labels.iter().flatten().next().is_some();
            (!owned && !labelled).then_some(())
        })
        .await?;
    }
    rolled_out(&cluster, "harbour").await?;
    object(&cluster, "harbour", "has seen the rollout", |found: &Registry| {
        (found.status.as_ref()?.ready_replicas == Some(1)).then_some(())
    })
    .await?;
    assert_eq!(
        cluster.api::<Secret>().get("harbour-tls").await?.data,
        certificate
    );
    cluster.api::<Secret>().get("harbour-edge").await?;
    Ok(())
}

#[tokio::test]
async fn a_claim_that_the_spec_names_is_no_longer_deleted_with_the_registry() -> Result<()> {
    let cluster = Cluster::with_namespace("ownership-claim").await?;
    let _operator = Operator::start(&cluster);
    let template =
        json!({ "persistentVolumeClaim": { "template": { "size": "1Gi", "retentionPolicy": "Delete" } } });
    create(&cluster, &registry("harbour", json!({ "storage": template }))).await?;
    rolling_out(&cluster, "harbour").await?;
    let owners = |claim: &PersistentVolumeClaim| claim.metadata.owner_references.clone().unwrap_or_default();
    let claim = cluster.api::<PersistentVolumeClaim>().get("harbour-data").await?;
    assert_eq!(owners(&claim).len(), 1);
    let named = json!({ "claimName": "harbour-data", "template": null });
    merge::<Registry>(
        &cluster,
        "harbour",
        json!({ "spec": { "storage": { "persistentVolumeClaim": named } } }),
    )
    .await?;
    object(
        &cluster,
        "harbour-data",
        "has no owner",
        |claim: &PersistentVolumeClaim| owners(claim).is_empty().then_some(()),
    )
    .await
}

#[tokio::test]
async fn children_without_an_owner_are_taken_back_and_those_of_another_owner_are_all_named() -> Result<()> {
    let cluster = Cluster::with_namespace("ownership-orphans").await?;
    let operator = Operator::start(&cluster);
    let spec = json!({ "ingress": { "hosts": ["a.example"] } });
    create(&cluster, &registry("harbour", spec.clone())).await?;
    rolling_out(&cluster, "harbour").await?;
    operator.stop().await?;
    // The same as `kubectl delete --cascade=orphan` leaves; nothing collects garbage here.
    macro_rules! own {
        ($owners:expr; $($kind:ident $name:literal),* $(,)?) => {$(
            let patch = json!({ "metadata": { "ownerReferences": $owners } });
            merge::<$kind>(&cluster, $name, patch).await?;
        )*};
    }
    own!(Value::Null;
        Deployment "harbour", Service "harbour", ServiceAccount "harbour", Ingress "harbour", ConfigMap "harbour-ca",
        Secret "harbour-cabundle", Secret "harbour-tls", Secret "harbour-edge", Secret "harbour-upstream",
    );
    cluster
        .api::<Registry>()
        .delete("harbour", &DeleteParams::default())
        .await?;
    gone::<Registry>(&cluster, "harbour").await?;
    let again = create(&cluster, &registry("harbour", spec)).await?;
    let operator = Operator::start(&cluster);
    rolling_out(&cluster, "harbour").await?;
    let uid = again.metadata.uid.context("no UID")?;
    macro_rules! owned {
        ($($kind:ident $name:literal),* $(,)?) => {$(
            object(&cluster, $name, "is owned again", |found: &$kind| {
                let owners = found.metadata.owner_references.as_ref()?;
                (owners.len() == 1 && owners[0].uid == uid).then_some(())
            })
            .await?;
        )*};
    }
    owned!(
        Deployment "harbour", Service "harbour", ServiceAccount "harbour", Ingress "harbour", ConfigMap "harbour-ca",
        Secret "harbour-cabundle", Secret "harbour-tls", Secret "harbour-edge", Secret "harbour-upstream",
    );
    operator.stop().await?;

    let website = json!([{
        "apiVersion": "example.com/v1", "kind": "Website", "name": "harbour", "uid": "another", "controller": true,
    }]);
    own!(website; Service "harbour", Deployment "harbour", Secret "harbour-tls");
    let _operator = Operator::start(&cluster);
    let [ready, reconciling, _] = reason(&cluster, "harbour", "ForeignObject").await?;
    let told = format!("{} {}", ready.message, reconciling.message);
    for name in [
        "Service `harbour`",
        "Deployment `harbour`",
        "Secret `harbour-tls`",
    ] {
        assert!(told.contains(name), "{name} is not named: {told}");
    }
    Ok(())
}

/// Says of a claim that its volume is bound, and lets it be deleted: no controller does either here.
async fn bound(cluster: &Cluster, name: &str) -> Result<String> {
    let api = cluster.api::<PersistentVolumeClaim>();
    let status = json!({ "status": { "phase": "Bound", "capacity": { "storage": "5Gi" } } });
    api.patch_status(name, &PatchParams::default(), &Patch::Merge(&status))
        .await?;
    let claim =
        merge::<PersistentVolumeClaim>(cluster, name, json!({ "metadata": { "finalizers": null } })).await?;
    let uid = claim.metadata.uid.context("no UID")?;
    object(cluster, "harbour", "knows the claim", |found: &Registry| {
        let storage = found.status.as_ref()?.storage.as_ref()?;
        (storage.claim_uid.as_ref() == Some(&uid)).then_some(())
    })
    .await?;
    Ok(uid)
}

async fn delete_claim(cluster: &Cluster, name: &str) -> Result<()> {
    cluster
        .api::<PersistentVolumeClaim>()
        .delete(name, &DeleteParams::default())
        .await?;
    Ok(())
}

#[tokio::test]
async fn a_claim_that_was_deleted_is_only_made_again_empty_when_a_person_accepts_it() -> Result<()> {
    let cluster = Cluster::with_namespace("ownership-lost").await?;
    let _operator = Operator::start(&cluster);
    create(&cluster, &registry("harbour", json!({}))).await?;
    rolling_out(&cluster, "harbour").await?;
    let uid = bound(&cluster, "harbour-data").await?;
    let deployment = cluster.api::<Deployment>().get("harbour").await?.metadata;
    delete_claim(&cluster, "harbour-data").await?;
    let [ready, _, stalled] = reason(&cluster, "harbour", "StorageLost").await?;
    assert_eq!(stalled.status, "True");
    let sentence = format!(
        "PersistentVolumeClaim `harbour-data`, which held the content, was deleted; restore its volume under this name, or \
         give the content up, and confirm with the annotation `berth.dev/accept-empty-storage: {uid}`"
    );
    assert!(
        ready.message == sentence || stalled.message == sentence,
        "{} {}",
        ready.message,
        stalled.message
    );
    assert!(
        cluster
            .api::<PersistentVolumeClaim>()
            .get_opt("harbour-data")
            .await?
            .is_none()
    );
    let after = cluster.api::<Deployment>().get("harbour").await?.metadata;
    assert_eq!(
        (after.uid, after.generation),
        (deployment.uid, deployment.generation)
    );
    let accept =
        |uid: &str| json!({ "metadata": { "annotations": { "berth.dev/accept-empty-storage": uid } } });
    merge::<Registry>(&cluster, "harbour", accept(&uid)).await?;
    rolling_out(&cluster, "harbour").await?;
    let made = cluster.api::<PersistentVolumeClaim>().get("harbour-data").await?;
    assert_ne!(made.metadata.uid.as_deref(), Some(uid.as_str()));
    Ok(())
}

#[tokio::test]
async fn a_named_claim_that_was_replaced_is_told() -> Result<()> {
    let cluster = Cluster::with_namespace("ownership-replaced").await?;
    let claim: PersistentVolumeClaim = serde_json::from_value(json!({
        "metadata": { "name": "hold" },
        "spec": { "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "1Gi" } } },
    }))?;
    create(&cluster, &claim).await?;
    let _operator = Operator::start(&cluster);
    let storage = json!({ "persistentVolumeClaim": { "claimName": "hold" } });
    create(&cluster, &registry("harbour", json!({ "storage": storage }))).await?;
    rolling_out(&cluster, "harbour").await?;
    bound(&cluster, "hold").await?;
    delete_claim(&cluster, "hold").await?;
    gone::<PersistentVolumeClaim>(&cluster, "hold").await?;
    create(&cluster, &claim).await?;
    object(&cluster, "harbour", "tells the replacement", |found: &Registry| {
        let conditions = &found.status.as_ref()?.conditions;
        let told = |text: &str| conditions.iter().any(|c| c.message.contains(text));
        told("which held the content, was replaced by another one; check that the new one has what clients need")
            .then_some(())
    })
    .await
}

#[tokio::test]
async fn a_claim_that_cannot_grow_holds_up_nothing_else() -> Result<()> {
    let cluster = Cluster::with_namespace("ownership-grow").await?;
    let _operator = Operator::start(&cluster);
    create(&cluster, &registry("harbour", json!({}))).await?;
    rolling_out(&cluster, "harbour").await?;
    // Without a class the API server does not let a claim grow.
    let template = json!({ "size": "6Gi" });
    let changes = json!({ "spec": {
        "service": { "port": 443 },
        "mode": "ReadOnly",
        "storage": { "persistentVolumeClaim": { "template": template } },
    } });
    let generation = cluster
        .api::<Deployment>()
        .get("harbour")
        .await?
        .metadata
        .generation;
    merge::<Registry>(&cluster, "harbour", changes).await?;
    object(&cluster, "harbour", "follows", |found: &Service| {
        let ports = found.spec.as_ref()?.ports.as_ref()?;
        (ports[0].port == 443).then_some(())
    })
    .await?;
    object(&cluster, "harbour", "follows", |found: &Deployment| {
        (found.metadata.generation > generation).then_some(())
    })
    .await?;
    object(&cluster, "harbour", "tells the claim", |found: &Registry| {
        let conditions = &found.status.as_ref()?.conditions;
        let told = |text: &str| conditions.iter().any(|c| c.message.contains(text));
        told("PersistentVolumeClaim `harbour-data`").then_some(())
    })
    .await
}

#[tokio::test]
async fn a_certificate_that_somebody_applied_over_ours_is_theirs() -> Result<()> {
    let cluster = Cluster::with_namespace("ownership-certificate").await?;
    let _operator = Operator::start(&cluster);
    create(&cluster, &registry("harbour", json!({}))).await?;
    rolling_out(&cluster, "harbour").await?;
    let names = BTreeSet::from(["harbour.example".to_owned()]);
    let plan = IssuePlan {
        server: Some(CertificatePlan::new(
            names,
            BTreeSet::new(),
            SignedDuration::from_hours(48),
            None,
        )),
        ca_name: "somebody's CA".to_owned(),
        ..Default::default()
    };
    let issued = operator::issue::secrets(&plan, StoredSecrets::default(), Timestamp::now())?;
    let pair = issued.server.context("no certificate")?;
    let text = |text: &str| ByteString(text.as_bytes().to_vec());
    let theirs = Secret {
        metadata: ObjectMeta::default(),
        data: Some(
            [
                ("tls.crt".to_owned(), text(&pair.certificate)),
                ("tls.key".to_owned(), text(&pair.key)),
            ]
            .into(),
        ),
        ..Default::default()
    };
    let data = json!({ "data": theirs.data });
    merge::<Secret>(&cluster, "harbour-tls", data).await?;
    let [ready, reconciling, _] = reason(&cluster, "harbour", "CertificateReplaced").await?;
    let sentence = "Secret `harbour-tls` holds a certificate that the operator did not make; name it in \
                    `spec.tls.secret.name`, or delete it to have one made";
    assert!(
        ready.message == sentence || reconciling.message == sentence,
        "{}",
        ready.message
    );
    let named = json!({ "spec": { "tls": { "secret": { "name": "harbour-tls" } } } });
    merge::<Registry>(&cluster, "harbour", named).await?;
    rolling_out(&cluster, "harbour").await?;
    rolled_out(&cluster, "harbour").await?;
    object(&cluster, "harbour-tls", "is released", |secret: &Secret| {
        let owners = secret.metadata.owner_references.as_ref();
        owners.is_none_or(Vec::is_empty).then_some(())
    })
    .await?;
    let after = cluster
        .api::<Secret>()
        .get("harbour-tls")
        .await?
        .data
        .unwrap_or_default();
    assert_eq!(after["tls.crt"], text(&pair.certificate));
    Ok(())
}
