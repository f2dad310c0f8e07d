//! `log`: what is written about the server's work, and who is told by mail.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::unset;
use crate::Secret;

/// `log`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Log {
    /// The least important level that is written; `info` when unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub level: Option<Level>,
    /// The form of a log line; `text` when unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub formatter: Option<Formatter>,
    /// Written on every line: `service: registry`. Whatever is a scalar is a text; sections and lists are as deep as
    /// they are.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub fields: BTreeMap<String, serde_json::Value>,
    /// One line per request on standard output.
    #[serde(skip_serializing_if = "unset")]
    pub accesslog: AccessLog,
    /// Every line names the place in the program it comes from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reportcaller: Option<bool>,
    /// Who is told of lines of some levels.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hooks: Vec<Hook>,
}

/// `log.level`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Only what failed.
    Error,
    /// And what somebody should look at.
    Warn,
    /// And what happened.
    #[default]
    Info,
    /// And how.
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
    /// What is done with a line; nothing when unset, as in distribution.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<HookKind>,
    /// Lines of which levels. None when empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub levels: Vec<HookLevel>,
    /// From whom, to whom, over which server.
    #[serde(skip_serializing_if = "unset")]
    pub options: MailOptions,
}

/// `log.hooks[].type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HookKind {
    /// It is sent by mail.
    Mail,
}

/// `log.hooks[].levels[]`: the levels of distribution's logger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HookLevel {
    /// A bug ended one request.
    Panic,
    /// A word of distribution's for an error that ends the program, which says it on standard error instead.
    Fatal,
    /// Something failed.
    Error,
    /// Somebody should look at it.
    #[serde(alias = "warning")]
    Warn,
    /// Something happened.
    Info,
    /// And how.
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
    /// Who logs in; nobody does when unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// With which password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
    /// Believes any certificate, and sends a password without encryption if it must.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub insecure: Option<bool>,
}

impl Hook {
    /// Whether lines are to be sent at all.
    pub fn is_on(&self) -> bool {
        self.disabled != Some(true) && self.kind.is_some() && !self.levels.is_empty()
    }

    /// The key that must be set for mails to be sent and is not.
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
