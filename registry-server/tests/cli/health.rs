//! Health checks and administrators that take a running server out of service, and back into service.

use std::os::unix::net::UnixStream;

use crate::program::{Answer, HTTP, PATIENCE, Server, send};

/// The body of every response while the server is out of service. It is distribution's.
const REFUSED: &str = "{\"errors\":[{\"code\":\"UNAVAILABLE\",\"message\":\"service unavailable\",\
    \"detail\":\"health check failed: please see /debug/health\"}]}";

#[test]
fn a_failing_check_refuses_every_request_and_names_nothing_to_strangers() {
    let upstream = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = upstream.local_addr().unwrap();
    let server = Server::start(&format!(
        "health: {{file: [{{file: \"%/down\", interval: 100ms}}], tcp: [{{addr: \"{address}\", interval: 100ms}}]}}\n{HTTP}"
    ));
    assert_eq!(server.wait_answer("/v2/", 200).body, "{}");
    let file = server.folder.path().join("down");
    std::fs::write(&file, "").unwrap();
    for path in ["/v2/", "/", "/v2/_catalog", "/nowhere"] {
        let answer = server.wait_answer(path, 503);
        assert_eq!(
            (answer.body.trim_end(), answer.header("content-type")),
            (REFUSED, Some("application/json")),
            "{path}"
        );
    }
    let answer = server.ask("HEAD /v2/ HTTP/1.1\r\n");
    assert_eq!((answer.status, answer.body.as_str()), (503, ""));
    let body = server.wait_probe("/readyz", 503).body;
    assert_eq!(body, format!("{}: file exists\n", file.display()));
    assert_eq!(server.probe("/livez").status, 200);
    server.access().wait("\"GET /nowhere HTTP/1.1\" 503 ");

    // The server stays out of service until both checks succeed.
    drop(upstream);
    server.log().wait("connection failed");
    std::fs::remove_file(&file).unwrap();
    server.log().wait("health check succeeds again");
    assert_eq!(server.wait_answer("/v2/", 503).body.trim_end(), REFUSED);
    let _upstream = std::net::TcpListener::bind(address).unwrap();
    server.wait_answer("/v2/", 200);
    server.wait_probe("/readyz", 200);
}

#[test]
fn an_administrator_takes_the_server_down_and_up_over_a_unix_socket() {
    let server = Server::start("http: {addr: \"127.0.0.1:0\", debug: {addr: \"%/debug.sock\"}}\n");
    let path = server.folder.path().join("debug.sock");
    assert_eq!(server.probes, path.display().to_string());
    let ask = |request: &str| {
        let stream = UnixStream::connect(&path).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        send(&stream, &format!("{request} HTTP/1.1\r\n"));
        Answer::read(stream)
    };
    assert_eq!(ask("GET /readyz").status, 200);
    assert_eq!(ask("POST /debug/health/down").status, 200);
    assert_eq!(server.ask("GET /v2/ HTTP/1.1\r\n").status, 503);
    assert_eq!(
        ask("GET /debug/health").body,
        "{\"manual_http_status\":\"manual Check\"}"
    );
    assert_eq!(ask("POST /debug/health/up").status, 200);
    assert_eq!(server.ask("GET /v2/ HTTP/1.1\r\n").status, 200);
    server
        .log()
        .wait("taken out of service by `POST /debug/health/down`");
    server.log().wait("back in service by `POST /debug/health/up`");
    assert!(ask("GET /debug/vars").body.starts_with("{\"cmdline\":["));
}
