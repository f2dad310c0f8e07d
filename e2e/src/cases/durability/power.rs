//! A loss of power at any moment of a push, on a disk that forgets what was not synced.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeSet, HashSet};
use std::fs;
use std::hash::{Hash as _, Hasher as _};
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::check::{After, check};
use super::disk::{Disk, Slot, State};
use super::record::{prepare, record};
use super::story::Story;
use super::teller::Teller;
use crate::runner::Bench;
use crate::sample::Sample;
use crate::server::ServerSetup;
use crate::strace::Strace;
use crate::tmpfs::Tmpfs;

/// What is new since the moment before is lost and kept in every combination, if there are so many at most, and one by
/// one otherwise; each time with everything older lost, and with everything older kept.
const ALL_UP_TO: usize = 32;
/// And so many states by chance.
const BY_CHANCE: usize = 16;
/// The same chances in every run.
const SEED: u64 = 5;
/// In every so many states the push is made again.
const AGAIN_EVERY: usize = 8;
/// Losses that are told in full.
const TOLD: usize = 5;

const SIZE: u64 = 64 << 20;

/// Records a push on a real disk, then looks at every disk there could be, or at those of a sample of the moments.
pub(in crate::cases) async fn a_loss_of_power_loses_nothing(bench: &Bench<'_>) -> Result<()> {
    let sample = Sample::of_this_run()?;
    let program = prepare(bench.dir)?;
    let setup = || -> Result<ServerSetup> {
        Ok(ServerSetup::new(&program, bench.dir)?.with("REGISTRY_STORAGE_DELETE_ENABLED", "true"))
    };
    let story = Story::new();
    // Where a push is recorded, the folder of the store itself is made by the server.
    let real = bench.dir.join("real");
    fs::create_dir(&real)?;
    std::os::unix::fs::chown(&real, Some(crate::strace::user()), None)?;
    let data = real.join("data");
    let strace = Strace {
        record: bench.dir.join("record"),
        with_data: true,
        kill_at: None,
    };
    let seen = record(&setup()?.keeping_data_in(&data), &strace, &data, &story).await?;
    ensure!(
        seen.told.done == story.steps.len(),
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
    let teller = seen.teller.at(server.base());
    let mut looks = Looks {
        story,
        teller,
        tmpfs,
        seen: HashSet::new(),
        lost: Vec::new(),
        losses: 0,
    };
    let mut disk = Disk::new(&real);
    let mut chance = StdRng::seed_from_u64(SEED);
    let mut before = Vec::new();
    let mut moments = 0;
    for moment in 0..=seen.changes.len() {
        let slots = disk.slots();
        if moment >= seen.before && sample.has(moment) {
            moments += 1;
            let next = seen.changes.get(moment).map_or(usize::MAX, |call| call.begun);
            let done = seen.answers.iter().filter(|answer| **answer < next).count();
            // Whether anything was done since the last answer.
            let since = done.checked_sub(1).map_or(0, |last| seen.answers[last]);
            let underway = moment > seen.before && seen.changes[moment - 1].begun > since;
            let choices = choices(&slots, &before, &mut chance);
            for answers in choices {
                let state = disk.state(&slots, &answers);
                looks
                    .look(&state, done, underway)
                    .await
                    .with_context(|| format!("at moment {moment}"))?;
            }
        }
        before = slots;
        if let Some(call) = seen.changes.get(moment) {
            disk.apply(call)?;
        }
    }
    let states = looks.seen.len();
    bench.note(format!(
        "{states} states of a disk at {moments} of {} moments (sample {sample}): {} losses",
        seen.changes.len() + 1 - seen.before,
        looks.losses
    ));
    ensure!(
        looks.losses == 0,
        "{} losses in {states} states; the first ones:\n{}",
        looks.losses,
        looks.lost.join("\n")
    );
    server.kill().await
}

/// Answers to what is lost and what is kept.
fn choices(slots: &[Slot], before: &[Slot], chance: &mut StdRng) -> Vec<Vec<usize>> {
    let none: Vec<usize> = vec![0; slots.len()];
    let all: Vec<usize> = slots.iter().map(|slot| slot.answers - 1).collect();
    let fresh: Vec<usize> = (0..slots.len())
        .filter(|number| !before.contains(&slots[*number]))
        .collect();
    let combinations = fresh
        .iter()
        .try_fold(1_usize, |product, number| {
            product.checked_mul(slots[*number].answers)
        })
        .filter(|product| *product <= ALL_UP_TO);
    let mut choices = vec![none.clone(), all.clone()];
    for older in [&none, &all] {
        match combinations {
            Some(combinations) => choices.extend((0..combinations).map(|mut combination| {
                let mut choice = older.clone();
                for number in &fresh {
                    choice[*number] = combination % slots[*number].answers;
                    combination /= slots[*number].answers;
                }
                choice
            })),
            None => {
                for number in &fresh {
                    choices.extend((0..slots[*number].answers).map(|answer| {
                        let mut choice = older.clone();
                        choice[*number] = answer;
                        choice
                    }));
                }
            }
        }
    }
    for _ in 0..BY_CHANCE {
        choices.push(
            slots
                .iter()
                .map(|slot| chance.random_range(0..slot.answers))
                .collect(),
        );
    }
    choices
}

/// What was looked at.
struct Looks {
    story: Story,
    teller: Teller,
    tmpfs: Tmpfs,
    seen: HashSet<u64>,
    lost: Vec<String>,
    losses: usize,
}

impl Looks {
    /// Puts a state on a disk under a server, and looks at what it serves.
    async fn look(&mut self, state: &State, done: usize, underway: bool) -> Result<()> {
        let mut print = DefaultHasher::new();
        (done, underway, state).hash(&mut print);
        if !self.seen.insert(print.finish()) {
            return Ok(());
        }
        put(state, &self.tmpfs.host_path())?;
        if let Err(error) = self.judge(done, underway).await {
            self.losses += 1;
            if self.lost.len() < TOLD {
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
        let world = self.story.world(done, underway).without_promises_of_uploads();
        check(&self.teller, &self.story, &world, After::PowerLoss).await?;
        if self.seen.len().is_multiple_of(AGAIN_EVERY) {
            let mut again = self.teller.clone();
            let told = again.tell(&self.story).await.context("told again")?;
            ensure!(!told.underway, "the server ended at step {}", told.done);
            let world = self.story.world(told.done, false);
            check(&again, &self.story, &world, After::Kill)
                .await
                .context("told again")?;
        }
        Ok(())
    }
}

/// Makes what is in the folder `data` below `root` what a state says. Each entry takes its name at once, under a server
/// that looks names up for every call. The folder itself stays: one in its place would be another store to the server.
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
            // What has two names is one file.
            Some((id, kept)) => match names.get(id) {
                Some(first) => fs::hard_link(first, &path)?,
                None => {
                    fs::write(&path, &kept.bytes)?;
                    names.insert(*id, path);
                }
            },
        }
    }
    // What the store itself is may be lost too: an empty one is a new one.
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
