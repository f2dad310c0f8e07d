//! `storage check`. Standard output has one line for each finding, as text or JSON. Progress and the summary go to
//! standard error.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use uuid::Uuid;

use crate::cli::output::{Output, size};
use crate::cli::progress::Progress;
use crate::cli::{config_source, exit, offline};
use crate::registry::{
    About, CheckEvent, CheckOptions, CheckReport, Digests, Finding, FindingOutcome, Repair, UndoEvent,
    UndoReport,
};
use crate::storage::layout::PathPrefix;

/// The part of the help after the flags.
pub(super) const HELP: &str = "\
Every repository, link, manifest and blob is checked, and so is the presence and size of everything that a manifest refers to. \
The bytes of manifests are always read, those of blobs only with --digests. A check writes nothing and may run while servers run. \
A change that a server makes meanwhile may be reported although it is complete a moment later.

--repair moves broken files to a trash folder in the store, so that they can be pushed again. It deletes nothing but \
temporary files that are an hour old. The journal in the trash folder has a line for each move, and --undo <run> moves \
everything back. A repair can be interrupted at any time and started again.

A server that writes to the store writes a heartbeat every 30 seconds. While there is one, nothing is repaired and the exit code \
is 4. --force repairs all the same: files that are written meanwhile stay where they are. A server of distribution writes no heartbeat.

Exit codes: 0 nothing is broken, or all of it was repaired, 1 failed, 2 command line or configuration wrong, 3 something is \
broken, 4 a failure that passes, or a live server.";

/// The arguments.
#[derive(Debug, Args)]
pub(in crate::cli) struct Arguments {
    /// The configuration file [default: as for `serve`]
    config: Option<PathBuf>,
    /// Reads the bytes of every blob
    #[arg(long)]
    digests: bool,
    /// Moves broken files to the trash, where that helps
    #[arg(long)]
    repair: bool,
    /// Moves back the files that a repair moved to the trash
    #[arg(long, value_name = "RUN", conflicts_with_all = ["digests", "repair", "json"])]
    undo: Option<Uuid>,
    /// Repairs although a server writes to the store
    #[arg(long)]
    force: bool,
    /// Prints each finding as a line of JSON, and a summary as the last line
    #[arg(long)]
    json: bool,
    /// Prints findings and errors only, no progress and no summary
    #[arg(short = 'q', long)]
    quiet: bool,
}

/// Checks a store, repairs it, or undoes a repair.
pub(super) fn run(arguments: &Arguments, output: &Output) -> u8 {
    let found = match config_source::find(arguments.config.clone()) {
        Ok(found) => found,
        Err(error) => {
            error.print(output);
            return exit::CALLER;
        }
    };
    let config = &found.loaded.config;
    offline::finish(config, output, async {
        let (registry, _) = offline::open(&found).await?;
        let live_server_policy = offline::live_server_policy(config, arguments.force);
        if let Some(run) = arguments.undo {
            let mut watch = |undoing: UndoEvent<'_>| match undoing {
                UndoEvent::Restored(key) => output.data(&format!("put back: {key}\n")),
                UndoEvent::Occupied(key) => {
                    output.data(&format!("something else is there, stays in the trash: {key}\n"))
                }
            };
            let undone = registry.undo_repair(run, live_server_policy, &mut watch);
            return Ok(undone_is(undone.await.map_err(Box::new)?, arguments, output));
        }
        let checking = CheckOptions {
            digests: match arguments.digests {
                true => Digests::Hashed,
                false => Digests::Trusted,
            },
            repair: match arguments.repair {
                true => Repair::Move,
                false => Repair::Report,
            },
            live_server_policy,
        };
        let mut report = Report {
            output,
            json: arguments.json,
            progress: Progress::new(output, arguments.quiet),
        };
        let checked = registry
            .check(checking, &mut |event| report.event(event))
            .await
            .map_err(Box::new)?;
        Ok(report.end(&checked, checking, arguments.quiet))
    })
}

fn undone_is(undone: UndoReport, arguments: &Arguments, output: &Output) -> u8 {
    if !arguments.quiet {
        output.message(&format!(
            "   Undone   {} objects are back, {} had never left, {} stay in the trash",
            undone.back, undone.never_left, undone.in_the_way
        ));
    }
    match undone.in_the_way {
        0 => exit::DONE,
        _ => exit::FINDINGS,
    }
}

/// The output of a check.
struct Report<'a> {
    output: &'a Output,
    json: bool,
    progress: Progress<'a>,
}

/// A finding as JSON.
#[derive(Serialize)]
struct FindingLine<'a> {
    version: u32,
    kind: &'a str,
    // Scripts read this key under its first name.
    #[serde(rename = "fate")]
    outcome: &'static str,
    #[serde(flatten)]
    about: About<'a>,
    says: String,
}

/// The summary as JSON: the last line.
#[derive(Serialize)]
struct Summary<'a> {
    version: u32,
    kind: &'a str,
    repositories: u64,
    manifests: u64,
    links: u64,
    blobs: u64,
    bytes: u64,
    hashed: u64,
    findings: u64,
    repaired: u64,
    open: u64,
    failed: u64,
    trash: Option<String>,
}

/// The version of both formats.
const VERSION: u32 = 1;

impl Report<'_> {
    fn event(&mut self, event: CheckEvent<'_>) {
        match event {
            CheckEvent::Blobs(checked, part) => {
                let message = || match checked.hashed {
                    0 => format!("   Checking {} blobs", checked.blobs),
                    hashed => format!("   Checking {} blobs, {} read", checked.blobs, size(hashed)),
                };
                self.progress.update(message, Some(part));
            }
            CheckEvent::Repositories(checked) => {
                let message = || {
                    format!(
                        "   Checking {} manifests and {} links in {} repositories",
                        checked.manifests, checked.links, checked.repositories
                    )
                };
                self.progress.update(message, None);
            }
            CheckEvent::Found(finding, outcome) => {
                self.progress.clear();
                self.output.data(&match self.json {
                    true => json(finding, &outcome),
                    false => format!("{}{finding}\n", prefix_of(&outcome)),
                });
                if let FindingOutcome::Failed(error) = outcome {
                    self.output.error("cannot repair it", error);
                }
            }
        }
    }

    fn end(&mut self, checked: &CheckReport, checking: CheckOptions, quiet: bool) -> u8 {
        self.progress.clear();
        if self.json {
            self.output.data(&json_line(&Summary {
                version: VERSION,
                kind: "summary",
                repositories: checked.repositories,
                manifests: checked.manifests,
                links: checked.links,
                blobs: checked.blobs,
                bytes: checked.bytes,
                hashed: checked.hashed,
                findings: checked.findings,
                repaired: checked.repaired,
                open: checked.open(),
                failed: checked.failed,
                trash: checked.run.map(|run| run.to_string()),
            }));
        }
        if !quiet {
            for line in summary(checked, checking, self.progress.elapsed().as_secs()) {
                self.output.message(&line);
            }
            if checking.repair == Repair::Report && checked.findings > 0 {
                self.output.hint("`--repair` moves to the trash what that helps");
            }
        }
        match &checked.first_failure {
            Some(error) => exit::code(error.fault()),
            None if checked.open() > 0 => exit::FINDINGS,
            None => exit::DONE,
        }
    }
}

/// The beginning of the line of a finding, which says what became of it.
fn prefix_of(outcome: &FindingOutcome<'_>) -> &'static str {
    match outcome {
        FindingOutcome::Reported => "",
        FindingOutcome::Moved => "moved: ",
        FindingOutcome::Left => "left: ",
        FindingOutcome::Changed => "healed meanwhile: ",
        FindingOutcome::Failed(_) => "failed: ",
    }
}

fn json(finding: &Finding, outcome: &FindingOutcome<'_>) -> String {
    json_line(&FindingLine {
        version: VERSION,
        kind: finding.kind(),
        outcome: match outcome {
            FindingOutcome::Reported => "told",
            FindingOutcome::Moved => "moved",
            FindingOutcome::Left => "left",
            FindingOutcome::Changed => "changed",
            FindingOutcome::Failed(_) => "failed",
        },
        about: finding.about(),
        says: finding.to_string(),
    })
}

fn json_line(value: &impl Serialize) -> String {
    let text = serde_json::to_string(value).expect("a line has string keys only and is always JSON");
    text + "\n"
}

fn summary(checked: &CheckReport, checking: CheckOptions, seconds: u64) -> Vec<String> {
    let read = match checking.digests {
        Digests::Hashed => format!("{} read", size(checked.hashed)),
        Digests::Trusted => "bytes not read".to_owned(),
    };
    let mut lines = vec![format!(
        "   Checked  {} manifests and {} links in {} repositories, {} blobs with {} ({read}), in {seconds} s",
        checked.manifests,
        checked.links,
        checked.repositories,
        checked.blobs,
        size(checked.bytes),
    )];
    lines.push(match (checked.findings, checking.repair) {
        (0, _) => "   Found    nothing broken".to_owned(),
        (findings, Repair::Report) => format!("   Found    {findings} broken"),
        (findings, Repair::Move) => format!(
            "   Found    {findings} broken: {} repaired ({} objects moved), {} healed meanwhile, {} left, {} failed",
            checked.repaired,
            checked.moved,
            checked.changed,
            checked.open() - checked.failed,
            checked.failed,
        ),
    });
    if checked.swept.objects > 0 {
        lines.push(format!(
            "   Swept    {} temporary files, {}",
            checked.swept.objects,
            size(checked.swept.bytes)
        ));
    }
    if let Some(run) = checked.run {
        lines.push(format!(
            "   Trash    {}; `--undo {run}` puts it back",
            PathPrefix::TrashOf(run).key()
        ));
    }
    lines
}

#[cfg(test)]
mod tests {
    use registry_oci::Digest;

    use super::*;

    const CHECKING: CheckOptions = CheckOptions {
        digests: Digests::Hashed,
        repair: Repair::Move,
        live_server_policy: crate::registry::LiveServerPolicy::Refuse,
    };

    #[test]
    fn the_summary_says_what_was_looked_at_found_and_done() {
        let mut checked = CheckReport {
            blobs: 3,
            bytes: 5 << 20,
            hashed: 5 << 20,
            repositories: 1,
            manifests: 2,
            links: 9,
            ..CheckReport::default()
        };
        let looked = "   Checked  2 manifests and 9 links in 1 repositories, 3 blobs with 5.0 MiB (5.0 MiB read), in 7 s";
        assert_eq!(
            summary(&checked, CHECKING, 7),
            [looked, "   Found    nothing broken"]
        );
        (checked.findings, checked.repaired, checked.moved, checked.failed) = (5, 2, 3, 1);
        checked.run = Some(Uuid::nil());
        assert_eq!(
            summary(&checked, CHECKING, 7),
            [
                looked,
                "   Found    5 broken: 2 repaired (3 objects moved), 0 healed meanwhile, 2 left, 1 failed",
                "   Trash    docker/registry/berth/v1/trash/00000000-0000-0000-0000-000000000000; \
                 `--undo 00000000-0000-0000-0000-000000000000` puts it back",
            ]
        );
    }

    #[test]
    fn a_finding_for_scripts_has_its_kind_its_fate_and_what_it_is_about() {
        let digest = Digest::sha256(b"");
        let line = json(
            &Finding::BlobDamaged { digest, size: 0 },
            &FindingOutcome::Reported,
        );
        assert!(line.ends_with("\n") && !line.trim_end().contains('\n'), "{line}");
        let line: serde_json::Value = serde_json::from_str(&line).unwrap();
        let expected = serde_json::json!({
            "version": 1, "kind": "blob-damaged", "fate": "told", "digest": digest.to_string(), "says": line["says"],
        });
        assert_eq!(line, expected);
    }
}
