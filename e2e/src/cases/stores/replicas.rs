//! Three servers on one bucket of each kind, or on one folder, behind a balancer that sends every request to the next
//! one.
//!
//! crane, skopeo and docker push and pull at the same time while one server is killed and comes back. A client may
//! get an error, but not one that remains after a second or third try. Afterwards each server serves each image, and
//! each blob in the store has its digest. Start at [`Replicas::prove`].

use std::cell::Cell;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures_util::future::{LocalBoxFuture, try_join_all};

use super::verify::{check, verify_blobs};
use crate::cache::Cache;
use crate::docker_engine::DockerEngine;
use crate::exec::Exec;
use crate::host_clients::HostClients;
use crate::peers::ServerKind;
use crate::relay::Relay;
use crate::runner::Bench;
use crate::server::{Server, ServerSetup, Settings};
use crate::stores::{self, BUCKET};
use crate::wait::{Seen, wait_for};

const MIB: usize = 1024 * 1024;

/// Small layers, and one that is stored in parts.
const LAYERS: [usize; 4] = [MIB / 16, MIB / 2, 3 * MIB, 20 * MIB];

/// The number of images that each client pushes and pulls.
const IMAGES: u64 = 2;

/// The number of tries a person would make. The balancer skips a dead server at once.
const TRIES: usize = 3;

/// The number of requests before one server is killed; the number until it comes back follows.
const KILLED_AFTER: usize = 60;
const BACK_AFTER: usize = 60;

/// Time limit for the clients to come that far.
const LIMIT: Duration = Duration::from_secs(300);

pub(in crate::cases) async fn three_on_one_bucket(bench: &Bench<'_>) -> Result<()> {
    DockerEngine::during(bench.dir, async |engine| {
        for kind in stores::StoreKind::ALL {
            let root = bench.dir.join(kind.variable());
            let store = stores::StoreSetup::new(kind, &root)?;
            let _running = store.start(&Cache::open()?, |_| ()).await?;
            let section = store.section(store.address(), "shared")?;
            let proved = Replicas::prove(&root, engine, section).await;
            let said = proved.with_context(|| kind.to_string())?;
            if kind == stores::StoreKind::S3 {
                // From outside the store is a folder.
                let tree = store.data().join(BUCKET).join("shared");
                verify_blobs(&tree.join("docker/registry/v2/blobs/sha256"))?;
            }
            bench.note(format!("{kind}: {said}"));
        }
        Ok(())
    })
    .await
}

pub(in crate::cases) async fn three_on_one_folder(bench: &Bench<'_>) -> Result<()> {
    let tree = bench.dir.join("shared");
    let section = format!("filesystem: {{rootdirectory: {}}}", tree.display());
    DockerEngine::during(bench.dir, async |engine| {
        let said = Replicas::prove(bench.dir, engine, section).await?;
        verify_blobs(&tree.join("docker/registry/v2/blobs/sha256"))?;
        bench.note(said);
        Ok(())
    })
    .await
}

struct Replicas<'a> {
    root: &'a Path,
    clients: HostClients,
    relay: Relay,
    /// The number of times a client had to be started again.
    retries: Cell<usize>,
}

impl<'a> Replicas<'a> {
    /// Runs the clients and the checks. Gives the text to print.
    async fn prove(root: &'a Path, engine: &DockerEngine, section: String) -> Result<String> {
        let program = ServerKind::Ours.program(&Cache::open()?).await?;
        let settings = Settings {
            storage: Some(section),
            cache: true,
            ..Settings::default()
        };
        let folders = [0, 1, 2].map(|number| root.join(format!("server{number}")));
        let mut setups = Vec::new();
        for folder in &folders {
            std::fs::create_dir_all(folder)?;
            setups.push(ServerSetup::new(&program, folder)?.configured(&settings));
        }
        let mut servers = try_join_all(setups.iter().map(ServerSetup::start)).await?;
        let replicas = Self {
            root,
            clients: HostClients::new(&root.join("home"), "").await?,
            relay: Relay::start(setups.iter().map(ServerSetup::address).collect()).await?,
            retries: Cell::new(0),
        };
        let clients: [LocalBoxFuture<'_, Result<()>>; 3] = [
            Box::pin(replicas.crane()),
            Box::pin(replicas.skopeo()),
            Box::pin(replicas.docker(engine)),
        ];
        let killed = Cell::new(false);
        let work = async {
            try_join_all(clients).await?;
            ensure!(killed.get(), "the clients were done before a server was killed");
            anyhow::Ok(())
        };
        let accident = async {
            replicas.requests(KILLED_AFTER).await?;
            servers.swap_remove(0).kill().await?;
            killed.set(true);
            replicas.requests(KILLED_AFTER + BACK_AFTER).await?;
            servers.push(setups[0].start().await?);
            anyhow::Ok(())
        };
        tokio::try_join!(work, accident)?;
        replicas.verify(&servers).await?;
        Ok(format!(
            "{} images by each of crane, skopeo and docker, {} requests, one server killed and back: {} tries more than \
             commands; {}",
            IMAGES,
            replicas.relay.seen(),
            replicas.retries.get(),
            check(&folders[0]).await?
        ))
    }

    /// Waits until the balancer has seen this number of requests.
    async fn requests(&self, count: usize) -> Result<()> {
        wait_for(&format!("{count} requests"), LIMIT, async || {
            let seen = self.relay.seen();
            Ok(if seen >= count {
                Seen::Done(())
            } else {
                Seen::NotYet(seen.to_string())
            })
        })
        .await
    }

    fn image(&self, client: &str, number: u64) -> String {
        format!("{}/{}:1", self.relay.address(), repository(client, number))
    }

    /// Runs a client's command until it succeeds, as a person would.
    async fn retried(&self, command: &Exec) -> Result<String> {
        for _ in 1..TRIES {
            match command.success().await {
                Ok(said) => return Ok(said),
                Err(_) => self.retries.set(self.retries.get() + 1),
            }
        }
        let last = command.success().await;
        last.with_context(|| format!("a client failed {TRIES} times"))
    }

    async fn crane(&self) -> Result<()> {
        for number in 0..IMAGES {
            let file = self.archive("crane", number).await?;
            let image = self.image("crane", number);
            let push = self.clients.crane().arg("push").arg(&file).arg(&image);
            self.retried(&push).await?;
            let pulled = file.with_extension("pulled");
            let pull = self.clients.crane().args(["pull", &image]).arg(&pulled);
            self.retried(&pull).await?;
        }
        Ok(())
    }

    async fn skopeo(&self) -> Result<()> {
        for number in 0..IMAGES {
            let file = self.archive("skopeo", number).await?;
            let image = format!("docker://{}", self.image("skopeo", number));
            let plain = || {
                let copy = self.clients.skopeo_copy();
                copy.args(["--src-tls-verify=false", "--dest-tls-verify=false"])
            };
            let push = plain().args([&format!("docker-archive:{}", file.display()), &image]);
            self.retried(&push).await?;
            let folder = file.with_extension("pulled");
            self.retried(&plain().args([&image, &format!("dir:{}", folder.display())]))
                .await?;
        }
        Ok(())
    }

    async fn docker(&self, engine: &DockerEngine) -> Result<()> {
        for number in 0..IMAGES {
            let image = self.image("docker", number);
            let file = self.archive("docker", number).await?;
            let docker = |arguments: &[&str]| engine.docker().args(arguments);
            docker(&["load", "--input"]).arg(&file).success().await?;
            self.retried(&docker(&["push", &image])).await?;
            docker(&["image", "rm", &image]).success().await?;
            self.retried(&docker(&["pull", &image])).await?;
        }
        Ok(())
    }

    /// A new image in a file.
    async fn archive(&self, client: &str, number: u64) -> Result<PathBuf> {
        let file = self.root.join(format!("{client}{number}.tar"));
        let seed = client.len() as u64 * 100 + number;
        self.clients
            .archive(&file, &self.image(client, number), &LAYERS, seed)
            .await?;
        Ok(file)
    }

    /// Every server serves every image completely, and all name it by one digest.
    async fn verify(&self, servers: &[Server]) -> Result<()> {
        for client in ["crane", "skopeo", "docker"] {
            for number in 0..IMAGES {
                let mut digests = Vec::new();
                for server in servers {
                    let address: SocketAddr = server.address()?;
                    let image = format!("{address}/{}:1", repository(client, number));
                    self.clients.pull_image(&image).await?;
                    digests.push(self.clients.digest(&image).await?);
                }
                ensure!(
                    digests.iter().all(|digest| *digest == digests[0]),
                    "{client} {number} has several digests: {digests:?}"
                );
            }
        }
        Ok(())
    }
}

fn repository(client: &str, number: u64) -> String {
    format!("replicas/{client}{number}")
}
