//! Connections that are opened and left alone.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::net::TcpStream;

use super::context::AttackContext;
use super::http1::{ask_on, connect};
use super::monitor::{AttackResult, Monitor};
use super::tree::{EMPTY, Tree};

/// Time limit for the server to accept one more connection.
const LIMIT: Duration = Duration::from_secs(2);

/// Raises the limit of open files, because the attacker needs one per connection.
pub(super) fn raise_file_limit() -> Result<()> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    setrlimit(Resource::Nofile, raised).context("cannot raise the limit of open files")
}

/// A client that connected before 400 idle connections asks a server with few files. A server without that limit
/// holds 2,000 idle connections.
pub(super) async fn idle(context: &AttackContext<'_>) -> Result<AttackResult> {
    let few = context.root.join("few");
    std::fs::create_dir(&few)?;
    let blob = Tree::at(&few.join("data")).blob("a", EMPTY)?;
    let limited = ["sh", "-c", "ulimit -n 256 && exec \"$0\" \"$@\""].map(str::to_owned);
    let server = crate::server::ServerSetup::new(&crate::images::server_program(), &few)?
        .wrapped_in(limited)
        .start()
        .await?;
    let address = server.address()?;
    let before = connect(address).await?;
    let crowd = crowd(address, 400).await;
    let mut faults = Vec::new();
    let path = format!("/v2/a/blobs/{blob}");
    match ask_on(before, "GET", &path, &[], b"").await {
        Ok(answer) if answer.status == 200 => {}
        Ok(answer) => faults.push(format!(
            "256 files: one who was let in is answered {}",
            answer.status
        )),
        // The first client was idle too, so its connection may have been closed to make room. It connects again.
        Err(_) => match ask_on(connect(address).await?, "GET", &path, &[], b"").await {
            Ok(answer) if answer.status == 200 => {}
            Ok(answer) => faults.push(format!(
                "256 files: one who came again is answered {}",
                answer.status
            )),
            Err(error) => faults.push(format!(
                "256 files: one who came again is not answered: {error:#}"
            )),
        },
    }
    drop(crowd);
    drop(server);

    let server = context.setup()?.start().await?;
    let (address, resident) = (server.address()?, server.memory()?);
    let monitor = Monitor::begin(&server)?;
    let crowd = self::crowd(address, 2000).await;
    tokio::time::sleep(context.hold()).await;
    let each = server.memory()?.saturating_sub(resident) as usize / crowd.len().max(1);
    let note = format!(
        "{} connections, {:.1} KiB each",
        crowd.len(),
        each as f64 / 1024.0
    );
    drop(crowd);
    monitor.end(note, faults).await
}

/// Opens as many connections as the server takes.
async fn crowd(address: SocketAddr, number: usize) -> Vec<TcpStream> {
    let mut crowd = Vec::new();
    for _ in 0..number {
        match tokio::time::timeout(LIMIT, connect(address)).await {
            Ok(Ok(stream)) => crowd.push(stream),
            Ok(Err(_)) | Err(_) => break,
        }
    }
    crowd
}
