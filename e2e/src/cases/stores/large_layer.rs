//! A layer that is stored in many parts.

use anyhow::{Context as _, Result, ensure};
use reqwest::Url;

use crate::cache::Cache;
use crate::cases::bounded_pull;
use crate::exec::Exec;
use crate::images;
use crate::runner::Bench;
use crate::server::{ServerSetup, Settings};
use crate::stores::{self, StoreSetup};

/// The variable with the layer's size in MiB. The ordinary size is enough for parts and for a copy in pieces; `cargo
/// xtask soak` uses a larger one.
const SIZE: &str = "BERTH_LARGE_LAYER_MIB";
const ORDINARY: u64 = 300;

/// Two parts, two blocks, the buffers of connections and the program itself take some 64 MiB. The rest is reserve.
const PEAK_MEMORY_MAX: u64 = 96 << 20;

/// A layer is sent in one chunk, completed, copied within the store and pulled, and the server holds only a small
/// part of it in memory.
pub(in crate::cases) async fn a_large_layer(bench: &Bench<'_>) -> Result<()> {
    let mib = match std::env::var(SIZE) {
        Ok(text) => text.parse().with_context(|| format!("{SIZE} is no number"))?,
        Err(_) => ORDINARY,
    };
    let cache = Cache::open()?;
    let store = StoreSetup::new(stores::StoreKind::S3, bench.dir)?.for_many_parts();
    let _store = store.start(&cache, |_| ()).await?;
    let settings = Settings {
        storage: Some(format!(
            "{}\n  redirect: {{disable: true}}",
            store.section(store.address(), "registry")?
        )),
        ..Settings::default()
    };
    let root = bench.dir.join("server");
    std::fs::create_dir_all(&root)?;
    let running = ServerSetup::new(&images::server_program(), &root)?
        .configured(&settings)
        .start()
        .await?;
    // A sparse file: it is sent as zeros, and neither server nor store treats zeros better than random bytes.
    let source = bench.dir.join("layer");
    std::fs::File::create(&source)?.set_len(mib << 20)?;
    let sum = Exec::new("sha256sum").arg(&source).success().await?;
    let sum = sum
        .split_whitespace()
        .next()
        .context("`sha256sum` printed nothing")?;

    let session = running.repository("large/layer").start().await?;
    let sent = curl()
        .args([
            "--request",
            "PATCH",
            "--header",
            "Content-Type: application/octet-stream",
        ])
        .args([
            "--output",
            "/dev/null",
            "--write-out",
            "%{http_code} %header{location}",
        ])
        .arg("--upload-file")
        .arg(&source)
        .arg(session.location.as_str())
        .success()
        .await?;
    let location = sent
        .strip_prefix("202 ")
        .with_context(|| format!("the chunk was answered {sent}"))?;
    let mut location: Url = location.trim().parse()?;
    location
        .query_pairs_mut()
        .append_pair("digest", &format!("sha256:{sum}"));
    let done = curl()
        .args([
            "--request",
            "PUT",
            "--output",
            "/dev/null",
            "--write-out",
            "%{http_code}",
        ])
        .arg(location.as_str())
        .success()
        .await?;
    ensure!(done == "201", "the end of the push was answered {done}");
    let pushed = running.peak_memory()?;

    let url = format!("{}v2/large/layer/blobs/sha256:{sum}", running.base());
    let peak = bounded_pull::pull(&running, &url, sum, PEAK_MEMORY_MAX).await?;
    bench.note(format!(
        "{mib} MiB; VmHWM {} KiB after the push, {} KiB after its pull",
        pushed / 1024,
        peak / 1024
    ));
    Ok(())
}

fn curl() -> Exec {
    Exec::new("curl").args(["--silent", "--show-error", "--noproxy", "*"])
}
