//! Requests that do not end, and requests that are answered before they end.

use std::time::{Duration, Instant};

use anyhow::Result;
use futures_util::future::join_all;
use tokio::io::AsyncWriteExt as _;

use super::context::AttackContext;
use super::http1::{answer, ask, connect, head, send_for};
use super::monitor::{AttackResult, Monitor};
use super::tree::MANIFEST;
use crate::server::{Server, Settings};

const MANIFEST_SIZE: usize = 4 << 20;
const LARGE: usize = 32 << 20;

/// Manifests that are sent without their last byte.
pub(super) async fn stalled_manifests(context: &AttackContext<'_>) -> Result<AttackResult> {
    let server = context.setup()?.start().await?;
    let address = server.address()?;
    let clients = context.number(100, 256);
    let monitor = Monitor::begin(&server)?;
    let hold = context.hold();
    let attackers = (0..clients).map(|number| {
        tokio::spawn(async move {
            let mut stream = connect(address).await?;
            let (length, kind) = (
                format!("Content-Length: {MANIFEST_SIZE}"),
                format!("Content-Type: {MANIFEST}"),
            );
            let request = head("PUT", &format!("/v2/a/manifests/t{number}"), &[&length, &kind]);
            stream.write_all(request.as_bytes()).await?;
            send_for(&mut stream, &vec![b' '; MANIFEST_SIZE - 1], hold).await;
            anyhow::Ok(stream)
        })
    });
    let stalled = join_all(attackers).await;
    tokio::time::sleep(hold).await;
    drop(stalled);
    monitor.end(format!("{clients} clients"), Vec::new()).await
}

/// The location of a new upload session.
async fn session(server: &Server) -> Result<String> {
    let started = ask(server.address()?, "POST", "/v2/a/blobs/uploads/", &[], b"").await?;
    let started = started.is(&[202])?;
    let location = started.header("location").unwrap_or_default();
    let (_, path) = location.split_once("/v2/").unwrap_or_default();
    Ok(format!("/v2/{path}"))
}

/// PATCHes that stop after 600 kB, and others that come to a session one of them holds.
pub(super) async fn stalled_patches(context: &AttackContext<'_>) -> Result<AttackResult> {
    let server = context.setup()?.start().await?;
    let address = server.address()?;
    let (clients, others) = (context.number(150, 500), context.number(50, 200));
    let mut sessions = Vec::new();
    for _ in 0..clients {
        sessions.push(session(&server).await?);
    }
    let held = sessions[0].clone();
    let monitor = Monitor::begin(&server)?;
    let hold = context.hold();
    let attackers = sessions.into_iter().map(|path| {
        tokio::spawn(async move {
            let mut stream = connect(address).await?;
            let headers = [
                "Content-Length: 100000000",
                "Content-Type: application/octet-stream",
            ];
            stream
                .write_all(head("PATCH", &path, &headers).as_bytes())
                .await?;
            send_for(&mut stream, &vec![0; 600_000], hold).await;
            anyhow::Ok(stream)
        })
    });
    let stalled = join_all(attackers).await;
    let begun = Instant::now();
    let second = join_all((0..others).map(|_| {
        let held = held.clone();
        async move {
            let kind = "Content-Type: application/octet-stream";
            ask(address, "PATCH", &held, &[kind], b"more").await
        }
    }))
    .await;
    let waited = begun.elapsed();
    let mut statuses: Vec<u16> = second
        .iter()
        .filter_map(|answer| Some(answer.as_ref().ok()?.status))
        .collect();
    let answered = statuses.len();
    statuses.sort_unstable();
    statuses.dedup();
    tokio::time::sleep(hold).await;
    drop(stalled);
    let note = format!("{clients} clients; {answered} of {others} others: {statuses:?} in {waited:.1?}");
    monitor.end(note, Vec::new()).await
}

/// Clients without a login that send a body.
pub(super) async fn without_login(context: &AttackContext<'_>) -> Result<AttackResult> {
    let users = context.root.join("users");
    std::fs::write(&users, format!("ann:{}\n", bcrypt::hash("right", 5)?))?;
    let settings = Settings {
        htpasswd: Some(users),
        ..Settings::default()
    };
    let server = context.setup()?.configured(&settings).start().await?;
    early(context, &server, "/v2/a/blobs/uploads/", "POST", 401).await
}

/// A manifest whose announced length is too large.
pub(super) async fn too_large(context: &AttackContext<'_>) -> Result<AttackResult> {
    let server = context.setup()?.start().await?;
    early(context, &server, "/v2/a/manifests/latest", "PUT", 413).await
}

/// Clients that send 32 MiB and read their answer when it comes.
async fn early(
    context: &AttackContext<'_>,
    server: &Server,
    path: &'static str,
    method: &'static str,
    status: u16,
) -> Result<AttackResult> {
    let address = server.address()?;
    let clients = context.number(50, 500);
    let monitor = Monitor::begin(server)?;
    let attackers = (0..clients).map(|_| {
        tokio::spawn(async move {
            let mut stream = connect(address).await?;
            let (length, kind) = (
                format!("Content-Length: {LARGE}"),
                format!("Content-Type: {MANIFEST}"),
            );
            stream
                .write_all(head(method, path, &[&length, &kind]).as_bytes())
                .await?;
            let (mut reading, mut writing) = stream.split();
            let begun = Instant::now();
            let send = async {
                let part = vec![0; 64 * 1024];
                for _ in 0..LARGE / part.len() {
                    if writing.write_all(&part).await.is_err() {
                        break;
                    }
                }
                std::future::pending::<()>().await;
            };
            let answered = tokio::select! {
                answered = answer(&mut reading, false) => answered?,
                () = send => unreachable!("it does not end"),
            };
            anyhow::Ok((answered.status, begun.elapsed()))
        })
    });
    let (mut answered, mut slowest) = (0, Duration::ZERO);
    for attacker in join_all(attackers).await {
        if let Ok((got, took)) = attacker? {
            answered += usize::from(got == status);
            slowest = slowest.max(took);
        }
    }
    let mut faults = Vec::new();
    if answered < clients {
        faults.push(format!(
            "{} of {clients} clients did not see {status}",
            clients - answered
        ));
    }
    monitor
        .end(
            format!("{answered} of {clients} saw {status}, the last after {slowest:.1?}"),
            faults,
        )
        .await
}
