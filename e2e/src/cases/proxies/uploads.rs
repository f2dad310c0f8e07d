//! Uploads through a proxy, which may refuse a body's size, its form or its pace, or break off.

use anyhow::{Context as _, Result, ensure};
use reqwest::Url;

use super::proxied_server::ProxiedServer;
use crate::exec::Exec;
use crate::protocol::{Repository, digest, noise};
use crate::proxy::{Proxy, ProxyConfig};

const MIB: usize = 1024 * 1024;

/// The size of a large layer.
const LARGE: usize = 100_000_000;

/// 100 MB by HTTP/2 with a length, by HTTP/1.1 in chunks without one, and a slow client at the same time. Each blob
/// is read back.
pub(super) async fn large_ones_come_through(server: &ProxiedServer<'_>) -> Result<()> {
    let repository = repository(server)?;
    let (large, chunked, slow) = (noise(41, LARGE), noise(42, LARGE), noise(43, 2 * MIB));
    let folder = tempfile::tempdir_in(server.bench.dir)?;
    let push = async |bytes: &bytes::Bytes, options: &[&str], version: &str| -> Result<()> {
        let name = digest(bytes);
        let file = folder.path().join(&name);
        std::fs::write(&file, bytes)?;
        let mut location = repository.start().await?.location;
        location.query_pairs_mut().append_pair("digest", &name);
        let answer = curl(server)
            .args([
                "--header",
                "Content-Type: application/octet-stream",
                "--upload-file",
            ])
            .arg(&file)
            .args(options)
            .arg(location.as_str())
            .success()
            .await?;
        ensure!(
            answer == format!("201 {version}"),
            "{options:?}: expected 201 {version}, got {answer}"
        );
        ensure!(
            repository.blob(&name).await? == *bytes,
            "{options:?}: the blob read back differs"
        );
        Ok(())
    };
    let (large, chunked, slow) = tokio::join!(
        push(&large, &["--http2"], "2"),
        push(
            &chunked,
            &["--http1.1", "--header", "Transfer-Encoding: chunked"],
            "1.1"
        ),
        push(&slow, &["--http1.1", "--limit-rate", "256K"], "1.1"),
    );
    large?;
    chunked?;
    slow
}

/// Sends many requests on one connection to the proxy. Gives their number.
pub(super) async fn connections_are_reused(server: &ProxiedServer<'_>) -> Result<usize> {
    const REQUESTS: usize = 300;
    let url = format!("{}v2/?reused=[1-{REQUESTS}]", server.outer("/")?);
    let answer = server
        .clients
        .curl()
        .args([
            "--http1.1",
            "--write-out",
            " %{http_code} %{num_connects}\\n",
            &url,
        ])
        .success()
        .await?;
    let lines: Vec<&str> = answer.lines().collect();
    let good = lines.iter().filter(|line| line.starts_with("{} 200 ")).count();
    ensure!(
        good == REQUESTS,
        "{good} of {REQUESTS} were answered 200:\n{answer}"
    );
    let opened: usize = lines
        .iter()
        .filter_map(|line| line.rsplit(' ').next()?.parse::<usize>().ok())
        .sum();
    ensure!(opened == 1, "{REQUESTS} requests took {opened} connections");
    Ok(REQUESTS)
}

/// The proxy is killed in the middle of a PATCH, which looks to the server like a client that hangs up. The bytes
/// before are kept, and the upload continues through a new proxy. Gives the number of kept bytes.
pub(super) async fn an_interrupted_one_goes_on(
    server: &ProxiedServer<'_>,
    config: &ProxyConfig,
    proxy: Proxy,
) -> Result<usize> {
    let repository = repository(server)?;
    let bytes = noise(44, 64 * MIB);
    let session = repository.start().await?;
    repository
        .append_interrupted(&session, bytes.clone(), 40 * MIB, proxy.kill())
        .await?;
    let _proxy = config.start(&server.http, "/v2/").await?;
    let session = repository.status(&session).await?;
    let kept = session.received;
    // The rest may have been in a buffer of a socket or the proxy. More than was sent is never kept.
    ensure!(kept > MIB && kept <= 40 * MIB, "{kept} bytes of 40 MiB were kept");
    let session = repository.append(&session, bytes.slice(kept..)).await?;
    repository.finish(&session, &digest(&bytes)).await?;
    ensure!(
        repository.blob(&digest(&bytes)).await? == bytes,
        "the blob read back differs"
    );
    Ok(kept)
}

fn repository(server: &ProxiedServer<'_>) -> Result<Repository> {
    let base: Url = server.outer("/").context("no base")?;
    Ok(Repository::new(server.http.clone(), base, "bodies/large", None))
}

/// curl that prints only status and version of the answer.
fn curl(server: &ProxiedServer<'_>) -> Exec {
    server.clients.curl().args([
        "--output",
        "/dev/null",
        "--write-out",
        "%{http_code} %{http_version}",
    ])
}
