//! `http.limits`: limits for one client and for all clients together.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::GoDuration;

/// `http.limits`. Every key is optional, and the defaults are meant for a registry that serves a cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Open connections of all clients; 8192 when unset, but never so many that no file descriptors are left to serve them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connections: Option<u32>,
    /// Open connections of one address; three quarters of `connections` when unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connectionsperclient: Option<u32>,
    /// Requests at once on one HTTP/2 connection; 64 when unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub streams: Option<u32>,
    /// Bytes of request bodies in memory, of all requests; 32 MiB when unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requestmemory: Option<u64>,
    /// Bytes of answers in memory, of all requests; 32 MiB when unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub responsememory: Option<u64>,
    /// How long a request body may send nothing; 90 s when unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bodytimeout: Option<GoDuration>,
    /// How long a client may read nothing of an answer; 90 s when unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub writetimeout: Option<GoDuration>,
}

impl Limits {
    /// The lowest value of `requestmemory` and `responsememory`: twice the largest manifest.
    pub const MEMORY_MIN: u64 = 8 << 20;
    /// The shortest `bodytimeout` and `writetimeout`: a lost packet is sent again within this time.
    pub const TIMEOUT_MIN: Duration = Duration::from_secs(1);

    /// Open connections of all clients.
    pub fn connections(&self) -> usize {
        count(self.connections, 8192)
    }

    /// Open connections of one address.
    pub fn connections_per_client(&self) -> usize {
        let all = self.connections();
        count(self.connectionsperclient, all - all / 4).min(all)
    }

    /// Requests at once on one HTTP/2 connection.
    pub fn streams(&self) -> u32 {
        self.streams.unwrap_or(64).max(1)
    }

    /// Bytes of request bodies in memory.
    pub fn request_memory(&self) -> usize {
        memory(self.requestmemory, 32 << 20)
    }

    /// Bytes of answers in memory.
    pub fn response_memory(&self) -> usize {
        memory(self.responsememory, 32 << 20)
    }

    /// How long a request body may send nothing.
    pub fn body_timeout(&self) -> Duration {
        timeout(self.bodytimeout)
    }

    /// How long a client may read nothing.
    pub fn write_timeout(&self) -> Duration {
        timeout(self.writetimeout)
    }
}

fn count(value: Option<u32>, default: usize) -> usize {
    value
        .and_then(|count| usize::try_from(count).ok())
        .map_or(default, |count| count.max(1))
}

fn memory(value: Option<u64>, default: u64) -> usize {
    let bytes = value.unwrap_or(default).max(Limits::MEMORY_MIN);
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

fn timeout(value: Option<GoDuration>) -> Duration {
    value
        .and_then(GoDuration::positive)
        .map_or(Duration::from_secs(90), |span| span.max(Limits::TIMEOUT_MIN))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unset_limits_are_generous_and_no_limit_is_nothing() {
        let unset = Limits::default();
        assert_eq!(unset.connections(), 8192);
        assert_eq!(unset.connections_per_client(), 6144);
        assert_eq!(unset.streams(), 64);
        assert_eq!(unset.request_memory(), 32 << 20);
        assert_eq!(unset.response_memory(), 32 << 20);
        assert_eq!(unset.write_timeout(), Duration::from_secs(90));
        let low = Limits {
            connections: Some(1),
            connectionsperclient: Some(5),
            ..Limits::default()
        };
        assert_eq!((low.connections(), low.connections_per_client()), (1, 1));
    }
}
