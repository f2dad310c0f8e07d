//! The reviewed list `differences.txt`: every wanted difference, with its reason.
//!
//! Guarantees: an entry stands for exactly one route and method, one field, one value of the peer and one of ours. A
//! difference that is seen and not listed is unlisted; one that is listed and not seen is unused; both fail. Start at
//! [`DifferenceList::judge`].

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use anyhow::{Context as _, Result, bail, ensure};

/// The list of this checkout.
pub(super) const TEXT: &str = include_str!("differences.txt");

/// The reason of entries where only 2.8 differs, because ours answers as 3.1 does.
const AS_3_1: &str = "as-3.1";

/// One difference, as it is listed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Entry {
    /// `GET /v2/<name>/tags/list`
    pub(super) class: String,
    /// `header etag`
    pub(super) field: String,
    /// `2.8`, `3.1`, or `both` when both peers answer alike.
    pub(super) peer: &'static str,
    pub(super) theirs: String,
    pub(super) ours: String,
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            class,
            field,
            peer,
            theirs,
            ours,
        } = self;
        write!(f, "{class} | {peer} | {field} | {theirs} | {ours}")
    }
}

/// The reasons, and the reason of each entry.
#[derive(Debug, Default)]
pub(super) struct DifferenceList {
    reasons: BTreeMap<String, String>,
    entries: BTreeMap<Entry, String>,
}

/// The result of a run.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    /// Differences that were seen and are not listed.
    pub(super) unlisted: Vec<Entry>,
    /// Entries that are listed and were not seen.
    pub(super) unused: Vec<Entry>,
    /// Reasons without an entry.
    pub(super) unused_reasons: Vec<String>,
    /// The number of differences that were seen, by reason.
    pub(super) by_reason: BTreeMap<String, usize>,
}

impl Verdict {
    /// Whether everything seen is listed and everything listed was seen.
    pub(super) fn holds(&self) -> bool {
        self.unlisted.is_empty() && self.unused.is_empty() && self.unused_reasons.is_empty()
    }
}

impl DifferenceList {
    /// Reads the list: `reason <id>: <sentence>`, `#` comments, and entries
    /// `<method> <route> | <peer> | <field> | <theirs> | <ours> | <reason>`.
    ///
    /// # Errors
    /// A line has none of these forms, is there twice, or names an unknown reason.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let mut list = Self::default();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            let place = || format!("line {}: {line}", number + 1);
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if let Some(reason) = line.strip_prefix("reason ") {
                let (id, sentence) = reason.split_once(": ").with_context(place)?;
                let before = list.reasons.insert(id.to_owned(), sentence.to_owned());
                ensure!(before.is_none(), "{}: the reason is there twice", place());
                continue;
            }
            let parts: Vec<&str> = line.split(" | ").collect();
            let [class, peer, field, theirs, ours, reason] = parts.as_slice() else {
                bail!("{}: an entry has six parts", place());
            };
            let peer = match *peer {
                "2.8" => "2.8",
                "3.1" => "3.1",
                "both" => "both",
                _ => bail!("{}: a peer is `2.8`, `3.1` or `both`", place()),
            };
            ensure!(
                list.reasons.contains_key(*reason),
                "{}: the reason is not told",
                place()
            );
            ensure!(
                *reason != AS_3_1 || peer == "2.8",
                "{}: only 2.8 differs from 3.1",
                place()
            );
            let entry = Entry {
                class: (*class).to_owned(),
                field: (*field).to_owned(),
                peer,
                theirs: (*theirs).to_owned(),
                ours: (*ours).to_owned(),
            };
            let before = list.entries.insert(entry, (*reason).to_owned());
            ensure!(before.is_none(), "{}: the entry is there twice", place());
        }
        Ok(list)
    }

    /// Compares the list with what was seen, each difference with the number of requests that showed it.
    pub(super) fn judge(&self, seen: &BTreeMap<Entry, usize>) -> Verdict {
        let mut verdict = Verdict::default();
        for (entry, count) in seen {
            match self.entries.get(entry) {
                Some(reason) => *verdict.by_reason.entry(reason.clone()).or_default() += count,
                None => verdict.unlisted.push(entry.clone()),
            }
        }
        let used: BTreeSet<&String> = self.entries.values().collect();
        verdict.unused = self
            .entries
            .keys()
            .filter(|entry| !seen.contains_key(entry))
            .cloned()
            .collect();
        verdict.unused_reasons = self
            .reasons
            .keys()
            .filter(|reason| !used.contains(reason))
            .cloned()
            .collect();
        verdict
    }

    /// The reasons as `docs/drop-in.md` has them, one line each.
    #[cfg(test)]
    pub(super) fn reasons(&self) -> impl Iterator<Item = String> {
        self.reasons
            .iter()
            .map(|(id, sentence)| format!("- **{id}**: {sentence}"))
    }

    /// How many entries there are.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }
}
