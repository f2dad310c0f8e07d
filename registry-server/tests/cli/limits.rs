//! The limits for clients, tested by attacks on the real program.

use std::io::{Read as _, Write as _};
use std::time::{Duration, Instant};

use registry_oci::Digest;

use crate::http2::{DATA, GOAWAY, HEADERS, Http2, RST_STREAM, WINDOW_UPDATE};
use crate::program::{PATIENCE, Server, connect};
use crate::pushing::push_blob;

fn start(limits: &str) -> Server {
    Server::start(&format!(
        "http: {{addr: \"127.0.0.1:0\", debug: {{addr: \"127.0.0.1:0\", prometheus: {{enabled: true}}}}, \
         secret: s3cret, h2c: {{enabled: true}}, limits: {{{limits}}}}}\n"
    ))
}

/// Pushes a blob that is larger than the socket buffers of a client that does not read.
fn large_blob(server: &Server) -> Digest {
    push_blob(server, &"0123456789abcdef".repeat(1 << 20))
}

#[track_caller]
fn wait_metric(server: &Server, line: &str) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = server.probe("/metrics");
        if answer.body.lines().any(|found| found == line) {
            return;
        }
        assert!(Instant::now() < deadline, "no {line:?} in {}", answer.body);
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Resident memory in bytes.
fn resident(server: &Server) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.child.id())).unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() << 10
}

#[test]
fn an_idle_connection_makes_room_for_a_new_one() {
    let server = start("connections: 4");
    let mut silent: Vec<_> = (0..12).map(|_| connect(&server.address)).collect();
    assert_eq!(server.ask("GET /v2/ HTTP/1.1\r\n").status, 200);
    // The server has closed the oldest connection. The client sees an end or a reset.
    assert!(matches!(silent[0].read(&mut [0; 1]), Ok(0) | Err(_)));
    let metrics = server.probe("/metrics").body;
    assert!(
        metrics.contains("\nregistry_http_connections_ended_total{reason=\"idle\"} "),
        "{metrics}"
    );
}

#[test]
fn few_open_files_are_kept_for_those_who_are_let_in() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("config.yml");
    let data = folder.path().join("data").display().to_string();
    let text = format!(
        "version: 0.1\nlog: {{formatter: json}}\nstorage: {{filesystem: {{rootdirectory: \"{data}\"}}}}\n\
         http: {{addr: \"127.0.0.1:0\"}}\n"
    );
    std::fs::write(&config, text).unwrap();
    let mut limited = crate::program::command("/bin/sh");
    limited
        .args(["-c", "ulimit -n 128 && exec \"$0\" serve \"$1\""])
        .arg(env!("CARGO_BIN_EXE_registry-server"))
        .arg(&config);
    let server = Server::spawn(folder, limited);
    let digest = push_blob(&server, "content");
    let silent: Vec<_> = (0..200).map(|_| connect(&server.address)).collect();
    for _ in 0..10 {
        let answer = server.ask(&format!("GET /v2/team/app/blobs/{digest} HTTP/1.1\r\n"));
        assert_eq!((answer.status, answer.body.as_str()), (200, "content"));
    }
    drop(silent);
    assert!(!server.log().all().contains("Too many open files"));
    server
        .log()
        .wait("fewer connections than `http.limits.connections`");
}

#[test]
fn a_client_that_reads_nothing_of_its_answer_is_given_up() {
    let server = start("writetimeout: 1s");
    let digest = large_blob(&server);
    let mut client = connect(&server.address);
    let request = format!("GET /v2/team/app/blobs/{digest} HTTP/1.1\r\nHost: registry.test\r\n\r\n");
    client.write_all(request.as_bytes()).unwrap();
    wait_metric(
        &server,
        "registry_http_connections_ended_total{reason=\"stalled\"} 1",
    );
    let mut answer = Vec::new();
    let _ = client.read_to_end(&mut answer);
    assert!(answer.len() < 16 << 20, "the answer was not cut");
}

#[test]
fn a_stalled_stream_of_http2_ends_and_its_connection_goes_on() {
    let server = start("writetimeout: 1s");
    let digest = large_blob(&server);
    let mut client = Http2::connect(&server.address, 1000);
    client.get(1, &format!("/v2/team/app/blobs/{digest}"));
    let reset = client.until(|frame| frame.kind == RST_STREAM);
    assert_eq!(reset.stream, 1);
    client.get(3, "/v2/");
    client.until(|frame| frame.kind == HEADERS && frame.stream == 3);
    wait_metric(
        &server,
        "registry_http_connections_ended_total{reason=\"stalled\"} 1",
    );
}

#[test]
fn the_last_block_of_an_answer_waits_no_longer_than_the_others() {
    let server = start("writetimeout: 1s");
    // The response is one block, which is handed over whole as soon as one byte of it can be sent.
    let digest = push_blob(&server, &"x".repeat(4000));
    let mut client = Http2::connect(&server.address, 1);
    client.get(1, &format!("/v2/team/app/blobs/{digest}"));
    client.until(|frame| frame.kind == DATA && frame.payload.len() == 1);
    while client.read().is_some() {}
    wait_metric(&server, "registry_http_connections 0");
}

#[test]
fn a_connection_that_takes_nothing_of_its_answers_holds_little_memory() {
    const PER_CONNECTION: usize = 8 << 20;
    const CONNECTIONS: usize = 5;
    // More than the limit, and too few for the server to close the connection because of refused streams.
    const STREAMS: u32 = 150;
    let server = start("");
    let digest = large_blob(&server);
    // A first request, so that memory of one-time initialisation is not counted.
    assert_eq!(server.ask("GET /v2/ HTTP/1.1\r\n").status, 200);
    for window in [0, 1] {
        let before = resident(&server);
        let mut clients: Vec<Http2> = (0..CONNECTIONS)
            .map(|_| Http2::connect(&server.address, window))
            .collect();
        for client in &mut clients {
            for number in 0..STREAMS {
                client.get(1 + 2 * number, &format!("/v2/team/app/blobs/{digest}"));
            }
        }
        for client in &mut clients {
            // The streams over the limit are refused, so all others have begun by then.
            client.until(|frame| frame.kind == RST_STREAM && frame.stream == 2 * STREAMS - 1);
        }
        let held = resident(&server).saturating_sub(before);
        println!(
            "window {window}: {} KiB for each of {CONNECTIONS} connections",
            held / CONNECTIONS / 1024
        );
        assert!(held <= CONNECTIONS * PER_CONNECTION, "{held}");
    }
}

#[test]
fn http2_is_told_its_limits_and_broken_streams_end_the_connection() {
    let server = start("streams: 10");
    let mut client = Http2::connect(&server.address, 65_535);
    assert_eq!(client.max_streams(), Some(10));
    assert!(
        client.window().is_some_and(|window| window <= 256 << 10),
        "{:?}",
        client.window()
    );
    for number in 0..150 {
        client.depend_on_itself(1 + 2 * number);
    }
    let mut resets = 0;
    let end = loop {
        match client.read() {
            Some(frame) if frame.kind == GOAWAY => break Some(frame),
            Some(frame) => resets += usize::from(frame.kind == RST_STREAM),
            None => break None,
        }
    };
    assert!(resets <= 101, "{resets}");
    // ENHANCE_YOUR_CALM, after the number of the last stream.
    assert!(end.is_some_and(|frame| frame.payload[4..8] == [0, 0, 0, 0xb]));
}

#[test]
fn a_body_that_nobody_reads_leaves_room_for_the_others_of_its_connection() {
    let server = start("");
    let mut client = Http2::connect(&server.address, 65_535);
    let update = client.until(|frame| frame.kind == WINDOW_UPDATE && frame.stream == 0);
    let connection = 65_535 + u32::from_be_bytes(update.payload.try_into().unwrap());
    let stream = client.window().unwrap();
    assert!(connection >= 4 * stream, "{connection} for all, {stream} for one");
    assert!(connection <= 1 << 20, "{connection}");
}
