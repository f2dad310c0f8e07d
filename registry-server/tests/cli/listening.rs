//! The addresses of a running server, its responses there, and its access log.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use crate::program::{Answer, HTTP, Server, command, connect, send};

#[test]
fn probes_tell_a_live_process_from_a_ready_one() {
    let server = Server::start(&format!("health: {{storagedriver: {{interval: 100ms}}}}\n{HTTP}"));
    let answer = server.wait_probe("/readyz", 200);
    assert_eq!(answer.body, "ok\n");
    assert_eq!(server.probe("/debug/health").body, "{}");

    server.break_store();
    let answer = server.wait_probe("/readyz", 503);
    assert!(
        answer.body.starts_with("storagedriver_filesystem: cannot "),
        "{answer:?}"
    );
    assert!(
        server
            .probe("/debug/health")
            .body
            .starts_with("{\"storagedriver_filesystem\":\"cannot ")
    );
    assert_eq!(server.probe("/debug/health").status, 503);
    assert_eq!(
        server.probe("/livez").status,
        200,
        "storage trouble is no reason to restart"
    );
    server.log().wait("health check fails: the server is unready");

    // The server becomes ready again without a restart.
    server.mend_store();
    server.wait_probe("/readyz", 200);
    server.log().wait("health check succeeds again");

    assert_eq!(server.probe("/debug/other").status, 404);
    assert_eq!(
        crate::program::ask(&server.probes, "POST /readyz HTTP/1.1\r\n").status,
        405
    );
}

#[test]
fn a_port_alone_is_every_address_of_the_machine() {
    let server = Server::start("http: {addr: \":0\"}\n");
    let port = server.address.rsplit(':').next().unwrap();
    let answer = crate::program::ask(&format!("127.0.0.1:{port}"), "GET /v2/ HTTP/1.1\r\n");
    assert_eq!(answer.status, 200);
    // The access log has the IPv4 address of an IPv4 client, even if the socket is IPv6.
    assert!(server.access().wait("GET /v2/").starts_with("127.0.0.1 - "));
    if server.address.starts_with("[::]") {
        assert_eq!(
            crate::program::ask(&format!("[::1]:{port}"), "GET /v2/ HTTP/1.1\r\n").status,
            200
        );
    }
}

#[test]
fn requests_leave_a_line_in_apaches_combined_format() {
    let server = Server::start(HTTP);
    let request = "GET /v2/?n=1&_state=dG9rZW4= HTTP/1.1\r\nUser-Agent: a \"client\"\r\nReferer: r\r\n";
    assert_eq!(server.ask(request).status, 200);
    let line = server.access().wait("n=1");
    let (client, rest) = line.split_once(" - - [").unwrap();
    let (_, rest) = rest.split_once("] ").unwrap();
    assert_eq!(client, "127.0.0.1");
    assert_eq!(
        rest,
        "\"GET /v2/?n=1&_state= HTTP/1.1\" 200 2 \"r\" \"a \\\"client\\\"\""
    );
}

#[test]
fn the_access_log_names_the_client_whom_a_believed_proxy_names() {
    let ask = |http: &str| {
        let server = Server::start(http);
        let request = "GET /v2/?n=1 HTTP/1.1\r\nX-Forwarded-For: 192.0.2.1, 198.51.100.2\r\n";
        assert_eq!(server.ask(request).status, 200);
        server.access().wait("n=1")
    };
    let open = ask(HTTP);
    assert!(open.starts_with("192.0.2.1 - "), "{open}");
    let named = ask("http: {addr: \"127.0.0.1:0\", trustedproxies: [127.0.0.0/8]}\n");
    assert!(named.starts_with("198.51.100.2 - "), "{named}");
    let stranger = ask("http: {addr: \"127.0.0.1:0\", trustedproxies: [10.0.0.0/8]}\n");
    assert!(stranger.starts_with("127.0.0.1 - "), "{stranger}");
}

#[test]
fn the_access_log_can_be_switched_off_and_fields_are_on_every_line() {
    let mut serve = command(env!("CARGO_BIN_EXE_registry-server"));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.yml");
    let text = "version: 0.1\nstorage: inmemory\nhttp: {addr: \"127.0.0.1:0\"}\n\
        log: {formatter: logstash, fields: {service: registry}, accesslog: {disabled: true}}\n";
    std::fs::write(&path, text).unwrap();
    serve.arg("serve").arg(&path);
    let server = Server::spawn(folder, serve);
    assert_eq!(server.ask("GET /v2/ HTTP/1.1\r\n").status, 200);
    server.signal(rustix::process::Signal::TERM);
    let mut server = server;
    assert_eq!(server.wait(), (Some(0), None));
    server.log().wait("stopped");
    for line in server.log().all().lines() {
        let line: serde_json::Value =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert_eq!(
            (line["service"].as_str(), line["@version"].as_str()),
            (Some("registry"), Some("1")),
            "{line}"
        );
        assert!(
            line["message"].is_string() && line["@timestamp"].is_string(),
            "{line}"
        );
    }
    assert_eq!(server.access().all(), "");
}

#[test]
fn a_unix_socket_serves_and_is_gone_afterwards() {
    let mut server = Server::start("http: {net: unix, addr: \"%/socket\"}\n");
    assert_eq!(
        server.address,
        server.folder.path().join("socket").to_str().unwrap()
    );
    let stream = UnixStream::connect(&server.address).unwrap();
    send(&stream, "GET /v2/ HTTP/1.1\r\n");
    assert_eq!(Answer::read(stream).status, 200);
    // A client of a unix socket has no address.
    assert!(server.access().wait("/v2/").starts_with("- - - ["));
    server.signal(rustix::process::Signal::TERM);
    assert_eq!(server.wait(), (Some(0), None));
    assert!(!std::path::Path::new(&server.address).exists());
}

#[test]
fn a_socket_left_by_a_killed_server_is_taken_over() {
    let folder = tempfile::tempdir().unwrap();
    drop(std::os::unix::net::UnixListener::bind(folder.path().join("socket")).unwrap());
    let server = Server::start_in(folder, "http: {net: unix, addr: \"%/socket\"}\n");
    assert!(UnixStream::connect(&server.address).is_ok());
}

/// Sends the preface of HTTP/2 and empty settings. A server with HTTP/2 answers with its own settings.
fn speaks_http2(address: &str) -> bool {
    let mut stream = connect(address);
    stream
        .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
        .unwrap();
    let mut frame = [0; 9];
    // The type of a frame is its fourth byte; settings are 4.
    stream.read_exact(&mut frame).is_ok() && frame[3] == 4
}

#[test]
fn http2_without_tls_has_to_be_asked_for() {
    let server = Server::start("http: {addr: \"127.0.0.1:0\", h2c: {enabled: true}}\n");
    assert!(speaks_http2(&server.address));
    // HTTP/1.1 still works on the same address.
    assert_eq!(server.ask("GET /v2/ HTTP/1.1\r\n").status, 200);
    assert!(!speaks_http2(&Server::start(HTTP).address));
}

#[test]
fn a_head_that_is_too_large_is_answered_431() {
    let server = Server::start(HTTP);
    let padding = "a".repeat(1 << 20);
    let stream = connect(&server.address);
    // The server may close before it has read everything.
    let _ = (&stream).write_all(format!("GET /v2/ HTTP/1.1\r\nX-Large: {padding}\r\n\r\n").as_bytes());
    let mut start = [0; 12];
    (&stream).read_exact(&mut start).unwrap();
    assert_eq!(&start, b"HTTP/1.1 431");
    assert_eq!(server.ask("GET /v2/ HTTP/1.1\r\n").status, 200);
}

#[test]
fn whoever_sends_too_large_a_manifest_to_its_end_hears_that_it_is_too_large() {
    let server = Server::start(HTTP);
    let body = vec![b' '; 16 << 20];
    for length in [
        format!("Content-Length: {}\r\n", body.len()),
        "Transfer-Encoding: chunked\r\n".to_owned(),
    ] {
        let mut stream = connect(&server.address);
        send(
            &stream,
            &format!(
                "PUT /v2/a/manifests/v1 HTTP/1.1\r\n\
                 Content-Type: application/vnd.oci.image.manifest.v1+json\r\n{length}"
            ),
        );
        if length.starts_with("Transfer") {
            write!(stream, "{:x}\r\n", body.len()).unwrap();
        }
        stream.write_all(&body).unwrap();
        if length.starts_with("Transfer") {
            stream.write_all(b"\r\n0\r\n\r\n").unwrap();
        }
        let answer = Answer::read(stream);
        assert_eq!(answer.status, 413, "{answer:?}");
        assert!(answer.body.contains("MANIFEST_INVALID"), "{answer:?}");
    }
}

#[test]
fn more_connections_than_open_files_keep_nobody_from_being_answered() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.yml");
    std::fs::write(
        &path,
        format!("version: 0.1\nlog: {{formatter: json}}\nstorage: inmemory\n{HTTP}"),
    )
    .unwrap();
    let mut serve = command("sh");
    serve.args(["-c", "ulimit -n 40 && exec \"$0\" serve \"$1\""]);
    serve.arg(env!("CARGO_BIN_EXE_registry-server")).arg(&path);
    let server = Server::spawn(folder, serve);
    // The kernel completes these connections whether or not the server accepts them. The test keeps them open.
    let crowd: Vec<_> = (0..60).map(|_| connect(&server.address)).collect();
    assert_eq!(server.ask("GET /v2/ HTTP/1.1\r\n").status, 200);
    assert_eq!(server.probe("/livez").status, 200);
    assert!(!server.log().all().contains("cannot accept a connection"));
    drop(crowd);
}

#[test]
fn headers_and_limits_of_the_configuration_are_in_force() {
    let server = Server::start(
        "http: {addr: \"127.0.0.1:0\", prefix: /sub/, headers: {X-Content-Type-Options: [nosniff], X-Two: [a, b]}}\n",
    );
    let answer = server.ask("GET /sub/v2/ HTTP/1.1\r\n");
    assert_eq!(
        (answer.status, answer.header("x-content-type-options")),
        (200, Some("nosniff"))
    );
    assert_eq!(answer.head.to_lowercase().matches("x-two:").count(), 2);
    assert_eq!(server.ask("GET /v2/ HTTP/1.1\r\n").status, 404);
}
