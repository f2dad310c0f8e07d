//! Proxies behind proxies, proxies without forwarding headers, and a registry below a path.

use anyhow::{Context as _, Result, ensure};
use reqwest::header::WWW_AUTHENTICATE;

use super::proxied_server::{NGINX_BODIES, NGINX_HEADERS, ProxiedServer};
use super::urls;
use crate::exec::Exec;
use crate::proxy::{Edge, Proxy};
use crate::runner::Bench;

/// A proxy behind a proxy. The server gets lists of addresses, and is told which of them are proxies.
pub(in super::super) async fn behind_a_chain_of_proxies(bench: &Bench<'_>) -> Result<()> {
    let folder = bench.dir.join("chain");
    std::fs::create_dir(&folder)?;
    let server = ProxiedServer::new(bench, |setup, _| {
        setup.with("REGISTRY_HTTP_TRUSTEDPROXIES", "[127.0.0.1]")
    })
    .await?;
    let middle = Edge::new(&folder)?;
    let headers = NGINX_HEADERS.replace("$scheme", "\"$http_x_forwarded_proto, http\"");
    let inner = middle.nginx(
        "",
        &format!(
            "{NGINX_BODIES}location / {{\nproxy_pass http://{};\n{headers}\
             proxy_set_header X-Forwarded-Host \"$http_host, middle.test\";\n}}\n",
            server.inner
        ),
    )?;
    let _inner = inner.start(&middle.client()?, "/v2/").await?;
    let config = server.edge.haproxy(&format!(
        "frontend edge\n    bind 127.0.0.1:{{tls}} ssl crt {{pem}}\n    \
         http-request set-header X-Forwarded-Proto https\n    option forwardfor\n    default_backend middle\n\
         backend middle\n    server middle 127.0.0.1:{}",
        middle.plain
    ))?;
    let _proxy = config.start(&server.http, "/v2/").await?;
    let answers = urls::every_answer_names(&server, &server.outer("/")?).await?;
    server.images_go_round().await?;
    server.logs_the_client("chain").await?;
    bench.note(format!("{answers} answers through HAProxy and nginx"));
    Ok(())
}

/// A proxy with default settings, which replaces `Host` and sends no forwarding headers.
const SILENT: &str = "proxy_http_version 1.1;\n";

/// Behind a proxy without forwarding headers, only the configuration can name the outer URL.
pub(in super::super) async fn behind_a_silent_proxy(bench: &Bench<'_>) -> Result<()> {
    let mut answers = 0;
    let (server, _proxy) = behind(bench, "/", SILENT, |edge| {
        vec![("REGISTRY_HTTP_HOST", format!("https://{}", edge.host()))]
    })
    .await?;
    answers += urls::every_answer_names(&server, &server.outer("/")?).await?;
    server.images_go_round().await?;
    let relative = |_: &Edge| vec![("REGISTRY_HTTP_RELATIVEURLS", "true".to_owned())];
    let (server, _proxy) = behind(bench, "/", SILENT, relative).await?;
    answers += urls::every_answer_is_relative(&server, &server.outer("/")?).await?;
    server.images_go_round().await?;
    the_challenge_arrives(bench).await?;
    bench.note(format!(
        "{answers} answers with `http.host` and `http.relativeurls`"
    ));
    Ok(())
}

/// The server's own challenge passes the proxy unchanged and names no host. A client that answers it is let in.
async fn the_challenge_arrives(bench: &Bench<'_>) -> Result<()> {
    let users = bench.dir.join("users");
    let entry = Exec::new("/usr/bin/htpasswd").args(["-nbB", "-C", "4", "ann", "secret"]);
    std::fs::write(&users, entry.success().await?.trim())?;
    let (server, _proxy) = behind(bench, "/", SILENT, |edge| {
        vec![
            ("REGISTRY_HTTP_HOST", format!("https://{}", edge.host())),
            ("REGISTRY_AUTH_HTPASSWD_REALM", "A Realm".to_owned()),
            ("REGISTRY_AUTH_HTPASSWD_PATH", users.display().to_string()),
        ]
    })
    .await?;
    let answer = server.http.get(server.outer("/")?.join("v2/")?).send().await?;
    let challenge = answer.headers().get(WWW_AUTHENTICATE).context("no challenge")?;
    ensure!(
        answer.status() == 401 && challenge == "Basic realm=\"A Realm\"",
        "{} {challenge:?}",
        answer.status()
    );
    server.clients.logins(&[(&server.edge.host(), "ann", "secret")])?;
    server.images_go_round().await
}

/// The registry is one of several services below one name. Registry clients need `/v2/` at the root; other clients do
/// not.
pub(in super::super) async fn behind_a_path_prefix(bench: &Bench<'_>) -> Result<()> {
    let prefix = ("REGISTRY_HTTP_PREFIX", "/sub/".to_owned());
    let (server, _proxy) = behind(bench, "/sub/", NGINX_HEADERS, |_| vec![prefix.clone()]).await?;
    let mut answers = urls::every_answer_names(&server, &server.outer("/sub/")?).await?;
    let relative = ("REGISTRY_HTTP_RELATIVEURLS", "true".to_owned());
    let (server, _proxy) = behind(bench, "/sub/", SILENT, |_| vec![prefix.clone(), relative]).await?;
    answers += urls::every_answer_is_relative(&server, &server.outer("/sub/")?).await?;
    bench.note(format!("{answers} answers below `/sub/`"));
    Ok(())
}

/// A server with these variables in its own folder, behind nginx with these lines for `path`.
async fn behind<'a>(
    bench: &'a Bench<'a>,
    path: &str,
    lines: &str,
    variables: impl FnOnce(&Edge) -> Vec<(&'static str, String)>,
) -> Result<(ProxiedServer<'a>, Proxy)> {
    let data = tempfile::tempdir_in(bench.dir)?.keep().display().to_string();
    let server = ProxiedServer::new(bench, |setup, edge| {
        variables(edge)
            .iter()
            .fold(setup, |setup, (name, value)| setup.with(name, value))
            .with("REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY", &data)
    })
    .await?;
    let block = format!(
        "{NGINX_BODIES}location {path} {{\nproxy_pass http://{};\n{lines}}}\n",
        server.inner
    );
    let config = server.edge.nginx("", &block)?;
    let proxy = config.start(&server.http, &format!("{path}v2/")).await?;
    Ok((server, proxy))
}
