//! A server on [`Cloud`], and clients that follow its redirects there. Start at [`CloudServer::start`].

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use reqwest::header::RETRY_AFTER;
use reqwest::{Client, StatusCode};

use crate::cache::Cache;
use crate::host_clients::HostClients;
use crate::peers::ServerKind;
use crate::protocol::{Repository, digest, noise};
use crate::runner::Bench;
use crate::server::{Server, ServerSetup, Settings};
use crate::stores::cloud::{Cloud, S3Request};
use crate::wait::{Seen, wait_for};

/// Small layers, and one that is stored in parts and copied.
pub(super) const LAYERS: [usize; 3] = [100_000, 200_000, 9_000_000];

/// Time limit for new credentials to be used. Generous, because the machine may be busy.
pub(super) const LIMIT: Duration = Duration::from_secs(120);

/// Configuration keys for copies in pieces. The large layer is larger than one piece.
pub(super) const IN_PIECES: &str = "multipartcopythresholdsize: 5242880, multipartcopychunksize: 5242880";

/// The name of a request's operation, as far as it matters here.
pub(super) fn operation_name(request: &S3Request) -> &'static str {
    let has = |name: &str| request.query.iter().any(|one| one == name);
    let copies = request.headers.contains_key("x-amz-copy-source");
    match (request.method.as_str(), request.key.is_empty()) {
        ("PUT", false) if has("partNumber") && copies => "part by copy",
        ("PUT", false) if has("partNumber") => "part",
        ("PUT", false) if copies => "copy",
        ("PUT", false) => "put",
        ("POST", false) if has("uploads") => "create",
        ("POST", false) => "complete",
        _ => "other",
    }
}

/// A server, and clients that follow its redirects to the store.
pub(super) struct CloudServer {
    server: Server,
    clients: HostClients,
    client: Client,
    folder: PathBuf,
}

impl CloudServer {
    /// Starts a server with `section` in its file, and with these variables.
    pub(super) async fn start(
        bench: &Bench<'_>,
        name: &str,
        cloud: &Cloud,
        section: String,
        variables: &[(&'static str, String)],
    ) -> Result<Self> {
        let folder = bench.dir.join(name);
        std::fs::create_dir_all(&folder)?;
        let program = ServerKind::Ours.program(&Cache::open()?).await?;
        let settings = Settings {
            storage: Some(section),
            ..Settings::default()
        };
        let mut setup = ServerSetup::new(&program, &folder)?.configured(&settings);
        for (variable, value) in variables {
            setup = setup.with(variable, value);
        }
        Ok(Self {
            server: setup.start().await?,
            clients: HostClients::new(&folder.join("home"), &cloud.ca).await?,
            client: Client::builder()
                .no_proxy()
                .timeout(LIMIT)
                .tls_certs_only([reqwest::Certificate::from_pem(cloud.ca.as_bytes())?])
                .build()?,
            folder,
        })
    }

    fn image(&self) -> Result<String> {
        Ok(format!("{}/ways/in:1", self.server.address()?))
    }

    /// A client of a repository.
    pub(super) fn repository(&self, name: &str) -> Repository {
        Repository::new(self.client.clone(), self.server.base().clone(), name, None)
    }

    /// Pushes an image. Another `seed` gives another image.
    pub(super) async fn pushes(&self, seed: u64) -> Result<()> {
        self.clients
            .push_layers(&self.image()?, &LAYERS, seed)
            .await
            .map(drop)
    }

    /// Pulls the last image.
    pub(super) async fn pulls(&self) -> Result<()> {
        self.clients.pull_image(&self.image()?).await
    }

    /// The server's log.
    pub(super) fn log(&self) -> Result<String> {
        Ok(std::fs::read_to_string(self.folder.join("server.log"))?)
    }

    /// Pushes a blob. Gives the status, and whether the client is told to wait.
    async fn push(&self) -> Result<(StatusCode, bool)> {
        let blob = noise(99, 5000);
        let path = format!("v2/ways/in/blobs/uploads/?digest={}", digest(&blob));
        let url = self.server.base().join(&path)?;
        let answer = self.client.post(url).body(blob).send().await?;
        Ok((answer.status(), answer.headers().contains_key(RETRY_AFTER)))
    }

    /// Pushes are answered 503, and the log says why.
    pub(super) async fn refuses(&self, why: &str, helps: bool) -> Result<()> {
        wait_for(&format!("`{why}` in the log"), LIMIT, async || {
            let (status, waits) = self.push().await?;
            let log = self.log()?;
            Ok(match log.lines().find(|line| line.contains(why)) {
                Some(_) if status == StatusCode::SERVICE_UNAVAILABLE && waits == helps => Seen::Done(()),
                Some(line) => Seen::NotYet(format!("{status}, `Retry-After`: {waits}; {line}")),
                None => Seen::NotYet(format!("{status}, `Retry-After`: {waits}; {log}")),
            })
        })
        .await
    }

    /// Waits until pushes succeed again.
    pub(super) async fn recovers(&self) -> Result<()> {
        wait_for("a push to be taken again", LIMIT, async || {
            let (status, _) = self.push().await?;
            Ok(match status {
                StatusCode::CREATED => Seen::Done(()),
                other => Seen::NotYet(other.to_string()),
            })
        })
        .await
    }
}
