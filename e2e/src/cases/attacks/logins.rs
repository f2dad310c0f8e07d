//! Attacks by logins.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use futures_util::future::join_all;
use http::Method;

use super::context::AttackContext;
use super::http1::{ask, ask_on, connect_from, login};
use super::http2::Connection;
use super::monitor::{AttackResult, Monitor};
use crate::server::{Server, Settings};

/// The cost of the users' hashes. Apache's documentation recommends 5 and registry:2's image makes it; careful people
/// have 10.
const COST: u32 = 10;
const USERS: [&str; 4] = ["ann", "ben", "cat", "dan"];
const UPLOADS: &str = "/v2/a/blobs/uploads/";
/// The address of a client that does not attack.
const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// Starts a server with users whose password is `right`, and more lines in their file.
async fn start(context: &AttackContext<'_>, more: &str) -> Result<(Server, PathBuf)> {
    let path = context.root.join("users");
    let mut text = more.to_owned();
    for user in USERS {
        text += &format!("{user}:{}\n", bcrypt::hash("right", COST)?);
    }
    std::fs::write(&path, text)?;
    let settings = Settings {
        htpasswd: Some(path.clone()),
        ..Settings::default()
    };
    let setup = context
        .setup()?
        .with("REGISTRY_HTTP_H2C_ENABLED", "true")
        .configured(&settings);
    Ok((setup.start().await?, path))
}

/// Each connection sends as much of its bodies as it may, while its passwords are checked.
pub(super) async fn filled_windows(context: &AttackContext<'_>) -> Result<AttackResult> {
    let (server, _) = start(context, "").await?;
    let address = server.address()?;
    let (connections, streams) = (context.number(40, 100), context.number(4, 8));
    let body = Bytes::from(vec![0; 4 << 20]);
    let monitor = Monitor::begin(&server)?;
    let attackers = (0..connections).map(|number| {
        let body = body.clone();
        tokio::spawn(async move {
            let mut connection = Connection::open(address, 65_535).await?;
            let mut sent = 0;
            let mut open = Vec::new();
            for stream in 0..streams {
                let wrong = login("ann", &format!("{number}-{stream}"));
                let Some(mut stream) = connection.send(Method::POST, UPLOADS, Some(&wrong), true).await?
                else {
                    break;
                };
                sent += stream.fill(body.clone()).await;
                open.push(stream);
            }
            anyhow::Ok((connection, open, sent))
        })
    });
    let mut open = Vec::new();
    for attacker in join_all(attackers).await {
        open.push(attacker??);
    }
    tokio::time::sleep(context.hold()).await;
    let sent: usize = open.iter().map(|(_, _, sent)| sent).sum();
    drop(open);
    let note = format!("{connections} × {streams}, {} MB were taken", sent / 1_000_000);
    monitor.end(note, Vec::new()).await
}

/// A user with a very costly hash: the server's start, logins as that user, logins of others, and the removal of a
/// user.
pub(super) async fn costly_hash(context: &AttackContext<'_>) -> Result<AttackResult> {
    let dear = bcrypt::hash("right", 4)?.replacen("$04$", "$31$", 1);
    let (server, path) = start(context, &format!("slow:{dear}\n")).await?;
    let address = server.address()?;
    let monitor = Monitor::begin(&server)?;
    let mut faults = Vec::new();
    let base = async |user: &str| ask(address, "GET", "/v2/", &[&login(user, "right")], b"").await;
    let begun = Instant::now();
    let slow = join_all((0..4).map(|_| base("slow"))).await;
    for answer in slow {
        answer?.is(&[401])?;
    }
    let said = begun.elapsed();
    for user in USERS {
        base(user).await?.is(&[200])?;
    }
    let text = std::fs::read_to_string(&path)?;
    let others: String = text
        .lines()
        .filter(|line| !line.starts_with("ann:"))
        .flat_map(|line| [line, "\n"])
        .collect();
    std::fs::write(&path, others)?;
    let deadline = Instant::now() + Duration::from_secs(30);
    while base("ann").await?.status == 200 {
        if Instant::now() > deadline {
            faults.push("a user who was taken out is still let in".to_owned());
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    base("ben").await?.is(&[200])?;
    monitor.end(format!("refused within {said:.1?}"), faults).await
}

/// Many wrong logins at once from one address, and first logins of other users from another.
pub(super) async fn storm(context: &AttackContext<'_>) -> Result<AttackResult> {
    let (server, _) = start(context, "").await?;
    let address = server.address()?;
    let monitor = Monitor::begin(&server)?;
    let attackers: Vec<_> = (0..200)
        .map(|number| {
            tokio::spawn(async move {
                let mut told = 0_usize;
                for round in 0.. {
                    let wrong = login("ann", &format!("{number}-{round}"));
                    let answered = ask(address, "GET", "/v2/", &[&wrong], b"").await;
                    told += usize::from(answered.is_ok_and(|answer| answer.status == 429));
                    if told > 0 {
                        // The client was told to come back later.
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                }
                anyhow::Ok(())
            })
        })
        .collect();
    tokio::time::sleep(context.hold()).await;
    let mut slowest = Duration::ZERO;
    let mut faults = Vec::new();
    for user in USERS {
        let begun = Instant::now();
        let stream = connect_from(ELSEWHERE, address).await?;
        let answer = ask_on(stream, "GET", "/v2/", &[&login(user, "right")], b"").await?;
        slowest = slowest.max(begun.elapsed());
        if answer.status != 200 {
            faults.push(format!(
                "a first login from elsewhere is answered {}",
                answer.status
            ));
        }
    }
    // A login from the attacker's own address, which may be that of a proxy in front of both.
    let begun = Instant::now();
    let same = ask(address, "GET", "/v2/", &[&login("ben", "right")], b"").await;
    let same = same.context("no answer at the attacker's address")?;
    let note = format!(
        "4 first logins: {slowest:.1?} at most; at the attacker's address {} in {:.1?}",
        same.status,
        begun.elapsed()
    );
    for attacker in attackers {
        attacker.abort();
    }
    monitor.end(note, faults).await
}
