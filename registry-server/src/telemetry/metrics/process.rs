//! The metrics of the process, under the names that every Prometheus client library gives them.

use std::fmt::Error;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

/// Reads `/proc` at each scrape. A metric whose file cannot be read is left out.
#[derive(Debug)]
pub(super) struct Process;

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        let stat = std::fs::read_to_string("/proc/self/stat").ok();
        if let Some(stat) = stat.as_deref().and_then(Stat::parse) {
            let name = "process_cpu_seconds";
            let help = "Total user and system CPU time spent in seconds";
            let to = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            ConstCounter::new(stat.cpu).encode(to)?;
            let mut gauge = |name, help, value: f64| {
                let to = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
                ConstGauge::new(value).encode(to)
            };
            gauge(
                "process_resident_memory_bytes",
                "Resident memory size in bytes",
                stat.resident,
            )?;
            gauge(
                "process_virtual_memory_bytes",
                "Virtual memory size in bytes",
                stat.virtual_,
            )?;
            if let Some(boot) = boot_time() {
                gauge(
                    "process_start_time_seconds",
                    "Start time of the process since unix epoch in seconds",
                    boot + stat.started,
                )?;
            }
        }
        let mut gauge = |name, help, value: u64| {
            let to = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            ConstGauge::new(value as f64).encode(to)
        };
        if let Ok(files) = std::fs::read_dir("/proc/self/fd") {
            // One of the entries is the open folder itself.
            let open = files.count().saturating_sub(1) as u64;
            gauge("process_open_fds", "Number of open file descriptors", open)?;
        }
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
        if let Some(limit) = limit.current {
            gauge(
                "process_max_fds",
                "Maximum number of open file descriptors",
                limit,
            )?;
        }
        Ok(())
    }
}

/// Fields of `/proc/self/stat` (proc(5)), in seconds and bytes.
struct Stat {
    cpu: f64,
    /// Seconds from the start of the machine to the start of the process.
    started: f64,
    virtual_: f64,
    resident: f64,
}

impl Stat {
    fn parse(text: &str) -> Option<Self> {
        let ticks = rustix::param::clock_ticks_per_second() as f64;
        // The second field is the name of the program in brackets, and may hold brackets itself. The third field follows
        // the last bracket.
        let (_, rest) = text.rsplit_once(") ")?;
        let fields: Vec<&str> = rest.split(' ').collect();
        let field = |number: usize| fields.get(number - 3)?.trim().parse::<f64>().ok();
        Some(Self {
            cpu: (field(14)? + field(15)?) / ticks,
            started: field(22)? / ticks,
            virtual_: field(23)?,
            resident: field(24)? * rustix::param::page_size() as f64,
        })
    }
}

/// The start of the machine, in seconds since the epoch.
fn boot_time() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/stat").ok()?;
    text.lines()
        .find_map(|line| line.strip_prefix("btime "))?
        .parse()
        .ok()
}
