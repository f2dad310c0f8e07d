//! Logs, and the keys of the server's `config.yml` that have no field of their own.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::common::SecretKeyRef;

/// The server's logs.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Log {
    /// Least level that is written.
    #[serde(default)]
    pub level: LogLevel,
    /// Form of a line.
    #[serde(default)]
    pub format: LogFormat,
    /// Whether each request is logged to standard output in Apache's combined format.
    #[serde(default)]
    pub access_log: AccessLog,
}

/// Least level that is written.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum LogLevel {
    /// Only errors.
    Error,
    /// Errors and warnings.
    Warn,
    /// Errors, warnings and the main events.
    #[default]
    Info,
    /// Everything.
    Debug,
}

/// Form of a log line.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum LogFormat {
    /// `key=value` text.
    #[default]
    Text,
    /// One JSON object per line.
    JSON,
    /// Logstash's JSON.
    Logstash,
}

/// Whether requests are logged.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum AccessLog {
    /// One line per request.
    #[default]
    Enabled,
    /// None.
    Disabled,
}

/// A value of `config` that comes from a Secret.
#[derive(Clone, Debug, Deserialize, Eq, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ConfigFrom {
    /// Path of the value: keys of `config.yml` joined by dots, such as `proxy.password`, with the index of an item of a list
    /// in brackets, such as `notifications.endpoints[0].headers.authorization[0]`.
    #[schemars(length(max = 253))]
    #[x_kube(
        validation = Rule::new("self.matches('^[A-Za-z0-9_-]+([[][0-9]{1,2}[]])?([.][A-Za-z0-9_-]+([[][0-9]{1,2}[]])?)*$')")
            .message("spec.configFrom.path must be keys of config.yml joined by dots, with the index of an item in brackets, such as proxy.password or notifications.endpoints[0].headers.authorization[0]")
    )]
    pub path: String,
    /// The Secret and the key that hold the value.
    pub secret_key_ref: SecretKeyRef,
}

/// Any object. Its keys are those of `config.yml`; the operator checks them with the server's own parser.
pub(crate) fn raw(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true })
}
