//! The events of a copy while it runs, and its report in the end.

use crate::registry::check::finding::Finding;

/// An event of a copy.
#[derive(Debug)]
pub enum CopyEvent<'a> {
    /// Payloads are being copied. The number is the fraction that is done, from 0 to 1.
    Blobs(&'a CopyReport, f64),
    /// Repositories are being copied.
    Repositories(&'a CopyReport),
    /// A broken object is not copied.
    LeftOut(&'a Finding),
}

/// The report of a copy.
#[derive(Debug, Default)]
pub struct CopyReport {
    /// How many repositories were read.
    pub repositories: u64,
    /// How many payloads were copied.
    pub blobs: u64,
    /// How many bytes they have, including payloads that are being copied.
    pub bytes: u64,
    /// How many payloads the target had before.
    pub blobs_there: u64,
    /// How many links to blobs and manifests and entries of our own index were copied.
    pub links: u64,
    /// How many of them the target had before.
    pub links_there: u64,
    /// How many tags were copied, with their history.
    pub tags: u64,
    /// How many of them the target had before.
    pub tags_there: u64,
    /// How many objects were left out because they are broken.
    pub left_out: u64,
    /// How many uploads in progress are not copied.
    pub uploads: u64,
}
