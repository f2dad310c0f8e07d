//! One folder, several servers: what registry:2 or registry:3 wrote is served by ours, and the other way round.
//!
//! Each part starts real servers on one data folder, one after the other or beside each other, and compares what clients
//! see. Start at [`Store`]; `written` is what is written, `compare` what is compared.

mod collect;
mod compare;
mod handover;
mod purge;
mod referrers;
mod repair;
mod written;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use compare::{Compared, Wanted};

use crate::cache::Cache;
use crate::docker_engine::DockerEngine;
use crate::exec::Exec;
use crate::host_clients::HostClients;
use crate::peers::ServerKind;
use crate::runner::Bench;
use crate::server::{Server, ServerSetup, Settings};

pub(super) use collect::their_collection_keeps_what_is_tagged;
pub(super) use handover::uploads_change_hands;
pub(super) use purge::abandoned_uploads_are_purged;
pub(super) use referrers::referrers_of_another_server_are_seen;
pub(super) use repair::{a_torn_blob_is_healed, old_manifests_are_served};

/// The two servers whose trees are shared.
const PEERS: [ServerKind; 2] = [ServerKind::V2, ServerKind::V3];

/// A data folder and the servers started on it.
struct Store<'a> {
    bench: &'a Bench<'a>,
    cache: Cache,
    clients: HostClients,
    http: reqwest::Client,
    /// What the servers share: the folder their file system driver is given.
    data: PathBuf,
    /// The folder of the server that was started last.
    root: RefCell<PathBuf>,
    started: Cell<usize>,
}

impl<'a> Store<'a> {
    /// An empty one; `name` tells it from others of the same case.
    async fn new(bench: &'a Bench<'a>, name: &str) -> Result<Self> {
        let home = bench.dir.join(name);
        std::fs::create_dir(&home).with_context(|| format!("cannot make `{}`", home.display()))?;
        Ok(Self {
            bench,
            cache: Cache::open()?,
            clients: HostClients::new(&home.join("home"), "").await?,
            http: reqwest::Client::builder().no_proxy().build()?,
            data: home.join("data"),
            root: RefCell::default(),
            started: Cell::new(0),
        })
    }

    /// Starts a server on the data, with deletion on and the secret all servers of the suite share.
    async fn serve(&self, kind: ServerKind) -> Result<Server> {
        self.serve_with(kind, &[]).await
    }

    /// The same with more variables.
    async fn serve_with(&self, kind: ServerKind, variables: &[(&str, &str)]) -> Result<Server> {
        let number = self.started.get();
        self.started.set(number + 1);
        // A folder of its own: two servers on one tree have two logs.
        let root = self.data.with_file_name(format!("{number}-{}", kind.name()));
        std::fs::create_dir_all(&root)?;
        self.root.replace(root.clone());
        let setup = ServerSetup::new(&kind.program(&self.cache).await?, &root)?
            .configured(&Settings {
                delete: true,
                ..Settings::default()
            })
            .with(
                "REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY",
                &self.data.display().to_string(),
            )
            .with("OTEL_TRACES_EXPORTER", "none");
        let setup = variables
            .iter()
            .fold(setup, |setup, (name, value)| setup.with(name, value));
        setup
            .start()
            .await
            .with_context(|| format!("cannot start {}", kind.name()))
    }

    fn last_root(&self) -> PathBuf {
        self.root.borrow().clone()
    }

    /// A copy of the data, to be changed without consequences.
    async fn copy(&self, name: &str) -> Result<Store<'a>> {
        let copy = Store::new(self.bench, name).await?;
        Exec::new("cp")
            .arg("-a")
            .arg(&self.data)
            .arg(&copy.data)
            .success()
            .await?;
        Ok(copy)
    }

    /// Where the registry's tree begins.
    fn tree(&self) -> PathBuf {
        self.data.join("docker/registry/v2")
    }

    /// Looks at every link and every byte with our `storage check`, which has to find nothing.
    async fn check(&self) -> Result<()> {
        let config = self.data.with_file_name("check.yml");
        let text = format!(
            "version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: {}\n",
            self.data.display()
        );
        std::fs::write(&config, text)?;
        let checked = Exec::new(ServerKind::Ours.program(&self.cache).await?)
            .args(["storage", "check", "--digests"])
            .arg(&config)
            .output()
            .await?;
        ensure!(
            checked.status.success(),
            "`storage check` of the tree ended with {}:\n{}",
            checked.status,
            checked.all()
        );
        Ok(())
    }

    /// Every file below the tree with its size, in order.
    async fn files(&self) -> Result<String> {
        let find = Exec::new("find")
            .arg(self.tree())
            .args(["-type", "f", "-printf", "%P %s\n"]);
        let found = find.success().await?;
        let mut lines: Vec<&str> = found.lines().collect();
        lines.sort_unstable();
        Ok(lines.join("\n"))
    }
}

/// `127.0.0.1:<port>` of a server.
fn host(server: &Server) -> Result<String> {
    let base = server.base();
    let port = base.port().context("a server without a port")?;
    Ok(format!("{}:{port}", base.host_str().unwrap_or_default()))
}

/// What either server wrote the other serves with the same answers.
pub(super) async fn trees_are_served_with_the_same_answers(bench: &Bench<'_>) -> Result<()> {
    DockerEngine::during(bench.dir, async |engine| serve_trees(bench, engine).await).await
}

async fn serve_trees(bench: &Bench<'_>, engine: &DockerEngine) -> Result<()> {
    let mut seen = BTreeMap::<Wanted, usize>::new();
    for peer in PEERS {
        let store = Store::new(bench, &format!("of-{}", peer.name())).await?;
        let writer = store.serve(peer).await?;
        written::everything(&store, peer, &writer, engine).await?;
        let before = store.files().await?;
        let ours = store.serve(ServerKind::Ours).await?;
        let Compared { same, wanted } = compare::answers(&store, peer, &writer, &ours).await?;
        written::is_pulled(&store, &ours, engine).await?;
        store.check().await?;
        ensure!(
            store.files().await? == before,
            "reading changed {}'s tree",
            peer.name()
        );
        bench.note(format!(
            "{} wrote {} files: {same} answers of ours are the same, {} differ on purpose",
            peer.name(),
            before.lines().count(),
            wanted.values().sum::<usize>()
        ));
        seen.extend(wanted);
    }
    let store = Store::new(bench, "of-ours").await?;
    let writer = store.serve(ServerKind::Ours).await?;
    written::everything(&store, ServerKind::Ours, &writer, engine).await?;
    written::beyond_theirs(&store, &writer).await?;
    store.check().await?;
    let before = store.files().await?;
    for peer in PEERS {
        let reader = store.serve(peer).await?;
        let Compared { same, wanted } = compare::answers(&store, peer, &reader, &writer).await?;
        written::is_pulled(&store, &reader, engine).await?;
        bench.note(format!(
            "ours wrote {} files: {same} answers of {} are the same, {} differ on purpose; manifests by sha512 are beyond it",
            before.lines().count(),
            peer.name(),
            wanted.values().sum::<usize>()
        ));
        seen.extend(wanted);
    }
    ensure!(store.files().await? == before, "reading changed our tree");
    for reason in Wanted::ALL {
        ensure!(
            seen.contains_key(&reason),
            "nothing differed because of {reason:?}: strike it off"
        );
    }
    Ok(())
}
