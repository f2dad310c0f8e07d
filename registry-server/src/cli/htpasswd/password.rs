//! Reading a password: from an argument, from standard input, or by a prompt that does not echo it.
//!
//! The prompt reads standard input and not the terminal, so that scripts can pipe passwords in. For that reason `rpassword`
//! is not used; ADR 0023 says more.

use std::fmt;
use std::io::{self, BufRead, IsTerminal};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use super::error::Error;
use crate::cli::output::Output;

/// The place that a password is read from.
#[derive(PartialEq, Eq)]
pub(super) enum PasswordSource {
    /// An argument of the command line.
    Argument(String),
    /// The first line of standard input.
    Stdin,
    /// A prompt. The terminal does not echo the password.
    Prompt,
}

impl fmt::Debug for PasswordSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Argument(_) => "Argument",
            Self::Stdin => "Stdin",
            Self::Prompt => "Prompt",
        })
    }
}

/// Reads a new password. A prompt asks for it twice.
pub(super) fn read(source: PasswordSource, output: &Output) -> Result<String, Error> {
    match source {
        PasswordSource::Argument(password) => Ok(password),
        PasswordSource::Stdin => line().map_err(Error::Interrupted),
        PasswordSource::Prompt => {
            let first = prompt("New password: ", output)?;
            let second = prompt("Re-type new password: ", output)?;
            if first == second {
                Ok(first)
            } else {
                Err(Error::Mismatch)
            }
        }
    }
}

/// Reads an existing password. A prompt asks for it once.
pub(super) fn read_once(source: PasswordSource, output: &Output) -> Result<String, Error> {
    match source {
        PasswordSource::Argument(password) => Ok(password),
        PasswordSource::Stdin => line().map_err(Error::Interrupted),
        PasswordSource::Prompt => prompt("Enter password: ", output),
    }
}

fn prompt(question: &str, output: &Output) -> Result<String, Error> {
    output.prompt(question);
    let no_echo = NoEcho::start();
    let password = line().map_err(Error::Interrupted);
    if no_echo.is_some() {
        // The terminal has not echoed the line end either.
        output.message("");
    }
    password
}

/// The first line of standard input, without its line end.
fn line() -> io::Result<String> {
    let mut line = String::new();
    if io::stdin().lock().read_line(&mut line)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let end = line.trim_end_matches(['\r', '\n']).len();
    line.truncate(end);
    Ok(line)
}

/// Switches the echo of the terminal off. Dropping it switches the echo on again.
struct NoEcho(Termios);

impl NoEcho {
    /// Nothing if standard input is no terminal.
    fn start() -> Option<Self> {
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

impl Drop for NoEcho {
    fn drop(&mut self) {
        // Fails only if the terminal is gone.
        let _ = tcsetattr(io::stdin(), OptionalActions::Flush, &self.0);
    }
}
