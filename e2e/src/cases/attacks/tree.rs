//! Writes data folders in the server's layout, for content that would take minutes to push.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::protocol::digest;

pub(super) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// The empty configuration of the image specification.
pub(super) const EMPTY: &[u8] = b"{}";

/// The data folder of a store.
pub(super) struct Tree(PathBuf);

impl Tree {
    pub(super) fn at(data: &Path) -> Self {
        Self(data.join("docker/registry/v2"))
    }

    /// Writes content without a link to it, and gives its digest.
    fn content(&self, bytes: &[u8]) -> Result<String> {
        let name = digest(bytes);
        let hex = name.trim_start_matches("sha256:");
        let path = self.0.join(format!("blobs/sha256/{}/{hex}/data", &hex[..2]));
        write(&path, bytes)?;
        Ok(name)
    }

    /// Writes a blob of a repository and gives its digest.
    pub(super) fn blob(&self, repository: &str, bytes: &[u8]) -> Result<String> {
        let name = self.content(bytes)?;
        self.link(repository, "_layers", &name)?;
        Ok(name)
    }

    /// Writes a manifest of a repository and gives its digest.
    pub(super) fn manifest(&self, repository: &str, bytes: &[u8]) -> Result<String> {
        let name = self.content(bytes)?;
        self.link(repository, "_manifests/revisions", &name)?;
        Ok(name)
    }

    /// Writes a tag of a manifest.
    pub(super) fn tag(&self, repository: &str, tag: &str, manifest: &str) -> Result<()> {
        let folder = format!("_manifests/tags/{tag}/index");
        self.link(repository, &folder, manifest)?;
        let current = format!("repositories/{repository}/_manifests/tags/{tag}/current/link");
        write(&self.0.join(current), manifest.as_bytes())
    }

    fn link(&self, repository: &str, folder: &str, name: &str) -> Result<()> {
        let hex = name.trim_start_matches("sha256:");
        let path = format!("repositories/{repository}/{folder}/sha256/{hex}/link");
        write(&self.0.join(path), name.as_bytes())
    }
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let parent = path.parent().context("a path in a tree has a folder")?;
    fs::create_dir_all(parent)
        .and_then(|()| fs::write(path, bytes))
        .with_context(|| format!("cannot write `{}`", path.display()))
}

/// An image manifest with `more` members after the usual ones.
pub(super) fn manifest(layers: &str, more: &str) -> Vec<u8> {
    let empty = digest(EMPTY);
    format!(
        "{{\"schemaVersion\":2,\"mediaType\":\"{MANIFEST}\",\"config\":{{\"mediaType\":\
         \"application/vnd.oci.empty.v1+json\",\"digest\":\"{empty}\",\"size\":2}},\"layers\":[{layers}]{more}}}"
    )
    .into_bytes()
}

/// The `subject` member, which makes a manifest a referrer.
pub(super) fn subject(name: &str) -> String {
    format!(",\"subject\":{{\"mediaType\":\"{MANIFEST}\",\"digest\":\"{name}\",\"size\":7}}")
}
