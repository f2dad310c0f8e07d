//! Everything that a client can do to hold the server up, done to the real binary: how much memory it takes before, at the
//! peak and after, and how long others wait meanwhile.
//!
//! Guarantees: each attack has a server and a folder of its own with the default limits; all of them run, and the table
//! is printed, also when one takes too much; memory is asserted, time is only printed.
//! Must not: attack anything but loopback, or go on when it is over.
//! The ordinary run does the short form of each; `cargo xtask soak` the long one, by [`VARIABLE`]. To add one: a function in
//! a file of `attacks/`, and a line in [`ATTACKS`]. Start at [`nobody_holds_the_server_up`].

mod bodies;
mod connections;
mod documents;
mod http2;
mod logins;
mod names;
mod readers;
mod tree;
mod watch;
mod wire;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use futures_util::future::LocalBoxFuture;

use crate::images;
use crate::runner::Bench;
use crate::server::ServerSetup;
use watch::Row;

/// `long` for the numbers that were seen in the wild.
pub const VARIABLE: &str = "BERTH_ATTACKS";

/// What the server may hold at any moment of any attack.
const MEMORY_MAX: u64 = 150_000_000;
/// No attack goes on for longer; one that does has stopped the server.
const DEADLINE: Duration = Duration::from_secs(240);

/// One way to hold the server up.
struct Attack {
    name: &'static str,
    run: for<'a> fn(&'a Field<'a>) -> LocalBoxFuture<'a, Result<Row>>,
}

macro_rules! attack {
    ($name:literal, $run:path) => {
        Attack {
            name: $name,
            run: |field| Box::pin($run(field)),
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

/// What an attack works with.
struct Field<'a> {
    /// A folder of its own.
    root: &'a Path,
    is_long: bool,
}

impl Field<'_> {
    /// How many of something.
    fn number(&self, short: usize, long: usize) -> usize {
        match self.is_long {
            true => long,
            false => short,
        }
    }

    /// How long something that lasts goes on.
    fn hold(&self) -> Duration {
        match self.is_long {
            true => Duration::from_secs(15),
            false => Duration::from_millis(800),
        }
    }

    fn setup(&self) -> Result<ServerSetup> {
        ServerSetup::new(&binary(), self.root)
    }

    fn data(&self) -> PathBuf {
        self.root.join("data")
    }
}

/// Runs every attack, prints the table, and fails when one took too much memory or could not be made.
pub(super) async fn nobody_holds_the_server_up(bench: &Bench<'_>) -> Result<()> {
    connections::raise_file_limit()?;
    let is_long = std::env::var(VARIABLE).is_ok_and(|value| value == "long");
    let mut faults = Vec::new();
    bench.note(Row::HEAD);
    for (number, attack) in ATTACKS.iter().enumerate() {
        let root = bench.dir.join(number.to_string());
        std::fs::create_dir(&root).context("cannot make a folder")?;
        let field = Field { root: &root, is_long };
        let row = match tokio::time::timeout(DEADLINE, (attack.run)(&field)).await {
            Ok(row) => row,
            Err(_) => Err(anyhow::anyhow!("it was not over after {DEADLINE:?}")),
        };
        // Where the runner looks for the logs of a case that failed.
        let _ = std::fs::rename(
            root.join("server.log"),
            bench.dir.join(format!("server-{number}.log")),
        );
        match row {
            Ok(row) => {
                bench.note(row.line(attack.name));
                if row.peak > MEMORY_MAX {
                    faults.push(format!("{}: {} bytes of memory", attack.name, row.peak));
                }
                faults.extend(row.faults.iter().map(|fault| format!("{}: {fault}", attack.name)));
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

fn binary() -> PathBuf {
    images::checkout().join("dist/registry-server")
}
