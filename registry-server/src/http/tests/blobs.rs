//! Pulling, mounting and deleting blobs.

use super::*;

const CONTENT: &[u8] = b"0123456789";
const DIGEST: &str = "sha256:84d89877f0d4041efb6bf91a16f0248f2fd573e6af05c19f96bedb9f882f7882";

#[tokio::test]
async fn a_blob_is_pulled_with_its_headers() {
    let server = server();
    server.push_blob("a/b", CONTENT).await;
    let headers = [
        ("content-length", "10"),
        ("content-type", "application/octet-stream"),
        ("docker-content-digest", DIGEST),
        (
            "etag",
            "\"sha256:84d89877f0d4041efb6bf91a16f0248f2fd573e6af05c19f96bedb9f882f7882\"",
        ),
        ("cache-control", "max-age=31536000"),
        ("accept-ranges", "bytes"),
        ("content-range", "-"),
    ];
    let path = format!("/v2/a/b/blobs/{DIGEST}");
    assert_eq!(server.get(&path).await.is(200, &headers).body, CONTENT);
    assert_eq!(
        server.send("HEAD", &path, &[], "").await.is(200, &headers).body,
        ""
    );
}

#[tokio::test]
async fn a_part_of_a_blob_is_pulled_by_range() {
    let server = server();
    server.push_blob("a", CONTENT).await;
    let path = format!("/v2/a/blobs/{DIGEST}");
    for (range, content_range, body) in [
        ("bytes=0-0", "bytes 0-0/10", "0"),
        ("bytes=3-5", "bytes 3-5/10", "345"),
        ("bytes=8-", "bytes 8-9/10", "89"),
        ("bytes=8-99", "bytes 8-9/10", "89"),
        ("bytes=-4", "bytes 6-9/10", "6789"),
        ("bytes=-99", "bytes 0-9/10", "0123456789"),
    ] {
        let length = body.len().to_string();
        let headers = [("content-range", content_range), ("content-length", &length)];
        let answer = server
            .send("GET", &path, &[("range", range)], "")
            .await
            .is(206, &headers);
        assert_eq!(answer.text(), body, "{range}");
        server
            .send("HEAD", &path, &[("range", range)], "")
            .await
            .is(206, &headers);
    }
    for range in ["bytes=10-", "bytes=99-100", "bytes=5-3", "bytes=-0", "bytes=x"] {
        let asked = [("range", range)];
        let expected = [("content-range", "bytes */10")];
        server
            .send("GET", &path, &asked, "")
            .await
            .refuses(416, "RANGE_INVALID")
            .is(416, &expected);
        server.send("HEAD", &path, &asked, "").await.is(416, &expected);
    }
    server
        .send("GET", &path, &[("range", "bytes=0-1,3-4")], "")
        .await
        .is(200, &[("content-length", "10")]);
}

#[tokio::test]
async fn a_range_is_answered_only_for_the_content_it_was_begun_with() {
    let server = server();
    server.push_blob("a", CONTENT).await;
    let path = format!("/v2/a/blobs/{DIGEST}");
    let ours = format!("\"{DIGEST}\"");
    server
        .send("GET", &path, &[("range", "bytes=0-1"), ("if-range", &ours)], "")
        .await
        .is(206, &[]);
    server
        .send(
            "GET",
            &path,
            &[("range", "bytes=0-1"), ("if-range", "\"other\"")],
            "",
        )
        .await
        .is(200, &[]);
}

#[tokio::test]
async fn a_client_that_has_the_blob_is_told_so() {
    let server = server();
    server.push_blob("a", CONTENT).await;
    let path = format!("/v2/a/blobs/{DIGEST}");
    for method in ["GET", "HEAD"] {
        let tag = format!("\"{DIGEST}\"");
        let answer = server
            .send(method, &path, &[("if-none-match", &tag)], "")
            .await
            .is(304, &[("etag", &tag)]);
        assert_eq!(answer.body, "");
        server
            .send(method, &path, &[("if-none-match", "\"other\"")], "")
            .await
            .is(200, &[]);
    }
    // Not for a blob that is not there.
    server
        .send(
            "GET",
            &format!("/v2/b/blobs/{DIGEST}"),
            &[("if-none-match", "*")],
            "",
        )
        .await
        .is(404, &[]);
}

#[tokio::test]
async fn a_blob_of_another_repository_is_unknown_until_it_is_mounted() {
    let server = server();
    server.push_blob("from", CONTENT).await;
    let path = format!("/v2/to/blobs/{DIGEST}");
    server.get(&path).await.refuses(404, "BLOB_UNKNOWN");
    let mount = format!("/v2/to/blobs/uploads/?mount={DIGEST}&from=from");
    let answer = server
        .send("POST", &mount, &[], "")
        .await
        .is(201, &[("docker-content-digest", DIGEST)]);
    assert_eq!(answer.location(), path);
    assert_eq!(server.get(&path).await.is(200, &[]).body, CONTENT);
}

#[tokio::test]
async fn a_mount_that_cannot_be_had_begins_an_upload() {
    let settings = Settings {
        mount_anywhere: false,
        ..Settings::default()
    };
    let server = server_with(settings, |_| {});
    server.push_blob("from", CONTENT).await;
    let missing = Digest::sha256(b"missing");
    for query in [
        format!("mount={missing}&from=from"),
        format!("mount={DIGEST}&from=elsewhere"),
        format!("mount={DIGEST}&from=Not%20a%20name"),
        format!("mount={DIGEST}"),
        "mount=nonsense&from=from".to_owned(),
    ] {
        let answer = server
            .send("POST", &format!("/v2/to/blobs/uploads/?{query}"), &[], "")
            .await;
        assert!(
            answer.is(202, &[("range", "0-0")]).location().contains("_state="),
            "{query}"
        );
    }
}

#[tokio::test]
async fn a_mount_without_a_source_finds_the_blob_anywhere() {
    let server = server();
    server.push_blob("from", CONTENT).await;
    server
        .send("POST", &format!("/v2/to/blobs/uploads/?mount={DIGEST}"), &[], "")
        .await
        .is(201, &[]);
    server.get(&format!("/v2/to/blobs/{DIGEST}")).await.is(200, &[]);
}

#[tokio::test]
async fn a_sha512_blob_is_stored_once_and_found_under_both_digests() {
    let server = server();
    let long = Digest::of(registry_oci::Algorithm::Sha512, CONTENT).to_string();
    let path = format!("/v2/a/blobs/uploads/?digest={long}");
    server
        .send("POST", &path, &[], CONTENT)
        .await
        .is(201, &[("docker-content-digest", &long)]);
    for digest in [long.as_str(), DIGEST] {
        let answer = server.get(&format!("/v2/a/blobs/{digest}")).await;
        assert_eq!(answer.is(200, &[("docker-content-digest", digest)]).body, CONTENT);
    }
    let payloads = server
        .files()
        .keys()
        .filter(|path| path.ends_with("/data"))
        .count();
    assert_eq!(payloads, 1);
    server
        .send("POST", &format!("/v2/b/blobs/uploads/?mount={long}"), &[], "")
        .await
        .is(201, &[]);
    server.get(&format!("/v2/b/blobs/{long}")).await.is(200, &[]);
}

#[tokio::test]
async fn a_deleted_blob_is_gone_from_its_repository_only() {
    let server = server();
    server.push_blob("a", CONTENT).await;
    server.push_blob("b", CONTENT).await;
    let path = format!("/v2/a/blobs/{DIGEST}");
    server.send("DELETE", &path, &[], "").await.is(202, &[]);
    server.get(&path).await.refuses(404, "BLOB_UNKNOWN");
    server
        .send("DELETE", &path, &[], "")
        .await
        .refuses(404, "BLOB_UNKNOWN");
    server.get(&format!("/v2/b/blobs/{DIGEST}")).await.is(200, &[]);
}

#[tokio::test]
async fn deleting_is_refused_where_it_is_off() {
    let server = server_with(Settings::default(), |options| options.delete = false);
    let image = server.push_image("a", "v1", "content").await;
    let layer = Digest::sha256(b"content");
    for path in [
        format!("blobs/{layer}"),
        format!("manifests/{image}"),
        "manifests/v1".to_owned(),
    ] {
        server
            .send("DELETE", &format!("/v2/a/{path}"), &[], "")
            .await
            .refuses(405, "UNSUPPORTED");
    }
    server.get("/v2/a/manifests/v1").await.is(200, &[]);
    server.get(&format!("/v2/a/blobs/{layer}")).await.is(200, &[]);
}

#[tokio::test]
async fn digests_that_are_none_are_refused() {
    let server = server();
    for digest in [
        "sha256:abc",
        "nothing",
        "md5:d41d8cd98f00b204e9800998ecf8427e",
        "sha256:..",
    ] {
        server
            .get(&format!("/v2/a/blobs/{digest}"))
            .await
            .refuses(400, "DIGEST_INVALID");
    }
}

#[tokio::test]
async fn a_torn_blob_is_replaced_by_the_next_push() {
    let server = server();
    let digest = server.push_blob("a", CONTENT).await;
    std::fs::write(server.blob_path(&digest), "0123").unwrap();
    server.push_blob("b", CONTENT).await;
    assert_eq!(server.get(&format!("/v2/a/blobs/{DIGEST}")).await.body, CONTENT);
}

#[tokio::test]
async fn an_emptied_link_counts_as_missing_and_is_healed_by_the_next_push() {
    let server = server();
    let digest = server.push_blob("a", CONTENT).await;
    let link = format!(
        "docker/registry/v2/repositories/a/_layers/sha256/{}/link",
        digest.hex()
    );
    std::fs::write(server.folder.path().join(&link), "").unwrap();
    server
        .get(&format!("/v2/a/blobs/{DIGEST}"))
        .await
        .refuses(404, "BLOB_UNKNOWN");
    server.push_blob("a", CONTENT).await;
    server.get(&format!("/v2/a/blobs/{DIGEST}")).await.is(200, &[]);
    assert_eq!(
        std::fs::read_to_string(server.folder.path().join(&link)).unwrap(),
        DIGEST
    );
}

#[tokio::test]
async fn of_an_empty_blob_every_part_is_the_whole() {
    let server = server();
    let digest = server.push_blob("a", b"").await;
    let path = format!("/v2/a/blobs/{digest}");
    for method in ["GET", "HEAD"] {
        for range in ["bytes=0-", "bytes=0-0", "bytes=-1"] {
            let answer = server.send(method, &path, &[("range", range)], "").await;
            answer.is(200, &[("content-length", "0"), ("content-range", "-")]);
        }
    }
}

#[tokio::test]
async fn a_blob_that_if_match_does_not_list_is_not_sent() {
    let server = server();
    let digest = server.push_blob("a", b"content").await;
    let path = format!("/v2/a/blobs/{digest}");
    for method in ["GET", "HEAD"] {
        let other = [("if-match", "\"other\"")];
        server
            .send(method, &path, &other, "")
            .await
            .is(412, &[("content-length", "0")]);
        let ours = format!("\"{digest}\"");
        server
            .send(method, &path, &[("if-match", &ours)], "")
            .await
            .is(200, &[]);
    }
}
