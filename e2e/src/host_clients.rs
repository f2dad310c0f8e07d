//! crane, skopeo and curl on this machine, for servers and proxies that are loopback processes.
//!
//! Guarantees: each case has its own logins, trusted certificates and caches; the reader's own files are not read.
//! Must not: skip a certificate check. [`crate::clients`] is the same for a cluster. Start at [`HostClients`].

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use serde_json::json;

use crate::cache::Cache;
use crate::exec::Exec;
use crate::protocol::noise;
use crate::tools::Tool;

/// The clients, with their own folder.
#[derive(Clone, Debug)]
pub(crate) struct HostClients {
    home: PathBuf,
    crane: PathBuf,
}

impl HostClients {
    /// Clients that trust only the CAs of `trusted` (PEM, may be empty). `home` is created.
    ///
    /// # Errors
    /// crane cannot be built, or the folder cannot be written.
    pub(crate) async fn new(home: &Path, trusted: &str) -> Result<Self> {
        std::fs::create_dir_all(home.join("certs"))
            .with_context(|| format!("cannot make `{}`", home.display()))?;
        std::fs::write(home.join("certs/ca.crt"), trusted)?;
        // Without this file skopeo would read the machine's policy, which may not exist.
        std::fs::write(
            home.join("policy.json"),
            r#"{"default": [{"type": "insecureAcceptAnything"}]}"#,
        )?;
        let clients = Self {
            home: home.to_owned(),
            crane: Tool::Crane.path(&Cache::open()?, |_| ()).await?,
        };
        clients.logins(&[])?;
        Ok(clients)
    }

    /// The file with the trusted CAs.
    pub(crate) fn ca_file(&self) -> PathBuf {
        self.home.join("certs/ca.crt")
    }

    /// Replaces the logins: registry, user, password.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn logins(&self, logins: &[(&str, &str, &str)]) -> Result<()> {
        let auths: serde_json::Map<_, _> = logins
            .iter()
            .map(|(registry, user, password)| {
                let both = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
                ((*registry).to_owned(), json!({"auth": both}))
            })
            .collect();
        std::fs::write(self.home.join("config.json"), json!({"auths": auths}).to_string())
            .context("cannot write the clients' logins")
    }

    /// crane. It tries HTTPS first and, with a loopback registry, HTTP after that.
    pub(crate) fn crane(&self) -> Exec {
        Exec::new(&self.crane)
            .env("DOCKER_CONFIG", &self.home)
            .env("SSL_CERT_FILE", self.ca_file())
            .env("SSL_CERT_DIR", self.home.join("none"))
            .env("NO_PROXY", "*")
    }

    /// `skopeo copy` with the options that are always needed. The caller adds more options and both ends.
    pub(crate) fn skopeo_copy(&self) -> Exec {
        self.skopeo()
            .args(["copy", "--src-cert-dir"])
            .arg(self.home.join("certs"))
            .arg("--dest-cert-dir")
            .arg(self.home.join("certs"))
            .arg("--authfile")
            .arg(self.home.join("config.json"))
    }

    /// skopeo.
    pub(crate) fn skopeo(&self) -> Exec {
        Exec::new("/usr/bin/skopeo")
            .arg("--policy")
            .arg(self.home.join("policy.json"))
            .env("NO_PROXY", "*")
            .env("XDG_RUNTIME_DIR", &self.home)
    }

    /// curl, quiet unless something fails.
    pub(crate) fn curl(&self) -> Exec {
        Exec::new("curl")
            .args(["--silent", "--show-error", "--noproxy", "*", "--cacert"])
            .arg(self.ca_file())
    }

    /// Pushes an image of `layers` layers with `bytes` of noise each, and gives its digest. Another `seed` is another
    /// image.
    ///
    /// # Errors
    /// crane fails.
    pub(crate) async fn push_image(
        &self,
        image: &str,
        layers: usize,
        bytes: usize,
        seed: u64,
    ) -> Result<String> {
        self.push_layers(image, &vec![bytes; layers], seed).await
    }

    /// Pushes an image with layers of these sizes, and gives its digest.
    ///
    /// # Errors
    /// crane fails.
    pub(crate) async fn push_layers(&self, image: &str, sizes: &[usize], seed: u64) -> Result<String> {
        let folder = tempfile::tempdir_in(&self.home)?;
        let append = self.append(folder.path(), sizes, seed)?;
        let said = append.args(["--new_tag", image]).success().await?;
        let (_, digest) = said
            .trim()
            .rsplit_once('@')
            .with_context(|| format!("crane told no digest: {said}"))?;
        Ok(digest.to_owned())
    }

    /// Writes the same image, named `name`, as a file that `docker load` and skopeo's `docker-archive:` read.
    ///
    /// # Errors
    /// crane fails.
    pub(crate) async fn archive(&self, file: &Path, name: &str, sizes: &[usize], seed: u64) -> Result<()> {
        let folder = tempfile::tempdir_in(&self.home)?;
        let append = self.append(folder.path(), sizes, seed)?;
        let append = append.args(["--new_tag", name, "--output"]).arg(file);
        append.success().await.map(drop)
    }

    /// `crane append` of layers made in `folder`. The caller adds the destination.
    fn append(&self, folder: &Path, sizes: &[usize], seed: u64) -> Result<Exec> {
        let mut append = self.crane().arg("append");
        for (layer, &bytes) in (0u64..).zip(sizes) {
            let path = folder.join(format!("layer{layer}.tar"));
            let file =
                std::fs::File::create(&path).with_context(|| format!("cannot write `{}`", path.display()))?;
            let mut tar = tar::Builder::new(file);
            let content = noise(seed * 1000 + layer, bytes);
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            tar.append_data(&mut header, format!("content{layer}"), &content[..])?;
            tar.finish()?;
            append = append.arg("--new_layer").arg(path);
        }
        Ok(append)
    }

    /// Pulls an image completely into a temporary file.
    ///
    /// # Errors
    /// crane fails, for example because a blob does not have its digest.
    pub(crate) async fn pull_image(&self, image: &str) -> Result<()> {
        let file = tempfile::NamedTempFile::new_in(&self.home)?;
        let pull = self.crane().args(["pull", image]).arg(file.path());
        pull.success().await.map(drop)
    }

    /// The digest of a reference, according to crane.
    ///
    /// # Errors
    /// crane fails, or prints something other than a digest.
    pub(crate) async fn digest(&self, image: &str) -> Result<String> {
        let digest = self
            .crane()
            .args(["digest", image])
            .success()
            .await?
            .trim()
            .to_owned();
        ensure!(
            digest.starts_with("sha256:"),
            "crane says `{image}` is `{digest}`"
        );
        Ok(digest)
    }
}
