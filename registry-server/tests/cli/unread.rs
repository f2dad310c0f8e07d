//! Request bodies that the server does not read to their end, and bodies that never end.

use std::io::{Read, Write};

use registry_oci::Digest;

use crate::program::{Answer, HTTP, Server, connect};
use crate::tls;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const MIB: usize = 1 << 20;
const SIZE: usize = 64 * MIB;

/// Sends the whole of a body that is far too large, and reads the response only then.
fn sends_all_first(stream: &mut (impl Read + Write)) -> Answer {
    let head = format!(
        "PUT /v2/a/manifests/latest HTTP/1.1\r\nHost: registry.test\r\nContent-Type: {MANIFEST}\r\nContent-Length: {SIZE}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    let block = vec![b' '; MIB];
    for sent in 0..SIZE / MIB {
        let written = stream.write_all(&block);
        written.unwrap_or_else(|error| panic!("after {sent} MiB: {error}"));
    }
    Answer::read(stream)
}

#[test]
fn a_client_that_sends_everything_before_it_reads_sees_the_answer() {
    let server = Server::start(HTTP);
    let answer = sends_all_first(&mut connect(&server.address));
    assert_eq!(answer.status, 413, "{answer:?}");
    assert_eq!(answer.header("connection"), Some("close"));
    assert!(answer.body.contains("MANIFEST_INVALID"), "{answer:?}");
}

#[test]
fn over_tls_too() {
    let folder = tempfile::tempdir().unwrap();
    let pair = tls::Pair::new();
    pair.write(folder.path());
    let server = tls::start(folder, "");
    let config = tls::client(&pair.certificate, None, &["http/1.1"]);
    let mut stream = tls::handshake(&server.address, config).unwrap();
    let answer = sends_all_first(&mut stream);
    assert_eq!(answer.status, 413, "{answer:?}");
}

#[test]
fn a_client_without_a_login_that_sends_everything_first_is_told_to_log_in() {
    let server = Server::start(&format!(
        "auth: {{htpasswd: {{realm: berth, path: \"%/htpasswd\"}}}}\n{HTTP}"
    ));
    let answer = sends_all_first(&mut connect(&server.address));
    assert_eq!(answer.status, 401, "{answer:?}");
    assert!(answer.header("www-authenticate").is_some(), "{answer:?}");
}

#[test]
fn a_server_out_of_service_says_so_to_a_client_that_sends_everything_first() {
    let server = Server::start(HTTP);
    let mut stream = connect(&server.probes);
    let head = "POST /debug/health/down HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    assert_eq!(Answer::read(stream).status, 200);
    let answer = sends_all_first(&mut connect(&server.address));
    assert_eq!(answer.status, 503, "{answer:?}");
}

/// Starts an upload, and gives its path and query.
fn begin(server: &Server) -> String {
    let answer = server.ask("POST /v2/a/blobs/uploads/ HTTP/1.1\r\nContent-Length: 0\r\n");
    answer.location()
}

#[test]
fn a_connection_that_hangs_gives_its_upload_to_the_next_one() {
    let server = Server::start(HTTP);
    let location = begin(&server);
    let mut hangs = connect(&server.address);
    let head = format!("PATCH {location} HTTP/1.1\r\nHost: registry.test\r\nContent-Length: 100\r\n\r\nsome");
    hangs.write_all(head.as_bytes()).unwrap();
    let fresh = loop {
        let answer = server.ask(&format!("GET {location} HTTP/1.1\r\n"));
        if answer.header("range") == Some("0-3") {
            break answer.location();
        }
        std::thread::yield_now();
    };
    let digest = Digest::sha256(b"some more");
    let answer = server.request("PUT", &format!("{fresh}&digest={digest}"), "", b" more");
    assert_eq!(answer.status, 201, "{answer:?}");
    let old = Answer::read(hangs);
    assert_eq!(old.status, 416, "{old:?}");
    assert_eq!(old.header("range"), Some("0-3"));
}

#[test]
fn a_body_that_stops_for_too_long_is_told_so_and_kept() {
    let server = Server::start(&HTTP.replace("http: {", "http: {limits: {bodytimeout: 1s}, "));
    let location = begin(&server);
    let mut stream = connect(&server.address);
    let head = format!("PATCH {location} HTTP/1.1\r\nHost: registry.test\r\nContent-Length: 100\r\n\r\nsome");
    stream.write_all(head.as_bytes()).unwrap();
    let answer = Answer::read(stream);
    assert_eq!(answer.status, 408, "{answer:?}");
    assert_eq!(answer.header("connection"), Some("close"));
    let answer = server.ask(&format!("GET {location} HTTP/1.1\r\n"));
    assert_eq!(answer.header("range"), Some("0-3"), "{answer:?}");
    server.access().wait("\" 408 ");
}

#[test]
fn lines_about_an_upload_say_of_which_request_they_are() {
    let server = Server::start(HTTP);
    let location = begin(&server);
    let content = vec![b'x'; 2 * MIB];
    let answer = server.request("PATCH", &location, "", &content);
    assert_eq!(answer.status, 202, "{answer:?}");
    let uploads = server
        .folder
        .path()
        .join("data/docker/registry/v2/repositories/a/_uploads");
    let upload = std::fs::read_dir(uploads)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let states = std::fs::read_dir(upload.join("hashstates/sha256")).unwrap();
    for state in states {
        std::fs::write(state.unwrap().path(), "torn").unwrap();
    }
    let digest = Digest::sha256(&content);
    let answer = server.request("PUT", &format!("{}&digest={digest}", answer.location()), "", b"");
    assert_eq!(answer.status, 201, "{answer:?}");
    let line = server.log().wait("a saved hash state is not usable");
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(line["http.request.method"], "PUT", "{line}");
    assert!(line["http.request.id"].is_string(), "{line}");
}
