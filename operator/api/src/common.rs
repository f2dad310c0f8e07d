//! Shapes that several fields share.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// The name of an object in the Registry's namespace.
#[derive(Clone, Debug, Deserialize, Eq, KubeSchema, PartialEq, Serialize)]
pub struct ObjectName {
    /// Name of the object.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// One key of a Secret in the Registry's namespace.
#[derive(Clone, Debug, Deserialize, Eq, KubeSchema, PartialEq, Serialize)]
pub struct SecretKeyRef {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Key in the Secret's data.
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

/// One key of a Secret or of a ConfigMap in the Registry's namespace.
#[derive(Clone, Debug, Deserialize, Eq, KubeSchema, PartialEq, Serialize)]
pub struct KeyRef {
    /// Name of the object.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Key in the object's data.
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

/// A Go duration as people write it in Kubernetes. The pattern is checked by the API server, so that what does
/// not parse never reaches the operator.
pub(crate) fn duration(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "string",
        "maxLength": 32,
        "pattern": "^([0-9]+(\\.[0-9]+)?(ms|s|m|h))+$",
    })
}

/// A quantity written as a string. Kubernetes also takes bare numbers; one type keeps the rules readable.
pub(crate) fn quantity(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({ "type": "string", "minLength": 1, "maxLength": 32 })
}
