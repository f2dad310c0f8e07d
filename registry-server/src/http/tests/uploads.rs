//! Upload sessions: in one request, in chunks, their end, and several clients at the same time.

mod continued;
mod interrupted;
mod refused;

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
