//! Google Cloud Storage by fake-gcs-server over a folder. It checks no credentials. Start at [`Gcs`].

use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context as _, Result};
use rcgen::{KeyPair, PKCS_RSA_SHA256};
use reqwest::{Client, StatusCode};
use serde::Serialize;
use serde_json::json;

use super::program::{BUCKET, Program};
use crate::cache::Cache;
use crate::tools::Tool;

/// Address and credentials.
#[derive(Clone, Serialize)]
pub struct Gcs {
    /// Scheme, host and port; the XML API is at its root, the JSON API below `/storage/v1`.
    pub endpoint: String,
    /// The bucket, which exists.
    pub bucket: String,
    /// A service account key as Google issues them.
    pub credentials: ServiceAccount,
}

/// The parts of a service account key that clients need.
#[derive(Clone, Serialize)]
pub struct ServiceAccount {
    r#type: &'static str,
    client_email: &'static str,
    private_key_id: &'static str,
    private_key: String,
}

impl Gcs {
    pub(super) fn new(address: SocketAddr) -> Result<Self> {
        // The key is a real one, because clients sign tokens and URLs with it before they send anything.
        let key =
            KeyPair::generate_for(&PKCS_RSA_SHA256).context("cannot generate a service account's key")?;
        Ok(Self {
            endpoint: format!("http://{address}"),
            bucket: BUCKET.to_owned(),
            credentials: ServiceAccount {
                r#type: "service_account",
                client_email: "berth@berth-test.iam.gserviceaccount.com",
                private_key_id: "1",
                private_key: key.serialize_pem(),
            },
        })
    }

    /// The `storage` section of a server's file. Distribution does not have the key `endpoint`.
    pub(super) fn section(&self, endpoint: SocketAddr, root: &str) -> Result<String> {
        // JSON is valid YAML.
        let credentials =
            serde_json::to_string(&self.credentials).context("a service account's key is no JSON")?;
        let bucket = &self.bucket;
        Ok(format!(
            "gcs: {{bucket: {bucket}, endpoint: \"http://{endpoint}\", rootdirectory: {root}, credentials: {credentials}}}"
        ))
    }

    pub(super) async fn program(
        &self,
        cache: &Cache,
        data: &Path,
        address: SocketAddr,
        say: impl FnOnce(&str),
    ) -> Result<Program> {
        let (host, port) = (address.ip().to_string(), address.port().to_string());
        let (data, public) = (data.display().to_string(), address.to_string());
        let options = [
            "-scheme",
            "http",
            "-host",
            &host,
            "-port",
            &port,
            "-backend",
            "filesystem",
            "-filesystem-root",
            &data,
            // fake-gcs-server recognises XML requests, whose paths begin with the bucket, by their host.
            "-public-host",
            &public,
            "-log-level",
            "warn",
        ];
        Ok(Program {
            path: Tool::FakeGcsServer.path(cache, say).await?,
            arguments: options.iter().map(|&option| option.to_owned()).collect(),
            variables: Vec::new(),
        })
    }

    pub(super) async fn create_bucket(&self, client: &Client) -> Result<StatusCode> {
        let url = format!("{}/storage/v1/b?project=berth-test", self.endpoint);
        let request = client.post(url).json(&json!({"name": self.bucket}));
        Ok(request.send().await?.status())
    }
}
