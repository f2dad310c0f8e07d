//! Several servers on one data folder: ours serves what registry:2 or registry:3 wrote, and the other way round.
//!
//! Each part starts real servers on one data folder, one after the other or together, and compares the answers. Start
//! at [`SharedStore`]. `content` writes the content, `compare` compares the answers.

mod collect;
mod compare;
mod content;
mod handover;
mod purge;
mod referrers;
mod repair;
mod shared_store;

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use compare::{Compared, KnownDifference};
use shared_store::{PEERS, SharedStore};

use crate::docker_engine::DockerEngine;
use crate::peers::ServerKind;
use crate::runner::Bench;

pub(super) use collect::their_collection_keeps_what_is_tagged;
pub(super) use handover::uploads_change_hands;
pub(super) use purge::abandoned_uploads_are_purged;
pub(super) use referrers::referrers_of_another_server_are_seen;
pub(super) use repair::{a_torn_blob_is_healed, old_manifests_are_served};

/// Each server answers the same about content that another one wrote.
pub(super) async fn trees_are_served_with_the_same_answers(bench: &Bench<'_>) -> Result<()> {
    DockerEngine::during(bench.dir, async |engine| serve_trees(bench, engine).await).await
}

async fn serve_trees(bench: &Bench<'_>, engine: &DockerEngine) -> Result<()> {
    let mut seen = BTreeMap::<KnownDifference, usize>::new();
    for peer in PEERS {
        let store = SharedStore::new(bench, &format!("of-{}", peer.name())).await?;
        let writer = store.serve(peer).await?;
        content::push_everything(&store, peer, &writer, engine).await?;
        let before = store.files().await?;
        let ours = store.serve(ServerKind::Ours).await?;
        let Compared { same, wanted } = compare::answers(&store, peer, &writer, &ours).await?;
        content::pull_everything(&store, &ours, engine).await?;
        store.check().await?;
        ensure!(
            store.files().await? == before,
            "reading changed {}'s tree",
            peer.name()
        );
        bench.note(format!(
            "{} wrote {} files: {same} answers of ours are the same, {} differ on purpose",
            peer.name(),
            before.lines().count(),
            wanted.values().sum::<usize>()
        ));
        seen.extend(wanted);
    }
    let store = SharedStore::new(bench, "of-ours").await?;
    let writer = store.serve(ServerKind::Ours).await?;
    content::push_everything(&store, ServerKind::Ours, &writer, engine).await?;
    content::push_sha512_manifest(&store, &writer).await?;
    store.check().await?;
    let before = store.files().await?;
    for peer in PEERS {
        let reader = store.serve(peer).await?;
        let Compared { same, wanted } = compare::answers(&store, peer, &reader, &writer).await?;
        content::pull_everything(&store, &reader, engine).await?;
        bench.note(format!(
            "ours wrote {} files: {same} answers of {} are the same, {} differ on purpose; manifests by sha512 are beyond it",
            before.lines().count(),
            peer.name(),
            wanted.values().sum::<usize>()
        ));
        seen.extend(wanted);
    }
    ensure!(store.files().await? == before, "reading changed our tree");
    for reason in KnownDifference::ALL {
        ensure!(
            seen.contains_key(&reason),
            "nothing differed because of {reason:?}: strike it off"
        );
    }
    Ok(())
}
