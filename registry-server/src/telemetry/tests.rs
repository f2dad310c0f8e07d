use std::io::{self, Write};
use std::sync::Mutex;

use http::Request;
use registry_config::model::Formatter;
use serde_json::Value;

use super::request::RequestInfo;
use super::*;

/// A writer that keeps what was written.
#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Runs `work` and gives its log lines, parsed as JSON.
fn logged(caller: bool, work: impl FnOnce()) -> Vec<Value> {
    let written = Written::default();
    let sink = Sink::new("test", written.clone(), Counter::default()).unwrap();
    let layer = LogLayer {
        formatter: Formatter::Json,
        fields: [("service".to_owned(), "registry".into())].into(),
        caller,
        sink: sink.clone(),
        hooks: Arc::new([]),
    };
    tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), work);
    sink.flush(Duration::from_secs(60));
    let bytes = written.0.lock().unwrap();
    let text = std::str::from_utf8(&bytes).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn a_panic_is_a_level_of_its_own() {
    let lines = logged(false, || {
        tracing::error!(target: PANIC, place = "a.rs:1", "panic; please report this");
        tracing::error!("another");
    });
    assert_eq!(
        (&lines[0]["level"], &lines[1]["level"]),
        (&"panic".into(), &"error".into())
    );
    assert_eq!(lines[0]["place"], "a.rs:1");
}

#[test]
fn what_an_event_says_is_nearer_than_what_its_request_or_the_configuration_says() {
    let request = Request::get("/v2/a/blobs/uploads/1?_state=s3cret&x=1")
        .header("user-agent", "one")
        .body(())
        .unwrap();
    let peer = "192.0.2.7:4000".parse().unwrap();
    let request = RequestInfo::new(&request, Some(peer), Some(peer.ip()));
    let lines = logged(true, || {
        Arc::clone(&request).enter(|| {
            tracing::warn!(service = "mine", "http.request.useragent" = "two", "inside");
        });
        tracing::warn!("outside");
    });
    let (inside, outside) = (&lines[0], &lines[1]);
    assert_eq!(inside["http.request.id"], request.id().to_string());
    assert_eq!(inside["http.request.uri"], "/v2/a/blobs/uploads/1?_state=&x=1");
    assert_eq!(
        (
            &inside["service"],
            &inside["http.request.useragent"],
            &outside["service"]
        ),
        (&"mine".into(), &"two".into(), &"registry".into())
    );
    assert!(outside.get("http.request.id").is_none(), "{outside}");
    assert_eq!(inside["func"], "registry_server::telemetry::tests");
    assert!(
        inside["file"].as_str().unwrap().contains("telemetry/tests.rs:"),
        "{inside}"
    );
}
