//! `volumes[].image` of a Pod: the content of an image in a Registry, mounted without a container that runs it.

use anyhow::{Result, ensure};
use serde_json::json;

use super::ready_registry::{POD_LIMIT, ReadyRegistry, pull_is_refused};
use crate::fixture::USER;
use crate::local;
use crate::runner::Context;
use crate::wait::{Seen, wait_for};

/// The text of the file in the image.
const CONTENT: &str = "a file that came as an image";

/// A Pod with the pull secret reads the file and cannot change it; one without the secret is told why it does not start.
pub(super) async fn a_pod_mounts_an_image(context: &Context<'_>) -> Result<()> {
    let target = ReadyRegistry::ready(context, "volume", |registry| registry).await?;
    let clients = context.clients();
    let image = format!("{}/data/content:1", target.registry.host);
    let folder = context.dir.join("content");
    std::fs::create_dir(&folder)?;
    std::fs::write(folder.join("greeting"), CONTENT)?;
    std::fs::write(
        folder.join("Dockerfile"),
        "FROM scratch\nCOPY greeting /data/greeting\n",
    )?;
    clients.build(&image, &folder).await?;
    clients
        .login(&target.registry.host, USER, &target.registry.password)
        .await?;
    let digest = clients.push(&image).await?;
    clients.docker().args(["rmi", &image]).success().await?;

    let script = "cat /content/data/greeting; echo; touch /content/data/more 2>/dev/null && echo changed";
    let spec = |reference: &str| {
        json!({
            "containers": [{
                "name": "reader", "image": local::BUSYBOX_IMAGE, "imagePullPolicy": "IfNotPresent",
                "command": ["/bin/sh", "-c", format!("{script}; true")],
                "volumeMounts": [{"name": "content", "mountPath": "/content"}],
            }],
            "volumes": [{"name": "content", "image": {"reference": reference, "pullPolicy": "Always"}}],
        })
    };
    // Before the node has the image: a copy that is there already would not be asked for.
    let pods = target.create_pod("stranger", spec(&image)).await?;
    wait_for(
        "the refusal of a Pod without the pull secret",
        POD_LIMIT,
        async || {
            let status = pods.get("stranger").await?.status.unwrap_or_default();
            let said = serde_json::to_string(&status.container_statuses)?;
            Ok(if pull_is_refused(&said) {
                Seen::Done(())
            } else {
                Seen::NotYet(said)
            })
        },
    )
    .await?;

    let (name, _) = image.rsplit_once(':').unwrap_or((&image, ""));
    let mut with_secret = spec(&format!("{name}@{digest}"));
    with_secret["imagePullSecrets"] = json!([{"name": target.registry.pull_secret()}]);
    let (_, log) = target.run_pod("reader", with_secret).await?;
    ensure!(log.contains(CONTENT), "the Pod printed {log:?}");
    ensure!(!log.contains("changed"), "the Pod could write into the image");
    context.note(format!("{name}@{digest} mounted read-only"));
    Ok(())
}
