//! A loss of power at any moment of a push, on a disk that loses unsynced data.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeSet, HashSet};
use std::fs;
use std::hash::{Hash as _, Hasher as _};
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::check::{Interruption, check};
use super::client::ScenarioClient;
use super::lossy_disk::{LossyDisk, State, Unsynced};
use super::recording::{prepare, record};
use super::scenario::Scenario;
use crate::runner::Bench;
use crate::sample::Sample;
use crate::server::ServerSetup;
use crate::strace::Strace;
use crate::tmpfs::Tmpfs;

/// Up to this many combinations, the changes since the moment before are lost and kept in every combination; above
/// it, one by one. Both are done with all older changes lost, and with all older changes kept.
const COMBINATIONS_MAX: usize = 32;
/// The number of random states that are added.
const RANDOM_STATES: usize = 16;
/// The seed of the random states, the same in every run.
const SEED: u64 = 5;
/// The push is repeated in one state of so many.
const REPEAT_PUSH_EVERY: usize = 8;
/// The number of losses that are printed in full.
const LOSSES_PRINTED: usize = 5;

const SIZE: u64 = 64 << 20;

/// Records a push on a real disk, then checks every possible state of the disk at all moments, or at a sample of
/// them.
pub(in crate::cases) async fn a_loss_of_power_loses_nothing(bench: &Bench<'_>) -> Result<()> {
    let sample = Sample::of_this_run()?;
    let program = prepare(bench.dir)?;
    let setup = || -> Result<ServerSetup> {
        Ok(ServerSetup::new(&program, bench.dir)?.with("REGISTRY_STORAGE_DELETE_ENABLED", "true"))
    };
    let scenario = Scenario::new();
    // While a push is recorded, the server makes the store's folder itself.
    let real = bench.dir.join("real");
    fs::create_dir(&real)?;
    std::os::unix::fs::chown(&real, Some(crate::strace::user()), None)?;
    let data = real.join("data");
    let strace = Strace {
        record: bench.dir.join("record"),
        with_data: true,
        kill_at: None,
    };
    let seen = record(&setup()?.keeping_data_in(&data), &strace, &data, &scenario).await?;
    ensure!(
        seen.sent.done == scenario.steps.len(),
        "the undisturbed push broke off"
    );

    let folder = bench.dir.join("disk");
    fs::create_dir(&folder)?;
    let tmpfs = Tmpfs::new(&folder, SIZE).await?;
    let server = setup()?
        .keeping_data_in(&folder.join("data"))
        .wrapped_in(tmpfs.command_prefix())
        .start()
        .await?;
    let client = seen.client.at(server.base());
    let mut checked = StateCheck {
        scenario,
        client,
        tmpfs,
        seen: HashSet::new(),
        lost: Vec::new(),
        losses: 0,
    };
    let mut disk = LossyDisk::new(&real);
    let mut chance = StdRng::seed_from_u64(SEED);
    let mut before = Vec::new();
    let mut moments = 0;
    for moment in 0..=seen.changes.len() {
        let unsynced = disk.unsynced();
        if moment >= seen.before && sample.has(moment) {
            moments += 1;
            let next = seen.changes.get(moment).map_or(usize::MAX, |call| call.begun);
            let done = seen.answers.iter().filter(|answer| **answer < next).count();
            // Whether anything was done since the last answer.
            let since = done.checked_sub(1).map_or(0, |last| seen.answers[last]);
            let underway = moment > seen.before && seen.changes[moment - 1].begun > since;
            let choices = choices(&unsynced, &before, &mut chance);
            for outcomes in choices {
                let state = disk.state(&unsynced, &outcomes);
                checked
                    .check_state(&state, done, underway)
                    .await
                    .with_context(|| format!("at moment {moment}"))?;
            }
        }
        before = unsynced;
        if let Some(call) = seen.changes.get(moment) {
            disk.apply(call)?;
        }
    }
    let states = checked.seen.len();
    bench.note(format!(
        "{states} states of a disk at {moments} of {} moments (sample {sample}): {} losses",
        seen.changes.len() + 1 - seen.before,
        checked.losses
    ));
    ensure!(
        checked.losses == 0,
        "{} losses in {states} states; the first ones:\n{}",
        checked.losses,
        checked.lost.join("\n")
    );
    server.kill().await
}

/// The combinations of outcomes that are checked.
fn choices(unsynced: &[Unsynced], before: &[Unsynced], chance: &mut StdRng) -> Vec<Vec<usize>> {
    let none: Vec<usize> = vec![0; unsynced.len()];
    let all: Vec<usize> = unsynced.iter().map(|item| item.outcomes - 1).collect();
    let fresh: Vec<usize> = (0..unsynced.len())
        .filter(|number| !before.contains(&unsynced[*number]))
        .collect();
    let combinations = fresh
        .iter()
        .try_fold(1_usize, |product, number| {
            product.checked_mul(unsynced[*number].outcomes)
        })
        .filter(|product| *product <= COMBINATIONS_MAX);
    let mut choices = vec![none.clone(), all.clone()];
    for older in [&none, &all] {
        match combinations {
            Some(combinations) => choices.extend((0..combinations).map(|mut combination| {
                let mut choice = older.clone();
                for number in &fresh {
                    choice[*number] = combination % unsynced[*number].outcomes;
                    combination /= unsynced[*number].outcomes;
                }
                choice
            })),
            None => {
                for number in &fresh {
                    choices.extend((0..unsynced[*number].outcomes).map(|outcome| {
                        let mut choice = older.clone();
                        choice[*number] = outcome;
                        choice
                    }));
                }
            }
        }
    }
    for _ in 0..RANDOM_STATES {
        choices.push(
            unsynced
                .iter()
                .map(|item| chance.random_range(0..item.outcomes))
                .collect(),
        );
    }
    choices
}

/// The checked states and their losses.
struct StateCheck {
    scenario: Scenario,
    client: ScenarioClient,
    tmpfs: Tmpfs,
    seen: HashSet<u64>,
    lost: Vec<String>,
    losses: usize,
}

impl StateCheck {
    /// Puts a state on a disk under a running server, and checks the server's answers.
    async fn check_state(&mut self, state: &State, done: usize, underway: bool) -> Result<()> {
        let mut print = DefaultHasher::new();
        (done, underway, state).hash(&mut print);
        if !self.seen.insert(print.finish()) {
            return Ok(());
        }
        put(state, &self.tmpfs.host_path())?;
        if let Err(error) = self.judge(done, underway).await {
            self.losses += 1;
            if self.lost.len() < LOSSES_PRINTED {
                let there: Vec<String> = state
                    .iter()
                    .map(|(path, file)| match file {
                        None => format!("{}/", path.display()),
                        Some((_, kept)) => format!("{} ({} bytes)", path.display(), kept.bytes.len()),
                    })
                    .collect();
                self.lost.push(format!(
                    "after {done} steps: {error:#}\non the disk:\n{}",
                    there.join("\n")
                ));
            }
        }
        Ok(())
    }

    async fn judge(&mut self, done: usize, underway: bool) -> Result<()> {
        let expected = self
            .scenario
            .expected_after(done, underway)
            .without_promises_of_uploads();
        check(&self.client, &self.scenario, &expected, Interruption::PowerLoss).await?;
        if self.seen.len().is_multiple_of(REPEAT_PUSH_EVERY) {
            let mut second = self.client.clone();
            let sent = second.send_all(&self.scenario).await.context("sent again")?;
            ensure!(!sent.underway, "the server ended at step {}", sent.done);
            let expected = self.scenario.expected_after(sent.done, false);
            check(&second, &self.scenario, &expected, Interruption::Kill)
                .await
                .context("sent again")?;
        }
        Ok(())
    }
}

/// Gives the folder `data` below `root` the content of a state. Each entry gets its name atomically, under a server
/// that looks names up at every call. The folder itself stays, because another folder in its place would be another
/// store to the server.
fn put(state: &State, root: &Path) -> Result<()> {
    let next = root.join("next");
    fs::create_dir(&next)?;
    let mut names = std::collections::HashMap::new();
    for (path, what) in state {
        let path = next.join(path);
        match what {
            None => match fs::create_dir(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(error)?,
                Ok(()) | Err(_) => {}
            },
            // A file with two names is one file.
            Some((id, kept)) => match names.get(id) {
                Some(first) => fs::hard_link(first, &path)?,
                None => {
                    fs::write(&path, &kept.bytes)?;
                    names.insert(*id, path);
                }
            },
        }
    }
    // The store's folder may be lost too. An empty one is a new store.
    let data = next.join("data");
    if !data.exists() {
        fs::create_dir(&data)?;
    }
    let current = root.join("data");
    let mut names = BTreeSet::new();
    for folder in [&data, &current] {
        for entry in fs::read_dir(folder)? {
            names.insert(entry?.file_name());
        }
    }
    let old = next.join("old");
    fs::create_dir(&old)?;
    for name in names {
        let (new, place) = (data.join(&name), current.join(&name));
        match (new.exists(), place.exists()) {
            (true, true) => renameat_with(CWD, &new, CWD, &place, RenameFlags::EXCHANGE)?,
            (true, false) => fs::rename(&new, &place)?,
            (false, _) => fs::rename(&place, old.join(&name))?,
        }
    }
    fs::remove_dir_all(&next).context("cannot make room for the next state")
}
