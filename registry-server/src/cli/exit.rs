//! The exit codes, which scripts may rely on. `htpasswd` has Apache's exit codes instead.

use crate::fault::Fault;

/// The command has done what it was asked for.
pub const DONE: u8 = 0;
/// The command failed, or has a bug.
pub const FAILED: u8 = 1;
/// The command line, a configuration file or a variable is wrong and has to be changed.
pub const CALLER: u8 = 2;
/// A check has findings.
pub const FINDINGS: u8 = 3;
/// A failure that passes: the same command may succeed later.
pub const TRANSIENT: u8 = 4;
/// A second signal ended the command.
pub const INTERRUPTED: u8 = 130;

/// The list of codes for the help text.
pub(super) const HELP: &str = "Exit codes: 0 done, 1 failed, 2 command line or configuration wrong, 3 a check found \
    something, 4 a failure that passes (try again), 130 interrupted.";

/// The exit code of an error.
pub fn code(fault: Fault) -> u8 {
    match fault {
        Fault::Caller => CALLER,
        Fault::Transient { .. } => TRANSIENT,
        Fault::Permanent => FAILED,
    }
}
