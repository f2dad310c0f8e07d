//! The log: its format, and its filter, which can be changed while the operator runs.
//!
//! Start at [`start`].

use anyhow::Context as _;
use clap::ValueEnum;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, Registry, fmt, reload};

/// The form of the log's lines.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum Format {
    /// One JSON object per line.
    Json,
    /// Text for people.
    Text,
}

/// The filter of the log. Clones change the same one.
#[derive(Clone, Debug)]
pub struct LogFilter(reload::Handle<EnvFilter, Registry>);

/// Starts the log on standard error.
///
/// # Errors
/// The filter cannot be read, or a log was started before.
pub fn start(format: Format, filter: &str) -> anyhow::Result<LogFilter> {
    let filter = parse(filter)
        .map_err(anyhow::Error::msg)
        .context("cannot read --log")?;
    let (filter, handle) = reload::Layer::new(filter);
    let lines = match format {
        // The innermost span names the Registry; a list of all spans would repeat it.
        Format::Json => fmt::layer()
            .json()
            .flatten_event(true)
            .with_span_list(false)
            .with_writer(std::io::stderr)
            .boxed(),
        Format::Text => fmt::layer().with_ansi(false).with_writer(std::io::stderr).boxed(),
    };
    tracing_subscriber::registry()
        .with(filter)
        .with(lines)
        .try_init()
        .context("cannot start the log")?;
    Ok(LogFilter(handle))
}

fn parse(filter: &str) -> Result<EnvFilter, String> {
    let refused = |problem: String| {
        format!("`{filter}` is no log filter, such as `debug` or `operator=debug,kube=info`: {problem}")
    };
    if filter.trim().is_empty() {
        return Err(refused("it is empty".to_owned()));
    }
    EnvFilter::try_new(filter.trim()).map_err(|error| refused(error.to_string()))
}

impl LogFilter {
    /// The filter now.
    pub fn current(&self) -> String {
        self.0
            .with_current(ToString::to_string)
            .unwrap_or_else(|_| "the log has ended".to_owned())
    }

    /// Changes the filter.
    ///
    /// # Errors
    /// A sentence about what cannot be read.
    pub fn set(&self, filter: &str) -> Result<(), String> {
        self.0.reload(parse(filter)?).map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_that_cannot_be_read_is_refused_with_a_sentence_and_the_old_one_stays() {
        let (_layer, handle) = reload::Layer::new(parse("info").unwrap());
        let filter = LogFilter(handle);
        assert_eq!(filter.current(), "info");
        filter.set("operator=debug,kube=warn").unwrap();
        assert!(
            filter.current().contains("operator=debug"),
            "{}",
            filter.current()
        );
        for wrong in ["", "operator=loud"] {
            let error = filter.set(wrong).unwrap_err();
            assert!(
                error.starts_with(&format!("`{wrong}` is no log filter")),
                "{error}"
            );
        }
        assert!(
            filter.current().contains("operator=debug"),
            "{}",
            filter.current()
        );
    }
}
