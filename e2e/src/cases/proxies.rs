//! The server behind nginx, HAProxy and Traefik as people run them: plain HTTP inside, TLS outside.
//!
//! No answer may name an inner host or fall back to http. crane and skopeo push and pull; a large, a slow and an
//! interrupted upload succeed. Start at [`prove`].

mod proxied_server;
mod unusual;
mod uploads;
mod urls;

use anyhow::{Context as _, Result, ensure};
use proxied_server::{CLIENT, NGINX_BODIES, NGINX_HEADERS, ProxiedServer};

use crate::exec::Exec;
use crate::proxy::ProxyConfig;
use crate::runner::Bench;

pub(super) use unusual::{behind_a_chain_of_proxies, behind_a_path_prefix, behind_a_silent_proxy};

/// Shows what has to work behind every proxy: names in answers, images, large and interrupted uploads, reused
/// connections, the client's address in the access log.
async fn prove(server: &ProxiedServer<'_>, config: &ProxyConfig) -> Result<()> {
    let proxy = config.start(&server.http, "/v2/").await?;
    let answers = urls::every_answer_names(server, &server.outer("/")?).await?;
    server.images_go_round().await?;
    uploads::large_ones_come_through(server).await?;
    let reused = uploads::connections_are_reused(server).await?;
    server.logs_the_client("forwarded").await?;
    let kept = uploads::an_interrupted_one_goes_on(server, config, proxy).await?;
    server.bench.note(format!(
        "{answers} answers without an inner name, {reused} requests on one connection, {kept} of 64 MiB kept when the \
         proxy was killed"
    ));
    Ok(())
}

/// nginx configured by distribution's instructions, and a server that is told which proxy to trust.
pub(super) async fn behind_nginx(bench: &Bench<'_>) -> Result<()> {
    let server = ProxiedServer::new(bench, |setup, _| {
        setup.with("REGISTRY_HTTP_TRUSTEDPROXIES", "[127.0.0.1]")
    })
    .await?;
    let block = format!("{NGINX_BODIES}location /v2/ {{\nproxy_pass http://registry;\n{NGINX_HEADERS}}}\n");
    let upstream = format!("upstream registry {{ server {}; keepalive 8; }}", server.inner);
    prove(&server, &server.edge.nginx(&upstream, &block)?).await?;
    strangers_are_not_believed(&server).await
}

/// A client that reaches the server without the proxy cannot choose the URLs in answers or the address in the log.
async fn strangers_are_not_believed(server: &ProxiedServer<'_>) -> Result<()> {
    let url = format!("http://{}/v2/stranger/blobs/uploads/", server.inner);
    let forged = [
        "X-Forwarded-For: 192.0.2.1",
        "X-Forwarded-Host: forged.test",
        "X-Forwarded-Proto: https",
    ];
    let forging = |url: &str| {
        let curl = server
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
    forging(&format!("http://{}/v2/?stranger", server.inner))
        .success()
        .await?;
    let line = server.logged("stranger").await?;
    ensure!(
        line.starts_with(&format!("{CLIENT} - ")),
        "a stranger chose his address: {line}"
    );
    Ok(())
}

/// nginx asks for its own password and uses a unix socket. The server asks for none and ignores the login it gets.
pub(super) async fn behind_nginx_with_its_own_password(bench: &Bench<'_>) -> Result<()> {
    let mut socket = None;
    let mut server = ProxiedServer::new(bench, |setup, _| {
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
    let block = format!(
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
    let config = server.edge.nginx(&http, &block)?;
    let proxy = config.start(&server.http, "/v2/").await?;
    let host = server.edge.host();
    // Without the password nginx itself answers.
    let refused = server.clients.crane().args(["catalog", &host]).output().await?;
    ensure!(
        !refused.status.success() && refused.all().contains("401"),
        "without a password: {}",
        refused.all()
    );
    server.clients.logins(&[(&host, "ann", "secret")])?;
    server.images_go_round().await?;
    server.logs_the_client("password").await?;
    server.login = Some(("ann", "secret"));
    let answers = urls::every_answer_names(&server, &server.outer("/")?).await?;
    drop(proxy);
    bench.note(format!(
        "{answers} answers through a unix socket, behind nginx's own password"
    ));
    Ok(())
}

/// HAProxy with TLS; clients without TLS are redirected.
pub(super) async fn behind_haproxy(bench: &Bench<'_>) -> Result<()> {
    let server = ProxiedServer::new(bench, |setup, _| setup).await?;
    let config = server.edge.haproxy(&format!(
        "frontend edge\n    bind 127.0.0.1:{{plain}}\n    bind 127.0.0.1:{{tls}} ssl crt {{pem}} alpn h2,http/1.1\n    \
         http-request redirect prefix https://localhost:{{tls}} code 308 unless {{ ssl_fc }}\n    \
         http-request set-header X-Forwarded-Proto https if {{ ssl_fc }}\n    option forwardfor\n    \
         default_backend registry\nbackend registry\n    server registry {}",
        server.inner
    ))?;
    prove(&server, &config).await?;
    let proxy = config.start(&server.http, "/v2/").await?;
    plain_is_sent_to_tls(&server).await?;
    proxy.kill().await?;

    // The same proxy with the standard header `Forwarded` in place of the usual ones.
    let config = server.edge.haproxy(&format!(
        "frontend edge\n    bind 127.0.0.1:{{tls}} ssl crt {{pem}}\n    \
         http-request set-header Forwarded 'for=\"%[src]\";proto=https;host=\"%[req.hdr(host)]\"'\n    \
         http-request set-header Host inner.test\n    default_backend registry\nbackend registry\n    server registry {}",
        server.inner
    ))?;
    let _proxy = config.start(&server.http, "/v2/").await?;
    let outer = server.outer("/")?;
    let answers = urls::every_answer_names(&server, &outer).await?;
    server.logs_the_client("standard").await?;
    bench.note(format!("{answers} answers by `Forwarded` alone"));
    Ok(())
}

/// Traefik with its file provider, which sets all the usual headers.
pub(super) async fn behind_traefik(bench: &Bench<'_>) -> Result<()> {
    let server = ProxiedServer::new(bench, |setup, _| setup).await?;
    let config = server
        .edge
        .traefik("PathPrefix(`/v2/`)", &format!("http://{}", server.inner))
        .await?;
    prove(&server, &config).await?;
    let _proxy = config.start(&server.http, "/v2/").await?;
    plain_is_sent_to_tls(&server).await
}

/// A client without TLS is redirected, and then served.
async fn plain_is_sent_to_tls(server: &ProxiedServer<'_>) -> Result<()> {
    let url = format!("http://localhost:{}/v2/", server.edge.plain);
    let curl = server.clients.curl().args(["--write-out", " %{http_code}", &url]);
    let answer = curl.clone().success().await?;
    ensure!(
        answer.ends_with("301") || answer.ends_with("308"),
        "without TLS: {answer}"
    );
    let answer = curl.arg("--location").success().await?;
    ensure!(answer == "{} 200", "after the redirect: {answer}");
    Ok(())
}
