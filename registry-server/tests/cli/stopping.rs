//! Signals: running requests finish, and a stop never waits for ever.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Instant;

use rustix::process::Signal;

use crate::program::{Answer, HTTP, PATIENCE, Server, connect};

/// Starts an upload and sends half of its body. Gives the open connection.
#[track_caller]
fn half_an_upload(server: &Server) -> TcpStream {
    let started = server.ask("POST /v2/a/blobs/uploads/ HTTP/1.1\r\nContent-Length: 0\r\n");
    assert_eq!(started.status, 202, "{started:?}");
    let path = started.location();
    let mut stream = connect(&server.address);
    let head = "Host: registry.test\r\nContent-Length: 10\r\nExpect: 100-continue\r\n\r\n";
    stream
        .write_all(format!("PATCH {path} HTTP/1.1\r\n{head}").as_bytes())
        .unwrap();
    // The server says so when it begins to read the body: the request is surely running.
    let mut go_on = [0; 25];
    stream.read_exact(&mut go_on).unwrap();
    assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"hello").unwrap();
    stream
}

/// Waits until nobody listens there any more.
#[track_caller]
fn refuses_connections(address: &str) {
    let deadline = Instant::now() + PATIENCE;
    while TcpStream::connect(address).is_ok() {
        assert!(Instant::now() < deadline, "{address} still accepts");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}

#[test]
fn a_running_upload_finishes_after_the_signal_and_nobody_new_is_let_in() {
    let mut server = Server::start(HTTP);
    let mut upload = half_an_upload(&server);
    // A connection that never asked for anything does not hold up the stop.
    let unused = connect(&server.address);
    server.signal(Signal::TERM);
    let answer = server.wait_probe("/readyz", 503);
    assert_eq!(answer.body, "draining: the server is stopping\n");
    assert_eq!(server.probe("/livez").status, 200);
    refuses_connections(&server.address);
    upload.write_all(b"world").unwrap();
    let answer = Answer::read(upload);
    assert_eq!(
        (answer.status, answer.header("range"), answer.header("connection")),
        (202, Some("0-9"), Some("close"))
    );
    assert_eq!(server.wait(), (Some(0), None));
    server.log().wait("\"stopped\"");
    drop(unused);
}

#[test]
fn within_the_drain_delay_new_clients_are_served_by_a_server_that_says_it_is_unready() {
    let http = |delay: &str| {
        format!("http: {{addr: \"127.0.0.1:0\", debug: {{addr: \"127.0.0.1:0\"}}, draindelay: {delay}}}\n")
    };
    let mut server = Server::start(&http("1h"));
    server.signal(Signal::TERM);
    let answer = server.wait_probe("/readyz", 503);
    assert_eq!(answer.body, "draining: the server is stopping\n");
    let late = server.ask("GET /v2/ HTTP/1.1\r\n");
    assert_eq!((late.status, late.header("connection")), (200, Some("close")));
    // A second signal ends the delay.
    server.signal(Signal::TERM);
    assert_eq!(server.wait(), (Some(130), None));

    let mut server = Server::start(&http("300ms"));
    let mut upload = half_an_upload(&server);
    server.signal(Signal::TERM);
    refuses_connections(&server.address);
    upload.write_all(b"world").unwrap();
    assert_eq!(Answer::read(upload).status, 202);
    assert_eq!(server.wait(), (Some(0), None));
}

#[test]
fn what_outlives_the_drain_timeout_is_cut() {
    let mut server =
        Server::start("http: {addr: \"127.0.0.1:0\", debug: {addr: \"127.0.0.1:0\"}, draintimeout: 300ms}\n");
    let upload = half_an_upload(&server);
    server.signal(Signal::INT);
    assert_eq!(server.wait(), (Some(0), None));
    let line = server.log().wait("were cut");
    assert!(line.contains("\"cut\":1"), "{line}");
    drop(upload);
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let mut server = Server::start(HTTP);
    let upload = half_an_upload(&server);
    server.signal(Signal::TERM);
    server.wait_probe("/readyz", 503);
    server.signal(Signal::TERM);
    assert_eq!(server.wait(), (Some(130), None));
    drop(upload);
}

#[test]
fn an_idle_connection_does_not_hold_up_the_stop() {
    let mut server = Server::start(HTTP);
    let mut idle = connect(&server.address);
    idle.write_all(b"GET /v2/ HTTP/1.1\r\nHost: registry.test\r\n\r\n")
        .unwrap();
    server.access().wait("GET /v2/");
    server.signal(Signal::TERM);
    assert_eq!(server.wait(), (Some(0), None));
    let answer = Answer::read(idle);
    assert_eq!(answer.status, 200);
}

/// In a rolling update each request is answered, or its connection is refused and the client goes to another server.
#[test]
fn of_many_clients_at_the_signal_each_is_answered_or_refused() {
    let mut server = Server::start(HTTP);
    let address = server.address.clone();
    let clients: Vec<_> = (0..16)
        .map(|_| {
            let address = address.clone();
            std::thread::spawn(move || -> Result<(), String> {
                while let Ok(mut stream) = TcpStream::connect(&address) {
                    stream.set_read_timeout(Some(PATIENCE)).unwrap();
                    let request = b"GET /v2/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
                    let mut text = Vec::new();
                    let asked = stream
                        .write_all(request)
                        .and_then(|()| stream.read_to_end(&mut text));
                    if asked.is_err() || !text.starts_with(b"HTTP/1.1 200 ") {
                        return Err(format!("{asked:?}, {:?}", String::from_utf8_lossy(&text)));
                    }
                }
                Ok(())
            })
        })
        .collect();
    server.access().wait("GET /v2/");
    server.signal(Signal::TERM);
    let lost: Vec<String> = clients
        .into_iter()
        .filter_map(|client| client.join().unwrap().err())
        .collect();
    // The kernel may complete a connection in the microseconds before its listener is closed. A server that simply closes
    // its listener loses nearly all sixteen.
    assert!(lost.len() <= 1, "{lost:#?}");
    assert_eq!(server.wait(), (Some(0), None));
}

/// A client that keeps its connection gets its response, and with it the request to close the connection.
#[test]
fn a_kept_connection_is_told_that_it_closes() {
    let mut server = Server::start(HTTP);
    let mut kept = connect(&server.address);
    let request = b"GET /v2/ HTTP/1.1\r\nHost: registry.test\r\n\r\n";
    kept.write_all(request).unwrap();
    server.access().wait("GET /v2/");
    server.signal(Signal::TERM);
    server.wait_probe("/readyz", 503);
    kept.write_all(request).unwrap();
    let both = Answer::read(kept);
    assert_eq!(both.body.matches("HTTP/1.1 200 OK").count(), 1, "{both:?}");
    assert!(
        !both.head.contains("connection: close") && both.body.contains("connection: close"),
        "{both:?}"
    );
    assert_eq!(server.wait(), (Some(0), None));
}

/// Log rotation and people who know other programs send these signals. By default they end a process.
#[test]
fn signals_that_mean_no_end_do_not_end_it() {
    let mut server = Server::start(HTTP);
    for (signal, name) in [
        (Signal::QUIT, "SIGQUIT"),
        (Signal::USR1, "SIGUSR1"),
        (Signal::USR2, "SIGUSR2"),
    ] {
        server.signal(signal);
        server.log().wait(&format!("\"signal\":\"{name}\""));
    }
    server.signal(Signal::HUP);
    server.log().wait("SIGHUP: users and certificates are read again");
    assert_eq!(server.ask("GET /v2/ HTTP/1.1\r\n").status, 200);
    server.signal(Signal::TERM);
    assert_eq!(server.wait(), (Some(0), None));
}
