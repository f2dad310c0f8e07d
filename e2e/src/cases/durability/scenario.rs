//! A push with every request that changes a store, and the expected state after each part of it.
//!
//! An [`ExpectedState`] says for each object whether it must exist, must not, or may. An answer makes this certain. A
//! request without an answer makes it uncertain: its change may have happened or not, but never half. Start at
//! [`Scenario::new`]; `client` sends it, `check` compares a server with the expected state.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use serde_json::json;

use crate::protocol::{digest, noise};

/// The repository of most requests.
pub(super) const HERE: &str = "durable/here";
/// The repository that a blob is mounted from.
pub(super) const THERE: &str = "durable/there";

/// The type of every manifest.
pub(super) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// The size of a first chunk, large enough for the state of its hash to be saved.
const FIRST: usize = (1 << 20) + 4096;
/// The size of a second chunk.
const SECOND: usize = 1000;

/// One request.
#[derive(Debug, Clone)]
pub(super) enum Step {
    /// Starts an upload. The first one has the number 0.
    Start { upload: usize },
    /// Appends the bytes between two offsets.
    Append { upload: usize, from: usize, to: usize },
    /// Finishes the upload as a blob.
    Finish { upload: usize },
    /// Cancels the upload.
    Cancel { upload: usize },
    /// Pushes a blob in one request.
    Push { repository: &'static str, blob: Bytes },
    /// Mounts a blob from [`THERE`].
    Mount { blob: Bytes },
    /// Deletes a blob.
    DeleteBlob { blob: Bytes },
    /// Pushes a manifest by a tag.
    Tag { tag: &'static str, manifest: Bytes },
    /// Deletes a tag.
    DeleteTag { tag: &'static str },
    /// Deletes a manifest, and with it the tags that point to it.
    DeleteManifest { manifest: Bytes },
}

/// Whether an object exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Presence {
    Absent,
    Maybe,
    Present,
}

impl Presence {
    fn or(self, other: Self) -> Self {
        if self == other { self } else { Self::Maybe }
    }
}

/// The expected state of an upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct UploadProgress {
    pub(super) presence: Presence,
    /// The least number of bytes it holds, if it exists; the most follows.
    pub(super) least: usize,
    pub(super) most: usize,
}

/// The expected state of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ExpectedState {
    /// By repository and digest.
    pub(super) blobs: BTreeMap<(&'static str, String), Presence>,
    /// By digest.
    pub(super) manifests: BTreeMap<String, Presence>,
    /// The possible digests of each tag; `None` stands for a missing tag.
    pub(super) tags: BTreeMap<&'static str, BTreeSet<Option<String>>>,
    /// By number.
    pub(super) uploads: Vec<UploadProgress>,
}

/// The scenario.
#[derive(Debug, Clone)]
pub(super) struct Scenario {
    pub(super) steps: Vec<Step>,
    /// The bytes of each upload, if it is ever finished.
    pub(super) uploads: Vec<Bytes>,
    /// All bytes that are sent, by digest.
    pub(super) content: BTreeMap<String, Bytes>,
    /// The digest of the manifest that another one refers to; the referrer's digest follows.
    pub(super) subject: String,
    pub(super) referrer: String,
}

impl Scenario {
    /// The one scenario.
    pub(super) fn new() -> Self {
        let config = Bytes::from_static(b"{}");
        let mounted = noise(1, 3000);
        let dropped = noise(2, 2000);
        let layer = noise(3, FIRST + SECOND);
        let (cancelled, open) = (noise(4, 5000), noise(5, 5000));
        let manifest = |note: &str, subject: Option<&Bytes>| {
            let mut document = json!({
                "schemaVersion": 2,
                "mediaType": MANIFEST,
                "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest(&config), "size": config.len()},
                "layers": [
                    {"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": digest(&mounted), "size": mounted.len()},
                    {"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": digest(&layer), "size": layer.len()},
                ],
                "annotations": {"note": note},
            });
            if let Some(subject) = subject {
                document["subject"] =
                    json!({"mediaType": MANIFEST, "digest": digest(subject), "size": subject.len()});
            }
            Bytes::from(document.to_string())
        };
        let first = manifest("first", None);
        let second = manifest("second", Some(&first));
        let third = manifest("third", None);
        let steps = vec![
            Step::Push {
                repository: THERE,
                blob: mounted.clone(),
            },
            Step::Push {
                repository: HERE,
                blob: config.clone(),
            },
            Step::Start { upload: 0 },
            Step::Append {
                upload: 0,
                from: 0,
                to: FIRST,
            },
            Step::Append {
                upload: 0,
                from: FIRST,
                to: FIRST + SECOND,
            },
            Step::Finish { upload: 0 },
            Step::Mount {
                blob: mounted.clone(),
            },
            Step::Tag {
                tag: "latest",
                manifest: first.clone(),
            },
            Step::Tag {
                tag: "latest",
                manifest: second.clone(),
            },
            Step::Tag {
                tag: "old",
                manifest: third.clone(),
            },
            Step::Tag {
                tag: "older",
                manifest: third.clone(),
            },
            Step::DeleteTag { tag: "old" },
            Step::DeleteManifest {
                manifest: third.clone(),
            },
            Step::Push {
                repository: HERE,
                blob: dropped.clone(),
            },
            Step::DeleteBlob {
                blob: dropped.clone(),
            },
            Step::Start { upload: 1 },
            Step::Append {
                upload: 1,
                from: 0,
                to: 2500,
            },
            Step::Cancel { upload: 1 },
            Step::Start { upload: 2 },
            Step::Append {
                upload: 2,
                from: 0,
                to: 2500,
            },
        ];
        let (subject, referrer) = (digest(&first), digest(&second));
        let content = [config, mounted, dropped, layer.clone(), first, second, third]
            .map(|bytes| (digest(&bytes), bytes));
        Self {
            steps,
            uploads: vec![layer, cancelled, open],
            content: content.into(),
            subject,
            referrer,
        }
    }

    /// The state before the first step.
    pub(super) fn expected_before(&self) -> ExpectedState {
        let mut expected = ExpectedState {
            blobs: BTreeMap::new(),
            manifests: BTreeMap::new(),
            tags: BTreeMap::new(),
            uploads: Vec::new(),
        };
        for step in &self.steps {
            match step {
                Step::Push { repository, blob } => {
                    expected
                        .blobs
                        .insert((repository, digest(blob)), Presence::Absent);
                }
                Step::Mount { blob } => {
                    expected.blobs.insert((HERE, digest(blob)), Presence::Absent);
                }
                Step::Finish { upload } => {
                    let blob = (HERE, digest(&self.uploads[*upload]));
                    expected.blobs.insert(blob, Presence::Absent);
                }
                Step::Tag { tag, manifest } => {
                    expected.manifests.insert(digest(manifest), Presence::Absent);
                    expected.tags.insert(tag, BTreeSet::from([None]));
                }
                Step::Start { .. } => expected.uploads.push(UploadProgress {
                    presence: Presence::Absent,
                    least: 0,
                    most: 0,
                }),
                Step::Append { .. }
                | Step::Cancel { .. }
                | Step::DeleteBlob { .. }
                | Step::DeleteTag { .. }
                | Step::DeleteManifest { .. } => {}
            }
        }
        expected
    }

    /// The state after `done` steps. The next step may have happened if it is `underway`.
    pub(super) fn expected_after(&self, done: usize, underway: bool) -> ExpectedState {
        let mut expected = self.expected_before();
        for step in &self.steps[..done] {
            expected.settle(step, &self.uploads);
        }
        match self.steps.get(done) {
            Some(next) if underway => {
                let mut after = expected.clone();
                after.settle(next, &self.uploads);
                expected.or(&after)
            }
            Some(_) | None => expected,
        }
    }
}

impl ExpectedState {
    /// Applies a step that was answered.
    fn settle(&mut self, step: &Step, uploads: &[Bytes]) {
        match step {
            Step::Start { upload } => self.uploads[*upload].presence = Presence::Present,
            Step::Append { upload, to, .. } => {
                let upload = &mut self.uploads[*upload];
                (upload.least, upload.most) = (*to, *to);
            }
            Step::Finish { upload } => {
                self.uploads[*upload].presence = Presence::Absent;
                let blob = (HERE, digest(&uploads[*upload]));
                self.blobs.insert(blob, Presence::Present);
            }
            Step::Cancel { upload } => self.uploads[*upload].presence = Presence::Absent,
            Step::Push { repository, blob } => {
                self.blobs.insert((repository, digest(blob)), Presence::Present);
            }
            Step::Mount { blob } => {
                self.blobs.insert((HERE, digest(blob)), Presence::Present);
            }
            Step::DeleteBlob { blob } => {
                self.blobs.insert((HERE, digest(blob)), Presence::Absent);
            }
            Step::Tag { tag, manifest } => {
                self.manifests.insert(digest(manifest), Presence::Present);
                self.tags.insert(tag, BTreeSet::from([Some(digest(manifest))]));
            }
            Step::DeleteTag { tag } => {
                self.tags.insert(tag, BTreeSet::from([None]));
            }
            Step::DeleteManifest { manifest } => {
                let gone = digest(manifest);
                for meant in self
                    .tags
                    .values_mut()
                    .filter(|meant| meant.contains(&Some(gone.clone())))
                {
                    *meant = BTreeSet::from([None]);
                }
                self.manifests.insert(gone, Presence::Absent);
            }
        }
    }

    /// A state that allows what either of two allows.
    fn or(&self, other: &Self) -> Self {
        let mut either = self.clone();
        for (key, presence) in &mut either.blobs {
            *presence = presence.or(other.blobs[key]);
        }
        for (key, presence) in &mut either.manifests {
            *presence = presence.or(other.manifests[key]);
        }
        for (key, meant) in &mut either.tags {
            meant.extend(other.tags[key].iter().cloned());
        }
        for (upload, other) in either.uploads.iter_mut().zip(&other.uploads) {
            *upload = UploadProgress {
                presence: upload.presence.or(other.presence),
                least: upload.least.min(other.least),
                most: upload.most.max(other.most),
            };
        }
        either
    }

    /// The same state without promises about uploads: each that ever existed may exist, with any part of its bytes.
    pub(super) fn without_promises_of_uploads(mut self) -> Self {
        for upload in &mut self.uploads {
            upload.least = 0;
            if upload.presence != Presence::Absent || upload.most > 0 {
                upload.presence = Presence::Maybe;
            }
        }
        self
    }
}
