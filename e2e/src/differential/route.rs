//! The class of a request: its method, and the route of its path.

use super::request::Request;

/// The class of a request, for example `GET /v2/<name>/tags/list`. A path below `/v2/` that is no route has a class
/// too, and so has a target that is no path.
pub(super) fn class(request: &Request) -> String {
    let printable =
        request.method.bytes().all(|byte| byte.is_ascii_alphanumeric()) && !request.method.is_empty();
    let method = if printable { request.method.as_str() } else { "?" };
    format!("{method} {}", route(&request.target))
}

fn route(target: &str) -> &'static str {
    let slot = ["{up", "{first", "{other", "{elsewhere"]
        .iter()
        .any(|slot| target.starts_with(slot));
    if slot {
        return "/v2/<name>/blobs/uploads/<id>";
    }
    match Parts::of(target).route {
        Some(route) => route,
        None => "elsewhere",
    }
}

/// The parts of a path that an answer may repeat.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Parts<'a> {
    route: Option<&'static str>,
    /// The repository.
    pub(super) name: Option<&'a str>,
    /// The last part of the path: a tag or a digest.
    pub(super) last: Option<&'a str>,
}

impl<'a> Parts<'a> {
    pub(super) fn of(target: &'a str) -> Self {
        let path = target.split('?').next().unwrap_or_default();
        // In absolute form, scheme and host are not part of the path.
        let path = match path.split_once("://") {
            Some((_, rest)) => rest.find('/').map_or("", |at| &rest[at..]),
            None => path,
        };
        let found = |route, name, last| Self {
            route: Some(route),
            name,
            last,
        };
        if path == "/" {
            return found("/", None, None);
        }
        // The prefix that one series configures.
        let path = path.strip_prefix("/in/front").unwrap_or(path);
        let Some(rest) = path.strip_prefix("/v2") else {
            return Self::default();
        };
        match rest {
            "" | "/" => return found("/v2/", None, None),
            "/_catalog" => return found("/v2/_catalog", None, None),
            _ => {}
        }
        let below = found("/v2/ and no route", None, None);
        let Some((front, last)) = rest.rsplit_once('/') else {
            return below;
        };
        if let Some(name) = front.strip_suffix("/blobs/uploads") {
            let name = name.strip_prefix('/');
            return match last {
                "" => found("/v2/<name>/blobs/uploads/", name, None),
                _ => found("/v2/<name>/blobs/uploads/<id>", name, Some(last)),
            };
        }
        let Some((name, word)) = front.rsplit_once('/') else {
            return below;
        };
        let name = name.strip_prefix('/');
        match word {
            "tags" if last == "list" => found("/v2/<name>/tags/list", name, None),
            "blobs" if last == "uploads" => found("/v2/<name>/blobs/uploads", name, None),
            "blobs" => found("/v2/<name>/blobs/<digest>", name, Some(last)),
            "referrers" => found("/v2/<name>/referrers/<digest>", name, Some(last)),
            "manifests" if last.contains(':') => found("/v2/<name>/manifests/<digest>", name, Some(last)),
            "manifests" => found("/v2/<name>/manifests/<tag>", name, Some(last)),
            _ => below,
        }
    }
}
