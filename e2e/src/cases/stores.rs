//! The server on an object store, alone and with others. Start at [`requests_are_counted`].

mod broken;
mod cloud_server;
mod copy_round_trip;
mod credentials;
mod large_layer;
mod object_options;
mod replicas;
mod verify;

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};

use crate::cache::Cache;
use crate::host_clients::HostClients;
use crate::peers::ServerKind;
use crate::relay::{Counts, Operation, Relay};
use crate::runner::Bench;
use crate::server::{Server, Settings};
use crate::stores::{self, StoreSetup};
use crate::wait::{Seen, wait_for};

pub(super) use broken::{a_store_that_cannot_be_used, a_store_that_fails_for_a_while};
pub(super) use copy_round_trip::a_tree_goes_round;
pub(super) use credentials::{a_session_is_needed_and_told, temporary_credentials_are_found_and_renewed};
pub(super) use large_layer::a_large_layer;
pub(super) use object_options::{a_store_without_conditions, every_object_is_kept_as_configured};
pub(super) use replicas::{three_on_one_bucket, three_on_one_folder};

const KIB: usize = 1024;

/// Time limit for a server to write its heartbeat into the store.
const LIMIT: Duration = Duration::from_secs(60);

/// The time for which ours keeps a link in memory.
const LINKS_KEPT: Duration = Duration::from_secs(5);

/// Pulls after which the machine is too slow for one within [`LINKS_KEPT`].
const PULLS_MAX: usize = 20;

/// The sizes of the image's layers: nine of 64 KiB and one of 40 MiB.
const LAYERS: [usize; 10] = {
    let mut sizes = [64 * KIB; 10];
    sizes[9] = 40 * KIB * KIB;
    sizes
};

/// The steps that are counted.
const STEPS: [&str; 3] = ["push", "pull after a restart", "pull again"];

/// A store, the peer to compare with, and the most requests ours may make in each of [`STEPS`].
struct Count {
    kind: stores::StoreKind,
    redirect: bool,
    peer: Option<ServerKind>,
    most: [usize; 3],
}

const COUNTS: [Count; 4] = [
    Count {
        kind: stores::StoreKind::S3,
        redirect: false,
        peer: Some(ServerKind::V3),
        most: [64, 26, 13],
    },
    Count {
        kind: stores::StoreKind::S3,
        redirect: true,
        peer: Some(ServerKind::V3),
        most: [64, 26, 13],
    },
    Count {
        kind: stores::StoreKind::Azure,
        redirect: false,
        peer: Some(ServerKind::V3),
        most: [64, 26, 13],
    },
    // registry:3 uploads to Google's own address whatever is configured, so there is no peer. On this store objects
    // are deleted one by one.
    Count {
        kind: stores::StoreKind::Gcs,
        redirect: false,
        peer: None,
        most: [72, 26, 13],
    },
];

/// A new image is pushed, pulled after a restart, and pulled once more. All requests to the store are counted, once
/// with all bytes going through the server, and once with clients redirected to the store for blobs.
pub(super) async fn requests_are_counted(bench: &Bench<'_>) -> Result<()> {
    let cache = Cache::open()?;
    for row in COUNTS {
        let Count {
            kind,
            redirect,
            peer,
            most,
        } = row;
        let how = if redirect {
            "with redirects"
        } else {
            "through the server"
        };
        let theirs = match peer {
            Some(peer) => Some(count(bench, &cache, peer, kind, redirect).await?),
            None => None,
        };
        let ours = count(bench, &cache, ServerKind::Ours, kind, redirect).await?;
        bench.note(format!("requests to {kind}, {how}"));
        for note in table(theirs.as_ref(), &ours) {
            bench.note(note);
        }
        for ((step, most), ours) in STEPS.iter().zip(most).zip(&ours) {
            let ours = ours.total();
            ensure!(ours > 0, "{kind}, {how}, {step}: not one request was seen");
            ensure!(
                ours <= most,
                "{kind}, {how}, {step}: {ours} requests, {most} are allowed"
            );
        }
    }
    Ok(())
}

/// Counts the requests of each of [`STEPS`], on a store of its own.
async fn count(
    bench: &Bench<'_>,
    cache: &Cache,
    server: ServerKind,
    kind: stores::StoreKind,
    redirect: bool,
) -> Result<[Counts; 3]> {
    let root = bench
        .dir
        .join(format!("{}-{}-{redirect}", kind.variable(), server.name()));
    std::fs::create_dir_all(&root)?;
    let store = StoreSetup::new(kind, &root)?;
    let _running = store.start(cache, |_| ()).await?;
    let relay = Relay::before(&store).await?;
    let section = store.section(relay.address(), "registry")?;
    let settings = Settings {
        storage: Some(format!("{section}\n  redirect: {{disable: {}}}", !redirect)),
        cache: true,
        ..Settings::default()
    };
    let clients = HostClients::new(&root.join("home"), "").await?;
    let image = |server: &Server| -> Result<String> { Ok(format!("{}/counted/image:1", server.address()?)) };

    let start = async || -> Result<Server> {
        let running = server.start(cache, &root, &settings).await?;
        // The requests of a server's start are not part of a push. The last of them, with ours, is the heartbeat.
        let signs = usize::from(server == ServerKind::Ours);
        wait_for("the server's sign in its store", LIMIT, async || {
            let seen = relay.seen_of(Operation::Put);
            Ok(if seen >= signs {
                Seen::Done(())
            } else {
                Seen::NotYet(format!("{seen} objects were put"))
            })
        })
        .await?;
        relay.take_counts();
        Ok(running)
    };
    let running = start().await?;
    let digest = clients.push_layers(&image(&running)?, &LAYERS, 5).await?;
    let push = relay.take_counts();
    running.kill().await?;

    let running = start().await?;
    let began = Instant::now();
    clients.pull_image(&image(&running)?).await?;
    let cold = relay.take_counts();
    let warm = count_cached(&clients, &relay, &image(&running)?, began).await?;
    let served = clients.digest(&image(&running)?).await?;
    ensure!(
        served == digest,
        "{}: pushed {digest}, serves {served}",
        server.name()
    );
    Ok([push, cold, warm])
}

/// Counts a pull after one that began at `previous`. The count is taken once more when links were no longer cached, or
/// when the server's heartbeat fell into it.
async fn count_cached(
    clients: &HostClients,
    relay: &Relay,
    image: &str,
    mut previous: Instant,
) -> Result<Counts> {
    for _ in 0..PULLS_MAX {
        let began = Instant::now();
        clients.pull_image(image).await?;
        let counts = relay.take_counts();
        if previous.elapsed() < LINKS_KEPT && counts.of(Operation::Put) == 0 {
            return Ok(counts);
        }
        previous = began;
    }
    let seconds = previous.elapsed().as_secs_f32();
    bail!("none of {PULLS_MAX} pulls used cached links alone; the last one took {seconds:.1} s")
}

/// One line for each operation, with registry:3's numbers before ours where they can be counted.
fn table(peer: Option<&[Counts; 3]>, ours: &[Counts; 3]) -> Vec<String> {
    let mut head = format!("{:<18}", "");
    for step in STEPS {
        head += &format!("  {step:>20}");
    }
    let mut columns = format!("{:<18}", "");
    for _ in STEPS {
        let who = if peer.is_some() {
            "registry:3 / ours"
        } else {
            "ours"
        };
        columns += &format!("  {who:>20}");
    }
    let line = |name: &str, of: &dyn Fn(&Counts) -> usize| {
        let mut line = format!("{name:<18}");
        for (step, ours) in ours.iter().enumerate() {
            let said = match peer {
                Some(peer) => format!("{} / {}", of(&peer[step]), of(ours)),
                None => of(ours).to_string(),
            };
            line += &format!("  {said:>20}");
        }
        line
    };
    let mut lines = vec![head, columns];
    for operation in Operation::ALL {
        if peer
            .into_iter()
            .flatten()
            .chain(ours)
            .any(|counts| counts.of(operation) > 0)
        {
            lines.push(line(&operation.to_string(), &|counts| counts.of(operation)));
        }
    }
    lines.push(line("all", &Counts::total));
    lines
}
