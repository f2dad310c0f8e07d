//! distribution's `garbage-collect` on a tree that ours wrote.

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use reqwest::Method;
use serde_json::{Value, json};

use super::content::{self, MANIFEST, RawClient};
use super::shared_store::{PEERS, SharedStore, host};
use crate::docker_engine::DockerEngine;
use crate::exec::Exec;
use crate::peers::ServerKind;
use crate::protocol::digest;
use crate::runner::Bench;
use crate::server::Server;

/// A dry run changes nothing. A run keeps every tagged image complete. A run that deletes untagged manifests keeps
/// the same images in our tree as in the peer's own: 2.8 deletes the untagged images of a tagged index, 3.1 does not.
pub(in super::super) async fn their_collection_keeps_what_is_tagged(bench: &Bench<'_>) -> Result<()> {
    DockerEngine::during(bench.dir, async |engine| collect_trees(bench, engine).await).await
}

async fn collect_trees(bench: &Bench<'_>, engine: &DockerEngine) -> Result<()> {
    let ours = SharedStore::new(bench, "written").await?;
    let writer = ours.serve(ServerKind::Ours).await?;
    content::push_everything(&ours, ServerKind::Ours, &writer, engine).await?;
    let named_by_sha512 = content::push_sha512_manifest(&ours, &writer).await?;
    let all = whole(&ours, &writer).await?;
    writer.kill().await?;
    for peer in PEERS {
        let theirs = SharedStore::new(bench, &format!("own-of-{}", peer.name())).await?;
        let writer = theirs.serve(peer).await?;
        content::push_everything(&theirs, peer, &writer, engine).await?;
        writer.kill().await?;
        for options in [&["-d"][..], &[], &["-d", "-m"], &["-m"]] {
            let name = format!("{} garbage-collect {}", peer.name(), options.join(" "));
            let collected = collected(&ours, peer, options)
                .await
                .with_context(|| name.clone())?;
            if options.contains(&"-d") {
                ensure!(
                    collected.files().await? == ours.files().await?,
                    "{name}: a dry run changed the tree"
                );
                continue;
            }
            let control = self::collected(&theirs, peer, options)
                .await
                .with_context(|| name.clone())?;
            let server = collected.serve(ServerKind::Ours).await?;
            let kept = whole(&collected, &server).await.with_context(|| name.clone())?;
            let expected = whole(&control, &control.serve(ServerKind::Ours).await?).await?;
            ensure!(
                kept == expected,
                "{name}: of its own tree {expected:?} are whole, of ours {kept:?}"
            );
            if peer == ServerKind::V3 || !options.contains(&"-m") {
                ensure!(kept == all, "{name}: {all:?} were whole, {kept:?} are");
            }
            // The manifest is deleted because it has no tag, whatever digest ours knew it by.
            let status = if options.contains(&"-m") { 404 } else { 200 };
            let client = RawClient {
                store: &collected,
                server: &server,
            };
            let asked = client
                .expect(Method::GET, &named_by_sha512, "", Bytes::new(), status)
                .await;
            asked.with_context(|| name.clone())?;
            let listed = referrers(&collected, &server)
                .await
                .with_context(|| name.clone())?;
            bench.note(format!(
                "{name}: {} of {} files kept, {} of {} tagged images whole as in its own tree, {listed} of 2 referrers listed",
                collected.files().await?.lines().count(),
                ours.files().await?.lines().count(),
                kept.len(),
                all.len(),
            ));
        }
    }
    Ok(())
}

/// A copy of a store after a peer's `garbage-collect`.
async fn collected<'a>(
    store: &SharedStore<'a>,
    peer: ServerKind,
    options: &[&str],
) -> Result<SharedStore<'a>> {
    let name = store
        .data
        .parent()
        .and_then(|home| home.file_name())
        .context("no home")?;
    let copy = format!("{}-{}{}", name.to_string_lossy(), peer.name(), options.concat());
    let copy = store.copy(&copy).await?;
    collect(&copy, peer, options).await?;
    Ok(copy)
}

/// The tagged images whose parts can all be read and have their digest. Others may exist but are incomplete.
async fn whole(store: &SharedStore<'_>, server: &Server) -> Result<Vec<String>> {
    let mut whole = Vec::new();
    let at = host(server)?;
    for image in tagged(store, server).await? {
        let validate = store
            .clients
            .crane()
            .args(["validate", "--remote", &format!("{at}/{image}")]);
        if validate.output().await?.status.success() {
            whole.push(image);
        }
    }
    Ok(whole)
}

/// Runs a peer's own `garbage-collect`.
async fn collect(store: &SharedStore<'_>, peer: ServerKind, options: &[&str]) -> Result<String> {
    let file = store.data.with_file_name("collect.yml");
    std::fs::write(
        &file,
        format!(
            "version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: {}\n  delete:\n    enabled: true\n",
            store.data.display()
        ),
    )?;
    Exec::new(peer.program(&store.cache).await?)
        .arg("garbage-collect")
        .args(options)
        .arg(file)
        .env("OTEL_TRACES_EXPORTER", "none")
        .success()
        .await
}

/// `repository:tag` of every tag whose image consists of more than a manifest.
async fn tagged(store: &SharedStore<'_>, server: &Server) -> Result<Vec<String>> {
    let client = RawClient { store, server };
    let ask = async |path: &str| -> Result<Value> {
        Ok(serde_json::from_slice(
            &client.expect(Method::GET, path, "", Bytes::new(), 200).await?,
        )?)
    };
    let catalog = ask("_catalog?n=1000").await?;
    let mut images = Vec::new();
    for name in catalog["repositories"].as_array().context("no repositories")? {
        let name = name.as_str().context("a name that is none")?;
        // Layers of hand-made manifests cannot be read by image programs; they are compared elsewhere.
        if name.starts_with("hand/") {
            continue;
        }
        let tags = ask(&format!("{name}/tags/list")).await?;
        for tag in tags["tags"].as_array().into_iter().flatten() {
            images.push(format!("{name}:{}", tag.as_str().context("a tag that is none")?));
        }
    }
    ensure!(images.len() >= 10, "only {images:?}");
    Ok(images)
}

/// The number of entries in our list of referrers of the hand-made image. Each entry must be readable.
async fn referrers(store: &SharedStore<'_>, server: &Server) -> Result<usize> {
    let client = RawClient { store, server };
    let image = content::manifest(&crate::protocol::noise(51, 50_000), &json!({}));
    let path = format!("hand/chunks/referrers/{}", digest(&image));
    let list: Value =
        serde_json::from_slice(&client.expect(Method::GET, &path, "", Bytes::new(), 200).await?)?;
    let listed = list["manifests"].as_array().context("no list")?;
    for entry in listed {
        ensure!(entry["mediaType"] == MANIFEST, "{entry}");
        let path = format!(
            "hand/chunks/manifests/{}",
            entry["digest"].as_str().context("no digest")?
        );
        client.expect(Method::GET, &path, "", Bytes::new(), 200).await?;
    }
    Ok(listed.len())
}
