//! Disks that fail, lack a feature, or go away. Debian's strace makes them: it answers system calls in place of the kernel.

use std::fs;
use std::path::Path;
use std::process::Command;

use rustix::process::Signal;
use tempfile::TempDir;

use crate::program::{HTTP, Server, command};
use crate::pushing::{data, push, push_blob};

const PROGRAM: &str = env!("CARGO_BIN_EXE_registry-server");
const OCTETS: &str = "Content-Type: application/octet-stream\r\n";

/// The server under strace, which injects the results of system calls. The server ends with strace, which a failed test
/// kills.
fn traced(injections: &[&str]) -> Command {
    let mut command = command("strace");
    command.args(["-f", "-o", "/dev/null"]);
    for injection in injections {
        command.args(["-e", &format!("inject={injection}")]);
    }
    command.args(["setpriv", "--pdeathsig", "KILL", PROGRAM]);
    command
}

fn configure(folder: &Path, maintenance: &str) {
    let text = format!(
        "version: 0.1\nlog: {{formatter: json}}\n\
         storage: {{filesystem: {{rootdirectory: {}/data}}, delete: {{enabled: true}}{maintenance}}}\n{HTTP}",
        folder.display()
    );
    fs::write(folder.join("config.yml"), text).unwrap();
}

fn start(folder: TempDir, mut program: Command) -> Server {
    let path = folder.path().join("config.yml");
    program.arg("serve").arg(path);
    Server::spawn(folder, program)
}

#[test]
fn an_upload_whose_sync_failed_is_over_for_this_server_and_for_the_next_one() {
    let folder = TempDir::new().unwrap();
    configure(folder.path(), "");
    let server = start(folder, traced(&["fsync:error=EIO"]));
    let begun = server.request("POST", "/v2/team/app/blobs/uploads/", OCTETS, b"");
    assert_eq!(begun.status, 202, "{begun:?}");
    let chunk = server.request("PATCH", &begun.location(), OCTETS, b"layer");
    assert_eq!(chunk.status, 202, "{chunk:?}");
    let digest = registry_oci::Digest::sha256(b"layer");
    let path = chunk.location();
    let separator = if path.contains('?') { '&' } else { '?' };
    let finish = format!("{path}{separator}digest={digest}");
    let failed = server.request("PUT", &finish, OCTETS, b"");
    assert_eq!(failed.status, 503, "{failed:?}");
    let repeated = server.request("PUT", &finish, OCTETS, b"");
    assert_eq!(repeated.status, 404, "{repeated:?}");
    assert!(repeated.body.contains("BLOB_UPLOAD_UNKNOWN"), "{repeated:?}");

    // Another server on the same folder, with a healthy disk: beside the first one, or after a restart.
    let well = TempDir::new().unwrap();
    fs::copy(
        server.folder.path().join("config.yml"),
        well.path().join("config.yml"),
    )
    .unwrap();
    let well = start(well, command(PROGRAM));
    let repeated = well.request("PUT", &finish, OCTETS, b"");
    assert_eq!(repeated.status, 404, "{repeated:?}");
    assert!(!data(server.folder.path(), &digest).exists());
    push_blob(&well, "layer");
}

#[test]
fn a_disk_without_hard_links_and_locks_takes_pushes_and_each_is_said_once() {
    for (renames, says) in [
        (&[][..], "the file system refuses hard links"),
        (
            &["renameat2:error=EINVAL"][..],
            "the file system knows neither hard links nor a rename that replaces nothing",
        ),
    ] {
        let folder = TempDir::new().unwrap();
        configure(folder.path(), ", maintenance: {owner: ci/main}");
        let injections = [&["linkat:error=EPERM", "flock:error=ENOLCK"][..], renames].concat();
        let server = start(folder, traced(&injections));
        let [config, ..] = push(&server);
        for _ in 0..2 {
            push(&server);
            let deleted = server.ask("DELETE /v2/team/app/manifests/v1 HTTP/1.1\r\n");
            assert_eq!(deleted.status, 202, "{deleted:?}");
        }
        let there = server.ask(&format!("HEAD /v2/team/app/blobs/{config} HTTP/1.1\r\n"));
        assert_eq!(there.status, 200);
        assert!(
            server
                .folder
                .path()
                .join("data/docker/registry/berth/v1/owner")
                .exists()
        );
        let log = server.log().all();
        for says in [says, "the file system has no locks"] {
            assert_eq!(log.matches(says).count(), 1, "{says}: {log}");
        }
    }
}

#[test]
fn what_a_killed_collection_had_set_aside_is_pulled_as_before() {
    let mut server = Server::start(HTTP);
    let [config, ..] = push(&server);
    server.signal(Signal::TERM);
    assert_eq!(server.wait(), (Some(0), None));
    let folder = std::mem::replace(&mut server.folder, TempDir::new().unwrap());
    let link = folder.path().join(format!(
        "data/docker/registry/v2/repositories/team/app/_layers/sha256/{}/link",
        config.hex()
    ));
    for path in [data(folder.path(), &config), link] {
        let mut aside = path.clone().into_os_string();
        aside.push(".01a205f9-bbfe-73a9-938b-e5b67e879071.aside");
        fs::rename(&path, aside).unwrap();
    }
    let server = start(folder, command(PROGRAM));
    let pulled = server.ask(&format!("GET /v2/team/app/blobs/{config} HTTP/1.1\r\n"));
    assert_eq!((pulled.status, pulled.body.as_str()), (200, "{}"));
}

#[test]
fn a_store_that_is_taken_away_makes_the_server_unready_and_is_not_made_anew() {
    let server = Server::start(HTTP);
    let [config, ..] = push(&server);
    let (data, away) = (
        server.folder.path().join("data"),
        server.folder.path().join("away"),
    );
    let blob = format!("/v2/team/app/blobs/{config}");
    server.wait_probe("/readyz", 200);
    fs::rename(&data, &away).unwrap();
    for request in [
        format!("GET {blob}"),
        format!("HEAD {blob}"),
        "GET /v2/team/app/manifests/v1".to_owned(),
        "GET /v2/team/app/tags/list".to_owned(),
        "GET /v2/_catalog".to_owned(),
    ] {
        let answer = server.ask(&format!("{request} HTTP/1.1\r\n"));
        assert_eq!(answer.status, 503, "{request}: {answer:?}");
    }
    let begun = server.request("POST", "/v2/team/app/blobs/uploads/", OCTETS, b"");
    assert_eq!(begun.status, 503, "{begun:?}");
    assert!(begun.body.contains("storage missing"), "{begun:?}");
    let unready = server.wait_probe("/readyz", 503);
    assert!(unready.body.contains("storagedriver_filesystem: "), "{unready:?}");
    assert!(!data.exists());
    fs::rename(&away, &data).unwrap();
    server.wait_probe("/readyz", 200);
    assert_eq!(server.ask(&format!("GET {blob} HTTP/1.1\r\n")).status, 200);
    push_blob(&server, "more");
}
