//! The command lines. One binary is `registry`, `registry-server`, `htpasswd` or `/entrypoint.sh`, by the name that it was
//! called with, like the programs of distribution's image.
//!
//! Guarantees: standard output has data only, messages go to standard error. Every error names the thing, the cause and
//! the way out, if there is one. Exit codes are those of [`exit`].
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
    /// Serves the registry until a signal stops it.
    Serve {
        /// The configuration file [default: REGISTRY_CONFIGURATION_PATH, /etc/distribution/config.yml,
        /// /etc/docker/registry/config.yml, or none: a local folder on 127.0.0.1:5000]
        config: Option<PathBuf>,
    },
    /// Removes blobs and manifests that nothing refers to any more.
    #[command(after_help = gc::HELP)]
    GarbageCollect(gc::Arguments),
    /// Checks, repairs or copies a whole store.
    #[command(subcommand)]
    Storage(storage::Command),
    /// Checks a configuration, or lists the keys.
    #[command(subcommand)]
    Config(ConfigCommand),
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Prints the configuration in force, with REGISTRY_* variables applied and secrets masked, or its errors.
    Check {
        /// The configuration file [default: as for `serve`]
        config: Option<PathBuf>,
    },
    /// Prints every configuration key and what the server does about it.
    Keys,
}

/// Runs the command that the arguments ask for. The first argument is the name that the program was called with.
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
    // The help names the registry even if the program was called as the entrypoint: that is the command people type.
    let arguments = std::iter::once(OsString::from("registry-server")).chain(arguments);
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version go to standard output. Everything else is an error.
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
