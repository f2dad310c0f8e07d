//! One server behind one proxy, with clients that know only the proxy's address.
//!
//! Guarantees: the server and the files of the proxy are in the case's folder. Must not: decide what is shown; the cases do.
//! Start at [`ProxiedServer::new`].

use anyhow::{Result, ensure};
use reqwest::{Client, Url};

use crate::host_clients::HostClients;
use crate::images;
use crate::proxy::Edge;
use crate::runner::Bench;
use crate::server::{Server, ServerSetup};

/// The headers of distribution's own instructions for nginx. The last line lets uploads continue after an
/// interruption.
pub(super) const NGINX_HEADERS: &str = "proxy_set_header Host $http_host;\nproxy_set_header X-Real-IP $remote_addr;\n\
    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;\nproxy_set_header X-Forwarded-Proto $scheme;\n\
    proxy_read_timeout 900;\nproxy_request_buffering off;\nproxy_http_version 1.1;\nproxy_set_header Connection \"\";\n";

/// Settings for bodies: no limit of the size, and chunked bodies are accepted (an old nginx answered 411).
pub(super) const NGINX_BODIES: &str = "client_max_body_size 0;\nchunked_transfer_encoding on;\n";

/// A client address of this machine that is recognisable in the access log.
pub(super) const CLIENT: &str = "127.0.0.7";

/// One server, one proxy in front of it, and clients that know only the proxy.
pub(super) struct ProxiedServer<'a> {
    pub(super) bench: &'a Bench<'a>,
    pub(super) edge: Edge,
    pub(super) clients: HostClients,
    pub(super) http: Client,
    /// The server's own address, which no answer may contain.
    pub(super) inner: String,
    /// The login, at the proxy, for the walk through all URLs.
    pub(super) login: Option<(&'static str, &'static str)>,
    /// The process, killed when this is dropped.
    _server: Server,
}

impl<'a> ProxiedServer<'a> {
    /// Starts the server that `change` describes.
    pub(super) async fn new(
        bench: &'a Bench<'a>,
        change: impl FnOnce(ServerSetup, &Edge) -> ServerSetup,
    ) -> Result<Self> {
        let edge = Edge::new(bench.dir)?;
        let setup = ServerSetup::new(&images::server_program(), bench.dir)?
            .with("REGISTRY_STORAGE_DELETE_ENABLED", "true");
        let setup = change(setup, &edge);
        Ok(Self {
            bench,
            clients: HostClients::new(&bench.dir.join("home"), &edge.ca).await?,
            http: edge.client()?,
            inner: setup.address().to_string(),
            login: None,
            _server: setup.start().await?,
            edge,
        })
    }

    /// The URL for clients, with `prefix` (`/…/`) before `v2/`.
    pub(super) fn outer(&self, prefix: &str) -> Result<Url> {
        Ok(Url::parse(&format!("https://{}{prefix}", self.edge.host()))?)
    }

    /// crane and skopeo push and pull an image of three layers and an index of two images.
    pub(super) async fn images_go_round(&self) -> Result<()> {
        let host = self.edge.host();
        let (one, two) = (format!("{host}/round/one:1"), format!("{host}/round/one:2"));
        let crane = || self.clients.crane();
        let digest = self.clients.push_image(&one, 3, 4 << 20, 1).await?;
        self.clients.push_image(&two, 2, 100_000, 2).await?;
        let index = format!("{host}/round/one:all");
        crane()
            .args(["index", "append", "-m", &one, "-m", &two, "-t", &index])
            .success()
            .await?;
        crane().args(["validate", "--remote", &index]).success().await?;

        let folder = tempfile::tempdir_in(self.bench.dir)?;
        let folder = format!("oci:{}:all", folder.path().display());
        let copy = format!("{host}/round/deeper/copy:all");
        let skopeo = async |from: &str, to: &str| {
            let copy = self.clients.skopeo_copy().args(["--all", from, to]);
            copy.success().await
        };
        skopeo(&format!("docker://{index}"), &folder).await?;
        skopeo(&folder, &format!("docker://{copy}")).await?;
        crane().args(["validate", "--remote", &copy]).success().await?;
        let other = format!("{host}/round/other:1");
        skopeo(&format!("docker://{one}"), &format!("docker://{other}")).await?;
        let copied = self.clients.digest(&other).await?;
        ensure!(copied == digest, "pushed {digest}, skopeo's copy is {copied}");
        Ok(())
    }

    /// A request from [`CLIENT`] is in the access log with that address.
    pub(super) async fn logs_the_client(&self, mark: &str) -> Result<()> {
        let url = format!("{}v2/?{mark}", self.outer("/")?);
        let ask = self
            .clients
            .curl()
            .args(["--interface", CLIENT, "--user", "ann:secret", &url]);
        ask.success().await?;
        let line = self.logged(mark).await?;
        ensure!(
            line.starts_with(&format!("{CLIENT} - ")),
            "expected a line of {CLIENT}, got {line}"
        );
        Ok(())
    }

    /// The access log's line about the request that has `mark` in its query.
    pub(super) async fn logged(&self, mark: &str) -> Result<String> {
        let wanted = format!("GET /v2/?{mark} ");
        let deadline = std::time::Duration::from_secs(30);
        crate::wait::wait_for("a line of the access log", deadline, async || {
            let log = std::fs::read_to_string(self.bench.dir.join("server.log"))?;
            let found = log.lines().find(|line| line.contains(&wanted));
            Ok(match found {
                Some(line) => crate::wait::Seen::Done(line.to_owned()),
                None => crate::wait::Seen::NotYet(crate::exec::tail(&log, 3)),
            })
        })
        .await
    }
}
