//! Kills a server at each of its system calls that change the store, or at a sample of them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

use super::check::{Interruption, check};
use super::client::Sent;
use super::recording::{Recorded, prepare, record};
use super::scenario::Scenario;
use crate::runner::Bench;
use crate::sample::Sample;
use crate::server::ServerSetup;
use crate::strace::Strace;
use crate::tmpfs::Tmpfs;

/// Room for a push and for the leftovers of killed ones.
const SIZE: u64 = 64 << 20;

/// The number of attempts to kill the server at one moment.
const TRIES: usize = 8;
/// The share of moments that may be missed: one in so many. Other threads write too, to wake each other, and the
/// first thread that reaches the number is killed; how often depends on the load of the machine. The case about a
/// loss of power checks the disk at every moment.
const MISSED_MAX: usize = 10;

/// The common parts of all runs: the program, its disk, and the scenario.
struct Killer {
    program: PathBuf,
    tmpfs: Tmpfs,
    disk: PathBuf,
    dir: PathBuf,
    scenario: Scenario,
}

/// One run for each moment before a call that changes the store, or for a sample of the moments.
pub(in crate::cases) async fn a_kill_at_any_call_loses_nothing(bench: &Bench<'_>) -> Result<()> {
    let sample = Sample::of_this_run()?;
    let program = prepare(bench.dir)?;
    let disk = bench.dir.join("disk");
    std::fs::create_dir(&disk)?;
    let killer = Killer {
        program,
        // A kill leaves what the kernel has, on any disk. This disk syncs fastest.
        tmpfs: Tmpfs::new(&disk, SIZE).await?,
        disk,
        dir: bench.dir.to_owned(),
        scenario: Scenario::new(),
    };
    let whole = killer.run(None).await?;
    ensure!(
        whole.sent.done == killer.scenario.steps.len(),
        "the undisturbed push broke off"
    );
    let all = whole.before..whole.changes.len();
    let aims: Vec<usize> = all.clone().filter(|moment| sample.has(*moment)).collect();
    let mut kills: BTreeMap<&str, usize> = BTreeMap::new();
    let mut met = BTreeSet::new();
    for aim in &aims {
        let next = &whole.changes[*aim];
        let before = whole
            .of_thread
            .iter()
            .filter(|call| call.name == next.name && call.begun < next.begun);
        let mut number = before.count() + 1;
        for _ in 0..TRIES {
            if met.contains(aim) {
                break;
            }
            let died = killer.killed(&next.name, number).await?.changes.len();
            *kills.entry(&next.name).or_default() += 1;
            met.insert(died);
            // When other writes came before it, the kill hits a neighbouring write.
            number = if died < *aim {
                number + 1
            } else {
                number.saturating_sub(1).max(1)
            };
        }
    }
    let missed: Vec<String> = aims
        .iter()
        .filter(|aim| !met.contains(*aim))
        .map(|aim| format!("{aim} ({})", whole.changes[*aim].name))
        .collect();
    let by_name: Vec<String> = kills
        .iter()
        .map(|(name, count)| format!("{name} {count}"))
        .collect();
    bench.note(format!(
        "{} kills ({}), at {} of the {} moments before a call that changes the store (sample {sample}): 0 losses",
        kills.values().sum::<usize>(),
        by_name.join(", "),
        met.range(all.clone()).count(),
        all.len(),
    ));
    ensure!(
        missed.len() * MISSED_MAX < aims.len(),
        "of {} moments these were not met: {}",
        aims.len(),
        missed.join(", ")
    );
    Ok(())
}

impl Killer {
    /// Runs one push that is killed.
    async fn killed(&self, name: &str, number: usize) -> Result<Recorded> {
        self.run(Some((name.to_owned(), number)))
            .await
            .with_context(|| format!("killed at {name} {number}"))
    }

    /// Runs one push on an empty disk, killed or not, and all checks after it.
    async fn run(&self, kill_at: Option<(String, usize)>) -> Result<Recorded> {
        let outside = self.tmpfs.host_path().join("data");
        match std::fs::remove_dir_all(&outside) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).context("cannot empty the disk");
            }
            Ok(()) | Err(_) => {}
        }
        let strace = Strace {
            record: self.dir.join("record"),
            with_data: false,
            kill_at,
        };
        let data = self.disk.join("data");
        let setup = || -> Result<ServerSetup> {
            let setup =
                ServerSetup::new(&self.program, &self.dir)?.with("REGISTRY_STORAGE_DELETE_ENABLED", "true");
            Ok(setup
                .keeping_data_in(&data)
                .wrapped_in(self.tmpfs.command_prefix()))
        };
        let seen = record(&setup()?, &strace, &data, &self.scenario).await?;
        leftovers(&outside)?;
        let Sent { done, underway } = seen.sent;
        let successor = setup()?.start().await?;
        let mut client = seen.client.at(successor.base());
        let expected = self.scenario.expected_after(done, underway);
        check(&client, &self.scenario, &expected, Interruption::Kill)
            .await
            .with_context(|| format!("after {done} steps and {} changes", seen.changes.len()))?;
        let sent = client.send_all(&self.scenario).await.context("sent again")?;
        ensure!(!sent.underway, "the successor ended at step {}", sent.done);
        let expected = self.scenario.expected_after(sent.done, false);
        check(&client, &self.scenario, &expected, Interruption::Kill)
            .await
            .context("sent again")?;
        successor.kill().await?;
        Ok(seen)
    }
}

/// Every leftover of a kill outside the layout's objects has a name that `Driver::sweep` removes after a day, and
/// appears in no list.
fn leftovers(folder: &Path) -> Result<()> {
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        // The server was killed before it had created the folder.
        if !folder.exists() {
            continue;
        }
        for entry in std::fs::read_dir(&folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
                continue;
            }
            let name = entry.file_name().to_string_lossy().into_owned();
            if let Some(rest) = name.strip_suffix(".tmp") {
                let id = rest.rsplit('.').next().unwrap_or_default();
                ensure!(
                    id.len() == 36 && id.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit()),
                    "nobody will remove `{}`",
                    entry.path().display()
                );
            }
        }
    }
    Ok(())
}
