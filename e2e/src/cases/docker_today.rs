//! docker's newest release, whose engine keeps images in containerd's store, against one Registry.

use anyhow::{Result, ensure};

use super::ready_registry::{ReadyRegistry, same, says_unauthorized};
use crate::fixture::USER;
use crate::local;
use crate::provider::Cluster;
use crate::runner::Context;

/// The kind of storage that the engine names when containerd keeps its images.
const CONTAINERD_STORE: &str = "io.containerd.snapshotter";

/// Refused without a login; then a push and a pull. Nothing is run: this engine asks Debian's runc for a namespace that it
/// does not know.
pub(super) async fn pushes_and_pulls(context: &Context<'_>) -> Result<()> {
    let target = ReadyRegistry::ready(context, "today", |registry| registry).await?;
    let clients = context.clients().with_current_docker();
    let host = &target.registry.host;
    let versions = "{{.ClientInfo.Version}}, engine {{.ServerVersion}}, {{json .DriverStatus}}";
    let versions = clients
        .docker()
        .args(["info", "--format", versions])
        .success()
        .await?;
    // Elsewhere docker is that of the machine.
    if matches!(context.cluster, Cluster::Local(_)) {
        ensure!(
            versions.contains(CONTAINERD_STORE),
            "the engine does not keep its images in containerd: {versions}"
        );
    }
    clients.load_first_images().await?;
    let image = format!("{host}/today/busybox:1");
    clients
        .docker()
        .args(["tag", local::BUSYBOX_IMAGE, &image])
        .success()
        .await?;

    let refused = clients.docker().args(["push", &image]).output().await?;
    let said = refused.all().to_lowercase();
    ensure!(
        !refused.status.success(),
        "a push without a login succeeded: {said}"
    );
    ensure!(
        says_unauthorized(&said),
        "a push without a login failed for another reason:\n{said}"
    );

    clients.login(host, USER, &target.registry.password).await?;
    let pushed = clients.push(&image).await?;
    same("docker's own pull", &pushed, &clients.pull(&image).await?)?;
    let seen = clients
        .crane(&target.ca_file)
        .args(["digest", &image])
        .success()
        .await?;
    same("crane's digest of the tag", &pushed, &seen.trim().to_owned())?;
    clients.docker().args(["rmi", &image]).success().await?;
    context.note(format!("{}; {pushed}", versions.trim()));
    Ok(())
}
