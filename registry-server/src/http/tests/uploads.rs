//! Upload sessions: chunks, interruption, continuation, and everything a client can get wrong.

use std::pin::Pin;
use std::task::{Context, Poll};

use http_body::Frame;

use super::*;

const CONTENT: &[u8] = b"0123456789";
const DIGEST: &str = "sha256:84d89877f0d4041efb6bf91a16f0248f2fd573e6af05c19f96bedb9f882f7882";

async fn start(server: &Server, name: &str) -> String {
    server
        .send("POST", &format!("/v2/{name}/blobs/uploads/"), &[], "")
        .await
        .is(202, &[])
        .location()
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length)
        .map(|at| (at ^ (at >> 8) ^ (at >> 16)) as u8)
        .collect()
}

fn uploads_left(server: &Server) -> usize {
    server
        .files()
        .keys()
        .filter(|path| path.contains("_uploads/"))
        .count()
}

#[tokio::test]
async fn an_upload_begins_empty_with_a_location_of_its_own() {
    let server = server();
    let answer = server.send("POST", "/v2/a/b/blobs/uploads/", &[], "").await.is(
        202,
        &[
            ("range", "0-0"),
            ("content-length", "0"),
            ("docker-distribution-api-version", "registry/2.0"),
        ],
    );
    let id = answer.header("docker-upload-uuid").to_owned();
    assert!(
        answer
            .location()
            .starts_with(&format!("/v2/a/b/blobs/uploads/{id}?_state=")),
        "{answer:?}"
    );
    let home = format!("docker/registry/v2/repositories/a/b/_uploads/{id}");
    let expected = BTreeMap::from([(format!("{home}/data"), 0), (format!("{home}/startedat"), 20)]);
    assert_eq!(server.files(), expected);
}

#[tokio::test]
async fn a_blob_goes_up_in_one_request_after_the_first() {
    let server = server();
    let location = start(&server, "a").await;
    let answer = server
        .send("PUT", &format!("{location}&digest={DIGEST}"), &[], CONTENT)
        .await;
    let answer = answer.is(201, &[("docker-content-digest", DIGEST), ("content-length", "0")]);
    assert_eq!(answer.location(), format!("/v2/a/blobs/{DIGEST}"));
    assert_eq!(uploads_left(&server), 0);
}

#[tokio::test]
async fn a_blob_goes_up_in_chunks_and_the_ranges_tell_how_far() {
    let server = server();
    let mut location = start(&server, "a").await;
    for (chunk, range) in [("0", "0-0"), ("123", "0-3"), ("45", "0-5")] {
        let answer = server
            .send("PATCH", &location, &[], chunk)
            .await
            .is(202, &[("range", range)]);
        location = answer.location();
        server
            .get(&location)
            .await
            .is(204, &[("range", range), ("content-length", "-")]);
        server
            .send("HEAD", &location, &[], "")
            .await
            .is(204, &[("range", range)]);
    }
    server
        .send("PUT", &format!("{location}&digest={DIGEST}"), &[], "6789")
        .await
        .is(201, &[]);
    assert_eq!(server.get(&format!("/v2/a/blobs/{DIGEST}")).await.body, CONTENT);
    assert_eq!(uploads_left(&server), 0);
}

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
    // The status answers to the old location, and hands out a new one.
    let fresh = server.get(&first).await.is(204, &[("range", "0-4")]).location();
    assert_ne!(fresh, first);
    server
        .send("PATCH", &fresh, &[], "56789")
        .await
        .is(202, &[("range", "0-9")]);
    // A client that says where its bytes belong may keep its old location.
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
        // An encoded slash makes it another path.
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
async fn a_cancelled_upload_leaves_nothing() {
    let server = server();
    let location = start(&server, "a").await;
    let location = server.send("PATCH", &location, &[], CONTENT).await.location();
    let answer = server
        .send("DELETE", &location, &[], "")
        .await
        .is(204, &[("content-length", "-")]);
    assert!(location.contains(answer.header("docker-upload-uuid")));
    assert_eq!(server.files(), BTreeMap::new());
}

#[tokio::test]
async fn a_chunk_of_another_type_is_refused() {
    let server = server();
    let location = start(&server, "a").await;
    let headers = [("content-type", "application/x-www-form-urlencoded")];
    server
        .send("PATCH", &location, &headers, "x")
        .await
        .refuses(415, "UNSUPPORTED");
    server
        .send(
            "PATCH",
            &location,
            &[("content-type", "application/octet-stream")],
            "x",
        )
        .await
        .is(202, &[]);
}

/// A body that sends some bytes and then breaks off, as the one of a client that went away does.
struct Broken {
    bytes: Option<Bytes>,
}

impl http_body::Body for Broken {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Poll::Ready(Some(match self.bytes.take() {
            Some(bytes) => Ok(Frame::data(bytes)),
            None => Err(std::io::ErrorKind::UnexpectedEof.into()),
        }))
    }
}

#[tokio::test]
async fn what_came_before_a_client_went_away_is_kept_and_the_upload_goes_on() {
    let server = server();
    let content = pattern(3_000_000);
    let digest = Digest::sha256(&content);
    for cut in [0, 1, 1_000_000, 2_500_000] {
        let location = start(&server, "a").await;
        let body = Broken {
            bytes: Some(Bytes::copy_from_slice(&content[..cut])),
        };
        let request = Request::patch(&location)
            .header("host", "registry.test")
            .header("content-length", 3_000_000);
        answer(&server.app, request.body(body).unwrap())
            .await
            .refuses(400, "SIZE_INVALID");
        let status = server.get(&location).await.is(204, &[]);
        assert_eq!(status.header("range"), format!("0-{}", cut.saturating_sub(1)));
        let rest = content[cut..].to_vec();
        let location = server
            .send("PATCH", &status.location(), &[], rest)
            .await
            .is(202, &[])
            .location();
        server
            .send("PUT", &format!("{location}&digest={digest}"), &[], "")
            .await
            .is(201, &[]);
        server
            .send("DELETE", &format!("/v2/a/blobs/{digest}"), &[], "")
            .await
            .is(202, &[]);
    }
}

#[tokio::test]
async fn a_body_shorter_than_announced_is_refused_and_kept() {
    let server = server();
    let location = start(&server, "a").await;
    let request = Request::patch(&location)
        .header("host", "registry.test")
        .header("content-length", 10);
    let body = Full::new(Bytes::from("0123"));
    answer(&server.app, request.body(body).unwrap())
        .await
        .refuses(400, "SIZE_INVALID");
    server.get(&location).await.is(204, &[("range", "0-3")]);
}

#[tokio::test]
async fn another_replica_continues_an_upload_from_the_saved_hash_state() {
    let server = server();
    let content = pattern(5_000_001);
    let digest = Digest::sha256(&content);
    let location = start(&server, "a").await;
    let location = server
        .send("PATCH", &location, &[], content[..3_000_000].to_vec())
        .await
        .location();
    let states: Vec<String> = server
        .files()
        .into_keys()
        .filter(|path| path.contains("/hashstates/sha256/"))
        .collect();
    assert_eq!(states.len(), 1);
    assert!(states[0].ends_with("/hashstates/sha256/3000000"), "{states:?}");
    let replica = app_in(server.folder.path(), Settings::default(), |_| {});
    let answer = send(
        &replica,
        "PATCH",
        &location,
        &[],
        content[3_000_000..5_000_000].to_vec(),
    )
    .await;
    let location = answer.is(202, &[("range", "0-4999999")]).location();
    let put = format!("{location}&digest={digest}");
    server
        .send("PUT", &put, &[], content[5_000_000..].to_vec())
        .await
        .is(201, &[]);
    assert_eq!(uploads_left(&server), 0);
}

#[tokio::test]
async fn missing_broken_and_lying_hash_states_do_no_harm() {
    for damage in ["missing", "broken", "lying", "behind the end"] {
        let server = server();
        let content = pattern(3_000_000);
        let digest = Digest::sha256(&content);
        let location = start(&server, "a").await;
        let location = server
            .send("PATCH", &location, &[], content[..2_000_000].to_vec())
            .await
            .location();
        let path = server
            .files()
            .into_keys()
            .find(|path| path.contains("/hashstates/"))
            .unwrap();
        let path = server.folder.path().join(path);
        match damage {
            "missing" => std::fs::remove_file(&path).unwrap(),
            "broken" => std::fs::write(&path, "torn").unwrap(),
            // The state of other bytes under this name: its length gives it away.
            "lying" => {
                let mut other = registry_oci::Hasher::new();
                other.update(b"other");
                std::fs::write(&path, other.to_go_state()).unwrap();
            }
            _ => std::fs::rename(&path, path.with_file_name("2500000")).unwrap(),
        }
        let put = format!("{location}&digest={digest}");
        server
            .send("PUT", &put, &[], content[2_000_000..].to_vec())
            .await
            .is(201, &[]);
    }
}

#[tokio::test]
async fn a_state_that_another_server_saved_of_its_own_bytes_alone_does_no_harm() {
    let server = server();
    let content = pattern(3_000_000);
    let digest = Digest::sha256(&content);
    let location = start(&server, "a").await;
    let location = server
        .send("PATCH", &location, &[], content[..500_000].to_vec())
        .await
        .location();
    // What distribution leaves when it finds no state at 500000: the hash of what it got, under that length.
    let data = server
        .files()
        .into_keys()
        .find(|path| path.contains("/_uploads/") && path.ends_with("/data"))
        .unwrap();
    let data = server.folder.path().join(data);
    std::fs::write(&data, &content[..1_700_000]).unwrap();
    let mut alone = registry_oci::Hasher::new();
    alone.update(&content[500_000..1_700_000]);
    let states = data.with_file_name("hashstates").join("sha256");
    std::fs::create_dir_all(&states).unwrap();
    std::fs::write(states.join("1200000"), alone.to_go_state()).unwrap();

    let location = server
        .get(&location)
        .await
        .is(204, &[("range", "0-1699999")])
        .location();
    let location = server
        .send("PATCH", &location, &[], content[1_700_000..2_900_000].to_vec())
        .await
        .location();
    let left: Vec<_> = std::fs::read_dir(&states)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left, ["2900000"], "the one that holds, and no other");
    let put = format!("{location}&digest={digest}");
    server
        .send("PUT", &put, &[], content[2_900_000..].to_vec())
        .await
        .is(201, &[]);
}

#[tokio::test]
async fn small_chunks_of_a_large_upload_save_their_state_too() {
    let server = server();
    let content = pattern(1_600_000);
    let mut location = start(&server, "a").await;
    for chunk in content.chunks(400_000) {
        location = server
            .send("PATCH", &location, &[], chunk.to_vec())
            .await
            .location();
    }
    let states: Vec<String> = server
        .files()
        .into_keys()
        .filter(|path| path.contains("/hashstates/"))
        .collect();
    assert!(
        matches!(&states[..], [state] if state.ends_with("/hashstates/sha256/1600000")),
        "{states:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_pushers_of_one_blob_all_succeed_and_readers_see_it_whole() {
    let server = Arc::new(server());
    let content = Bytes::from(pattern(2_000_000));
    let digest = Digest::sha256(&content);
    let tasks: Vec<_> = (0..20)
        .map(|number| {
            let (server, content) = (Arc::clone(&server), content.clone());
            tokio::spawn(async move {
                let name = format!("team{}/app", number % 3);
                let location = start(&server, &name).await;
                let cut = 100_000 * number;
                let location = server
                    .send("PATCH", &location, &[], content.slice(..cut))
                    .await
                    .location();
                let put = format!("{location}&digest={digest}");
                server
                    .send("PUT", &put, &[], content.slice(cut..))
                    .await
                    .is(201, &[]);
                let got = server
                    .get(&format!("/v2/{name}/blobs/{digest}"))
                    .await
                    .is(200, &[]);
                assert!(got.body == content, "a reader saw other bytes");
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(uploads_left(&server), 0);
    assert_eq!(
        server
            .files()
            .keys()
            .filter(|path| path.ends_with("/data"))
            .count(),
        1
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_chunks_for_one_place_one_is_taken() {
    let server = Arc::new(server());
    let location = start(&server, "a").await;
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let (server, location) = (Arc::clone(&server), location.clone());
            tokio::spawn(async move { server.send("PATCH", &location, &[], CONTENT).await.status })
        })
        .collect();
    let mut statuses = Vec::new();
    for task in tasks {
        statuses.push(task.await.unwrap());
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [202, 416, 416, 416, 416, 416, 416, 416]);
    let fresh = server
        .get(&location)
        .await
        .is(204, &[("range", "0-9")])
        .location();
    server
        .send("PUT", &format!("{fresh}&digest={DIGEST}"), &[], "")
        .await
        .is(201, &[]);
}
