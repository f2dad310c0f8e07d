//! The folder names of distribution's layout have one home in the server.
//!
//! Start at [`breaches`].

use super::{House, comments};

pub(super) const RULE: &str = "only `storage/layout.rs` spells a folder of the layout";

const FOLDERS: [&str; 6] = [
    "\"_layers",
    "\"_manifests",
    "\"_uploads",
    "\"hashstates",
    "\"repositories/",
    "\"blobs/sha",
];

pub(super) fn breaches(house: &House) -> Vec<String> {
    let mut breaches = Vec::new();
    for source in &house.sources {
        let home = source.path.starts_with("registry-server/src/storage/layout");
        if home || source.is_tests() || !source.path.starts_with("registry-server/src") {
            continue;
        }
        let program = source.text.split("#[cfg(test)]").next().unwrap_or_default();
        for (number, line) in comments::code(program) {
            if FOLDERS.iter().any(|name| line.contains(name)) {
                breaches.push(format!("{}:{number}: {}", source.path, line.trim()));
            }
        }
    }
    breaches
}
