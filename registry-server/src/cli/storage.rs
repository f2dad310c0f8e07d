//! `storage`: commands that work on a whole store.

mod check;
mod copy;

use clap::Subcommand;

use super::output::Output;

/// The commands of `storage`.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Checks every link and blob. With `--repair`, moves broken ones to a trash folder.
    #[command(after_help = check::HELP)]
    Check(check::Arguments),
    /// Copies a whole store into another one. An interrupted copy continues where it ended.
    #[command(after_help = copy::HELP)]
    Copy(copy::Arguments),
}

/// Runs a command.
pub(super) fn run(command: Command, output: &Output) -> u8 {
    match command {
        Command::Check(arguments) => check::run(&arguments, output),
        Command::Copy(arguments) => copy::run(&arguments, output),
    }
}
