//! Ranges of IP addresses in CIDR notation.
//!
//! The standard library parses the address and `ipnet` compares: its own parser takes `010.0.0.0`, which other programs read
//! as octal, so that a list of trusted proxies would mean two things.

use std::net::IpAddr;

use ipnet::IpNet;

/// A range of addresses, or a single address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cidr(IpNet);

impl Cidr {
    /// Parses `10.0.0.0/8`, `fd00::/8` or a single address. Returns `None` for any other text.
    pub fn parse(text: &str) -> Option<Self> {
        let Some((address, length)) = text.split_once('/') else {
            return Some(Self(IpNet::from(text.parse::<IpAddr>().ok()?)));
        };
        // `parse` alone would take `+8`.
        if !length.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        IpNet::new(address.parse().ok()?, length.parse().ok()?)
            .ok()
            .map(Self)
    }

    /// Whether an address is in the range. An IPv4 address that is written as an IPv6 one counts as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }

    /// Whether an address is in one of several ranges.
    pub fn any_contains(ranges: &[Self], address: IpAddr) -> bool {
        ranges.iter().any(|range| range.contains(address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_hold_their_addresses() {
        for (range, address, expected) in [
            ("10.0.0.0/8", "10.255.1.2", true),
            ("10.1.2.3/8", "10.255.1.2", true),
            ("10.0.0.0/8", "11.0.0.0", false),
            ("10.0.0.0/8", "::ffff:10.1.2.3", true),
            ("0.0.0.0/0", "203.0.113.9", true),
            ("0.0.0.0/0", "::1", false),
            ("192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1", "192.0.2.2", false),
            ("fd00::/8", "fd12::1", true),
            ("fd00::/8", "fe80::1", false),
            ("::/0", "2001:db8::1", true),
            ("::/0", "192.0.2.1", false),
            ("::1/128", "::1", true),
        ] {
            let parsed = Cidr::parse(range).unwrap();
            assert_eq!(
                parsed.contains(address.parse().unwrap()),
                expected,
                "{address} in {range}"
            );
        }
        for bad in [
            "",
            "/8",
            "10.0.0.0/33",
            "::/129",
            "10.0.0/8",
            "010.0.0.0/8",
            "example.test",
            "10.0.0.0/",
            "10.0.0.0/-1",
            "10.0.0.0/+8",
        ] {
            assert_eq!(Cidr::parse(bad), None, "accepted: {bad}");
        }
    }
}
