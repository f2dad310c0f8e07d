//! A server that is killed at each of its system calls that change the store, or at a sample of them.

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

/// Room for a push and for what killed ones leave.
const SIZE: u64 = 64 << 20;

/// How often a moment is aimed at.
const TRIES: usize = 8;
/// One moment of so many may not be met: other threads write too, to wake each other, and the first to come to a number
/// dies of it; how often they do depends on how busy the machine is. What is on the disk at every single moment is looked
/// at by the case about a loss of power.
const MISSED_MAX: usize = 10;

/// What every run needs: the program, a disk under it, and what is told to it.
struct Killer {
    program: PathBuf,
    tmpfs: Tmpfs,
    disk: PathBuf,
    dir: PathBuf,
    scenario: Scenario,
}

/// One run for each moment before a call that changes the store, or for a sample of them.
pub(in crate::cases) async fn a_kill_at_any_call_loses_nothing(bench: &Bench<'_>) -> Result<()> {
    let sample = Sample::of_this_run()?;
    let program = prepare(bench.dir)?;
    let disk = bench.dir.join("disk");
    std::fs::create_dir(&disk)?;
    let killer = Killer {
        program,
        // What a kill leaves is what the kernel has, whatever disk it lies on; this one syncs in no time.
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
            // Of a write that had one more or one less in front of it, a neighbour is met.
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
    /// One push, killed.
    async fn killed(&self, name: &str, number: usize) -> Result<Recorded> {
        self.run(Some((name.to_owned(), number)))
            .await
            .with_context(|| format!("killed at {name} {number}"))
    }

    /// One push on an empty disk, killed or not, and everything that has to hold behind it.
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

/// What a kill leaves beside the objects of the layout has a name that `Driver::sweep` removes when it is a day old,
/// and is shown by no list.
fn leftovers(folder: &Path) -> Result<()> {
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        // It was killed before it had made one.
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
