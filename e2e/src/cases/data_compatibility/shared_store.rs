//! A data folder that several servers share, one after the other or at the same time.
//!
//! Guarantees: each server has its own folder for its configuration and its log. Start at [`SharedStore::serve`].

use std::cell::{Cell, RefCell};
use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};

use crate::cache::Cache;
use crate::exec::Exec;
use crate::host_clients::HostClients;
use crate::peers::ServerKind;
use crate::runner::Bench;
use crate::server::{Server, ServerSetup, Settings};

/// The two servers that share data with ours.
pub(super) const PEERS: [ServerKind; 2] = [ServerKind::V2, ServerKind::V3];

/// A data folder and the servers started on it.
pub(super) struct SharedStore<'a> {
    pub(super) bench: &'a Bench<'a>,
    pub(super) cache: Cache,
    pub(super) clients: HostClients,
    pub(super) http: reqwest::Client,
    /// The folder that all servers' file system drivers use.
    pub(super) data: PathBuf,
    /// The folder of the server that was started last.
    root: RefCell<PathBuf>,
    started: Cell<usize>,
}

impl<'a> SharedStore<'a> {
    /// An empty store. `name` distinguishes stores of one case.
    pub(super) async fn new(bench: &'a Bench<'a>, name: &str) -> Result<Self> {
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

    /// Starts a server on the data, with deletion on and the secret that all servers of the suite share.
    pub(super) async fn serve(&self, kind: ServerKind) -> Result<Server> {
        self.serve_with(kind, &[]).await
    }

    /// Starts a server with more environment variables.
    pub(super) async fn serve_with(&self, kind: ServerKind, variables: &[(&str, &str)]) -> Result<Server> {
        let number = self.started.get();
        self.started.set(number + 1);
        // Each server has its own folder, so that two servers on one tree have two logs.
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

    pub(super) fn last_root(&self) -> PathBuf {
        self.root.borrow().clone()
    }

    /// A copy of the data that can be changed freely.
    pub(super) async fn copy(&self, name: &str) -> Result<SharedStore<'a>> {
        let copy = SharedStore::new(self.bench, name).await?;
        Exec::new("cp")
            .arg("-a")
            .arg(&self.data)
            .arg(&copy.data)
            .success()
            .await?;
        Ok(copy)
    }

    /// The root of the registry's tree.
    pub(super) fn tree(&self) -> PathBuf {
        self.data.join("docker/registry/v2")
    }

    /// Checks every link and every byte with our `storage check`, which must find nothing.
    pub(super) async fn check(&self) -> Result<()> {
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

    /// Every file below the tree with its size, sorted.
    pub(super) async fn files(&self) -> Result<String> {
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
pub(super) fn host(server: &Server) -> Result<String> {
    let base = server.base();
    let port = base.port().context("a server without a port")?;
    Ok(format!("{}:{port}", base.host_str().unwrap_or_default()))
}
