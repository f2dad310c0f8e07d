//! A pull of a large blob by curl, and the memory that the server has taken by its end.

use anyhow::{Result, ensure};

use crate::exec::Exec;
use crate::server::Server;

/// Pulls `url`, compares the content with the SHA-256 `sum` in hex, and expects that the server never held more than `max`
/// bytes. Gives the most bytes that it held.
pub(super) async fn pull(server: &Server, url: &str, sum: &str, max: u64) -> Result<u64> {
    let pulled = Exec::new("sh")
        .args([
            "-c",
            "curl --silent --show-error --fail --noproxy '*' \"$1\" | sha256sum",
            "sh",
        ])
        .arg(url)
        .success()
        .await?;
    ensure!(pulled.starts_with(sum), "pulled {pulled}, pushed {sum}");
    let peak = server.peak_memory()?;
    ensure!(peak <= max, "VmHWM {} KiB is over {} MiB", peak / 1024, max >> 20);
    Ok(peak)
}
