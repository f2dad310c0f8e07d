//! The images that packages install.

use std::fmt;
use std::str::FromStr;

use anyhow::{Error, Result, ensure};

/// The operator's image, and the server's for Registries that name none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Images {
    /// The operator's.
    pub operator: Image,
    /// The server's.
    pub registry: Image,
}

/// `repository@digest` or `repository:tag`. There is no default tag, because a package must not change by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// With the registry's host, if there is one.
    pub repository: String,
    /// The tag, when there is no digest.
    pub tag: Option<String>,
    /// `sha256:…`.
    pub digest: Option<String>,
}

impl FromStr for Image {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if let Some((name, digest)) = text.split_once('@') {
            let hex = digest.strip_prefix("sha256:").unwrap_or_default();
            ensure!(
                hex.len() == 64 && hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')),
                "`{text}`: the digest must be sha256: and 64 lower-case hexadecimal digits"
            );
            // A tag beside a digest says nothing.
            let repository = split_tag(name).map_or(name, |(repository, _)| repository);
            ensure!(!repository.is_empty(), "`{text}` has no repository");
            return Ok(Self {
                repository: repository.to_owned(),
                tag: None,
                digest: Some(digest.to_owned()),
            });
        }
        let parts = split_tag(text).filter(|(repository, tag)| !repository.is_empty() && !tag.is_empty());
        let Some((repository, tag)) = parts else {
            anyhow::bail!("`{text}` must be repository@sha256:… or repository:tag");
        };
        Ok(Self {
            repository: repository.to_owned(),
            tag: Some(tag.to_owned()),
            digest: None,
        })
    }
}

/// The colon of a port comes before a slash.
fn split_tag(name: &str) -> Option<(&str, &str)> {
    name.rsplit_once(':').filter(|(_, tag)| !tag.contains('/'))
}

impl fmt::Display for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.repository)?;
        match (&self.digest, &self.tag) {
            (Some(digest), _) => write!(f, "@{digest}"),
            (None, Some(tag)) => write!(f, ":{tag}"),
            (None, None) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Result<&str, &str>) {
        let got = text
            .parse::<Image>()
            .map(|image| image.to_string())
            .map_err(|error| error.to_string());
        match (expected, got) {
            (Ok(expected), Ok(got)) => assert_eq!(got, expected, "{text}"),
            (Err(expected), Err(got)) => assert!(got.contains(expected), "{text}: {got}"),
            (expected, got) => panic!("{text}\nexpected: {expected:?}\ngot: {got:?}"),
        }
    }

    #[test]
    fn an_image_is_named_by_digest_or_tag_and_never_by_neither() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let full = format!("localhost:5000/berth/operator@{digest}");
        check(&full, Ok(&full));
        check(&format!("localhost:5000/berth/operator:1@{digest}"), Ok(&full));
        check(
            "localhost:5000/berth/operator:1.2",
            Ok("localhost:5000/berth/operator:1.2"),
        );
        check("localhost:5000/berth/operator", Err("repository@sha256:"));
        check("operator:", Err("repository@sha256:"));
        check("operator@sha256:abc", Err("64 lower-case"));
        check(&format!("@{digest}"), Err("no repository"));
    }
}
