//! `htpasswd`, with Apache's flags and exit codes, for bcrypt only. The registry accepts no other hash, so any other hash
//! would make a user who cannot log in.
//!
//! Start at [`run`]. `parse` is a pure function, [`file`] changes files, [`password`] reads passwords.

mod error;
mod file;
mod password;

use std::ffi::OsString;
use std::path::PathBuf;

use registry_config::htpasswd::{BcryptHash, COSTS};

use super::output::Output;
use error::{Error, MAX_LENGTH, code};
use password::PasswordSource;

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
Exit codes: 0 done, 1 file cannot be used, 2 command line wrong, 3 password does not match, 4 interrupted,
5 value too long, 6 user name wrong or unknown, 7 not a password file.
";

/// bcrypt uses only this many bytes of a password.
const BCRYPT_MAX_BYTES: usize = 72;

/// A command line, parsed.
#[derive(Debug, PartialEq, Eq)]
struct Request {
    action: Action,
    user: String,
    password: PasswordSource,
    cost: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Action {
    /// Sets the password of a user in a file.
    Set { path: PathBuf, create: bool },
    /// Prints the line of a user.
    Print,
    /// Deletes a user from a file.
    Delete { path: PathBuf },
    /// Checks the password of a user.
    Verify { path: PathBuf },
}

/// Runs the command. The result is one of Apache's exit codes.
pub(super) fn run(arguments: impl Iterator<Item = OsString>) -> u8 {
    let output = Output;
    let arguments: Vec<String> = arguments
        .map(|argument| argument.to_string_lossy().into_owned())
        .collect();
    if matches!(arguments.first().map(String::as_str), Some("--help" | "-h")) {
        output.data(USAGE);
        return code::DONE;
    }
    let result = parse(&arguments).and_then(|request| execute(request, &output));
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

fn execute(request: Request, output: &Output) -> Result<(), Error> {
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
            // Apache prints an empty line after it too. Scripts rely on the same output.
            output.data(&format!("{line}\n\n"));
        }
        Action::Set { path, create } => {
            // The file is read first: nobody should type a password that cannot be stored.
            let old = if create { String::new() } else { file::read(&path)? };
            let line = format!(
                "{user}:{}",
                hash(&password::read(password, output)?, cost, output)?
            );
            let (text, replaced) = file::with_user(&old, &user, &line);
            file::write(&path, &text)?;
            output.message(&format!(
                "{} password for user {user}",
                if replaced { "Updating" } else { "Adding" }
            ));
        }
        Action::Delete { path } => {
            let (text, found) = file::without_user(&file::read(&path)?, &user);
            if !found {
                // Apache prints this message and exits with 0.
                output.message(&format!("User {user} not found"));
                return Ok(());
            }
            file::write(&path, &text)?;
            output.message(&format!("Deleting password for user {user}"));
        }
        Action::Verify { path } => {
            let text = file::read(&path)?;
            let hash = file::hash_of(&text, &user).ok_or(Error::Unknown { user: user.clone() })?;
            // The hash is parsed first: nobody should type a password that cannot be checked, or not within days.
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
    if password.len() > BCRYPT_MAX_BYTES {
        output.message(&format!(
            "warning: bcrypt uses only the first {BCRYPT_MAX_BYTES} bytes of a password"
        ));
    }
    let parts = bcrypt::hash_with_result(password, cost).map_err(Error::Hash)?;
    Ok(parts.format_for_version(bcrypt::Version::TwoY))
}

/// Parses flags and operands as Apache does: the flags come first, in one or several arguments.
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
        if length > MAX_LENGTH {
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
        Some(password) => PasswordSource::Argument(password),
        None if has('i') => PasswordSource::Stdin,
        None => PasswordSource::Prompt,
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
