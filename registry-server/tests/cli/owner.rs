//! The owner of a storage: two registries must not share one, and three servers of one registry may.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use crate::program::{Server, command, run};

const MARKER: &str = "data/docker/registry/berth/v1/owner";

/// The configuration without the section `storage`, whose folder servers share.
const REST: &str = "http: {addr: \"127.0.0.1:0\", debug: {addr: \"127.0.0.1:0\"}, secret: s3cret}\n";

fn configuration(shared: &Path, owner: &str) -> String {
    format!(
        "storage: {{filesystem: {{rootdirectory: {}/data}}, maintenance: {{{owner}}}}}\n{REST}",
        shared.display()
    )
}

fn start(shared: &Path, owner: &str) -> Server {
    Server::start_in_whole(TempDir::new().unwrap(), &configuration(shared, owner))
}

/// Runs a command that is refused. Gives its error.
#[track_caller]
fn refused(arguments: &[&str], shared: &Path, owner: &str) -> String {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("config.yml");
    fs::write(&path, format!("version: 0.1\n{}", configuration(shared, owner))).unwrap();
    let mut command = command(env!("CARGO_BIN_EXE_registry-server"));
    command.args(arguments).arg(&path);
    let (code, _, stderr) = run(&mut command);
    assert_eq!(code, 2, "{stderr}");
    stderr
}

#[test]
fn replicas_share_a_storage_and_another_registry_is_refused_with_a_sentence_and_a_way_out() {
    let shared = TempDir::new().unwrap();
    let replicas: Vec<Server> = (0..3).map(|_| start(shared.path(), "owner: ci/main")).collect();
    for replica in &replicas {
        assert_eq!(replica.ask("GET /v2/ HTTP/1.1\r\n").status, 200);
    }
    let marker: serde_json::Value =
        serde_json::from_slice(&fs::read(shared.path().join(MARKER)).unwrap()).unwrap();
    assert_eq!(marker["owner"], "ci/main");
    for arguments in [
        &["serve"][..],
        &["garbage-collect", "--force"],
        &["storage", "check"],
    ] {
        let stderr = refused(arguments, shared.path(), "owner: qa/other");
        let since = marker["since"].as_str().unwrap();
        for part in [
            &format!(": the storage belongs to `ci/main` since {since} "),
            "and this server is configured as `qa/other`\n",
            "\nhint: give this registry a root directory, prefix or volume of its own; ",
            "remove `docker/registry/berth/v1/owner` from the storage",
        ] {
            assert!(stderr.contains(part), "{part:?} in {stderr}");
        }
    }
    // A server without an owner name is not refused.
    let nobody = start(shared.path(), "");
    assert_eq!(nobody.ask("GET /v2/ HTTP/1.1\r\n").status, 200);
    // A read-only server is refused too, unless its owner is the same.
    refused(
        &["serve"],
        shared.path(),
        "owner: qa/other, readonly: {enabled: true}",
    );
    start(shared.path(), "owner: ci/main, readonly: {enabled: true}");
}

#[test]
fn a_storage_without_owner_stays_so_for_who_has_no_name_and_for_who_only_reads() {
    let shared = TempDir::new().unwrap();
    for owner in ["", "owner: ''", "owner: ci/main, readonly: {enabled: true}"] {
        let server = start(shared.path(), owner);
        assert_eq!(server.ask("GET /v2/ HTTP/1.1\r\n").status, 200);
        assert!(!shared.path().join(MARKER).exists(), "{owner}");
    }
    // The owner comes from a variable, as the operator sets it.
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("config.yml");
    let text = format!(
        "version: 0.1\nlog: {{formatter: json}}\n{}",
        configuration(shared.path(), "")
    );
    fs::write(&path, text).unwrap();
    let mut serve = command(env!("CARGO_BIN_EXE_registry-server"));
    serve
        .arg("serve")
        .arg(&path)
        .env("REGISTRY_STORAGE_MAINTENANCE_OWNER", "ci/main");
    Server::spawn(folder, serve);
    refused(&["serve"], shared.path(), "owner: qa/other");
}

/// Makes a storage unreadable: its folder becomes a link to itself.
fn break_storage(shared: &Path) {
    fs::create_dir_all(shared.join("data")).unwrap();
    std::os::unix::fs::symlink("docker", shared.join("data/docker")).unwrap();
}

#[test]
fn a_storage_that_does_not_answer_at_the_start_is_asked_again_and_nothing_is_done_until_then() {
    let shared = TempDir::new().unwrap();
    break_storage(shared.path());
    let server = start(shared.path(), "owner: ci/main");
    assert_eq!(server.wait_answer("/v2/", 503).status, 503);
    let failing = server.wait_probe("/debug/health", 503).body;
    assert!(failing.contains("storage_owner"), "{failing}");
    assert_eq!(server.probe("/livez").status, 200);
    fs::remove_file(shared.path().join("data/docker")).unwrap();
    server.wait_answer("/v2/", 200);
    assert!(shared.path().join(MARKER).exists());
}

#[test]
fn a_storage_that_comes_back_as_another_registrys_ends_the_server() {
    let (shared, other) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    drop(start(other.path(), "owner: ci/main"));
    break_storage(shared.path());
    let mut server = start(shared.path(), "owner: qa/other");
    server.wait_answer("/v2/", 503);
    fs::remove_file(shared.path().join("data/docker")).unwrap();
    let (from, to) = (
        other.path().join("data/docker"),
        shared.path().join("data/docker"),
    );
    fs::rename(from, to).unwrap();
    assert_eq!(server.wait(), (Some(2), None));
    server.log().wait(": the storage belongs to `ci/main` since ");
    // The second server has not even written its heartbeat.
    let writers = shared.path().join("data/docker/registry/berth/v1/writers");
    let signs = fs::read_dir(writers).map_or(0, Iterator::count);
    assert!(signs <= 1, "only the first server's own may be left: {signs}");
}
