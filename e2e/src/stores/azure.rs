//! Azure Blob Storage by Azurite over a folder. Start at [`Azure`].

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use reqwest::{Client, StatusCode};
use serde::Serialize;
use sha2::Sha256;

use super::program::{BUCKET, Program, secret};
use crate::cache::Cache;
use crate::npm;

/// The API version of the suite's own request.
const VERSION: &str = "2023-11-03";

/// Address and credentials. Without TLS; signatures are checked.
#[derive(Clone, Serialize)]
pub struct Azure {
    /// Scheme, host, port and account, because Azurite has the account in the path.
    pub endpoint: String,
    /// The account.
    pub accountname: String,
    /// The account's key, base64.
    pub accountkey: String,
    /// The container, which exists.
    pub container: String,
}

impl Azure {
    pub(super) fn new(address: SocketAddr) -> Self {
        let account = "berthtest";
        Self {
            endpoint: format!("http://{address}/{account}"),
            accountname: account.to_owned(),
            accountkey: STANDARD.encode(secret()),
            container: BUCKET.to_owned(),
        }
    }

    /// The `storage` section of a server's file, valid for distribution too.
    pub(super) fn section(&self, endpoint: SocketAddr, root: &str) -> String {
        let Self {
            accountname,
            accountkey,
            container,
            ..
        } = self;
        format!(
            "azure: {{accountname: {accountname}, accountkey: \"{accountkey}\", container: {container}, \
             serviceurl: \"http://{endpoint}/{accountname}\", rootdirectory: {root}, credentials: {{type: shared_key}}}}"
        )
    }

    pub(super) async fn program(
        &self,
        cache: &Cache,
        data: &Path,
        address: SocketAddr,
        say: impl FnOnce(&str),
    ) -> Result<Program> {
        let script = npm::azurite(cache, say).await?;
        let (host, port) = (address.ip().to_string(), address.port().to_string());
        let (script, data) = (script.display().to_string(), data.display().to_string());
        let options = [
            script.as_str(),
            "--blobHost",
            &host,
            "--blobPort",
            &port,
            "--location",
            &data,
            "--silent",
            "--skipApiVersionCheck",
            "--disableTelemetry",
        ];
        Ok(Program {
            path: PathBuf::from("/usr/bin/node"),
            arguments: options.iter().map(|&option| option.to_owned()).collect(),
            variables: vec![(
                "AZURITE_ACCOUNTS",
                format!("{}:{}", self.accountname, self.accountkey),
            )],
        })
    }

    /// Creates the container with the account's key: Azure Storage, "Authorize with Shared Key".
    pub(super) async fn create_container(&self, client: &Client) -> Result<StatusCode> {
        let Self {
            accountname: account,
            container,
            ..
        } = self;
        let date = httpdate::fmt_http_date(SystemTime::now());
        let signed = format!(
            "PUT\n\n\n\n\n\n\n\n\n\n\n\nx-ms-date:{date}\nx-ms-version:{VERSION}\n/{account}/{account}/{container}\nrestype:container"
        );
        let key = STANDARD
            .decode(&self.accountkey)
            .context("the account's key is no base64")?;
        let mut hash = Hmac::<Sha256>::new_from_slice(&key).context("the account's key is no key")?;
        hash.update(signed.as_bytes());
        let signature = STANDARD.encode(hash.finalize().into_bytes());
        let request = client
            .put(format!("{}/{container}?restype=container", self.endpoint))
            .header("x-ms-date", date)
            .header("x-ms-version", VERSION)
            .header("authorization", format!("SharedKey {account}:{signature}"))
            .header("content-length", 0);
        Ok(request.send().await?.status())
    }
}
