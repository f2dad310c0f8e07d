//! What an answer promises: through a kill at any system call, through a loss of power at any moment, and on a disk that
//! takes no writes. `docs/storage.md` says it, and has the figures of these cases.
//!
//! Start at [`kill`] for a real server that is killed, at [`power`] for a disk that forgets.

mod check;
mod disk;
mod full;
mod kill;
mod power;
mod record;
mod story;
mod teller;

pub(super) use full::{full_disk, read_only_disk};
pub(super) use kill::a_kill_at_any_call_loses_nothing;
pub(super) use power::a_loss_of_power_loses_nothing;
