//! The reference page of configuration keys: it is what the program prints, and the program uses every key as it says.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use registry_config::keys::{KEYS, Support};

/// The text above the table.
const HEAD: &str = "# Configuration keys

What the registry server does about each key of `config.yml`: those of registry:2, those of registry:3, and its own. The
variable of a key is `REGISTRY_` and its path in capitals, with `_` for each dot.

Generated: `registry-server config keys` prints it. A key that is *acted on* does what it says; one *accepted without
effect* is warned about once, with the reason; *refused* and *not yet* stop the start with a sentence.

";

#[test]
fn the_page_of_configuration_keys_is_fresh() {
    let printed = Command::new(env!("CARGO_BIN_EXE_registry-server"))
        .args(["config", "keys"])
        .output()
        .unwrap();
    assert!(printed.status.success(), "{printed:?}");
    // The counts go to standard error too, for people who pipe the table.
    let counts = String::from_utf8(printed.stderr).unwrap();
    assert!(
        counts.starts_with(&format!("{} keys: ", KEYS.len())) && counts.lines().count() == 1,
        "{counts}"
    );
    let expected = format!("{HEAD}{}", String::from_utf8(printed.stdout).unwrap());
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/reference/configuration.md");
    if std::env::var_os("BERTH_UPDATE").is_some() {
        std::fs::write(path, &expected).unwrap();
    }
    let there = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        there == expected,
        "`{path}` is not what is printed now; run the test with BERTH_UPDATE=1"
    );
}

/// Collects the source of the program without its tests.
fn text(folder: &Path, all: &mut String) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            if !path.ends_with("tests") {
                text(&path, all);
            }
        } else if !path.ends_with("tests.rs") {
            let file = std::fs::read_to_string(&path).unwrap();
            all.push_str(file.split("#[cfg(test)]").next().unwrap_or_default());
        }
    }
}

/// Other tests show that every key is decoded. This test shows that the program reads the decoded value: otherwise the
/// setting would be ignored in silence.
#[test]
fn every_key_that_is_acted_on_is_read_by_the_program() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut all = String::new();
    text(&root.join("src"), &mut all);
    // Methods of the model read keys too.
    text(&root.join("config/src/model"), &mut all);
    all.push_str(&std::fs::read_to_string(root.join("config/src/model.rs")).unwrap());
    let words: String = all
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .replace(" .", ".");
    let taken_apart: BTreeSet<&str> = words
        .split("registry_config::model::")
        .filter_map(|rest| rest.split_once("} = ")?.0.split_once(" { "))
        .flat_map(|(_, fields)| fields.split(", "))
        .map(|field| field.trim().trim_end_matches(','))
        .collect();
    let mut ignored = Vec::new();
    for key in KEYS.iter().filter(|key| key.support == Support::Implemented) {
        let last = key
            .path
            .split('.')
            .map(|step| step.trim_end_matches("[]"))
            .rfind(|step| *step != "*")
            .unwrap();
        let field = match key.path {
            // The value goes into another key, or the presence of the key is all that counts.
            "version" | "loglevel" | "auth.none" => continue,
            "log.hooks[].type" => "kind",
            _ => last,
        };
        // A destructured field. The compiler warns if it is not used.
        let taken = taken_apart.contains(field);
        let read = taken
            || words.match_indices(&format!(".{field}")).any(|(at, found)| {
                let after = words[at + found.len()..].chars().next();
                // The match is a whole field name, and no method call.
                after.is_none_or(|c| !c.is_alphanumeric() && c != '_' && c != '(')
            });
        if !read {
            ignored.push(key.path);
        }
    }
    assert_eq!(
        ignored, [""; 0],
        "these keys are said to be acted on, and nobody reads them"
    );
}
