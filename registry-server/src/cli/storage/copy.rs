//! `storage copy`. Standard output has one line for each broken object that is not copied. Progress and the summary go to
//! standard error.

use std::path::PathBuf;

use clap::Args;

use crate::cli::output::{Output, size};
use crate::cli::progress::Progress;
use crate::cli::{config_source, exit, offline};
use crate::registry::{CopyEvent, CopyReport};

/// The part of the help after the flags.
pub(super) const HELP: &str = "\
FROM and TO are configuration files of servers. The copy reads only `storage` of both, and `log` of FROM. REGISTRY_* variables \
have no effect, because they would make both stores the same.

The copy has all blobs, links, manifests, tags with their history, and Berth's own index. A reader of TO never sees a link \
before its blob. Every blob is hashed while it is copied. Broken objects of FROM are named and not copied. Uploads in progress, \
the trash of repairs and the heartbeats of servers are not copied either.

An interrupted copy continues when the command is run again: it skips blobs of the same size and links with the same content. \
Objects that were deleted at FROM meanwhile stay at TO. To move a running registry, copy while it serves, set it read-only, \
copy once more, and start the new one.

While a server writes to TO, nothing is copied and the exit code is 4: the copy would set tags that were pushed to TO back to \
those of FROM. --force copies all the same. While a copy runs, no garbage is collected at TO.

Exit codes: 0 everything is copied, 1 failed, 2 command line or configuration wrong, 3 broken objects were not copied, \
4 a failure that passes, or a live server.";

/// The arguments.
#[derive(Debug, Args)]
pub(in crate::cli) struct Arguments {
    /// The configuration file of the store to copy
    from: PathBuf,
    /// The configuration file of the store to copy into
    to: PathBuf,
    /// Copies although a server writes to TO
    #[arg(long)]
    force: bool,
    /// Prints broken objects and errors only
    #[arg(short = 'q', long)]
    quiet: bool,
}

/// Copies a store.
pub(super) fn run(arguments: &Arguments, output: &Output) -> u8 {
    let files = config_source::read_file(&arguments.from)
        .and_then(|from| Ok((from, config_source::read_file(&arguments.to)?)));
    let (from, to) = match files {
        Ok(files) => files,
        Err(error) => {
            error.print(output);
            return exit::CALLER;
        }
    };
    offline::finish(&from.loaded.config, output, async {
        let (source, source_name) = offline::open(&from).await?;
        let (target, target_name) = offline::open(&to).await?;
        if !arguments.quiet {
            output.message(&format!("   Copying  {source_name} to {target_name}"));
        }
        let mut report = Report {
            output,
            progress: Progress::new(output, arguments.quiet),
        };
        let mut copied = CopyReport::default();
        let live_server_policy = offline::live_server_policy(&to.loaded.config, arguments.force);
        let result = source
            .copy_to(&target, live_server_policy, &mut copied, &mut |event| {
                report.event(event)
            })
            .await;
        report.end(&copied, result.is_ok(), arguments.quiet);
        result.map_err(Box::new)?;
        Ok(match copied.left_out {
            0 => exit::DONE,
            _ => exit::FINDINGS,
        })
    })
}

/// The output of a copy.
struct Report<'a> {
    output: &'a Output,
    progress: Progress<'a>,
}

impl Report<'_> {
    fn event(&mut self, event: CopyEvent<'_>) {
        match event {
            CopyEvent::Blobs(copied, part) => {
                let message = || {
                    format!(
                        "   Copying  {} blobs, {} ({} there before)",
                        copied.blobs,
                        size(copied.bytes),
                        copied.blobs_there
                    )
                };
                self.progress.update(message, Some(part));
            }
            CopyEvent::Repositories(copied) => {
                let message = || {
                    format!(
                        "   Copying  {} links and {} tags in {} repositories",
                        copied.links, copied.tags, copied.repositories
                    )
                };
                self.progress.update(message, None);
            }
            CopyEvent::LeftOut(finding) => {
                self.progress.clear();
                self.output.data(&format!("not copied: {}\n", finding.problem()));
            }
        }
    }

    fn end(&mut self, copied: &CopyReport, whole: bool, quiet: bool) {
        self.progress.clear();
        // A copy that was refused at its beginning has no summary.
        if quiet || (!whole && is_empty(copied)) {
            return;
        }
        for line in summary(copied, self.progress.elapsed().as_secs()) {
            self.output.message(&line);
        }
        if copied.left_out > 0 {
            self.output
                .hint("`storage check --digests --repair` on FROM mends what can be mended");
        }
        if whole && is_empty(copied) {
            self.output.message(
                "warning: the store that was to be copied holds no blob and no repository; is its configuration right?",
            );
        }
    }
}

fn is_empty(copied: &CopyReport) -> bool {
    copied.repositories + copied.blobs + copied.blobs_there + copied.left_out == 0
}

fn summary(copied: &CopyReport, seconds: u64) -> Vec<String> {
    let mut lines = vec![
        format!(
            "   Copied   {} blobs with {}, {} links and {} tags in {} repositories, in {seconds} s",
            copied.blobs,
            size(copied.bytes),
            copied.links,
            copied.tags,
            copied.repositories
        ),
        format!(
            "   Skipped  {} blobs, {} links and {} tags, which were there before",
            copied.blobs_there, copied.links_there, copied.tags_there
        ),
    ];
    if copied.left_out > 0 {
        lines.push(format!(
            "   Left out {} things that are broken or cannot be read",
            copied.left_out
        ));
    }
    if copied.uploads > 0 {
        lines.push(format!("   Left     {} uploads in progress", copied.uploads));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_says_what_was_copied_and_what_was_not() {
        let mut copied = CopyReport {
            repositories: 2,
            blobs: 3,
            bytes: 5 << 20,
            blobs_there: 4,
            links: 7,
            links_there: 8,
            tags: 1,
            tags_there: 9,
            ..CopyReport::default()
        };
        let whole = [
            "   Copied   3 blobs with 5.0 MiB, 7 links and 1 tags in 2 repositories, in 6 s",
            "   Skipped  4 blobs, 8 links and 9 tags, which were there before",
        ];
        assert_eq!(summary(&copied, 6), whole);
        (copied.left_out, copied.uploads) = (1, 2);
        assert_eq!(
            summary(&copied, 6)[2..],
            [
                "   Left out 1 things that are broken or cannot be read",
                "   Left     2 uploads in progress"
            ]
        );
        assert!(!is_empty(&copied) && is_empty(&CopyReport::default()));
    }
}
