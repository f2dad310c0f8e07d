//! Kills the server with SIGKILL in the middle of pushes, and looks at what the next server finds: everything that was
//! acknowledged, and uploads that continue from what their status reports.

use std::io::Write as _;
use std::time::Instant;

use registry_oci::Digest;

use crate::program::{Answer, HTTP, PATIENCE, Server, connect};

const SIZE: usize = 64 * 1024 * 1024;

/// Starts an upload, and gives its path and query.
fn start_upload(server: &Server) -> String {
    server
        .request("POST", "/v2/team/app/blobs/uploads/", "", b"")
        .is(202)
        .location()
}

/// The number of bytes that an upload holds.
fn size(status: &Answer) -> usize {
    let range = status.header("range").unwrap();
    let last: usize = range.strip_prefix("0-").unwrap().parse().unwrap();
    if last == 0 { 0 } else { last + 1 }
}

/// Random content that is the same in every run.
fn content() -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    })
    .take(SIZE / 8)
    .flatten()
    .collect()
}

/// Sends the first `sent` bytes of a PATCH with the whole content, waits until the server has stored half of them, and
/// kills the server. Gives the folder of the server.
fn kill_in_the_middle(server: Server, location: &str, content: &[u8], sent: usize) -> tempfile::TempDir {
    let mut stream = connect(&server.address);
    let head = format!(
        "PATCH {location} HTTP/1.1\r\nHost: registry.test\r\nContent-Length: {}\r\n\r\n",
        content.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(&content[..sent]).unwrap();
    let deadline = Instant::now() + PATIENCE;
    loop {
        let size = size(&server.request("GET", location, "", b"").is(204));
        if size >= sent / 2 {
            break;
        }
        assert!(
            Instant::now() < deadline,
            "of {sent} bytes sent, {size} were stored"
        );
    }
    server.kill()
}

#[test]
fn an_upload_killed_in_the_middle_goes_on_from_what_its_status_reports() {
    let content = content();
    let digest = Digest::sha256(&content);
    for sent in [3_000_000, 40_000_000] {
        let server = Server::start(HTTP);
        let location = start_upload(&server);
        let folder = kill_in_the_middle(server, &location, &content, sent);

        let server = Server::start_in(folder, HTTP);
        let status = server.request("GET", &location, "", b"").is(204);
        let size = size(&status);
        assert!(
            size >= sent / 2 && size <= sent,
            "{size} of {sent} bytes survived"
        );
        // The next kill comes when a hash state was saved before this point and none after it.
        let middle = (size + SIZE) / 2;
        let location = server
            .request("PATCH", &status.location(), "", &content[size..middle])
            .is(202)
            .location();
        let folder = server.kill();

        let server = Server::start_in(folder, HTTP);
        let status = server.request("GET", &location, "", b"").is(204);
        assert_eq!(self::size(&status), middle);
        let range = format!("Content-Range: {middle}-{}\r\n", SIZE - 1);
        let location = server
            .request("PATCH", &location, &range, &content[middle..])
            .is(202)
            .location();
        let put = format!("{location}&digest={digest}");
        let answer = server.request("PUT", &put, "", b"").is(201);
        assert_eq!(
            answer.header("docker-content-digest"),
            Some(digest.to_string().as_str())
        );
        let blob = server
            .request("GET", &format!("/v2/team/app/blobs/{digest}"), "", b"")
            .is(200);
        assert_eq!(Digest::sha256(&blob.bytes), digest);
    }
}

#[test]
fn what_was_acknowledged_is_there_after_a_kill() {
    let mut folder = tempfile::tempdir().unwrap();
    let mut pushed = Vec::new();
    for round in 0..5 {
        let server = Server::start_in(folder, HTTP);
        for (digest, layer) in &pushed {
            server
                .request("GET", &format!("/v2/team/app/manifests/{digest}"), "", b"")
                .is(200);
            server
                .request("GET", &format!("/v2/team/app/blobs/{layer}"), "", b"")
                .is(200);
        }
        let mut tags = Vec::new();
        for number in 0..4 {
            let layer = format!("layer {round} {number}").into_bytes();
            let blobs = [b"{}".to_vec(), layer.clone()].map(|bytes| {
                let digest = Digest::sha256(&bytes);
                server
                    .request(
                        "POST",
                        &format!("/v2/team/app/blobs/uploads/?digest={digest}"),
                        "",
                        &bytes,
                    )
                    .is(201);
                digest
            });
            let kind = "application/vnd.oci.image.manifest.v1+json";
            let manifest = format!(
                r#"{{"schemaVersion":2,"mediaType":"{kind}","config":{{"mediaType":"a/b","digest":"{}","size":2}},"layers":[{{"mediaType":"a/b","digest":"{}","size":{}}}]}}"#,
                blobs[0],
                blobs[1],
                layer.len()
            );
            let path = format!("/v2/team/app/manifests/v{number}");
            server
                .request(
                    "PUT",
                    &path,
                    &format!("Content-Type: {kind}\r\n"),
                    manifest.as_bytes(),
                )
                .is(201);
            let digest = Digest::sha256(manifest.as_bytes());
            pushed.push((digest, blobs[1]));
            tags.push((path, digest));
        }
        // The kill comes right after the last acknowledgement.
        let server = Server::start_in(server.kill(), HTTP);
        for (path, digest) in tags {
            let answer = server.request("GET", &path, "", b"").is(200);
            assert_eq!(
                answer.header("docker-content-digest"),
                Some(digest.to_string().as_str())
            );
        }
        folder = server.kill();
    }
}
