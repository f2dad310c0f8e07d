//! Types and schemas that several fields share: names of objects, keys of Secrets, labels, durations, quantities.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// The name of an object in the Registry's namespace.
#[derive(Clone, Debug, Deserialize, Eq, KubeSchema, PartialEq, Serialize)]
pub struct ObjectName {
    /// Name of the object.
    #[schemars(schema_with = "object_name")]
    pub name: String,
}

/// One key of a Secret in the Registry's namespace.
#[derive(Clone, Debug, Deserialize, Eq, KubeSchema, PartialEq, Serialize)]
pub struct SecretKeyRef {
    /// Name of the Secret.
    #[schemars(schema_with = "object_name")]
    pub name: String,
    /// Key in the Secret's data.
    #[schemars(schema_with = "data_key")]
    pub key: String,
}

/// One key of a Secret or of a ConfigMap in the Registry's namespace.
#[derive(Clone, Debug, Deserialize, Eq, KubeSchema, PartialEq, Serialize)]
pub struct KeyRef {
    /// Name of the object.
    #[schemars(schema_with = "object_name")]
    pub name: String,
    /// Key in the object's data.
    #[schemars(schema_with = "data_key")]
    pub key: String,
}

/// Certificates to trust, in PEM. Exactly one source.
#[derive(Clone, Debug, Default, Deserialize, Eq, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.configMapKeyRef) != has(self.secretKeyRef)")
        .message("a caBundle must have exactly one of configMapKeyRef and secretKeyRef")
)]
pub struct CaBundle {
    /// A key of a ConfigMap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map_key_ref: Option<KeyRef>,
    /// A key of a Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_key_ref: Option<KeyRef>,
}

/// The sentence for a name that no object can have.
pub(crate) const NAME_RULE: &str =
    "must be the name of an object: lower-case letters, digits, dashes and dots, at most 253";
/// The sentence for a key that no Secret and no ConfigMap can have.
pub(crate) const KEY_RULE: &str =
    "must be a key of a Secret or ConfigMap: letters, digits, dashes, underscores and dots, at most 253";
/// A DNS-1123 subdomain, the form of an object's name.
const NAME_PATTERN: &str = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$";
/// The longest name of an object, and the longest key of a Secret or a ConfigMap.
const NAME_MAX: usize = 253;

/// Whether `text` can be the name of an object. A stored Registry may be older than the rule in the schema, so the
/// operator checks a name before it makes a request from it.
pub fn is_object_name(text: &str) -> bool {
    let alphanumeric = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    text.len() <= NAME_MAX
        && text.split('.').all(|part| {
            part.starts_with(alphanumeric)
                && part.ends_with(alphanumeric)
                && part.chars().all(|c| alphanumeric(c) || c == '-')
        })
}

/// The name of an object.
pub(crate) fn object_name(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "string",
        "minLength": 1,
        "maxLength": NAME_MAX,
        "x-kubernetes-validations": [{ "rule": format!("self.matches('{NAME_PATTERN}')"), "message": NAME_RULE }],
    })
}

/// A key of a Secret or of a ConfigMap.
pub(crate) fn data_key(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "string",
        "minLength": 1,
        "maxLength": NAME_MAX,
        "x-kubernetes-validations": [{ "rule": "self.matches('^[-._a-zA-Z0-9]+$')", "message": KEY_RULE }],
    })
}

/// Labels. The API server checks their values; rules about keys stand beside the fields.
pub(crate) fn labels(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "object",
        "maxProperties": 64,
        "additionalProperties": { "type": "string", "maxLength": 63, "pattern": LABEL_VALUE },
    })
}

/// Annotations. Kubernetes limits all annotations of an object to 256 KiB.
pub(crate) fn annotations(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "object",
        "maxProperties": 64,
        "additionalProperties": { "type": "string", "maxLength": 65_536 },
    })
}

/// The value of a label.
pub(crate) const LABEL_VALUE: &str = "^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$";
/// The key of a label: a name with or without a prefix.
pub(crate) const LABEL_KEY: &str = "^([a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]$";
/// The longest key of a label: a prefix, a slash and a name.
pub(crate) const LABEL_KEY_MAX: usize = 317;
/// A quantity that is not negative, such as `500m`, `2` or `64Mi`.
pub(crate) const QUANTITY: &str =
    "^[+]?([0-9]+([.][0-9]*)?|[.][0-9]+)([KMGTPE]i|[numkMGTPE]|[eE][-+]?[0-9]{1,2})?$";

/// A Go duration, as Kubernetes writes it. The API server checks the pattern, so one that does not parse never reaches
/// the operator. The number of digits is limited, because the type cannot hold every number that the pattern allows.
pub(crate) fn duration(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "string",
        "maxLength": 32,
        "pattern": "^([0-9]{1,9}([.][0-9]{1,9})?(ms|s|m|h))+$",
    })
}

/// A quantity written as a string. Kubernetes also takes bare numbers; one type keeps the rules readable.
pub(crate) fn quantity(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({ "type": "string", "minLength": 1, "maxLength": 32 })
}

/// A folder inside a bucket or container: printable ASCII between slashes.
pub(crate) fn prefix(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({ "type": "string", "minLength": 1, "maxLength": 512 })
}

#[cfg(test)]
mod tests {
    use super::is_object_name;

    #[test]
    fn a_name_that_would_change_a_request_is_no_name_of_an_object() {
        for name in ["users", "a", "users.v1", "a-b.c-d", "0", &"n".repeat(253)] {
            assert!(is_object_name(name), "{name}");
        }
        for name in [
            "",
            "users?x=1#a",
            "users/../users",
            "..",
            "my users",
            "Users",
            "a_b",
            "-a",
            "a-",
            "a..b",
            ".a",
            "a.",
            "%2e",
            "\u{e9}",
            &"n".repeat(254),
        ] {
            assert!(!is_object_name(name), "{name}");
        }
    }
}
