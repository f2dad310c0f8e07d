//! The command lines: one binary that is `registry`, `registry-server`, `htpasswd` or `/entrypoint.sh` by the name it
//! was called with, as the programs of distribution's image are.
//!
//! Guarantees: standard output is data, everything said goes to standard error; every error names the thing, the
//! cause and, where there is one, the way out; exit codes are those of [`exit`].
//! Must not: decide anything about a registry. Start at [`run`].

mod check;
mod config_source;
mod entrypoint;
pub mod exit;
mod features;
mod gc;
mod htpasswd;
mod keys;
mod offline;
mod output;
mod progress;
mod serve;
mod storage;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use output::Output;

/// Stores and serves container images and other OCI artifacts.
#[derive(Debug, Parser)]
#[command(
    version = concat!("berth ", env!("CARGO_PKG_VERSION")),
    disable_version_flag = true,
    arg_required_else_help = true,
    after_help = exit::HELP
)]
struct Arguments {
    /// Prints program, project and version, in distribution's order
    #[arg(short = 'v', short_alias = 'V', long = "version", action = clap::ArgAction::Version)]
    _version: Option<bool>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serves the registry until it is told to stop.
    Serve {
        /// The configuration file [default: REGISTRY_CONFIGURATION_PATH, /etc/distribution/config.yml,
        /// /etc/docker/registry/config.yml, or none: a local folder on 127.0.0.1:5000]
        config: Option<PathBuf>,
    },
    /// Removes what no manifest refers to any more.
    #[command(after_help = gc::HELP)]
    GarbageCollect(gc::Arguments),
    /// Looks after a store as a whole.
    #[command(subcommand)]
    Storage(storage::Command),
    /// Works with configuration files.
    #[command(subcommand)]
    Config(ConfigCommand),
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Prints the configuration in force, REGISTRY_* variables included and secrets masked, or what is wrong with it.
    Check {
        /// The configuration file [default: as for `serve`]
        config: Option<PathBuf>,
    },
    /// Prints every key there is and what the server does about it.
    Keys,
}

/// Runs what the arguments ask for. The first of them is the name the program was called with.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let name = arguments
        .first()
        .map(|name| Path::new(name).file_name().unwrap_or_default().to_owned());
    let rest = || arguments.iter().skip(1).cloned();
    let code = match name.as_ref().and_then(|name| name.to_str()) {
        Some("htpasswd") => htpasswd::run(rest()),
        Some("entrypoint.sh") => match entrypoint::plan(rest().collect(), &|path| path.is_file()) {
            entrypoint::Plan::Registry(arguments) => registry(arguments),
            entrypoint::Plan::Program(program, arguments) => entrypoint::exec(&program, &arguments),
        },
        _ => registry(rest().collect()),
    };
    ExitCode::from(code)
}

fn registry(arguments: Vec<OsString>) -> u8 {
    // Named as the registry even when called as the entrypoint, so that help says what can be typed.
    let arguments = std::iter::once(OsString::from("registry-server")).chain(arguments);
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are asked for and go to standard output; the rest is an error.
            let _ = error.print();
            return if error.use_stderr() {
                exit::CALLER
            } else {
                exit::DONE
            };
        }
    };
    let output = Output;
    match arguments.command {
        Command::Serve { config } => serve::run(config, &output),
        Command::GarbageCollect(arguments) => gc::run(arguments, &output),
        Command::Storage(command) => storage::run(command, &output),
        Command::Config(ConfigCommand::Check { config }) => check::run(config, &output),
        Command::Config(ConfigCommand::Keys) => keys::run(&output),
    }
}

#[cfg(test)]
mod tests;
