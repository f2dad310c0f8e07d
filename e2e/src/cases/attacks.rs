//! Attacks on the real binary by a client that tries to hold the server up. Each is measured: the server's memory
//! before, at the peak and after, and the waiting time of other clients meanwhile.
//!
//! Guarantees: each attack has its own server and folder with the default limits. All of them run and the table is
//! printed, even when one takes too much. Memory is asserted, time is only printed. Must not: attack anything but
//! loopback, or go on after the case. The ordinary run does the short form of each attack; `cargo xtask soak` does
//! the long one, by [`VARIABLE`]. To add one: a function in a file of `attacks/`, and a line in [`ATTACKS`]. Start at
//! [`nobody_holds_the_server_up`].

mod bodies;
mod connections;
mod context;
mod documents;
mod http1;
mod http2;
mod logins;
mod monitor;
mod names;
mod readers;
mod tree;

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use context::AttackContext;
use futures_util::future::LocalBoxFuture;
use monitor::AttackResult;

use crate::runner::Bench;

/// The value `long` selects the numbers that were seen in the wild.
pub const VARIABLE: &str = "BERTH_ATTACKS";

/// The most memory the server may have at any moment of any attack.
const MEMORY_MAX: u64 = 150_000_000;
/// Time limit for an attack. One that takes longer has stopped the server.
const DEADLINE: Duration = Duration::from_secs(240);

/// One way to hold the server up.
struct Attack {
    name: &'static str,
    run: for<'a> fn(&'a AttackContext<'a>) -> LocalBoxFuture<'a, Result<AttackResult>>,
}

macro_rules! attack {
    ($name:literal, $run:path) => {
        Attack {
            name: $name,
            run: |context| Box::pin($run(context)),
        }
    };
}

const ATTACKS: [Attack; 17] = [
    attack!("HTTP/2: wrong passwords, windows filled", logins::filled_windows),
    attack!("a hash of cost 31 among the users", logins::costly_hash),
    attack!("wrong logins, first ones from elsewhere", logins::storm),
    attack!(
        "manifests that stall before the last byte",
        bodies::stalled_manifests
    ),
    attack!(
        "PATCHes that stall, and others on the session",
        bodies::stalled_patches
    ),
    attack!("401 while 32 MiB are sent", bodies::without_login),
    attack!("413 while 32 MiB are sent", bodies::too_large),
    attack!(
        "HTTP/2: GETs with windows of nothing",
        readers::windows_of_nothing
    ),
    attack!(
        "HTTP/2: GETs with windows of one byte",
        readers::windows_of_one_byte
    ),
    attack!("readers that do not read", readers::that_do_not_read),
    attack!("referrers with types of 4 MB", documents::wide_referrers),
    attack!("a referrer with 345,000 annotations", documents::annotations),
    attack!(
        "referrers without an index, read-only",
        documents::unindexed_referrers
    ),
    attack!("DELETE among many tags", documents::deletes_among_tags),
    attack!("36,000 layers", documents::many_layers),
    attack!("idle connections, 256 files, and 2,000", connections::idle),
    attack!("names of 121 levels, then the catalog", names::deep),
];

/// Runs every attack and prints the table. Fails when one took too much memory or could not be made.
pub(super) async fn nobody_holds_the_server_up(bench: &Bench<'_>) -> Result<()> {
    connections::raise_file_limit()?;
    let is_long = std::env::var(VARIABLE).is_ok_and(|value| value == "long");
    let mut faults = Vec::new();
    bench.note(AttackResult::HEAD);
    for (number, attack) in ATTACKS.iter().enumerate() {
        let root = bench.dir.join(number.to_string());
        std::fs::create_dir(&root).context("cannot make a folder")?;
        let context = AttackContext { root: &root, is_long };
        let result = match tokio::time::timeout(DEADLINE, (attack.run)(&context)).await {
            Ok(result) => result,
            Err(_) => Err(anyhow::anyhow!("it was not over after {DEADLINE:?}")),
        };
        // The runner looks here for the logs of a case that failed.
        let _ = std::fs::rename(
            root.join("server.log"),
            bench.dir.join(format!("server-{number}.log")),
        );
        match result {
            Ok(result) => {
                bench.note(result.line(attack.name));
                if result.peak > MEMORY_MAX {
                    faults.push(format!("{}: {} bytes of memory", attack.name, result.peak));
                }
                faults.extend(
                    result
                        .faults
                        .iter()
                        .map(|fault| format!("{}: {fault}", attack.name)),
                );
            }
            Err(error) => faults.push(format!("{}: {error:#}", attack.name)),
        }
        let _ = std::fs::remove_dir_all(&root);
    }
    if !faults.is_empty() {
        bail!("{}", faults.join("\n"));
    }
    Ok(())
}
