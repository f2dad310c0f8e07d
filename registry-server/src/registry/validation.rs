//! What a pushed manifest must fulfil beyond its shape: what it names is there, layers that lie elsewhere lie where they
//! may, and it is of a class that repositories may hold (`validation` and `policy` of distribution's configuration).

use std::collections::HashMap;
use std::hash::Hash;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use regex::RegexSet;
use registry_oci::{Descriptor, Digest, Manifest, MediaType, RepositoryName, shortened};

use super::{BlobDescriptor, Error, Registry};

/// How many references of a manifest are looked up at once.
const LOOKUPS: usize = 16;

/// After how many looks it is asked whether enough is missing for the manifest to be refused. An image has fewer layers.
const BATCH: usize = 1000;

/// How many missing references an answer names.
const MISSING_MAX: usize = 20;

/// How much of a URL an answer repeats.
const URL_MAX: usize = 200;

/// What is asked of a pushed manifest.
#[derive(Debug, Clone, Default)]
pub struct Validation {
    /// Whether what it names must be there (`validation.disabled`, `validation.manifests.references`).
    pub references: References,
    /// Where layers may lie that are not in the registry (`validation.manifests.urls`).
    pub urls: Urls,
    /// Which children of an index must be there (`validation.manifests.indexes`).
    pub children: Children,
    /// What repositories may hold (`policy.repository.classes`); anything when empty.
    pub classes: Vec<String>,
}

/// What a pushed manifest may name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum References {
    /// Only content its repository has.
    #[default]
    Required,
    /// Anything, with a word about what is missing.
    Any,
    /// Anything: nobody looks.
    Unchecked,
}

/// Which children of an index must be there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Children {
    /// Every one.
    #[default]
    All,
    /// Those for one of these platforms.
    Of(Vec<Platform>),
    /// None.
    None,
}

/// What an image runs on, under Go's names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Platform {
    /// `amd64`
    pub architecture: String,
    /// `linux`
    pub os: String,
}

impl Children {
    pub(super) fn must_be_there(&self, child: &Descriptor) -> bool {
        match self {
            Self::All => true,
            Self::Of(platforms) => child.platform.as_ref().is_some_and(|runs_on| {
                platforms
                    .iter()
                    .any(|one| one.architecture == runs_on.architecture && one.os == runs_on.os)
            }),
            Self::None => false,
        }
    }
}

/// Where content may lie that is not in the registry: nowhere, unless there is a list. In any case a URL is `http` or
/// `https` and has no fragment.
///
/// Clients fetch from the URLs of a descriptor before they ask the registry, whatever the content is, so a URL that a
/// pusher chooses is a request that every puller makes.
#[derive(Debug, Clone, Default)]
pub struct Urls {
    allow: Option<RegexSet>,
    deny: Option<RegexSet>,
}

impl Urls {
    /// One of `allow` must match a URL, unless there are none, and none of `deny`. Without either list no URL is allowed,
    /// as in distribution.
    ///
    /// # Errors
    /// One of them is no regular expression; the caller's fault.
    pub fn new(allow: &[String], deny: &[String]) -> Result<Self, regex::Error> {
        let set = |patterns: &[String]| {
            (!patterns.is_empty())
                .then(|| RegexSet::new(patterns))
                .transpose()
        };
        Ok(Self {
            allow: set(allow)?,
            deny: set(deny)?,
        })
    }

    fn allows(&self, url: &str) -> bool {
        let has_scheme = |scheme: &str| {
            url.get(..scheme.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(scheme))
        };
        (self.allow.is_some() || self.deny.is_some())
            && (has_scheme("http://") || has_scheme("https://"))
            && !url.contains(|c: char| c == '#' || c.is_whitespace() || c.is_control())
            && self.allow.as_ref().is_none_or(|allow| allow.is_match(url))
            && !self.deny.as_ref().is_some_and(|deny| deny.is_match(url))
    }
}

/// Something a client should know of a manifest that was accepted all the same (OCI distribution 1.1, "Warnings").
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// It names what its repository does not have, and a pull will want.
    Missing(MissingReference),
    /// It has layers of a type that the image specification gave up.
    Nondistributable,
}

/// Something a manifest refers to and its repository does not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MissingReference {
    /// A config or a layer.
    Blob(Digest),
    /// A child of an index.
    Manifest(Digest),
}

impl MissingReference {
    /// The digest that is missing.
    pub fn digest(&self) -> &Digest {
        match self {
            Self::Blob(digest) | Self::Manifest(digest) => digest,
        }
    }
}

impl Registry {
    /// Judges a manifest that is being pushed.
    pub(super) async fn validate(
        &self,
        repository: &RepositoryName,
        manifest: &Manifest,
    ) -> Result<Vec<Notice>, Error> {
        let rules = &self.settings.validation;
        // An index has no class.
        if let Some(config) = manifest.config.as_ref().filter(|_| !rules.classes.is_empty()) {
            let class = class(config);
            if !class.is_some_and(|class| rules.classes.iter().any(|allowed| allowed == class)) {
                return Err(Error::ManifestClass {
                    config: config.media_type.clone(),
                    class,
                });
            }
        }
        if rules.references == References::Unchecked {
            return Ok(Vec::new());
        }
        if let Some((content, url)) = misplaced(&rules.urls, manifest) {
            return Err(Error::ManifestUrl {
                layer: content.digest,
                url: url.map(|url| shortened(url, URL_MAX)),
            });
        }
        let missing = self.missing(repository, manifest).await?;
        let (must, may): (Vec<_>, Vec<_>) = missing
            .into_iter()
            .partition(|(must, _)| *must && rules.references == References::Required);
        if !must.is_empty() {
            let more = must.len().saturating_sub(MISSING_MAX);
            let must = must.into_iter().take(MISSING_MAX);
            return Err(Error::ManifestReferences {
                missing: must.map(|(_, missing)| missing).collect(),
                more,
            });
        }
        let mut notices: Vec<Notice> = may
            .into_iter()
            .map(|(_, missing)| Notice::Missing(missing))
            .collect();
        if manifest.layers.iter().any(Descriptor::is_nondistributable) {
            notices.push(Notice::Nondistributable);
        }
        Ok(notices)
    }

    /// What a manifest names and its repository does not have, and whether it must, in the order of the document. Each
    /// digest is looked up once. What was not looked up, because enough is missing by then, counts as missing.
    async fn missing(
        &self,
        repository: &RepositoryName,
        manifest: &Manifest,
    ) -> Result<Vec<(bool, MissingReference)>, Error> {
        let rules = &self.settings.validation;
        let blobs: Vec<(Digest, u64)> = manifest
            .config
            .iter()
            .chain(manifest.layers.iter().filter(|layer| !lies_elsewhere(layer)))
            .map(|blob| (blob.digest, blob.size.unwrap_or(0)))
            .collect();
        let children: Vec<(bool, Digest, u64)> = manifest
            .manifests
            .iter()
            .map(|child| {
                (
                    rules.children.must_be_there(child),
                    child.digest,
                    child.size.unwrap_or(0),
                )
            })
            .collect();
        let refuses = rules.references == References::Required;
        let mut looks = Lookups::of(&blobs);
        while let Some(batch) = looks.batch() {
            let digests: Vec<Digest> = batch.iter().map(|(digest, _)| *digest).collect();
            let blob = self.linked_blobs(repository, &digests).await?;
            let mut there = Vec::with_capacity(batch.len());
            for ((digest, said), blob) in batch.iter().zip(blob) {
                there.push(self.has_declared_size(*digest, *said, blob).await?);
            }
            looks.note(batch.into_iter().zip(there), |_| refuses);
        }
        let mut missing: Vec<_> = blobs
            .into_iter()
            .filter(|blob| !looks.is_there(blob))
            .map(|(digest, _)| (true, MissingReference::Blob(digest)))
            .collect();
        let mut looks = Lookups::of(&children);
        while let Some(batch) = looks.batch() {
            let there: Vec<bool> = stream::iter(batch.clone())
                .map(async |(_, digest, said)| {
                    let blob = self.linked_child(repository, &digest).await?;
                    self.has_declared_size(digest, said, blob).await
                })
                .buffered(LOOKUPS)
                .try_collect()
                .await?;
            looks.note(batch.into_iter().zip(there), |(must, ..)| refuses && *must);
        }
        let lacking = children.into_iter().filter(|child| !looks.is_there(child));
        missing.extend(lacking.map(|(must, digest, _)| (must, MissingReference::Manifest(digest))));
        Ok(missing)
    }

    /// What a repository has of what an index lists: a manifest, or a blob, because caches of builds list those.
    async fn linked_child(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<Option<BlobDescriptor>, Error> {
        match self.linked_manifest(repository, digest).await? {
            Some(blob) => Ok(Some(blob)),
            None => self.linked_blob(repository, digest).await,
        }
    }
}

/// Each of some things once, to be looked up in batches until enough of those that must be there are not.
struct Lookups<T> {
    there: HashMap<T, bool>,
    /// What is still to be looked up.
    pending: std::vec::IntoIter<T>,
    missing: usize,
}

impl<T: Copy + Eq + Hash> Lookups<T> {
    fn of(wanted: &[T]) -> Self {
        let mut there = HashMap::with_capacity(wanted.len());
        let once = wanted.iter().copied();
        let once: Vec<T> = once.filter(|one| there.insert(*one, false).is_none()).collect();
        Self {
            there,
            pending: once.into_iter(),
            missing: 0,
        }
    }

    /// What is to be looked up next, until nothing is, or enough is missing.
    fn batch(&mut self) -> Option<Vec<T>> {
        if self.missing > MISSING_MAX {
            return None;
        }
        let batch: Vec<T> = self.pending.by_ref().take(BATCH).collect();
        (!batch.is_empty()).then_some(batch)
    }

    /// What a batch gave; what is missing counts if it `must` be there.
    fn note(&mut self, found: impl Iterator<Item = (T, bool)>, must: impl Fn(&T) -> bool) {
        for (one, is_there) in found {
            self.there.insert(one, is_there);
            self.missing += usize::from(!is_there && must(&one));
        }
    }

    /// Whether something was found.
    fn is_there(&self, one: &T) -> bool {
        self.there.get(one).copied().unwrap_or(false)
    }
}

/// Whether a layer need not be in the registry.
pub(super) fn lies_elsewhere(layer: &Descriptor) -> bool {
    layer.is_nondistributable() && !layer.urls.is_empty()
}

/// The first content that lies where content may not lie, with the URL that says so, or nowhere.
fn misplaced<'a>(urls: &Urls, manifest: &'a Manifest) -> Option<(&'a Descriptor, Option<&'a String>)> {
    let mut described = manifest.references().chain(&manifest.subject);
    described.find_map(|content| {
        // Docker never pushes the bytes of a foreign layer: without a URL nobody could ever get it.
        if content.urls.is_empty() && content.media_type == Some(MediaType::DOCKER_FOREIGN_LAYER) {
            return Some((content, None));
        }
        let url = content.urls.iter().find(|url| !urls.allows(url))?;
        Some((content, Some(url)))
    })
}

/// The class of an image manifest, told by its config.
fn class(config: &Descriptor) -> Option<&'static str> {
    let media_type = config.media_type.as_ref()?;
    if [MediaType::OCI_CONFIG, MediaType::DOCKER_CONFIG].contains(media_type) {
        Some("image")
    } else if *media_type == MediaType::DOCKER_PLUGIN_CONFIG {
        Some("plugin")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_allowed_by_scheme_and_by_both_lists() {
        let list = |patterns: &[&str]| patterns.iter().map(ToString::to_string).collect::<Vec<_>>();
        let none = Urls::new(&[], &[]).unwrap();
        let any = Urls::new(&[], &list(&["^$"])).unwrap();
        let some = Urls::new(
            &list(&["^https://a\\.example/", "b\\.example"]),
            &list(&["/secret/"]),
        )
        .unwrap();
        for (url, by_any, by_some) in [
            ("https://a.example/x", true, true),
            ("HTTPS://b.example/x", true, true),
            ("http://c.example/x", true, false),
            ("https://a.example/secret/x", true, false),
            ("https://a.example/x#y", false, false),
            ("https://a.example/x\n", false, false),
            ("ftp://a.example/x", false, false),
            ("//a.example/x", false, false),
            ("", false, false),
            ("höttps://", false, false),
        ] {
            assert_eq!((any.allows(url), some.allows(url)), (by_any, by_some), "{url}");
            assert!(!none.allows(url) && !Urls::default().allows(url), "{url}");
        }
    }

    #[test]
    fn only_children_for_a_listed_platform_must_be_there() {
        let child = |platform: &str| -> Descriptor {
            let text = format!(
                r#"{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{}","size":1{platform}}}"#,
                Digest::sha256(b"child")
            );
            serde_json::from_str(&text).unwrap()
        };
        let listed = Children::Of(vec![Platform {
            architecture: "amd64".to_owned(),
            os: "linux".to_owned(),
        }]);
        for (platform, expected) in [
            ("", false),
            (
                r#","platform":{"architecture":"amd64","os":"linux","variant":"v3"}"#,
                true,
            ),
            (r#","platform":{"architecture":"arm64","os":"linux"}"#, false),
            (r#","platform":{"architecture":"amd64","os":"windows"}"#, false),
        ] {
            let child = child(platform);
            assert_eq!(listed.must_be_there(&child), expected, "{platform}");
            assert!(Children::All.must_be_there(&child));
            assert!(!Children::None.must_be_there(&child));
        }
    }
}
