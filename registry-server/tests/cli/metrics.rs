//! What a scraper reads.

use std::time::{Duration, Instant};

use crate::program::{Answer, HTTP, PATIENCE, Server};

/// Asks for the metrics until they hold the line.
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
