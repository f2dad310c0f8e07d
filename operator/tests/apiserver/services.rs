//! Object stores and Redis: fields that the API server refuses, and the objects that the others become.

use anyhow::Result;
use k8s_openapi::api::apps::v1::Deployment;
use operator_api::Registry;
use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::operator::{Operator, config, create, merge, object, reason, registry, rolling_out, secret, told};
use crate::references::replace;
use crate::rules::{check_accepted, check_refused};

/// A bucket that is accepted, with some members replaced; `null` is sent as null.
fn s3(changes: Value) -> Value {
    changed(
        json!({ "bucket": "cargo", "region": "north-1", "credentials": { "workloadIdentity": {} } }),
        &changes,
    )
}

fn azure(changes: Value) -> Value {
    changed(
        json!({ "accountName": "hold", "container": "cargo", "credentials": { "workloadIdentity": {} } }),
        &changes,
    )
}

fn gcs(changes: Value) -> Value {
    changed(
        json!({ "bucket": "cargo", "credentials": { "workloadIdentity": {} } }),
        &changes,
    )
}

fn redis(changes: Value) -> Value {
    let redis = changed(json!({ "addresses": ["redis.cache.svc:6379"] }), &changes);
    json!({ "cache": { "redis": redis } })
}

fn changed(mut object: Value, changes: &Value) -> Value {
    for (member, value) in changes.as_object().expect("changes are an object") {
        object[member] = value.clone();
    }
    object
}

fn on(kind: &str, store: Value) -> Value {
    json!({ "storage": { kind: store } })
}

#[tokio::test]
async fn stores_that_cannot_work_are_refused_with_a_sentence_naming_the_field() -> Result<()> {
    let cluster = Cluster::with_namespace("services-refused").await?;
    let keys = json!({ "name": "papers", "accessKeyIDKey": "id", "secretAccessKeyKey": "key" });
    let one_s3 = "spec.storage.s3.credentials must have exactly one of secret and workloadIdentity";
    let one_azure =
        "spec.storage.azure.credentials must have exactly one of secret, clientSecret and workloadIdentity";
    let one_gcs = "spec.storage.gcs.credentials must have exactly one of secret and workloadIdentity";
    let one_bundle = "a caBundle must have exactly one of configMapKeyRef and secretKeyRef";
    let kms = "spec.storage.s3.encryption.kmsKeyID belongs to type SSE-KMS, which needs it";
    let application =
        json!({ "clientID": "a", "tenantID": "b", "secretKeyRef": { "name": "c", "key": "d" } });
    let rows: Vec<(&str, Value, &str)> = vec![
        (
            "two stores",
            json!({"storage": {"s3": s3(json!({})), "gcs": gcs(json!({}))}}),
            "spec.storage must name exactly one backend",
        ),
        (
            "a store and a volume",
            json!({"storage": {"azure": azure(json!({})), "emptyDir": {}}}),
            "spec.storage must name exactly one backend",
        ),
        (
            "redirect to a volume",
            json!({"storage": {"emptyDir": {}, "redirect": "Enabled"}}),
            "spec.storage.redirect Enabled needs s3, azure or gcs",
        ),
        (
            "no bucket",
            on("s3", s3(json!({"bucket": null}))),
            "spec.storage.s3.bucket: Required value",
        ),
        (
            "bucket with a slash",
            on("s3", s3(json!({"bucket": "a/b"}))),
            "spec.storage.s3.bucket must be the name of a bucket",
        ),
        (
            "neither region nor endpoint",
            on("s3", s3(json!({"region": null}))),
            "spec.storage.s3.region is needed where spec.storage.s3.endpoint does not say",
        ),
        (
            "endpoint with a path",
            on("s3", s3(json!({"endpoint": "https://hold.example/cargo"}))),
            "spec.storage.s3.endpoint must be http:// or https:// and a host",
        ),
        (
            "endpoint with a login",
            on("s3", s3(json!({"endpoint": "https://a:b@hold.example"}))),
            "spec.storage.s3.endpoint must be",
        ),
        (
            "endpoint without a scheme",
            on("s3", s3(json!({"endpoint": "hold.example:9000"}))),
            "spec.storage.s3.endpoint must be",
        ),
        (
            "folder from the root",
            on("s3", s3(json!({"prefix": "/deck"}))),
            "spec.storage.s3.prefix must be names joined by slashes",
        ),
        (
            "folder above",
            on("s3", s3(json!({"prefix": "deck/../other"}))),
            "spec.storage.s3.prefix must be names joined by slashes",
        ),
        (
            "credentials left out",
            on("s3", s3(json!({"credentials": null}))),
            "spec.storage.s3.credentials: Required value",
        ),
        ("no credentials", on("s3", s3(json!({"credentials": {}}))), one_s3),
        (
            "null credentials",
            on(
                "s3",
                s3(json!({"credentials": {"secret": null, "workloadIdentity": null}})),
            ),
            one_s3,
        ),
        (
            "two credentials",
            on(
                "s3",
                s3(json!({"credentials": {"secret": keys, "workloadIdentity": {}}})),
            ),
            one_s3,
        ),
        (
            "Secret without the names of its keys",
            on("s3", s3(json!({"credentials": {"secret": {"name": "papers"}}}))),
            "accessKeyIDKey: Required value",
        ),
        (
            "audience without a role",
            on(
                "s3",
                s3(json!({"credentials": {"workloadIdentity": {"audience": "hold"}}})),
            ),
            "spec.storage.s3.credentials.workloadIdentity.audience needs roleARN",
        ),
        (
            "role that is none",
            on(
                "s3",
                s3(json!({"credentials": {"workloadIdentity": {"roleARN": "mate"}}})),
            ),
            "roleARN must be a role's ARN",
        ),
        (
            "bundle of nothing",
            on("s3", s3(json!({"caBundle": {}}))),
            one_bundle,
        ),
        (
            "bundle of nulls",
            on(
                "s3",
                s3(json!({"caBundle": {"configMapKeyRef": null, "secretKeyRef": null}})),
            ),
            one_bundle,
        ),
        (
            "two bundles",
            on(
                "s3",
                s3(
                    json!({"caBundle": {"configMapKeyRef": {"name": "a", "key": "b"}, "secretKeyRef": {"name": "a", "key": "b"}}}),
                ),
            ),
            one_bundle,
        ),
        (
            "KMS without a key",
            on("s3", s3(json!({"encryption": {"type": "SSE-KMS"}}))),
            kms,
        ),
        (
            "key of KMS without KMS",
            on(
                "s3",
                s3(json!({"encryption": {"type": "SSE-S3", "kmsKeyID": "a"}})),
            ),
            kms,
        ),
        (
            "encryption of another kind",
            on("s3", s3(json!({"encryption": {"type": "ROT13"}}))),
            "spec.storage.s3.encryption.type: Unsupported value",
        ),
        (
            "account that is none",
            on("azure", azure(json!({"accountName": "A-b"}))),
            "spec.storage.azure.accountName must be 3 to 24 lower-case letters and digits",
        ),
        (
            "container that is none",
            on("azure", azure(json!({"container": "Cargo"}))),
            "spec.storage.azure.container must be the name of a container",
        ),
        (
            "no credentials of Azure",
            on("azure", azure(json!({"credentials": {}}))),
            one_azure,
        ),
        (
            "null credentials of Azure",
            on(
                "azure",
                azure(
                    json!({"credentials": {"secret": null, "clientSecret": null, "workloadIdentity": null}}),
                ),
            ),
            one_azure,
        ),
        (
            "two credentials of Azure",
            on(
                "azure",
                azure(json!({"credentials": {"clientSecret": application, "workloadIdentity": {}}})),
            ),
            one_azure,
        ),
        (
            "client without a tenant",
            on(
                "azure",
                azure(json!({"credentials": {"workloadIdentity": {"clientID": "a"}}})),
            ),
            "must have both clientID and tenantID, or neither",
        ),
        (
            "no credentials of Google",
            on("gcs", gcs(json!({"credentials": {}}))),
            one_gcs,
        ),
        (
            "null credentials of Google",
            on(
                "gcs",
                gcs(json!({"credentials": {"secret": null, "workloadIdentity": null}})),
            ),
            one_gcs,
        ),
        (
            "bucket of Google that is none",
            on("gcs", gcs(json!({"bucket": "CARGO"}))),
            "spec.storage.gcs.bucket must be the name of a bucket",
        ),
        (
            "cache of nothing",
            json!({"cache": {}}),
            "spec.cache.redis: Required value",
        ),
        (
            "no address",
            redis(json!({"addresses": []})),
            "spec.cache.redis.addresses must name at least one address",
        ),
        (
            "address without a port",
            redis(json!({"addresses": ["redis"]})),
            "spec.cache.redis.addresses must hold hosts with their ports",
        ),
        (
            "two addresses of one server",
            redis(json!({"addresses": ["a:1", "b:1"]})),
            "spec.cache.redis.addresses must hold one address with spec.cache.redis.mode Standalone",
        ),
        (
            "one address of a cluster",
            redis(json!({"mode": "Cluster"})),
            "spec.cache.redis.addresses must hold at least two addresses with spec.cache.redis.mode Cluster",
        ),
        (
            "sentinels that are asked for nothing",
            redis(json!({"mode": "Sentinel", "sentinel": null})),
            "spec.cache.redis.sentinel belongs to spec.cache.redis.mode Sentinel",
        ),
        (
            "master without sentinels",
            redis(json!({"sentinel": {"masterName": "a"}})),
            "spec.cache.redis.sentinel belongs to spec.cache.redis.mode Sentinel",
        ),
        (
            "bundle of Redis of nothing",
            redis(json!({"tls": {"caBundle": {}}})),
            one_bundle,
        ),
        (
            "volume with the name of ours",
            json!({"pod": {"volumes": [{"name": "credentials", "mountPath": "/a", "secret": {"name": "s"}}]}}),
            "spec.pod.volumes must not be named",
        ),
    ];
    check_refused(&cluster, rows).await;
    Ok(())
}

#[tokio::test]
async fn stores_that_work_are_accepted_and_an_explicit_null_counts_as_absent() -> Result<()> {
    let cluster = Cluster::with_namespace("services-accepted").await?;
    let keys = json!({ "name": "papers", "accessKeyIDKey": "id", "secretAccessKeyKey": "key" });
    let everything: Registry = {
        let documents = include_str!("../../src/fixtures/s3.yaml");
        serde_saphyr::from_str(documents.split("\n---\n").next().unwrap_or_default())?
    };
    let everything = serde_json::to_value(&everything.spec)?;
    let rows: Vec<(&str, Value)> = vec![
        ("least of S3", on("s3", s3(json!({})))),
        (
            "endpoint without a region, and nulls for every option",
            on(
                "s3",
                s3(json!({
                    "region": null, "endpoint": "http://[::1]:9000", "pathStyle": null, "prefix": null, "caBundle": null,
                    "encryption": null, "storageClass": null,
                })),
            ),
        ),
        (
            "null beside keys",
            on(
                "s3",
                s3(json!({"credentials": {"secret": keys, "workloadIdentity": null}})),
            ),
        ),
        (
            "null beside a bundle",
            on(
                "s3",
                s3(json!({"caBundle": {"configMapKeyRef": null, "secretKeyRef": {"name": "a", "key": "b"}}})),
            ),
        ),
        (
            "null beside a store",
            json!({"storage": {"persistentVolumeClaim": null, "s3": s3(json!({})), "azure": null, "gcs": null, "emptyDir": null}}),
        ),
        (
            "many replicas on a store, which clients are sent to",
            json!({"replicas": 5, "storage": {"gcs": gcs(json!({})), "redirect": "Enabled"}}),
        ),
        (
            "an emulator of Azure",
            on(
                "azure",
                azure(
                    json!({"accountName": "devstoreaccount1", "endpoint": "http://azurite.quay.svc:10000/devstoreaccount1"}),
                ),
            ),
        ),
        (
            "everything",
            json!({"storage": everything["storage"], "cache": everything["cache"]}),
        ),
        (
            "a cluster of Redis",
            redis(
                json!({"mode": "Cluster", "addresses": ["a:1", "[::1]:6379"], "sentinel": null, "tls": {}}),
            ),
        ),
        ("null for the cache", json!({"cache": null})),
    ];
    check_accepted(&cluster, rows).await
}

/// A bucket by the keys of Secret `papers`.
fn by_keys() -> Value {
    let keys = json!({ "name": "papers", "accessKeyIDKey": "id", "secretAccessKeyKey": "key" });
    on("s3", s3(json!({ "credentials": { "secret": keys } })))
}

async fn generation(cluster: &Cluster) -> Result<Option<i64>> {
    let deployment = cluster.api::<Deployment>().get("harbour").await?;
    Ok(deployment.metadata.generation)
}

#[tokio::test]
async fn keys_of_a_store_that_are_missing_or_wrong_are_named_and_followed_when_mended() -> Result<()> {
    let cluster = Cluster::with_namespace("services-keys").await?;
    let _operator = Operator::start(&cluster);
    create(&cluster, &registry("harbour", by_keys())).await?;
    let of = "of `spec.storage.s3.credentials.secret`";
    // The reason, its sentence, and the entry that is put into the Secret next.
    let steps = [
        (
            "SecretNotFound",
            format!("Secret `papers` {of} does not exist; create it"),
            [("id", "AKIAEXAMPLE"), ("kye", "hunter2")],
        ),
        (
            "KeyNotFound",
            format!("Secret `papers` {of} has no key `key`; add it"),
            [("id", "AKIAEXAMPLE"), ("key", "hunter2\n")],
        ),
        (
            "SecretInvalid",
            format!("Key `key` of Secret `papers` {of} must be one line of text; correct it"),
            [("id", "AKIAEXAMPLE"), ("key", "hunter2")],
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
        replace(&cluster, "papers", &next).await?;
    }
    rolling_out(&cluster, "harbour").await?;
    let registry = cluster.api::<Registry>().get("harbour").await?;
    assert_eq!(
        serde_json::to_value(
            registry
                .status
                .as_ref()
                .and_then(|status| status.storage.as_ref())
        )?,
        json!({ "backend": "s3", "location": "cargo" })
    );
    let status = serde_json::to_string(&registry.status)?;
    let file = serde_json::to_string(&config(&cluster, "harbour").await?)?;
    for text in [status, file] {
        assert!(!text.contains("hunter2") && !text.contains("AKIA"), "{text}");
    }
    Ok(())
}

#[tokio::test]
async fn a_rotated_key_of_a_store_replaces_the_pods_once_and_a_bad_one_does_not() -> Result<()> {
    let cluster = Cluster::with_namespace("services-rotated").await?;
    create(
        &cluster,
        &secret("papers", &[("id", "AKIAEXAMPLE"), ("key", "hunter2")]),
    )
    .await?;
    let _operator = Operator::start(&cluster);
    create(&cluster, &registry("harbour", by_keys())).await?;
    rolling_out(&cluster, "harbour").await?;
    let before = generation(&cluster).await?;
    replace(&cluster, "papers", &[("id", "AKIAEXAMPLE"), ("key", "hunter3")]).await?;
    let changed = object(&cluster, "harbour", "follows", |found: &Deployment| {
        (found.metadata.generation > before).then_some(found.metadata.generation)
    })
    .await?;
    assert_eq!(changed, before.map(|generation| generation + 1));
    replace(&cluster, "papers", &[("id", "AKIAEXAMPLE"), ("key", "")]).await?;
    reason(&cluster, "harbour", "SecretInvalid").await?;
    assert_eq!(generation(&cluster).await?, changed);
    Ok(())
}

#[tokio::test]
async fn another_bucket_is_only_taken_when_the_annotation_names_it() -> Result<()> {
    let cluster = Cluster::with_namespace("services-moved").await?;
    let _operator = Operator::start(&cluster);
    create(&cluster, &registry("harbour", on("s3", s3(json!({}))))).await?;
    rolling_out(&cluster, "harbour").await?;
    let before = generation(&cluster).await?;
    let moved = json!({ "spec": { "storage": { "s3": { "prefix": "deck" } } } });
    merge::<Registry>(&cluster, "harbour", moved).await?;
    let seen = reason(&cluster, "harbour", "StorageChanged").await?;
    let [_, _, stalled] = &seen;
    assert_eq!(
        told(&seen),
        "The storage changed from `s3/cargo` to `s3/cargo/deck`, which would show clients an empty registry; copy the \
         content, then confirm with the annotation `berth.dev/change-storage-to: s3/cargo/deck`, or change the storage back"
    );
    assert_eq!(stalled.status, "True");
    assert_eq!(generation(&cluster).await?, before);
    let annotation =
        json!({ "metadata": { "annotations": { "berth.dev/change-storage-to": "s3/cargo/deck" } } });
    merge::<Registry>(&cluster, "harbour", annotation).await?;
    rolling_out(&cluster, "harbour").await?;
    assert!(generation(&cluster).await? > before);
    Ok(())
}
