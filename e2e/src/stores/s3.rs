//! S3 by versitygw over a folder. Start at [`S3`].

use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context as _, Result};
use reqwest::{Client, StatusCode};
use serde::Serialize;

use super::program::{BUCKET, Program, secret};
use crate::cache::Cache;
use crate::tools::Tool;

/// Address and credentials. Path style, without TLS; signatures are checked.
#[derive(Clone, Serialize)]
pub struct S3 {
    /// Scheme, host and port.
    pub endpoint: String,
    /// The only region it accepts signatures for.
    pub region: String,
    /// The bucket, which exists.
    pub bucket: String,
    /// The user.
    pub accesskey: String,
    /// The user's secret.
    pub secretkey: String,
}

impl S3 {
    pub(super) fn new(address: SocketAddr) -> Self {
        Self {
            endpoint: format!("http://{address}"),
            region: "eu-test-1".to_owned(),
            bucket: BUCKET.to_owned(),
            accesskey: "berth".to_owned(),
            secretkey: secret(),
        }
    }

    /// The `storage` section of a server's file, valid for distribution too.
    pub(super) fn section(&self, endpoint: SocketAddr, root: &str) -> String {
        let Self {
            region,
            bucket,
            accesskey,
            secretkey,
            ..
        } = self;
        format!(
            "s3: {{regionendpoint: \"http://{endpoint}\", forcepathstyle: true, secure: false, region: {region}, \
             bucket: {bucket}, rootdirectory: /{root}, accesskey: {accesskey}, secretkey: \"{secretkey}\"}}"
        )
    }

    pub(super) async fn program(
        &self,
        cache: &Cache,
        data: &Path,
        address: SocketAddr,
        many_parts: bool,
        say: impl FnOnce(&str),
    ) -> Result<Program> {
        // versitygw treats a folder below its root as a bucket.
        let bucket = data.join(&self.bucket);
        std::fs::create_dir_all(&bucket).with_context(|| format!("cannot make `{}`", bucket.display()))?;
        let address = address.to_string();
        let options = [
            "--port",
            &address,
            "--region",
            &self.region,
            "--health",
            "/health",
            "--quiet",
            "posix",
        ];
        let mut arguments: Vec<String> = options.iter().map(|&option| option.to_owned()).collect();
        if many_parts {
            let metadata = data.with_file_name("metadata");
            std::fs::create_dir_all(&metadata)
                .with_context(|| format!("cannot make `{}`", metadata.display()))?;
            arguments.extend(["--sidecar".to_owned(), metadata.display().to_string()]);
        }
        arguments.push(data.display().to_string());
        Ok(Program {
            path: Tool::VersityGw.path(cache, say).await?,
            arguments,
            // The keys go through the environment, because every user can read a process's arguments.
            variables: vec![
                ("ROOT_ACCESS_KEY", self.accesskey.clone()),
                ("ROOT_SECRET_KEY", self.secretkey.clone()),
            ],
        })
    }

    pub(super) async fn health(&self, client: &Client) -> Result<StatusCode> {
        Ok(client
            .get(format!("{}/health", self.endpoint))
            .send()
            .await?
            .status())
    }
}
