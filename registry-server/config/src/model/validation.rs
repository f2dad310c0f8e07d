//! `validation` and `policy`: rules for pushed manifests.

use serde::{Deserialize, Serialize};

use super::unset::unset;

/// `validation`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Validation {
    /// Manifests are checked whatever `disabled` says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// Accepts manifests without checking their references.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disabled: Option<bool>,
    /// Rules for manifests.
    #[serde(skip_serializing_if = "unset")]
    pub manifests: Manifests,
}

impl Validation {
    /// Whether manifests are checked. As in distribution, `enabled` wins over `disabled`.
    pub fn is_on(&self) -> bool {
        self.enabled == Some(true) || self.disabled != Some(true)
    }
}

/// `validation.manifests`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Manifests {
    /// Whether the content that a manifest refers to must exist. A key of Berth, unknown to distribution.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub references: Option<ReferencePolicy>,
    /// Allowed URLs of content outside the registry; none when unset.
    #[serde(skip_serializing_if = "unset")]
    pub urls: Urls,
    /// The images of an index that must exist.
    #[serde(skip_serializing_if = "unset")]
    pub indexes: Indexes,
}

/// `validation.manifests.references`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReferencePolicy {
    /// A manifest that refers to content its repository does not have is refused.
    #[default]
    Required,
    /// Such a manifest is accepted with a warning.
    Any,
}

/// `validation.manifests.urls`: regular expressions.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Urls {
    /// One must match; any will do when only `deny` is set.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<String>,
    /// None may match.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub deny: Vec<String>,
}

/// `validation.manifests.indexes`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Indexes {
    /// `all` when unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platforms: Option<Platforms>,
    /// The platforms of `list`; an empty list means all, as in distribution.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub platformlist: Vec<Platform>,
}

/// `validation.manifests.indexes.platforms`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Platforms {
    /// Every image must be there.
    #[default]
    All,
    /// None must.
    None,
    /// Those for the platforms of `platformlist` must.
    List,
}

/// One of `validation.manifests.indexes.platformlist`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Platform {
    /// The processor architecture under its Go name, `amd64`.
    pub architecture: String,
    /// The operating system under its Go name, `linux`.
    pub os: String,
}

/// `policy`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Policy {
    /// Classes of content that repositories may hold.
    #[serde(skip_serializing_if = "unset")]
    pub repository: RepositoryPolicy,
}

/// `policy.repository`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RepositoryPolicy {
    /// `image`, `plugin`; anything when empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub classes: Vec<String>,
}
