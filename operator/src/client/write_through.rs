//! The operator's own writes go into the cache with the API server's answer.
//!
//! Guarantees: from the moment a write is sent the cache does not vouch for its object; it does again when the answer or
//! an event tells of it. A write without an answer, or one that was refused, leaves the object to be asked for. So no
//! writer has to think of the cache, and none can forget it. Start at [`announce`].

use http::{Method, Request, Response};
use http_body_util::BodyExt as _;
use kube::client::Body;
use kube::core::DynamicObject;

use super::limited_body::{Failure, LimitedBody};
use crate::cache::{Cache, Kind, Ticket};

/// Tells the cache that this request will write an object, if it will. Gives the request back.
pub(super) async fn announce(
    cache: &Cache,
    request: Request<Body>,
) -> Result<(Request<Body>, Option<Ticket>), Failure> {
    let writes = matches!(
        *request.method(),
        Method::POST | Method::PUT | Method::PATCH | Method::DELETE
    );
    let dry_run = request
        .uri()
        .query()
        .is_some_and(|query| query.contains("dryRun="));
    let Some(path) = ObjectPath::parse(request.uri().path()).filter(|_| writes && !dry_run) else {
        return Ok((request, None));
    };
    if let Some(name) = &path.name {
        let ticket = cache.writing(path.kind, &path.namespace, name);
        return Ok((request, Some(ticket)));
    }
    // The name of a new object is in the object.
    let (head, body) = request.into_parts();
    let bytes = body.collect().await?.to_bytes();
    let object = serde_json::from_slice::<DynamicObject>(&bytes).ok();
    let name = object.and_then(|object| object.metadata.name);
    let ticket = name.map(|name| cache.writing(path.kind, &path.namespace, &name));
    Ok((Request::from_parts(head, Body::from(bytes)), ticket))
}

/// Puts the object of a successful answer into the cache. Gives the answer back.
pub(super) async fn settle(
    cache: &Cache,
    ticket: Ticket,
    deleted: bool,
    answer: Response<LimitedBody>,
) -> Result<Response<LimitedBody>, Failure> {
    // After a deletion the object may still be there for a while. The watch tells when it is gone.
    if deleted || !answer.status().is_success() {
        return Ok(answer);
    }
    let (head, body) = answer.into_parts();
    let bytes = body.collect().await?.to_bytes();
    if let Ok(object) = serde_json::from_slice::<DynamicObject>(&bytes)
        && object.types.as_ref().is_some_and(|types| is_whole(&types.kind))
    {
        cache.written(ticket, &object);
    }
    let body = LimitedBody::whole(bytes);
    Ok(Response::from_parts(head, body))
}

/// Whether an answer of this kind is an object with all its fields.
fn is_whole(kind: &str) -> bool {
    !matches!(kind, "Status" | "PartialObjectMetadata" | "Scale")
}

/// The object that a path names.
#[derive(Debug, Eq, PartialEq)]
struct ObjectPath {
    kind: Kind,
    namespace: String,
    /// `None` in the path to which new objects are sent.
    name: Option<String>,
}

impl ObjectPath {
    /// Reads the paths of objects in namespaces, and of their status.
    fn parse(path: &str) -> Option<Self> {
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        let (group, rest) = match parts.as_slice() {
            ["api", _version, rest @ ..] => ("", rest),
            ["apis", group, _version, rest @ ..] => (*group, rest),
            _ => return None,
        };
        let (namespace, plural, name) = match rest {
            ["namespaces", namespace, plural] => (namespace, plural, None),
            ["namespaces", namespace, plural, name] | ["namespaces", namespace, plural, name, "status"] => {
                (namespace, plural, Some((*name).to_owned()))
            }
            _ => return None,
        };
        Some(Self {
            kind: Kind {
                group: group.to_owned(),
                plural: (*plural).to_owned(),
            },
            namespace: (*namespace).to_owned(),
            name,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_name_objects() {
        let path = |group: &str, plural: &str, name: Option<&str>| {
            Some(ObjectPath {
                kind: Kind {
                    group: group.to_owned(),
                    plural: plural.to_owned(),
                },
                namespace: "quay".to_owned(),
                name: name.map(str::to_owned),
            })
        };
        for (text, expected) in [
            (
                "/api/v1/namespaces/quay/secrets/users",
                path("", "secrets", Some("users")),
            ),
            ("/api/v1/namespaces/quay/secrets", path("", "secrets", None)),
            (
                "/apis/apps/v1/namespaces/quay/deployments/harbour",
                path("apps", "deployments", Some("harbour")),
            ),
            (
                "/apis/berth.dev/v1alpha1/namespaces/quay/registries/harbour/status",
                path("berth.dev", "registries", Some("harbour")),
            ),
            (
                "/apis/berth.dev/v1alpha1/namespaces/quay/registries/harbour/scale",
                None,
            ),
            ("/api/v1/nodes/n", None),
            ("/readyz", None),
        ] {
            assert_eq!(ObjectPath::parse(text), expected, "{text}");
        }
    }
}
