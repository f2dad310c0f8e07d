//! One server process: what it keeps after a kill, and how much memory it takes.

use anyhow::{Context as _, Result, ensure};

use super::bounded_pull;
use crate::differential;
use crate::exec::Exec;
use crate::images;
use crate::protocol::{digest, noise};
use crate::runner::Bench;
use crate::server::ServerSetup;

const MIB: usize = 1024 * 1024;

/// The largest memory for a push of any size, set for the first release.
const PEAK_MEMORY_MAX: u64 = 64 * MIB as u64;

/// PATCH of 64 MiB, a kill in the middle, a restart, the rest of the bytes.
pub(super) async fn a_killed_upload_is_continued(bench: &Bench<'_>) -> Result<()> {
    let setup = ServerSetup::new(&images::server_program(), bench.dir)?;
    let bytes = noise(7, 64 * MIB);
    let name = digest(&bytes);

    let first = setup.start().await?;
    let repository = first.repository("crash/upload");
    let session = repository.start().await?;
    repository
        .append_interrupted(&session, bytes.clone(), 40 * MIB, first.kill())
        .await?;

    let second = setup.start().await?;
    let repository = second.repository("crash/upload");
    let session = repository.status(&session).await?;
    // The rest may have been in a socket's buffer. More than was sent is never kept.
    ensure!(
        session.received > MIB,
        "only {} bytes of 40 MiB were kept",
        session.received
    );
    ensure!(
        session.received <= 40 * MIB,
        "{} bytes were reported, 40 MiB were sent",
        session.received
    );
    let kept = session.received;
    let session = repository.append(&session, bytes.slice(kept..)).await?;
    ensure!(
        session.received == bytes.len(),
        "after the rest the registry has {} bytes",
        session.received
    );
    repository.finish(&session, &name).await?;
    ensure!(
        repository.blob(&name).await? == bytes,
        "the blob read back differs from what was sent"
    );
    bench.note(format!(
        "{kept} of {} bytes were kept by kill -9 and continued",
        bytes.len()
    ));
    Ok(())
}

/// Content acknowledged by 201 and 202 is kept when a kill follows right after the answer.
pub(super) async fn a_kill_behind_the_answer_loses_nothing(bench: &Bench<'_>) -> Result<()> {
    const ROUNDS: u64 = 20;
    let setup = ServerSetup::new(&images::server_program(), bench.dir)?;
    for round in 0..ROUNDS {
        let bytes = noise(round + 100, 300_000);
        let name = digest(&bytes);
        let running = setup.start().await?;
        let repository = running.repository("crash/acknowledged");
        let session = repository
            .append(&repository.start().await?, bytes.slice(..100_000))
            .await?;
        running.kill().await?;

        let running = setup.start().await?;
        let repository = running.repository("crash/acknowledged");
        let session = repository.status(&session).await?;
        ensure!(
            session.received == 100_000,
            "round {round}: 202 said 100000 bytes, now {}",
            session.received
        );
        let session = repository.append(&session, bytes.slice(100_000..)).await?;
        repository.finish(&session, &name).await?;
        running.kill().await?;

        let running = setup.start().await?;
        let read = running.repository("crash/acknowledged").blob(&name).await?;
        ensure!(read == bytes, "round {round}: the blob read back differs");
        running.kill().await?;
    }
    bench.note(format!(
        "{ROUNDS} uploads, each killed after its 202 and after its 201"
    ));
    Ok(())
}

/// A 2 GiB push. The kernel measures the memory.
pub(super) async fn memory_stays_bounded(bench: &Bench<'_>) -> Result<()> {
    const SIZE: u64 = 2 << 30;
    let running = ServerSetup::new(&images::server_program(), bench.dir)?
        .start()
        .await?;
    let base = running.base().clone();
    // A sparse file: it is sent as zeros, and the server cannot treat zeros better than random bytes.
    let source = bench.dir.join("layer");
    std::fs::File::create(&source)?.set_len(SIZE)?;
    let sum = Exec::new("sha256sum").arg(&source).success().await?;
    let sum = sum
        .split_whitespace()
        .next()
        .context("`sha256sum` printed nothing")?;
    let session = running.repository("memory/push").start().await?;
    let mut location = session.location.clone();
    location
        .query_pairs_mut()
        .append_pair("digest", &format!("sha256:{sum}"));
    let code = Exec::new("curl")
        .args([
            "--silent",
            "--show-error",
            "--noproxy",
            "*",
            "--output",
            "/dev/null",
            "--write-out",
            "%{http_code}",
        ])
        .args([
            "--header",
            "Content-Type: application/octet-stream",
            "--upload-file",
        ])
        .arg(&source)
        .arg(location.as_str())
        .success()
        .await?;
    ensure!(code == "201", "the push was answered {code}");
    let pushed = running.peak_memory()?;
    let peak = bounded_pull::pull(
        &running,
        &format!("{base}v2/memory/push/blobs/sha256:{sum}"),
        sum,
        PEAK_MEMORY_MAX,
    )
    .await?;
    bench.note(format!(
        "VmHWM {} KiB after a 2 GiB push, {} KiB after its pull",
        pushed / 1024,
        peak / 1024
    ));
    Ok(())
}

/// Compares the answers to thousands of requests with those of the peers, by the reviewed list of differences.
pub(super) async fn answers_are_the_peers(bench: &Bench<'_>) -> Result<()> {
    for note in differential::run(bench.dir).await? {
        bench.note(note);
    }
    Ok(())
}
