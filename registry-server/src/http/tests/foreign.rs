//! A store that other servers have written to, and that their crashes have damaged.

use super::*;
use crate::storage::layout::ObjectPath;
use registry_oci::{RepositoryName, Tag};

const PUSH: Headers<'_> = &[("content-type", OCI_MANIFEST)];

impl Server {
    fn write(&self, place: &ObjectPath, content: &str) {
        let path = self.path_of(place);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    fn path_of(&self, place: &ObjectPath) -> PathBuf {
        self.folder.path().join(place.key().as_str())
    }

    /// Stores a manifest as another server would. Our server need not accept it.
    fn left(&self, name: &str, tag: &str, document: &str) -> Digest {
        let digest = Digest::sha256(document.as_bytes());
        let (repository, tag) = (RepositoryName::parse(name).unwrap(), Tag::parse(tag).unwrap());
        self.write(&ObjectPath::BlobData { digest }, document);
        let text = digest.to_string();
        let r = || repository.clone();
        self.write(
            &ObjectPath::RevisionLink {
                repository: r(),
                digest,
            },
            &text,
        );
        self.write(
            &ObjectPath::TagIndex {
                repository: r(),
                tag: tag.clone(),
                digest,
            },
            &text,
        );
        self.write(&ObjectPath::TagCurrent { repository: r(), tag }, &text);
        digest
    }
}

#[tokio::test]
async fn manifests_that_are_no_longer_taken_are_served_as_they_are_stored() {
    let server = server();
    let subject = server.push_image("a", "v1", "content").await;
    let blob = Digest::sha256(b"content");
    let v1 = "application/vnd.docker.distribution.manifest.v1";
    for (document, media_type) in [
        (
            format!(
                r#"{{"schemaVersion":1,"name":"a","tag":"old","fsLayers":[{{"blobSum":"{blob}"}}],"signatures":[{{}}]}}"#
            ),
            format!("{v1}+prettyjws"),
        ),
        (
            format!(r#"{{"schemaVersion":1,"name":"a","tag":"old","fsLayers":[{{"blobSum":"{blob}"}}]}}"#),
            format!("{v1}+json"),
        ),
        // The config has no type and no size, and one key occurs twice. It has a subject nevertheless.
        (
            format!(
                r#"{{"schemaVersion":2,"config":{{"digest":"{blob}"}},"layers":[],"layers":[{{"digest":"{blob}","size":-7}}],"subject":{{"digest":"{subject}"}}}}"#
            ),
            OCI_MANIFEST.to_owned(),
        ),
        (
            format!(r#"{{"manifests":[{{"digest":"{blob}","platform":7}}],"annotations":{{"a":1}}}}"#),
            OCI_INDEX.to_owned(),
        ),
        (
            r#"{"mediaType":"application/vnd.oci.artifact.manifest.v1+json","blobs":[]}"#.to_owned(),
            "application/vnd.oci.artifact.manifest.v1+json".to_owned(),
        ),
    ] {
        let digest = server.left("a", "old", &document).to_string();
        let headers = [
            ("content-type", media_type.as_str()),
            ("docker-content-digest", &digest),
        ];
        for reference in ["old", &digest] {
            let path = format!("/v2/a/manifests/{reference}");
            assert_eq!(server.get(&path).await.is(200, &headers).text(), document);
            server.send("HEAD", &path, &[], "").await.is(200, &headers);
        }
        let referrers = server
            .get(&format!("/v2/a/referrers/{subject}"))
            .await
            .is(200, &[])
            .json();
        let expected = usize::from(document.contains("subject"));
        let found = referrers["manifests"].as_array().unwrap();
        let found = found
            .iter()
            .filter(|entry| entry["digest"] == digest.as_str())
            .count();
        assert_eq!(found, expected, "{document}: {referrers}");
        // A client that accepts only images asks for a document that may be a list. That must cause no error of the
        // server.
        let image_only: Headers<'_> = &[("accept", "application/vnd.docker.distribution.manifest.v2+json")];
        let answer = server.send("GET", "/v2/a/manifests/old", image_only, "").await;
        assert!(answer.status < 500, "{document}: {answer:?}");
        server
            .send("DELETE", &format!("/v2/a/manifests/{digest}"), &[], "")
            .await
            .is(202, &[]);
    }
}

#[tokio::test]
async fn broken_links_make_things_unknown_until_they_are_pushed_again_and_can_be_deleted() {
    let long = "x".repeat(5000);
    for content in ["", "\0\0\0\0", "sha256:short", "\u{fffd}", &long] {
        let server = server();
        let digest = server.push_image("a", "v1", "content").await;
        let repository = || RepositoryName::parse("a").unwrap();
        let layer = Digest::sha256(b"content");
        let tag = Tag::parse("v1").unwrap();
        let places = [
            (
                ObjectPath::LayerLink {
                    repository: repository(),
                    digest: layer,
                },
                format!("blobs/{layer}"),
                "BLOB_UNKNOWN",
            ),
            (
                ObjectPath::TagCurrent {
                    repository: repository(),
                    tag,
                },
                "manifests/v1".to_owned(),
                "MANIFEST_UNKNOWN",
            ),
            (
                ObjectPath::RevisionLink {
                    repository: repository(),
                    digest,
                },
                format!("manifests/{digest}"),
                "MANIFEST_UNKNOWN",
            ),
        ];
        for (place, path, code) in &places {
            let path = format!("/v2/a/{path}");
            server.get(&path).await.is(200, &[]);
            server.write(place, content);
            server.get(&path).await.refuses(404, code);
            server.send("HEAD", &path, &[], "").await.is(404, &[]);
            server.get("/v2/a/tags/list").await.is(200, &[]);
            server
                .get(&format!("/v2/a/referrers/{digest}"))
                .await
                .is(200, &[]);
            server.get("/v2/_catalog").await.is(200, &[]);
            server.push_image("a", "v1", "content").await;
            server.get(&path).await.is(200, &[]);
        }
        // A broken object can be deleted, too.
        for (place, path, _) in &places[1..] {
            server.write(place, content);
            server
                .send("DELETE", &format!("/v2/a/{path}"), &[], "")
                .await
                .is(202, &[]);
            assert!(!server.path_of(place).exists(), "{place:?}");
        }
        assert_eq!(
            server.get("/v2/a/tags/list").await.text(),
            "{\"name\":\"a\",\"tags\":[]}\n"
        );
    }
}

/// Only distribution's garbage collection reads the history of a tag. A broken entry must not make a push fail.
#[tokio::test]
async fn a_broken_entry_of_a_tags_history_changes_nothing_and_is_healed() {
    let long = "x".repeat(5000);
    for content in ["", "\0\0\0\0", "sha256:short", &long] {
        let server = server();
        let digest = server.push_image("a", "v1", "content").await;
        let entry = ObjectPath::TagIndex {
            repository: RepositoryName::parse("a").unwrap(),
            tag: Tag::parse("v1").unwrap(),
            digest,
        };
        let current = ObjectPath::TagCurrent {
            repository: RepositoryName::parse("a").unwrap(),
            tag: Tag::parse("v1").unwrap(),
        };
        let by_digest = format!("/v2/a/manifests/{digest}");
        server.write(&entry, content);
        for path in ["/v2/a/manifests/v1", &by_digest] {
            server.get(path).await.is(200, &[]);
        }
        let tags = server.get("/v2/a/tags/list").await.is(200, &[]).text();
        assert_eq!(tags, "{\"name\":\"a\",\"tags\":[\"v1\"]}\n");
        server.push_image("a", "v1", "content").await;
        assert_eq!(
            std::fs::read_to_string(server.path_of(&entry)).unwrap(),
            digest.to_string()
        );
        for path in ["/v2/a/manifests/v1", &by_digest] {
            server.write(&entry, content);
            // The entry must be older than the link of the tag: a younger one belongs to a request that is moving the
            // tag.
            server.write(&current, &digest.to_string());
            server.send("DELETE", path, &[], "").await.is(202, &[]);
            let tags = server.get("/v2/a/tags/list").await.is(200, &[]).text();
            assert_eq!(
                tags,
                "{\"name\":\"a\",\"tags\":[]}
",
                "{content:?} after DELETE {path}"
            );
            server.push_image("a", "v1", "content").await;
        }
    }
}

#[tokio::test]
async fn files_that_interrupted_writes_left_are_seen_nowhere() {
    let server = server();
    let digest = server.push_image("a/b", "v1", "content").await;
    let paths = [
        "/v2/_catalog".to_owned(),
        "/v2/a/b/tags/list".to_owned(),
        "/v2/a/b/manifests/v1".to_owned(),
        format!("/v2/a/b/referrers/{digest}"),
    ];
    let mut before = Vec::new();
    for path in &paths {
        before.push(server.get(path).await.is(200, &[]).body);
    }
    // Every folder gets a temporary file of each server, and an unknown file.
    let mut folders = vec![server.folder.path().to_owned()];
    while let Some(folder) = folders.pop() {
        let below = std::fs::read_dir(&folder)
            .unwrap()
            .map(|entry| entry.unwrap().path());
        folders.extend(below.filter(|path| path.is_dir()));
        for name in [
            "link.0b1f9a2e-7c51-4c0e-9a3d-5f0e6d7c8b9a.tmp",
            "data.tmp",
            ".DS_Store",
        ] {
            std::fs::write(folder.join(name), "x").unwrap();
        }
    }
    for (path, before) in paths.iter().zip(before) {
        assert_eq!(server.get(path).await.is(200, &[]).body, before, "{path}");
    }
    server.push_image("a/b", "v2", "more content").await;
    let path = format!("/v2/a/b/manifests/{digest}");
    server.send("DELETE", &path, &[], "").await.is(202, &[]);
    server.get(&path).await.refuses(404, "MANIFEST_UNKNOWN");
}

#[tokio::test]
async fn whatever_way_content_is_pushed_a_torn_payload_is_replaced() {
    let content = "0123456789";
    let digest = Digest::sha256(content.as_bytes());
    for way in ["POST", "POST and PUT", "POST, PATCH and PUT"] {
        for torn in ["", "01234", "9876543210", "0123456789 and more"] {
            let server = server();
            server.push_blob("a", content.as_bytes()).await;
            std::fs::write(server.blob_path(&digest), torn).unwrap();
            let begin = async || {
                server
                    .send("POST", "/v2/b/blobs/uploads/", &[], "")
                    .await
                    .is(202, &[])
                    .location()
            };
            let with_digest = |location: &str| format!("{location}&digest={digest}");
            match way {
                "POST" => {
                    server.push_blob("b", content.as_bytes()).await;
                }
                "POST and PUT" => {
                    let put = with_digest(&begin().await);
                    server.send("PUT", &put, &[], content).await.is(201, &[]);
                }
                _ => {
                    let location = begin().await;
                    let next = server
                        .send("PATCH", &location, &[], content)
                        .await
                        .is(202, &[])
                        .location();
                    server
                        .send("PUT", &with_digest(&next), &[], "")
                        .await
                        .is(201, &[]);
                }
            }
            for name in ["a", "b"] {
                let blob = server.get(&format!("/v2/{name}/blobs/{digest}")).await;
                assert_eq!(blob.is(200, &[]).text(), content, "{way} over {torn:?}");
            }
        }
    }
    let server = server();
    let manifest = server.image("a", content, "").await;
    let digest = Digest::sha256(manifest.as_bytes());
    for reference in ["v1".to_owned(), digest.to_string()] {
        let path = format!("/v2/a/manifests/{reference}");
        server
            .send("PUT", &path, PUSH, manifest.clone())
            .await
            .is(201, &[]);
        std::fs::write(server.blob_path(&digest), &manifest[..manifest.len() / 2]).unwrap();
        server.get(&path).await.refuses(404, "MANIFEST_UNKNOWN");
        server
            .send("PUT", &path, PUSH, manifest.clone())
            .await
            .is(201, &[]);
        assert_eq!(server.get(&path).await.is(200, &[]).text(), manifest);
    }
}

/// A tag is moved to another manifest while its first manifest is deleted, a hundred times. The tag is never deleted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tag_that_is_moved_while_its_manifest_is_deleted_stays() {
    let server = Arc::new(server());
    let kept = server.image("a", "kept", "").await;
    for round in 0..100 {
        let dropped = server
            .push_image("a", "latest", &format!("dropped {round}"))
            .await;
        let other = Arc::clone(&server);
        let moved = tokio::spawn({
            let kept = kept.clone();
            async move { other.send("PUT", "/v2/a/manifests/latest", PUSH, kept).await }
        });
        let path = format!("/v2/a/manifests/{dropped}");
        server.send("DELETE", &path, &[], "").await.is(202, &[]);
        moved.await.unwrap().is(201, &[]);
        let tag = server.get("/v2/a/manifests/latest").await;
        assert_eq!(tag.is(200, &[]).text(), kept, "round {round}");
    }
}
