//! The server on an object store, alone and with others. Start at [`requests_are_counted`].

mod asked;
mod broken;
mod large;
mod replicas;
mod site;
mod ways_in;

use std::path::Path;

use anyhow::{Context as _, Result, ensure};

use crate::cache::Cache;
use crate::loopback::Loopback;
use crate::peers::Kind;
use crate::relay::{Call, Counts, Relay};
use crate::runner::Bench;
use crate::server::{Server, Settings};
use crate::stores::{self, Setup};

pub(super) use asked::{a_store_without_conditions, every_object_is_kept_as_configured};
pub(super) use broken::{a_store_in_trouble, a_store_that_cannot_be_used};
pub(super) use large::a_large_layer;
pub(super) use replicas::{three_on_one_bucket, three_on_one_folder};
pub(super) use ways_in::{a_session_is_needed_and_told, temporary_credentials_are_found_and_renewed};

const KIB: usize = 1024;

/// Nine layers of 64 KiB and one of 40 MiB.
const LAYERS: [usize; 10] = {
    let mut sizes = [64 * KIB; 10];
    sizes[9] = 40 * KIB * KIB;
    sizes
};

/// What is done with the image, and the most requests ours may make for it.
const STEPS: [(&str, usize); 3] = [("push", 64), ("pull after a restart", 26), ("pull again", 13)];

/// A fresh image is pushed, pulled after a restart, and pulled once more; all requests to the store are counted: with
/// every byte going through the server, and with clients sent to the store for blobs.
pub(super) async fn requests_are_counted(bench: &Bench<'_>) -> Result<()> {
    let cache = Cache::open()?;
    for (how, redirect) in [("through the server", false), ("with redirects", true)] {
        let peer = count(bench, &cache, Kind::V3, redirect).await?;
        let ours = count(bench, &cache, Kind::Ours, redirect).await?;
        bench.note(format!("requests to S3, {how}"));
        for note in table(&peer, &ours) {
            bench.note(note);
        }
        for ((step, most), ours) in STEPS.iter().zip(&ours) {
            let ours = ours.total();
            ensure!(ours > 0, "{how}, {step}: not one request was seen");
            ensure!(
                ours <= *most,
                "{how}, {step}: {ours} requests, {most} are allowed"
            );
        }
    }
    Ok(())
}

/// The requests of each of [`STEPS`], on a store of its own.
async fn count(bench: &Bench<'_>, cache: &Cache, kind: Kind, redirect: bool) -> Result<[Counts; 3]> {
    let root = bench.dir.join(format!("{}-{redirect}", kind.name()));
    std::fs::create_dir_all(&root)?;
    let store = Setup::new(stores::Kind::S3, &root)?;
    let _running = store.start(cache, |_| ()).await?;
    let relay = Relay::start(vec![store.address()]).await?;
    let section = store.s3()?.section(relay.address(), "registry");
    let settings = Settings {
        storage: Some(format!("{section}\n  redirect: {{disable: {}}}", !redirect)),
        cache: true,
        ..Settings::default()
    };
    let clients = Loopback::new(&root.join("home"), "").await?;
    let image = |server: &Server| -> Result<String> { Ok(format!("{}/counted/image:1", server.address()?)) };

    let server = kind.start(cache, &root, &settings).await?;
    // What a server does when it starts is not what a push costs.
    relay.take_counts();
    let digest = clients.push_layers(&image(&server)?, &LAYERS, 5).await?;
    let push = relay.take_counts();
    server.kill().await?;

    let server = kind.start(cache, &root, &settings).await?;
    relay.take_counts();
    clients.pull_image(&image(&server)?).await?;
    let cold = relay.take_counts();
    clients.pull_image(&image(&server)?).await?;
    let warm = relay.take_counts();
    let served = clients.digest(&image(&server)?).await?;
    ensure!(
        served == digest,
        "{}: pushed {digest}, serves {served}",
        kind.name()
    );
    Ok([push, cold, warm])
}

/// One line for each kind of request, registry:3's beside ours for each step.
fn table(peer: &[Counts; 3], ours: &[Counts; 3]) -> Vec<String> {
    let mut head = format!("{:<18}", "");
    for (step, _) in STEPS {
        head += &format!("  {step:>20}");
    }
    let mut columns = format!("{:<18}", "");
    for _ in STEPS {
        columns += &format!("  {:>20}", "registry:3 / ours");
    }
    let line = |name: &str, of: &dyn Fn(&Counts) -> usize| {
        let mut line = format!("{name:<18}");
        for (peer, ours) in peer.iter().zip(ours) {
            line += &format!("  {:>20}", format!("{} / {}", of(peer), of(ours)));
        }
        line
    };
    let mut lines = vec![head, columns];
    for call in Call::ALL {
        if peer.iter().chain(ours).any(|counts| counts.of(call) > 0) {
            lines.push(line(&call.to_string(), &|counts| counts.of(call)));
        }
    }
    lines.push(line("all", &Counts::total));
    lines
}

/// Compares every blob of a tree with its name; gives how many there are.
fn verify_blobs(tree: &Path) -> Result<usize> {
    let mut count = 0;
    for prefix in std::fs::read_dir(tree).with_context(|| format!("cannot list `{}`", tree.display()))? {
        for blob in std::fs::read_dir(prefix?.path())? {
            let blob = blob?;
            let name = format!("sha256:{}", blob.file_name().to_string_lossy());
            let bytes = std::fs::read(blob.path().join("data"))
                .with_context(|| format!("blob {name} has no content"))?;
            let digest = crate::protocol::digest(&bytes);
            ensure!(
                digest == name,
                "blob {name} holds {digest}, {} bytes",
                bytes.len()
            );
            count += 1;
        }
    }
    Ok(count)
}
