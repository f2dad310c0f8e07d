//! The output of a garbage collection, for people and scripts.

use std::time::{Duration, Instant};

use crate::cli::output::{Output, size};
use crate::registry::{CollectionEvent, CollectionReport, Eligible, Removal};

/// The time between two lines about the progress.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// Prints the progress and the result of a collection.
pub(super) struct Report<'a> {
    output: &'a Output,
    quiet: bool,
    removal: Removal,
    began: Instant,
    last_line: Instant,
}

impl<'a> Report<'a> {
    pub(super) fn new(output: &'a Output, quiet: bool, removal: Removal) -> Self {
        let began = Instant::now();
        Self {
            output,
            quiet,
            removal,
            began,
            last_line: began,
        }
    }

    pub(super) fn event(&mut self, event: CollectionEvent<'_>) {
        if self.quiet {
            return;
        }
        match event {
            CollectionEvent::Eligible(eligible) => {
                if let Some(line) = line(eligible) {
                    self.output.data(&line);
                }
            }
            CollectionEvent::Marking(collected) if self.is_due() => self.output.message(&format!(
                "   Marking  {} manifests in {} repositories",
                collected.manifests, collected.repositories
            )),
            CollectionEvent::Sweeping(collected) if self.is_due() => self.output.message(&format!(
                "   Sweeping {} manifests, {} blobs, {}",
                collected.manifests_removed,
                collected.blobs_removed,
                size(collected.bytes_removed)
            )),
            CollectionEvent::Marking(_) | CollectionEvent::Sweeping(_) => {}
        }
    }

    pub(super) fn end(&self, collected: &CollectionReport) {
        if self.quiet {
            return;
        }
        self.output.data(&count(collected));
        for line in summary(collected, self.removal, self.began.elapsed()) {
            self.output.message(&line);
        }
    }

    fn is_due(&mut self) -> bool {
        let due = self.last_line.elapsed() >= LINE_EVERY;
        if due {
            self.last_line = Instant::now();
        }
        due
    }
}

/// The line of one removed object, in distribution's words if it has some. Entries of our own index get no line.
fn line(eligible: &Eligible) -> Option<String> {
    match eligible {
        Eligible::Manifest(repository, digest) => Some(format!(
            "{repository}: manifest eligible for deletion: {digest}\n"
        )),
        Eligible::TagHistory(repository, tag, digest) => Some(format!(
            "{repository}: manifest tag reference eligible for deletion: {tag} {digest}\n"
        )),
        Eligible::Tag(repository, tag) => Some(format!(
            "{repository}: tag without a manifest eligible for deletion: {tag}\n"
        )),
        Eligible::Layer(repository, digest) => Some(format!(
            "{repository}: layer link eligible for deletion: {digest}\n"
        )),
        Eligible::Blob(digest) => Some(format!("blob eligible for deletion: {digest}\n")),
        Eligible::Index => None,
    }
}

fn count(collected: &CollectionReport) -> String {
    format!(
        "\n{} blobs marked, {} blobs and {} manifests eligible for deletion\n",
        collected.blobs_kept, collected.blobs_removed, collected.manifests_removed
    )
}

fn summary(collected: &CollectionReport, removal: Removal, took: Duration) -> Vec<String> {
    let (did, freed) = match removal {
        Removal::Remove => ("Swept   ", "freed"),
        Removal::DryRun => ("Would sweep", "to free"),
    };
    let mut lines = vec![
        format!(
            "   Marked   {} manifests in {} repositories",
            collected.manifests, collected.repositories
        ),
        format!(
            "   {did} {} manifests and {} blobs, {} {freed}, {} errors in {} s (kept {} blobs; {} links and blobs are too young)",
            collected.manifests_removed,
            collected.blobs_removed,
            size(collected.bytes_removed),
            collected.failed,
            took.as_secs(),
            collected.blobs_kept,
            collected.too_young,
        ),
    ];
    if collected.missing > 0 {
        lines.push(format!(
            "warning: {} manifests have no payload; the log names them",
            collected.missing
        ));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_says_what_was_done_or_would_be() {
        let collected = CollectionReport {
            repositories: 2,
            manifests: 7,
            missing: 1,
            blobs_kept: 20,
            too_young: 3,
            manifests_removed: 4,
            blobs_removed: 9,
            bytes_removed: 5 << 20,
            ..CollectionReport::default()
        };
        let took = Duration::from_millis(22_400);
        assert_eq!(
            summary(&collected, Removal::Remove, took),
            [
                "   Marked   7 manifests in 2 repositories",
                "   Swept    4 manifests and 9 blobs, 5.0 MiB freed, 0 errors in 22 s (kept 20 blobs; 3 links and blobs are too young)",
                "warning: 1 manifests have no payload; the log names them",
            ]
        );
        let dry = summary(&collected, Removal::DryRun, took);
        assert!(
            dry[1].starts_with("   Would sweep 4 manifests and 9 blobs, 5.0 MiB to free, "),
            "{dry:?}"
        );
        assert_eq!(
            count(&collected),
            "\n20 blobs marked, 9 blobs and 4 manifests eligible for deletion\n"
        );
    }
}
