//! Pulls of clients that accept some media types only, or that ask for a missing manifest.

use super::*;

#[tokio::test]
async fn an_oci_manifest_is_served_only_to_clients_that_take_it() {
    let server = server();
    server.push_image("a", "v1", "content").await;
    let docker = "application/vnd.docker.distribution.manifest.v2+json";
    for (accept, status) in [
        (OCI_MANIFEST, 200),
        ("*/*", 200),
        ("application/*;q=0.5", 200),
        (
            "application/vnd.docker.distribution.manifest.v2+json, application/vnd.oci.image.manifest.v1+json",
            200,
        ),
        (docker, 404),
        (OCI_INDEX, 404),
        ("nonsense", 404),
    ] {
        let answer = server
            .send("GET", "/v2/a/manifests/v1", &[("accept", accept)], "")
            .await;
        assert_eq!(answer.status, status, "{accept}");
        if status == 404 {
            answer.refuses(404, "MANIFEST_UNKNOWN");
        }
    }
    server.get("/v2/a/manifests/v1").await.is(200, &[]);
}

#[tokio::test]
async fn a_docker_list_is_replaced_by_its_linux_child_for_clients_that_do_not_know_lists() {
    let server = server();
    let docker = "application/vnd.docker.distribution.manifest.v2+json";
    let list_type = "application/vnd.docker.distribution.manifest.list.v2+json";
    let child = server
        .image("a", "content", "")
        .await
        .replace(OCI_MANIFEST, docker);
    let digest = Digest::sha256(child.as_bytes()).to_string();
    let path = format!("/v2/a/manifests/{digest}");
    server
        .send("PUT", &path, &[("content-type", docker)], child.clone())
        .await
        .is(201, &[]);
    let size = child.len();
    let list = format!(
        r#"{{"schemaVersion":2,"mediaType":"{list_type}","manifests":[{{"mediaType":"{docker}","digest":"{digest}","size":{size},"platform":{{"architecture":"amd64","os":"linux"}}}}]}}"#
    );
    server
        .send(
            "PUT",
            "/v2/a/manifests/v1",
            &[("content-type", list_type)],
            list.clone(),
        )
        .await
        .is(201, &[]);
    let answer = server
        .send("GET", "/v2/a/manifests/v1", &[("accept", docker)], "")
        .await;
    assert_eq!(
        answer
            .is(
                200,
                &[("content-type", docker), ("docker-content-digest", &digest)]
            )
            .text(),
        child
    );
    let answer = server
        .send("GET", "/v2/a/manifests/v1", &[("accept", list_type)], "")
        .await;
    assert_eq!(answer.is(200, &[("content-type", list_type)]).text(), list);
}

#[tokio::test]
async fn unknown_manifests_and_tags_are_unknown() {
    let server = server();
    server.push_image("a", "v1", "content").await;
    let digest = Digest::sha256(b"other").to_string();
    for reference in ["v2", ".hidden", digest.as_str()] {
        for method in ["GET", "DELETE"] {
            let path = format!("/v2/a/manifests/{reference}");
            server
                .send(method, &path, &[], "")
                .await
                .refuses(404, "MANIFEST_UNKNOWN");
        }
    }
    server
        .get("/v2/a/manifests/sha256:abc")
        .await
        .refuses(400, "DIGEST_INVALID");
}

#[tokio::test]
async fn a_stored_manifest_with_other_bytes_is_not_served() {
    let server = server();
    let digest = server.push_image("a", "v1", "content").await;
    std::fs::write(server.blob_path(&digest), "{}").unwrap();
    // The response is 404 and no server error: a client that could repair the manifest by a push checks first whether
    // it exists.
    server
        .get("/v2/a/manifests/v1")
        .await
        .refuses(404, "MANIFEST_UNKNOWN");
    server.push_image("a", "v1", "content").await;
    server.get("/v2/a/manifests/v1").await.is(200, &[]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tag_stays_readable_while_it_is_replaced() {
    let server = Arc::new(server());
    let digests = [
        server.push_image("a", "v1", "one").await.to_string(),
        server.push_image("a", "v1", "two").await.to_string(),
    ];
    let pusher = {
        let server = Arc::clone(&server);
        tokio::spawn(async move {
            for _ in 0..20 {
                server.push_image("a", "v1", "one").await;
                server.push_image("a", "v1", "two").await;
            }
        })
    };
    let mut reads = 0;
    while !pusher.is_finished() || reads == 0 {
        let answer = server.get("/v2/a/manifests/v1").await.is(200, &[]);
        assert!(
            digests
                .iter()
                .any(|digest| digest == answer.header("docker-content-digest")),
            "{answer:?}"
        );
        reads += 1;
    }
    pusher.await.unwrap();
}
