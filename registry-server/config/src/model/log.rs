//! `log`: level and format of log lines, the access log, and mails.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::unset::unset;
use crate::Secret;

/// `log`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Log {
    /// The lowest level that is logged; `info` when unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub level: Option<Level>,
    /// The form of a log line; `text` when unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub formatter: Option<Formatter>,
    /// Fields of every line: `service: registry`. A scalar is a text; sections and lists may be nested.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub fields: BTreeMap<String, serde_json::Value>,
    /// One line per request on standard output.
    #[serde(skip_serializing_if = "unset")]
    pub accesslog: AccessLog,
    /// Every line names its place in the program.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reportcaller: Option<bool>,
    /// Mails about log lines of some levels.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hooks: Vec<Hook>,
}

/// `log.level`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Errors alone.
    Error,
    /// Warnings too.
    Warn,
    /// Events too.
    #[default]
    Info,
    /// Details too.
    Debug,
}

/// `log.formatter`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Formatter {
    /// `time="…" level=info msg="…" key=value`
    #[default]
    Text,
    /// One JSON object per line.
    Json,
    /// One JSON object per line, with the names Logstash expects.
    Logstash,
}

/// `log.accesslog`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AccessLog {
    /// Switches the access log off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disabled: Option<bool>,
}

/// An item of `log.hooks`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Hook {
    /// Switches this one off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disabled: Option<bool>,
    /// The type of the hook; a hook without one does nothing, as in distribution.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<HookKind>,
    /// The levels whose lines are sent; none when empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub levels: Vec<HookLevel>,
    /// Sender, receivers and mail server.
    #[serde(skip_serializing_if = "unset")]
    pub options: MailOptions,
}

/// `log.hooks[].type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HookKind {
    /// Lines are sent by mail.
    Mail,
}

/// `log.hooks[].levels[]`: the levels of distribution's logger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HookLevel {
    /// A bug ended one request.
    Panic,
    /// In distribution, an error that ends the program. Here such an error is printed to standard error.
    Fatal,
    /// An error.
    Error,
    /// A warning.
    #[serde(alias = "warning")]
    Warn,
    /// An event.
    Info,
    /// Details too.
    Debug,
    /// Nothing is logged at this level.
    Trace,
}

/// `log.hooks[].options`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct MailOptions {
    /// The server that takes the mails.
    #[serde(skip_serializing_if = "unset")]
    pub smtp: Smtp,
    /// The sender's address. Without it the hook does nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The receivers' addresses. Without any the hook does nothing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub to: Vec<String>,
}

/// `log.hooks[].options.smtp`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Smtp {
    /// `host:port`. Without it the hook does nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub addr: Option<String>,
    /// User name for the login; no login when unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// The password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
    /// Does not verify the server's certificate, and sends the password unencrypted if the server has no TLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub insecure: Option<bool>,
}

impl Hook {
    /// Whether lines are to be sent at all.
    pub fn is_on(&self) -> bool {
        self.disabled != Some(true) && self.kind.is_some() && !self.levels.is_empty()
    }

    /// The unset key without which no mail can be sent.
    pub fn missing(&self) -> Option<&'static str> {
        let set = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
        if !set(&self.options.smtp.addr) {
            return Some("options.smtp.addr");
        }
        if !set(&self.options.from) {
            return Some("options.from");
        }
        self.options.to.is_empty().then_some("options.to")
    }
}
