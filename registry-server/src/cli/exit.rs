//! The exit codes, which scripts may rely on. `htpasswd` has Apache's own, in its file.

use crate::fault::Fault;

/// What was asked for is done.
pub const DONE: u8 = 0;
/// It failed, or there is a bug.
pub const FAILED: u8 = 1;
/// The command line, a configuration file or a variable is wrong: only changing it helps.
pub const CALLER: u8 = 2;
/// A check found something.
pub const FOUND: u8 = 3;
/// Nothing is wrong that does not pass: try again.
pub const PASSING: u8 = 4;
/// A second signal ended it.
pub const INTERRUPTED: u8 = 130;

/// The codes as help shows them.
pub(super) const HELP: &str = "Exit codes: 0 done, 1 failed, 2 command line or configuration wrong, 3 a check found \
    something, 4 passing trouble (try again), 130 interrupted.";

/// The code of an error.
pub fn code(fault: Fault) -> u8 {
    match fault {
        Fault::Caller => CALLER,
        Fault::Transient { .. } => PASSING,
        Fault::Permanent => FAILED,
    }
}
