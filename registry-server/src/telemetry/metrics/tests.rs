use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::Histogram;

use super::*;

/// Parses the format strictly: every sample belongs to the family whose type comes right before it, names and labels are
/// well formed, and no series comes twice.
fn parse(text: &str) -> BTreeMap<String, f64> {
    let (mut series, mut types) = (BTreeMap::new(), BTreeMap::new());
    let mut family = (String::new(), String::new());
    let mut helped = None;
    let name_is_good = |name: &str| {
        name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
    };
    assert!(text.ends_with('\n'));
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            helped = rest.split_once(' ').map(|(name, _)| name.to_owned());
            continue;
        }
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap_or_else(|| panic!("{line}"));
            assert_eq!(helped.take().as_deref(), Some(name), "help is of the same family");
            assert!(name_is_good(name), "{line}");
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            assert!(types.insert(name.to_owned(), kind.to_owned()).is_none(), "{line}");
            family = (name.to_owned(), kind.to_owned());
            continue;
        }
        let (key, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line}"));
        let value: f64 = value.parse().unwrap_or_else(|_| panic!("{line}"));
        let name = key.split('{').next().unwrap();
        assert!(name_is_good(name), "{line}");
        let allowed: &[&str] = match family.1.as_str() {
            "histogram" => &["_bucket", "_sum", "_count"],
            _ => &[""],
        };
        assert!(
            name.strip_prefix(&family.0)
                .is_some_and(|end| allowed.contains(&end)),
            "{line} is not of {family:?}"
        );
        if let Some(labels) = key.strip_prefix(name).filter(|labels| !labels.is_empty()) {
            let labels = labels
                .strip_prefix('{')
                .and_then(|labels| labels.strip_suffix('}'));
            for label in labels.unwrap_or_else(|| panic!("{line}")).split(',') {
                let (name, value) = label.split_once('=').unwrap_or_else(|| panic!("{line}"));
                let quoted = value.len() >= 2 && value.starts_with('"') && value.ends_with('"');
                assert!(name_is_good(name) && quoted, "{line}");
            }
        }
        assert!(
            series.insert(key.to_owned(), value).is_none(),
            "{line} stands twice"
        );
    }
    series
}

#[test]
fn the_text_is_what_distributions_is_made_of() {
    let mut registry = Registry::default();
    let counter: Counter = Counter::default();
    counter.inc_by(3);
    registry.register(
        "registry_http_requests",
        "Total number of HTTP requests made",
        counter,
    );
    let histogram = Histogram::new([0.005, 1.0, 1_048_576.0]);
    histogram.observe(2.0);
    registry.register("registry_storage_action_seconds", "Seconds", histogram);
    let text = Metrics::new(registry).text();
    let series = parse(&text);
    assert!(
        text.contains(
            "# HELP registry_http_requests_total Total number of HTTP requests made.\n\
             # TYPE registry_http_requests_total counter\nregistry_http_requests_total 3\n"
        ),
        "{text}"
    );
    for (bound, count) in [("0.005", 0.0), ("1", 0.0), ("1.048576e+06", 1.0), ("+Inf", 1.0)] {
        let key = format!("registry_storage_action_seconds_bucket{{le=\"{bound}\"}}");
        assert_eq!(series.get(&key), Some(&count), "{key}: {text}");
    }
    assert!(!text.contains("EOF"), "{text}");
}

#[test]
fn the_process_tells_its_own_figures() {
    let series = parse(&Metrics::new(Registry::default()).text());
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs_f64();
    let one = |name: &str| *series.get(name).unwrap_or_else(|| panic!("{name}: {series:?}"));
    // The clock of the kernel and the wall clock may differ a little.
    let started = one("process_start_time_seconds");
    assert!(started > 1e9 && started < now + 60.0, "{started}");
    assert!(one("process_cpu_seconds_total") >= 0.0);
    assert!(one("process_resident_memory_bytes") > 1e6);
    assert!(one("process_virtual_memory_bytes") > one("process_resident_memory_bytes"));
    assert!(one("process_open_fds") >= 3.0);
    assert!(one("process_max_fds") >= one("process_open_fds"));
}

#[test]
fn numbers_are_written_as_go_writes_them() {
    for (number, expected) in [
        (0.005, "0.005"),
        (0.25, "0.25"),
        (1.0, "1"),
        (2.5, "2.5"),
        (60.0, "60"),
        (1024.0, "1024"),
        (524_288.0, "524288"),
        (1_048_576.0, "1.048576e+06"),
        (2_147_483_648.0, "2.147483648e+09"),
        (0.0001, "0.0001"),
        (0.00001, "1e-05"),
        (0.0, "0"),
    ] {
        assert_eq!(format_as_go(number).as_deref(), Some(expected), "{number}");
    }
    assert_eq!(format_as_go(f64::INFINITY), None);
}
