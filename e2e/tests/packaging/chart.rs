//! The Helm chart: its values, its templates, and the same objects as kustomize makes.

use anyhow::Result;
use e2e::packaging::{VERSION, package_chart};
use e2e::tools::Tool;
use serde_json::{Value, json};

use crate::tools::{
    chart, differences, helm, kustomized, names, objects, one, program, released_images, values,
};

const HELMS: [Tool; 2] = [Tool::Helm3, Tool::Helm4];

async fn template(tool: Tool, args: &[&str]) -> Result<Vec<Value>> {
    let rendered = helm(tool)
        .await?
        .args(["template", "berth-operator"])
        .arg(chart())
        .args(["--namespace", "berth-system"])
        .args(args)
        .success()
        .await?;
    objects(&rendered)
}

#[tokio::test]
async fn both_helms_find_nothing_to_complain_of() -> Result<()> {
    for tool in HELMS {
        for set in [None, Some("everything"), Some("least")] {
            let mut lint = helm(tool).await?.args(["lint", "--strict"]).arg(chart());
            if let Some(set) = set {
                lint = lint.args(["--values", &values(set)]);
            }
            lint.success().await?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn the_chart_has_the_version_of_the_operator() -> Result<()> {
    let text = std::fs::read_to_string(chart().join("Chart.yaml"))?;
    let description: Value = serde_saphyr::from_str(&text)?;
    assert_eq!(description["version"], VERSION);
    assert_eq!(description["appVersion"], VERSION);
    Ok(())
}

/// Takes away what Helm's conventions add to every object.
fn without_helms_marks(mut object: Value) -> Value {
    let added = [
        "app.kubernetes.io/instance",
        "app.kubernetes.io/managed-by",
        "app.kubernetes.io/version",
        "helm.sh/chart",
        "helm.sh/resource-policy",
    ];
    for path in [
        "/metadata/labels",
        "/metadata/annotations",
        "/spec/selector/matchLabels",
        "/spec/template/metadata/labels",
    ] {
        if let Some(Value::Object(map)) = object.pointer_mut(path) {
            map.retain(|key, _| !added.contains(&key.as_str()));
        }
    }
    if object["kind"] == "CustomResourceDefinition"
        && let Some(labels) = object["metadata"]["labels"].as_object_mut()
    {
        labels.remove("app.kubernetes.io/name");
    }
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.retain(|_, value| *value != json!({}));
    }
    object
}

#[tokio::test]
async fn the_chart_makes_the_same_objects_as_kustomize() -> Result<()> {
    let mut expected = kustomized().await?;
    // A chart does not make the namespace it is installed into.
    expected.retain(|object| object["kind"] != "Namespace");
    for tool in HELMS {
        let got: Vec<Value> = template(tool, &[])
            .await?
            .into_iter()
            .map(without_helms_marks)
            .collect();
        assert_eq!(names(&got), names(&expected), "{tool:?}");
        for object in &expected {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let (kind, name) = (text(&object["kind"]), text(&object["metadata"]["name"]));
            let different = differences(object, one(&got, &kind, &name));
            assert!(
                different.is_empty(),
                "{tool:?}, {kind} `{name}`:\n{}",
                different.join("\n")
            );
        }
    }
    Ok(())
}

#[tokio::test]
async fn every_value_arrives_where_it_belongs() -> Result<()> {
    let everything = values("everything");
    for tool in HELMS {
        let objects = template(tool, &["--values", &everything]).await?;
        let deployment = one(&objects, "Deployment", "harbour-master");
        let pod = &deployment["spec"]["template"];
        let container = &pod["spec"]["containers"][0];
        let digit = |digit: &str| digit.repeat(64);
        for (what, got, expected) in [
            (
                "image",
                &container["image"],
                json!(format!(
                    "registry.example.com/berth/operator@sha256:{}",
                    digit("1")
                )),
            ),
            ("pull policy", &container["imagePullPolicy"], json!("Always")),
            (
                "arguments",
                &container["args"],
                json!([
                    "run",
                    format!(
                        "--registry-image=registry.example.com/berth/registry@sha256:{}",
                        digit("2")
                    ),
                    "--namespace=team-a",
                    "--leader-elect-resource-name=harbour-master",
                    "--log=operator=debug",
                ]),
            ),
            (
                "environment",
                &container["env"][1],
                json!({"name": "HTTPS_PROXY", "value": "http://proxy.example.com:3128"}),
            ),
            (
                "memory",
                &container["resources"]["limits"]["memory"],
                json!("512Mi"),
            ),
            (
                "pull secrets",
                &pod["spec"]["imagePullSecrets"],
                json!([{"name": "pull"}]),
            ),
            ("account", &pod["spec"]["serviceAccountName"], json!("pilot")),
            ("replicas", &deployment["spec"]["replicas"], json!(3)),
            (
                "nodes",
                &pod["spec"]["nodeSelector"],
                json!({"kubernetes.io/os": "linux"}),
            ),
            (
                "tolerations",
                &pod["spec"]["tolerations"][0]["key"],
                json!("dedicated"),
            ),
            (
                "priority",
                &pod["spec"]["priorityClassName"],
                json!("system-cluster-critical"),
            ),
            (
                "spread",
                &pod["spec"]["topologySpreadConstraints"][0]["maxSkew"],
                json!(1),
            ),
            (
                "a label of Pods",
                &pod["metadata"]["labels"]["zone"],
                json!("quay"),
            ),
            (
                "a label of all, in Pods",
                &pod["metadata"]["labels"]["team"],
                json!("platform"),
            ),
            (
                "an annotation of Pods",
                &pod["metadata"]["annotations"]["example.com/scrape"],
                json!("no"),
            ),
            (
                "selector",
                &deployment["spec"]["selector"]["matchLabels"]["app.kubernetes.io/name"],
                json!("harbour"),
            ),
        ] {
            assert_eq!(got, &expected, "{tool:?}: {what}");
        }
        assert!(
            !pod["spec"]["affinity"]["nodeAffinity"].is_null(),
            "{tool:?}: no affinity"
        );
        let account = one(&objects, "ServiceAccount", "pilot");
        assert_eq!(
            account["metadata"]["annotations"]["example.com/role"], "pilot",
            "{tool:?}"
        );
        for object in &objects {
            assert_eq!(
                object["metadata"]["labels"]["team"], "platform",
                "{tool:?}: {object}"
            );
        }
        let definition = one(&objects, "CustomResourceDefinition", "registries.berth.dev");
        assert!(
            definition["metadata"]["annotations"]["helm.sh/resource-policy"].is_null(),
            "{tool:?}: crds.keep is false"
        );
        // With namespaces the rights are bound in each of them, and nowhere else.
        assert!(
            objects
                .iter()
                .all(|object| object["kind"] != "ClusterRoleBinding"),
            "{tool:?}"
        );
        let lease = one(&objects, "Role", "harbour-master-leader-election");
        assert_eq!(
            lease["rules"][1]["resourceNames"],
            json!(["harbour-master"]),
            "{tool:?}"
        );
        for name in ["harbour-master", "harbour-master-leader-election"] {
            let binding = one(&objects, "RoleBinding", name);
            assert_eq!(
                binding["subjects"],
                json!([{"kind": "ServiceAccount", "name": "pilot", "namespace": "berth-system"}]),
                "{tool:?}"
            );
            assert_eq!(binding["roleRef"]["name"], name, "{tool:?}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn what_others_make_is_left_to_them() -> Result<()> {
    for tool in HELMS {
        let objects = template(tool, &["--values", &values("least")]).await?;
        assert_eq!(names(&objects), ["Deployment berth-operator"], "{tool:?}");
        assert_eq!(
            objects[0]["spec"]["template"]["spec"]["serviceAccountName"], "existing",
            "{tool:?}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn wrong_values_are_refused_with_their_name() -> Result<()> {
    let rows = [
        ("replicaz=2", "replicaz"),
        ("replicas=-1", "replicas"),
        ("namespaces={../secrets}", "namespaces"),
        ("image.digest=latest", "digest"),
        ("image.pullPolicy=Sometimes", "pullPolicy"),
        ("crds.keep=perhaps", "keep"),
        ("fullnameOverride=Harbour", "fullnameOverride"),
        ("commonLabels.helm\\.sh/chart=mine", "helm.sh/chart"),
        ("resources.limit.memory=1Gi", "limit"),
        ("serviceAccount.create=false", "serviceAccount.name is required"),
    ];
    for tool in HELMS {
        for (value, expected) in rows {
            let done = helm(tool)
                .await?
                .args(["template", "berth-operator"])
                .arg(chart())
                .args(["--set", value])
                .output()
                .await?;
            assert!(!done.status.success(), "{tool:?} takes {value}");
            assert!(
                done.stderr.contains(expected),
                "{tool:?}, {value}:\n{}",
                done.stderr
            );
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_packed_chart_is_whole_and_installs_the_released_images() -> Result<()> {
    let images = released_images();
    for tool in HELMS {
        let folder = tempfile::tempdir()?;
        let archive = package_chart(&program(tool).await?, Some(&images), folder.path()).await?;
        let rendered = helm(tool)
            .await?
            .args(["template", "berth-operator"])
            .arg(&archive)
            .args(["--namespace", "berth-system"])
            .success()
            .await?;
        let packed = objects(&rendered)?;
        let linked = template(tool, &[]).await?;
        assert_eq!(names(&packed), names(&linked), "{tool:?}");
        for kind in ["CustomResourceDefinition", "ClusterRole"] {
            let of_kind = |objects: &[Value]| -> Vec<Value> {
                objects
                    .iter()
                    .filter(|object| object["kind"] == kind)
                    .cloned()
                    .collect()
            };
            assert!(of_kind(&packed) == of_kind(&linked), "{tool:?}: {kind} differs");
        }
        let container =
            &one(&packed, "Deployment", "berth-operator")["spec"]["template"]["spec"]["containers"][0];
        assert_eq!(container["image"], images.operator.to_string(), "{tool:?}");
        let registry = format!("--registry-image={}", images.registry);
        let args = container["args"].as_array().cloned().unwrap_or_default();
        assert!(args.contains(&registry.clone().into()), "{tool:?}: {args:?}");
    }
    Ok(())
}
