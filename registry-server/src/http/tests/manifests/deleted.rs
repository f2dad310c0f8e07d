//! Deletions: the things that they remove, and the things that stay.

use super::*;

#[tokio::test]
async fn a_deleted_manifest_takes_its_tags_along() {
    let server = server();
    let digest = server.push_image("a", "v1", "one").await;
    server.push_image("a", "v2", "two").await;
    server.push_image("a", "also-v1", "one").await;
    server
        .send("DELETE", &format!("/v2/a/manifests/{digest}"), &[], "")
        .await
        .is(202, &[]);
    server
        .get(&format!("/v2/a/manifests/{digest}"))
        .await
        .refuses(404, "MANIFEST_UNKNOWN");
    server
        .get("/v2/a/manifests/v1")
        .await
        .refuses(404, "MANIFEST_UNKNOWN");
    assert_eq!(
        server.get("/v2/a/tags/list").await.text(),
        concat!(r#"{"name":"a","tags":["v2"]}"#, "\n")
    );
}

#[tokio::test]
async fn a_deleted_tag_leaves_its_manifest() {
    let server = server();
    let digest = server.push_image("a", "v1", "one").await;
    server
        .send("DELETE", "/v2/a/manifests/v1", &[], "")
        .await
        .is(202, &[]);
    server
        .get("/v2/a/manifests/v1")
        .await
        .refuses(404, "MANIFEST_UNKNOWN");
    server
        .get(&format!("/v2/a/manifests/{digest}"))
        .await
        .is(200, &[]);
    assert!(server.files().keys().all(|path| !path.contains("/tags/v1/")));
}

#[tokio::test]
async fn a_manifest_may_be_known_by_sha512_and_deleted_under_either_digest() {
    for deleted_by in [Algorithm::Sha256, Algorithm::Sha512] {
        let server = server();
        let subject = Digest::sha256(b"subject");
        let subject = format!(r#","subject":{{"mediaType":"{OCI_MANIFEST}","digest":"{subject}","size":7}}"#);
        let manifest = server.image("a", "content", &subject).await;
        let digests = Algorithm::ALL.map(|algorithm| Digest::of(algorithm, manifest.as_bytes()).to_string());
        let path = format!("/v2/a/manifests/{}", digests[1]);
        server
            .send("PUT", &path, PUSH, manifest.clone())
            .await
            .is(201, &[("docker-content-digest", &digests[1])]);
        for digest in &digests {
            let path = format!("/v2/a/manifests/{digest}");
            server
                .get(&path)
                .await
                .is(200, &[("docker-content-digest", digest)]);
        }
        server.make_old();
        let digest = Digest::of(deleted_by, manifest.as_bytes());
        server
            .send("DELETE", &format!("/v2/a/manifests/{digest}"), &[], "")
            .await
            .is(202, &[]);
        for digest in &digests {
            server
                .get(&format!("/v2/a/manifests/{digest}"))
                .await
                .refuses(404, "MANIFEST_UNKNOWN");
        }
        let files = server.files();
        assert!(
            files.keys().all(|path| !path.contains("/subjects/")),
            "deleted by {deleted_by}: {files:?}"
        );
    }
}

#[tokio::test]
async fn a_damaged_manifest_can_be_deleted() {
    let server = server();
    let digest = server.push_image("a", "v1", "content").await;
    std::fs::write(server.blob_path(&digest), "{}").unwrap();
    server
        .send("DELETE", &format!("/v2/a/manifests/{digest}"), &[], "")
        .await
        .is(202, &[]);
    server
        .get("/v2/a/manifests/v1")
        .await
        .refuses(404, "MANIFEST_UNKNOWN");
}
