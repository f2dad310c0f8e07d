//! The whole chain once, from a push to a running Pod.

use anyhow::{Result, ensure};

use crate::demo::{self, GREETING};
use crate::fixture::Registry;
use crate::runner::Context;

pub(super) async fn docker_pushes_and_a_kubelet_runs(context: &Context<'_>) -> Result<()> {
    let namespace = context.namespace().await?;
    let mut registry = Registry::new(context.cluster, &namespace, "chain");
    registry.apply(context.cluster).await?;
    registry.ready(context.cluster).await?;
    let pushed = demo::push_and_pull(context.cluster, &context.clients(), &registry).await?;
    let said = demo::run_pod(context.cluster, &registry, &pushed).await?;
    ensure!(
        said == GREETING,
        "the Pod printed\nexpected: {GREETING}\ngot: {said}"
    );
    context.note(format!("{} {}", pushed.reference, pushed.pulled));
    Ok(())
}
