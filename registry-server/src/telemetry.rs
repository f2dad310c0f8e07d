//! Log lines on standard error and the access log on standard output.
//!
//! Guarantees: one event is one line, in the form `log.formatter` asks for, with `log.fields` and the request's id;
//! no value of a header or a body is logged but those of the access log's combined format, and of that a query's
//! upload state is left out.
//! Must not: fail a request. A full pipe delays; a closed one is ignored.
//! Start at [`start`]; `access` is the access log.

pub mod access;
mod line;
pub mod metrics;

use std::collections::BTreeMap;
use std::io::Write;

use registry_config::model::{Formatter, Level, Log};
use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;

use line::Line;

/// Sends everything logged from now on to standard error, as configured. Does nothing when somebody already did.
pub fn start(log: &Log) {
    let level = match log.level.unwrap_or_default() {
        Level::Error => LevelFilter::ERROR,
        Level::Warn => LevelFilter::WARN,
        Level::Info => LevelFilter::INFO,
        Level::Debug => LevelFilter::DEBUG,
    };
    // Libraries say things at `info` and `debug` that nobody who runs a registry can act on.
    let filter = Targets::new()
        .with_default(level.min(LevelFilter::WARN))
        .with_target("registry_server", level);
    let lines = Lines {
        formatter: log.formatter.unwrap_or_default(),
        fields: log.fields.clone(),
    };
    let subscriber = tracing_subscriber::registry().with(lines.with_filter(filter));
    // The error says that a subscriber is set, which only tests do.
    let _ = tracing::subscriber::set_global_default(subscriber);
    // A panic ends one request or one connection, not the server; it is a line like any other.
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let payload = panic.payload();
        let text = payload
            .downcast_ref::<&str>()
            .copied()
            .or(payload.downcast_ref::<String>().map(String::as_str));
        tracing::error!(
            place,
            panic = text.unwrap_or("of another type"),
            "panic; please report this"
        );
    }));
}

/// The chain of an error's causes in one line, each level once, joined by `: `.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

/// Turns events into lines.
struct Lines {
    formatter: Formatter,
    fields: BTreeMap<String, String>,
}

/// Fields of a span, kept until an event inside it is written.
#[derive(Default)]
struct Fields(Vec<(&'static str, Value)>);

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Lines {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(fields);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(fields) = span.extensions_mut().get_mut::<Fields>()
        {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut line = Line::new(
            jiff::Timestamp::now(),
            *event.metadata().level(),
            event.metadata().target(),
        );
        for (name, value) in &self.fields {
            line.field(name, Value::String(value.clone()));
        }
        for span in context.event_scope(event).into_iter().flatten() {
            if let Some(Fields(fields)) = span.extensions().get::<Fields>() {
                fields
                    .iter()
                    .for_each(|(name, value)| line.field(name, value.clone()));
            }
        }
        let mut fields = Fields::default();
        event.record(&mut fields);
        for (name, value) in fields.0 {
            match (name, value) {
                ("message", Value::String(message)) => line.message(message),
                (name, value) => line.field(name, value),
            }
        }
        let mut text = line.format(self.formatter);
        text.push('\n');
        // In one write, so that lines of several threads do not mix. Nobody to tell when it fails.
        let _ = std::io::stderr().lock().write_all(text.as_bytes());
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.0.push((field.name(), Value::String(format!("{value:?}"))));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.push((field.name(), Value::String(value.to_owned())));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.0.push((field.name(), Value::Bool(value)));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.0.push((field.name(), value.into()));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.push((field.name(), value.into()));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.0.push((field.name(), value.into()));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.0.push((field.name(), Value::String(chain(value))));
    }
}
