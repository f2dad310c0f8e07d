//! Log lines on standard error and by mail, the access log on standard output, and metrics.
//!
//! Guarantees: one event is one line, in the format of `log.formatter`, with `log.fields` and the fields of the request.
//! No value of a header or a body is logged, except those of the access log's combined format, the host and the content
//! type. The state of an upload is left out everywhere. A line has at most 4 KiB of a client's text. Logging never waits
//! for a reader or a mail server; [`Sink`] says what happens to lines that nobody reads.
//! Must not: fail a request.
//! Start at [`start`]. [`access_log`] is the access log, [`request`] gives the fields of a request.

pub mod access_log;
mod client_text;
mod layer;
mod log_throttle;
#[cfg(feature = "mail")]
mod mail;
#[cfg(not(feature = "mail"))]
#[path = "telemetry/no_mail.rs"]
mod mail;
pub mod metrics;
mod record;
pub mod request;
mod sink;

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use registry_config::model::{self, Level};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};

use crate::fault::chain;
use layer::LogLayer;
pub(crate) use log_throttle::LogThrottle;
use record::PANIC;
pub use sink::Sink;

/// How long the process waits at its end for all mails.
const MAIL_TIMEOUT: Duration = Duration::from_secs(3);
/// How long the process waits at its end for the lines of one stream.
const STREAM_TIMEOUT: Duration = Duration::from_secs(1);

/// The running log, until the end of the process.
#[derive(Debug)]
pub struct Log {
    /// Standard output, for the access log.
    pub access: Sink,
    lines: Sink,
    hooks: Arc<[mail::Hook]>,
    dropped: Family<Stream, Counter>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Stream {
    stream: &'static str,
}

impl Log {
    /// Registers the number of dropped lines.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "registry_log_dropped_lines",
            "Lines left out because nobody read the stream in time",
            self.dropped.clone(),
        );
    }

    /// Waits for queued mails and lines: at most three seconds for all mails, and one second for each stream.
    pub fn finish(&self) {
        let deadline = Instant::now() + MAIL_TIMEOUT;
        for hook in &*self.hooks {
            hook.stop(deadline.saturating_duration_since(Instant::now()));
        }
        self.cut();
    }

    /// The same as [`Log::finish`], without the wait for mails.
    pub fn cut(&self) {
        self.access.flush(STREAM_TIMEOUT);
        self.lines.flush(STREAM_TIMEOUT);
    }
}

/// Starts the log of the process as the configuration asks. Only the first call in a process has an effect.
///
/// # Errors
/// The operating system refuses a thread.
pub fn start(log: &model::Log) -> io::Result<Log> {
    let level = match log.level.unwrap_or_default() {
        Level::Error => LevelFilter::ERROR,
        Level::Warn => LevelFilter::WARN,
        Level::Info => LevelFilter::INFO,
        Level::Debug => LevelFilter::DEBUG,
    };
    // Nobody who runs a registry can act on the `info` and `debug` lines of libraries.
    let filter = Targets::new()
        .with_default(level.min(LevelFilter::WARN))
        .with_target("registry_server", level);
    let (mut hooks, mut failed) = (Vec::new(), Vec::new());
    for (index, hook) in log.hooks.iter().enumerate() {
        // The check of the configuration has already warned of an incomplete hook.
        if hook.is_on() && hook.missing().is_none() {
            match mail::Hook::start(hook) {
                Ok(hook) => hooks.push(hook),
                Err(error) => failed.push((index, error)),
            }
        }
    }
    let hooks: Arc<[mail::Hook]> = hooks.into();
    let dropped: Family<Stream, Counter> = Family::default();
    let sink = |stream, out| Sink::new(stream, out, dropped.get_or_create_owned(&Stream { stream }));
    let access = sink(
        "standard output",
        Box::new(io::stdout()) as Box<dyn io::Write + Send>,
    )?;
    let sink = sink("standard error", Box::new(io::stderr()))?;
    let layer = LogLayer {
        formatter: log.formatter.unwrap_or_default(),
        fields: log.fields.clone(),
        caller: log.reportcaller == Some(true),
        sink: sink.clone(),
        hooks: Arc::clone(&hooks),
    };
    let subscriber = tracing_subscriber::registry().with(layer.with_filter(filter));
    // Fails if a subscriber is set already. Only tests do that.
    let _ = tracing::subscriber::set_global_default(subscriber);
    // A panic ends one request or one connection, not the server. It is logged like any other error.
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let payload = panic.payload();
        let text = payload
            .downcast_ref::<&str>()
            .copied()
            .or(payload.downcast_ref::<String>().map(String::as_str));
        tracing::error!(
            target: PANIC,
            place,
            panic = text.unwrap_or("of another type"),
            "panic; please report this"
        );
    }));
    for (index, error) in failed {
        tracing::warn!("`log.hooks[{index}]` does nothing: {}", chain(&error));
    }
    Ok(Log {
        access,
        lines: sink,
        hooks,
        dropped,
    })
}

#[cfg(test)]
mod tests;
