//! Examples in the documentation: the API server takes each Registry that a page shows.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::cluster::Cluster;
use crate::rules::check_accepted;

/// Pages about the server's own configuration, whose examples are no Registries.
const ABOUT_THE_SERVER: [&str; 2] = ["server.md", "careless-configuration.md"];

fn pages() -> Result<Vec<PathBuf>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut pages = vec![root.join("README.md"), root.join("SECURITY.md")];
    for entry in std::fs::read_dir(root.join("docs"))? {
        let path = entry?.path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if name.ends_with(".md") && !ABOUT_THE_SERVER.contains(&name.as_str()) {
            pages.push(path);
        }
    }
    Ok(pages)
}

/// The documents of a page's YAML blocks, each with its place.
fn documents(page: &Path) -> Result<Vec<(String, Value)>> {
    let text = std::fs::read_to_string(page).with_context(|| format!("cannot read `{}`", page.display()))?;
    let name = page.file_name().unwrap_or_default().to_string_lossy();
    let mut found = Vec::new();
    for (number, block) in text.split("```yaml\n").enumerate().skip(1) {
        let block = block.split("```").next().unwrap_or_default();
        for document in block.split("\n---\n") {
            let place = format!("{name}, block {number}");
            let value = serde_saphyr::from_str(document).with_context(|| format!("{place} is no YAML"))?;
            found.push((place, value));
        }
    }
    Ok(found)
}

#[tokio::test]
async fn each_registry_that_a_page_shows_is_accepted() -> Result<()> {
    let cluster = Cluster::with_namespace("docs-examples").await?;
    let mut rows = Vec::new();
    for page in pages()? {
        for (place, document) in documents(&page)? {
            let shown = document["kind"] == "Registry" || document["kind"].is_null();
            if shown && document["spec"].is_object() {
                rows.push((place, document["spec"].clone()));
            }
        }
    }
    assert!(rows.len() >= 4, "only {} examples were found", rows.len());
    let rows = rows.iter().map(|(place, spec)| (place.as_str(), spec.clone()));
    check_accepted(&cluster, rows.collect()).await
}
