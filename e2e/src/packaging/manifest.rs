//! `install.yaml`: all objects of `config/default` in one file, with the released images.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::{Images, VERSION};
use crate::exec::Exec;
use crate::images::checkout;

/// The objects of `config/default` as one YAML file. With `images`, those are what it installs.
///
/// # Errors
/// kustomize refuses the sources.
pub async fn install_manifest(kustomize: &Path, images: Option<&Images>) -> Result<String> {
    // kustomize takes folders by relative paths only, so the overlay is made inside the checkout.
    let dist = checkout().join("dist");
    fs::create_dir_all(&dist).context("cannot create `dist`")?;
    let overlay = tempfile::Builder::new()
        .prefix("install-")
        .tempdir_in(&dist)
        .context("cannot make a folder in `dist`")?;
    fs::write(overlay.path().join("kustomization.yaml"), kustomization(images))
        .context("cannot write the overlay")?;
    let objects = Exec::new(kustomize)
        .arg("build")
        .arg(overlay.path())
        .success()
        .await
        .context("kustomize refuses `config/default`")?;
    if let Some(images) = images {
        for image in [&images.operator, &images.registry] {
            ensure!(
                objects.contains(&image.to_string()),
                "`{image}` is not in what kustomize made of `config/default`"
            );
        }
    }
    Ok(format!(
        "# Berth {VERSION}: kubectl apply --server-side -f install.yaml\n{objects}"
    ))
}

/// The objects of `config/default`.
///
/// # Errors
/// As [`install_manifest`].
pub async fn default_objects(kustomize: &Path) -> Result<Vec<Value>> {
    objects(&install_manifest(kustomize, None).await?)
}

/// The objects of a YAML file with several documents.
fn objects(text: &str) -> Result<Vec<Value>> {
    let mut all = Vec::new();
    for document in text.split("\n---\n") {
        all.push(serde_saphyr::from_str(document).context("kustomize's output is no YAML")?);
    }
    Ok(all)
}

fn kustomization(images: Option<&Images>) -> String {
    let mut text = "resources: [../../config/default]\n".to_owned();
    let Some(Images { operator, registry }) = images else {
        return text;
    };
    let version = match (&operator.digest, &operator.tag) {
        (Some(digest), _) => format!("digest: {digest:?}"),
        (None, tag) => format!("newTag: {:?}", tag.as_deref().unwrap_or(VERSION)),
    };
    write!(
        text,
        "images:\n  - name: berth/operator\n    newName: {:?}\n    {version}\n\
         patches:\n  - patch: |\n      apiVersion: apps/v1\n      kind: Deployment\n\
         \x20     metadata: {{name: berth-operator, namespace: berth-system}}\n      spec:\n        template:\n\
         \x20         spec:\n            containers:\n              - name: operator\n\
         \x20               env: [{{name: BERTH_REGISTRY_IMAGE, value: {:?}}}]\n",
        operator.repository,
        registry.to_string(),
    )
    .expect("a String takes all text");
    text
}
