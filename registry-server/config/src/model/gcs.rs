//! `storage.gcs`: a bucket of Google Cloud Storage.

use serde::{Deserialize, Serialize};

use super::unset::unset;
use crate::Secret;

/// `storage.gcs`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Gcs {
    /// The bucket.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub bucket: String,
    /// A file with a service account's key; it wins over `credentials`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keyfile: Option<String>,
    /// The content of such a key file.
    #[serde(skip_serializing_if = "unset")]
    pub credentials: GcsCredentials,
    /// Prefix of all object names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rootdirectory: Option<String>,
    /// Size of the first parts of an upload, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chunksize: Option<u64>,
    /// The `User-Agent` of requests to the store.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub useragent: Option<String>,
    /// The store's address when it is not Google's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// A PEM file of CA certificates that are trusted in addition to the system's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cacert: Option<String>,
}

/// `storage.gcs.credentials`: a service account's key, with the names Google gives its parts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct GcsCredentials {
    /// Its only kind.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<GcsCredentialsKind>,
    /// The key's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub private_key_id: Option<String>,
    /// The key, in PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub private_key: Option<Secret>,
    /// The service account.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_email: Option<String>,
    /// Suffix of Google's addresses; `googleapis.com` when unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub universe_domain: Option<String>,
}

/// `storage.gcs.credentials.type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GcsCredentialsKind {
    /// A service account.
    ServiceAccount,
}

impl Gcs {
    /// Sizes of parts are multiples of this.
    pub const GRAIN: u64 = 256 * 1024;

    /// The largest size of a first part: one request sends it, from memory.
    pub const PART_MAX: u64 = 5 << 30;

    /// The key file, if one is named.
    pub fn keyfile(&self) -> Option<&str> {
        self.keyfile.as_deref().filter(|path| !path.is_empty())
    }

    /// The credentials that stand in the configuration, if they count.
    pub fn credentials(&self) -> Option<&GcsCredentials> {
        (self.keyfile().is_none() && self.credentials != GcsCredentials::default())
            .then_some(&self.credentials)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_file_wins_over_credentials_and_nothing_is_neither() {
        let mut gcs = Gcs {
            credentials: GcsCredentials {
                client_email: Some("ship@yard".to_owned()),
                ..GcsCredentials::default()
            },
            ..Gcs::default()
        };
        assert!(gcs.credentials().is_some());
        gcs.keyfile = Some(String::new());
        assert!(gcs.credentials().is_some());
        gcs.keyfile = Some("/key.json".to_owned());
        assert_eq!(gcs.credentials(), None);
        assert_eq!(Gcs::default().credentials(), None);
    }
}
