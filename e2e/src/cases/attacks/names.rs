//! Names of repositories.

use std::time::Instant;

use anyhow::Result;

use super::Field;
use super::watch::{Row, Watch};
use super::wire::ask;

/// Sessions that nobody uses, in repositories as deep as names go, and then the list of repositories.
pub(super) async fn deep(field: &Field<'_>) -> Result<Row> {
    let server = field.setup()?.start().await?;
    let address = server.address()?;
    let repositories = field.number(100, 600);
    let watch = Watch::begin(&server)?;
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
    watch.end(note, Vec::new()).await
}
