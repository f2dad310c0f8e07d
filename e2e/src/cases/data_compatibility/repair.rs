//! Content that old servers and crashes leave: schema 1 manifests, and truncated blobs.

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use reqwest::header::ACCEPT;
use serde_json::Value;

use super::content::{RawClient, skopeo};
use super::shared_store::{PEERS, SharedStore, host};
use crate::peers::ServerKind;
use crate::protocol::{digest, noise};
use crate::runner::Bench;
use crate::server::Server;

/// The types of schema 1 manifests, which distribution 3 no longer serves: signed as 2.8 answers them, and unsigned
/// as it stores them.
const SIGNED: &str = "application/vnd.docker.distribution.manifest.v1+prettyjws";
const UNSIGNED: &str = "application/vnd.docker.distribution.manifest.v1+json";

/// skopeo pushes a signed schema 1 manifest to 2.8, which stores it without signatures and signs it again for each
/// answer. Ours has no key to sign with, and serves the stored one, by tag and by digest, with its own type.
pub(in super::super) async fn old_manifests_are_served(bench: &Bench<'_>) -> Result<()> {
    let store = SharedStore::new(bench, "old").await?;
    let old = store
        .serve_with(
            ServerKind::V2,
            &[("REGISTRY_COMPATIBILITY_SCHEMA1_ENABLED", "true")],
        )
        .await?;
    let from = host(&old)?;
    store
        .clients
        .push_image(&format!("{from}/new/image:1"), 2, 50_000, 61)
        .await?;
    let (new, first) = (
        format!("docker://{from}/new/image:1"),
        format!("docker://{from}/old/image:1"),
    );
    skopeo(&store, &new, &first)
        .args(["--format", "v2s1"])
        .success()
        .await?;

    let ours = store.serve(ServerKind::Ours).await?;
    let ask = async |server: &Server, reference: &str| -> Result<(String, String, Bytes)> {
        let url = server
            .base()
            .join(&format!("v2/old/image/manifests/{reference}"))?;
        let answer = store
            .http
            .get(url)
            .header(ACCEPT, format!("{SIGNED}, {UNSIGNED}"))
            .send()
            .await?;
        ensure!(answer.status() == 200, "{reference}: {}", answer.status());
        let header = |name: &str| -> Result<String> {
            Ok(answer
                .headers()
                .get(name)
                .with_context(|| format!("no `{name}`"))?
                .to_str()?
                .to_owned())
        };
        Ok((
            header("content-type")?,
            header("docker-content-digest")?,
            answer.bytes().await?,
        ))
    };
    let (signed, name, body) = ask(&old, "1").await?;
    let theirs: Value = serde_json::from_slice(&body)?;
    ensure!(
        signed == SIGNED && theirs["signatures"].is_array(),
        "2.8 answers {signed}: {theirs}"
    );
    for reference in ["1", &name] {
        let (media_type, again, body) = ask(&ours, reference).await?;
        ensure!(
            media_type == UNSIGNED && again == name && digest(&body) == name,
            "{reference}: expected {name} as {UNSIGNED}, got {again} as {media_type}"
        );
        let mut expected = theirs.clone();
        expected
            .as_object_mut()
            .context("no object")?
            .remove("signatures");
        ensure!(
            serde_json::from_slice::<Value>(&body)? == expected,
            "{reference}: other content"
        );
    }
    for layer in theirs["fsLayers"].as_array().context("no layers")? {
        let layer = layer["blobSum"].as_str().context("a layer without a digest")?;
        let read = ours.repository("old/image").blob(layer).await?;
        ensure!(digest(&read) == layer, "the layer {layer} has other bytes");
    }
    bench.note(format!("{name} as 2.8 stored it, with its layers"));
    Ok(())
}

/// A blob's file without its end, as after a power cut. 2.8 and 3.1 answer a second push with 201 and keep the
/// truncated file; ours replaces it, whichever way the blob is pushed.
pub(in super::super) async fn a_torn_blob_is_healed(bench: &Bench<'_>) -> Result<()> {
    let mut healed = 0;
    for peer in PEERS {
        let store = SharedStore::new(bench, &format!("torn-{}", peer.name())).await?;
        let theirs = store.serve(peer).await?;
        let mine = store.serve(ServerKind::Ours).await?;
        for (number, length) in [(0, 0), (1, 1), (2, 70_000)] {
            let bytes = noise(71 + number, 100_000);
            let name = digest(&bytes);
            let client = RawClient {
                store: &store,
                server: &theirs,
            };
            client.blob("torn/blob", &bytes, &name).await?;
            let hex = name.trim_start_matches("sha256:");
            let data = store
                .tree()
                .join("blobs/sha256")
                .join(&hex[..2])
                .join(hex)
                .join("data");
            std::fs::OpenOptions::new()
                .write(true)
                .open(&data)
                .with_context(|| format!("no `{}`", data.display()))?
                .set_len(length)?;
            RawClient {
                store: &store,
                server: &mine,
            }
            .blob("torn/blob", &bytes, &name)
            .await?;
            for (who, server) in [("ours", &mine), (peer.name(), &theirs)] {
                let read = server.repository("torn/blob").blob(&name).await;
                let read = read.with_context(|| format!("torn at {length}, read by {who}"))?;
                ensure!(read == bytes, "torn at {length}: {who} gives other bytes");
            }
            healed += 1;
        }
    }
    bench.note(format!("{healed} torn blobs healed"));
    Ok(())
}
