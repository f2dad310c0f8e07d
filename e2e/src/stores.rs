//! Object stores as loopback processes: versitygw for S3, Azurite for Azure, fake-gcs-server for Google Cloud Storage.
//!
//! Guarantees: each store has its own folder, port, bucket (or container) and generated credentials. S3 and Azure
//! check signatures. A store is killed when it is dropped and its content stays in the folder; started again it has
//! the same address and credentials. Must not: know what is tested. Start at [`StoreSetup`]; [`cloud`] has Amazon's
//! services that versitygw lacks.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use program::{START_LIMIT, launch};
use reqwest::Client;
use serde::Serialize;
use tokio::process::Child;

use crate::cache::Cache;
use crate::ports;
use crate::wait::{Seen, wait_for};

mod azure;
pub(crate) mod cloud;
mod gcs;
mod program;
mod s3;

pub use azure::Azure;
pub use gcs::Gcs;
pub use program::BUCKET;
pub use s3::S3;

/// A kind of object store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreKind {
    /// Azure Blob Storage, by Azurite.
    Azure,
    /// Google Cloud Storage, by fake-gcs-server.
    Gcs,
    /// S3, by versitygw.
    S3,
}

impl StoreKind {
    /// All kinds.
    pub const ALL: [StoreKind; 3] = [StoreKind::S3, StoreKind::Azure, StoreKind::Gcs];

    /// The environment variable in which the driver tests look for such a store.
    #[must_use]
    pub fn variable(self) -> &'static str {
        match self {
            StoreKind::Azure => "BERTH_TEST_AZURE",
            StoreKind::Gcs => "BERTH_TEST_GCS",
            StoreKind::S3 => "BERTH_TEST_S3",
        }
    }

    fn name(self) -> &'static str {
        match self {
            StoreKind::Azure => "azure",
            StoreKind::Gcs => "gcs",
            StoreKind::S3 => "s3",
        }
    }
}

impl fmt::Display for StoreKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            StoreKind::Azure => "Azurite",
            StoreKind::Gcs => "fake-gcs-server",
            StoreKind::S3 => "versitygw",
        })
    }
}

/// Address and credentials of a store. As JSON it is the value of the variables of [`StoreKind::variable`].
#[derive(Clone, Serialize)]
#[serde(untagged)]
pub enum Access {
    /// Azurite.
    Azure(Azure),
    /// fake-gcs-server.
    Gcs(Gcs),
    /// versitygw.
    S3(S3),
}

impl Access {
    /// The access as one line of JSON.
    ///
    /// # Errors
    /// Never in practice: it consists of strings.
    pub fn json(&self) -> Result<String> {
        serde_json::to_string(self).context("a store's credentials are no JSON")
    }
}

/// How a store is started. A store started again continues with its content.
#[derive(Clone)]
pub struct StoreSetup {
    kind: StoreKind,
    folder: PathBuf,
    address: SocketAddr,
    access: Access,
    many_parts: bool,
}

impl StoreSetup {
    /// A store that keeps its content and its log below `folder`, on a port that was free a moment ago.
    ///
    /// # Errors
    /// No port is free, the folder cannot be created, or no key can be generated.
    pub fn new(kind: StoreKind, folder: &Path) -> Result<Self> {
        let address = ports::free()?;
        let access = match kind {
            StoreKind::Azure => Access::Azure(Azure::new(address)),
            StoreKind::Gcs => Access::Gcs(Gcs::new(address)?),
            StoreKind::S3 => Access::S3(S3::new(address)),
        };
        let setup = Self {
            kind,
            folder: folder.to_owned(),
            address,
            access,
            many_parts: false,
        };
        let data = setup.data();
        std::fs::create_dir_all(&data).with_context(|| format!("cannot make `{}`", data.display()))?;
        Ok(setup)
    }

    /// Makes versitygw keep its upload data in a folder of its own and not in file attributes, where ext4 has room
    /// for some hundred parts. This is not the default, because then two requests that empty one folder at the same
    /// moment may fail.
    #[must_use]
    pub fn for_many_parts(mut self) -> Self {
        self.many_parts = true;
        self
    }

    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> StoreKind {
        self.kind
    }

    /// Its address and credentials.
    #[must_use]
    pub fn access(&self) -> &Access {
        &self.access
    }

    /// The `storage` section of a server's file, for the objects below `root`. `endpoint` is the store's own address,
    /// or that of a proxy in front of it.
    ///
    /// # Errors
    /// Never in practice: it consists of strings.
    pub fn section(&self, endpoint: SocketAddr, root: &str) -> Result<String> {
        match &self.access {
            Access::Azure(azure) => Ok(azure.section(endpoint, root)),
            Access::Gcs(gcs) => gcs.section(endpoint, root),
            Access::S3(s3) => Ok(s3.section(endpoint, root)),
        }
    }

    /// Its name in the server's log, for a bucket or container of that name.
    #[must_use]
    pub fn logged(&self, bucket: &str) -> String {
        match &self.access {
            Access::Azure(azure) => format!("azure {}/{bucket}", azure.accountname),
            Access::Gcs(_) => format!("gcs {bucket}"),
            Access::S3(_) => format!("s3 {bucket}"),
        }
    }

    /// Its address.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The folder of its content.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.folder.join(self.kind.name())
    }

    /// Starts it and waits until its bucket or container exists. It is built or installed first when the cache does
    /// not have it; `say` is told before.
    ///
    /// # Errors
    /// It cannot be built, ends, or does not answer in time. The error holds its output.
    pub async fn start(&self, cache: &Cache, say: impl FnOnce(&str)) -> Result<Store> {
        let data = self.data();
        let program = match &self.access {
            Access::Azure(azure) => azure.program(cache, &data, self.address, say).await,
            Access::Gcs(gcs) => gcs.program(cache, &data, self.address, say).await,
            Access::S3(s3) => s3.program(cache, &data, self.address, self.many_parts, say).await,
        }?;
        let log = self.folder.join(format!("{}.log", self.kind.name()));
        let mut process = launch(&program, &log).with_context(|| format!("cannot start {}", self.kind))?;
        let client = Client::builder().no_proxy().build()?;
        wait_for(
            &format!("{}'s first answer", self.kind),
            START_LIMIT,
            async || {
                if let Some(status) = process.try_wait()? {
                    let said = std::fs::read_to_string(&log)?;
                    return Ok(Seen::Never(anyhow::anyhow!("it ended with {status}:\n{said}")));
                }
                let status = match &self.access {
                    Access::Azure(azure) => azure.create_container(&client).await,
                    Access::Gcs(gcs) => gcs.create_bucket(&client).await,
                    Access::S3(s3) => s3.health(&client).await,
                }?;
                Ok(match status.as_u16() {
                    // 409 means that it exists since an earlier start.
                    200 | 201 | 409 => Seen::Done(()),
                    other => Seen::NotYet(format!("status {other}")),
                })
            },
        )
        .await?;
        Ok(Store { process })
    }
}

/// A running store.
pub struct Store {
    process: Child,
}

impl Store {
    /// Kills it and waits until it is gone.
    ///
    /// # Errors
    /// It cannot be waited for.
    pub async fn kill(mut self) -> Result<()> {
        self.process.kill().await.context("cannot kill the store")
    }
}
