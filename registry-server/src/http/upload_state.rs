//! The `_state` parameter of an upload's URL: a signed token with the state of the upload.
//!
//! Its form is distribution's, so that servers of both kinds with one secret continue each other's uploads: an
//! HMAC-SHA-256 over a JSON document, followed by that document, in padded URL-safe base64.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use hmac::{Hmac, KeyInit as _, Mac as _};
use registry_oci::{RepositoryName, UploadId};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use crate::registry::{Resume, Session};

const MAC_LENGTH: usize = 32;

/// The secrets that sign tokens (`http.secret`). `Debug` prints nothing of them.
#[derive(Clone)]
pub struct Secrets {
    current: Vec<u8>,
    previous: Vec<Vec<u8>>,
}

impl Secrets {
    /// Signs with `current`, and also accepts tokens that were signed with one of `previous`, so that uploads survive a
    /// change of the secret. Empty previous secrets are ignored, because anybody could sign with them.
    pub fn new(current: impl Into<Vec<u8>>, previous: impl IntoIterator<Item = Vec<u8>>) -> Self {
        Self {
            current: current.into(),
            previous: previous.into_iter().filter(|secret| !secret.is_empty()).collect(),
        }
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secrets(..)")
    }
}

/// The content of a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct UploadState {
    name: String,
    #[serde(rename = "UUID")]
    id: String,
    /// The size of the upload in bytes when the token was made.
    pub(super) offset: u64,
    /// The start of the upload, as RFC 3339. It is only passed on: tokens do not expire.
    pub(super) started_at: String,
    /// The registry's own data for resuming. Distribution ignores it.
    #[serde(rename = "Berth", default, skip_serializing_if = "Option::is_none")]
    resume: Option<Resume>,
}

impl UploadState {
    /// The state of an upload.
    pub(super) fn new(
        name: &RepositoryName,
        id: &UploadId,
        offset: u64,
        started_at: String,
        resume: Option<Resume>,
    ) -> Self {
        Self {
            name: name.to_string(),
            id: id.to_string(),
            offset,
            started_at,
            resume,
        }
    }

    /// The session of the upload. `id` is the upload's.
    pub(super) fn session<'a>(&'a self, id: &'a UploadId) -> Session<'a> {
        Session {
            id,
            resume: self.resume.as_ref(),
        }
    }

    /// Signs the state. Returns the token.
    pub(super) fn seal(&self, secrets: &Secrets) -> String {
        let document = serde_json::to_vec(self).expect("a struct of text and numbers is always JSON");
        let mut token = mac(&secrets.current, &document).finalize().into_bytes().to_vec();
        token.extend_from_slice(&document);
        URL_SAFE.encode(token)
    }

    /// Verifies a token. Returns `None` when no secret has signed it or when it is of another upload. The client must
    /// not learn which of the two it was.
    pub(super) fn open(token: &str, secrets: &Secrets, name: &RepositoryName, id: &UploadId) -> Option<Self> {
        let bytes = URL_SAFE.decode(token).ok()?;
        let (signature, document) = bytes.split_at_checked(MAC_LENGTH)?;
        // `verify_slice` compares in constant time.
        std::iter::once(&secrets.current)
            .chain(&secrets.previous)
            .find(|secret| mac(secret, document).verify_slice(signature).is_ok())?;
        let state: Self = serde_json::from_slice(document).ok()?;
        (state.name == name.as_str() && state.id == id.as_str()).then_some(state)
    }
}

fn mac(secret: &[u8], document: &[u8]) -> Hmac<Sha256> {
    Hmac::<Sha256>::new_from_slice(secret)
        .expect("an HMAC takes keys of any length")
        .chain_update(document)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name() -> RepositoryName {
        RepositoryName::parse("library/debian").unwrap()
    }

    fn id() -> UploadId {
        UploadId::parse("01234567-89ab-7cde-8f01-23456789abcd").unwrap()
    }

    fn state() -> UploadState {
        UploadState::new(&name(), &id(), 12, "2026-01-02T03:04:05Z".to_owned(), None)
    }

    /// Computed with Go's `crypto/hmac`, `encoding/json` and `encoding/base64` for [`state`] and the key `secret`.
    const GO_TOKEN: &str = "reIrXgkvBjWQLupfeq8a7NviigWkix4lAjMWmRdANjl7Ik5hbWUiOiJsaWJyYXJ5L2RlYmlhbiIsIlVVSUQiOiIwMTIzNDU2Ny04OWFiLTdjZGUtOGYwMS0yMzQ1Njc4OWFiY2QiLCJPZmZzZXQiOjEyLCJTdGFydGVkQXQiOiIyMDI2LTAxLTAyVDAzOjA0OjA1WiJ9";

    #[test]
    fn tokens_are_those_of_distribution() {
        let secrets = Secrets::new("secret", []);
        assert_eq!(state().seal(&secrets), GO_TOKEN);
        assert_eq!(
            UploadState::open(GO_TOKEN, &secrets, &name(), &id()),
            Some(state())
        );
    }

    #[test]
    fn tokens_of_previous_secrets_are_accepted_and_others_are_not() {
        let old = state().seal(&Secrets::new("old", []));
        let rotated = Secrets::new("new", [b"older".to_vec(), b"old".to_vec()]);
        assert_eq!(UploadState::open(&old, &rotated, &name(), &id()), Some(state()));
        assert_eq!(
            UploadState::open(&old, &Secrets::new("new", []), &name(), &id()),
            None
        );
    }

    #[test]
    fn tokens_of_another_upload_or_repository_are_not_accepted() {
        let secrets = Secrets::new("secret", []);
        let token = state().seal(&secrets);
        let other = RepositoryName::parse("library/other").unwrap();
        assert_eq!(UploadState::open(&token, &secrets, &other, &id()), None);
        assert_eq!(
            UploadState::open(&token, &secrets, &name(), &UploadId::unique()),
            None
        );
    }

    #[test]
    fn an_empty_previous_secret_opens_nothing() {
        let forged = state().seal(&Secrets::new("", []));
        let secrets = Secrets::new("secret", [Vec::new(), b"old".to_vec()]);
        assert_eq!(UploadState::open(&forged, &secrets, &name(), &id()), None);
    }

    #[test]
    fn secrets_do_not_print_themselves() {
        assert_eq!(
            format!("{:?}", Secrets::new("swordfish", [b"old".to_vec()])),
            "Secrets(..)"
        );
    }

    proptest! {
        #[test]
        fn a_tampered_token_is_never_accepted(at in 0usize..120, flip in 1u8..255) {
            let secrets = Secrets::new("secret", []);
            let mut bytes = URL_SAFE.decode(state().seal(&secrets)).unwrap();
            let at = at % bytes.len();
            bytes[at] ^= flip;
            prop_assert_eq!(UploadState::open(&URL_SAFE.encode(bytes), &secrets, &name(), &id()), None);
        }

        #[test]
        fn no_input_panics(token in "[A-Za-z0-9_=-]{0,200}|\\PC{0,20}") {
            prop_assert_eq!(UploadState::open(&token, &Secrets::new("s", []), &name(), &id()), None);
        }
    }
}
