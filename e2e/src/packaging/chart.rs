//! The Helm chart as an archive.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

use super::{Image, Images, VERSION};
use crate::exec::Exec;
use crate::images::checkout;

/// Packs `charts/berth-operator`. With `images`, those are the defaults of its values. Gives the archive's path.
///
/// # Errors
/// Helm refuses the chart, or a file cannot be written.
pub async fn package_chart(helm: &Path, images: Option<&Images>, folder: &Path) -> Result<PathBuf> {
    let copy = tempfile::tempdir().context("cannot make a temporary folder")?;
    let chart = copy.path().join("berth-operator");
    copy_chart(&checkout().join("charts/berth-operator"), &chart)?;
    if let Some(images) = images {
        let file = chart.join("values.yaml");
        let values = fs::read_to_string(&file).context("cannot read the chart's values")?;
        fs::write(&file, with_images(&values, images)?).context("cannot write the chart's values")?;
    }
    Exec::new(helm)
        .args([
            "package",
            "--version",
            VERSION,
            "--app-version",
            VERSION,
            "--destination",
        ])
        .arg(folder)
        .arg(&chart)
        .success()
        .await
        .context("Helm cannot pack the chart")?;
    Ok(folder.join(format!("berth-operator-{VERSION}.tgz")))
}

/// Copies the chart. Its links to `crds/` and `config/` become files.
fn copy_chart(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir(to).with_context(|| format!("cannot create `{}`", to.display()))?;
    for entry in fs::read_dir(from).with_context(|| format!("cannot read `{}`", from.display()))? {
        let (source, target) = {
            let entry = entry?;
            (entry.path(), to.join(entry.file_name()))
        };
        if source.is_dir() {
            copy_chart(&source, &target)?;
        } else {
            fs::copy(&source, &target).with_context(|| format!("cannot copy `{}`", source.display()))?;
        }
    }
    Ok(())
}

/// The text of `values.yaml` with other default images; its comments stay.
fn with_images(values: &str, images: &Images) -> Result<String> {
    let values = replace(values, "image", "berth/operator", &images.operator)?;
    replace(&values, "registryImage", "", &images.registry)
}

fn replace(values: &str, key: &str, repository: &str, image: &Image) -> Result<String> {
    let block = |repository: &str, tag: &str, digest: &str| {
        let repository = if repository.is_empty() { "\"\"" } else { repository };
        format!("\n{key}:\n  repository: {repository}\n  tag: {tag:?}\n  digest: {digest:?}\n")
    };
    let before = block(repository, "", "");
    ensure!(
        values.matches(&before).count() == 1,
        "the chart's values have no block `{}`",
        before.trim()
    );
    let after = block(
        &image.repository,
        image.tag.as_deref().unwrap_or_default(),
        image.digest.as_deref().unwrap_or_default(),
    );
    Ok(values.replace(&before, &after))
}
