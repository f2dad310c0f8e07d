//! `storage check`: its output, its exit codes, its trash, and live servers.

use std::path::{Path, PathBuf};
use std::time::Instant;

use registry_oci::Digest;
use rustix::process::Signal;

use crate::program::{HTTP, PATIENCE, Server, command, run};
use crate::pushing::{data, push, push_blob};

const PROGRAM: &str = env!("CARGO_BIN_EXE_registry-server");

fn check(folder: &Path, flags: &[&str]) -> (i32, String, String) {
    let mut check = command(PROGRAM);
    check.args(["storage", "check"]).args(flags);
    run(check.arg(folder.join("config.yml")))
}

fn link(folder: &Path, digest: &Digest) -> PathBuf {
    let layers = "data/docker/registry/v2/repositories/team/app/_layers/sha256";
    folder.join(layers).join(digest.hex()).join("link")
}

/// A stopped server whose store has an image.
fn stopped() -> (Server, [Digest; 4]) {
    let mut server = Server::start(HTTP);
    let digests = push(&server);
    server.signal(Signal::TERM);
    assert_eq!(server.wait(), (Some(0), None));
    (server, digests)
}

#[test]
fn a_stopped_servers_store_is_found_healthy_with_every_byte_read() {
    let (server, _) = stopped();
    let folder = server.folder.path();
    let (code, stdout, stderr) = check(folder, &[]);
    assert_eq!((code, stdout.as_str()), (0, ""), "{stderr}");
    assert!(
        stderr.contains("1 manifests and 6 links in 1 repositories, 4 blobs with")
            && stderr.contains("(bytes not read)")
            && stderr.contains("nothing broken"),
        "{stderr}"
    );
    let (code, stdout, stderr) = check(folder, &["--digests", "--repair"]);
    assert_eq!((code, stdout.as_str()), (0, ""), "{stderr}");
    assert!(
        !stderr.contains("not read") && !stderr.contains("Trash"),
        "{stderr}"
    );
    assert_eq!(check(folder, &["-q"]), (0, String::new(), String::new()));
}

#[test]
fn what_is_broken_is_told_moved_to_the_trash_and_put_back() {
    let (server, [_, layer, manifest, garbage]) = stopped();
    let folder = server.folder.path();
    std::fs::write(data(folder, &layer), "LAYER").unwrap();
    std::fs::write(link(folder, &garbage), "").unwrap();
    let (code, stdout, _) = check(folder, &[]);
    assert_eq!((code, stdout.lines().count()), (3, 1), "{stdout}");
    let (code, stdout, stderr) = check(folder, &["--digests"]);
    assert_eq!((code, stdout.lines().count()), (3, 4), "{stdout}");
    for expected in [
        format!("blob {layer} is damaged: its 5 bytes have another digest"),
        format!("manifest {manifest} of team/app mentions blob {layer}"),
        format!("the link of team/app to blob {layer} leads to {layer}, which is missing or damaged"),
        format!("the link of team/app to blob {garbage} holds no digest"),
    ] {
        assert!(
            stdout.lines().any(|line| line.starts_with(&expected)),
            "{expected}\n{stdout}"
        );
    }
    assert!(
        stderr.contains("Found    4 broken") && stderr.contains("hint: `--repair`"),
        "{stderr}"
    );

    let (code, stdout, stderr) = check(folder, &["--digests", "--repair", "--json"]);
    assert_eq!(code, 3, "the manifest lacks its layer still: {stdout}{stderr}");
    let lines: Vec<serde_json::Value> = stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();
    let with_outcome = |outcome: &str| lines.iter().filter(|line| line["fate"] == outcome).count();
    assert_eq!(
        (lines.len(), with_outcome("moved"), with_outcome("left")),
        (5, 3, 1),
        "{stdout}"
    );
    let summary = &lines[4];
    assert_eq!(
        (&summary["findings"], &summary["repaired"], &summary["open"]),
        (&4.into(), &3.into(), &1.into()),
        "{stdout}"
    );
    assert!(!data(folder, &layer).exists() && !link(folder, &layer).exists());
    assert_eq!(check(folder, &["--digests"]).0, 3);

    let run = summary["trash"].as_str().unwrap();
    let trash = folder.join("data/docker/registry/berth/v1/trash").join(run);
    let journal = std::fs::read_to_string(trash.join("journal/00000000")).unwrap();
    assert!(
        journal.contains("blob-damaged") && journal.ends_with("}\n"),
        "{journal}"
    );
    let (code, stdout, stderr) = check(folder, &["--undo", run]);
    assert_eq!((code, stdout.lines().count()), (0, 3), "{stdout}{stderr}");
    assert!(stderr.contains("3 objects are back"), "{stderr}");
    assert_eq!(std::fs::read_to_string(data(folder, &layer)).unwrap(), "LAYER");
    assert!(!trash.exists());
    let (code, _, stderr) = check(folder, &["--undo", run]);
    assert_eq!(code, 2, "{stderr}");
    assert!(
        stderr.starts_with(&format!("error: no repair `{run}` is in the trash")),
        "{stderr}"
    );
}

#[test]
fn a_push_heals_what_a_repair_made_room_for() {
    let (server, [_, layer, ..]) = stopped();
    let folder = server.folder.path();
    std::fs::write(data(folder, &layer), "").unwrap();
    assert_eq!(check(folder, &["--repair"]).0, 3);
    let mut again = command(PROGRAM);
    again.arg("serve").arg(folder.join("config.yml"));
    let other = Server::spawn(tempfile::tempdir().unwrap(), again);
    assert_eq!(push_blob(&other, "layer"), layer);
    drop(other);
    let (code, stdout, stderr) = check(folder, &["--digests"]);
    assert_eq!((code, stdout.as_str()), (0, ""), "{stderr}");
}

#[test]
fn a_server_that_writes_is_in_the_way_of_a_repair_and_not_of_a_check() {
    let server = Server::start(HTTP);
    let [.., garbage] = push(&server);
    let folder = server.folder.path();
    let signs = folder.join("data/docker/registry/berth/v1/writers");
    let deadline = Instant::now() + PATIENCE;
    while !std::fs::read_dir(&signs).is_ok_and(|mut signs| signs.next().is_some()) {
        assert!(Instant::now() < deadline, "no sign in {}", signs.display());
        std::thread::yield_now();
    }
    std::fs::write(link(folder, &garbage), "").unwrap();
    assert_eq!(check(folder, &[]).0, 3);
    let (code, stdout, stderr) = check(folder, &["--repair"]);
    assert_eq!((code, stdout.as_str()), (4, ""), "{stderr}");
    assert!(
        stderr.starts_with("error: process ")
            && stderr.contains(" writes to this store\nhint: stop the server"),
        "{stderr}"
    );
    assert!(link(folder, &garbage).exists());
    let (code, stdout, stderr) = check(folder, &["--repair", "--force"]);
    assert_eq!(code, 0, "{stdout}{stderr}");
    assert!(!link(folder, &garbage).exists());
}

#[test]
fn what_cannot_be_checked_is_refused_with_a_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.yml");
    let refused = |configuration: &str, flags: &[&str], expected: &str| {
        std::fs::write(&path, configuration).unwrap();
        let (code, stdout, stderr) = check(folder.path(), flags);
        assert_eq!((code, stdout.as_str()), (2, ""), "{stderr}");
        assert!(stderr.contains(expected), "expected: {expected}\ngot: {stderr}");
    };
    let memory = "version: 0.1\nstorage: inmemory\n";
    refused(memory, &[], "error: a store in memory (`storage.inmemory`) ends");
    refused(memory, &["--undo", "x"], "invalid value 'x' for '--undo <RUN>'");
    refused(memory, &["--undo", &uuid(), "--repair"], "cannot be used with");
    refused("version: 0.1\n", &[], "`storage`");
    let help = run(command(PROGRAM).args(["help", "storage", "check"]));
    assert!(
        help.0 == 0 && help.1.contains("Exit codes: 0 nothing is broken"),
        "{help:?}"
    );
}

fn uuid() -> String {
    uuid::Uuid::nil().to_string()
}
