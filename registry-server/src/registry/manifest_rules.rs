//! The rules that a pushed manifest must fulfil beyond its shape (`validation` and `policy` of distribution's
//! configuration), as far as the document alone tells.

use regex::RegexSet;
use registry_oci::{Descriptor, Digest, Manifest, MediaType};

/// The rules for pushed manifests.
#[derive(Debug, Clone, Default)]
pub struct Validation {
    /// Whether the content that a manifest refers to must exist (`validation.disabled`,
    /// `validation.manifests.references`).
    pub references: ReferencePolicy,
    /// The URLs that layers outside the registry may have (`validation.manifests.urls`).
    pub urls: Urls,
    /// Which children of an index must exist (`validation.manifests.indexes`).
    pub children: IndexChildren,
    /// The classes of manifests that repositories may hold (`policy.repository.classes`); any class when empty.
    pub classes: Vec<String>,
}

/// The content to which a pushed manifest may refer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ReferencePolicy {
    /// Only content that its repository has.
    #[default]
    Required,
    /// Anything; the answer names what is missing.
    Any,
    /// Anything; nothing is looked up.
    Unchecked,
}

/// Which children of an index must exist.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum IndexChildren {
    /// Every one.
    #[default]
    All,
    /// Those for one of these platforms.
    Of(Vec<Platform>),
    /// None.
    None,
}

/// The platform of an image, in Go's names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Platform {
    /// `amd64`
    pub architecture: String,
    /// `linux`
    pub os: String,
}

impl IndexChildren {
    pub(super) fn is_required(&self, child: &Descriptor) -> bool {
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

/// The URLs that content outside the registry may have: none, unless there is a list. A URL is always `http` or `https`
/// and has no fragment.
///
/// Clients fetch from the URLs of a descriptor before they ask the registry, whatever the content is. So a URL that a
/// pusher chooses is a request that every puller makes.
#[derive(Debug, Clone, Default)]
pub struct Urls {
    allow: Option<RegexSet>,
    deny: Option<RegexSet>,
}

impl Urls {
    /// A URL must match one of `allow`, unless that list is empty, and none of `deny`. Without either list no URL is
    /// allowed, as in distribution.
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

/// A warning about a manifest that was accepted (OCI distribution 1.1, "Warnings").
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// It refers to content that its repository does not have and that a pull needs.
    Missing(MissingReference),
    /// It has layers of a type that the image specification has deprecated.
    Nondistributable,
}

/// Content that a manifest refers to and its repository does not have.
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

/// Whether a layer may be outside the registry.
pub(super) fn is_outside_registry(layer: &Descriptor) -> bool {
    layer.is_nondistributable() && !layer.urls.is_empty()
}

/// The first descriptor with a URL that is not allowed, and that URL; or the first that needs a URL and has none.
pub(super) fn misplaced<'a>(
    urls: &Urls,
    manifest: &'a Manifest,
) -> Option<(&'a Descriptor, Option<&'a String>)> {
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

/// The class of an image manifest, by the type of its config.
pub(super) fn class(config: &Descriptor) -> Option<&'static str> {
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
    fn only_children_for_a_listed_platform_are_required() {
        let child = |platform: &str| -> Descriptor {
            let text = format!(
                r#"{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{}","size":1{platform}}}"#,
                Digest::sha256(b"child")
            );
            serde_json::from_str(&text).unwrap()
        };
        let listed = IndexChildren::Of(vec![Platform {
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
            assert_eq!(listed.is_required(&child), expected, "{platform}");
            assert!(IndexChildren::All.is_required(&child));
            assert!(!IndexChildren::None.is_required(&child));
        }
    }
}
