//! The one model of `config.yml`: distribution's union of v2 and v3 keys, the environment overlay and its validation.
//!
//! The server reads with it and the operator renders with it, so it is a crate of its own without either's
//! dependencies. It names files but opens none: its inputs are text and variables.
//!
//! Start at [`Config`], the typed keys.

mod duration;
pub mod model;
mod secret;

pub use duration::{GoDuration, NotADuration};
pub use model::Config;
pub use secret::{MASK, Secret};
