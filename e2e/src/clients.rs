//! Registry clients as people run them, each with a private folder for its login.
//!
//! Guarantees: the reader's own `~/.docker` is neither read nor written; passwords go through standard input. Must
//! not: skip certificate checks. Start at [`Clients::docker`].

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::exec::Exec;
use crate::local;
use crate::provider::Cluster;

/// The clients. They run where the cluster's names and routes are known.
#[derive(Debug)]
pub struct Clients<'a> {
    cluster: &'a Cluster,
    home: PathBuf,
    release: DockerRelease,
}

/// Which docker is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DockerRelease {
    /// That of today.
    Current,
    /// Debian's, 20.10.
    Debian,
}

impl<'a> Clients<'a> {
    /// Clients that keep their logins in `home`. The folder must exist, and [`Cluster::node`] must see it too.
    #[must_use]
    pub fn new(cluster: &'a Cluster, home: &Path) -> Self {
        Self {
            cluster,
            home: home.to_owned(),
            release: DockerRelease::Debian,
        }
    }

    /// The same clients with docker of today. A local cluster has its command and engine; elsewhere docker is what this
    /// machine has.
    #[must_use]
    pub fn with_current_docker(self) -> Self {
        Self {
            release: DockerRelease::Current,
            ..self
        }
    }

    /// Debian's docker 20.10, or that of [`Clients::with_current_docker`].
    #[must_use]
    pub fn docker(&self) -> Exec {
        let current = match (self.release, self.cluster) {
            (DockerRelease::Current, Cluster::Local(local)) => local.current_docker(&self.home),
            _ => None,
        };
        // Another docker program may come earlier in the search path.
        let other = || self.here(Exec::new("/usr/bin/docker").env("DOCKER_CONFIG", &self.home));
        current.unwrap_or_else(other)
    }

    /// Gives docker the suite's own small images, [`local::BUSYBOX_IMAGE`] among them.
    ///
    /// # Errors
    /// docker refuses them.
    pub async fn load_first_images(&self) -> Result<()> {
        self.docker()
            .arg("load")
            .stdin(local::first_images()?)
            .success()
            .await
            .map(drop)
            .context("docker cannot load an image")
    }

    /// crane with docker's logins. It trusts only the CAs in `ca_file` (PEM).
    #[must_use]
    pub fn crane(&self, ca_file: &Path) -> Exec {
        let crane = self.cluster.programs().crane();
        self.here(
            crane
                .env("DOCKER_CONFIG", &self.home)
                .env("SSL_CERT_FILE", ca_file),
        )
    }

    /// skopeo, with its own login file. It reads docker's `certs.d`.
    #[must_use]
    pub fn skopeo(&self) -> Exec {
        self.here(Exec::new("skopeo").env("REGISTRY_AUTH_FILE", self.home.join("auth.json")))
    }

    /// curl, quiet unless something fails, without a retry.
    #[must_use]
    pub fn curl(&self) -> Exec {
        self.here(Exec::new("curl").args(["--silent", "--show-error"]))
    }

    /// Logs docker in, and with it crane, which shares docker's logins.
    ///
    /// # Errors
    /// The registry refuses the login.
    pub async fn login(&self, registry: &str, user: &str, password: &str) -> Result<()> {
        self.docker()
            .args(["login", "--username", user, "--password-stdin", registry])
            .stdin(password)
            .success()
            .await
            .map(drop)
            .with_context(|| format!("docker cannot log in to `{registry}`"))
    }

    /// Pushes an image that docker has and gives the digest the registry acknowledged.
    ///
    /// # Errors
    /// The push fails or tells no digest.
    pub async fn push(&self, reference: &str) -> Result<String> {
        let said = self.docker().args(["push", reference]).success().await?;
        digest(&said).with_context(|| format!("`docker push {reference}` told no digest:\n{said}"))
    }

    /// Builds an image from a folder with a `Dockerfile`.
    ///
    /// # Errors
    /// docker cannot build it.
    pub async fn build(&self, image: &str, folder: &Path) -> Result<()> {
        self.docker()
            .env("DOCKER_BUILDKIT", "0")
            .args(["build", "--quiet", "--tag", image])
            .arg(folder)
            .success()
            .await
            .map(drop)
    }

    /// Removes the local image, pulls it and gives the digest that docker verified.
    ///
    /// # Errors
    /// The pull fails or tells no digest.
    pub async fn pull(&self, reference: &str) -> Result<String> {
        self.docker()
            .args(["image", "rm", "--force", reference])
            .success()
            .await?;
        let said = self.docker().args(["pull", reference]).success().await?;
        digest(&said).with_context(|| format!("`docker pull {reference}` told no digest:\n{said}"))
    }

    fn here(&self, command: Exec) -> Exec {
        self.cluster.node(command)
    }
}

/// The first digest in docker's output: `v1: digest: sha256:… size: 528` or `Digest: sha256:…`.
fn digest(said: &str) -> Option<String> {
    let start = said.find("igest: sha256:")? + "igest: ".len();
    let digest: String = said[start..]
        .chars()
        .take_while(|c| c.is_ascii_alphanumeric() || *c == ':')
        .collect();
    (digest.len() == "sha256:".len() + 64).then_some(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_is_found_in_what_docker_says() {
        let hex = "a".repeat(64);
        for said in [
            format!("v1: digest: sha256:{hex} size: 528\n"),
            format!("Digest: sha256:{hex}\nStatus: new"),
        ] {
            assert_eq!(digest(&said), Some(format!("sha256:{hex}")), "{said}");
        }
        assert_eq!(digest("latest: digest: sha256:abc size: 1"), None);
    }
}
