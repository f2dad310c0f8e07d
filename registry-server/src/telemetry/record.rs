//! One log record, and its line in each of the three formats of distribution's `log.formatter`.

use jiff::Timestamp;
use registry_config::model::Formatter;
use serde_json::{Map, Value};
use tracing::{Level, Metadata};

/// The target of the event that reports a panic.
pub(super) const PANIC: &str = "registry_server::panic";

/// The severity of a record, under the names of distribution's logger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Severity {
    /// A bug ended one request or one connection.
    Panic,
    Error,
    Warning,
    Info,
    Debug,
}

impl Severity {
    /// The severity of an event.
    pub(super) fn of(event: &Metadata<'_>) -> Self {
        match *event.level() {
            _ if event.target() == PANIC => Self::Panic,
            Level::ERROR => Self::Error,
            Level::WARN => Self::Warning,
            Level::INFO => Self::Info,
            _ => Self::Debug,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Panic => "panic",
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Info => "info",
            Self::Debug => "debug",
        }
    }
}

/// One log record: everything that its line says, in no format yet.
#[derive(Debug, Clone)]
pub(super) struct LogRecord {
    time: Timestamp,
    severity: Severity,
    message: String,
    fields: Map<String, Value>,
}

impl LogRecord {
    pub(super) fn new(time: Timestamp, severity: Severity) -> Self {
        Self {
            time,
            severity,
            message: String::new(),
            fields: Map::new(),
        }
    }

    pub(super) fn message(&mut self, message: String) {
        self.message = message;
    }

    /// Sets a field. A later value replaces an earlier one: the event's own field counts more than one of its request or
    /// of the configuration.
    pub(super) fn field(&mut self, name: &str, value: Value) {
        self.fields.insert(name.to_owned(), value);
    }

    #[cfg(feature = "mail")]
    pub(super) fn severity(&self) -> Severity {
        self.severity
    }

    /// The message alone.
    #[cfg(feature = "mail")]
    pub(super) fn text(&self) -> &str {
        &self.message
    }

    #[cfg(feature = "mail")]
    pub(super) fn fields(&self) -> &Map<String, Value> {
        &self.fields
    }

    /// The line, without a line feed.
    pub(super) fn format(self, formatter: Formatter) -> String {
        match formatter {
            Formatter::Text => self.plain(),
            Formatter::Json => self.json("time", "msg", "level", None),
            Formatter::Logstash => self.json("@timestamp", "message", "level", Some("@version")),
        }
    }

    fn plain(self) -> String {
        let mut line = format!(
            "time=\"{}\" level={} msg={}",
            self.time,
            self.severity.name(),
            value(&self.message)
        );
        for (name, field) in &self.fields {
            let field = match field {
                Value::String(text) => value(text),
                other => other.to_string(),
            };
            line.push_str(&format!(" {name}={field}"));
        }
        line
    }

    fn json(self, time: &str, message: &str, level: &str, version: Option<&str>) -> String {
        let severity = self.severity.name().to_owned();
        let mut line = Map::new();
        line.insert(time.to_owned(), Value::String(self.time.to_string()));
        line.insert(level.to_owned(), Value::String(severity));
        line.insert(message.to_owned(), Value::String(self.message));
        if let Some(version) = version {
            line.insert(version.to_owned(), Value::String("1".to_owned()));
        }
        for (name, value) in self.fields {
            // A field whose name is taken gets the prefix that distribution's logger gives it.
            let name = if line.contains_key(&name) {
                format!("fields.{name}")
            } else {
                name
            };
            line.insert(name, value);
        }
        Value::Object(line).to_string()
    }
}

/// A value as it is written after `=`: in quotes unless it is one plain word.
fn value(text: &str) -> String {
    let plain = !text.is_empty()
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-._/@^+".contains(c));
    match plain {
        true => text.to_owned(),
        // JSON escapes line feeds, so that no client can begin a new line.
        false => Value::String(text.to_owned()).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> LogRecord {
        let mut record = LogRecord::new("2026-11-22T17:00:00.5Z".parse().unwrap(), Severity::Warning);
        record.message("it is \"late\"\n".to_owned());
        record.field("service", Value::String("registry".to_owned()));
        record.field("level", Value::String("low".to_owned()));
        record.field("bytes", 7.into());
        record
    }

    #[track_caller]
    fn check(formatter: Formatter, expected: &str) {
        assert_eq!(record().format(formatter), expected);
    }

    #[test]
    fn a_line_has_the_form_that_was_asked_for() {
        check(
            Formatter::Text,
            r#"time="2026-11-22T17:00:00.5Z" level=warning msg="it is \"late\"\n" service=registry level=low bytes=7"#,
        );
        check(
            Formatter::Json,
            r#"{"time":"2026-11-22T17:00:00.5Z","level":"warning","msg":"it is \"late\"\n","service":"registry","fields.level":"low","bytes":7}"#,
        );
        check(
            Formatter::Logstash,
            r#"{"@timestamp":"2026-11-22T17:00:00.5Z","level":"warning","message":"it is \"late\"\n","@version":"1","service":"registry","fields.level":"low","bytes":7}"#,
        );
    }

    proptest::proptest! {
        #[test]
        fn whatever_is_said_is_one_line_that_is_read_back(message: String, name in "[a-z.]{1,12}", field: String) {
            for formatter in [Formatter::Text, Formatter::Json, Formatter::Logstash] {
                let mut record = LogRecord::new(Timestamp::UNIX_EPOCH, Severity::Info);
                record.message(message.clone());
                record.field(&name, field.clone().into());
                let text = record.format(formatter);
                proptest::prop_assert!(!text.contains(['\n', '\r']), "{:?}", text);
                if formatter != Formatter::Text {
                    let read: Value = serde_json::from_str(&text).unwrap();
                    let message_name = if formatter == Formatter::Json { "msg" } else { "message" };
                    proptest::prop_assert_eq!(&read[message_name], &Value::from(message.clone()));
                }
            }
        }
    }
}
