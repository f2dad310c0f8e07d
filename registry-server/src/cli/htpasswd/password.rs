//! Where a password comes from. It is never echoed.

use std::io::{self, BufRead, IsTerminal};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use super::{Error, Source};
use crate::cli::output::Output;

/// A new password; people type it twice.
pub(super) fn read(source: Source, output: &Output) -> Result<String, Error> {
    match source {
        Source::Argument(password) => Ok(password),
        Source::Stdin => line().map_err(Error::Interrupted),
        Source::Ask => {
            let first = ask("New password: ", output)?;
            let second = ask("Re-type new password: ", output)?;
            if first == second {
                Ok(first)
            } else {
                Err(Error::Mismatch)
            }
        }
    }
}

/// A password that exists; once is enough.
pub(super) fn read_once(source: Source, output: &Output) -> Result<String, Error> {
    match source {
        Source::Argument(password) => Ok(password),
        Source::Stdin => line().map_err(Error::Interrupted),
        Source::Ask => ask("Enter password: ", output),
    }
}

fn ask(prompt: &str, output: &Output) -> Result<String, Error> {
    output.prompt(prompt);
    let echo = Echo::off();
    let password = line().map_err(Error::Interrupted);
    if echo.is_some() {
        // The line end that was typed was not shown either.
        output.message("");
    }
    password
}

fn line() -> io::Result<String> {
    let mut line = String::new();
    if io::stdin().lock().read_line(&mut line)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let end = line.trim_end_matches(['\r', '\n']).len();
    line.truncate(end);
    Ok(line)
}

/// Switches a terminal's echo off until it is dropped.
struct Echo(Termios);

impl Echo {
    fn off() -> Option<Self> {
        let stdin = io::stdin();
        if !stdin.is_terminal() {
            return None;
        }
        let before = tcgetattr(&stdin).ok()?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        tcsetattr(&stdin, OptionalActions::Flush, &silent).ok()?;
        Some(Self(before))
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        // The terminal is gone when this fails, and its echo with it.
        let _ = tcsetattr(io::stdin(), OptionalActions::Flush, &self.0);
    }
}
