//! An upload session as its client sees it.

use registry_oci::UploadId;

use super::resume::Resume;

/// How far an upload is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// The session.
    pub id: UploadId,
    /// How many of its bytes are stored.
    pub size: u64,
    /// The state that the client hands back with its next request.
    pub resume: Option<Resume>,
}

/// A session as a client names it.
#[derive(Debug, Clone, Copy)]
pub struct Session<'a> {
    /// Its id.
    pub id: &'a UploadId,
    /// The state that the last answer gave to the client.
    pub resume: Option<&'a Resume>,
}

impl<'a> From<&'a UploadId> for Session<'a> {
    fn from(id: &'a UploadId) -> Self {
        Self { id, resume: None }
    }
}

impl<'a> From<&'a Progress> for Session<'a> {
    fn from(progress: &'a Progress) -> Self {
        Self {
            id: &progress.id,
            resume: progress.resume.as_ref(),
        }
    }
}

/// The client's description of the bytes that it is sending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunk {
    /// Where the chunk begins.
    pub offset: Offset,
    /// How many bytes it has, if the client says so.
    pub length: Option<u64>,
    /// Whether the client numbers its chunks, so that another one is to be expected.
    pub counted: bool,
}

/// Where a chunk begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offset {
    /// At this byte, which must be the end of the upload.
    At(u64),
    /// At the end of the upload, wherever that is.
    End,
}
