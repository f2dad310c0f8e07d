//! The manifests for all namespaces, for some and for one: their rights are enough, and the operator asks for no others. The
//! roles for people.

use anyhow::{Context as _, Result};
use e2e::audit::Marker;
use e2e::cache::Cache;
use e2e::tools::Tool;
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt as _};
use operator_api::Registry;
use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::installed::config;
use crate::operator::{USERS, create, htpasswd, merge, registry, rolling_out, secret};
use crate::program::Program;

/// An installation from `config/`, with the names of namespaces replaced.
struct Installation {
    cluster: Cluster,
    deployment: Value,
    user: String,
}

impl Installation {
    /// Applies what kustomize makes of `folder`, with other names for its namespaces.
    async fn apply(folder: &str, operator_namespace: &str, renamed: &[(&str, &str)]) -> Result<Self> {
        let cluster = Cluster::with_namespace(operator_namespace).await?;
        let mut text = kustomize(folder)
            .await?
            .replace("berth-system", operator_namespace);
        for (from, to) in renamed {
            text = text.replace(from, to);
            namespace(&cluster, to).await?;
        }
        let mut deployment = Value::Null;
        for document in text.split("\n---\n") {
            let object: DynamicObject =
                serde_saphyr::from_str(document).context("kustomize wrote no object")?;
            let kind = object.types.clone().unwrap_or_default().kind;
            match kind.as_str() {
                // They are there already.
                "CustomResourceDefinition" | "Namespace" => continue,
                "Deployment" => deployment = serde_json::to_value(&object)?,
                _ => {}
            }
            apply(&cluster, &object)
                .await
                .with_context(|| format!("{kind} `{}`", object.name_any()))?;
        }
        Ok(Self {
            user: format!("system:serviceaccount:{operator_namespace}:berth-operator"),
            cluster,
            deployment,
        })
    }

    /// Starts the program with the arguments and variables of the Deployment's container, further arguments, and its
    /// ServiceAccount's rights.
    fn start(&self, arguments: &[&str]) -> Result<Program> {
        let container = &self.deployment["spec"]["template"]["spec"]["containers"][0];
        assert_eq!(container["args"], json!(["run"]));
        let variables = container["env"].as_array().context("no variables")?;
        let value = |variable: &Value| match variable["valueFrom"]["fieldRef"]["fieldPath"].as_str() {
            None => variable["value"].as_str().unwrap_or_default().to_owned(),
            Some("metadata.namespace") => self.cluster.namespace.clone(),
            Some("metadata.name") => "berth-operator-5d4f".to_owned(),
            Some(other) => panic!("no value for {other}"),
        };
        let all: Vec<_> = variables
            .iter()
            .map(|variable| (variable["name"].as_str().unwrap_or_default(), value(variable)))
            .collect();
        let env: Vec<_> = all.iter().map(|(name, value)| (*name, value.as_str())).collect();
        Program::start_as(&self.cluster, Some(&self.user), &env, arguments)
    }

    fn namespace(&self, name: &str) -> Cluster {
        Cluster {
            server: self.cluster.server.clone(),
            client: self.cluster.client.clone(),
            namespace: name.to_owned(),
        }
    }

    /// A Registry that has every object is brought up, changed and deleted.
    async fn reconciles(&self, namespace: &str) -> Result<()> {
        let cluster = self.namespace(namespace);
        create(&cluster, &secret("users", &[("htpasswd", USERS)])).await?;
        let everything = json!({ "auth": htpasswd(), "ingress": { "hosts": ["a.example"] } });
        create(&cluster, &registry("harbour", everything)).await?;
        rolling_out(&cluster, "harbour").await?;
        merge::<Registry>(&cluster, "harbour", json!({ "spec": { "ingress": null } })).await?;
        rolling_out(&cluster, "harbour").await?;
        crate::objects::gone::<k8s_openapi::api::networking::v1::Ingress>(&cluster, "harbour").await
    }

    /// The requests of the operator that were forbidden, by verb and path.
    fn forbidden(&self, since: &Marker) -> Result<Vec<String>> {
        let requests = since.requests()?;
        let own = requests.iter().filter(|request| {
            let impersonated = request.impersonated_user.as_ref();
            impersonated.is_some_and(|user| user.username == self.user) && request.is_forbidden()
        });
        Ok(own
            .map(|request| format!("{} {}", request.verb, request.uri))
            .collect())
    }
}

async fn kustomize(folder: &str) -> Result<String> {
    let program = Tool::Kubernetes
        .path(&Cache::open()?, |what| eprintln!("{what}"))
        .await?;
    let output = tokio::process::Command::new(program)
        .args(["kubectl", "kustomize"])
        .arg(config(folder))
        .output()
        .await?;
    let errors = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(
        output.status.success(),
        "kustomize refuses `config/{folder}`: {errors}"
    );
    Ok(String::from_utf8(output.stdout)?)
}

async fn namespace(cluster: &Cluster, name: &str) -> Result<()> {
    let namespace = Namespace {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            ..Default::default()
        },
        ..Default::default()
    };
    Api::<Namespace>::all(cluster.client.clone())
        .create(&PostParams::default(), &namespace)
        .await?;
    Ok(())
}

async fn apply(cluster: &Cluster, object: &DynamicObject) -> Result<()> {
    let types = object.types.as_ref().context("no kind")?;
    let resource = ApiResource::from_gvk(&GroupVersionKind::try_from(types)?);
    let client = cluster.client.clone();
    let api: Api<DynamicObject> = match object.namespace() {
        Some(namespace) => Api::namespaced_with(client, &namespace, &resource),
        None => Api::all_with(client, &resource),
    };
    let params = PatchParams::apply("kubectl").force();
    api.patch(&object.name_any(), &params, &Patch::Apply(object))
        .await?;
    Ok(())
}

#[tokio::test]
async fn an_operator_of_all_namespaces_works_in_each_and_is_forbidden_nothing() -> Result<()> {
    let installed = Installation::apply("default", "scopes-all", &[]).await?;
    namespace(&installed.cluster, "scopes-all-other").await?;
    let since = Marker::now(&installed.cluster.server.audit_log())?;
    // It has the rights for all namespaces, but must not meet the Registries of other tests.
    let _operator = installed.start(&["--namespace", "scopes-all,scopes-all-other"])?;
    installed.reconciles("scopes-all-other").await?;
    assert_eq!(installed.forbidden(&since)?, Vec::<String>::new());
    Ok(())
}

#[tokio::test]
async fn an_operator_of_some_namespaces_works_there_and_asks_for_nothing_elsewhere() -> Result<()> {
    let renamed = [("team-a", "scopes-list-a"), ("team-b", "scopes-list-b")];
    let installed = Installation::apply("scopes/namespaces", "scopes-list", &renamed).await?;
    let since = Marker::now(&installed.cluster.server.audit_log())?;
    let operator = installed.start(&[])?;
    create(&installed.cluster, &registry("elsewhere", json!({}))).await?;
    installed.reconciles("scopes-list-a").await?;
    installed.reconciles("scopes-list-b").await?;
    let elsewhere = installed.cluster.api::<Registry>().get("elsewhere").await?;
    assert!(
        elsewhere
            .status
            .is_none_or(|status| status.observed_generation.is_none_or(|seen| seen <= 0))
    );
    let forbidden = installed.forbidden(&since)?;
    assert!(
        only_storage_classes(&forbidden),
        "{forbidden:?}\n{}",
        operator.log()?
    );
    Ok(())
}

#[tokio::test]
async fn an_operator_of_its_own_namespace_has_no_rights_outside_of_it() -> Result<()> {
    let installed = Installation::apply("scopes/own-namespace", "scopes-own", &[]).await?;
    let since = Marker::now(&installed.cluster.server.audit_log())?;
    let operator = installed.start(&[])?;
    installed.reconciles("scopes-own").await?;
    let forbidden = installed.forbidden(&since)?;
    assert!(
        only_storage_classes(&forbidden),
        "{forbidden:?}\n{}",
        operator.log()?
    );
    let other = installed.cluster.impersonating(&installed.user).await?;
    let answer = Api::<Secret>::namespaced(other, "default")
        .list(&Default::default())
        .await;
    assert!(
        matches!(&answer, Err(kube::Error::Api(status)) if status.is_forbidden()),
        "{answer:?}"
    );
    Ok(())
}

/// Classes of storage belong to no namespace, and the operator goes on without them.
fn only_storage_classes(forbidden: &[String]) -> bool {
    forbidden
        .iter()
        .all(|request| request.starts_with("get /apis/storage.k8s.io/v1/storageclasses/"))
}

#[tokio::test]
async fn people_look_at_change_and_administer_registries_by_the_roles_of_kubernetes() -> Result<()> {
    let cluster = Cluster::with_namespace("scopes-people").await?;
    create(&cluster, &registry("harbour", json!({}))).await?;
    for (role, may_edit) in [("view", false), ("edit", true), ("admin", true)] {
        let text = std::fs::read_to_string(config(&format!("rbac/registry_{role}_role.yaml")))?;
        let object: DynamicObject = serde_saphyr::from_str(&text)?;
        let labels = object.labels();
        let aggregated = format!("rbac.authorization.k8s.io/aggregate-to-{role}");
        assert_eq!(
            labels.get(&aggregated).map(String::as_str),
            Some("true"),
            "{role}"
        );
        apply(&cluster, &object).await?;
        let user = format!("scopes-{role}");
        let binding: DynamicObject = serde_json::from_value(json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": { "name": role, "namespace": cluster.namespace },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": object.name_any() },
            "subjects": [{ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user }],
        }))?;
        apply(&cluster, &binding).await?;
        let registries = Api::<Registry>::namespaced(cluster.impersonating(&user).await?, &cluster.namespace);
        e2e::wait::wait_for("the rights", crate::operator::DEADLINE, async || {
            Ok(match registries.get("harbour").await {
                Ok(_) => e2e::wait::Seen::Done(()),
                Err(error) => e2e::wait::Seen::NotYet(error.to_string()),
            })
        })
        .await?;
        let params = PatchParams::default();
        let annotate = Patch::Merge(json!({ "metadata": { "annotations": { "x.example/y": role } } }));
        let changed = registries.patch("harbour", &params, &annotate).await;
        assert_eq!(changed.is_ok(), may_edit, "{role}: {changed:?}");
        let status = Patch::Merge(json!({ "status": { "observedGeneration": 9 } }));
        let written = registries.patch_status("harbour", &params, &status).await;
        assert!(written.is_err(), "{role} writes the operator's status");
        let deleted = registries.delete("nothing", &Default::default()).await;
        let forbidden = matches!(&deleted, Err(kube::Error::Api(status)) if status.is_forbidden());
        assert_eq!(forbidden, !may_edit, "{role}: {deleted:?}");
    }
    Ok(())
}
