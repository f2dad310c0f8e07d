//! Attacks by names of repositories.

use std::time::Instant;

use anyhow::Result;

use super::context::AttackContext;
use super::http1::ask;
use super::monitor::{AttackResult, Monitor};

/// Opens unused sessions in repositories with names as deep as allowed, then asks for the catalog.
pub(super) async fn deep(context: &AttackContext<'_>) -> Result<AttackResult> {
    let server = context.setup()?.start().await?;
    let address = server.address()?;
    let repositories = context.number(100, 600);
    let monitor = Monitor::begin(&server)?;
    for number in 0..repositories {
        let name = format!("{}n{number}", "a/".repeat(120));
        ask(address, "POST", &format!("/v2/{name}/blobs/uploads/"), &[], b"")
            .await?
            .is(&[202])?;
    }
    let begun = Instant::now();
    let listed = ask(address, "GET", "/v2/_catalog", &[], b"").await?;
    let note = format!(
        "{repositories} sessions; catalog {} in {:.1?}",
        listed.status,
        begun.elapsed()
    );
    monitor.end(note, Vec::new()).await
}
