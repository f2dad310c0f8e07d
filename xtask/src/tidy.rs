//! `cargo xtask tidy`: rules of the house that no compiler knows. `cargo test` runs them as well.
//!
//! Guarantees: the files are read as they are now; each breach names its file and line. Must not: change a file.
//! Start at [`tidy`]; [`rules`] has every rule.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use e2e::images::checkout;

mod arrows;
mod circles;
mod comments;
mod crypto;
mod identifiers;
mod layout;
mod modules;
mod order;
mod resolve;
mod tokens;

use arrows::Arrows;
use identifiers::Name;
use modules::{Files, Modules};

/// The crates of both programs: the folder of each, and its library's name in code.
const CRATES: [(&str, &str); 6] = [
    ("registry-server/oci", "registry_oci"),
    ("registry-server/config", "registry_config"),
    ("registry-server/mutation", "registry_mutation"),
    ("registry-server", "registry_server"),
    ("operator/api", "operator_api"),
    ("operator", "operator"),
];

/// The folders of everything that is written in Rust here.
const MEMBERS: [&str; 4] = ["registry-server", "operator", "e2e", "xtask"];

/// A text file, named from the checkout with `/` between the parts.
pub(crate) struct Source {
    pub(crate) path: String,
    pub(crate) text: String,
}

impl Source {
    /// Whether the file holds nothing but tests.
    pub(crate) fn is_tests(&self) -> bool {
        let parts = || self.path.split('/');
        parts().any(|part| part == "tests" || part == "tests.rs")
    }
}

/// Everything the rules look at.
pub(crate) struct House {
    /// Every Rust file.
    sources: Vec<Source>,
    names: Vec<Name>,
    modules: Modules,
    arrows: Arrows,
}

impl House {
    fn read() -> Result<Self> {
        let root = checkout();
        let mut sources = Vec::new();
        for member in MEMBERS {
            collect(&root, member, &mut sources)?;
        }
        let mut files = Files::new();
        for Source { path, text } in &sources {
            let parsed = syn::parse_file(text).with_context(|| format!("parsing {path}"))?;
            files.insert(path.clone(), parsed);
        }
        sources.sort_by(|a, b| a.path.cmp(&b.path));
        let modules = Modules::of(&files, &CRATES)?;
        let arrows = Arrows::of(&modules);
        Ok(Self {
            sources,
            names: identifiers::names(&files),
            modules,
            arrows,
        })
    }
}

fn collect(root: &Path, folder: &str, sources: &mut Vec<Source>) -> Result<()> {
    let entries = fs::read_dir(root.join(folder)).with_context(|| format!("listing {folder}"))?;
    for entry in entries {
        let entry = entry.with_context(|| format!("listing {folder}"))?;
        let path = format!("{folder}/{}", entry.file_name().to_string_lossy());
        if entry.path().is_dir() {
            collect(root, &path, sources)?;
        } else if path.ends_with(".rs") {
            let text = fs::read_to_string(entry.path()).with_context(|| format!("reading {path}"))?;
            sources.push(Source { path, text });
        }
    }
    Ok(())
}

/// A rule with its breaches, of which each names its place.
struct Rule {
    sentence: &'static str,
    breaches: Vec<String>,
    /// How many breaches are accepted for now.
    accepted: usize,
}

impl Rule {
    fn is_kept(&self) -> bool {
        self.breaches.len() <= self.accepted
    }
}

fn rules(house: &House) -> Result<Vec<Rule>> {
    let rule = |sentence, breaches| Rule {
        sentence,
        breaches,
        accepted: 0,
    };
    Ok(vec![
        rule(circles::RULE, circles::breaches(house)),
        rule(order::RULE, order::breaches(house)),
        rule(arrows::RULE, arrows::lost(house)),
        Rule {
            accepted: identifiers::LEFT,
            ..rule(identifiers::RULE, identifiers::breaches(house))
        },
        rule(comments::INTRODUCED, comments::without_introduction(house)),
        Rule {
            accepted: comments::LEFT,
            ..rule(comments::SUBJECT, comments::without_subject(house))
        },
        rule(comments::GLOSSARY, comments::glossary()?),
        rule(layout::RULE, layout::breaches(house)),
        rule(crypto::RULE, crypto::breaches()?),
    ])
}

/// Prints the figures and every breach; fails when a rule is not kept.
pub(crate) fn tidy() -> Result<ExitCode> {
    let house = House::read()?;
    let mut text = order::figures(&house);
    text.push_str(&circles::drawn(&house));
    let rules = rules(&house)?;
    for rule in &rules {
        let count = rule.breaches.len();
        let state = if rule.is_kept() { "kept" } else { "broken" };
        let _ = writeln!(text, "\n{state}: {}", rule.sentence);
        for breach in &rule.breaches {
            let _ = writeln!(text, "  {breach}");
        }
        if count > 0 {
            let _ = writeln!(text, "  {count} in all, {} accepted", rule.accepted);
        }
    }
    // Closed by a reader who has seen enough.
    let _ = std::io::Write::write_all(&mut std::io::stdout(), text.as_bytes());
    Ok(if rules.iter().all(Rule::is_kept) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use super::*;

    static HOUSE: LazyLock<House> = LazyLock::new(|| House::read().unwrap());

    #[track_caller]
    fn kept(rule: &str, breaches: &[String]) {
        at_most(0, rule, breaches);
    }

    #[track_caller]
    fn at_most(accepted: usize, rule: &str, breaches: &[String]) {
        let count = breaches.len();
        assert!(
            count <= accepted,
            "{rule}. {count} places break it, {accepted} are accepted:\n{}",
            breaches.join("\n")
        );
    }

    #[test]
    fn all_files_of_both_programs_are_read() {
        let files = &HOUSE.modules.files;
        assert!(files.len() > 250, "only {} files were found", files.len());
        let unread: Vec<&str> = HOUSE
            .sources
            .iter()
            .filter(|source| {
                CRATES
                    .iter()
                    .any(|(folder, _)| source.path.starts_with(&format!("{folder}/src/")))
            })
            .map(|source| source.path.as_str())
            .filter(|path| !files.iter().any(|file| file == path))
            .filter(|path| !HOUSE.modules.is_for_tests(path))
            .collect();
        assert!(unread.is_empty(), "no `mod` leads to these files: {unread:#?}");
        kept(arrows::RULE, &arrows::lost(&HOUSE));
    }

    #[test]
    fn no_files_need_each_other_in_a_circle() {
        kept(circles::RULE, &circles::breaches(&HOUSE));
    }

    #[test]
    fn a_room_names_only_rooms_below_it() {
        kept(order::RULE, &order::breaches(&HOUSE));
    }

    #[test]
    fn names_are_words_of_the_field() {
        at_most(
            identifiers::LEFT,
            identifiers::RULE,
            &identifiers::breaches(&HOUSE),
        );
    }

    #[test]
    fn every_file_introduces_itself() {
        kept(comments::INTRODUCED, &comments::without_introduction(&HOUSE));
    }

    #[test]
    fn every_comment_has_a_subject() {
        at_most(
            comments::LEFT,
            comments::SUBJECT,
            &comments::without_subject(&HOUSE),
        );
    }

    #[test]
    fn the_glossary_has_at_most_twenty_entries() {
        kept(comments::GLOSSARY, &comments::glossary().unwrap());
    }

    #[test]
    fn only_the_layout_spells_its_folders() {
        kept(layout::RULE, &layout::breaches(&HOUSE));
    }

    #[test]
    fn ring_is_nowhere_in_the_tree() {
        kept(crypto::RULE, &crypto::breaches().unwrap());
    }
}
