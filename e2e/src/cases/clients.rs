//! docker, the kubelet's containerd, skopeo and crane against one Registry. What one pushes, the others pull by the
//! same digest.

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::ready_registry::{POD_LIMIT, ReadyRegistry, image_with, pull_is_refused, same, says_unauthorized};
use crate::cache::Cache;
use crate::debian;
use crate::fixture::USER;
use crate::runner::Context;
use crate::wait::{Seen, wait_for};

/// The least compressed size of the Debian image; its least number of layers follows.
const SIZE_MIN: i64 = 100_000_000;
const LAYERS_MIN: usize = 3;

/// docker pushes a Debian image of several layers; the kubelet, skopeo and crane pull it.
pub(super) async fn a_debian_image_goes_round(context: &Context<'_>) -> Result<()> {
    let target = ReadyRegistry::ready(context, "depot", |registry| registry).await?;
    let clients = context.clients();
    let host = &target.registry.host;
    clients.login(host, USER, &target.registry.password).await?;
    let image = format!("{host}/debian/greeter:1");
    let folder = debian::context(&Cache::open()?).await?;
    let build = clients
        .docker()
        .env("DOCKER_BUILDKIT", "1")
        .args(["build", "--quiet", "--tag", &image])
        .arg(&folder);
    build.success().await?;
    let digest = clients.push(&image).await?;

    let crane = || clients.crane(&target.ca_file);
    let manifest: Value = serde_json::from_str(&crane().args(["manifest", &image]).success().await?)?;
    let layers = manifest["layers"]
        .as_array()
        .context("a manifest without layers")?;
    let size: i64 = layers.iter().filter_map(|layer| layer["size"].as_i64()).sum();
    ensure!(
        layers.len() >= LAYERS_MIN && size >= SIZE_MIN,
        "only {} layers, {size} bytes",
        layers.len()
    );

    let spec = json!({"imagePullSecrets": [{"name": target.registry.pull_secret()}], "containers": [{"name": "greet", "image": image}]});
    let (pod, log) = target.run_pod("greeter", spec).await?;
    ensure!(log.contains(debian::GREETING), "the Pod printed {log:?}");
    let ran = pod
        .status
        .and_then(|status| status.container_statuses?.pop())
        .context("a Pod without containers")?
        .image_id;
    ensure!(
        ran.ends_with(&digest),
        "docker pushed {digest}, the kubelet ran {ran}"
    );

    // skopeo copies it into a folder and back under another name, then crane compares.
    let login = format!("{USER}:{}", target.registry.password);
    let here = format!("dir:{}", context.dir.join("copy").display());
    let copy = format!("{host}/copies/greeter:1");
    let source = format!("docker://{image}");
    clients
        .skopeo()
        .args(["copy", "--src-creds", &login, &source, &here])
        .success()
        .await?;
    clients
        .skopeo()
        .args(["copy", "--dest-creds", &login, &here, &format!("docker://{copy}")])
        .success()
        .await?;
    same(
        "skopeo's copy",
        &digest,
        &crane().args(["digest", &copy]).success().await?.trim().to_owned(),
    )?;

    let again = format!("{host}/again/greeter:1");
    crane().args(["copy", &image, &again]).success().await?;
    same(
        "docker's pull of crane's copy",
        &digest,
        &clients.pull(&again).await?,
    )?;
    clients.docker().args(["rmi", &again, &image]).success().await?;
    context.note(format!(
        "{digest}, {} layers, {} MB: docker, kubelet, skopeo and crane agree",
        layers.len(),
        size / 1_000_000
    ));
    Ok(())
}

/// A Pod pushes and pulls, by the Ingress host that the cluster's DNS resolves and by the Service's own name.
pub(super) async fn a_pod_pushes_and_pulls(context: &Context<'_>) -> Result<()> {
    let target = ReadyRegistry::ready(context, "inner", |registry| registry).await?;
    let clients = context.clients();
    let image = image_with(context, &context.cluster.programs().crane, "crane").await?;
    let service = target.service();
    let (user, password) = (USER, &target.registry.password);
    let login = json!({"username": user, "password": password});
    let auths = json!({"auths": {&target.registry.host: login, &service: login}});
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "docker-config"}, "stringData": {"config.json": auths.to_string()}});
    target
        .kubectl()
        .args(["apply", "-f", "-"])
        .stdin(secret.to_string())
        .success()
        .await?;
    let object = target
        .registry
        .api(context.cluster)
        .await?
        .get(&target.registry.name)
        .await?;
    let bundle = object.data["status"]["tls"]["caConfigMap"].clone();

    // crane pushes a tar as an image. Its content differs for each address, so that neither finds what the other
    // left.
    let script = format!(
        "set -e; cd /tmp; for host in {} {service}; do echo $host >address; tar -cf layer.tar address; \
         crane append --new_layer layer.tar --new_tag $host/pod/sample:1 >pushed; crane pull $host/pod/sample:1 out.tar; \
         echo digests $(cat pushed) $(crane digest --tarball out.tar) $(crane digest $host/pod/sample:1); done",
        target.registry.host
    );
    let spec = json!({
        "containers": [{"name": "crane", "image": image, "imagePullPolicy": "Never", "command": ["/bin/sh", "-c", script],
            "env": [{"name": "SSL_CERT_FILE", "value": "/ca/ca.crt"}, {"name": "DOCKER_CONFIG", "value": "/docker"}, {"name": "HOME", "value": "/tmp"}],
            "volumeMounts": [{"name": "ca", "mountPath": "/ca"}, {"name": "docker", "mountPath": "/docker"}, {"name": "tmp", "mountPath": "/tmp"}]}],
        "volumes": [{"name": "ca", "configMap": {"name": bundle}}, {"name": "docker", "secret": {"secretName": "docker-config"}}, {"name": "tmp", "emptyDir": {}}]});
    let (_, log) = target.run_pod("pusher", spec).await?;
    let lines: Vec<Vec<&str>> = log
        .lines()
        .filter_map(|line| line.strip_prefix("digests "))
        .map(|words| words.split_whitespace().collect())
        .collect();
    ensure!(lines.len() == 2, "the Pod printed {log:?}");
    for words in &lines {
        let [pushed, pulled, seen] = words[..] else {
            anyhow::bail!("the Pod printed {log:?}")
        };
        ensure!(
            pushed.ends_with(seen) && pulled == seen,
            "pushed {pushed}, pulled {pulled}, the registry says {seen}"
        );
    }
    clients.docker().args(["rmi", &image]).success().await?;
    context.note(format!(
        "{} through {}, {} through {service}",
        lines[0][2], target.registry.host, lines[1][2]
    ));
    Ok(())
}

/// Without a login, and with a wrong password, every client is refused with 401 and told how to log in.
pub(super) async fn strangers_are_refused(context: &Context<'_>) -> Result<()> {
    let target = ReadyRegistry::ready(context, "closed", |registry| registry).await?;
    let clients = context.clients();
    let host = &target.registry.host;
    let image = target.sample("secret/sample").await?;
    clients.push(&image).await?;
    clients.docker().args(["logout", host]).success().await?;

    let wrong = format!("{USER}:wrong");
    let source = format!("docker://{image}");
    for command in [
        clients.docker().args(["push", &image]),
        clients
            .docker()
            .args(["login", host, "--username", USER, "--password-stdin"])
            .stdin("wrong"),
        clients.crane(&target.ca_file).args(["digest", &image]),
        clients.skopeo().args(["inspect", "--no-creds", &source]),
        clients.skopeo().args(["inspect", "--creds", &wrong, &source]),
    ] {
        let done = command.output().await?;
        let said = done.all().to_lowercase();
        ensure!(!done.status.success(), "`{}` succeeded", command.line());
        ensure!(
            says_unauthorized(&said),
            "`{}` failed for another reason:\n{said}",
            command.line()
        );
    }
    for login in [None, Some(wrong.as_str()), Some("nobody:wrong")] {
        challenge(&target, login).await?;
    }
    kubelet_is_refused(&target, &image).await?;
    clients.docker().args(["rmi", &image]).success().await?;
    context.note("docker, containerd, skopeo, crane and curl");
    Ok(())
}

/// Checks the 401 itself, with its challenge and the error's body.
async fn challenge(target: &ReadyRegistry<'_>, login: Option<&str>) -> Result<()> {
    let mut curl = target
        .context
        .clients()
        .curl()
        .args(["--noproxy", "*", "--include", "--cacert"])
        .arg(&target.ca_file);
    if let Some(login) = login {
        curl = curl.args(["--user", login]);
    }
    let answer = curl.arg(format!("{}v2/", target.url()?)).success().await?;
    let text = answer.to_lowercase();
    let first = text.lines().next().unwrap_or_default();
    ensure!(first.contains(" 401"), "{login:?}: {answer}");
    ensure!(
        text.contains("\nwww-authenticate: basic realm=\""),
        "{login:?}: no challenge in\n{answer}"
    );
    ensure!(
        text.contains("\"code\":\"unauthorized\""),
        "{login:?}: no error body in\n{answer}"
    );
    Ok(())
}

/// A Pod without an `imagePullSecret` does not get the image, and its status says why.
async fn kubelet_is_refused(target: &ReadyRegistry<'_>, image: &str) -> Result<()> {
    let spec = json!({"containers": [{"name": "stranger", "image": image, "imagePullPolicy": "Always"}]});
    let pods = target.create_pod("stranger", spec).await?;
    wait_for("the kubelet's refusal", POD_LIMIT, async || {
        let status = pods.get("stranger").await?.status.unwrap_or_default();
        let waiting = status
            .container_statuses
            .unwrap_or_default()
            .pop()
            .and_then(|one| one.state?.waiting);
        let said = waiting
            .map(|waiting| format!("{:?} {:?}", waiting.reason, waiting.message))
            .unwrap_or_default();
        Ok(if pull_is_refused(&said) {
            Seen::Done(())
        } else {
            Seen::NotYet(said)
        })
    })
    .await
}
