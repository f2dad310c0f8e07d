//! Amazon as far as a registry meets it, by moto: S3, STS, the metadata of machines and containers, in one process.
//!
//! versitygw keeps the bytes of the suite's buckets; it knows no temporary credentials, and forgets how an object is to be
//! encrypted and kept. Guarantees: signatures, tokens and their ends are checked (`e2e/tools/moto/cloud.py` says how).
//! Start at [`Cloud::start`].

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
use crate::pki::{CertificateAuthority, write_secret};
use crate::ports;
use crate::python;
use crate::wait::{Seen, wait_for};

/// The role that is taken on by a token.
pub(crate) const ROLE: &str = "arn:aws:iam::123456789012:role/registry";

/// A running cloud, ended when it is dropped.
pub(crate) struct Cloud {
    /// Where it answers.
    pub(crate) address: SocketAddr,
    /// Where it answers over TLS.
    pub(crate) tls: SocketAddr,
    /// The authority of its certificate.
    pub(crate) ca: String,
    /// A file with the same.
    pub(crate) ca_file: PathBuf,
    /// Keys that do not end.
    pub(crate) accesskey: String,
    /// Their secret.
    pub(crate) secretkey: String,
    client: Client,
    _process: Child,
}

/// A request to S3.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct S3Request {
    /// Its method.
    pub(crate) method: String,
    /// Which object; empty for the bucket.
    pub(crate) key: String,
    /// The names in its query that are no part of the signature.
    pub(crate) query: Vec<String>,
    /// `headers` or `url`.
    pub(crate) signed: String,
    /// Those that say what becomes of an object, in lower case.
    pub(crate) headers: BTreeMap<String, String>,
    /// Whose access key signed it, if that could be told.
    pub(crate) by: Option<String>,
    /// The code of the error, if it was refused.
    pub(crate) refused: Option<String>,
}

/// Temporary credentials that were given to somebody.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct IssuedCredentials {
    /// Which way.
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
    /// The session.
    pub(crate) token: String,
}

impl Cloud {
    /// Starts it, moto installed first when the cache does not have it. Its log and its certificate lie in `folder`.
    ///
    /// # Errors
    /// It cannot be installed, ends, or does not answer in time; what it printed is part of the error.
    pub(crate) async fn start(cache: &Cache, folder: &Path) -> Result<Self> {
        let (python, program) = python::moto(cache, |_| ()).await?;
        let [address, tls] = [ports::free()?, ports::free()?];
        let ca = CertificateAuthority::new("the cloud's CA")?;
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
                // Nothing is written beside the program.
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

    /// The section of a registry's file for the part of the bucket below `root`, with more `keys`: over TLS, with the
    /// authority named.
    pub(crate) fn section(&self, root: &str, keys: &str) -> String {
        let Self { tls, ca_file, .. } = self;
        format!(
            "s3: {{regionendpoint: \"https://{tls}\", forcepathstyle: true, cacert: {}, region: eu-test-1, \
             bucket: {BUCKET}, rootdirectory: /{root}, {keys}}}",
            ca_file.display()
        )
    }

    /// The keys that do not end, for [`Cloud::section`].
    pub(crate) fn keys(&self) -> String {
        format!("accesskey: {}, secretkey: \"{}\"", self.accesskey, self.secretkey)
    }

    /// Says what is expected from now on: `token` of a web identity or a container, `lifetime` of credentials in seconds,
    /// `conditions` (`known`, `refused` or `ignored`).
    ///
    /// # Errors
    /// It does not answer.
    pub(crate) async fn want(&self, what: &Value) -> Result<()> {
        let url = format!("http://{}/berth/wanted", self.address);
        let answer = self.client.put(url).body(what.to_string()).send().await?;
        ensure!(answer.status().is_success(), "{}", answer.status());
        Ok(())
    }

    /// What HEAD says of each object, in lower case.
    ///
    /// # Errors
    /// It does not answer.
    pub(crate) async fn objects(&self) -> Result<BTreeMap<String, BTreeMap<String, String>>> {
        self.ask("objects").await
    }

    /// The requests to S3 since the last call of this.
    ///
    /// # Errors
    /// It does not answer.
    pub(crate) async fn requests(&self) -> Result<Vec<S3Request>> {
        self.ask("requests").await
    }

    /// The credentials that were given since the last call of this.
    ///
    /// # Errors
    /// It does not answer.
    pub(crate) async fn given(&self) -> Result<Vec<IssuedCredentials>> {
        self.ask("given").await
    }

    /// Temporary credentials for the suite to hand on.
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
