//! Clients that ask and do not read.

use anyhow::Result;
use futures_util::future::join_all;
use http::Method;
use tokio::io::AsyncWriteExt as _;

use super::Field;
use super::http2::Connection;
use super::tree::Tree;
use super::watch::{Row, Watch};
use super::wire::{connect, head};

/// More than any buffer on the way takes.
const BLOB: usize = 32 << 20;

pub(super) async fn windows_of_nothing(field: &Field<'_>) -> Result<Row> {
    windows(field, 0).await
}

pub(super) async fn windows_of_one_byte(field: &Field<'_>) -> Result<Row> {
    windows(field, 1).await
}

/// As many GETs as the server takes, of a client that never says that it has room.
async fn windows(field: &Field<'_>, window: u32) -> Result<Row> {
    let name = Tree::at(&field.data()).blob("a", &vec![0; BLOB])?;
    let server = field
        .setup()?
        .with("REGISTRY_HTTP_H2C_ENABLED", "true")
        .start()
        .await?;
    let address = server.address()?;
    let (connections, streams) = (field.number(4, 10), 200);
    let path = format!("/v2/a/blobs/{name}");
    let watch = Watch::begin(&server)?;
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
        let heads = waiting.into_iter().map(|stream| stream.answer(field.hold()));
        // The streams stay open with the answers.
        open.push((connection, join_all(heads).await));
    }
    tokio::time::sleep(field.hold()).await;
    let answered = open.iter().flat_map(|(_, heads)| heads).flatten().count();
    drop(open);
    watch
        .end(
            format!("{connections} connections, {taken} GETs taken, {answered} answered"),
            Vec::new(),
        )
        .await
}

/// HTTP/1.1, one GET each.
pub(super) async fn that_do_not_read(field: &Field<'_>) -> Result<Row> {
    let name = Tree::at(&field.data()).blob("a", &vec![0; BLOB])?;
    let server = field.setup()?.start().await?;
    let address = server.address()?;
    let clients = 200;
    let path = format!("/v2/a/blobs/{name}");
    let watch = Watch::begin(&server)?;
    let mut open = Vec::new();
    for _ in 0..clients {
        let mut stream = connect(address).await?;
        stream.write_all(head("GET", &path, &[]).as_bytes()).await?;
        open.push(stream);
    }
    tokio::time::sleep(field.hold()).await;
    drop(open);
    watch.end(format!("{clients} clients"), Vec::new()).await
}
