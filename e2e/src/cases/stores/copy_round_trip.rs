//! A tree is copied with `storage copy` from a folder through every kind of store and back. Each copy is killed once.
//!
//! The files at the end are those at the start. A store that a server writes to is neither copied into nor repaired,
//! and another owner's store is not touched. Start at [`a_tree_goes_round`].

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tokio::process::Command;

use super::verify::check;
use crate::cache::Cache;
use crate::exec::{Exec, Finished};
use crate::host_clients::HostClients;
use crate::peers::ServerKind;
use crate::relay::{Fault, Relay};
use crate::runner::Bench;
use crate::server::{ServerSetup, Settings};
use crate::stores;
use crate::wait::{Seen, wait_for};

const KIB: usize = 1024;

/// Small layers, and one that is copied in parts.
const LAYERS: [usize; 3] = [16 * KIB, 64 * KIB, 9 * 1024 * KIB];

/// The number of images. The first has all layers, the others the small ones.
const IMAGES: u64 = 12;

/// The number of requests to a store after which a copy is stopped and killed. About thirty come before the first
/// blob, and a whole copy makes about three hundred.
const KILLED_AFTER: usize = 60;

/// Time limit for a copy to come that far.
const LIMIT: Duration = Duration::from_secs(120);

/// The variable that names the owner of a store; our owner's name follows.
const OWNER: &str = "REGISTRY_STORAGE_MAINTENANCE_OWNER";
const OURS: &str = "team/ours";

/// A store with its configuration for the programs.
struct ConfiguredStore {
    root: PathBuf,
    section: String,
    /// The relay in front of it, if it is not a folder.
    relay: Option<Relay>,
}

impl ConfiguredStore {
    fn new(root: PathBuf, section: String, relay: Option<Relay>) -> Result<Self> {
        std::fs::create_dir_all(&root)?;
        let store = Self { root, section, relay };
        store.configured("config.yml", OURS)?;
        Ok(store)
    }

    fn configured(&self, name: &str, owner: &str) -> Result<PathBuf> {
        let file = self.root.join(name);
        let section = &self.section;
        let text = format!("version: 0.1\nstorage:\n  {section}\n  maintenance: {{owner: {owner}}}\n");
        std::fs::write(&file, text).with_context(|| format!("cannot write `{}`", file.display()))?;
        Ok(file)
    }

    fn config(&self) -> PathBuf {
        self.root.join("config.yml")
    }
}

pub(in crate::cases) async fn a_tree_goes_round(bench: &Bench<'_>) -> Result<()> {
    let program = ServerKind::Ours.program(&Cache::open()?).await?;
    let folder = |name: &str| {
        let root = bench.dir.join(name);
        let section = format!("filesystem: {{rootdirectory: {}}}", root.join("data").display());
        ConfiguredStore::new(root, section, None)
    };
    let mut stores = vec![folder("first")?];
    push(bench, &program, &stores[0]).await?;
    let mut running = Vec::new();
    for kind in stores::StoreKind::ALL {
        let root = bench.dir.join(kind.variable());
        let store = stores::StoreSetup::new(kind, &root)?;
        running.push(store.start(&Cache::open()?, |_| ()).await?);
        let relay = Relay::before(&store).await?;
        stores.push(ConfiguredStore::new(
            root,
            store.section(relay.address(), "round")?,
            Some(relay),
        )?);
    }
    stores.push(folder("last")?);

    let storage = async |words: &[&str], files: &[PathBuf]| -> Result<Finished> {
        let command = Exec::new(&program).arg("storage").args(words).args(files);
        command.output().await
    };
    for pair in stores.windows(2) {
        let [from, to] = pair else { continue };
        let files = [from.config(), to.config()];
        let proved = async {
            let relay = to.relay.as_ref().or(from.relay.as_ref());
            killed(&program, &files, relay.context("both are folders")?).await?;
            let done = storage(&["copy"], &files).await?;
            let said = done.all();
            ensure!(done.status.success(), "the second copy: {}\n{said}", done.status);
            ensure!(
                said.contains("Skipped  ") && !said.contains("Skipped  0 blobs"),
                "the second copy went on with nothing:\n{said}"
            );
            bench.note(check(&to.root).await?);
            anyhow::Ok(())
        };
        proved
            .await
            .with_context(|| format!("from {} to {}", from.root.display(), to.root.display()))?;
    }
    let tree = |store: &ConfiguredStore| files(&store.root.join("data/docker/registry/v2"));
    let (first, last) = (tree(&stores[0])?, tree(&stores[4])?);
    ensure!(
        first == last,
        "what set out: {:?}\nwhat came back: {:?}",
        first.keys(),
        last.keys()
    );
    bench.note(format!("{} files came back as they set out", last.len()));

    // The store of a running server on S3 accepts neither a copy nor a repair.
    let root = stores[1].root.join("server");
    std::fs::create_dir(&root)?;
    let settings = Settings {
        storage: Some(stores[1].section.clone()),
        ..Settings::default()
    };
    let server = ServerSetup::new(&program, &root)?
        .configured(&settings)
        .with(OWNER, OURS);
    let _server = server.start().await?;
    let refused = async |words: &[&str], files: &[PathBuf], code: i32, cause: &str| -> Result<()> {
        let done = storage(words, files).await?;
        let said = done.all();
        ensure!(
            done.status.code() == Some(code) && said.contains(cause),
            "{words:?}: expected {code} and `{cause}`, got {}\n{said}",
            done.status
        );
        Ok(())
    };
    let into = [stores[4].config(), stores[1].config()];
    wait_for("the server's sign", LIMIT, async || {
        Ok(match refused(&["copy"], &into, 4, "last seen").await {
            Ok(()) => Seen::Done(()),
            Err(error) => Seen::NotYet(format!("{error:#}")),
        })
    })
    .await?;
    let repair = ["check", "--digests", "--repair"];
    refused(&repair, &into[1..], 4, "last seen").await?;
    let other = stores[1].configured("other.yml", "team/other")?;
    refused(&repair, std::slice::from_ref(&other), 2, "belongs to `team/ours`").await?;
    refused(
        &["copy"],
        &[stores[4].config(), other],
        2,
        "belongs to `team/ours`",
    )
    .await
}

/// Pushes images into a store.
async fn push(bench: &Bench<'_>, program: &Path, store: &ConfiguredStore) -> Result<()> {
    let settings = Settings {
        storage: Some(store.section.clone()),
        ..Settings::default()
    };
    let server = ServerSetup::new(program, &store.root)?.configured(&settings);
    let running = server.with(OWNER, OURS).start().await?;
    let clients = HostClients::new(&bench.dir.join("home"), "").await?;
    for number in 0..IMAGES {
        let layers = if number == 0 { &LAYERS[..] } else { &LAYERS[..2] };
        let image = format!("{}/round/{}:{number}", running.address()?, number % 4);
        clients.push_layers(&image, layers, 50 + number).await?;
    }
    running.kill().await?;
    store.configured("config.yml", OURS).map(drop)
}

/// Runs a copy that is killed in the middle.
async fn killed(program: &Path, files: &[PathBuf; 2], relay: &Relay) -> Result<()> {
    relay.take_counts();
    relay.fail_after(KILLED_AFTER, Fault::Hang);
    let mut copy = Command::new(program)
        .args(["storage", "copy", "--quiet"])
        .args(files)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .context("cannot start a copy")?;
    wait_for("the middle of a copy", LIMIT, async || {
        if let Some(status) = copy.try_wait()? {
            return Ok(Seen::Never(anyhow::anyhow!("it ended with {status}")));
        }
        let seen = relay.seen();
        Ok(if seen > KILLED_AFTER {
            Seen::Done(())
        } else {
            Seen::NotYet(format!("{seen} requests"))
        })
    })
    .await?;
    copy.kill().await.context("cannot kill the copy")?;
    relay.heal();
    Ok(())
}

/// Every file below a folder, with its bytes.
fn files(top: &Path) -> Result<BTreeMap<PathBuf, Vec<u8>>> {
    let mut files = BTreeMap::new();
    let mut pending = vec![top.to_owned()];
    while let Some(folder) = pending.pop() {
        let entries =
            std::fs::read_dir(&folder).with_context(|| format!("cannot list `{}`", folder.display()))?;
        for entry in entries {
            let path = entry?.path();
            if path.is_dir() {
                pending.push(path);
            } else {
                let bytes = std::fs::read(&path)?;
                files.insert(path.strip_prefix(top)?.to_owned(), bytes);
            }
        }
    }
    Ok(files)
}
