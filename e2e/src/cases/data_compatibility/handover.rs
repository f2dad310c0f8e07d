//! Uploads that one server begins and another continues, by the secret and the folder they share.

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use reqwest::Url;

use super::shared_store::{PEERS, SharedStore};
use crate::peers::ServerKind;
use crate::protocol::{Session, digest, noise};
use crate::runner::Bench;
use crate::server::Server;

/// The sizes after which another server continues: around a hash's block of 64 bytes, around the size from which ours
/// saves a hash's state, and at an arbitrary one.
const CUTS: [usize; 7] = [1, 64, 1000, 4096, 1 << 20, (1 << 20) + 1, 3_000_007];

/// The order of the servers that get the parts of an upload. The last one finishes it.
const HANDOVERS: [&[Sender]; 6] = [
    &[Sender::Ours, Sender::Theirs],
    &[Sender::Theirs, Sender::Ours],
    &[Sender::Ours, Sender::Theirs, Sender::Ours],
    &[Sender::Theirs, Sender::Ours, Sender::Theirs],
    &[
        Sender::Ours,
        Sender::Theirs,
        Sender::Theirs,
        Sender::Ours,
        Sender::Ours,
    ],
    &[
        Sender::Theirs,
        Sender::Ours,
        Sender::Ours,
        Sender::Theirs,
        Sender::Theirs,
    ],
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sender {
    Ours,
    Theirs,
}

/// Every order and every size, between ours and each peer while both run. The blob is read back from both.
pub(in super::super) async fn uploads_change_hands(bench: &Bench<'_>) -> Result<()> {
    for peer in PEERS {
        let store = SharedStore::new(bench, &format!("relay-{}", peer.name())).await?;
        let theirs = store.serve(peer).await?;
        let ours = store.serve(ServerKind::Ours).await?;
        let server = |sender| match sender {
            Sender::Ours => &ours,
            Sender::Theirs => &theirs,
        };
        let (mut uploads, mut handovers) = (0, 0);
        for (number, senders) in HANDOVERS.iter().enumerate() {
            for cut in CUTS {
                for finish in [Finish::Put, Finish::PatchThenPut, Finish::Sha512] {
                    // Each upload has other bytes, because a blob that exists already would hide a wrong one.
                    uploads += 1;
                    let bytes = noise(uploads + 1_000, cut * senders.len() + number);
                    let name = format!("relay/cut{cut}");
                    let servers: Vec<&Server> = senders.iter().map(|sender| server(*sender)).collect();
                    run(&name, &bytes, cut, &servers, finish).await.with_context(|| {
                        format!("{senders:?} with {}, {cut} bytes each, {finish:?}", peer.name())
                    })?;
                    handovers += senders.windows(2).filter(|pair| pair[0] != pair[1]).count();
                    for reader in [&ours, &theirs] {
                        let read = reader.repository(&name).blob(&digest(&bytes)).await?;
                        ensure!(read == bytes, "the blob read back differs");
                    }
                }
            }
        }
        let left = store.files().await?;
        let left: Vec<&str> = left.lines().filter(|line| line.contains("/_uploads/")).collect();
        ensure!(left.is_empty(), "uploads left files behind: {left:?}");
        bench.note(format!(
            "{uploads} uploads changed hands with {} {handovers} times",
            peer.name()
        ));
    }
    Ok(())
}

/// How the last server finishes the upload.
#[derive(Debug, Clone, Copy)]
enum Finish {
    /// A PUT with the rest.
    Put,
    /// A PATCH with the rest, then a PUT.
    PatchThenPut,
    /// A PATCH with the rest, then a PUT with another algorithm than the servers hash with.
    Sha512,
}

async fn run(name: &str, bytes: &Bytes, cut: usize, servers: &[&Server], finish: Finish) -> Result<()> {
    let (final_server, before) = servers.split_last().context("a relay of nobody")?;
    let first = before.first().unwrap_or(final_server);
    let mut session = first.repository(name).start().await?;
    for server in before {
        session.location = moved(&session.location, server.base())?;
        // Distribution reports the same range for zero bytes and for one byte, so the acknowledged number is kept
        // here.
        let sent = session.received;
        let asked = server.repository(name).status(&session).await?;
        ensure!(
            asked.received == sent.max(1),
            "{sent} bytes were acknowledged, the next server says {}",
            asked.received
        );
        session = Session {
            location: asked.location,
            received: sent,
        };
        session = server
            .repository(name)
            .append(&session, bytes.slice(sent..sent + cut))
            .await?;
        session.received = sent + cut;
    }
    session.location = moved(&session.location, final_server.base())?;
    let repository = final_server.repository(name);
    let rest = bytes.slice(session.received..);
    match finish {
        Finish::Put => repository.finish_with(&session, &digest(bytes), rest).await,
        Finish::PatchThenPut => {
            let session = repository.append(&session, rest).await?;
            repository.finish(&session, &digest(bytes)).await
        }
        Finish::Sha512 => {
            let session = repository.append(&session, rest).await?;
            repository
                .finish(&session, &super::content::sha512(bytes))
                .await?;
            // The blob is known by sha256; a mount within the repository makes it known by sha512.
            repository.is_known(&super::content::sha512(bytes)).await
        }
    }
}

/// The location of the same upload on another server.
fn moved(location: &Url, base: &Url) -> Result<Url> {
    let query = location.query().context("no `_state`")?;
    Ok(base.join(&format!("{}?{query}", location.path()))?)
}
