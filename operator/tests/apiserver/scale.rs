//! The scale subresource, by which autoscalers and `kubectl scale` change the number of replicas.

use anyhow::Result;
use kube::Error;
use kube::api::{Patch, PatchParams, PostParams};
use operator_api::Registry;
use serde_json::{Value, json};

use crate::cluster::Cluster;

async fn scale_to_two(namespace: &str, storage: Value) -> Result<Result<i32, String>> {
    let cluster = Cluster::with_namespace(namespace).await?;
    let registries = cluster.api::<Registry>();
    let registry: Registry = serde_json::from_value(json!({
        "apiVersion": "berth.dev/v1alpha1",
        "kind": "Registry",
        "metadata": { "name": "scaled" },
        "spec": { "storage": storage, "auth": { "anonymous": { "access": "Pull" } } },
    }))?;
    registries.create(&PostParams::default(), &registry).await?;
    let two = Patch::Merge(json!({ "spec": { "replicas": 2 } }));
    match registries
        .patch_scale("scaled", &PatchParams::default(), &two)
        .await
    {
        Ok(_) => Ok(Ok(registries.get("scaled").await?.spec.replicas)),
        Err(Error::Api(status)) => Ok(Err(status.message)),
        Err(other) => Err(other.into()),
    }
}

#[tokio::test]
async fn scaling_up_on_read_write_once_is_refused_with_the_same_sentence() -> Result<()> {
    let answer = scale_to_two(
        "scale-rwo",
        json!({ "persistentVolumeClaim": { "template": { "size": "1Gi" } } }),
    )
    .await?;
    let sentence = answer.expect_err("two replicas cannot share a ReadWriteOnce volume");
    assert!(
        sentence.contains("spec.replicas must be at most 1 unless"),
        "got: {sentence}"
    );
    Ok(())
}

#[tokio::test]
async fn scaling_up_on_empty_dir_is_refused_with_the_same_sentence() -> Result<()> {
    let answer = scale_to_two("scale-emptydir", json!({ "emptyDir": {} })).await?;
    let sentence = answer.expect_err("two replicas cannot share an emptyDir");
    assert!(
        sentence.contains("spec.replicas must be at most 1 with spec.storage.emptyDir"),
        "got: {sentence}"
    );
    Ok(())
}

#[tokio::test]
async fn scaling_up_on_read_write_many_works() -> Result<()> {
    let template = json!({ "size": "1Gi", "accessModes": ["ReadWriteMany"] });
    let answer = scale_to_two(
        "scale-rwx",
        json!({ "persistentVolumeClaim": { "template": template } }),
    )
    .await?;
    assert_eq!(answer, Ok(2));
    Ok(())
}
