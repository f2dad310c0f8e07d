//! The durability of acknowledged content: after a kill at any system call, after a loss of power at any moment, and
//! on a disk that takes no writes. `docs/storage.md` describes it, with the figures of these cases.
//!
//! Start at [`kill`] for a real server that is killed, at [`power_loss`] for a disk that loses unsynced data.

mod check;
mod client;
mod kill;
mod lossy_disk;
mod power_loss;
mod recording;
mod scenario;
mod unwritable_disk;

pub(super) use kill::a_kill_at_any_call_loses_nothing;
pub(super) use power_loss::a_loss_of_power_loses_nothing;
pub(super) use unwritable_disk::{full_disk, read_only_disk};
