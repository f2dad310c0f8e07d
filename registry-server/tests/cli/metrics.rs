//! The metrics that Prometheus scrapes.

use std::time::{Duration, Instant};

use crate::program::{Answer, HTTP, Lines, PATIENCE, Running, Server, ask, command};

/// Reads the metrics until they contain the line.
#[track_caller]
fn wait(server: &Server, path: &str, line: &str) -> Answer {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = server.probe(path);
        if answer.body.contains(line) {
            return answer;
        }
        assert!(
            Instant::now() < deadline,
            "no line {line:?}, last: {} {}",
            answer.status,
            answer.body
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn requests_and_storage_are_counted_under_distributions_names() {
    let server = Server::start(
        "http: {addr: \"127.0.0.1:0\", debug: {addr: \"127.0.0.1:0\", prometheus: {enabled: true, path: /stats}}}\n",
    );
    assert_eq!(server.ask("GET /v2/ HTTP/1.1\r\n").status, 200);
    assert_eq!(server.ask("GET /v2/a/manifests/none HTTP/1.1\r\n").status, 404);
    assert_eq!(server.ask("GET /elsewhere HTTP/1.1\r\n").status, 404);
    let line = "\nregistry_http_requests_total{code=\"404\",handler=\"manifest\",method=\"get\"} 1\n";
    let answer = wait(&server, "/stats", line);
    assert_eq!(
        (answer.status, answer.header("content-type")),
        (200, Some("text/plain; version=0.0.4; charset=utf-8"))
    );
    for line in [
        "\n# TYPE registry_http_requests_total counter\n",
        "\nregistry_http_requests_total{code=\"200\",handler=\"base\",method=\"get\"} 1\n",
        "\nregistry_http_in_flight_requests{handler=\"blob_upload_chunk\"} 0\n",
        "\nregistry_http_in_flight_requests{handler=\"manifest\"} 0\n",
        "\nregistry_http_request_duration_seconds_bucket{le=\"60\",handler=\"base\",method=\"get\"} 1\n",
        "\nregistry_http_response_size_bytes_sum{handler=\"base\"} 2.0\n",
        "\nregistry_storage_action_seconds_bucket{le=\"+Inf\",driver=\"filesystem\",action=\"Stat\"} ",
        "\nregistry_log_dropped_lines_total{stream=\"standard output\"} 0\n",
        "\n# TYPE process_cpu_seconds_total counter\n",
    ] {
        assert!(answer.body.contains(line), "{line:?} in {}", answer.body);
    }
    assert!(!answer.body.contains("elsewhere"));
    assert_eq!(server.probe("/metrics").status, 404);
}

#[test]
fn without_the_switch_there_are_no_metrics() {
    let server = Server::start(HTTP);
    assert_eq!(server.probe("/metrics").status, 404);
}

const CACHE: &str = "cache: {blobdescriptor: inmemory}";

/// Debian's registry:2.
const PEER: &str = "/usr/bin/docker-registry";

/// The names and labels of all samples in a text.
fn series(text: &str) -> std::collections::BTreeSet<String> {
    let samples = text.lines().filter(|line| line.starts_with("registry_"));
    samples
        .map(|line| {
            let (key, _) = line.rsplit_once(' ').unwrap();
            let (name, labels) = key.trim_end_matches('}').split_once('{').unwrap_or((key, ""));
            let mut labels: Vec<&str> = labels.split(',').collect();
            labels.sort_unstable();
            format!("{name} {}", labels.join(" "))
        })
        .collect()
}

/// Dashboards and alerts of registry:2 continue to work: each series has the same name and labels.
#[test]
fn after_the_same_requests_every_series_of_registry_2_is_there() {
    let folder = tempfile::tempdir().unwrap();
    // registry:2 cannot report ports that the system chose, so the test chooses them.
    let [address, probes] = [0, 0].map(|port| {
        let listener = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
        listener.local_addr().unwrap().to_string()
    });
    let path = folder.path().join("config.yml");
    let text = format!(
        "version: 0.1\nstorage: {{filesystem: {{rootdirectory: {}}}, {CACHE}}}\nhttp: {{addr: \"{address}\", \
         debug: {{addr: \"{probes}\", prometheus: {{enabled: true}}}}}}\n",
        folder.path().join("data").display()
    );
    std::fs::write(&path, text).unwrap();
    let child = command(PEER)
        .arg("serve")
        .arg(&path)
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("Debian's docker-registry is installed");
    let mut peer = Running(child);
    let log = Lines::follow(peer.0.stderr.take().unwrap());
    log.wait("msg=\"listening on");
    let ours = Server::start_in_whole(
        tempfile::tempdir().unwrap(),
        &format!(
            "storage: {{filesystem: {{rootdirectory: \"%/data\"}}, {CACHE}}}\nhttp: {{addr: \"127.0.0.1:0\", \
             debug: {{addr: \"127.0.0.1:0\", prometheus: {{enabled: true}}}}}}\n"
        ),
    );
    let digest = format!("sha256:{}", "0".repeat(64));
    for address in [&address, &ours.address] {
        for (request, status) in [
            ("GET /v2/", 200),
            ("HEAD /v2/", 200),
            ("GET /v2/_catalog", 200),
            ("GET /v2/a/tags/list", 404),
            ("GET /v2/a/manifests/latest", 404),
            (&format!("GET /v2/a/blobs/{digest}"), 404),
            ("POST /v2/a/blobs/uploads/", 202),
            (
                "GET /v2/a/blobs/uploads/00000000-0000-0000-0000-000000000000",
                404,
            ),
        ] {
            let text = format!("{request} HTTP/1.1\r\nContent-Length: 0\r\n");
            let answer = ask(address, &text);
            assert_eq!(answer.status, status, "{request} of {address}");
        }
    }
    // In HTTP/1.0 a response has no chunks.
    let theirs = ask(&probes, "GET /metrics HTTP/1.0\r\n").body;
    let theirs = series(&theirs);
    assert!(theirs.len() > 100, "{theirs:?}");
    let last = "registry_http_requests_total{code=\"404\",handler=\"blob_upload_chunk\",method=\"get\"} 1\n";
    let ours = series(&wait(&ours, "/metrics", last).body);
    let missing: Vec<&String> = theirs
        .difference(&ours)
        // Notifications and the pull-through cache are not part of Berth.
        .filter(|series| {
            let without = ["registry_notifications", "registry_proxy"];
            !without.iter().any(|prefix| series.starts_with(prefix))
        })
        .collect();
    assert!(missing.is_empty(), "{missing:#?}");
}
