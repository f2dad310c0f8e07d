//! `operator purge`, as a person would run it.

use std::process::Output;

use anyhow::Result;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Secret};
use kube::api::DeleteParams;
use operator_api::Registry;
use serde_json::json;

use crate::cluster::Cluster;
use crate::objects::gone;
use crate::operator::{Operator, create, merge, registry, rolling_out, secret};

async fn purge(cluster: &Cluster, arguments: &[&str]) -> Result<Output> {
    let program = tokio::process::Command::new(env!("CARGO_BIN_EXE_operator"))
        .args(["purge", "--namespace", &cluster.namespace])
        .args(arguments)
        .env("KUBECONFIG", cluster.server.kubeconfig())
        .output();
    Ok(program.await?)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The objects that outlive `harbour`, by name.
async fn left(cluster: &Cluster) -> Result<Vec<&'static str>> {
    let mut left = Vec::new();
    for name in ["harbour-http", "harbour-ca-key"] {
        if cluster.api::<Secret>().get_opt(name).await?.is_some() {
            left.push(name);
        }
    }
    let claim = cluster
        .api::<PersistentVolumeClaim>()
        .get_opt("harbour-data")
        .await?;
    left.extend(
        claim
            .filter(|claim| claim.metadata.deletion_timestamp.is_none())
            .map(|_| "harbour-data"),
    );
    Ok(left)
}

#[tokio::test]
async fn what_outlives_a_registry_is_removed_when_it_is_gone_and_that_was_asked_for() -> Result<()> {
    const ALL: [&str; 3] = ["harbour-http", "harbour-ca-key", "harbour-data"];
    let cluster = Cluster::with_namespace("purge").await?;
    let operator = Operator::start(&cluster);
    create(&cluster, &registry("harbour", json!({}))).await?;
    create(&cluster, &registry("pier", json!({}))).await?;
    rolling_out(&cluster, "harbour").await?;
    rolling_out(&cluster, "pier").await?;

    let refused = purge(&cluster, &["harbour", "--content", "--yes"]).await?;
    assert_eq!(refused.status.code(), Some(2), "{}", text(&refused.stderr));
    assert!(
        text(&refused.stderr).contains("delete it first"),
        "{}",
        text(&refused.stderr)
    );
    assert_eq!(left(&cluster).await?, ALL);

    cluster
        .api::<Registry>()
        .delete("harbour", &DeleteParams::default())
        .await?;
    gone::<Registry>(&cluster, "harbour").await?;
    operator.stop().await?;
    let listed = purge(&cluster, &["harbour", "--content"]).await?;
    assert!(listed.status.success(), "{}", text(&listed.stderr));
    for name in ALL {
        assert!(text(&listed.stdout).contains(name), "{}", text(&listed.stdout));
    }
    assert!(
        text(&listed.stderr).contains("`--yes`"),
        "{}",
        text(&listed.stderr)
    );
    assert_eq!(left(&cluster).await?, ALL, "listing removed something");

    let keys = purge(&cluster, &["harbour", "--yes"]).await?;
    assert!(keys.status.success(), "{}", text(&keys.stderr));
    assert_eq!(left(&cluster).await?, ["harbour-data"]);
    // An object of somebody else is not of the operator's making, whatever its name.
    create(&cluster, &secret("harbour-http", &[("secret", "somebody's")])).await?;
    let content = purge(&cluster, &["harbour", "--content", "--yes"]).await?;
    assert!(content.status.success(), "{}", text(&content.stderr));
    assert_eq!(left(&cluster).await?, ["harbour-http"]);
    let let_go = json!({ "metadata": { "finalizers": null } });
    merge::<PersistentVolumeClaim>(&cluster, "harbour-data", let_go).await?;
    gone::<PersistentVolumeClaim>(&cluster, "harbour-data").await?;

    let nothing = purge(&cluster, &["harbour", "--content", "--yes"]).await?;
    assert!(
        text(&nothing.stdout).contains("Nothing is left"),
        "{}",
        text(&nothing.stdout)
    );
    for name in ["pier-http", "pier-ca-key"] {
        assert!(
            cluster.api::<Secret>().get_opt(name).await?.is_some(),
            "{name} is gone"
        );
    }
    Ok(())
}
