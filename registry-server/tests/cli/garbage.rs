//! `garbage-collect`, with and without a running server.

use std::fs::File;
use std::path::Path;
use std::time::{Duration, SystemTime};

use registry_oci::Digest;
use rustix::process::Signal;

use crate::program::{HTTP, Server, command, run};
use crate::pushing::{data, push, push_blob};

const PROGRAM: &str = env!("CARGO_BIN_EXE_registry-server");

fn collect(folder: &Path, arguments: &[&str]) -> (i32, String, String) {
    let mut collect = command(PROGRAM);
    collect
        .arg("garbage-collect")
        .args(arguments)
        .arg(folder.join("config.yml"));
    run(&mut collect)
}

/// Makes every file below a folder two hours old.
fn age(folder: &Path) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            age(&path);
        } else {
            let file = File::options().write(true).open(&path).unwrap();
            file.set_modified(SystemTime::now() - Duration::from_secs(7200))
                .unwrap();
        }
    }
}

#[test]
fn a_stopped_servers_garbage_goes_once_it_is_an_hour_old() {
    let mut server = Server::start(HTTP);
    let [config, layer, manifest, garbage] = push(&server);
    let folder = server.folder.path().to_owned();
    let there = |digest: &Digest| data(&folder, digest).exists();
    server.signal(Signal::TERM);
    assert_eq!(server.wait(), (Some(0), None));

    let (code, stdout, stderr) = collect(&folder, &[]);
    assert_eq!(
        (code, stdout.as_str()),
        (
            0,
            "\n4 blobs marked, 0 blobs and 0 manifests eligible for deletion\n"
        ),
        "{stderr}"
    );
    assert!(
        stderr.contains("kept 4 blobs; 1 links and blobs are too young"),
        "{stderr}"
    );
    age(&folder.join("data/docker/registry/v2"));
    let expected = format!(
        "team/app: layer link eligible for deletion: {garbage}\nblob eligible for deletion: {garbage}\n\n\
         3 blobs marked, 1 blobs and 0 manifests eligible for deletion\n"
    );
    for (flags, says) in [
        (
            &["-d"][..],
            "Would sweep 0 manifests and 1 blobs, 7 bytes to free, 0 errors",
        ),
        (&["--dry-run=true", "-q=false"], "Would sweep"),
        (&["-dm"], "Would sweep"),
        (
            &["-d=false", "--delete-untagged=1"],
            "Swept    0 manifests and 1 blobs, 7 bytes freed, 0 errors",
        ),
    ] {
        assert!(there(&garbage), "{flags:?}");
        let (code, stdout, stderr) = collect(&folder, flags);
        assert_eq!(
            (code, stdout.as_str()),
            (0, expected.as_str()),
            "{flags:?}: {stderr}"
        );
        assert!(stderr.contains(says), "{flags:?}: {stderr}");
    }
    assert_eq!(
        [garbage, config, layer, manifest].map(|digest| there(&digest)),
        [false, true, true, true]
    );
    assert_eq!(collect(&folder, &["-mq"]), (0, String::new(), String::new()));
}

#[test]
fn a_server_that_writes_is_named_and_nothing_goes_unless_forced() {
    let server = Server::start(HTTP);
    let [.., garbage] = push(&server);
    let folder = server.folder.path();
    let signs = folder.join("data/docker/registry/berth/v1/writers");
    let deadline = std::time::Instant::now() + crate::program::PATIENCE;
    while !std::fs::read_dir(&signs).is_ok_and(|mut signs| signs.next().is_some()) {
        assert!(
            std::time::Instant::now() < deadline,
            "no sign in {}",
            signs.display()
        );
        std::thread::yield_now();
    }
    let (code, stdout, stderr) = collect(folder, &["--min-age", "0"]);
    assert_eq!((code, stdout.as_str()), (4, ""), "{stderr}");
    assert!(
        stderr.starts_with("error: process ")
            && stderr.contains(" s ago) writes to this store\nhint: stop the server"),
        "{stderr}"
    );
    assert!(data(folder, &garbage).exists());
    let (code, _, stderr) = collect(folder, &["--min-age=0s", "--force"]);
    assert_eq!((code, data(folder, &garbage).exists()), (0, false), "{stderr}");
    // The server knows at once that the blob is gone, because it asks the store.
    let head = format!("HEAD /v2/team/app/blobs/{garbage} HTTP/1.1\r\n");
    assert_eq!(server.ask(&head).status, 404);
    assert_eq!(push_blob(&server, "garbage"), garbage);
    assert_eq!(server.ask(&head).status, 200);
}

#[test]
fn a_read_only_server_gives_no_sign_and_is_in_nobodys_way() {
    let folder = tempfile::tempdir().unwrap();
    let storage =
        "storage: {filesystem: {rootdirectory: \"%/data\"}, maintenance: {readonly: {enabled: true}}}\n";
    let server = Server::start_in_whole(folder, &format!("{storage}{HTTP}"));
    let (code, _, stderr) = collect(server.folder.path(), &[]);
    assert_eq!(code, 0, "{stderr}");
    assert!(
        !server
            .folder
            .path()
            .join("data/docker/registry/berth/v1/writers")
            .exists()
    );
}

#[test]
fn what_cannot_be_collected_is_refused_with_a_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |configuration: &str, flags: &[&str], expected: &str| {
        std::fs::write(folder.path().join("config.yml"), configuration).unwrap();
        let (code, stdout, stderr) = collect(folder.path(), flags);
        assert_eq!((code, stdout.as_str()), (2, ""), "{stderr}");
        assert!(stderr.contains(expected), "expected: {expected}\ngot: {stderr}");
    };
    let memory = "version: 0.1\nstorage: inmemory\n";
    refused(
        memory,
        &[],
        "error: a store in memory (`storage.inmemory`) ends with its server",
    );
    refused(
        memory,
        &["--min-age", "3600"],
        "allowed: a duration such as `1h` or `90m`, or `0`",
    );
    refused(memory, &["-d=maybe"], "allowed: `true` or `false`");
    refused("version: 0.1\n", &[], "`storage`");
}
