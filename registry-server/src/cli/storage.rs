//! `storage`: commands that look at a store as a whole.

mod check;
mod copy;

use clap::Subcommand;

use super::output::Output;

/// What can be done to a store.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Checks every link and blob, and moves what is broken to a trash folder if asked to.
    #[command(after_help = check::HELP)]
    Check(check::Arguments),
    /// Copies everything from one store into another, and goes on where it broke off.
    #[command(after_help = copy::HELP)]
    Copy(copy::Arguments),
}

/// Does it.
pub(super) fn run(command: Command, output: &Output) -> u8 {
    match command {
        Command::Check(arguments) => check::run(&arguments, output),
        Command::Copy(arguments) => copy::run(&arguments, output),
    }
}
