//! Comments: each file introduces itself, and a comment names its subject with a noun.
//!
//! Start at [`without_subject`].

use std::fs;

use anyhow::{Context as _, Result};
use e2e::images::checkout;

use super::House;

pub(super) const INTRODUCED: &str = "each file begins with a `//!` line that says what it is";

pub(super) const SUBJECT: &str = "no comment begins with a pronoun in place of its subject";

pub(super) const GLOSSARY: &str = "`docs/glossary.md` has at most twenty entries";

/// Beginnings that leave out the noun.
const PRONOUNS: [&str; 5] = ["Whoever", "Who ", "What ", "The one that", "That which"];

/// How many such beginnings are accepted.
pub(super) const LEFT: usize = 0;

/// Lines that are code, with their numbers.
pub(super) fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines = text.lines().enumerate().map(|(number, line)| (number + 1, line));
    lines.filter(|(_, line)| !line.trim_start().starts_with("//"))
}

pub(super) fn without_introduction(house: &House) -> Vec<String> {
    // A `tests.rs` is introduced by the file whose tests it holds.
    let silent = house
        .sources
        .iter()
        .filter(|source| !source.text.starts_with("//! ") && !source.path.ends_with("tests.rs"));
    silent.map(|source| source.path.clone()).collect()
}

pub(super) fn without_subject(house: &House) -> Vec<String> {
    let mut breaches = Vec::new();
    for source in &house.sources {
        for (index, line) in source.text.lines().enumerate() {
            let comment = line.trim_start();
            let comment = ["/// ", "//! ", "// "]
                .iter()
                .find_map(|slashes| comment.strip_prefix(slashes));
            if comment.is_some_and(|comment| PRONOUNS.iter().any(|word| comment.starts_with(word))) {
                breaches.push(format!("{}:{}: {}", source.path, index + 1, line.trim()));
            }
        }
    }
    breaches
}

/// The glossary has at most twenty entries, each a row of its table.
pub(super) fn glossary() -> Result<Vec<String>> {
    let path = checkout().join("docs/glossary.md");
    if !path.exists() {
        return Ok(Vec::new());
    }
    let text = fs::read_to_string(&path).context("reading docs/glossary.md")?;
    // The first row is the table's head.
    let rows = text.lines().filter(|line| line.starts_with("| ")).count();
    let breach = match rows.saturating_sub(1) {
        0 => Some("docs/glossary.md: no entry was found".to_owned()),
        1..=20 => None,
        many => Some(format!("docs/glossary.md: {many} entries")),
    };
    Ok(breach.into_iter().collect())
}
