//! The server behind nginx, HAProxy and Traefik as people run them: plain HTTP inside, TLS outside.
//!
//! Every answer is looked at for an inner host or a fall back to http; crane and skopeo push and pull; a large, a slow and
//! an interrupted upload come through. Start at [`Site::prove`].

mod unusual;
mod uploads;
mod urls;

use anyhow::{Context as _, Result, ensure};
use reqwest::{Client, Url};

use crate::exec::Exec;
use crate::host_clients::HostClients;
use crate::images;
use crate::proxy::{Edge, Plan};
use crate::runner::Bench;
use crate::server::{Server, ServerSetup};

pub(super) use unusual::{behind_a_chain_of_proxies, behind_a_path_prefix, behind_a_silent_proxy};

/// What distribution's own instructions for nginx set, with the last line for uploads that go on after a break.
const NGINX_HEADERS: &str = "proxy_set_header Host $http_host;\nproxy_set_header X-Real-IP $remote_addr;\n\
    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;\nproxy_set_header X-Forwarded-Proto $scheme;\n\
    proxy_read_timeout 900;\nproxy_request_buffering off;\nproxy_http_version 1.1;\nproxy_set_header Connection \"\";\n";

/// For clients: no limit of a body's size, and chunked bodies are taken (an old nginx answered 411).
const NGINX_BODIES: &str = "client_max_body_size 0;\nchunked_transfer_encoding on;\n";

/// A stranger's address on this machine, to be found in the access log.
const CLIENT: &str = "127.0.0.7";

/// One server, one edge in front of it, clients that know only the edge.
struct Site<'a> {
    bench: &'a Bench<'a>,
    edge: Edge,
    clients: HostClients,
    http: Client,
    /// What must be in no answer: where the server really is.
    inner: String,
    /// What the walk through all URLs logs in with, at the proxy.
    login: Option<(&'static str, &'static str)>,
    /// Killed when the site goes.
    _server: Server,
}

impl<'a> Site<'a> {
    /// Starts the server `change` describes.
    async fn new(
        bench: &'a Bench<'a>,
        change: impl FnOnce(ServerSetup, &Edge) -> ServerSetup,
    ) -> Result<Self> {
        let edge = Edge::new(bench.dir)?;
        let binary = images::checkout().join("dist/registry-server");
        let setup = ServerSetup::new(&binary, bench.dir)?.with("REGISTRY_STORAGE_DELETE_ENABLED", "true");
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

    /// The URL clients use, `prefix` (`/…/`) in front of `v2/`.
    fn outer(&self, prefix: &str) -> Result<Url> {
        Ok(Url::parse(&format!("https://{}{prefix}", self.edge.host()))?)
    }

    /// Everything that has to work behind any proxy.
    async fn prove(&self, plan: &Plan) -> Result<()> {
        let proxy = plan.start(&self.http, "/v2/").await?;
        let answers = urls::every_answer_names(self, &self.outer("/")?).await?;
        self.images_go_round().await?;
        uploads::large_ones_come_through(self).await?;
        let reused = uploads::connections_are_reused(self).await?;
        self.logs_the_client("forwarded").await?;
        let kept = uploads::an_interrupted_one_goes_on(self, plan, proxy).await?;
        self.bench.note(format!(
            "{answers} answers without an inner name, {reused} requests on one connection, {kept} of 64 MiB kept when the \
             proxy was killed"
        ));
        Ok(())
    }

    /// An image of three layers and an index of two images, by crane and by skopeo, in and out.
    async fn images_go_round(&self) -> Result<()> {
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
    async fn logs_the_client(&self, mark: &str) -> Result<()> {
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

    /// The access log's line of the request that has `mark` in its query.
    async fn logged(&self, mark: &str) -> Result<String> {
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

/// nginx as distribution's instructions have it, and a server that is told which proxy to believe.
pub(super) async fn behind_nginx(bench: &Bench<'_>) -> Result<()> {
    let site = Site::new(bench, |setup, _| {
        setup.with("REGISTRY_HTTP_TRUSTEDPROXIES", "[127.0.0.1]")
    })
    .await?;
    let server = format!("{NGINX_BODIES}location /v2/ {{\nproxy_pass http://registry;\n{NGINX_HEADERS}}}\n");
    let upstream = format!("upstream registry {{ server {}; keepalive 8; }}", site.inner);
    site.prove(&site.edge.nginx(&upstream, &server)?).await?;
    strangers_are_not_believed(&site).await
}

/// Somebody who reaches the server beside the proxy cannot choose what it says or logs.
async fn strangers_are_not_believed(site: &Site<'_>) -> Result<()> {
    let url = format!("http://{}/v2/stranger/blobs/uploads/", site.inner);
    let forged = [
        "X-Forwarded-For: 192.0.2.1",
        "X-Forwarded-Host: forged.test",
        "X-Forwarded-Proto: https",
    ];
    let forging = |url: &str| {
        let curl = site
            .clients
            .curl()
            .args(["--interface", CLIENT, "--dump-header", "-"]);
        forged
            .iter()
            .fold(curl, |curl, header| curl.args(["--header", header]))
            .arg(url)
    };
    let answer = forging(&url).args(["--request", "POST"]).success().await?;
    let expected = format!("\r\nlocation: {url}");
    ensure!(
        answer.to_lowercase().contains(&expected),
        "no {expected:?} in\n{answer}"
    );
    forging(&format!("http://{}/v2/?stranger", site.inner))
        .success()
        .await?;
    let line = site.logged("stranger").await?;
    ensure!(
        line.starts_with(&format!("{CLIENT} - ")),
        "a stranger chose his address: {line}"
    );
    Ok(())
}

/// nginx asks for a password of its own and speaks to a unix socket; the server asks for none and ignores what it gets.
pub(super) async fn behind_nginx_with_its_own_password(bench: &Bench<'_>) -> Result<()> {
    let mut socket = None;
    let mut site = Site::new(bench, |setup, _| {
        let (setup, path) = setup.on_socket();
        socket = Some(path);
        setup
    })
    .await?;
    let socket = socket.context("no socket")?;
    let users = bench.dir.join("users");
    let line = Exec::new("/usr/bin/htpasswd")
        .args(["-nbB", "-C", "4", "ann", "secret"])
        .success()
        .await?;
    std::fs::write(&users, line.trim())?;
    let server = format!(
        "{NGINX_BODIES}location /v2/ {{\nauth_basic \"Registry realm\";\nauth_basic_user_file {};\n\
         add_header Docker-Distribution-Api-Version $docker_version always;\n\
         proxy_pass http://registry;\n{NGINX_HEADERS}}}\n",
        users.display()
    );
    let http = format!(
        "upstream registry {{ server unix:{}; keepalive 8; }}\n\
         map $upstream_http_docker_distribution_api_version $docker_version {{ '' 'registry/2.0'; }}",
        socket.display()
    );
    let plan = site.edge.nginx(&http, &server)?;
    let proxy = plan.start(&site.http, "/v2/").await?;
    let host = site.edge.host();
    // Without the password it is nginx that answers.
    let refused = site.clients.crane().args(["catalog", &host]).output().await?;
    ensure!(
        !refused.status.success() && refused.all().contains("401"),
        "without a password: {}",
        refused.all()
    );
    site.clients.logins(&[(&host, "ann", "secret")])?;
    site.images_go_round().await?;
    site.logs_the_client("password").await?;
    site.login = Some(("ann", "secret"));
    let answers = urls::every_answer_names(&site, &site.outer("/")?).await?;
    drop(proxy);
    bench.note(format!(
        "{answers} answers through a unix socket, behind nginx's own password"
    ));
    Ok(())
}

/// HAProxy: TLS, whoever comes without it is sent there.
pub(super) async fn behind_haproxy(bench: &Bench<'_>) -> Result<()> {
    let site = Site::new(bench, |setup, _| setup).await?;
    let plan = site.edge.haproxy(&format!(
        "frontend edge\n    bind 127.0.0.1:{{plain}}\n    bind 127.0.0.1:{{tls}} ssl crt {{pem}} alpn h2,http/1.1\n    \
         http-request redirect prefix https://localhost:{{tls}} code 308 unless {{ ssl_fc }}\n    \
         http-request set-header X-Forwarded-Proto https if {{ ssl_fc }}\n    option forwardfor\n    \
         default_backend registry\nbackend registry\n    server registry {}",
        site.inner
    ))?;
    site.prove(&plan).await?;
    let proxy = plan.start(&site.http, "/v2/").await?;
    plain_is_sent_to_tls(&site).await?;
    proxy.kill().await?;

    // The same edge with the standard's header in place of the usual ones.
    let plan = site.edge.haproxy(&format!(
        "frontend edge\n    bind 127.0.0.1:{{tls}} ssl crt {{pem}}\n    \
         http-request set-header Forwarded 'for=\"%[src]\";proto=https;host=\"%[req.hdr(host)]\"'\n    \
         http-request set-header Host inner.test\n    default_backend registry\nbackend registry\n    server registry {}",
        site.inner
    ))?;
    let _proxy = plan.start(&site.http, "/v2/").await?;
    let outer = site.outer("/")?;
    let answers = urls::every_answer_names(&site, &outer).await?;
    site.logs_the_client("standard").await?;
    bench.note(format!("{answers} answers by `Forwarded` alone"));
    Ok(())
}

/// Traefik with its file provider, which sends every header there is.
pub(super) async fn behind_traefik(bench: &Bench<'_>) -> Result<()> {
    let site = Site::new(bench, |setup, _| setup).await?;
    let plan = site
        .edge
        .traefik("PathPrefix(`/v2/`)", &format!("http://{}", site.inner))
        .await?;
    site.prove(&plan).await?;
    let _proxy = plan.start(&site.http, "/v2/").await?;
    plain_is_sent_to_tls(&site).await
}

/// Without TLS a client is redirected, and then served.
async fn plain_is_sent_to_tls(site: &Site<'_>) -> Result<()> {
    let url = format!("http://localhost:{}/v2/", site.edge.plain);
    let curl = site.clients.curl().args(["--write-out", " %{http_code}", &url]);
    let answer = curl.clone().success().await?;
    ensure!(
        answer.ends_with("301") || answer.ends_with("308"),
        "without TLS: {answer}"
    );
    let answer = curl.arg("--location").success().await?;
    ensure!(answer == "{} 200", "after the redirect: {answer}");
    Ok(())
}
