//! `garbage-collect`, with distribution's flags and two more.
//!
//! Standard output has one line for each object that is removed, and the counts, in distribution's words. Progress and the
//! summary go to standard error. With `--quiet` only errors are printed.

mod report;

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args};
use registry_config::GoDuration;

use super::output::Output;
use super::{config_source, exit, offline};
use crate::registry::{CollectionOptions, CollectionReport, Removal, Untagged};
use report::Report;

/// The part of the help after the flags.
pub(super) const HELP: &str = "\
A server that writes to the store writes a heartbeat every 30 seconds. While there is one, nothing is removed and the exit code \
is 4. A server of distribution writes no heartbeat: stop it, or set it read-only.

With --force, pushes to Berth servers may continue if --min-age is an hour or more: when a server answers that a blob exists, it \
also renews the age of the blob. A push may then have to send a blob again. This is not safe while servers of distribution \
write, with `validation.disabled`, or if the clocks of servers and store differ by half an hour.

--delete-untagged removes manifests without a tag, except those that a kept index lists and those whose subject is a kept \
manifest.

References are followed in less than 200 MiB of memory, whatever the size of the store. The rest goes to temporary files \
(TMPDIR): about 130 bytes for each reference of a manifest.

Exit codes: 0 done, 1 failed, or a kept manifest cannot be read, 2 command line or configuration wrong, 4 a failure that passes, \
or a live server.";

/// The arguments.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The configuration file [default: as for `serve`]
    config: Option<PathBuf>,
    /// Prints what would be removed, and removes nothing
    #[arg(short = 'd', long, value_name = "BOOL", action = ArgAction::Set, value_parser = go_bool, num_args = 0..=1,
        require_equals = true, default_value = "false", default_missing_value = "true", hide_default_value = true)]
    dry_run: bool,
    /// Removes manifests without a tag too
    #[arg(short = 'm', long, value_name = "BOOL", action = ArgAction::Set, value_parser = go_bool, num_args = 0..=1,
        require_equals = true, default_value = "false", default_missing_value = "true", hide_default_value = true)]
    delete_untagged: bool,
    /// Prints errors only
    #[arg(short = 'q', long, value_name = "BOOL", action = ArgAction::Set, value_parser = go_bool, num_args = 0..=1,
        require_equals = true, default_value = "false", default_missing_value = "true", hide_default_value = true)]
    quiet: bool,
    /// Keeps objects that a push wrote or asked for within this time; `0` keeps none because of its age
    #[arg(long, value_name = "DURATION", value_parser = min_age, default_value = "1h")]
    min_age: Duration,
    /// Removes garbage although a server writes to the store
    #[arg(long)]
    force: bool,
}

/// Parses a boolean as Go's `flag` does.
fn go_bool(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(false),
        _ => Err("allowed: `true` or `false`".to_owned()),
    }
}

/// Parses a duration. A number without a unit is refused: in Go it would be nanoseconds, which nobody means.
fn min_age(text: &str) -> Result<Duration, String> {
    let bare = text.bytes().all(|byte| byte.is_ascii_digit()) && text.bytes().any(|digit| digit != b'0');
    GoDuration::parse(text)
        .ok()
        .and_then(GoDuration::positive)
        .filter(|_| !bare)
        .ok_or_else(|| "allowed: a duration such as `1h` or `90m`, or `0`".to_owned())
}

/// Collects garbage.
pub(super) fn run(arguments: Arguments, output: &Output) -> u8 {
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
        let collecting = CollectionOptions {
            untagged: match arguments.delete_untagged {
                true => Untagged::Delete,
                false => Untagged::Keep,
            },
            removal: match arguments.dry_run {
                true => Removal::DryRun,
                false => Removal::Remove,
            },
            live_server_policy: offline::live_server_policy(config, arguments.force),
            min_age: arguments.min_age,
            ..CollectionOptions::default()
        };
        let mut report = Report::new(output, arguments.quiet, collecting.removal);
        let collected = registry
            .collect_garbage(&collecting, &mut |event| report.event(event))
            .await
            .map_err(Box::new)?;
        report.end(&collected);
        Ok(exit_code(&collected, output))
    })
}

/// The exit code of a collection that ran to its end.
fn exit_code(collected: &CollectionReport, output: &Output) -> u8 {
    let Some(error) = &collected.first_failure else {
        return exit::DONE;
    };
    let failed = format!(
        "{} removals failed, and nothing that depends on them was removed; the first",
        collected.failed
    );
    output.error(&failed, error);
    exit::code(error.fault())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minimum_age_has_a_unit() {
        for (text, expected) in [
            ("1h", Some(3600)),
            ("1h30m", Some(5400)),
            ("0", Some(0)),
            ("0s", Some(0)),
            ("3600", None),
            ("-1h", None),
            ("soon", None),
            ("", None),
        ] {
            assert_eq!(min_age(text).ok(), expected.map(Duration::from_secs), "{text:?}");
        }
    }
}
