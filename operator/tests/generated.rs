//! Generated files are fresh: what stands in the repository is what the types say.

use std::path::Path;

#[track_caller]
fn check_file(path: &str, command: &str, expected: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    let got = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("cannot read `{path}`: {error}"));
    let different = got
        .lines()
        .zip(expected.lines())
        .position(|(got, expected)| got != expected);
    assert!(
        got == expected,
        "`{path}` is stale from line {}; run `cargo run -p operator -- {command} > {path}`",
        different.unwrap_or_else(|| got.lines().count().min(expected.lines().count())) + 1,
    );
}

#[test]
fn the_definition_in_crds_is_what_the_types_say() {
    let expected = operator::cli::crd_yaml().unwrap();
    check_file("crds/berth.dev_registries.yaml", "crd", &expected);
}

#[test]
fn the_reference_page_is_what_the_types_say() {
    check_file(
        "docs/reference/registry.md",
        "reference",
        &operator_api::reference_page(),
    );
}

#[test]
fn nothing_in_the_definition_is_nullable_and_no_list_is_empty() {
    let definition = serde_json::to_string(&operator_api::crd()).unwrap();
    for forbidden in ["nullable", ":null", "[null", ":[]"] {
        assert!(
            !definition.contains(forbidden),
            "the definition contains `{forbidden}`"
        );
    }
}

#[test]
fn the_operators_image_is_that_of_this_version() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/manager/kustomization.yaml");
    let text = std::fs::read_to_string(file).unwrap();
    let wanted = format!("newTag: {}", operator::VERSION);
    assert!(text.contains(&wanted), "expected: {wanted}\ngot: {text}");
}

/// The text of every file below a folder.
fn texts(folder: &Path) -> String {
    let mut all = String::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.push_str(&texts(&path));
        } else if let Ok(text) = std::fs::read_to_string(&path) {
            all.push_str(&text);
        }
    }
    all
}

#[test]
fn alerts_and_dashboard_ask_for_metrics_that_the_server_has() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let asked = texts(&root.join("config/monitoring"));
    let server = texts(&root.join("registry-server/src"));
    let words = asked.split(|c: char| !c.is_ascii_lowercase() && c != '_');
    let metrics: std::collections::BTreeSet<&str> = words
        .filter(|word| word.starts_with("registry_") || word.starts_with("process_"))
        .collect();
    assert!(metrics.len() > 8, "{metrics:?}");
    for metric in metrics {
        let name = ["_total", "_bucket", "_sum"]
            .iter()
            .find_map(|suffix| metric.strip_suffix(suffix))
            .unwrap_or(metric);
        assert!(
            server.contains(&format!("\"{name}\"")),
            "the server has no metric `{metric}`"
        );
    }
}
