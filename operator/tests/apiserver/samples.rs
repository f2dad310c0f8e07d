//! The samples in `config/samples`: one for each kind of storage, users, exposure and TLS, each applied for real.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context as _, Result};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim};
use kube::api::ObjectMeta;
use operator_api::Registry;
use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::operator::{Operator, USERS, create, object, secret};

/// Name of the file without its ending, text, and content.
fn samples() -> Result<BTreeMap<String, (String, Value)>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/samples");
    let mut samples = BTreeMap::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_stem().context("a file without a name")?;
        let text = std::fs::read_to_string(&path)?;
        let content =
            serde_saphyr::from_str(&text).with_context(|| format!("cannot parse `{}`", path.display()))?;
        samples.insert(name.to_string_lossy().into_owned(), (text, content));
    }
    Ok(samples)
}

/// Everything that the samples' first lines tell people to make.
pub(crate) async fn prerequisites(cluster: &Cluster) -> Result<()> {
    let hosts = vec!["registry.example.com".to_owned()];
    let pair = rcgen::generate_simple_self_signed(hosts)?;
    let (certificate, key) = (pair.cert.pem(), pair.signing_key.serialize_pem());
    let entries: [(&str, &[(&str, &str)]); 6] = [
        ("registry-users", &[("htpasswd", USERS)]),
        (
            "registry-bucket",
            &[
                ("id", "AKIAEXAMPLE"),
                ("key", "made/up"),
                ("key.json", SERVICE_ACCOUNT),
            ],
        ),
        ("registry-container", &[("key", "bWFkZSB1cA==")]),
        ("registry-application", &[("secret", "made-up")]),
        ("registry-redis", &[("password", "made-up")]),
        ("certificate", &[("tls.crt", &certificate), ("tls.key", &key)]),
    ];
    for (name, entries) in entries {
        create(cluster, &secret(name, entries)).await?;
    }
    let authorities = ConfigMap {
        metadata: ObjectMeta {
            name: Some("storage-ca".to_owned()),
            ..Default::default()
        },
        data: Some(BTreeMap::from([("ca.crt".to_owned(), certificate.clone())])),
        ..Default::default()
    };
    create(cluster, &authorities).await?;
    for name in ["old-registry-data", "images"] {
        let claim: PersistentVolumeClaim = serde_json::from_value(json!({
            "metadata": { "name": name },
            "spec": { "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "1Gi" } } },
        }))?;
        create(cluster, &claim).await?;
    }
    Ok(())
}

/// The form of Google's key files; the key is none.
const SERVICE_ACCOUNT: &str = r#"{"type": "service_account", "client_email": "registry@example.iam.gserviceaccount.com", "private_key": "made up", "private_key_id": "1"}"#;

#[tokio::test]
async fn every_sample_gets_as_far_as_waiting_for_its_pods() -> Result<()> {
    let cluster = Cluster::with_namespace("samples").await?;
    prerequisites(&cluster).await?;
    let _operator = Operator::start(&cluster);
    let samples = samples()?;
    for (name, (_, content)) in &samples {
        let mut registry: Registry = serde_json::from_value(content.clone())?;
        registry.metadata.name = Some(name.clone());
        create(&cluster, &registry)
            .await
            .with_context(|| format!("`{name}.yaml` is refused"))?;
    }
    for name in samples.keys() {
        // No controller binds claims or starts Pods here.
        object(&cluster, name, "waiting for its Pods", |registry: &Registry| {
            let status = registry.status.as_ref()?;
            let reconciling = status.conditions.iter().find(|c| c.type_ == "Reconciling")?;
            let waits = ["VolumePending", "RollingOut"].contains(&reconciling.reason.as_str());
            (waits && status.observed_generation == registry.metadata.generation).then_some(())
        })
        .await?;
        object(&cluster, name, "there", |_: &Deployment| Some(())).await?;
    }
    Ok(())
}

#[test]
fn no_sample_holds_credentials() {
    for (name, (text, content)) in samples().unwrap() {
        assert!(
            !text.contains("$2y$") && content["kind"] == "Registry",
            "`{name}.yaml` holds credentials"
        );
    }
}

/// The fields of which a spec has one at most, and the fields with a few values: for each of them, a sample.
const CHOICES: &[&str] = &[
    "storage",
    "storage.persistentVolumeClaim",
    "storage.s3.credentials",
    "storage.azure.credentials",
    "storage.gcs.credentials",
    "storage.redirect",
    "storage.deletion",
    "auth",
    "auth.anonymous.access",
    "tls",
    "service.type",
    "ingress.tls.mode",
];

#[test]
fn every_choice_of_the_spec_has_a_sample() {
    let definition = serde_json::to_value(operator_api::crd()).unwrap();
    let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
    let samples = samples().unwrap();
    let mut missing = BTreeSet::new();
    for path in CHOICES {
        let pointer = |between: &str| format!("/{}", path.split('.').collect::<Vec<_>>().join(between));
        let field = schema
            .pointer(&format!("/properties{}", pointer("/properties/")))
            .unwrap_or_else(|| panic!("the spec has no `{path}`"));
        let of_samples: Vec<&Value> = samples
            .values()
            .filter_map(|(_, content)| content["spec"].pointer(&pointer("/")))
            .collect();
        let choices: Vec<String> = match (&field["enum"], &field["properties"]) {
            (Value::Array(values), _) => {
                let default = &field["default"];
                let named = values.iter().filter(|value| *value != default);
                named
                    .filter_map(|value| value.as_str().map(str::to_owned))
                    .collect()
            }
            (_, Value::Object(members)) => members
                .iter()
                .filter(|(_, member)| member["type"] == "object")
                .map(|(name, _)| name.clone())
                .chain(members.contains_key("claimName").then(|| "claimName".to_owned()))
                .collect(),
            _ => panic!("`{path}` is no choice: {field}"),
        };
        assert!(!choices.is_empty(), "`{path}` has no choices");
        for choice in choices {
            let shown = of_samples
                .iter()
                .any(|value| value.as_str() == Some(&choice) || value.get(&choice).is_some());
            if !shown {
                missing.insert(format!("{path}.{choice}"));
            }
        }
    }
    assert!(
        missing.is_empty(),
        "no sample in config/samples shows {missing:?}"
    );
}
