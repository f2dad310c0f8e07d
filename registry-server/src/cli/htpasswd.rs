//! `htpasswd`, with Apache's flags and exit codes, for bcrypt only: the registry accepts nothing else, so a tool in
//! its image that makes anything else would only produce users who cannot log in.
//!
//! Start at [`run`]; `parse` is pure, `file` changes files, `password` asks people.

mod file;
mod password;

use std::ffi::OsString;
use std::path::PathBuf;

use registry_config::htpasswd::{BcryptHash, COSTS, Problem};

use super::output::Output;

/// Apache's exit codes.
mod code {
    pub(super) const DONE: u8 = 0;
    pub(super) const FILE: u8 = 1;
    pub(super) const SYNTAX: u8 = 2;
    pub(super) const MISMATCH: u8 = 3;
    pub(super) const INTERRUPTED: u8 = 4;
    pub(super) const TOO_LONG: u8 = 5;
    pub(super) const USER: u8 = 6;
    pub(super) const INVALID_FILE: u8 = 7;
}

const USAGE: &str = "Usage:
\thtpasswd [-ciBDv] [-C cost] passwordfile username
\thtpasswd -b[cBDv] [-C cost] passwordfile username password

\thtpasswd -n[iB] [-C cost] username
\thtpasswd -nb[B] [-C cost] username password
 -c  Create a new file.
 -n  Don't update file; display results on stdout.
 -b  Use the password from the command line rather than prompting for it.
 -i  Read password from stdin without verification (for script usage).
 -B  Use bcrypt (the only kind the registry accepts, and the default).
 -C  Set the computing time used for bcrypt
     (higher is more secure but slower, default: 5, valid: 4 to 16).
 -D  Delete the specified user.
 -v  Verify password for the specified user.
Exit codes: 0 done, 1 file trouble, 2 command line wrong, 3 password does not match, 4 interrupted,
5 value too long, 6 user name wrong or unknown, 7 not a password file.
";

/// Apache's limit for a user name and for a line.
const LONGEST: usize = 255;
/// bcrypt looks at no more bytes of a password than these.
const BCRYPT_BYTES: usize = 72;

/// Why it stopped.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("{0}")]
    Syntax(String),
    #[error("the {what} is longer than {LONGEST} bytes")]
    TooLong { what: &'static str },
    #[error("username contains illegal character ':'")]
    Colon,
    #[error("the username is empty")]
    NoUser,
    #[error("User {user} not found")]
    Unknown { user: String },
    #[error("cannot modify file {}; use '-c' to create it", path.display())]
    Missing { path: PathBuf },
    #[error("cannot {action} {}", path.display())]
    File {
        action: &'static str,
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("The file {} does not appear to be a valid htpasswd file.", path.display())]
    InvalidFile { path: PathBuf },
    #[error("the password of user {user} is not accepted by the registry")]
    Unusable {
        user: String,
        #[source]
        problem: Problem,
    },
    #[error("password verification failed")]
    Mismatch,
    #[error("interrupted while a password was asked for")]
    Interrupted(#[source] std::io::Error),
    #[error("cannot hash the password")]
    Hash(#[source] bcrypt::BcryptError),
}

impl Error {
    fn code(&self) -> u8 {
        match self {
            Self::Syntax(_) => code::SYNTAX,
            Self::TooLong { .. } => code::TOO_LONG,
            Self::Colon | Self::NoUser | Self::Unknown { .. } => code::USER,
            Self::Missing { .. } | Self::File { .. } | Self::Hash(_) => code::FILE,
            Self::InvalidFile { .. } => code::INVALID_FILE,
            // Apache's answer to a hash that it does not know.
            Self::Unusable { .. } | Self::Mismatch => code::MISMATCH,
            Self::Interrupted(_) => code::INTERRUPTED,
        }
    }
}

/// What the arguments ask for.
#[derive(Debug, PartialEq, Eq)]
struct Request {
    action: Action,
    user: String,
    password: Source,
    cost: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Action {
    /// Sets the user in a file.
    Set { path: PathBuf, create: bool },
    /// Prints the line.
    Print,
    /// Takes the user out of a file.
    Delete { path: PathBuf },
    /// Says whether the password is the user's.
    Verify { path: PathBuf },
}

#[derive(PartialEq, Eq)]
enum Source {
    Argument(String),
    /// All of standard input up to the first line end.
    Stdin,
    /// Asked for twice, without an echo.
    Ask,
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Argument(_) => "Argument",
            Self::Stdin => "Stdin",
            Self::Ask => "Ask",
        })
    }
}

/// Runs it; the result is Apache's exit code.
pub(super) fn run(arguments: impl Iterator<Item = OsString>) -> u8 {
    let output = Output;
    let arguments: Vec<String> = arguments
        .map(|argument| argument.to_string_lossy().into_owned())
        .collect();
    if matches!(arguments.first().map(String::as_str), Some("--help" | "-h")) {
        output.data(USAGE);
        return code::DONE;
    }
    let result = parse(&arguments).and_then(|request| carry_out(request, &output));
    match result {
        Ok(()) => code::DONE,
        Err(error) => {
            output.error("htpasswd", &error);
            if matches!(error, Error::Syntax(_)) {
                output.message(USAGE.trim_end());
            }
            error.code()
        }
    }
}

fn carry_out(request: Request, output: &Output) -> Result<(), Error> {
    let Request {
        action,
        user,
        password,
        cost,
    } = request;
    match action {
        Action::Print => {
            let line = format!(
                "{user}:{}",
                hash(&password::read(password, output)?, cost, output)?
            );
            // Apache ends the line twice; scripts that append it to a file have lived with that.
            output.data(&format!("{line}\n\n"));
        }
        Action::Set { path, create } => {
            // Before asking for a password that could not be stored.
            let old = if create { String::new() } else { file::read(&path)? };
            let line = format!(
                "{user}:{}",
                hash(&password::read(password, output)?, cost, output)?
            );
            let (text, replaced) = file::with(&old, &user, &line);
            file::write(&path, &text)?;
            output.message(&format!(
                "{} password for user {user}",
                if replaced { "Updating" } else { "Adding" }
            ));
        }
        Action::Delete { path } => {
            let (text, found) = file::without(&file::read(&path)?, &user);
            if !found {
                // Apache says so and calls it done.
                output.message(&format!("User {user} not found"));
                return Ok(());
            }
            file::write(&path, &text)?;
            output.message(&format!("Deleting password for user {user}"));
        }
        Action::Verify { path } => {
            let text = file::read(&path)?;
            let hash = file::hash_of(&text, &user).ok_or(Error::Unknown { user: user.clone() })?;
            // Before asking for a password that could not be checked, or not within days.
            let hash = BcryptHash::parse(hash).map_err(|problem| Error::Unusable {
                user: user.clone(),
                problem,
            })?;
            let password = password::read_once(password, output)?;
            if !bcrypt::verify(password, hash.expose()).unwrap_or(false) {
                return Err(Error::Mismatch);
            }
            output.message(&format!("Password for user {user} correct."));
        }
    }
    Ok(())
}

fn hash(password: &str, cost: u32, output: &Output) -> Result<String, Error> {
    if password.len() > BCRYPT_BYTES {
        output.message(&format!(
            "warning: bcrypt looks at the first {BCRYPT_BYTES} bytes of a password only"
        ));
    }
    let parts = bcrypt::hash_with_result(password, cost).map_err(Error::Hash)?;
    Ok(parts.format_for_version(bcrypt::Version::TwoY))
}

/// Reads flags and operands as Apache does: flags in one or several words, before the operands.
fn parse(arguments: &[String]) -> Result<Request, Error> {
    let syntax = |problem: &str| Error::Syntax(problem.to_owned());
    let (mut cost, mut flags) = (5, String::new());
    let mut rest = arguments.iter();
    let mut operands = Vec::new();
    while let Some(argument) = rest.next() {
        let Some(letters) = argument.strip_prefix('-').filter(|letters| !letters.is_empty()) else {
            operands.push(argument.clone());
            break;
        };
        if letters == "-" {
            break;
        }
        let mut letters = letters.chars();
        while let Some(letter) = letters.next() {
            match letter {
                'B' => {}
                'c' | 'n' | 'b' | 'i' | 'D' | 'v' => flags.push(letter),
                'C' => {
                    let attached: String = letters.by_ref().collect();
                    let value = if attached.is_empty() {
                        rest.next().cloned()
                    } else {
                        Some(attached)
                    };
                    let value = value.ok_or_else(|| syntax("-C needs a cost"))?;
                    cost = value
                        .parse()
                        .ok()
                        .filter(|cost| COSTS.contains(cost))
                        .ok_or_else(|| {
                            Error::Syntax(format!(
                                "`{value}` is not a cost for -C; allowed: {} to {}",
                                COSTS.start(),
                                COSTS.end()
                            ))
                        })?;
                }
                'm' | 'd' | 's' | 'p' | '2' | '5' | 'r' => {
                    return Err(Error::Syntax(format!(
                        "-{letter} makes a hash that the registry does not accept; only bcrypt (-B) is made here"
                    )));
                }
                other => return Err(Error::Syntax(format!("illegal option -- {other}"))),
            }
        }
    }
    operands.extend(rest.cloned());

    let has = |letter| flags.contains(letter);
    if "cnDv".chars().filter(|letter| has(*letter)).count() > 1 {
        return Err(syntax("only one of -c -n -v -D may be specified"));
    }
    if has('b') && has('i') {
        return Err(syntax("only one of -b and -i may be specified"));
    }
    let wants_password = has('b') && !has('D');
    let wanted = usize::from(!has('n')) + 1 + usize::from(wants_password);
    if operands.len() != wanted {
        return Err(Error::Syntax(format!(
            "{wanted} operands are needed, {} are given",
            operands.len()
        )));
    }
    let password = wants_password.then(|| operands.pop()).flatten();
    let user = operands.pop().unwrap_or_default();
    let path = operands.pop().map(PathBuf::from).unwrap_or_default();
    if user.contains(':') {
        return Err(Error::Colon);
    }
    if user.is_empty() {
        return Err(Error::NoUser);
    }
    for (what, length) in [
        ("username", user.len()),
        ("password", password.as_ref().map_or(0, String::len)),
    ] {
        if length > LONGEST {
            return Err(Error::TooLong { what });
        }
    }
    let action = match () {
        () if has('n') => Action::Print,
        () if has('D') => Action::Delete { path },
        () if has('v') => Action::Verify { path },
        () => Action::Set {
            path,
            create: has('c'),
        },
    };
    let password = match password {
        Some(password) => Source::Argument(password),
        None if has('i') => Source::Stdin,
        None => Source::Ask,
    };
    Ok(Request {
        action,
        user,
        password,
        cost,
    })
}

#[cfg(test)]
mod tests;
