//! Kubeconfig files of the clusters that the suite makes, and clients from explicitly named files only.
//!
//! Must not: read `KUBECONFIG` or `~/.kube/config`. A suite that picked up the reader's current cluster could destroy
//! it.

use std::path::Path;

use anyhow::{Context as _, Result};
use base64::Engine as _;
use kube::config::{KubeConfigOptions, Kubeconfig};

use crate::pki::Leaf;

/// The one context of the files written here.
pub const CONTEXT: &str = "berth";

/// A kubeconfig that contains the credentials, so that a copy of the file works anywhere.
pub(crate) fn text(server: &str, ca: &str, user: &Leaf) -> String {
    let encode = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
    format!(
        "apiVersion: v1\n\
         kind: Config\n\
         clusters: [{{name: {CONTEXT}, cluster: {{server: \"{server}\", certificate-authority-data: {}}}}}]\n\
         users: [{{name: {CONTEXT}, user: {{client-certificate-data: {}, client-key-data: {}}}}}]\n\
         contexts: [{{name: {CONTEXT}, context: {{cluster: {CONTEXT}, user: {CONTEXT}}}}}]\n\
         current-context: {CONTEXT}\n",
        encode(ca),
        encode(&user.certificate),
        encode(&user.key),
    )
}

/// A client for one context of one file.
///
/// # Errors
/// The file cannot be read, has no such context, or its credentials are unusable.
pub async fn client(file: &Path, context: &str) -> Result<kube::Client> {
    // This fails only when a provider is installed already, and then nothing has to be done.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let kubeconfig =
        Kubeconfig::read_from(file).with_context(|| format!("cannot read `{}`", file.display()))?;
    let options = KubeConfigOptions {
        context: Some(context.to_owned()),
        ..KubeConfigOptions::default()
    };
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &options)
        .await
        .with_context(|| format!("context `{context}` of `{}` is unusable", file.display()))?;
    kube::Client::try_from(config).context("cannot make a Kubernetes client")
}
