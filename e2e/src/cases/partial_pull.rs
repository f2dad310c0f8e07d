//! A partial pull: a client that has an earlier image in the zstd:chunked format asks only for the changed files, as
//! several ranges of a layer in one request.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde_json::json;

use crate::exec::Exec;
use crate::images;
use crate::protocol::{digest, noise};
use crate::runner::Bench;
use crate::server::ServerSetup;

/// The number of files in the layer; the size of each follows.
const FILES: u64 = 60;
const FILE: usize = 120_000;
/// The files that differ in the second image. They are not neighbours, so several ranges are needed.
const CHANGED: [u64; 3] = [3, 17, 42];

/// skopeo pushes two images that differ in three files of sixty, and pulls both into one storage.
pub(super) async fn only_what_changed_is_pulled(bench: &Bench<'_>) -> Result<()> {
    let server = ServerSetup::new(&images::server_program(), bench.dir)?
        .start()
        .await?;
    let host = server.base().authority().to_owned();
    let storage = bench.dir.join("storage.conf");
    fs::write(&storage, storage_settings(bench.dir))?;
    let skopeo = |args: &[&str]| {
        // Its storage leaves a mount behind, which would keep the folder: the mount ends with this namespace.
        Exec::new("unshare")
            .args(["--mount", "skopeo", "copy"])
            .args(args)
            .env("CONTAINERS_STORAGE_CONF", storage.display().to_string())
    };
    for number in ["1", "2"] {
        let image = bench.dir.join(format!("image-{number}"));
        write_image(&image, number == "2").await?;
        let remote = format!("docker://{host}/partial/image:{number}");
        skopeo(&[
            "--dest-tls-verify=false",
            "--dest-compress-format",
            "zstd:chunked",
            &format!("dir:{}", image.display()),
            &remote,
        ])
        .success()
        .await?;
        skopeo(&[
            "--src-tls-verify=false",
            &remote,
            &format!("containers-storage:partial/image:{number}"),
        ])
        .success()
        .await?;
    }
    // The access log has the length of each answer: `"GET … HTTP/1.1" 206 360991 …`.
    let log = fs::read_to_string(bench.dir.join("server.log")).context("the server has no log")?;
    let parts: Vec<u64> = log
        .lines()
        .filter(|line| line.contains("GET /v2/partial/image/blobs/"))
        .filter_map(|line| {
            let (status, rest) = line.split_once("HTTP/1.1\" ")?.1.split_once(' ')?;
            (status == "206").then(|| rest.split(' ').next()?.parse().ok())?
        })
        .collect();
    // skopeo gets two ranges for each image: the table of the layer's files, then the files.
    let [_, whole, _, changed] = parts.as_slice() else {
        anyhow::bail!("skopeo got these parts: {parts:?}\n{log}");
    };
    ensure!(*whole > FILES * FILE as u64, "the first pull got {whole} bytes");
    ensure!(
        changed * 10 < *whole,
        "the second pull got {changed} of {whole} bytes"
    );
    bench.note(format!(
        "skopeo pulled {whole} bytes of the first image's layer and {changed} of the second's, of which 3 files of 60 differ"
    ));
    Ok(())
}

fn storage_settings(dir: &Path) -> String {
    let dir = dir.display();
    format!(
        "[storage]\ndriver = \"overlay\"\nrunroot = \"{dir}/run\"\ngraphroot = \"{dir}/graph\"\n\
         [storage.options]\npull_options = {{enable_partial_images = \"true\", use_hard_links = \"false\", ostree_repos = \"\"}}\n"
    )
}

/// An image of one layer, in the form of skopeo's `dir:`.
async fn write_image(folder: &Path, changed: bool) -> Result<()> {
    let files = folder.with_extension("files");
    fs::create_dir_all(&files)?;
    fs::create_dir_all(folder)?;
    for number in 0..FILES {
        let seed = match changed && CHANGED.contains(&number) {
            true => number + 1000,
            false => number + 1,
        };
        fs::write(files.join(format!("file-{number:02}")), noise(seed << 32, FILE))?;
    }
    let archive = folder.with_extension("tar");
    Exec::new("tar")
        .args(["--mtime=@0", "--sort=name", "-cf"])
        .arg(&archive)
        .arg("-C")
        .arg(&files)
        .arg(".")
        .success()
        .await?;
    let put = |bytes: &[u8]| -> Result<String> {
        let digest = digest(bytes);
        fs::write(folder.join(digest.trim_start_matches("sha256:")), bytes)?;
        Ok(digest)
    };
    let bytes = fs::read(&archive)?;
    let layer = put(&bytes)?;
    let config = serde_json::to_vec(&json!({
        "architecture": "amd64", "os": "linux", "config": {},
        "rootfs": {"type": "layers", "diff_ids": [layer]}, "history": [{"created_by": "files"}],
    }))?;
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": put(&config)?, "size": config.len()},
        "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": layer, "size": bytes.len()}],
    });
    fs::write(folder.join("manifest.json"), manifest.to_string())?;
    fs::write(folder.join("version"), "Directory Transport Version: 1.1\n")?;
    Ok(())
}
