//! Everything a team installs the operator with, made from `config/`, `crds/`, `charts/` and `bundle/`: one manifest,
//! the Helm chart as an archive, and the bundle for OLM.
//!
//! Guarantees: all three install the images that the caller names; the checkout is not changed. Must not: publish
//! anything. Start at [`package`].

mod bundle;
mod chart;
mod image;
mod manifest;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

pub use bundle::write_bundle;
pub use chart::package_chart;
pub use image::{Image, Images};
pub use manifest::{default_objects, install_manifest};

use crate::cache::Cache;
use crate::output::Step;
use crate::tools::Tool;

/// The version of all packages, that of `Cargo.toml`.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The files that [`package`] wrote.
#[derive(Clone, Debug)]
pub struct Packages {
    /// `install.yaml`, for `kubectl apply --server-side -f`.
    pub manifest: PathBuf,
    /// `berth-operator-<version>.tgz`, for Helm.
    pub chart: PathBuf,
    /// The folder `bundle`, with a Dockerfile, for OLM.
    pub bundle: PathBuf,
}

/// Writes all packages into the folder.
///
/// # Errors
/// kustomize or Helm cannot be built or refuses the sources, or a file cannot be written.
pub async fn package(images: &Images, folder: &Path, cache: &Cache, step: &Step) -> Result<Packages> {
    fs::create_dir_all(folder).with_context(|| format!("cannot create `{}`", folder.display()))?;
    let kustomize = Tool::Kustomize.path(cache, |what| step.note(what)).await?;
    let helm = Tool::Helm4.path(cache, |what| step.note(what)).await?;
    let manifest = folder.join("install.yaml");
    let text = install_manifest(&kustomize, Some(images)).await?;
    fs::write(&manifest, text).with_context(|| format!("cannot write `{}`", manifest.display()))?;
    let chart = package_chart(&helm, Some(images), folder).await?;
    let bundle = folder.join("bundle");
    write_bundle(&default_objects(&kustomize).await?, images, &bundle)?;
    Ok(Packages {
        manifest,
        chart,
        bundle,
    })
}
