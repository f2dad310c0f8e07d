//! The manifests in `config/`: enough rights and no more.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use e2e::audit::Marker;
use e2e::wait::{Seen, wait_for};
use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule, RoleBinding};
use kube::Api;
use kube::api::PostParams;
use operator_api::Registry;
use serde_json::json;

use crate::cluster::Cluster;
use crate::operator::{DEADLINE, Operator, USERS, create, htpasswd, merge, registry, rolling_out, secret};

pub(crate) fn config(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../config").join(path)
}

fn yaml<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read `{}`", path.display()))?;
    serde_saphyr::from_str(&text).with_context(|| format!("cannot parse `{}`", path.display()))
}

fn finalizers(rule: &PolicyRule) -> bool {
    rule.resources.as_deref() == Some(&["registries/finalizers".to_owned()])
}

#[tokio::test]
async fn the_role_is_enough_for_everything_the_operator_does() -> Result<()> {
    let cluster = Cluster::with_namespace("installed-role").await?;
    let role = operator_role("installed-role")?;
    for rule in role.rules.iter().flatten() {
        let has = |verb: &str| rule.verbs.iter().any(|has| has == verb);
        let unused = has("*") || has("deletecollection") || has("update") && !finalizers(rule);
        assert!(!unused, "nothing of the operator uses this: {rule:?}");
        let lasting = [
            "persistentvolumeclaims",
            "deployments",
            "services",
            "serviceaccounts",
            "registries",
        ];
        let resources = rule.resources.iter().flatten();
        assert!(
            !has("delete")
                || resources
                    .clone()
                    .all(|resource| !lasting.contains(&resource.as_str())),
            "the operator deletes none of these: {rule:?}"
        );
    }
    grant(&cluster, &role, "harbourmaster").await?;
    let _operator = Operator::with_client(&cluster, cluster.impersonating("harbourmaster").await?);
    create(
        &cluster,
        &secret("users", &[("htpasswd", USERS), ("password", "hunter2")]),
    )
    .await?;
    let from =
        json!([{ "path": "redis.sentinelpassword", "secretKeyRef": { "name": "users", "key": "password" } }]);
    let everything = json!({
        "auth": htpasswd(),
        "ingress": { "hosts": ["a.example"] },
        "configFrom": from,
        "storage": { "persistentVolumeClaim": { "template": { "size": "1Gi", "retentionPolicy": "Delete" } } },
    });
    create(&cluster, &registry("harbour", everything)).await?;
    rolling_out(&cluster, "harbour").await?;
    // Deleting needs rights of its own.
    merge::<Registry>(&cluster, "harbour", json!({ "spec": { "ingress": null } })).await?;
    rolling_out(&cluster, "harbour").await?;
    crate::objects::gone::<k8s_openapi::api::networking::v1::Ingress>(&cluster, "harbour").await
}

/// The operator's role, under another name.
pub(crate) fn operator_role(name: &str) -> Result<ClusterRole> {
    let mut role: ClusterRole = yaml(&config("rbac/role.yaml"))?;
    role.metadata.name = Some(name.to_owned());
    Ok(role)
}

/// Creates `role` and binds it to `user` in the test's namespace.
pub(crate) async fn grant(cluster: &Cluster, role: &ClusterRole, user: &str) -> Result<()> {
    Api::<ClusterRole>::all(cluster.client.clone())
        .create(&PostParams::default(), role)
        .await?;
    let name = role.metadata.name.clone();
    let binding: RoleBinding = serde_json::from_value(json!({
        "metadata": { "name": name },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name },
        "subjects": [{ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user }],
    }))?;
    create(cluster, &binding).await.map(drop)
}

#[tokio::test]
async fn rights_that_are_granted_after_the_start_are_noticed() -> Result<()> {
    let cluster = Cluster::with_namespace("installed-late").await?;
    let before = Marker::now(&cluster.server.audit_log())?;
    let operator = Operator::with_client(&cluster, cluster.impersonating("latecomer").await?);
    create(
        &cluster,
        &registry("harbour", json!({ "storage": { "emptyDir": {} } })),
    )
    .await?;
    wait_for("a refused list of Registries", DEADLINE, async || {
        let requests = before.requests()?;
        let refused = requests
            .iter()
            .any(|request| request.impersonates("latecomer") && request.uri.contains("/registries"));
        Ok(if refused {
            Seen::Done(())
        } else {
            Seen::NotYet(format!("{} requests", requests.len()))
        })
    })
    .await?;
    assert!(!operator.health.is_ready(), "it has not listed the Registries");
    grant(&cluster, &operator_role("installed-late")?, "latecomer").await?;
    rolling_out(&cluster, "harbour").await?;
    assert!(operator.health.is_ready());
    Ok(())
}

#[tokio::test]
async fn it_is_ready_when_there_is_no_registry_yet() -> Result<()> {
    let cluster = Cluster::with_namespace("installed-ready").await?;
    let operator = Operator::start(&cluster);
    wait_for("the operator to be ready", DEADLINE, async || {
        Ok(if operator.health.is_ready() {
            Seen::Done(())
        } else {
            Seen::NotYet("it is not".to_owned())
        })
    })
    .await
}
