//! The layer of `tracing` that turns events into log lines.
//!
//! Each line has the fields of the configuration, of the request that is being answered, and of the event itself.

use std::collections::BTreeMap;
use std::sync::Arc;

use registry_config::model::Formatter;
use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

use super::client_text::{self, sanitize};
use super::record::{LogRecord, Severity};
use super::{Sink, mail, request};
use crate::fault::chain;

/// Turns events into log lines, and offers them to the mail hooks.
pub(super) struct LogLayer {
    pub(super) formatter: Formatter,
    pub(super) fields: BTreeMap<String, Value>,
    /// Whether lines name the module, file and line of the program that logged them.
    pub(super) caller: bool,
    pub(super) sink: Sink,
    pub(super) hooks: Arc<[mail::Hook]>,
}

/// The fields of an event. Their text is limited, because an error often quotes what a client sent.
struct EventFields {
    all: Vec<(&'static str, Value)>,
    /// How many more bytes of text the fields may have.
    bytes_left: usize,
}

impl EventFields {
    fn text(&mut self, field: &Field, text: &str) {
        // A few words always fit.
        let text = sanitize(text, self.bytes_left.max(32));
        self.bytes_left = self.bytes_left.saturating_sub(text.len());
        self.all.push((field.name(), text.into()));
    }
}

impl<S: Subscriber> Layer<S> for LogLayer {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        let mut record = LogRecord::new(jiff::Timestamp::now(), Severity::of(metadata));
        for (name, value) in &self.fields {
            record.field(name, value.clone());
        }
        request::fields(|name, value| record.field(name, value));
        if self.caller {
            // The field names are distribution's.
            let function = match self.formatter {
                Formatter::Text | Formatter::Json => "func",
                Formatter::Logstash => "function",
            };
            record.field(function, metadata.target().into());
            if let (Some(file), Some(number)) = (metadata.file(), metadata.line()) {
                record.field("file", format!("{file}:{number}").into());
            }
        }
        let mut fields = EventFields {
            all: Vec::new(),
            bytes_left: client_text::EVENT,
        };
        event.record(&mut fields);
        for (name, value) in fields.all {
            match (name, value) {
                ("message", Value::String(message)) => record.message(message),
                (name, value) => record.field(name, value),
            }
        }
        self.hooks.iter().for_each(|hook| hook.offer(&record));
        let mut line = record.format(self.formatter);
        line.push('\n');
        self.sink.write_line(&line);
    }
}

impl Visit for EventFields {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.text(field, &format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.all.push((field.name(), Value::Bool(value)));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.all.push((field.name(), value.into()));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.all.push((field.name(), value.into()));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.all.push((field.name(), value.into()));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.text(field, &chain(value));
    }
}
