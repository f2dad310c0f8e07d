//! Secrets, ConfigMaps and objects that a Registry names: missing, wrong, corrected, rotated. Watches bring the change.

use std::time::Instant;

use anyhow::Result;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Secret, Service};
use k8s_openapi::api::networking::v1::Ingress;
use kube::api::DeleteParams;
use operator_api::Registry;
use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::operator::{
    Operator, USERS, config, create, htpasswd, inputs, merge, object, reason, registry, rolling_out, secret,
    told,
};

#[tokio::test]
async fn users_that_are_missing_lack_their_key_or_are_garbage_are_named_and_followed_when_mended()
-> Result<()> {
    let cluster = Cluster::with_namespace("references-users").await?;
    let _operator = Operator::start(&cluster);
    create(&cluster, &registry("harbour", json!({ "auth": htpasswd() }))).await?;
    // The reason, its sentence, and the entry that is put into the Secret next.
    let steps: [(&str, &str, (&str, &str)); 3] = [
        (
            "SecretNotFound",
            "Secret `users` of `spec.auth.htpasswd.secretKeyRef` does not exist; create it",
            ("passwd", USERS),
        ),
        (
            "KeyNotFound",
            "Secret `users` of `spec.auth.htpasswd.secretKeyRef` has no key `htpasswd`; add it",
            ("htpasswd", "alice:secret"),
        ),
        (
            "SecretInvalid",
            "Key `htpasswd` of Secret `users` of `spec.auth.htpasswd.secretKeyRef` holds no user with a bcrypt hash of \
             a cost from 4 to 16, as `htpasswd -B` writes them; correct it",
            ("htpasswd", USERS),
        ),
    ];
    for (expected, sentence, next) in steps {
        let seen = reason(&cluster, "harbour", expected).await?;
        let [ready, reconciling, stalled] = &seen;
        assert_eq!(told(&seen), sentence);
        let statuses = [&ready, &reconciling, &stalled].map(|c| c.status.as_str());
        assert_eq!(statuses, ["False", "True", "False"], "{expected}");
        assert!(
            cluster.api::<Deployment>().get_opt("harbour").await?.is_none(),
            "{expected}: a Deployment already"
        );
        replace(&cluster, "users", &[next]).await?;
    }
    let mended = Instant::now();
    rolling_out(&cluster, "harbour").await?;
    assert!(cluster.api::<Deployment>().get_opt("harbour").await?.is_some());
    // Without a watch the next reconcile would come after five minutes.
    assert!(mended.elapsed() < crate::operator::DEADLINE);
    Ok(())
}

#[tokio::test]
async fn a_bad_rotation_leaves_the_pods_as_they_are() -> Result<()> {
    let cluster = Cluster::with_namespace("references-bad").await?;
    create(&cluster, &secret("users", &[("htpasswd", USERS)])).await?;
    let _operator = Operator::start(&cluster);
    create(&cluster, &registry("harbour", json!({ "auth": htpasswd() }))).await?;
    rolling_out(&cluster, "harbour").await?;
    let before = cluster
        .api::<Deployment>()
        .get("harbour")
        .await?
        .metadata
        .generation;
    replace(&cluster, "users", &[("htpasswd", "garbage")]).await?;
    reason(&cluster, "harbour", "SecretInvalid").await?;
    cluster
        .api::<Secret>()
        .delete("users", &DeleteParams::default())
        .await?;
    reason(&cluster, "harbour", "SecretNotFound").await?;
    assert_eq!(
        cluster
            .api::<Deployment>()
            .get("harbour")
            .await?
            .metadata
            .generation,
        before
    );
    create(&cluster, &secret("users", &[("htpasswd", USERS)])).await?;
    rolling_out(&cluster, "harbour").await?;
    // The server reads the users again by itself.
    assert_eq!(
        cluster
            .api::<Deployment>()
            .get("harbour")
            .await?
            .metadata
            .generation,
        before
    );
    Ok(())
}

#[tokio::test]
async fn missing_users_hold_up_the_pods_and_neither_certificates_nor_lost_children() -> Result<()> {
    let cluster = Cluster::with_namespace("references-parts").await?;
    create(&cluster, &secret("users", &[("htpasswd", USERS)])).await?;
    let _operator = Operator::start(&cluster);
    create(&cluster, &registry("harbour", json!({ "auth": htpasswd() }))).await?;
    rolling_out(&cluster, "harbour").await?;
    let deployment = cluster.api::<Deployment>().get("harbour").await?.metadata;
    let certificate = cluster.api::<Secret>().get("harbour-tls").await?;
    cluster
        .api::<Secret>()
        .delete("users", &DeleteParams::default())
        .await?;
    reason(&cluster, "harbour", "SecretNotFound").await?;

    let old = cluster.api::<Service>().get("harbour").await?.metadata.uid;
    cluster
        .api::<Service>()
        .delete("harbour", &DeleteParams::default())
        .await?;
    object(&cluster, "harbour", "comes back", |found: &Service| {
        (found.metadata.uid != old).then_some(())
    })
    .await?;
    let changes = json!({ "spec": {
        "tls": { "selfSigned": { "dnsNames": ["extra.example"] } },
        "service": { "port": 443 },
        "mode": "ReadOnly",
    } });
    merge::<Registry>(&cluster, "harbour", changes).await?;
    object(&cluster, "harbour-tls", "has the new name", |found: &Secret| {
        (found.data != certificate.data).then_some(())
    })
    .await?;
    reason(&cluster, "harbour", "SecretNotFound").await?;
    let port = |service: Service| service.spec?.ports?.first().map(|port| port.port);
    assert_eq!(
        port(cluster.api::<Service>().get("harbour").await?),
        Some(5000),
        "the running Pods do not know of the change"
    );
    let now = cluster.api::<Deployment>().get("harbour").await?.metadata;
    assert_eq!((now.uid, now.generation), (deployment.uid, deployment.generation));

    create(&cluster, &secret("users", &[("htpasswd", USERS)])).await?;
    rolling_out(&cluster, "harbour").await?;
    assert_eq!(port(cluster.api::<Service>().get("harbour").await?), Some(443));
    Ok(())
}

#[tokio::test]
async fn everything_that_is_wrong_is_told_at_once() -> Result<()> {
    let cluster = Cluster::with_namespace("references-all").await?;
    let _operator = Operator::start(&cluster);
    let changes = json!({
        "auth": htpasswd(),
        "tls": { "secret": { "name": "papers" } },
        "storage": { "persistentVolumeClaim": { "claimName": "hold" } },
    });
    create(&cluster, &registry("harbour", changes)).await?;
    let seen = reason(&cluster, "harbour", "ClaimNotFound").await?;
    let [_, reconciling, _] = &seen;
    assert_eq!(
        told(&seen),
        "PersistentVolumeClaim `hold` of `spec.storage.persistentVolumeClaim.claimName` does not exist; create it, or name \
         another. Secret `users` of `spec.auth.htpasswd.secretKeyRef` does not exist; create it. Secret `papers` of \
         `spec.tls.secret` does not exist; create it"
    );
    assert_eq!(reconciling.status, "True");
    let config = json!({ "spec": { "config": { "http": { "secret": "x" } } } });
    merge::<Registry>(&cluster, "harbour", config).await?;
    let seen = reason(&cluster, "harbour", "ConfigKeyRefused").await?;
    let [_, _, stalled] = &seen;
    let first = "`spec.config` must not set `http.secret`; use `spec.http.secretKeyRef`. PersistentVolumeClaim `hold`";
    assert!(told(&seen).starts_with(first), "{}", told(&seen));
    assert_eq!(stalled.status, "True", "only the author can help");
    Ok(())
}

#[tokio::test]
async fn a_rotated_signing_secret_replaces_the_pods_once() -> Result<()> {
    let cluster = Cluster::with_namespace("references-signing").await?;
    create(&cluster, &secret("signing", &[("current", "0123456789abcdef")])).await?;
    let _operator = Operator::start(&cluster);
    let http = json!({ "secretKeyRef": { "name": "signing", "key": "current" } });
    create(&cluster, &registry("harbour", json!({ "http": http }))).await?;
    rolling_out(&cluster, "harbour").await?;
    assert!(
        cluster.api::<Secret>().get_opt("harbour-http").await?.is_none(),
        "a secret was generated all the same"
    );
    let before = cluster
        .api::<Deployment>()
        .get("harbour")
        .await?
        .metadata
        .generation;
    replace(&cluster, "signing", &[("current", "fedcba9876543210")]).await?;
    let changed = object(&cluster, "harbour", "follows", |found: &Deployment| {
        (found.metadata.generation > before).then_some(found.metadata.generation)
    })
    .await?;
    assert_eq!(changed, before.map(|generation| generation + 1));
    replace(&cluster, "signing", &[("current", "short")]).await?;
    let seen = reason(&cluster, "harbour", "SecretInvalid").await?;
    assert!(!told(&seen).contains("short "), "{}", told(&seen));
    assert_eq!(
        cluster
            .api::<Deployment>()
            .get("harbour")
            .await?
            .metadata
            .generation,
        changed
    );
    Ok(())
}

#[tokio::test]
async fn a_certificate_that_does_not_fit_its_key_is_named() -> Result<()> {
    let cluster = Cluster::with_namespace("references-tls").await?;
    let garbage = [("tls.crt", "not a certificate"), ("tls.key", "not a key")];
    create(&cluster, &secret("certificate", &garbage)).await?;
    let _operator = Operator::start(&cluster);
    let tls = json!({ "secret": { "name": "certificate" } });
    create(&cluster, &registry("harbour", json!({ "tls": tls }))).await?;
    let seen = reason(&cluster, "harbour", "CertificateInvalid").await?;
    assert_eq!(
        told(&seen),
        "Secret `certificate` of `spec.tls.secret` cannot be used: the certificate is not a PEM certificate; correct it"
    );
    Ok(())
}

#[tokio::test]
async fn a_strangers_object_is_named_and_never_touched() -> Result<()> {
    let cluster = Cluster::with_namespace("references-foreign").await?;
    let service: Service = serde_json::from_value(json!({
        "metadata": { "name": "harbour", "labels": { "berth.dev/registry": "harbour" } },
        "spec": { "ports": [{ "port": 80 }] },
    }))?;
    let before = create(&cluster, &service).await?;
    let _operator = Operator::start(&cluster);
    create(&cluster, &registry("harbour", json!({}))).await?;
    let seen = reason(&cluster, "harbour", "ForeignObject").await?;
    assert_eq!(
        told(&seen),
        "Service `harbour` exists and does not belong to this Registry; delete or rename it, or rename the Registry"
    );
    let after = cluster.api::<Service>().get("harbour").await?;
    assert_eq!(after.metadata.resource_version, before.metadata.resource_version);
    assert!(cluster.api::<Deployment>().get_opt("harbour").await?.is_none());
    cluster
        .api::<Service>()
        .delete("harbour", &DeleteParams::default())
        .await?;
    rolling_out(&cluster, "harbour").await?;
    Ok(())
}

#[tokio::test]
async fn a_strangers_object_whose_name_is_not_needed_is_in_nobodys_way_and_stays() -> Result<()> {
    let cluster = Cluster::with_namespace("references-beside").await?;
    let ingress: Ingress = serde_json::from_value(json!({
        "metadata": { "name": "harbour" },
        "spec": { "defaultBackend": { "service": { "name": "elsewhere", "port": { "number": 80 } } } },
    }))?;
    let ingress = create(&cluster, &ingress).await?;
    let signing = secret("harbour-http", &[("key", "0123456789abcdef0123456789abcdef")]);
    let signing = create(&cluster, &signing).await?;
    let _operator = Operator::start(&cluster);
    let http = json!({ "secretKeyRef": { "name": "harbour-http", "key": "key" } });
    create(&cluster, &registry("harbour", json!({ "http": http }))).await?;
    rolling_out(&cluster, "harbour").await?;
    let after = cluster.api::<Ingress>().get("harbour").await?;
    assert_eq!(after.metadata.resource_version, ingress.metadata.resource_version);
    let after = cluster.api::<Secret>().get("harbour-http").await?;
    assert_eq!(after.metadata.resource_version, signing.metadata.resource_version);
    Ok(())
}

#[tokio::test]
async fn configuration_keys_that_are_ours_or_secret_are_refused_with_the_field_to_use() -> Result<()> {
    let cluster = Cluster::with_namespace("references-config").await?;
    let _operator = Operator::start(&cluster);
    create(
        &cluster,
        &registry(
            "harbour",
            json!({ "config": { "auth": { "silly": { "realm": "x" } } } }),
        ),
    )
    .await?;
    let seen = reason(&cluster, "harbour", "ConfigKeyRefused").await?;
    let [_, _, stalled] = &seen;
    assert_eq!(
        told(&seen),
        "`spec.config` must not set `auth.silly.realm`; use `spec.auth`"
    );
    assert_eq!(stalled.status, "True", "only the author can help");
    let set = async |config: Value| {
        merge::<Registry>(&cluster, "harbour", json!({ "spec": { "config": config } })).await
    };
    set(json!({ "auth": null, "redis": { "sentinelpassword": "hunter2" } })).await?;
    let secret = object(
        &cluster,
        "harbour",
        "the second sentence",
        |registry: &Registry| {
            let mut conditions = registry.status.as_ref()?.conditions.iter();
            let told = conditions.find(|c| c.message.contains("redis"))?;
            Some(told.message.clone())
        },
    )
    .await?;
    assert_eq!(
        secret,
        "`spec.config` must not set `redis.sentinelpassword`, which is a secret; put it into a Secret and name that in \
         `spec.configFrom` with path `redis.sentinelpassword`"
    );
    set(json!({ "redis": null, "catalog": { "maxentries": "many" } })).await?;
    let seen = reason(&cluster, "harbour", "ConfigInvalid").await?;
    assert!(
        told(&seen).contains("`catalog.maxentries`") && told(&seen).contains("`many`"),
        "{}",
        told(&seen)
    );
    set(json!({ "catalog": { "maxentries": 7 }, "misspelt": 1 })).await?;
    let [ready, ..] = rolling_out(&cluster, "harbour").await?;
    assert!(
        ready.message.contains("`misspelt`") && ready.message.contains("not a known key"),
        "{}",
        ready.message
    );
    let file = config(&cluster, "harbour").await?.data.unwrap_or_default();
    assert!(
        file["config.yml"].contains("maxentries: 7"),
        "{}",
        file["config.yml"]
    );
    Ok(())
}

#[tokio::test]
async fn a_configuration_with_secret_values_lives_in_a_secret() -> Result<()> {
    let cluster = Cluster::with_namespace("references-configfrom").await?;
    create(&cluster, &secret("cache", &[("password", "hunter2")])).await?;
    let _operator = Operator::start(&cluster);
    let from =
        json!([{ "path": "redis.sentinelpassword", "secretKeyRef": { "name": "cache", "key": "password" } }]);
    create(&cluster, &registry("harbour", json!({ "configFrom": from }))).await?;
    rolling_out(&cluster, "harbour").await?;
    let file = inputs(&cluster, "harbour").await?.data.unwrap_or_default();
    assert!(String::from_utf8_lossy(&file["config.yml"].0).contains("hunter2"));
    assert!(
        config(&cluster, "harbour").await.is_err(),
        "it is in a ConfigMap too"
    );
    let status = serde_json::to_string(&cluster.api::<Registry>().get("harbour").await?.status)?;
    assert!(!status.contains("hunter2"));
    Ok(())
}

/// Puts these entries, and no others, into a Secret.
pub(crate) async fn replace(cluster: &Cluster, name: &str, entries: &[(&str, &str)]) -> Result<()> {
    let api = cluster.api::<Secret>();
    match api.get_opt(name).await? {
        None => create(cluster, &secret(name, entries)).await.map(drop),
        Some(found) => {
            let mut wanted = secret(name, entries);
            wanted.metadata.resource_version = found.metadata.resource_version;
            wanted.type_ = found.type_;
            api.replace(name, &Default::default(), &wanted).await?;
            Ok(())
        }
    }
}
