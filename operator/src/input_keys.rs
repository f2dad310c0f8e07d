//! Keys of the Secrets from which the Pods read: `validate` fills them, `build` names them in the Pods.
//!
//! The Secret with the inputs holds everything that the server reads once, when it starts; the live Secret holds what the
//! server reads again while it runs. Start at [`variable`].

use sha2::{Digest as _, Sha256};

use crate::names::hex;

/// Key of the users in the live Secret.
pub(crate) const USERS: &str = "htpasswd";
/// The most bytes of one of these Secrets. The API server's limit is 1 MiB.
pub(crate) const MAX_BYTES: usize = 1_000_000;
/// The longest key that Kubernetes takes.
const KEY_MAX: usize = 253;

/// Key of an environment variable's value. A name that cannot be part of a key is replaced by its hash.
pub(crate) fn variable(name: &str) -> String {
    let key = format!("env.{name}");
    match is_key(&key) {
        true => key,
        false => format!("env-hash.{}", hex(&Sha256::digest(name.as_bytes())[..16])),
    }
}

/// Key of a file in the folder of credentials.
pub(crate) fn file(name: &str) -> String {
    format!("file.{name}")
}

/// Key of a file in a volume; `None` when its name is too long.
pub(crate) fn volume_file(volume: &str, file: &str) -> Option<String> {
    Some(format!("volume.{volume}.{file}")).filter(|key| is_key(key))
}

fn is_key(key: &str) -> bool {
    key.len() <= KEY_MAX
        && key
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-._".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_of_a_variable_gives_a_key_of_its_own_that_kubernetes_takes() {
        assert_eq!(variable("AWS_REGION"), "env.AWS_REGION");
        let long = "A".repeat(253);
        for odd in ["a/b", "a b", "ä", &long] {
            let key = variable(odd);
            assert!(is_key(&key) && key.starts_with("env-hash."), "{key}");
        }
        assert_ne!(variable("a/b"), variable("a b"));
        assert_eq!(
            volume_file("more", "ca.crt").as_deref(),
            Some("volume.more.ca.crt")
        );
        assert_eq!(volume_file("more", &"f".repeat(250)), None);
    }
}
