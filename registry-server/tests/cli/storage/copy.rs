//! `storage copy`: between folders, killed in the middle, refused, and with broken objects.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Instant;

use registry_oci::Digest;
use rustix::process::Signal;

use crate::program::{HTTP, PATIENCE, Running, Server, command, run};
use crate::pushing::{data, push};

const PROGRAM: &str = env!("CARGO_BIN_EXE_registry-server");

/// An empty target folder, and its configuration.
fn target() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("config.yml");
    let root = folder.path().join("data");
    std::fs::write(
        &config,
        format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: \"{}\"}}}}\n",
            root.display()
        ),
    )
    .unwrap();
    (folder, config)
}

fn copy(from: &Path, to: &Path, flags: &[&str]) -> (i32, String, String) {
    let mut copy = command(PROGRAM);
    // Variables would make both the same store.
    copy.env("REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY", "/nowhere");
    run(copy.args(["storage", "copy"]).args(flags).args([from, to]))
}

fn check(config: &Path) -> (i32, String, String) {
    run(command(PROGRAM)
        .args(["storage", "check", "--digests"])
        .arg(config))
}

/// A stopped server whose store has an image, and its configuration.
fn stopped() -> (Server, PathBuf, [Digest; 4]) {
    let mut server = Server::start(HTTP);
    let digests = push(&server);
    server.signal(Signal::TERM);
    assert_eq!(server.wait(), (Some(0), None));
    let config = server.folder.path().join("config.yml");
    (server, config, digests)
}

/// Writes a blob and its link, as a server would.
fn write_blob(folder: &Path, content: &[u8]) -> Digest {
    let digest = Digest::sha256(content);
    let path = data(folder, &digest);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, content).unwrap();
    let link = folder
        .join("data/docker/registry/v2/repositories/many/_layers/sha256")
        .join(digest.hex());
    std::fs::create_dir_all(&link).unwrap();
    std::fs::write(link.join("link"), digest.to_string()).unwrap();
    digest
}

#[test]
fn a_store_is_copied_and_served_from_the_copy() {
    let (server, from, [_, layer, ..]) = stopped();
    let (folder, to) = target();
    let (code, stdout, stderr) = copy(&from, &to, &[]);
    assert_eq!((code, stdout.as_str()), (0, ""), "{stderr}");
    assert!(
        stderr.contains("Copied   4 blobs with") && stderr.contains("and 1 tags in 1 repositories"),
        "{stderr}"
    );
    assert_eq!(copy(&from, &to, &["-q"]), (0, String::new(), String::new()));
    let (code, _, stderr) = copy(&from, &to, &[]);
    assert!(
        code == 0 && stderr.contains("Copied   0 blobs") && stderr.contains("Skipped  4 blobs"),
        "{stderr}"
    );
    assert_eq!(check(&to).0, 0);
    // A server is configured to serve the copy.
    let text = std::fs::read_to_string(&to).unwrap();
    std::fs::write(
        &to,
        format!("{}{HTTP}", text.replace("level: error", "formatter: json")),
    )
    .unwrap();
    let mut serve = command(PROGRAM);
    serve.arg("serve").arg(&to);
    let copied = Server::spawn(folder, serve);
    let answer = copied.ask(&format!("GET /v2/team/app/blobs/{layer} HTTP/1.1\r\n"));
    assert_eq!((answer.status, answer.body.as_str()), (200, "layer"));
    let answer = copied.ask("GET /v2/team/app/manifests/v1 HTTP/1.1\r\n");
    assert_eq!(answer.status, 200);
    drop(server);
}

#[test]
fn a_copy_that_was_killed_goes_on_at_once_and_brings_every_byte() {
    let (server, from, _) = stopped();
    let folder = server.folder.path();
    for number in 0..1500_u32 {
        write_blob(folder, format!("small {number}").as_bytes());
    }
    let large: Vec<u8> = (0..100 << 20)
        .map(|at: u32| (at ^ (at >> 11)).to_le_bytes()[0])
        .collect();
    let large = write_blob(folder, &large);
    let (target_folder, to) = target();
    let target_data = target_folder.path().join("data/docker/registry/v2");
    let mut copying = command(PROGRAM);
    copying.args(["storage", "copy"]).args([&from, &to]);
    let child = copying
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mut child = Running(child.spawn().unwrap());
    // The copy is killed when some blobs are there.
    let deadline = Instant::now() + PATIENCE;
    let blobs = || {
        let starts = std::fs::read_dir(target_data.join("blobs/sha256"));
        starts.map_or(0, Iterator::count)
    };
    while blobs() < 20 {
        assert!(Instant::now() < deadline, "{} starts of blobs", blobs());
        assert!(
            child.0.try_wait().unwrap().is_none(),
            "it was done before it was killed"
        );
        std::thread::yield_now();
    }
    child.0.kill().unwrap();
    child.0.wait().unwrap();
    let stderr: Vec<String> = BufReader::new(child.0.stderr.take().unwrap())
        .lines()
        .map_while(Result::ok)
        .collect();
    assert!(!stderr.iter().any(|line| line.contains("Copied")), "{stderr:?}");
    assert!(
        !target_data.join("repositories").exists(),
        "no link before its payload"
    );
    assert_eq!(check(&to).0, 0, "nothing is half there");

    let (code, stdout, stderr) = copy(&from, &to, &[]);
    assert_eq!((code, stdout.as_str()), (0, ""), "{stderr}");
    assert!(!stderr.contains("Skipped  0 blobs"), "{stderr}");
    let (code, stdout, stderr) = check(&to);
    assert_eq!((code, stdout.as_str()), (0, ""), "{stderr}");
    assert!(stderr.contains("1505 blobs with 100."), "{stderr}");
    assert!(data(target_folder.path(), &large).exists());
    let left = target_folder
        .path()
        .join("data/docker/registry/berth/v1/incoming");
    assert!(!left.exists() || std::fs::read_dir(left).unwrap().count() == 0);
}

#[test]
fn what_is_broken_stays_behind_and_is_named() {
    let (server, from, [_, layer, ..]) = stopped();
    std::fs::write(data(server.folder.path(), &layer), "LAYER").unwrap();
    let (folder, to) = target();
    let (code, stdout, stderr) = copy(&from, &to, &[]);
    assert_eq!(code, 3, "{stderr}");
    let lines: Vec<&str> = stdout.lines().collect();
    assert_eq!(
        lines,
        [
            format!(
                "not copied: blob {layer} is damaged: its 5 bytes have another digest, and clients refuse it"
            ),
            format!(
                "not copied: the link of team/app to blob {layer} leads to {layer}, which is missing or damaged: it \
                 cannot be pulled until it is pushed again"
            ),
        ]
    );
    assert!(
        stderr.contains("Left out 2 things") && stderr.contains("hint: `storage check"),
        "{stderr}"
    );
    assert!(!data(folder.path(), &layer).exists());
}

#[test]
fn a_copy_says_why_it_does_not_begin_or_go_on() {
    let (server, from, _) = stopped();
    let (folder, to) = target();
    let refused = |from: &Path, to: &Path, code: i32, expected: &str| {
        let got = copy(from, to, &["-q"]);
        assert_eq!((got.0, got.1.as_str()), (code, ""), "{}", got.2);
        assert!(got.2.contains(expected), "expected: {expected}\ngot: {}", got.2);
    };
    refused(
        &from,
        &from,
        2,
        "error: both configurations mean the same store\n",
    );
    refused(
        &from,
        Path::new("/no/such.yml"),
        2,
        "cannot read the configuration `/no/such.yml`",
    );
    let memory = folder.path().join("memory.yml");
    std::fs::write(&memory, "version: 0.1\nstorage: inmemory\n").unwrap();
    refused(&from, &memory, 2, "error: a store in memory");
    refused(&memory, &to, 2, "error: a store in memory");
    // A folder that is a link to itself cannot be written to.
    std::fs::create_dir_all(folder.path().join("data")).unwrap();
    std::os::unix::fs::symlink("docker", folder.path().join("data/docker")).unwrap();
    refused(&from, &to, 4, "error: cannot use the store that is copied into: ");
    refused(
        &from,
        &to,
        4,
        "hint: the same command goes on where this one ended\n",
    );
    std::fs::remove_file(folder.path().join("data/docker")).unwrap();
    // An empty source is more often a wrong configuration than an empty registry.
    let (_other, empty) = target();
    let (code, _, stderr) = copy(&empty, &to, &[]);
    assert!(
        code == 0 && stderr.contains("is its configuration right?"),
        "{stderr}"
    );
    drop(server);
}

#[test]
fn a_server_that_writes_to_the_target_is_in_the_way_unless_forced_or_read_only() {
    let (_server, from, _) = stopped();
    let live = Server::start(HTTP);
    let to = live.folder.path().join("config.yml");
    let signs = live.folder.path().join("data/docker/registry/berth/v1/writers");
    let deadline = Instant::now() + PATIENCE;
    while !std::fs::read_dir(&signs).is_ok_and(|mut signs| signs.next().is_some()) {
        assert!(Instant::now() < deadline, "no sign in {}", signs.display());
        std::thread::yield_now();
    }
    let (code, stdout, stderr) = copy(&from, &to, &["-q"]);
    assert_eq!((code, stdout.as_str()), (4, ""), "{stderr}");
    assert!(
        stderr.contains(" writes to the store that is copied into\nhint: stop the server"),
        "{stderr}"
    );
    let (code, _, stderr) = copy(&from, &to, &["--force"]);
    assert_eq!(code, 0, "{stderr}");
    assert_eq!(live.ask("GET /v2/team/app/manifests/v1 HTTP/1.1\r\n").status, 200);
}
