//! The policies in `config/policies`, applied to the API server: what a cluster's administrator can forbid.

use std::path::Path;

use anyhow::{Context as _, Result};
use e2e::wait::{Seen, wait_for};
use k8s_openapi::api::admissionregistration::v1::{
    ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::api::{DynamicObject, Patch, PatchParams, PostParams};
use kube::core::ApiResource;
use kube::{Api, Client};
use operator_api::Registry;
use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::operator::{DEADLINE, registry};

/// Documents of one file.
fn documents(path: &str) -> Result<Vec<Value>> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../config/policies")
        .join(path);
    let text = std::fs::read_to_string(&file).with_context(|| format!("cannot read `{}`", file.display()))?;
    text.split("\n---\n")
        .map(|document| serde_saphyr::from_str(document).with_context(|| format!("cannot parse `{path}`")))
        .collect()
}

/// The resources that the kustomization lists, each applied. The limits are those of the test.
async fn install(client: &Client, limits: Value) -> Result<()> {
    let system = json!({ "metadata": { "name": "berth-system" } });
    Api::<Namespace>::all(client.clone())
        .create(&PostParams::default(), &serde_json::from_value(system)?)
        .await?;
    let kustomization = documents("kustomization.yaml")?.remove(0);
    let resources = kustomization["resources"].as_array().cloned().unwrap_or_default();
    assert!(resources.len() > 3, "{kustomization}");
    for path in resources.iter().filter_map(Value::as_str) {
        for mut document in documents(path)? {
            match document["kind"].as_str() {
                Some("ConfigMap") => {
                    document["data"] = limits.clone();
                    Api::<ConfigMap>::namespaced(client.clone(), "berth-system")
                        .create(&PostParams::default(), &serde_json::from_value(document)?)
                        .await?;
                }
                Some("ValidatingAdmissionPolicy") => {
                    Api::<ValidatingAdmissionPolicy>::all(client.clone())
                        .create(&PostParams::default(), &serde_json::from_value(document)?)
                        .await?;
                }
                Some("ValidatingAdmissionPolicyBinding") => {
                    Api::<ValidatingAdmissionPolicyBinding>::all(client.clone())
                        .create(&PostParams::default(), &serde_json::from_value(document)?)
                        .await?;
                }
                other => panic!("`{path}` has a {other:?}"),
            }
        }
    }
    Ok(())
}

async fn restrict(cluster: &Cluster) -> Result<()> {
    let label = json!({ "metadata": { "labels": { "berth.dev/restricted": "true" } } });
    Api::<Namespace>::all(cluster.client.clone())
        .patch(&cluster.namespace, &PatchParams::default(), &Patch::Merge(label))
        .await?;
    Ok(())
}

/// Creates a Registry for show. Gives the refusal.
async fn refusal(cluster: &Cluster, changes: Value) -> Result<Option<String>> {
    let kind = ApiResource::erase::<Registry>(&());
    let api = Api::<DynamicObject>::namespaced_with(cluster.client.clone(), &cluster.namespace, &kind);
    let mut object = serde_json::to_value(registry("subject", json!({})))?;
    for (member, value) in changes.as_object().expect("changes are an object") {
        object["spec"][member] = value.clone();
    }
    let dry_run = PostParams {
        dry_run: true,
        ..Default::default()
    };
    match api.create(&dry_run, &serde_json::from_value(object)?).await {
        Ok(_) => Ok(None),
        Err(kube::Error::Api(status)) => Ok(Some(status.message.clone())),
        Err(other) => Err(other.into()),
    }
}

/// The parts of a spec in which a Secret is named, with the Secret's name.
fn naming(secret: &str) -> Vec<(&'static str, Value)> {
    let reference = json!({ "name": secret, "key": "a" });
    let bundle = json!({ "secretKeyRef": reference });
    let redis = |more: Value| {
        let mut redis = json!({ "addresses": ["redis:6379"] });
        for (key, value) in more.as_object().expect("an object") {
            redis[key] = value.clone();
        }
        json!({ "cache": { "redis": redis } })
    };
    let s3 = |more: Value| {
        let mut s3 = json!({ "bucket": "b", "region": "r", "credentials": { "workloadIdentity": {} } });
        for (key, value) in more.as_object().expect("an object") {
            s3[key] = value.clone();
        }
        json!({ "storage": { "s3": s3 } })
    };
    let azure = |credentials: Value, bundle: Option<&Value>| {
        let mut azure = json!({ "accountName": "abc", "container": "c", "credentials": credentials });
        if let Some(bundle) = bundle {
            azure["caBundle"] = bundle.clone();
        }
        json!({ "storage": { "azure": azure } })
    };
    let application = json!({ "clientID": "c", "tenantID": "t", "secretKeyRef": reference });
    vec![
        (
            "auth.htpasswd.secretKeyRef.name",
            json!({ "auth": { "htpasswd": { "secretKeyRef": { "name": secret } } } }),
        ),
        (
            "tls.secret.name",
            json!({ "tls": { "secret": { "name": secret } } }),
        ),
        (
            "tls.selfSigned.caSecret.name",
            json!({ "tls": { "selfSigned": { "caSecret": { "name": secret } } } }),
        ),
        (
            "verify.secret.name",
            json!({ "verify": { "secret": { "name": secret } } }),
        ),
        (
            "http.secretKeyRef.name",
            json!({ "http": { "secretKeyRef": reference } }),
        ),
        (
            "http.previousSecretKeyRefs[].name",
            json!({ "http": { "previousSecretKeyRefs": [reference] } }),
        ),
        (
            "ingress.tls.secretName",
            json!({ "ingress": { "hosts": ["a.quay.example"], "tls": { "secretName": secret } } }),
        ),
        (
            "configFrom[].secretKeyRef.name",
            json!({ "configFrom": [{ "path": "a.b", "secretKeyRef": reference }] }),
        ),
        (
            "image.pullSecrets[].name",
            json!({ "image": { "pullSecrets": [{ "name": secret }] } }),
        ),
        (
            "pod.env[].valueFrom.secretKeyRef.name",
            json!({ "pod": { "env": [{ "name": "A", "valueFrom": { "secretKeyRef": reference } }] } }),
        ),
        (
            "pod.volumes[].secret.name",
            json!({ "pod": { "volumes": [{ "name": "a", "mountPath": "/a", "secret": { "name": secret } }] } }),
        ),
        (
            "storage.s3.credentials.secret.name",
            s3(
                json!({ "credentials": { "secret": { "name": secret, "accessKeyIDKey": "a", "secretAccessKeyKey": "b" } } }),
            ),
        ),
        (
            "storage.s3.caBundle.secretKeyRef.name",
            s3(json!({ "caBundle": bundle })),
        ),
        (
            "storage.azure.credentials.secret.name",
            azure(
                json!({ "secret": { "name": secret, "accountKeyKey": "a" } }),
                None,
            ),
        ),
        (
            "storage.azure.credentials.clientSecret.secretKeyRef.name",
            azure(json!({ "clientSecret": application }), None),
        ),
        (
            "storage.azure.caBundle.secretKeyRef.name",
            azure(json!({ "workloadIdentity": {} }), Some(&bundle)),
        ),
        (
            "storage.gcs.credentials.secret.name",
            json!({ "storage": { "gcs": { "bucket": "b", "credentials": { "secret": { "name": secret, "keyFileKey": "k" } } } } }),
        ),
        (
            "cache.redis.credentials.secret.name",
            redis(json!({ "credentials": { "secret": { "name": secret, "passwordKey": "p" } } })),
        ),
        (
            "cache.redis.tls.clientCertificate.name",
            redis(json!({ "tls": { "clientCertificate": { "name": secret } } })),
        ),
        (
            "cache.redis.tls.caBundle.secretKeyRef.name",
            redis(json!({ "tls": { "caBundle": bundle } })),
        ),
    ]
}

/// The fields of the spec that hold the name of a Secret.
fn secret_fields() -> Vec<String> {
    fn walk(schema: &Value, path: &str, found: &mut Vec<String>) {
        for (name, member) in schema["properties"].as_object().into_iter().flatten() {
            let path = match path {
                "" => name.clone(),
                _ => format!("{path}.{name}"),
            };
            let names_an_object = member["x-kubernetes-validations"][0]["message"]
                .as_str()
                .is_some_and(|message| message.starts_with("must be the name of an object"));
            let lower = path.to_lowercase();
            if names_an_object && (lower.contains("secret") || lower.contains("clientcertificate")) {
                found.push(path.clone());
            }
            walk(member, &path, found);
            walk(&member["items"], &format!("{path}[]"), found);
        }
    }
    let definition = serde_json::to_value(operator_api::crd()).expect("plain JSON");
    let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
    let mut found = Vec::new();
    walk(schema, "", &mut found);
    found
}

#[tokio::test]
async fn an_administrator_can_forbid_images_secrets_annotations_and_exposure() -> Result<()> {
    let cluster = Cluster::with_definition("policies", &operator_api::crd()).await?;
    let limits = json!({
        "imageRepositories": "images.quay.example/registry\n",
        "secretPrefixes": "registry-\n",
        "annotations": "allowed.example/key\n",
        "serviceTypes": "ClusterIP\n",
        "ingressHostSuffixes": ".quay.example\n",
    });
    install(&cluster.client, limits).await?;
    let foreign = json!({ "image": { "repository": "elsewhere.example/registry" } });
    assert_eq!(
        refusal(&cluster, foreign.clone()).await?,
        None,
        "without the label nothing is forbidden"
    );
    restrict(&cluster).await?;
    // The API server reads policies and labels from caches of its own.
    wait_for("the policies to hold", DEADLINE, async || {
        Ok(match refusal(&cluster, foreign.clone()).await? {
            Some(message) if message.contains("spec.image.repository is not among") => Seen::Done(()),
            other => Seen::NotYet(format!("{other:?}")),
        })
    })
    .await?;
    let mut fields: Vec<String> = naming("a").iter().map(|(field, _)| (*field).to_owned()).collect();
    let mut known = secret_fields();
    fields.sort();
    known.sort();
    assert_eq!(
        fields, known,
        "a field that names a Secret is missing here, and perhaps in config/policies/secrets.yaml"
    );

    let mut failures = Vec::new();
    let ingress = |annotations: Value| json!({ "ingress": { "hosts": ["a.quay.example"], "annotations": annotations } });
    let mut rows: Vec<(String, Value, Option<&str>)> = Vec::new();
    for (field, spec) in naming("users") {
        rows.push((
            field.to_owned(),
            spec,
            Some("names Secrets that the cluster's administrator does not allow: users"),
        ));
    }
    for (field, spec) in naming("registry-users") {
        rows.push((format!("{field}, allowed"), spec, None));
    }
    let further = [
        (
            "an allowed image",
            json!({ "image": { "repository": "images.quay.example/registry" } }),
            None,
        ),
        ("the operator's image", json!({}), None),
        (
            "an annotation",
            ingress(json!({ "a.example/b": "c" })),
            Some("spec.ingress.annotations has a key"),
        ),
        (
            "an allowed annotation",
            ingress(json!({ "allowed.example/key": "c" })),
            None,
        ),
        (
            "an annotation of the Service",
            json!({ "service": { "annotations": { "a.example/b": "c" } } }),
            Some("spec.service.annotations has a key"),
        ),
        (
            "an annotation of the Pods",
            json!({ "pod": { "annotations": { "a.example/b": "c" } } }),
            Some("spec.pod.annotations has a key"),
        ),
        (
            "an identity at the cloud provider",
            json!({ "pod": { "serviceAccountAnnotations": { "eks.amazonaws.com/role-arn": "c" } } }),
            Some("spec.pod.serviceAccountAnnotations has a key"),
        ),
        (
            "a load balancer",
            json!({ "service": { "type": "LoadBalancer" } }),
            Some("spec.service.type is not among"),
        ),
        (
            "a foreign host",
            json!({ "ingress": { "hosts": ["www.bank.example"] } }),
            Some("spec.ingress.hosts names a host outside"),
        ),
        (
            "a route for a foreign host",
            json!({ "httpRoute": { "parentRefs": [{ "name": "gate" }], "hostnames": ["www.bank.example"] } }),
            Some("spec.httpRoute.hostnames must name hosts"),
        ),
        (
            "a route for every host of the Gateway",
            json!({ "httpRoute": { "parentRefs": [{ "name": "gate" }] } }),
            Some("spec.httpRoute.hostnames must name hosts"),
        ),
        (
            "a route of TLS for a foreign host",
            json!({ "tlsRoute": { "parentRefs": [{ "name": "gate" }], "hostnames": ["www.bank.example"] } }),
            Some("spec.tlsRoute.hostnames names a host outside"),
        ),
        (
            "a route for an allowed host",
            json!({ "httpRoute": { "parentRefs": [{ "name": "gate" }], "hostnames": ["a.quay.example"] } }),
            None,
        ),
    ];
    rows.extend(further.map(|(name, spec, expected)| (name.to_owned(), spec, expected)));
    for (name, spec, expected) in rows {
        let got = refusal(&cluster, spec).await?;
        let right = match (&got, expected) {
            (None, None) => true,
            (Some(got), Some(expected)) => got.contains(expected),
            _ => false,
        };
        if !right {
            failures.push(format!("{name}: expected: {expected:?}\n    got: {got:?}"));
        }
    }
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
    Ok(())
}
