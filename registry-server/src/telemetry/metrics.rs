//! All that is counted, as Prometheus reads it.
//!
//! Guarantees: the text exposition format 0.0.4, which distribution answers, with its names and its way to write
//! numbers in labels, so that series go on when a registry is replaced by this one; of the figures of a process only
//! those that mean something here.
//! Must not: know what is counted. A room registers its own; `process` are the process's.

mod process;

use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

/// The content type of what [`Metrics::text`] gives.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The bounds of a histogram that Go's client library uses when none are given, in seconds.
pub const BUCKETS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// Everything registered.
#[derive(Debug)]
pub struct Metrics(Registry);

impl Metrics {
    /// What is in a registry, and the process's own.
    pub fn new(mut registry: Registry) -> Self {
        registry.register_collector(Box::new(process::Process));
        Self(registry)
    }

    /// All of it now. Reads files of `/proc`: not for an async thread.
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a text cannot fail, and an encoder that does has written what it could.
        let _ = encode(&mut text, &self.0);
        classic(&text)
    }
}

/// OpenMetrics 1.0 as the older format: counters carry their `_total` in the comments too, units and the end are not
/// told, and bounds of buckets are written as Go does.
fn classic(open_metrics: &str) -> String {
    let mut out = String::with_capacity(open_metrics.len());
    let mut help = None;
    for line in open_metrics.lines() {
        if let Some(text) = line.strip_prefix("# HELP ") {
            help = text.split_once(' ');
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|text| text.split_once(' '))
        {
            let total = if kind == "counter" { "_total" } else { "" };
            if let Some((_, text)) = help.take_if(|(of, _)| *of == name) {
                out.push_str(&format!("# HELP {name}{total} {text}\n"));
            }
            out.push_str(&format!("# TYPE {name}{total} {kind}\n"));
        } else if !line.starts_with('#') {
            bound(line, &mut out);
            out.push('\n');
        }
    }
    out
}

/// A sample's line, with the bound of its bucket, if it has one, as Go writes it.
fn bound(line: &str, out: &mut String) {
    const LABEL: &str = "{le=\"";
    if let Some((before, rest)) = line.split_once(LABEL)
        && let Some((number, after)) = rest.split_once('"')
        && let Some(number) = number.parse().ok().and_then(go)
    {
        out.extend([before, LABEL, &number, "\"", after]);
    } else {
        out.push_str(line);
    }
}

/// A number as Go's `strconv.FormatFloat(x, 'g', -1, 64)` writes it; nothing for what is not finite.
fn go(number: f64) -> Option<String> {
    let scientific = format!("{number:e}");
    let (digits, exponent) = scientific.split_once('e')?;
    let exponent: i32 = exponent.parse().ok()?;
    match exponent {
        -4..6 => Some(number.to_string()),
        _ => {
            let sign = if exponent < 0 { '-' } else { '+' };
            Some(format!("{digits}e{sign}{:02}", exponent.abs()))
        }
    }
}

#[cfg(test)]
mod tests;
