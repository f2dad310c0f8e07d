//! The page of every configuration key is what the program prints.

use std::process::Command;

/// What stands above the table.
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
