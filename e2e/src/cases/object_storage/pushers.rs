//! crane, skopeo and docker push new images one after another during an event. Start at [`push_during`].

use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

use crate::cases::ready_registry::ReadyRegistry;
use crate::fixture::USER;
use crate::local;
use crate::protocol::noise;

/// The size of an image's layer, above the size at which clients and stores use several parts.
const LAYER_BYTES: usize = 6 * 1024 * 1024;
/// The least number of pushes per client. With fewer the case would show nothing.
const PUSHES_MIN: usize = 2;

/// An image that was acknowledged.
#[derive(Clone, Debug)]
pub(in crate::cases) struct Pushed {
    pub(in crate::cases) repository: String,
    pub(in crate::cases) tag: String,
    pub(in crate::cases) digest: String,
}

impl Pushed {
    pub(in crate::cases) fn reference(&self) -> String {
        format!("{}:{}", self.repository, self.tag)
    }
}

/// Pushes with three clients at once from before `event` begins until it has ended. Gives every image. skopeo may be
/// retried `retries` times, because it does not retry by itself; crane and docker have their own numbers of retries.
///
/// # Errors
/// A push failed, or `event` did.
pub(in crate::cases) async fn push_during(
    target: &ReadyRegistry<'_>,
    name: &str,
    retries: u32,
    event: impl Future<Output = Result<()>>,
) -> Result<Vec<Pushed>> {
    let over = Cell::new(false);
    let begun = tokio::sync::Notify::new();
    let events = async {
        // A push must be under way when the event begins.
        begun.notified().await;
        event.await?;
        over.set(true);
        Ok(())
    };
    let pusher =
        |client: Client, seed: u64| {
            let pusher = Pusher {
                target,
                client,
                name,
                retries,
            };
            let (over, begun) = (&over, &begun);
            async move {
                let mut pushed = Vec::new();
                while !over.get() || pushed.len() < PUSHES_MIN {
                    begun.notify_one();
                    let number = pushed.len();
                    pushed.push(pusher.push(number, seed + number as u64).await.with_context(|| {
                        format!("push {number} of {client:?} failed while Pods were {name}")
                    })?);
                }
                anyhow::Ok(pushed)
            }
        };
    let ((), crane, skopeo, docker) = tokio::try_join!(
        events,
        pusher(Client::Crane, 1_000_000),
        pusher(Client::Skopeo, 2_000_000),
        pusher(Client::Docker, 3_000_000),
    )?;
    Ok([crane, skopeo, docker].concat())
}

#[derive(Clone, Copy, Debug)]
enum Client {
    Crane,
    Skopeo,
    Docker,
}

struct Pusher<'a> {
    target: &'a ReadyRegistry<'a>,
    client: Client,
    name: &'a str,
    retries: u32,
}

impl Pusher<'_> {
    async fn push(&self, number: usize, seed: u64) -> Result<Pushed> {
        let client = format!("{:?}", self.client).to_lowercase();
        let folder = self
            .target
            .context
            .dir
            .join(format!("{client}-{}-{number}", self.name));
        fs::create_dir(&folder)?;
        let mut pushed = Pushed {
            repository: format!("{}/{client}/{}", self.target.registry.host, self.name),
            tag: format!("t{number}"),
            digest: String::new(),
        };
        // The seed depends on the event too, because two rounds of one case must not push the same bytes.
        let seed = seed ^ self.name.bytes().fold(0, |sum, byte| sum * 31 + u64::from(byte));
        let content = noise(seed << 1, LAYER_BYTES);
        let reference = pushed.reference();
        pushed.digest = match self.client {
            Client::Crane => self.crane(&folder, &content, &reference).await?,
            Client::Skopeo => self.skopeo(&folder, &content, &reference).await?,
            Client::Docker => self.docker(&folder, &content, &reference).await?,
        };
        ensure!(
            pushed.digest.starts_with("sha256:"),
            "{client} said {:?} of `{reference}`",
            pushed.digest
        );
        fs::remove_dir_all(&folder)?;
        Ok(pushed)
    }

    async fn crane(&self, folder: &Path, content: &[u8], reference: &str) -> Result<String> {
        let layer = layer(folder, content)?;
        let crane = self.target.context.clients().crane(&self.target.ca_file);
        let said = crane
            .args(["append", "--new_tag", reference, "--new_layer"])
            .arg(&layer)
            .success()
            .await?;
        Ok(after_at(&said))
    }

    async fn skopeo(&self, folder: &Path, content: &[u8], reference: &str) -> Result<String> {
        let clients = self.target.context.clients();
        let (archive, digest) = (folder.join("image.tar"), folder.join("digest"));
        let crane = clients.crane(&self.target.ca_file);
        crane
            .args(["append", "--new_tag", "local:1", "--new_layer"])
            .arg(layer(folder, content)?)
            .arg("--output")
            .arg(&archive)
            .success()
            .await?;
        let login = format!("{USER}:{}", self.target.registry.password);
        let retries = self.retries.to_string();
        clients
            .skopeo()
            .args([
                "copy",
                "--dest-creds",
                &login,
                "--retry-times",
                &retries,
                "--digestfile",
            ])
            .arg(&digest)
            .arg(format!("docker-archive:{}", archive.display()))
            .arg(format!("docker://{reference}"))
            .success()
            .await?;
        Ok(fs::read_to_string(&digest)?.trim().to_owned())
    }

    async fn docker(&self, folder: &Path, content: &[u8], reference: &str) -> Result<String> {
        let clients = self.target.context.clients();
        fs::write(folder.join("content"), content)?;
        fs::write(
            folder.join("Dockerfile"),
            format!("FROM {}\nCOPY content /content\n", local::BUSYBOX_IMAGE),
        )?;
        clients.build(reference, folder).await?;
        let digest = clients.push(reference).await?;
        clients.docker().args(["rmi", reference]).success().await?;
        Ok(digest)
    }
}

/// A layer with one file.
fn layer(folder: &Path, content: &[u8]) -> Result<PathBuf> {
    let path = folder.join("layer.tar");
    let mut archive = tar::Builder::new(fs::File::create(&path)?);
    let mut header = tar::Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    archive.append_data(&mut header, "content", content)?;
    archive.finish()?;
    Ok(path)
}

/// crane prints `<repository>@<digest>`.
fn after_at(said: &str) -> String {
    said.trim()
        .rsplit_once('@')
        .map_or(said, |(_, digest)| digest)
        .to_owned()
}
