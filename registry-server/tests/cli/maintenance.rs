//! The maintenance that a server does by itself.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::program::{HTTP, Server};

/// Writes an upload into the folder of a future server. Its last write was `ago`.
fn upload(folder: &Path, id: &str, ago: Duration) -> PathBuf {
    let upload = folder
        .join("data/docker/registry/v2/repositories/team/app/_uploads")
        .join(id);
    std::fs::create_dir_all(&upload).unwrap();
    std::fs::write(upload.join("data"), "12345").unwrap();
    let file = File::options().write(true).open(upload.join("data")).unwrap();
    file.set_modified(SystemTime::now() - ago).unwrap();
    upload
}

const HOUR: Duration = Duration::from_secs(3600);

fn start(purging: &str) -> (Server, [PathBuf; 2]) {
    let folder = tempfile::tempdir().unwrap();
    let uploads = [
        upload(folder.path(), "old", HOUR * 3),
        upload(folder.path(), "young", HOUR),
    ];
    let maintenance = format!("  maintenance: {{uploadpurging: {purging}}}\n");
    let storage = format!("storage:\n  filesystem: {{rootdirectory: \"%/data\"}}\n{maintenance}");
    (
        Server::start_in_whole(folder, &format!("{storage}{HTTP}")),
        uploads,
    )
}

#[test]
fn abandoned_uploads_are_removed_in_the_background_and_one_line_says_so() {
    let (server, [old, young]) = start("{age: 2h, interval: 1s}");
    let line = server.log().wait("removed abandoned uploads");
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(
        (&line["uploads"], &line["bytes"], &line["level"]),
        (&1.into(), &5.into(), &"info".into()),
        "{line}"
    );
    assert!(!old.exists() && young.join("data").exists());
    assert!(
        !server.log().all().contains("has no effect"),
        "{}",
        server.log().all()
    );
}

#[test]
fn a_dry_run_in_the_background_only_counts() {
    let (server, [old, young]) = start("{age: 2h, interval: 1s, dryrun: true}");
    let line = server.log().wait("abandoned uploads would be removed");
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(
        (&line["uploads"], &line["bytes"]),
        (&1.into(), &5.into()),
        "{line}"
    );
    assert!(old.join("data").exists() && young.join("data").exists());
}
