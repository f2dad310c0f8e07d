//! The routes: what each path names.
//!
//! Paths are split from the right, because the name of a repository may contain slashes and words such as `blobs`,
//! `uploads`, `manifests` and `tags`.

/// The meaning of a path. Its parts are not parsed yet, because the error for an invalid one depends on the method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Route<'a> {
    /// `/`, for probes of load balancers.
    Root,
    /// `/v2/` ("Determining Support", OCI distribution 1.1).
    Base,
    /// `/v2/_catalog` (distribution).
    Catalog,
    /// `/v2/<name>/blobs/<digest>`
    Blob { name: &'a str, digest: &'a str },
    /// `/v2/<name>/blobs/uploads/`
    Uploads { name: &'a str },
    /// `/v2/<name>/blobs/uploads/<id>`
    Upload { name: &'a str, id: &'a str },
    /// `/v2/<name>/manifests/<reference>`
    Manifest { name: &'a str, reference: &'a str },
    /// `/v2/<name>/tags/list`
    Tags { name: &'a str },
    /// `/v2/<name>/referrers/<digest>`
    Referrers { name: &'a str, digest: &'a str },
    /// Any other path below `/v2/`.
    UnknownApi,
    /// Any other path.
    Unknown,
}

impl<'a> Route<'a> {
    /// Parses a decoded path without the configured prefix. It begins with `/`.
    pub(super) fn parse(path: &'a str) -> Self {
        if path == "/" {
            return Self::Root;
        }
        let api = match path.strip_prefix("/v2") {
            Some("" | "/") => return Self::Base,
            Some(rest) => match rest.strip_prefix('/') {
                Some(rest) => rest,
                None => return Self::Unknown,
            },
            None => return Self::Unknown,
        };
        if api.trim_end_matches('/') == "_catalog" {
            return Self::Catalog;
        }
        Self::of_repository(api).unwrap_or(Self::UnknownApi)
    }

    fn of_repository(api: &'a str) -> Option<Self> {
        let (rest, last) = api.rsplit_once('/')?;
        // Before the last part stand the words of the route, and before these a name.
        if let Some(name) = rest.strip_suffix("/blobs/uploads") {
            return Some(if last.is_empty() {
                Self::Uploads { name }
            } else {
                Self::Upload { name, id: last }
            });
        }
        if last.is_empty() {
            return None;
        }
        let (name, keyword) = rest.rsplit_once('/')?;
        match keyword {
            "manifests" => Some(Self::Manifest {
                name,
                reference: last,
            }),
            "blobs" if last == "uploads" => Some(Self::Uploads { name }),
            "blobs" => Some(Self::Blob { name, digest: last }),
            "referrers" => Some(Self::Referrers { name, digest: last }),
            "tags" if last == "list" => Some(Self::Tags { name }),
            _ => None,
        }
    }

    /// The methods of the route. HEAD is allowed wherever GET is.
    pub(super) fn methods(&self) -> &'static [&'static str] {
        match self {
            Self::Root | Self::Base | Self::Catalog | Self::Tags { .. } | Self::Referrers { .. } => {
                &["GET", "HEAD"]
            }
            Self::Blob { .. } => &["DELETE", "GET", "HEAD"],
            Self::Uploads { .. } => &["POST"],
            Self::Upload { .. } => &["DELETE", "GET", "HEAD", "PATCH", "PUT"],
            Self::Manifest { .. } => &["DELETE", "GET", "HEAD", "PUT"],
            Self::UnknownApi | Self::Unknown => &[],
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_may_hold_slashes_and_the_words_of_routes() {
        for (path, expected) in [
            ("/", Route::Root),
            ("/v2", Route::Base),
            ("/v2/", Route::Base),
            ("/v2/_catalog", Route::Catalog),
            ("/v2/a/tags/list", Route::Tags { name: "a" }),
            ("/v2/a/b/c/tags/list", Route::Tags { name: "a/b/c" }),
            ("/v2/tags/list/tags/list", Route::Tags { name: "tags/list" }),
            (
                "/v2/a/manifests/latest",
                Route::Manifest {
                    name: "a",
                    reference: "latest",
                },
            ),
            (
                "/v2/manifests/manifests/manifests",
                Route::Manifest {
                    name: "manifests",
                    reference: "manifests",
                },
            ),
            (
                "/v2/a/blobs/sha256:x",
                Route::Blob {
                    name: "a",
                    digest: "sha256:x",
                },
            ),
            ("/v2/a/blobs/uploads/", Route::Uploads { name: "a" }),
            ("/v2/a/blobs/uploads", Route::Uploads { name: "a" }),
            ("/v2/a/blobs/uploads/id", Route::Upload { name: "a", id: "id" }),
            (
                "/v2/blobs/uploads/blobs/uploads/id",
                Route::Upload {
                    name: "blobs/uploads",
                    id: "id",
                },
            ),
            (
                "/v2/a/blobs/uploads/blobs/sha256:x",
                Route::Blob {
                    name: "a/blobs/uploads",
                    digest: "sha256:x",
                },
            ),
            (
                "/v2/a/blobs/uploads/manifests/v1",
                Route::Manifest {
                    name: "a/blobs/uploads",
                    reference: "v1",
                },
            ),
            (
                "/v2/a/referrers/sha256:x",
                Route::Referrers {
                    name: "a",
                    digest: "sha256:x",
                },
            ),
            (
                "/v2/../x/manifests/v1",
                Route::Manifest {
                    name: "../x",
                    reference: "v1",
                },
            ),
            ("/v2/blobs/uploads/", Route::UnknownApi),
            ("/v2/tags/list", Route::UnknownApi),
            ("/v2/a", Route::UnknownApi),
            ("/v2/a/other/b", Route::UnknownApi),
            ("/v2/a/manifests/", Route::UnknownApi),
            ("/v2x", Route::Unknown),
            ("/v1/", Route::Unknown),
            ("", Route::Unknown),
        ] {
            assert_eq!(Route::parse(path), expected, "{path}");
        }
    }

    proptest! {
        #[test]
        fn no_mutated_path_panics(path in registry_mutation::mutated_text(&[
            "/v2/", "/v2/_catalog", "/v2/a/b/tags/list", "/v2/a/manifests/latest", "/v2/a/blobs/sha256:ab", "/v2/a/blobs/uploads/x", "/v2/a/referrers/sha256:ab",
        ])) {
            let _ = Route::parse(&path);
        }

        #[test]
        fn no_path_panics(path in "(/|v2|blobs|uploads|manifests|tags|list|a|:){0,12}|\\PC{0,40}") {
            let _ = Route::parse(&path);
        }
    }
}
