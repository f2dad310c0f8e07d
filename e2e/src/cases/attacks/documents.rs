//! Manifests, tags and referrers that take few requests to make and much work to answer.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::Result;
use futures_util::future::join_all;

use super::context::AttackContext;
use super::http1::{Answer, ask};
use super::monitor::{AttackResult, Monitor};
use super::tree::{EMPTY, MANIFEST, Tree, manifest, subject};
use crate::protocol::digest;
use crate::server::Settings;

/// The largest error that is still readable.
const ERROR_MAX: usize = 16 * 1024;

async fn push(address: SocketAddr, reference: &str, bytes: &[u8]) -> Result<Answer> {
    let kind = format!("Content-Type: {MANIFEST}");
    ask(
        address,
        "PUT",
        &format!("/v2/a/manifests/{reference}"),
        &[&kind],
        bytes,
    )
    .await
}

async fn referrers(address: SocketAddr, name: &str) -> Result<Answer> {
    ask(address, "GET", &format!("/v2/a/referrers/{name}"), &[], b"").await
}

/// A tree with the empty configuration, which every manifest here names.
fn tree(context: &AttackContext<'_>) -> Result<Tree> {
    let tree = Tree::at(&context.data());
    tree.blob("a", EMPTY)?;
    Ok(tree)
}

/// Many readers at once. Gives status and length of an answer, and the longest time.
async fn read_at_once(address: SocketAddr, name: &str, readers: usize) -> Result<(u16, usize, Duration)> {
    let begun = Instant::now();
    let mut seen = (0, 0);
    for answer in join_all((0..readers).map(|_| referrers(address, name))).await {
        let answer = answer?;
        seen = (answer.status, answer.body.len());
    }
    Ok((seen.0, seen.1, begun.elapsed()))
}

/// Referrers whose list would be as large as all of them together.
pub(super) async fn wide_referrers(context: &AttackContext<'_>) -> Result<AttackResult> {
    tree(context)?;
    let server = context.setup()?.start().await?;
    let address = server.address()?;
    let referrer_count = context.number(20, 60);
    let name = digest(b"of nothing");
    let monitor = Monitor::begin(&server)?;
    let mut taken = 0;
    for number in 0..referrer_count {
        let artifact = format!("application/{}", "x".repeat(4_000_000));
        let more = format!(
            ",\"artifactType\":\"{artifact}\",\"annotations\":{{\"n\":\"{number}\"}}{}",
            subject(&name)
        );
        let bytes = manifest("", &more);
        taken += usize::from(push(address, &digest(&bytes), &bytes).await?.status == 201);
    }
    let (status, size, took) = read_at_once(address, &name, 4).await?;
    let note =
        format!("{taken} of {referrer_count} taken; 4 readers: {status}, {size} bytes each, {took:.1?}");
    monitor.end(note, Vec::new()).await
}

/// One referrer whose bytes are mostly annotation keys.
pub(super) async fn annotations(context: &AttackContext<'_>) -> Result<AttackResult> {
    tree(context)?;
    let server = context.setup()?.start().await?;
    let address = server.address()?;
    let name = digest(b"of nothing");
    let pairs: Vec<String> = (0..345_000)
        .map(|number| format!("\"{number:05x}\":\"\""))
        .collect();
    let bytes = manifest(
        "",
        &format!(",\"annotations\":{{{}}}{}", pairs.join(","), subject(&name)),
    );
    let monitor = Monitor::begin(&server)?;
    let pushed = push(address, &digest(&bytes), &bytes).await?.status;
    let readers = context.number(16, 64);
    let (status, size, took) = read_at_once(address, &name, readers).await?;
    let note = format!("push {pushed}; {readers} readers: {status}, {size} bytes each, {took:.1?}");
    monitor.end(note, Vec::new()).await
}

/// Referrers as registry:2 leaves them, in a read-only registry.
pub(super) async fn unindexed_referrers(context: &AttackContext<'_>) -> Result<AttackResult> {
    let tree = tree(context)?;
    let referrer_count = context.number(1000, 5000);
    let name = digest(b"of nothing");
    for number in 0..referrer_count {
        let more = format!(",\"annotations\":{{\"n\":\"{number}\"}}{}", subject(&name));
        tree.manifest("a", &manifest("", &more))?;
    }
    let settings = Settings {
        read_only: true,
        ..Settings::default()
    };
    let server = context.setup()?.configured(&settings).start().await?;
    let address = server.address()?;
    let monitor = Monitor::begin(&server)?;
    let begun = Instant::now();
    let first = referrers(address, &name).await?.is(&[200])?;
    let first_took = begun.elapsed();
    let (_, _, took) = read_at_once(address, &name, 16).await?;
    let begun = Instant::now();
    referrers(address, &name).await?;
    let note = format!(
        "{referrer_count}; {} bytes; first {first_took:.1?}, 16 at once {took:.1?}, again {:.1?}",
        first.body.len(),
        begun.elapsed()
    );
    monitor.end(note, Vec::new()).await
}

/// Many tags in a repository, and deletions of its untagged manifests.
pub(super) async fn deletes_among_tags(context: &AttackContext<'_>) -> Result<AttackResult> {
    let tree = tree(context)?;
    let tags = context.number(1000, 5000);
    let tagged = tree.manifest("a", &manifest("", ""))?;
    for number in 0..tags {
        tree.tag("a", &format!("t{number}"), &tagged)?;
    }
    let mut others = Vec::new();
    for number in 0..context.number(4, 20) {
        others.push(tree.manifest(
            "a",
            &manifest("", &format!(",\"annotations\":{{\"n\":\"{number}\"}}")),
        )?);
    }
    let settings = Settings {
        delete: true,
        ..Settings::default()
    };
    let server = context.setup()?.configured(&settings).start().await?;
    let address = server.address()?;
    let monitor = Monitor::begin(&server)?;
    let mut slowest = Duration::ZERO;
    for name in &others {
        let begun = Instant::now();
        ask(address, "DELETE", &format!("/v2/a/manifests/{name}"), &[], b"")
            .await?
            .is(&[202])?;
        slowest = slowest.max(begun.elapsed());
    }
    monitor
        .end(format!("{tags} tags, {slowest:.1?} at most"), Vec::new())
        .await
}

/// One manifest that names one blob, or as many unknown ones, 36,000 times.
pub(super) async fn many_layers(context: &AttackContext<'_>) -> Result<AttackResult> {
    let tree = tree(context)?;
    let layer = tree.blob("a", b"layer")?;
    let server = context.setup()?.start().await?;
    let address = server.address()?;
    let descriptor = |name: &str| format!("{{\"mediaType\":\"a/b\",\"digest\":\"{name}\",\"size\":5}}");
    let same = manifest(&vec![descriptor(&layer); 36_000].join(","), "");
    let unknown: Vec<String> = (0..36_000)
        .map(|number| descriptor(&format!("sha256:{number:064x}")))
        .collect();
    let unknown = manifest(&unknown.join(","), "");
    let wide = manifest("", "")
        .iter()
        .map(|byte| char::from(*byte))
        .collect::<String>();
    let wide = wide.replacen(":2,", &format!(":\"{}\",", "9".repeat(4_000_000)), 1);
    let monitor = Monitor::begin(&server)?;
    let (mut notes, mut faults) = (Vec::new(), Vec::new());
    for (what, bytes) in [
        ("same", &same),
        ("unknown", &unknown),
        ("version", &wide.into_bytes()),
    ] {
        let begun = Instant::now();
        let answer = push(address, "t", bytes).await?;
        notes.push(format!("{what} {} in {:.1?}", answer.status, begun.elapsed()));
        if answer.body.len() > ERROR_MAX {
            faults.push(format!("{what}: an error of {} bytes", answer.body.len()));
        }
    }
    monitor.end(notes.join(", "), faults).await
}
