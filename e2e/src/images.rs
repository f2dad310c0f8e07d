//! The product's two images: built by docker from the checkout's Dockerfiles, and loaded for the kubelet.
//!
//! Guarantees: an image that did not change is not loaded again, and its Pods are not replaced. Must not: compile
//! anything; `dist/` is filled before. Start at [`provide`].

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, ListParams};
use kube::{Api, ResourceExt as _};

use crate::exec::Exec;
use crate::provider::{Cluster, OPERATOR_IMAGE, REGISTRY_IMAGE};

/// The checkout this suite was compiled from.
#[must_use]
pub fn checkout() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap_or(Path::new("/"))
        .to_owned()
}

/// The server's program, the same file that the image of this checkout holds.
#[must_use]
pub fn server_program() -> PathBuf {
    checkout().join("dist/registry-server")
}

/// Builds both images from `dist/` and loads those that changed. Deletes the Pods of a changed image, so that their
/// owners start new ones. Gives the names of the changed images.
///
/// # Errors
/// `dist/` is not filled, or docker or containerd refuses.
pub async fn provide(cluster: &Cluster) -> Result<Vec<&'static str>> {
    let mut changed = Vec::new();
    for (image, dockerfile) in [
        (OPERATOR_IMAGE, "Dockerfile.operator"),
        (REGISTRY_IMAGE, "Dockerfile.registry"),
    ] {
        build(cluster, image, dockerfile).await?;
        let built = image_id(cluster, image).await?;
        if loaded(cluster, image, &built).await? {
            continue;
        }
        cluster
            .load_image(image)
            .await
            .with_context(|| format!("cannot load `{image}`"))?;
        replace_pods(cluster, image).await?;
        changed.push(image);
    }
    Ok(changed)
}

/// docker's identity of an image: the digest of its configuration.
///
/// # Errors
/// docker does not have it.
pub async fn image_id(cluster: &Cluster, image: &str) -> Result<String> {
    let inspect = Exec::new("/usr/bin/docker").args(["image", "inspect", "--format={{.Id}}", image]);
    Ok(cluster.node(inspect).success().await?.trim().to_owned())
}

async fn build(cluster: &Cluster, image: &str, dockerfile: &str) -> Result<()> {
    let root = checkout();
    if !root.join("dist/ca-certificates.crt").exists() {
        bail!(
            "`{}` is not filled; run `cargo xtask dist`",
            root.join("dist").display()
        );
    }
    let docker = Exec::new("/usr/bin/docker")
        .args([
            "build",
            "--quiet",
            "--build-arg=BINARY=prebuilt",
            "--file",
            dockerfile,
            "--tag",
            image,
            ".",
        ])
        // The older builder resolves every stage, even unused ones, and nothing can be pulled here.
        .env("DOCKER_BUILDKIT", "1")
        .dir(root);
    cluster
        .node(docker)
        .success()
        .await
        .map(drop)
        .with_context(|| format!("cannot build `{image}`"))
}

/// Whether containerd has exactly this image under that name. containerd lists manifest digests, which docker's
/// archives do not have, so the digest of the configuration is looked up in the image's manifest.
async fn loaded(cluster: &Cluster, image: &str, id: &str) -> Result<bool> {
    let name = format!("docker.io/{image}");
    let script = format!(
        "d=$(ctr --namespace=k8s.io images ls name=={name} | awk 'NR==2 {{print $3}}'); \
         [ -n \"$d\" ] && ctr --namespace=k8s.io content get \"$d\""
    );
    let finished = cluster
        .kubelet_node(Exec::new("sh").args(["-c", &script]))?
        .output()
        .await?;
    Ok(finished.status.success() && finished.stdout.contains(id))
}

async fn replace_pods(cluster: &Cluster, image: &str) -> Result<()> {
    let client = cluster.client().await?;
    let all: Api<Pod> = Api::all(client.clone());
    for pod in all
        .list(&ListParams::default())
        .await
        .context("cannot list Pods")?
    {
        let runs = pod
            .spec
            .iter()
            .flat_map(|spec| &spec.containers)
            .any(|container| container.image.as_deref() == Some(image));
        if runs
            && pod
                .owner_references()
                .iter()
                .any(|owner| owner.kind == "ReplicaSet")
        {
            let pods: Api<Pod> = Api::namespaced(client.clone(), &pod.namespace().unwrap_or_default());
            pods.delete(&pod.name_any(), &DeleteParams::default())
                .await
                .with_context(|| format!("cannot replace Pod `{}`", pod.name_any()))?;
        }
    }
    Ok(())
}
