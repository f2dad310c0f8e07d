//! Mistakes of clients in uploads, after which the upload can continue.

use super::*;

#[tokio::test]
async fn a_chunk_out_of_order_is_refused_and_the_upload_goes_on() {
    let server = server();
    let location = start(&server, "a").await;
    let range = |range| [("content-range", range)];
    let location = server
        .send("PATCH", &location, &range("0-4"), "01234")
        .await
        .is(202, &[])
        .location();
    for (wrong, body) in [("6-8", "678"), ("0-4", "01234"), ("4-5", "45")] {
        let answer = server
            .send("PATCH", &location, &range(wrong), body)
            .await
            .refuses(416, "RANGE_INVALID");
        let answer = answer.is(416, &[("range", "0-4")]);
        assert!(answer.location().contains("_state="));
        let put = format!("{location}&digest={DIGEST}");
        server
            .send("PUT", &put, &range(wrong), body)
            .await
            .refuses(416, "RANGE_INVALID");
    }
    let location = server
        .send("PATCH", &location, &range("5-9"), "56789")
        .await
        .is(202, &[])
        .location();
    server
        .send("PUT", &format!("{location}&digest={DIGEST}"), &[], "")
        .await
        .is(201, &[]);
}

#[tokio::test]
async fn content_ranges_that_do_not_fit_the_request_are_refused() {
    let server = server();
    let location = start(&server, "a").await;
    for malformed in ["bytes 0-9/10", "x", "9-0", "0", "-"] {
        let headers = [("content-range", malformed)];
        server
            .send("PATCH", &location, &headers, CONTENT)
            .await
            .refuses(416, "RANGE_INVALID");
    }
    server
        .send("PATCH", &location, &[("content-range", "0-8")], CONTENT)
        .await
        .refuses(400, "SIZE_INVALID");
    server.get(&location).await.is(204, &[("range", "0-0")]);
}

#[tokio::test]
async fn a_stale_location_is_refused_and_the_status_tells_where_to_go_on() {
    let server = server();
    let first = start(&server, "a").await;
    server.send("PATCH", &first, &[], "01234").await.is(202, &[]);
    let refused = server
        .send("PATCH", &first, &[], "56789")
        .await
        .refuses(416, "RANGE_INVALID");
    refused.is(416, &[("range", "0-4")]);
    // A GET of the old location returns the progress and a new location.
    let fresh = server.get(&first).await.is(204, &[("range", "0-4")]).location();
    assert_ne!(fresh, first);
    server
        .send("PATCH", &fresh, &[], "56789")
        .await
        .is(202, &[("range", "0-9")]);
    // A client that sends `Content-Range` can keep its old location.
    let headers = [("content-range", "10-10")];
    server
        .send("PATCH", &first, &headers, "x")
        .await
        .is(202, &[("range", "0-10")]);
}

#[tokio::test]
async fn a_wrong_digest_is_refused_and_leaves_neither_blob_nor_upload() {
    let server = server();
    let location = start(&server, "a").await;
    let put = format!("{location}&digest={DIGEST}");
    let answer = server
        .send("PUT", &put, &[], "other bytes")
        .await
        .refuses(400, "DIGEST_INVALID");
    assert!(
        answer.text().contains("was sent as sha256:84d8"),
        "{}",
        answer.text()
    );
    assert_eq!(server.files(), BTreeMap::new());
    server.get(&location).await.refuses(404, "BLOB_UPLOAD_UNKNOWN");
    let post = format!("/v2/a/blobs/uploads/?digest={DIGEST}");
    server
        .send("POST", &post, &[], "other bytes")
        .await
        .refuses(400, "DIGEST_INVALID");
    assert_eq!(server.files(), BTreeMap::new());
}

#[tokio::test]
async fn a_missing_or_malformed_digest_is_refused_and_the_upload_goes_on() {
    let server = server();
    let location = start(&server, "a").await;
    let location = server.send("PATCH", &location, &[], CONTENT).await.location();
    for query in [
        "",
        "&digest=",
        "&digest=sha256:abc",
        "&digest=nonsense",
        "&digest=md5:d41d8cd98f00b204e9800998ecf8427e",
    ] {
        let put = format!("{location}{query}");
        server
            .send("PUT", &put, &[], "")
            .await
            .refuses(400, "DIGEST_INVALID");
    }
    server
        .send("PUT", &format!("{location}&digest={DIGEST}"), &[], "")
        .await
        .is(201, &[]);
}

#[tokio::test]
async fn tokens_that_are_not_of_this_upload_are_refused() {
    let server = server();
    let (one, two) = (start(&server, "a").await, start(&server, "a").await);
    let (path, token) = one.split_once("?_state=").unwrap();
    let (_, foreign) = two.split_once("?_state=").unwrap();
    let mut tampered = token.to_owned().into_bytes();
    tampered[60] ^= 1;
    let tampered = String::from_utf8(tampered).unwrap();
    let before = server.files();
    for state in [
        "",
        "?_state=",
        "?_state=nonsense",
        &format!("?_state={foreign}"),
        &format!("?_state={tampered}"),
    ] {
        let target = format!("{path}{state}");
        server
            .send("PATCH", &target, &[], "x")
            .await
            .refuses(404, "BLOB_UPLOAD_INVALID");
        let separator = if state.is_empty() { '?' } else { '&' };
        let put = format!("{target}{separator}digest={DIGEST}");
        server
            .send("PUT", &put, &[], CONTENT)
            .await
            .refuses(404, "BLOB_UPLOAD_INVALID");
        server
            .send("DELETE", &target, &[], "")
            .await
            .refuses(404, "BLOB_UPLOAD_INVALID");
    }
    let elsewhere = one.replace("/v2/a/", "/v2/b/");
    server
        .send("PATCH", &elsewhere, &[], "x")
        .await
        .refuses(404, "BLOB_UPLOAD_INVALID");
    assert_eq!(server.files(), before);
}

#[tokio::test]
async fn unknown_uploads_are_unknown() {
    let server = server();
    for id in ["01234567-89ab-7cde-8f01-23456789abcd", "no", "..", "a%2fb"] {
        let answer = server.get(&format!("/v2/a/blobs/uploads/{id}")).await;
        // A decoded slash makes this the path of another route.
        if id.contains("%2f") {
            answer.is(404, &[]);
        } else {
            answer.refuses(404, "BLOB_UPLOAD_UNKNOWN");
        }
    }
    let location = start(&server, "a").await;
    server.send("DELETE", &location, &[], "").await.is(204, &[]);
    for (method, query) in [
        ("PATCH", ""),
        (
            "PUT",
            "&digest=sha256:84d89877f0d4041efb6bf91a16f0248f2fd573e6af05c19f96bedb9f882f7882",
        ),
        ("DELETE", ""),
        ("GET", ""),
    ] {
        let target = format!("{location}{query}");
        server
            .send(method, &target, &[], "x")
            .await
            .refuses(404, "BLOB_UPLOAD_UNKNOWN");
    }
}

#[tokio::test]
async fn a_chunk_is_taken_whatever_its_type_says() {
    let server = server();
    let mut location = start(&server, "a").await;
    let types = [
        "application/octet-stream; charset=utf-8",
        "Application/Octet-Stream",
        "APPLICATION/OCTET-STREAM;charset=UTF-8",
        "application/x-www-form-urlencoded",
        "text/plain",
        "nonsense",
    ];
    for kind in types {
        let headers = [("content-type", kind)];
        location = server
            .send("PATCH", &location, &headers, "x")
            .await
            .is(202, &[])
            .location();
    }
    let digest = Digest::sha256("x".repeat(types.len()).as_bytes());
    server
        .send("PUT", &format!("{location}&digest={digest}"), &[], "")
        .await
        .is(201, &[]);
}

#[tokio::test]
async fn a_chunk_out_of_order_is_told_so_also_when_its_length_is_wrong() {
    let server = server();
    let first = start(&server, "a").await;
    let begun = server
        .send("PATCH", &first, &[], "01234")
        .await
        .is(202, &[])
        .location();
    // The range is compared with the stored bytes, not with the state in an old location.
    for location in [&first, &begun] {
        for wrong in ["6-9", "0-9", "4-4"] {
            let headers = [("content-range", wrong)];
            let put = format!("{location}&digest={DIGEST}");
            for (method, target) in [("PATCH", location), ("PUT", &put)] {
                let answer = server
                    .send(method, target, &headers, "567")
                    .await
                    .refuses(416, "RANGE_INVALID")
                    .is(416, &[("range", "0-4")]);
                assert!(answer.location().contains("_state="), "{method} {wrong}");
            }
        }
        let headers = [("content-range", "5-9")];
        server
            .send("PATCH", location, &headers, "567")
            .await
            .refuses(400, "SIZE_INVALID");
    }
    server
        .send(
            "PUT",
            &format!("{first}&digest={DIGEST}"),
            &[("content-range", "5-9")],
            "56789",
        )
        .await
        .is(201, &[]);
}
