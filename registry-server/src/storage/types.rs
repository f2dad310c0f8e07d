//! The values that the calls of a [`Driver`](super::Driver) take and give.
//!
//! Must not: touch a store.

use std::ops::Range;
use std::time::SystemTime;

use futures_util::stream::BoxStream;

use super::Error;

/// The failures that an acknowledged write survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// The end of this process at any instruction.
    Crash,
    /// A loss of power as well.
    PowerLoss,
}

/// Whether a put may replace an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// The put fails if there is an object.
    Create,
    /// The put replaces an object.
    Replace,
}

/// Size and time of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metadata {
    /// Size in bytes.
    pub size: u64,
    /// Time of the last write, by the store's clock.
    pub modified: SystemTime,
}

/// The size of a store's file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Bytes that are used, by whomever, and that can be written.
    pub capacity: u64,
    /// Bytes that this process can still write.
    pub available: u64,
}

/// The part of an object that is read; the forms of an HTTP range (RFC 9110, section 14.1.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadRange {
    /// The whole object.
    Full,
    /// From this byte to the end.
    From(u64),
    /// From the first to the second byte, both included. A second byte behind the object's end means its end.
    Between(u64, u64),
    /// This many bytes at the end, or the whole object when it has fewer.
    Last(u64),
}

impl ReadRange {
    /// The range as byte offsets in an object of `size` bytes; `None` when it holds no byte of the object.
    pub fn resolve(self, size: u64) -> Option<Range<u64>> {
        match self {
            Self::Full => Some(0..size),
            Self::From(start) => (start < size).then_some(start..size),
            Self::Between(start, end) => {
                (start < size && start <= end).then(|| start..end.saturating_add(1).min(size))
            }
            Self::Last(count) => (count > 0 && size > 0).then(|| size.saturating_sub(count)..size),
        }
    }
}

/// The entries below a prefix, as the store gives them.
pub type Listing = BoxStream<'static, Result<Entry, Error>>;

/// One name of a listing.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// The last component of its key.
    pub name: String,
    /// Object or prefix.
    pub kind: EntryKind,
}

/// Whether a name of a listing is an object or a prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum EntryKind {
    /// An object.
    Object,
    /// A prefix: it has entries of its own.
    Prefix,
}

/// The result of a sweep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Swept {
    /// The number of objects.
    pub objects: u64,
    /// Their size in bytes.
    pub bytes: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_resolve_as_http_ranges_do() {
        for (range, size, expected) in [
            (ReadRange::Full, 0, Some(0..0)),
            (ReadRange::Full, 5, Some(0..5)),
            (ReadRange::From(0), 0, None),
            (ReadRange::From(4), 5, Some(4..5)),
            (ReadRange::From(5), 5, None),
            (ReadRange::Between(0, 0), 5, Some(0..1)),
            (ReadRange::Between(1, 99), 5, Some(1..5)),
            (ReadRange::Between(3, 2), 5, None),
            (ReadRange::Between(0, u64::MAX), 5, Some(0..5)),
            (ReadRange::Last(2), 5, Some(3..5)),
            (ReadRange::Last(9), 5, Some(0..5)),
            (ReadRange::Last(0), 5, None),
            (ReadRange::Last(1), 0, None),
        ] {
            assert_eq!(range.resolve(size), expected, "{range:?} of {size}");
        }
    }
}
