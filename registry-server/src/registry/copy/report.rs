//! What a copy reports while it runs, and what it copied in the end.

use crate::registry::check::finding::Finding;

/// What a copy tells while it works.
#[derive(Debug)]
pub enum CopyEvent<'a> {
    /// Payloads are being copied; so much of all of them is behind it, from 0 to 1.
    Blobs(&'a CopyReport, f64),
    /// Repositories are being copied.
    Repositories(&'a CopyReport),
    /// Something is broken and stays behind.
    LeftOut(&'a Finding),
}

/// What a copy did.
#[derive(Debug, Default)]
pub struct CopyReport {
    /// How many repositories were gone through.
    pub repositories: u64,
    /// How many payloads were copied.
    pub blobs: u64,
    /// How many bytes they have, with those of payloads that are on their way.
    pub bytes: u64,
    /// How many payloads were at the target before.
    pub blobs_there: u64,
    /// How many links to blobs and manifests and entries of our own index were copied.
    pub links: u64,
    /// How many of them were at the target before.
    pub links_there: u64,
    /// How many tags were copied, with their history.
    pub tags: u64,
    /// How many of them were at the target before.
    pub tags_there: u64,
    /// How many things were left out, because they are broken.
    pub left_out: u64,
    /// How many uploads in progress stay behind.
    pub uploads: u64,
}
