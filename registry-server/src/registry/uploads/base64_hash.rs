//! A hash in JSON: the state that Go's programs have of it, in base64. For serde's `with`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use registry_oci::Hasher;
use serde::{Deserialize as _, Deserializer, Serializer, de};

pub(super) fn serialize<S: Serializer>(hasher: &Hasher, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&STANDARD.encode(hasher.to_go_state()))
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Hasher, D::Error> {
    let text = String::deserialize(deserializer)?;
    let state = STANDARD.decode(text).map_err(de::Error::custom)?;
    Hasher::from_go_state(&state).map_err(de::Error::custom)
}
