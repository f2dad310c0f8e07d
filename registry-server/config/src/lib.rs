//! The one model of `config.yml`: distribution's union of v2 and v3 keys, the environment overlay and its validation.
//!
//! The server reads with it and the operator renders with it, so it is a crate of its own without either's
//! dependencies. It opens no file and reads no environment: its inputs are text and variables.
//!
//! Guarantees: no input panics; every error is one line with the key's path, the value and what is allowed; a secret
//! appears in no error, no `Debug` and no serialisation ([`Tree::to_yaml`] of an unmasked tree is the one exception).
//! Must not: decide what the server does with a key beyond the table's kinds.
//!
//! Start at [`load()`] to read one, at [`Config`] to write one, at [`keys::KEYS`] for what each key does.

mod check;
pub mod cidr;
mod decode;
mod duration;
mod error;
mod guarded;
pub mod htpasswd;
pub mod keys;
mod load;
mod mask;
pub mod model;
mod overlay;
mod rules;
mod secret;
mod spans;
mod tree;

pub use duration::{GoDuration, NotADuration};
pub use error::{Error, Warning};
pub use load::{Loaded, load};
pub use model::Config;
pub use secret::{MASK, Secret};
pub use tree::{MAX_BYTES, MAX_DEPTH, MAX_NODES, Origin, Tree};
