//! The two images a cluster needs before it can run any other, built without a daemon or a registry.
//!
//! Guarantees: the same busybox gives the same bytes on every machine, so digests can be compared. Must not: be used
//! for the images under test; docker builds those, as people do.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::plan::{BUSYBOX_IMAGE, PAUSE_IMAGE};

/// Debian's statically linked busybox.
const BUSYBOX: &str = "/bin/busybox";
/// Commands that are links to busybox.
const APPLETS: [&str; 39] = [
    "[",
    "awk",
    "base64",
    "cat",
    "chmod",
    "chown",
    "cp",
    "cut",
    "date",
    "dd",
    "df",
    "echo",
    "env",
    "false",
    "find",
    "grep",
    "head",
    "hostname",
    "id",
    "ln",
    "ls",
    "mkdir",
    "mv",
    "nslookup",
    "od",
    "printf",
    "ps",
    "rm",
    "sed",
    "seq",
    "sh",
    "sha256sum",
    "sleep",
    "sort",
    "stat",
    "tail",
    "test",
    "true",
    "wc",
];

/// The reader of an archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reader {
    /// docker, from which the cases push.
    Docker,
    /// The kubelet's containerd. Its images have another digest: since 1.35 a kubelet that has pulled an image with a
    /// login wants one from every Pod that uses an image of this digest, also under a name that was loaded.
    Kubelet,
}

/// An archive as `docker load` and `ctr images import` read it, with both images in it.
pub(crate) fn archive(reader: Reader) -> Result<Vec<u8>> {
    let layer = layer().context("cannot make the layer of the first images")?;
    let diff = format!("sha256:{}", hex(&layer));
    let shell = config(&diff, &["/bin/sh"], reader);
    // A pause container only has to stay; nothing calls it.
    let pause = config(&diff, &["/bin/busybox", "sleep", "2147483647"], reader);
    let entry = |tag: &str, config: &[u8]| json!({"Config": format!("{}.json", hex(config)), "RepoTags": [tag], "Layers": ["layer.tar"]});
    let manifest = json!([entry(BUSYBOX_IMAGE, &shell), entry(PAUSE_IMAGE, &pause)]).to_string();
    let mut archive = tar::Builder::new(Vec::new());
    for (name, bytes) in [
        (format!("{}.json", hex(&shell)), shell.as_slice()),
        (format!("{}.json", hex(&pause)), pause.as_slice()),
        ("layer.tar".to_owned(), layer.as_slice()),
        ("manifest.json".to_owned(), manifest.as_bytes()),
    ] {
        file(&mut archive, &name, 0o644, bytes).context("cannot write an archive in memory")?;
    }
    archive.into_inner().context("cannot finish an archive in memory")
}

fn config(diff: &str, command: &[&str], reader: Reader) -> Vec<u8> {
    let labels = match reader {
        Reader::Docker => json!({}),
        Reader::Kubelet => json!({"berth.test/loaded-by": "suite"}),
    };
    json!({
        "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
        "os": "linux",
        "config": {"Cmd": command, "Env": ["PATH=/bin"], "Labels": labels},
        "rootfs": {"type": "layers", "diff_ids": [diff]},
    })
    .to_string()
    .into_bytes()
}

fn layer() -> Result<Vec<u8>> {
    let busybox = fs::read(BUSYBOX).with_context(|| format!("cannot read `{BUSYBOX}`"))?;
    let mut layer = tar::Builder::new(Vec::new());
    for (name, mode) in [
        ("bin/", 0o755),
        ("etc/", 0o755),
        ("root/", 0o700),
        ("tmp/", 0o1777),
    ] {
        let mut header = header(tar::EntryType::Directory, mode, 0);
        layer
            .append_data(&mut header, name, std::io::empty())
            .with_context(|| format!("cannot add {name}"))?;
    }
    file(&mut layer, "bin/busybox", 0o755, &busybox)?;
    file(
        &mut layer,
        "etc/passwd",
        0o644,
        b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n",
    )?;
    file(&mut layer, "etc/group", 0o644, b"root:x:0:\nnobody:x:65534:\n")?;
    for applet in APPLETS {
        let mut header = header(tar::EntryType::Symlink, 0o777, 0);
        layer
            .append_link(&mut header, Path::new("bin").join(applet), "busybox")
            .with_context(|| format!("cannot add {applet}"))?;
    }
    layer.into_inner().context("cannot finish the layer")
}

fn file(archive: &mut tar::Builder<Vec<u8>>, name: &str, mode: u32, bytes: &[u8]) -> Result<()> {
    let mut header = header(tar::EntryType::Regular, mode, bytes.len() as u64);
    archive
        .append_data(&mut header, name, bytes)
        .with_context(|| format!("cannot add {name}"))
}

fn header(kind: tar::EntryType, mode: u32, size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_archive_names_both_images_and_is_the_same_every_time() {
        let bytes = archive(Reader::Kubelet).unwrap();
        assert_eq!(bytes, archive(Reader::Kubelet).unwrap());
        let mut read = tar::Archive::new(bytes.as_slice());
        let manifest = read
            .entries()
            .unwrap()
            .map(Result::unwrap)
            .find(|entry| entry.path().unwrap().as_os_str() == "manifest.json")
            .unwrap();
        let manifest: serde_json::Value = serde_json::from_reader(manifest).unwrap();
        assert_eq!(manifest[0]["RepoTags"][0], "berth.test/busybox:1");
        assert_eq!(manifest[1]["RepoTags"][0], "berth.test/pause:1");
    }

    #[test]
    fn an_image_that_a_case_pushes_has_another_digest_than_that_of_the_node() {
        let [pushed, loaded] =
            [Reader::Docker, Reader::Kubelet].map(|reader| hex(&config("sha256:a", &["/bin/sh"], reader)));
        assert_ne!(pushed, loaded);
    }
}
