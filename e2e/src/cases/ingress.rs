//! The way from a client to the server: where TLS ends, which address answers name, how large and how slow a body may
//! be.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::networking::v1::Ingress;
use kube::Api;
use serde_json::json;

use super::ready_registry::ReadyRegistry;
use crate::exec::Exec;
use crate::fixture::USER;
use crate::protocol::{digest, noise};
use crate::runner::Context;

const MIB: usize = 1024 * 1024;

/// The prefix of ingress-nginx's annotations.
const NGINX: &str = "nginx.ingress.kubernetes.io/";

/// A push goes through the Ingress host and through the Service's name, with TLS ending at the Ingress and with TLS
/// up to the server. Each client is sent to the address it used.
pub(super) async fn edge_and_reencrypt(context: &Context<'_>) -> Result<()> {
    for (mode, inner) in [("Edge", "http"), ("Reencrypt", "https")] {
        let target = ReadyRegistry::ready(context, &mode.to_lowercase(), |registry| {
            let registry = registry.with("/ingress/tls", json!({"mode": mode}));
            if inner == "http" {
                registry.with("/tls", json!({"disabled": {}}))
            } else {
                registry
            }
        })
        .await?;
        let bytes = noise(3, 3 * MIB);
        let repository = target.repository("modes/blob")?;
        let session = repository.start().await?;
        let expected = format!("{}v2/modes/blob/blobs/uploads/", target.url()?);
        ensure!(
            session.location.as_str().starts_with(&expected),
            "expected {expected}…, got {}",
            session.location
        );
        let session = repository.append(&session, bytes.clone()).await?;
        repository.finish(&session, &digest(&bytes)).await?;
        ensure!(
            repository.blob(&digest(&bytes)).await? == bytes,
            "{mode}: the blob read back differs"
        );

        let service = format!("{inner}://{}", target.service());
        let location = start_by_service(&target, &service).await?;
        let expected = format!("{service}/v2/modes/service/blobs/uploads/");
        ensure!(
            location.starts_with(&expected),
            "expected {expected}…, got {location}"
        );
    }
    context.note("Edge and Reencrypt, by Ingress and by Service");
    Ok(())
}

/// Starts an upload by the Service's name, from the node, and gives its `Location`.
async fn start_by_service(target: &ReadyRegistry<'_>, service: &str) -> Result<String> {
    let curl = target.curl().args([
        "--fail",
        "--request",
        "POST",
        "--dump-header",
        "-",
        "--output",
        "/dev/null",
    ]);
    let head = curl
        .arg(format!("{service}/v2/modes/service/blobs/uploads/"))
        .success()
        .await?;
    let mut lines = head.lines().filter_map(|line| line.split_once(':'));
    let location = lines.find_map(|(name, value)| {
        name.eq_ignore_ascii_case("location")
            .then(|| value.trim().to_owned())
    });
    location.with_context(|| format!("no `Location` in\n{head}"))
}

/// nginx takes a 100 MB layer when it is configured as ingress-nginx would do it from the Ingress's annotations.
/// Without them it answers 413.
pub(super) async fn nginx_takes_a_large_layer(context: &Context<'_>) -> Result<()> {
    let target = ReadyRegistry::ready(context, "large", |registry| registry).await?;
    let ingresses: Api<Ingress> =
        Api::namespaced(context.cluster.client().await?, &target.registry.namespace);
    let live = ingresses
        .get(&target.registry.name)
        .await?
        .metadata
        .annotations
        .unwrap_or_default();
    let bytes = noise(11, 100_000_000);
    let layer = context.dir.join("layer");
    std::fs::write(&layer, &bytes)?;
    let name = digest(&bytes);

    let setting = |annotation: &str, default: &str| {
        live.get(&format!("{NGINX}{annotation}"))
            .cloned()
            .unwrap_or(default.to_owned())
    };
    let with = NginxSettings {
        body_size: setting("proxy-body-size", "1m"),
        request_buffering: setting("proxy-request-buffering", "on"),
        buffering: setting("proxy-buffering", "off"),
        read_timeout: setting("proxy-read-timeout", "60"),
        protocol: setting("backend-protocol", "HTTP").to_lowercase(),
    };
    ensure!(
        with.body_size == "0" && with.request_buffering == "off",
        "the Ingress carries {live:?}"
    );
    let without = NginxSettings {
        body_size: "1m".to_owned(),
        ..with.clone()
    };
    for (settings, status) in [(&without, "413"), (&with, "201")] {
        let answer = push_through_nginx(&target, settings, &layer, &name).await?;
        ensure!(
            answer == status,
            "client_max_body_size {}: expected {status}, got {answer}",
            settings.body_size
        );
    }
    ensure!(
        target.repository("nginx/layer")?.blob(&name).await? == bytes,
        "the layer read back differs"
    );
    context.note("100 MB: 413 at ingress-nginx's default, 201 with the Ingress's annotations");
    Ok(())
}

/// The settings that ingress-nginx makes from the annotations this case uses.
#[derive(Clone)]
struct NginxSettings {
    body_size: String,
    request_buffering: String,
    buffering: String,
    read_timeout: String,
    protocol: String,
}

/// Starts nginx next to the cluster, pushes one layer through it in one request, and gives the answer's status.
async fn push_through_nginx(
    target: &ReadyRegistry<'_>,
    settings: &NginxSettings,
    layer: &Path,
    name: &str,
) -> Result<String> {
    let folder = tempfile::tempdir()?;
    let NginxSettings {
        body_size,
        request_buffering,
        buffering,
        read_timeout,
        protocol,
    } = settings;
    let backend = target.service();
    let path = folder.path().display();
    let file = folder.path().join("nginx.conf");
    std::fs::write(
        &file,
        format!(
            "pid {path}/pid;\nerror_log {path}/error.log;\nworker_processes 1;\nuser root;\nevents {{}}\nhttp {{\n  access_log off;\n  client_body_temp_path {path}/body;\n  \
             proxy_temp_path {path}/proxy;\n  fastcgi_temp_path {path}/f;\n  uwsgi_temp_path {path}/u;\n  scgi_temp_path {path}/s;\n  server {{\n    listen 127.0.0.1:8081;\n    \
             client_max_body_size {body_size};\n    location / {{\n      proxy_pass {protocol}://{backend};\n      proxy_http_version 1.1;\n      \
             proxy_set_header Host $http_host;\n      proxy_set_header X-Forwarded-Proto $scheme;\n      proxy_set_header X-Forwarded-Host $http_host;\n      \
             proxy_request_buffering {request_buffering};\n      proxy_buffering {buffering};\n      proxy_read_timeout {read_timeout}s;\n      \
             proxy_send_timeout {read_timeout}s;\n    }}\n  }}\n}}\n"
        ),
    )?;
    let nginx = |args: &[&str]| {
        target
            .context
            .cluster
            .node(Exec::new("/usr/sbin/nginx").arg("-c").arg(&file).args(args))
    };
    nginx(&[]).success().await.context("cannot start nginx")?;
    let pushed = async {
        let script = "set -e; config=$1 layer=$2 name=$3 base=http://127.0.0.1:8081/v2/nginx/layer/blobs/uploads/; \
            location=$(curl -sS --config $config --noproxy '*' -X POST -D - -o /dev/null $base | tr -d '\\r' | sed -n 's/^[Ll]ocation: //p'); \
            curl -sS --config $config --noproxy '*' -o /dev/null -w '%{http_code}' -H 'Content-Type: application/octet-stream' -H 'Expect:' -T $layer \"$location&digest=$name\"";
        let config = folder.path().join("curl");
        std::fs::write(&config, format!("user = \"{USER}:{}\"\n", target.registry.password))?;
        target.context.cluster.node(Exec::new("sh").args(["-c", script, "sh"]).arg(&config).arg(layer).arg(name)).output().await
    }
    .await;
    nginx(&["-s", "quit"])
        .success()
        .await
        .context("cannot stop nginx")?;
    // A server that answers 413 closes before the client has sent everything. curl may report that as an error.
    let pushed = pushed?;
    Ok(pushed.stdout.trim().to_owned())
}

/// A layer that takes more than 60 seconds, the usual limit of proxies, goes through the Ingress controller.
pub(super) async fn a_slow_layer_gets_through(context: &Context<'_>) -> Result<()> {
    const SIZE: usize = 9 * MIB;
    const RATE: &str = "100K";
    let target = ReadyRegistry::ready(context, "slow", |registry| registry).await?;
    let bytes = noise(13, SIZE);
    let name = digest(&bytes);
    let layer = context.dir.join("layer");
    std::fs::write(&layer, &bytes)?;
    let repository = target.repository("slow/layer")?;
    let session = repository.start().await?;
    let mut location = session.location.clone();
    location.query_pairs_mut().append_pair("digest", &name);
    let started = Instant::now();
    let curl = target
        .curl()
        .args([
            "--limit-rate",
            RATE,
            "--output",
            "/dev/null",
            "--write-out",
            "%{http_code}",
        ])
        .args([
            "--header",
            "Content-Type: application/octet-stream",
            "--upload-file",
        ])
        .arg(&layer)
        .arg(location.as_str());
    let status = curl.success().await?;
    let took = started.elapsed();
    ensure!(status == "201", "after {took:?}: {status}");
    // The rate is an input of the case, not a measurement. A faster push would have shown nothing.
    ensure!(
        took >= Duration::from_secs(80),
        "the layer was not throttled: {took:?}"
    );
    ensure!(
        repository.blob(&name).await? == bytes,
        "the layer read back differs"
    );
    context.note(format!("9 MiB in one request of {} s", took.as_secs()));
    Ok(())
}
