//! Checks that no package in `Cargo.lock` has an advisory of the table `advisories.txt`. It runs under `cargo test`,
//! because `cargo deny check advisories` needs a database that not every machine can fetch (decision record 0014).
//!
//! Compatible versions of a package form a line: 1.x, 0.9.x. A row of the table names the first good version of a
//! line. Lines newer than all rows of an advisory are good; older lines without a row are not.

use std::collections::BTreeMap;
use std::fs;

type Version = [u64; 3];

/// The numbers before `-` and `+`.
fn version(text: &str) -> Version {
    let plain = text.split(['-', '+']).next().unwrap_or_default();
    let mut parts = plain
        .split('.')
        .map(|part| part.parse().unwrap_or_else(|_| panic!("{text}")));
    [0; 3].map(|_: u64| parts.next().unwrap_or(0))
}

/// The part of a version that changes with a breaking change.
fn line(version: Version) -> (u64, u64) {
    match version {
        [0, minor, _] => (0, minor),
        [major, ..] => (major, 0),
    }
}

/// The first good version of each line, by package and advisory.
fn advisories(table: &str) -> BTreeMap<(&str, &str), Vec<Version>> {
    let mut known: BTreeMap<_, Vec<Version>> = BTreeMap::new();
    for row in table.lines().filter(|row| !row.starts_with('#')) {
        let mut words = row.split_whitespace();
        let (Some(package), Some(good), Some(advisory), Some(_)) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            panic!("a row has a package, a version, an advisory and what it is about: {row:?}");
        };
        known.entry((package, advisory)).or_default().push(version(good));
    }
    known
}

fn is_good(locked: Version, good: &[Version]) -> bool {
    let same = good.iter().find(|first| line(**first) == line(locked));
    match same {
        Some(first) => locked >= *first,
        None => good.iter().all(|first| line(*first) < line(locked)),
    }
}

/// Packages and versions of a lock file.
fn locked(lock: &str) -> Vec<(&str, Version)> {
    let mut found = Vec::new();
    let mut package = None;
    for row in lock.lines() {
        if let Some(name) = row.strip_prefix("name = \"") {
            package = Some(name.trim_end_matches('"'));
        } else if let Some(text) = row.strip_prefix("version = \"")
            && let Some(package) = package.take()
        {
            found.push((package, version(text.trim_end_matches('"'))));
        }
    }
    found
}

/// Each package that has an advisory, as a sentence.
fn affected(lock: &str, table: &str) -> Vec<String> {
    let known = advisories(table);
    let mut broken = Vec::new();
    for (package, version) in locked(lock) {
        for ((_, advisory), good) in known.iter().filter(|((name, _), _)| *name == package) {
            if !is_good(version, good) {
                let [major, minor, patch] = version;
                broken.push(format!(
                    "{package} {major}.{minor}.{patch} has {advisory}: `cargo update -p {package}`"
                ));
            }
        }
    }
    broken
}

fn checkout(path: &str) -> String {
    let path = format!("{}/../{path}", env!("CARGO_MANIFEST_DIR"));
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[test]
fn no_locked_package_has_a_known_advisory() {
    let (lock, table) = (checkout("Cargo.lock"), checkout("xtask/advisories.txt"));
    assert!(locked(&lock).len() > 300);
    let broken = affected(&lock, &table);
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn every_package_of_the_table_is_a_locked_one() {
    let (lock, table) = (checkout("Cargo.lock"), checkout("xtask/advisories.txt"));
    let names: Vec<&str> = locked(&lock).into_iter().map(|(name, _)| name).collect();
    for ((package, advisory), _) in advisories(&table) {
        assert!(
            names.contains(&package),
            "{package} ({advisory}) is not locked any more"
        );
    }
}

#[test]
fn an_old_version_is_told_from_a_good_one_in_each_line() {
    let table = "# c\na 0.3.26 X-1 x\na 0.4.4 X-1 x\nb 1.2.0 X-2 x\n";
    let lock =
        |name: &str, version: &str| format!("[[package]]\nname = \"{name}\"\nversion = \"{version}\"\n");
    for (name, version, expected) in [
        ("a", "0.2.9", 1),
        ("a", "0.3.25", 1),
        ("a", "0.3.26", 0),
        ("a", "0.4.3", 1),
        ("a", "0.4.20", 0),
        ("a", "1.0.0", 0),
        ("b", "1.1.9", 1),
        ("b", "1.10.0+spec", 0),
        ("b", "2.0.0", 0),
        ("c", "0.0.1", 0),
    ] {
        assert_eq!(
            affected(&lock(name, version), table).len(),
            expected,
            "{name} {version}"
        );
    }
}
