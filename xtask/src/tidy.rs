//! House rules that no compiler knows, run under `cargo test`: rooms introduce themselves, arrows point inward, the layout's
//! folder names have one home, the crypto provider is one.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Every Rust file of the workspace, with its text and its path from the checkout.
fn sources() -> Vec<(PathBuf, String)> {
    let root = e2e::images::checkout();
    let mut found = Vec::new();
    for member in ["registry-server", "operator", "e2e", "xtask"] {
        collect(&root.join(member), &mut found);
    }
    assert!(
        found.len() > 100,
        "only {} files were found below {}",
        found.len(),
        root.display()
    );
    let text = |path: PathBuf| {
        let text = fs::read_to_string(&path).unwrap();
        (path.strip_prefix(&root).unwrap().to_owned(), text)
    };
    found.into_iter().map(text).collect()
}

fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Lines that are code, with their numbers.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines = text.lines().enumerate().map(|(number, line)| (number + 1, line));
    lines.filter(|(_, line)| !line.trim_start().starts_with("//"))
}

#[track_caller]
fn none(broken: &[String], rule: &str) {
    assert!(broken.is_empty(), "{rule}:\n{}", broken.join("\n"));
}

#[test]
fn every_file_introduces_itself() {
    let silent = sources()
        .into_iter()
        // A `tests.rs` is introduced by the file whose tests it holds.
        .filter(|(path, text)| !text.starts_with("//! ") && !path.ends_with("tests.rs"));
    let silent: Vec<String> = silent.map(|(path, _)| path.display().to_string()).collect();
    none(
        &silent,
        "these files do not begin with a `//!` line that says what they are",
    );
}

#[test]
fn no_inner_room_of_the_server_names_an_outer_one() {
    let rooms = [
        (
            "registry-server/src/storage",
            &["crate::registry", "crate::auth", "crate::http", "crate::cli"][..],
        ),
        (
            "registry-server/src/registry",
            &["crate::auth", "crate::http", "crate::cli"],
        ),
        (
            "registry-server/src/auth",
            &["crate::registry", "crate::storage", "crate::http", "crate::cli"],
        ),
        ("registry-server/src/http", &["crate::cli"]),
    ];
    let mut broken = Vec::new();
    for (path, text) in sources() {
        let room = rooms
            .iter()
            .find(|(room, _)| path.with_extension("") == Path::new(room) || path.starts_with(room));
        for (number, line) in code(&text) {
            if room.is_some_and(|(_, outer)| outer.iter().any(|outer| line.contains(outer))) {
                broken.push(format!("{}:{number}: {}", path.display(), line.trim()));
            }
        }
    }
    none(&broken, "these lines reach from an inner room to an outer one");
}

#[test]
fn only_the_layout_spells_its_folders() {
    let mut broken = Vec::new();
    for (path, text) in sources() {
        let home = path.starts_with("registry-server/src/storage/layout.rs")
            || path.starts_with("registry-server/src/storage/layout");
        let tests = path.components().any(|part| part.as_os_str() == "tests") || path.ends_with("tests.rs");
        if home || tests || !path.starts_with("registry-server/src") {
            continue;
        }
        let program = text.split("#[cfg(test)]").next().unwrap_or_default();
        for (number, line) in code(program) {
            if [
                "\"_layers",
                "\"_manifests",
                "\"_uploads",
                "\"hashstates",
                "\"repositories/",
                "\"blobs/sha",
            ]
            .iter()
            .any(|name| line.contains(name))
            {
                broken.push(format!("{}:{number}: {}", path.display(), line.trim()));
            }
        }
    }
    none(
        &broken,
        "these lines spell a folder of the layout, which only storage/layout.rs may",
    );
}

#[test]
fn ring_is_nowhere_in_the_tree() {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let tree = Command::new(cargo)
        .args([
            "tree",
            "--workspace",
            "--edges",
            "normal,build",
            "--prefix",
            "none",
            "--format",
            "{p}",
            "--locked",
        ])
        .current_dir(e2e::images::checkout())
        .output()
        .unwrap();
    assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
    let tree = String::from_utf8(tree.stdout).unwrap();
    assert!(
        tree.contains("aws-lc-rs v"),
        "the tree holds no crypto provider at all:\n{tree}"
    );
    let ring: Vec<String> = tree
        .lines()
        .filter(|line| line.starts_with("ring v"))
        .map(str::to_owned)
        .collect();
    none(&ring, "docs/adr/0002: aws-lc-rs is the one crypto provider");
}
