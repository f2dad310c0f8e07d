//! Amazon's services that a registry uses, by moto: S3, STS, and the metadata of machines and containers, in one
//! process.
//!
//! versitygw knows no temporary credentials, and does not keep how an object is encrypted and stored. Guarantees:
//! signatures, tokens and their expiry are checked (`e2e/tools/moto/cloud.py` says how). Start at [`Cloud::start`].

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use reqwest::Client;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::process::Child;

use super::program::{BUCKET, Program, START_LIMIT, launch, secret};
use crate::cache::Cache;
use crate::pki::{Ca, write_secret};
use crate::ports;
use crate::python;
use crate::wait::{Seen, wait_for};

/// The role that a web identity token assumes.
pub(crate) const ROLE: &str = "arn:aws:iam::123456789012:role/registry";

/// A running cloud, ended when it is dropped.
pub(crate) struct Cloud {
    /// Its address.
    pub(crate) address: SocketAddr,
    /// Its address with TLS.
    pub(crate) tls: SocketAddr,
    /// The CA of its certificate, PEM.
    pub(crate) ca: String,
    /// A file with the CA.
    pub(crate) ca_file: PathBuf,
    /// An access key that does not expire.
    pub(crate) accesskey: String,
    /// The secret of that key.
    pub(crate) secretkey: String,
    client: Client,
    _process: Child,
}

/// A request to S3.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct S3Request {
    /// Its method.
    pub(crate) method: String,
    /// The object's key; empty for a request to the bucket.
    pub(crate) key: String,
    /// The names in its query that are not part of the signature.
    pub(crate) query: Vec<String>,
    /// Where the signature is: `headers` or `url`.
    pub(crate) signed: String,
    /// The headers about encryption and storage of the object, in lower case.
    pub(crate) headers: BTreeMap<String, String>,
    /// The access key that signed it, if it is known.
    pub(crate) by: Option<String>,
    /// The error code, if it was refused.
    pub(crate) refused: Option<String>,
}

/// Temporary credentials that were issued.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct IssuedCredentials {
    /// The source that issued them.
    pub(crate) how: String,
    /// The access key.
    pub(crate) key: String,
}

/// Temporary credentials.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct TemporaryCredentials {
    /// The access key.
    pub(crate) access_key_id: String,
    /// Its secret.
    pub(crate) secret_access_key: String,
    /// The session token.
    pub(crate) token: String,
}

impl Cloud {
    /// Starts it. moto is installed first when the cache does not have it. Log and certificate are in `folder`.
    ///
    /// # Errors
    /// It cannot be installed, ends, or does not answer in time. The error holds its output.
    pub(crate) async fn start(cache: &Cache, folder: &Path) -> Result<Self> {
        let (python, program) = python::moto(cache, |_| ()).await?;
        let [address, tls] = [ports::free()?, ports::free()?];
        let ca = Ca::new("the cloud's CA")?;
        let leaf = ca.issue("cloud", "berth", &["127.0.0.1"])?;
        let [ca_file, certificate, key] =
            ["cloud-ca.crt", "cloud.crt", "cloud.key"].map(|name| folder.join(name));
        std::fs::write(&ca_file, ca.certificate())?;
        std::fs::write(&certificate, leaf.certificate)?;
        write_secret(&key, &leaf.key)?;
        let (accesskey, secretkey) = ("berth".to_owned(), secret());
        let program = Program {
            path: python,
            arguments: vec![
                // Keeps Python from writing compiled files next to the program.
                "-B".to_owned(),
                program.display().to_string(),
                address.ip().to_string(),
                address.port().to_string(),
                tls.port().to_string(),
                certificate.display().to_string(),
                key.display().to_string(),
            ],
            variables: vec![
                ("BERTH_ACCESS_KEY", accesskey.clone()),
                ("BERTH_SECRET_KEY", secretkey.clone()),
            ],
        };
        let log = folder.join("cloud.log");
        let mut process = launch(&program, &log).context("cannot start moto")?;
        let client = Client::builder()
            .no_proxy()
            .tls_certs_only([reqwest::Certificate::from_pem(ca.certificate().as_bytes())?])
            .build()?;
        wait_for("moto's first answers", START_LIMIT, async || {
            if let Some(status) = process.try_wait()? {
                let said = std::fs::read_to_string(&log)?;
                return Ok(Seen::Never(anyhow::anyhow!("it ended with {status}:\n{said}")));
            }
            for base in [format!("http://{address}"), format!("https://{tls}")] {
                let answer = client.get(format!("{base}/berth/objects")).send().await?;
                if !answer.status().is_success() {
                    return Ok(Seen::NotYet(format!("{base}: status {}", answer.status())));
                }
            }
            Ok(Seen::Done(()))
        })
        .await?;
        Ok(Self {
            address,
            tls,
            ca: ca.certificate(),
            ca_file,
            accesskey,
            secretkey,
            client,
            _process: process,
        })
    }

    /// The `storage` section of a server's file for the objects below `root`, with more `keys`, over TLS and with the
    /// CA.
    pub(crate) fn section(&self, root: &str, keys: &str) -> String {
        let Self { tls, ca_file, .. } = self;
        format!(
            "s3: {{regionendpoint: \"https://{tls}\", forcepathstyle: true, cacert: {}, region: eu-test-1, \
             bucket: {BUCKET}, rootdirectory: /{root}, {keys}}}",
            ca_file.display()
        )
    }

    /// The keys that do not expire, for [`Cloud::section`].
    pub(crate) fn keys(&self) -> String {
        format!("accesskey: {}, secretkey: \"{}\"", self.accesskey, self.secretkey)
    }

    /// Sets the expected `token` of a web identity or a container, the `lifetime` of credentials in seconds, and the
    /// handling of `conditions` (`known`, `refused` or `ignored`).
    ///
    /// # Errors
    /// It does not answer.
    pub(crate) async fn want(&self, what: &Value) -> Result<()> {
        let url = format!("http://{}/berth/wanted", self.address);
        let answer = self.client.put(url).body(what.to_string()).send().await?;
        ensure!(answer.status().is_success(), "{}", answer.status());
        Ok(())
    }

    /// The headers of each object, as HEAD answers them, in lower case.
    ///
    /// # Errors
    /// It does not answer.
    pub(crate) async fn objects(&self) -> Result<BTreeMap<String, BTreeMap<String, String>>> {
        self.ask("objects").await
    }

    /// The requests to S3 since the last call.
    ///
    /// # Errors
    /// It does not answer.
    pub(crate) async fn requests(&self) -> Result<Vec<S3Request>> {
        self.ask("requests").await
    }

    /// The credentials that were issued since the last call.
    ///
    /// # Errors
    /// It does not answer.
    pub(crate) async fn given(&self) -> Result<Vec<IssuedCredentials>> {
        self.ask("given").await
    }

    /// Temporary credentials for the suite's own use.
    ///
    /// # Errors
    /// It does not answer.
    pub(crate) async fn credentials(&self) -> Result<TemporaryCredentials> {
        self.ask("credentials").await
    }

    async fn ask<T: DeserializeOwned>(&self, what: &str) -> Result<T> {
        let url = format!("http://{}/berth/{what}", self.address);
        let answer = self.client.get(url).send().await?.error_for_status()?;
        let text = answer.text().await?;
        serde_json::from_str(&text).with_context(|| format!("`{what}`: {text}"))
    }
}
