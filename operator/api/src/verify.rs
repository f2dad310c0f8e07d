//! The verification of a registry by a push and a pull.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::common::ObjectName;

/// How the operator verifies that clients can push and pull. It pushes a tiny artifact to the address in `status.url`,
/// pulls it, and removes it where `spec.storage.deletion` is `Enabled`; the condition `Verified` shows the result.
#[derive(Clone, Debug, Deserialize, Eq, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Verify {
    /// When the operator pushes and pulls. The annotation `berth.dev/verify` asks for it in both cases.
    #[serde(default)]
    pub policy: VerifyPolicy,
    /// The repository for the artifact. Nothing else should be in it.
    #[serde(default = "repository")]
    #[schemars(length(min = 1, max = 128))]
    #[x_kube(
        validation = Rule::new("self.matches('^[a-z0-9]+(([.]|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+(([.]|_|__|-+)[a-z0-9]+)*)*$')")
            .message("spec.verify.repository must be the name of a repository, such as berth-verify")
    )]
    pub repository: String,
    /// A Secret of type `kubernetes.io/basic-auth` with a user who may push. Needed with `spec.auth.htpasswd`, because
    /// hashes do not tell passwords and the operator adds no user of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<ObjectName>,
}

impl Default for Verify {
    fn default() -> Self {
        Self {
            policy: VerifyPolicy::default(),
            repository: repository(),
            secret: None,
        }
    }
}

fn repository() -> String {
    "berth-verify".to_owned()
}

/// When the operator verifies.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum VerifyPolicy {
    /// When the annotation `berth.dev/verify` has a new value.
    #[default]
    OnRequest,
    /// Also when the Registry becomes Ready, and after each change of its image, configuration, address or certificate.
    OnChange,
}
