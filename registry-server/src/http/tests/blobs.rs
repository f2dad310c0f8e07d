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
}

/// Parses a `multipart/byteranges` body: the `Content-Range` and the bytes of each part.
fn parts(answer: &Answer) -> Vec<(String, String)> {
    let content_type = answer.header("content-type");
    let boundary = content_type
        .strip_prefix("multipart/byteranges; boundary=")
        .expect(content_type);
    let text = answer.text();
    let text = text.strip_prefix(&format!("--{boundary}")).unwrap();
    let text = text.strip_suffix(&format!("\r\n--{boundary}--\r\n")).unwrap();
    let separator = format!("\r\n--{boundary}");
    let parts = text.split(&separator);
    let part = |part: &str| {
        let (head, bytes) = part.split_once("\r\n\r\n").unwrap();
        let range = head
            .strip_prefix("\r\nContent-Range: ")
            .and_then(|head| head.strip_suffix("\r\nContent-Type: application/octet-stream"));
        (range.unwrap().to_owned(), bytes.to_owned())
    };
    parts.map(part).collect()
}

#[tokio::test]
async fn several_parts_of_a_blob_are_pulled_at_once() {
    let server = server();
    server.push_blob("a", CONTENT).await;
    let path = format!("/v2/a/blobs/{DIGEST}");
    for (range, expected) in [
        (
            "bytes=0-1,3-4",
            &[("bytes 0-1/10", "01"), ("bytes 3-4/10", "34")][..],
        ),
        ("bytes=8-,0-0", &[("bytes 8-9/10", "89"), ("bytes 0-0/10", "0")]),
        ("bytes=0-1,0-1", &[("bytes 0-1/10", "01"), ("bytes 0-1/10", "01")]),
        (
            "bytes=-1, 2-2 ,50-60,4-5",
            &[
                ("bytes 9-9/10", "9"),
                ("bytes 2-2/10", "2"),
                ("bytes 4-5/10", "45"),
            ],
        ),
        (
            "bytes=0-4,5-99",
            &[("bytes 0-4/10", "01234"), ("bytes 5-9/10", "56789")],
        ),
    ] {
        let headers = [
            ("content-range", "-"),
            ("accept-ranges", "bytes"),
            ("docker-content-digest", DIGEST),
        ];
        let asked = [("range", range)];
        let answer = server.send("GET", &path, &asked, "").await.is(206, &headers);
        let expected: Vec<_> = expected
            .iter()
            .map(|(range, bytes)| ((*range).to_owned(), (*bytes).to_owned()))
            .collect();
        assert_eq!(parts(&answer), expected, "{range}");
        let length = answer.body.len().to_string();
        assert_eq!(answer.header("content-length"), length, "{range}");
        let head = server.send("HEAD", &path, &asked, "").await.is(206, &headers);
        assert_eq!(head.header("content-length"), length, "{range}");
        assert_eq!(head.body, "");
    }
}

#[tokio::test]
async fn of_several_parts_those_behind_the_end_are_left_out_and_too_many_bytes_are_the_whole() {
    let server = server();
    server.push_blob("a", CONTENT).await;
    let path = format!("/v2/a/blobs/{DIGEST}");
    for method in ["GET", "HEAD"] {
        let ask = async |range: &str| server.send(method, &path, &[("range", range)], "").await;
        ask("bytes=0-1,30-40").await.is(
            206,
            &[
                ("content-range", "bytes 0-1/10"),
                ("content-type", "application/octet-stream"),
            ],
        );
        for range in ["bytes=0-,0-", "bytes=0-5,5-9"] {
            ask(range)
                .await
                .is(200, &[("content-length", "10"), ("content-range", "-")]);
        }
        for range in ["bytes=30-31,40-41", "bytes=0-1,5-3", "bytes=0-1,x"] {
            ask(range).await.is(416, &[("content-range", "bytes */10")]);
        }
        let other = [("range", "bytes=0-1,3-4"), ("if-range", "\"other\"")];
        server
            .send(method, &path, &other, "")
            .await
            .is(200, &[("content-length", "10")]);
    }
    let empty = server.push_blob("a", b"").await;
    let path = format!("/v2/a/blobs/{empty}");
    for method in ["GET", "HEAD"] {
        server
            .send(method, &path, &[("range", "bytes=0-1,3-4")], "")
            .await
            .is(200, &[("content-length", "0")]);
    }
}

#[tokio::test]
async fn a_thousand_parts_of_a_large_blob_are_pulled_at_once() {
    let server = server();
    let content: Vec<u8> = (0..3_000_000_u32).map(|at| b'a' + (at % 23) as u8).collect();
    let digest = server.push_blob("a", &content).await;
    let ranges: Vec<(usize, usize)> = (0..1024)
        .map(|at| (2_000_000 + at * 900, 2_000_000 + at * 900 + at))
        .collect();
    let list: Vec<String> = ranges
        .iter()
        .map(|(first, last)| format!("{first}-{last}"))
        .collect();
    let header = format!("bytes={}", list.join(","));
    assert!(header.len() > 16_000, "as long as those of partial pulls");
    let path = format!("/v2/a/blobs/{digest}");
    let answer = server
        .send("GET", &path, &[("range", &header)], "")
        .await
        .is(206, &[]);
    assert_eq!(answer.header("content-length"), answer.body.len().to_string());
    let parts = parts(&answer);
    assert_eq!(parts.len(), ranges.len());
    for ((first, last), (range, bytes)) in ranges.into_iter().zip(parts) {
        assert_eq!(range, format!("bytes {first}-{last}/3000000"));
        assert!(bytes.as_bytes() == &content[first..=last], "{range}");
    }
}

#[tokio::test]
async fn a_browser_neither_guesses_the_type_of_a_blob_nor_shows_it() {
    let server = server();
    let digest = server.push_blob("a", b"<script>alert(1)</script>").await;
    let path = format!("/v2/a/blobs/{digest}");
    for method in ["GET", "HEAD"] {
        for headers in [&[][..], &[("range", "bytes=0-3")], &[("range", "bytes=0-3,5-6")]] {
            let safe = [
                ("x-content-type-options", "nosniff"),
                ("content-disposition", "attachment"),
            ];
            let answer = server.send(method, &path, headers, "").await;
            let status = answer.status;
            answer.is(status, &safe);
        }
    }
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
    // A missing blob is 404 nevertheless.
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
