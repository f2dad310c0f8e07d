//! `storage copy`. Standard output has one line for each thing that is broken and stays behind; what is being done, and
//! the summary, are on standard error.

use std::path::PathBuf;

use clap::Args;

use crate::cli::output::{Output, size};
use crate::cli::progress::Progress;
use crate::cli::{config_source, exit, offline};
use crate::registry::{CopyEvent, CopyReport};

/// What the flags alone cannot say.
pub(super) const HELP: &str = "\
FROM and TO are configuration files as servers use them; of each only `storage`, and of FROM `log`, matters here. REGISTRY_* \
variables are not laid over them, because they would make both the same.

Copied are blobs, links, manifests, tags with their history, and our own index; a reader of TO never sees a link before what it \
leads to. Every blob is hashed on its way. What is broken at FROM is named and stays behind. Not copied are uploads in \
progress, the trash of repairs, and the signs of servers.

A copy that was cut off goes on when it is begun again: blobs that are there with the same size, and links that hold the same, \
are passed over. What was deleted at FROM since then stays at TO. So a running registry can be moved: copy while it serves, \
set it read-only, copy once more, and start the new one.

While a server writes to TO nothing is copied and the exit code is 4: tags that somebody pushed there would be put back to what \
FROM says. --force does that. While a copy runs, no garbage is collected at TO.

Exit codes: 0 everything is copied, 1 failed, 2 command line or configuration wrong, 3 something broken stayed behind, 4 passing \
trouble or a live server.";

/// The command line.
#[derive(Debug, Args)]
pub(in crate::cli) struct Arguments {
    /// The configuration file of the store that is copied
    from: PathBuf,
    /// The configuration file of the store that is copied into
    to: PathBuf,
    /// Copies although a server writes to TO
    #[arg(long)]
    force: bool,
    /// Prints what stays behind, and errors, only
    #[arg(short = 'q', long)]
    quiet: bool,
}

/// Copies.
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
                report.tell(event)
            })
            .await;
        report.end(&copied, result.is_ok(), arguments.quiet);
        result.map_err(Box::new)?;
        Ok(match copied.left_out {
            0 => exit::DONE,
            _ => exit::FOUND,
        })
    })
}

/// What people and scripts see of a copy.
struct Report<'a> {
    output: &'a Output,
    progress: Progress<'a>,
}

impl Report<'_> {
    fn tell(&mut self, event: CopyEvent<'_>) {
        match event {
            CopyEvent::Blobs(copied, part) => {
                let what = || {
                    format!(
                        "   Copying  {} blobs, {} ({} there before)",
                        copied.blobs,
                        size(copied.bytes),
                        copied.blobs_there
                    )
                };
                self.progress.at(what, Some(part));
            }
            CopyEvent::Repositories(copied) => {
                let what = || {
                    format!(
                        "   Copying  {} links and {} tags in {} repositories",
                        copied.links, copied.tags, copied.repositories
                    )
                };
                self.progress.at(what, None);
            }
            CopyEvent::LeftOut(finding) => {
                self.progress.clear();
                self.output.data(&format!("not copied: {}\n", finding.problem()));
            }
        }
    }

    fn end(&mut self, copied: &CopyReport, whole: bool, quiet: bool) {
        self.progress.clear();
        // What was refused before it began has nothing to sum up.
        if quiet || (!whole && is_empty(copied)) {
            return;
        }
        for line in summary(copied, self.progress.took().as_secs()) {
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
