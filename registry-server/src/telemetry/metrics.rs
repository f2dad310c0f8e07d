//! All metrics, in the text that Prometheus scrapes.
//!
//! Guarantees: the text exposition format 0.0.4, with distribution's metric names and its way to write numbers in labels,
//! so that series continue when this server replaces a registry. Of the metrics of a process, only those that have a
//! meaning here.
//! Must not: know what is counted. Each room registers its own metrics; `process` has those of the process.

mod process;

use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

/// The content type of what [`Metrics::text`] gives.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The default bounds of a histogram in Prometheus's client library for Go, in seconds.
pub const BUCKETS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// All registered metrics.
#[derive(Debug)]
pub struct Metrics(Registry);

impl Metrics {
    /// The metrics of `registry`, and those of the process.
    pub fn new(mut registry: Registry) -> Self {
        registry.register_collector(Box::new(process::Process));
        Self(registry)
    }

    /// The values of all metrics now. Reads files of `/proc`, so an async thread must not call it.
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail. If an encoder fails, the rest of the text is still worth sending.
        let _ = encode(&mut text, &self.0);
        to_text_format(&text)
    }
}

/// Turns OpenMetrics 1.0 into the text format 0.0.4: comments have the `_total` of counters too, units and the end mark
/// are left out, and the bounds of buckets are written as Go writes them.
fn to_text_format(open_metrics: &str) -> String {
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
            copy_sample(line, &mut out);
            out.push('\n');
        }
    }
    out
}

/// Copies the line of a sample. The bound of a bucket is written as Go writes it.
fn copy_sample(line: &str, out: &mut String) {
    const LABEL: &str = "{le=\"";
    if let Some((before, rest)) = line.split_once(LABEL)
        && let Some((number, after)) = rest.split_once('"')
        && let Some(number) = number.parse().ok().and_then(format_as_go)
    {
        out.extend([before, LABEL, &number, "\"", after]);
    } else {
        out.push_str(line);
    }
}

/// A number as Go's `strconv.FormatFloat(x, 'g', -1, 64)` writes it. Nothing for infinity and NaN.
fn format_as_go(number: f64) -> Option<String> {
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
