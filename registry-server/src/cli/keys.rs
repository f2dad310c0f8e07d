//! `config keys`: the table of all configuration keys, which is also the reference page.

use registry_config::keys::{KEYS, Support, Upstream};

use super::exit;
use super::output::Output;

/// Prints the table in Markdown. The counts are printed as a message too, for people who pipe the table.
pub(super) fn run(output: &Output) -> u8 {
    output.data(&table());
    output.message(&counts());
    exit::DONE
}

fn counts() -> String {
    let count = |support: Support| KEYS.iter().filter(|key| key.support == support).count();
    format!(
        "{} keys: {} acted on, {} accepted without effect, {} refused, {} not yet.",
        KEYS.len(),
        count(Support::Implemented),
        count(Support::Ignored),
        count(Support::Refused),
        count(Support::Planned),
    )
}

fn table() -> String {
    let mut text = format!(
        "{}\n\n| Key | Known to | Kind | What it does, or why not |\n|---|---|---|---|\n",
        counts()
    );
    for key in KEYS {
        let upstream = match key.upstream {
            Upstream::Both => "registry:2, registry:3",
            Upstream::V2 => "registry:2",
            Upstream::V3 => "registry:3",
            Upstream::Berth => "Berth",
        };
        let support = match key.support {
            Support::Implemented => "acted on",
            Support::Ignored => "accepted without effect",
            Support::Refused => "refused",
            Support::Planned => "not yet",
        };
        text.push_str(&format!(
            "| `{}` | {upstream} | {support} | {} |\n",
            key.path,
            key.note.replace('|', "\\|")
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_a_row_per_key_and_counts_them() {
        let table = table();
        assert_eq!(table.lines().count(), KEYS.len() + 4);
        // The numbers themselves are held by the reference page, which is this table.
        let numbers: Vec<usize> = counts()
            .split(|c: char| !c.is_ascii_digit())
            .filter_map(|number| number.parse().ok())
            .collect();
        assert_eq!(numbers.len(), 5, "{}", counts());
        assert_eq!((numbers[0], numbers[1..].iter().sum()), (KEYS.len(), KEYS.len()));
        assert!(table.starts_with(&counts()));
        assert!(table.contains(
            "| `http.previoussecrets[]` | Berth | acted on | \
             secrets used before: uploads signed with one of them go on |\n"
        ));
    }
}
