//! Authentication. A union of exactly one kind: a registry without passwords has to be asked for.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::common::{data_key, object_name};

/// Authentication of clients. Exactly one kind.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("(has(self.htpasswd) ? 1 : 0) + (has(self.anonymous) ? 1 : 0) == 1")
        .message("spec.auth must name exactly one kind: htpasswd or anonymous")
)]
pub struct Auth {
    /// User names and bcrypt hashes from a Secret. The server reads a changed Secret without a restart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub htpasswd: Option<Htpasswd>,
    /// Access without a password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anonymous: Option<Anonymous>,
}

/// Users from a file in the format of `htpasswd -B`.
#[derive(Clone, Debug, Deserialize, Eq, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Htpasswd {
    /// The Secret and the key that hold the file.
    pub secret_key_ref: HtpasswdSecretKeyRef,
    /// Realm of the challenge; the Registry's name when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(
        validation = Rule::new("self.matches('^[ -~]*$') && !self.contains('\"') && !self.contains('\\\\')")
            .message("spec.auth.htpasswd.realm must be printable ASCII without quotes and backslashes")
    )]
    pub realm: Option<String>,
}

/// The Secret with the users.
#[derive(Clone, Debug, Deserialize, Eq, KubeSchema, PartialEq, Serialize)]
pub struct HtpasswdSecretKeyRef {
    /// Name of the Secret.
    #[schemars(schema_with = "object_name")]
    pub name: String,
    /// Key in the Secret's data.
    #[serde(default = "htpasswd_key")]
    #[schemars(schema_with = "data_key")]
    pub key: String,
}

fn htpasswd_key() -> String {
    "htpasswd".to_owned()
}

/// A registry without passwords.
#[derive(Clone, Debug, Deserialize, Eq, KubeSchema, PartialEq, Serialize)]
pub struct Anonymous {
    /// The rights of everybody.
    pub access: AnonymousAccess,
}

/// The rights of everybody.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum AnonymousAccess {
    /// Pull only. The server runs read-only, for a volume that is filled by other means.
    Pull,
    /// Pull and push, by everybody who can reach the registry.
    PullPush,
}
