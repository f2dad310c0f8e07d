//! Values for every field of the spec.

use anyhow::Result;
use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::operator::{create, secret};

/// Reasons of a Registry whose spec is applied, on a server that runs no Pods.
pub(super) const FINE: [&str; 7] = [
    "NoReadyReplica",
    "NotAnswering",
    "Paused",
    "RollingOut",
    "ScaledToZero",
    "Serving",
    "VolumePending",
];

/// Fields that no walk sets, and why.
pub(super) const ELSEWHERE: [(&str, &str); 26] = [
    (
        "storage.persistentVolumeClaim.template.accessModes[]",
        "cannot be changed: `a_made_claim_grows_and_changes_in_nothing_else`",
    ),
    (
        "storage.persistentVolumeClaim.template.storageClassName",
        "cannot be changed: `a_made_claim_grows_and_changes_in_nothing_else`",
    ),
    (
        "tls.selfSigned.caSecret.name",
        "the CA stays published for 30 days: `ca.rs`",
    ),
    (
        "autoscaling.maxReplicas",
        "replicas are an autoscaler's then: `optional_resources.rs`",
    ),
    (
        "autoscaling.minReplicas",
        "replicas are an autoscaler's then: `optional_resources.rs`",
    ),
    (
        "autoscaling.targetCPUUtilizationPercentage",
        "replicas are an autoscaler's then: `optional_resources.rs`",
    ),
    (
        "httpRoute.hostnames[]",
        "the API server has no HTTPRoute: `optional_resources.rs`",
    ),
    (
        "httpRoute.parentRefs[].kind",
        "the API server has no HTTPRoute: `optional_resources.rs`",
    ),
    (
        "httpRoute.parentRefs[].name",
        "the API server has no HTTPRoute: `optional_resources.rs`",
    ),
    (
        "httpRoute.parentRefs[].namespace",
        "the API server has no HTTPRoute: `optional_resources.rs`",
    ),
    (
        "httpRoute.parentRefs[].sectionName",
        "the API server has no HTTPRoute: `optional_resources.rs`",
    ),
    (
        "metrics.interval",
        "makes another kind of object: `optional_resources.rs`",
    ),
    (
        "metrics.labels{}",
        "makes another kind of object: `optional_resources.rs`",
    ),
    (
        "metrics.podMonitor",
        "makes another kind of object: `optional_resources.rs`",
    ),
    (
        "networkPolicy.from[]",
        "makes another kind of object: `optional_resources.rs`",
    ),
    (
        "networkPolicy.metricsFrom[]",
        "makes another kind of object: `optional_resources.rs`",
    ),
    (
        "pod.disruptionBudget",
        "makes another kind of object: `optional_resources.rs`",
    ),
    (
        "tlsRoute.hostnames[]",
        "the API server has no TLSRoute: `optional_resources.rs`",
    ),
    (
        "tlsRoute.parentRefs[].kind",
        "the API server has no TLSRoute: `optional_resources.rs`",
    ),
    (
        "tlsRoute.parentRefs[].name",
        "the API server has no TLSRoute: `optional_resources.rs`",
    ),
    (
        "tlsRoute.parentRefs[].namespace",
        "the API server has no TLSRoute: `optional_resources.rs`",
    ),
    (
        "tlsRoute.parentRefs[].sectionName",
        "the API server has no TLSRoute: `optional_resources.rs`",
    ),
    (
        "upgradePolicy",
        "changes nothing before the operator is another one: `validate/tests.rs`",
    ),
    ("verify.policy", "pushes to a server: `verified.rs`"),
    ("verify.repository", "pushes to a server: `verified.rs`"),
    ("verify.secret.name", "pushes to a server: `verified.rs`"),
];

/// The rows for one kind of storage.
pub(super) struct Walk {
    pub(super) name: &'static str,
    /// Members of the spec in the beginning and in the end.
    pub(super) spec: Value,
    pub(super) rows: Vec<Row>,
}

/// One step: fields that are set together.
pub(super) struct Row {
    pub(super) set: Value,
    pub(super) expected: Expected,
    /// A change that the API server takes and the operator refuses.
    pub(super) wrong: Option<Value>,
}

/// The effect of a change.
#[derive(Clone, Copy)]
pub(super) enum Expected {
    Applied,
    /// The status says why not.
    Told,
    /// It depends on what else the Registry has, and is another test's.
    Either,
}

fn row(set: Value) -> Row {
    Row {
        set,
        expected: Expected::Applied,
        wrong: None,
    }
}

impl Row {
    fn or_wrong(self, wrong: Value) -> Self {
        Self {
            wrong: Some(wrong),
            ..self
        }
    }

    /// The operator refuses it: the content would be elsewhere.
    fn told(self) -> Self {
        Self {
            expected: Expected::Told,
            ..self
        }
    }

    fn either(self) -> Self {
        Self {
            expected: Expected::Either,
            ..self
        }
    }
}

/// All walks.
pub(super) fn walks() -> Vec<Walk> {
    vec![claim(), named_claim(), folder(), s3(), azure(), gcs()]
}

/// Objects that the rows name and the samples do not.
pub(super) async fn further_prerequisites(cluster: &Cluster) -> Result<()> {
    let signing = [("current", "0123456789abcdef"), ("before", "fedcba9876543210")];
    create(cluster, &secret("signing", &signing)).await?;
    let settings: ConfigMap = serde_json::from_value(json!({
        "metadata": { "name": "settings" }, "data": { "depth": "12" },
    }))?;
    create(cluster, &settings).await?;
    Ok(())
}

fn secret_key(name: &str, key: &str) -> Value {
    json!({ "secretKeyRef": { "name": name, "key": key } })
}

fn config_key(name: &str, key: &str) -> Value {
    json!({ "configMapKeyRef": { "name": name, "key": key } })
}

fn claim() -> Walk {
    let mut rows = Vec::new();
    rows.extend(of_access());
    rows.extend(of_server());
    rows.extend(of_pods());
    rows.extend(of_service());
    rows.push(row(json!({ "storage": { "deletion": "Enabled" } })));
    rows.push(row(
        json!({ "storage": { "persistentVolumeClaim": { "template": { "retentionPolicy": "Delete" } } } }),
    ));
    Walk {
        name: "claim",
        spec: json!({}),
        rows,
    }
}

fn of_access() -> Vec<Row> {
    let users = |name: &str| {
        let reference = json!({ "name": name, "key": "htpasswd" });
        json!({ "auth": { "anonymous": null, "htpasswd": { "realm": "The harbour", "secretKeyRef": reference } } })
    };
    let ingress = |tls: Value| json!({ "ingress": { "hosts": ["harbour.example"], "tls": tls } });
    vec![
        row(users("registry-users")).or_wrong(users("nobody")),
        row(json!({ "auth": { "anonymous": { "access": "Pull" } } })),
        row(json!({ "ingress": {
            "annotations": { "x.example/y": "z" },
            "className": "front",
            "hosts": ["harbour.example", "pier.example"],
            "tls": { "mode": "Reencrypt" },
        } })),
        row(ingress(json!({ "mode": "Reencrypt", "secretName": "certificate" })))
            .or_wrong(ingress(json!({ "mode": "Reencrypt", "secretName": "nobody" }))),
        row(ingress(json!({ "mode": "Passthrough" }))),
        row(json!({ "publicURL": "https://public.example:8443" })),
        row(json!({ "probe": "Disabled" })),
        row(json!({ "tls": { "secret": { "name": "certificate" } } }))
            .or_wrong(json!({ "tls": { "secret": { "name": "nobody" } } })),
        row(json!({ "tls": { "selfSigned": {
            "dnsNames": ["extra.example"], "ipAddresses": ["192.0.2.7"], "duration": "2160h", "renewBefore": "48h",
        } } }))
        .or_wrong(json!({ "tls": { "selfSigned": { "caSecret": { "name": "nobody" } } } })),
        row(json!({ "tls": { "disabled": {} } })),
        row(json!({
            "tls": { "disabled": {} },
            "ingress": { "hosts": ["harbour.example"], "tls": { "mode": "Edge" } },
        })),
    ]
}

fn of_server() -> Vec<Row> {
    let redis = |changes: Value| {
        let mut redis = json!({
            "addresses": ["redis.cache.svc:6379"],
            "mode": "Standalone",
            "credentials": { "secret": { "name": "registry-redis", "passwordKey": "password" } },
        });
        for (member, value) in changes.as_object().into_iter().flatten() {
            redis[member] = value.clone();
        }
        json!({ "cache": { "redis": redis } })
    };
    let login = |name: &str| json!({ "secret": { "name": name, "usernameKey": "password", "passwordKey": "password" } });
    let client = json!({ "name": "certificate" });
    let path = "redis.sentinelpassword";
    let from = |key: &str| json!({ "configFrom": [{ "path": path, "secretKeyRef": { "name": "signing", "key": key } }] });
    let image = json!({
        "repository": "elsewhere.example/registry",
        "digest": format!("sha256:{}", "0".repeat(64)),
        "pullPolicy": "Always",
        "pullSecrets": [{ "name": "pull" }],
    });
    let signing = |key: &str| json!({ "http": { "secretKeyRef": { "name": "signing", "key": key } } });
    vec![
        row(redis(json!({
            "credentials": login("registry-redis"),
            "tls": { "caBundle": config_key("storage-ca", "ca.crt"), "clientCertificate": client },
        })))
        .or_wrong(redis(json!({ "credentials": login("nobody") }))),
        row(redis(json!({
            "mode": "Sentinel",
            "sentinel": { "masterName": "main" },
            "tls": { "caBundle": secret_key("certificate", "tls.crt") },
        }))),
        row(json!({ "config": { "catalog": { "maxentries": 50 } } }))
            .or_wrong(json!({ "config": { "http": { "addr": ":1" } } })),
        row(from("before")).or_wrong(from("nothing")),
        row(json!({ "http": {
            "secretKeyRef": { "name": "signing", "key": "current" },
            "previousSecretKeyRefs": [{ "name": "signing", "key": "before" }],
            "drainTimeout": "2m30s",
            "trustedProxies": ["10.0.0.0/8"],
        } }))
        .or_wrong(signing("nothing")),
        row(json!({ "image": image })),
        row(json!({ "image": { "tag": "edge" } })),
        row(json!({ "log": { "level": "Debug", "format": "JSON", "accessLog": "Disabled" } })),
        row(json!({ "mode": "ReadOnly" })),
        row(json!({ "paused": true })),
        row(json!({ "replicas": 0 })),
    ]
}

fn of_pods() -> Vec<Row> {
    let spread = json!({ "maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway" });
    let volume =
        |name: &str| json!({ "name": "extra", "mountPath": "/extra", "configMap": { "name": name } });
    let terms = json!([{ "topologyKey": "zone", "labelSelector": { "matchLabels": { "a": "b" } } }]);
    vec![
        row(json!({ "pod": {
            "labels": { "team": "pilots" },
            "annotations": { "note.example/a": "b" },
            "nodeSelector": { "disk": "big" },
            "priorityClassName": "high",
            "serviceAccountAnnotations": { "role.example/arn": "some" },
        } })),
        row(json!({ "pod": {
            "env": [
                { "name": "PLAIN", "value": "text" },
                { "name": "SECRET", "valueFrom": secret_key("signing", "before") },
                { "name": "DEPTH", "valueFrom": config_key("settings", "depth") },
            ],
            "volumes": [
                volume("settings"),
                { "name": "keys", "mountPath": "/keys", "secret": { "name": "signing" } },
            ],
        } }))
        .or_wrong(json!({ "pod": { "env": null, "volumes": [volume("nobody")] } })),
        row(json!({ "pod": {
            "resources": { "requests": { "cpu": "100m" }, "limits": { "memory": "1Gi" } },
            "securityContext": { "runAsUser": 1000, "runAsGroup": 1000, "fsGroup": 2000 },
        } })),
        row(json!({ "pod": {
            "tolerations": [{ "key": "a.example/b", "operator": "Exists", "effect": "NoSchedule" }],
            "affinity": { "podAntiAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": terms } },
            "topologySpreadConstraints": [spread],
        } }))
        // The API server takes it in a Registry and refuses the Deployment.
        .or_wrong(json!({ "pod": { "tolerations": [{ "operator": "Exists", "value": "x" }] } })),
    ]
}

fn of_service() -> Vec<Row> {
    vec![
        row(json!({ "service": {
            "type": "LoadBalancer",
            "port": 443,
            "nodePort": 30977,
            "annotations": { "lb.example/kind": "small" },
            "labels": { "team": "pilots" },
            "loadBalancerClass": "example.com/lb",
            "loadBalancerSourceRanges": ["192.0.2.0/24"],
            "externalTrafficPolicy": "Local",
            "internalTrafficPolicy": "Local",
            "ipFamilyPolicy": "PreferDualStack",
            "ipFamilies": ["IPv4"],
        } })),
        // Outside of the range of node ports: the API server refuses the Service.
        row(json!({ "service": { "type": "NodePort" } }))
            .or_wrong(json!({ "service": { "type": "NodePort", "nodePort": 80 } })),
    ]
}

fn named_claim() -> Walk {
    let named = |name: &str| json!({ "persistentVolumeClaim": { "claimName": name } });
    Walk {
        name: "named-claim",
        spec: json!({ "storage": named("images") }),
        rows: vec![
            row(json!({ "storage": named("old-registry-data") }))
                .told()
                .or_wrong(json!({ "storage": named("nobody") })),
            row(json!({ "storage": { "persistentVolumeClaim": { "claimName": null, "template": { "size": "1Gi" } } } })).told(),
        ],
    }
}

fn folder() -> Walk {
    Walk {
        name: "folder",
        spec: json!({ "storage": { "emptyDir": {} } }),
        rows: vec![row(
            json!({ "storage": { "emptyDir": { "medium": "Memory", "sizeLimit": "2Gi" } } }),
        )],
    }
}

fn s3() -> Walk {
    let keys = |name: &str| {
        json!({ "secret": {
            "name": name, "accessKeyIDKey": "id", "secretAccessKeyKey": "key", "sessionTokenKey": "id",
        } })
    };
    let s3 = |changes: Value| json!({ "storage": { "s3": changes } });
    Walk {
        name: "s3",
        spec: json!({ "storage": { "s3": {
            "bucket": "images",
            "region": "eu-central-1",
            "credentials": { "secret": { "name": "registry-bucket", "accessKeyIDKey": "id", "secretAccessKeyKey": "key" } },
        } } }),
        rows: vec![
            row(s3(json!({
                "pathStyle": true,
                "storageClass": "STANDARD_IA",
                "encryption": { "type": "SSE-KMS", "kmsKeyID": "alias/images" },
                "caBundle": config_key("storage-ca", "ca.crt"),
            })))
            .or_wrong(s3(json!({ "caBundle": config_key("nobody", "ca.crt") }))),
            row(s3(json!({ "caBundle": secret_key("certificate", "tls.crt"), "credentials": keys("registry-bucket") })))
                .or_wrong(s3(json!({ "credentials": keys("nobody") }))),
            row(s3(json!({ "endpoint": "https://minio.storage.svc:9000" }))).either(),
            row(s3(json!({ "bucket": "others", "prefix": "a/b", "region": "us-east-1" }))).told(),
            row(s3(json!({ "credentials": { "secret": null, "workloadIdentity": {
                "roleARN": "arn:aws:iam::123456789012:role/registry", "audience": "sts.example",
            } } }))),
            row(json!({ "storage": { "redirect": "Enabled" } })),
        ],
    }
}

fn azure() -> Walk {
    let azure = |changes: Value| json!({ "storage": { "azure": changes } });
    let key = |name: &str| json!({ "secret": { "name": name, "accountKeyKey": "key" } });
    let tenant = "11111111-1111-1111-1111-111111111111";
    Walk {
        name: "azure",
        spec: azure(json!({
            "accountName": "images", "container": "registry", "credentials": key("registry-container"),
        })),
        rows: vec![
            row(azure(json!({ "caBundle": config_key("storage-ca", "ca.crt") })))
                .or_wrong(azure(json!({ "credentials": key("nobody") }))),
            row(azure(json!({ "caBundle": secret_key("certificate", "tls.crt") }))),
            row(azure(
                json!({ "endpoint": "https://images.blob.core.chinacloudapi.cn" }),
            ))
            .either(),
            row(azure(
                json!({ "accountName": "others", "container": "more", "prefix": "a/b" }),
            ))
            .told(),
            row(azure(json!({ "credentials": { "secret": null, "clientSecret": {
                "clientID": tenant, "tenantID": tenant,
                "secretKeyRef": { "name": "registry-application", "key": "secret" },
            } } }))),
            row(azure(
                json!({ "credentials": { "secret": null, "workloadIdentity": {
                "clientID": tenant, "tenantID": tenant,
            } } }),
            )),
        ],
    }
}

fn gcs() -> Walk {
    let gcs = |changes: Value| json!({ "storage": { "gcs": changes } });
    let file = |name: &str| json!({ "secret": { "name": name, "keyFileKey": "key.json" } });
    Walk {
        name: "gcs",
        spec: gcs(json!({ "bucket": "images", "credentials": file("registry-bucket") })),
        rows: vec![
            row(gcs(json!({ "bucket": "others", "prefix": "a/b" })))
                .told()
                .or_wrong(gcs(json!({ "credentials": file("nobody") }))),
            row(gcs(
                json!({ "credentials": { "secret": null, "workloadIdentity": {} } }),
            )),
        ],
    }
}
