//! Ports of this machine for programs that the suite starts.
//!
//! Guarantees: no port is given twice, so that cases run side by side; a port stays free between two starts of one server,
//! because the kernel takes none of this range for outgoing connections. Start at [`free`].

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context as _, Result};

/// The first port. Linux takes the ports of outgoing connections from 32768 on.
const FIRST: u16 = 20_000;

/// How many ports there are.
const COUNT: u16 = 12_000;

/// A loopback address on which nothing listens.
///
/// # Errors
/// All ports of the range are in use.
pub(crate) fn free() -> Result<SocketAddr> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Test programs that run at the same time begin at different places.
    let start = std::process::id().wrapping_mul(61);
    for _ in 0..COUNT {
        let step = start.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % u32::from(COUNT);
        let port = FIRST + u16::try_from(step).context("the remainder is below the count")?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if TcpListener::bind(address).is_ok() {
            return Ok(address);
        }
    }
    anyhow::bail!("all ports from {FIRST} on are in use")
}

#[cfg(test)]
mod tests {
    use super::free;

    #[test]
    fn no_address_is_given_twice() {
        let mut addresses: Vec<_> = (0..100).map(|_| free().unwrap()).collect();
        addresses.sort_unstable();
        addresses.dedup();
        assert_eq!(addresses.len(), 100);
    }
}
