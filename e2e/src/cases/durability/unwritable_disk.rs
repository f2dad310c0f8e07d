//! A disk that takes no writes, because it is full or read-only. Pushes are refused with a reason, pulls go on, one
//! line of the log says it, readiness fails, and everything recovers by itself.

use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};

use super::client::{ScenarioClient, location};
use super::recording::prepare;
use super::scenario::{HERE, MANIFEST};
use crate::protocol::{digest, noise};
use crate::runner::Bench;
use crate::server::{Server, ServerSetup};
use crate::tmpfs::Tmpfs;
use crate::wait::{Seen, wait_for};

/// A small size, so that the disk is full at once.
const SIZE: u64 = 8 << 20;
/// Time limit for recovery. A server that gets no pushes retries every five seconds.
const DEADLINE: Duration = Duration::from_secs(90);
/// The number of refusals of each request. A single one would not show a flooded log.
const TIMES: usize = 20;

/// Another process fills the disk, and frees the space later.
pub(in crate::cases) async fn full_disk(bench: &Bench<'_>) -> Result<()> {
    let on = ServerOnDisk::start(bench, "storage full", "No space left on device").await?;
    let filler = on.tmpfs.host_path().join("filler");
    fill(&filler)?;
    on.refuses(false).await?;
    fs::remove_file(&filler)?;
    on.recovers(bench).await
}

/// The disk is remounted read-only, as the kernel does it after an error.
pub(in crate::cases) async fn read_only_disk(bench: &Bench<'_>) -> Result<()> {
    let on = ServerOnDisk::start(bench, "storage read-only", "Read-only file system").await?;
    on.tmpfs.remount("ro").await?;
    on.refuses(true).await?;
    on.tmpfs.remount("rw").await?;
    on.recovers(bench).await
}

/// Fills the disk until no byte fits.
fn fill(path: &Path) -> Result<()> {
    let mut file = File::create(path)?;
    for block in [64 * 1024, 1] {
        let block = vec![1; block];
        loop {
            match file.write_all(&block) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::StorageFull => break,
                Err(error) => return Err(error).context("cannot fill the disk"),
            }
        }
    }
    Ok(())
}

/// A server on a disk, with an image that was pushed while the disk took writes.
struct ServerOnDisk {
    /// The reason for clients and readiness; the cause in the log follows.
    why: &'static str,
    cause: &'static str,
    tmpfs: Tmpfs,
    server: Server,
    client: ScenarioClient,
    log: PathBuf,
    probes: PathBuf,
    store: PathBuf,
    image: Bytes,
    referrer: Bytes,
    layer: Bytes,
    /// An upload that was started before, and all its bytes.
    upload: String,
    late: Bytes,
}

impl ServerOnDisk {
    async fn start(bench: &Bench<'_>, why: &'static str, cause: &'static str) -> Result<Self> {
        let program = prepare(bench.dir)?;
        let folder = bench.dir.join("disk");
        fs::create_dir(&folder)?;
        let tmpfs = Tmpfs::new(&folder, SIZE).await?;
        let probes = bench.dir.join("probes");
        let server = ServerSetup::new(&program, bench.dir)?
            .keeping_data_in(&folder.join("data"))
            .with("REGISTRY_STORAGE_DELETE_ENABLED", "true")
            .with("REGISTRY_HTTP_DEBUG_ADDR", &probes.display().to_string())
            .wrapped_in(tmpfs.command_prefix())
            .start()
            .await?;
        let client = ScenarioClient::new(server.base())?;
        let layer = noise(21, 300_000);
        let (image, referrer) = manifests(&layer);
        let mut on = Self {
            why,
            cause,
            store: tmpfs.host_path().join("data"),
            log: bench.dir.join("server.log"),
            tmpfs,
            server,
            client,
            probes,
            upload: String::new(),
            late: noise(22, 1_500_000),
            image,
            referrer,
            layer,
        };
        on.push(&on.layer).await?;
        on.push(&Bytes::from_static(b"{}")).await?;
        on.tag("before", &on.image, StatusCode::CREATED).await?;
        on.tag("referrer", &on.referrer, StatusCode::CREATED).await?;
        on.tag("spare", &on.image, StatusCode::CREATED).await?;
        // Another server would leave the tree so. Ours writes the entry of a missing referrer when it is asked.
        fs::remove_dir_all(on.store.join("docker/registry/berth/v1/repositories"))?;
        let (status, answer) = on.ask(Method::POST, &uploads(""), Bytes::new()).await?;
        ensure!(status == StatusCode::ACCEPTED, "an upload: {status}");
        on.upload = location(&answer)?;
        on.await_ready(StatusCode::OK).await?;
        Ok(on)
    }

    /// Every kind of write is refused, and every kind of read is answered.
    async fn refuses(&self, deletes_too: bool) -> Result<()> {
        let whole = digest(&self.late);
        let put = format!("{}&digest={whole}", self.upload);
        let monolithic = uploads(&format!("?digest={whole}"));
        let mount =
            uploads(&format!("?mount={}&from={HERE}", digest(&self.layer))).replace(HERE, "durable/other");
        let tag = format!("/v2/{HERE}/manifests/refused");
        for _ in 0..TIMES {
            for (method, path, body) in [
                (Method::PATCH, &self.upload, &self.late),
                (Method::PUT, &put, &self.late),
                (Method::POST, &monolithic, &self.late),
                (Method::POST, &mount, &Bytes::new()),
                (Method::PUT, &tag, &self.image),
            ] {
                // The part of the first request that fitted is kept, and the second one continues after it.
                let refused = self.refused(method.clone(), path, body).await?;
                ensure!(refused, "{method} {path} was not refused");
            }
            if deletes_too {
                let path = format!("/v2/{HERE}/manifests/before");
                ensure!(
                    self.refused(Method::DELETE, &path, &Bytes::new()).await?,
                    "a tag was deleted"
                );
            }
            self.pulls().await?;
        }
        if !deletes_too {
            // Deletions must work, because they free space.
            let path = format!("/v2/{HERE}/manifests/spare");
            let (status, _) = self.ask(Method::DELETE, &path, Bytes::new()).await?;
            ensure!(status == StatusCode::ACCEPTED, "DELETE {path}: {status}");
        }
        self.await_ready(StatusCode::SERVICE_UNAVAILABLE).await?;
        let (status, _) = self.probe("/livez").await?;
        ensure!(status == StatusCode::OK, "/livez: {status}");
        self.pulls().await?;
        let lines = self.lines(&[self.why, self.cause])?;
        ensure!(
            lines.len() == 1,
            "the log says it {} times:\n{}",
            lines.len(),
            lines.join("\n")
        );
        ensure!(
            lines[0].contains("filesystem")
                && lines[0].contains("/disk/data")
                && lines[0].contains(self.cause),
            "the log names neither store nor cause: {}",
            lines[0]
        );
        Ok(())
    }

    /// Whether the request was refused, with the right text.
    async fn refused(&self, method: Method, path: &str, body: &Bytes) -> Result<bool> {
        let (status, answer) = self.ask(method.clone(), path, body.clone()).await?;
        if status.is_success() {
            return Ok(false);
        }
        let waits = answer.headers().contains_key("retry-after");
        let body: Value = answer.json().await?;
        let said = (&body["errors"][0]["code"], &body["errors"][0]["detail"]);
        ensure!(
            status == StatusCode::SERVICE_UNAVAILABLE
                && said == (&json!("UNAVAILABLE"), &json!(self.why))
                && !waits,
            "{method} {path}: {status}, {body}, Retry-Interruption {waits}"
        );
        Ok(true)
    }

    async fn pulls(&self) -> Result<()> {
        for (path, expected) in [
            (format!("/v2/{HERE}/blobs/{}", digest(&self.layer)), &self.layer),
            (format!("/v2/{HERE}/manifests/before"), &self.image),
            (
                format!("/v2/{HERE}/manifests/{}", digest(&self.image)),
                &self.image,
            ),
        ] {
            let (status, _) = self.ask(Method::HEAD, &path, Bytes::new()).await?;
            ensure!(status == StatusCode::OK, "HEAD {path}: {status}");
            let (status, answer) = self.ask(Method::GET, &path, Bytes::new()).await?;
            ensure!(status == StatusCode::OK, "GET {path}: {status}");
            ensure!(answer.bytes().await? == *expected, "GET {path}: other bytes");
        }
        let path = format!("/v2/{HERE}/referrers/{}", digest(&self.image));
        for path in [&path, "/v2/_catalog", &format!("/v2/{HERE}/tags/list")] {
            let (status, answer) = self.ask(Method::GET, path, Bytes::new()).await?;
            let body = answer.text().await?;
            ensure!(status == StatusCode::OK, "GET {path}: {status}: {body}");
            ensure!(
                !path.contains("/referrers/") || body.contains(&digest(&self.referrer)),
                "GET {path}: {body}"
            );
        }
        Ok(())
    }

    /// With free space, readiness recovers by itself, the upload continues where it was, and all refused requests
    /// succeed.
    async fn recovers(mut self, bench: &Bench<'_>) -> Result<()> {
        self.await_ready(StatusCode::OK).await?;
        ensure!(self.server.runs()?, "the server has ended");
        let recovered = self.lines(&["takes writes again"])?;
        ensure!(
            recovered.len() == 1,
            "the log says it is over {} times",
            recovered.len()
        );
        whole(&self.store)?;
        let (status, answer) = self.ask(Method::GET, &self.upload, Bytes::new()).await?;
        ensure!(status == StatusCode::NO_CONTENT, "the upload: {status}");
        let range = answer.headers().get("range").context("no `Range`")?.to_str()?;
        let last: usize = range.strip_prefix("0-").context("no range")?.parse()?;
        let held = if last == 0 { 0 } else { last + 1 };
        ensure!(held <= self.late.len(), "the upload holds {held} bytes");
        let put = format!("{}&digest={}", location(&answer)?, digest(&self.late));
        let (status, _) = self.ask(Method::PUT, &put, self.late.slice(held..)).await?;
        ensure!(status == StatusCode::CREATED, "the rest of the upload: {status}");
        self.push(&self.late).await?;
        self.tag("refused", &self.image, StatusCode::CREATED).await?;
        let path = format!("/v2/{HERE}/blobs/{}", digest(&self.late));
        let (_, answer) = self.ask(Method::GET, &path, Bytes::new()).await?;
        ensure!(
            answer.bytes().await? == self.late,
            "the upload's blob has other bytes"
        );
        self.pulls().await?;
        whole(&self.store)?;
        bench.note(format!(
            "{} writes refused with `{}`, one line in the log, ready again without a restart, {held} bytes of an upload kept",
            TIMES * 5,
            self.why
        ));
        self.server.kill().await?;
        self.tmpfs.end().await
    }

    /// Waits until `/readyz` says so.
    async fn await_ready(&self, expected: StatusCode) -> Result<()> {
        wait_for(&format!("/readyz to be {expected}"), DEADLINE, async || {
            let (status, said) = self.probe("/readyz").await?;
            let right = status == expected && (status.is_success() || said.contains(self.why));
            Ok(match right {
                true => Seen::Done(()),
                false => Seen::NotYet(format!("{status}: {said}")),
            })
        })
        .await
    }

    async fn probe(&self, path: &str) -> Result<(StatusCode, String)> {
        let client = Client::builder().unix_socket(self.probes.as_path()).build()?;
        let answer = client.get(format!("http://localhost{path}")).send().await?;
        Ok((answer.status(), answer.text().await?))
    }

    /// The lines of the log that contain one of these texts.
    fn lines(&self, words: &[&str]) -> Result<Vec<String>> {
        let log = fs::read_to_string(&self.log)?;
        let lines = log
            .lines()
            .filter(|line| words.iter().any(|word| line.contains(word)));
        Ok(lines.map(str::to_owned).collect())
    }

    async fn ask(&self, method: Method, path: &str, body: Bytes) -> Result<(StatusCode, reqwest::Response)> {
        let answer = self.client.request(method, path, body)?.send().await?;
        Ok((answer.status(), answer))
    }

    async fn push(&self, blob: &Bytes) -> Result<()> {
        let path = uploads(&format!("?digest={}", digest(blob)));
        let (status, _) = self.ask(Method::POST, &path, blob.clone()).await?;
        ensure!(status == StatusCode::CREATED, "POST {path}: {status}");
        Ok(())
    }

    async fn tag(&self, tag: &str, manifest: &Bytes, expected: StatusCode) -> Result<()> {
        let path = format!("/v2/{HERE}/manifests/{tag}");
        let (status, _) = self.ask(Method::PUT, &path, manifest.clone()).await?;
        ensure!(status == expected, "PUT {path}: {status}");
        Ok(())
    }
}

fn uploads(query: &str) -> String {
    format!("/v2/{HERE}/blobs/uploads/{query}")
}

/// An image, and a manifest that refers to it.
fn manifests(layer: &Bytes) -> (Bytes, Bytes) {
    let mut document = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest(b"{}"), "size": 2},
        "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": digest(layer), "size": layer.len()}],
    });
    let image = Bytes::from(document.to_string());
    document["subject"] = json!({"mediaType": MANIFEST, "digest": digest(&image), "size": image.len()});
    (image, Bytes::from(document.to_string()))
}

/// Checks that the store is complete: no temporary file, no link without a digest, no blob with other bytes.
fn whole(store: &Path) -> Result<()> {
    let mut folders = vec![store.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let shown = path.display();
            ensure!(!name.ends_with(".tmp"), "`{shown}` was left");
            if name == "link" {
                let link = fs::read_to_string(&path)?;
                ensure!(link.len() == 71, "`{shown}` holds {link:?}");
            }
            let folder = path.parent().and_then(Path::file_name).unwrap_or_default();
            if name == "data" && !shown.to_string().contains("_uploads") {
                let found = digest(&fs::read(&path)?);
                ensure!(
                    found.ends_with(&*folder.to_string_lossy()),
                    "`{shown}` holds {found}"
                );
            }
        }
    }
    Ok(())
}
