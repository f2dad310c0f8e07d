//! One request to the API server, by what it does.

use http::{Method, Request};

/// The verb as the API server's audit log names it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Verb {
    Get,
    List,
    Watch,
    Create,
    Update,
    Patch,
    Delete,
}

/// One request.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) verb: Verb,
    /// Plural, such as `deployments`; empty for a request about no object.
    pub(crate) resource: String,
    /// The object's name; empty for many objects.
    pub(crate) name: String,
    /// `status` for example; empty for the object itself.
    pub(crate) subresource: String,
    /// Its place among the requests of this relay, from 1 on.
    pub(crate) number: usize,
    /// Its place among the writes of this relay, from 1 on; 0 for a read and for a Lease.
    pub(crate) write: usize,
}

impl Call {
    pub(crate) fn of<B>(request: &Request<B>) -> Self {
        let path: Vec<&str> = request.uri().path().split('/').skip(1).collect();
        let rest = match path.as_slice() {
            ["api", _, rest @ ..] | ["apis", _, _, rest @ ..] => rest,
            _ => &[],
        };
        let rest = match rest {
            ["namespaces", _, rest @ ..] if !rest.is_empty() => rest,
            rest => rest,
        };
        let part = |at: usize| rest.get(at).copied().unwrap_or_default().to_owned();
        let query = request.uri().query().unwrap_or_default();
        let watches = query
            .split('&')
            .any(|pair| pair == "watch=true" || pair == "watch=1");
        Self {
            verb: match *request.method() {
                Method::POST => Verb::Create,
                Method::PUT => Verb::Update,
                Method::PATCH => Verb::Patch,
                Method::DELETE => Verb::Delete,
                _ if watches => Verb::Watch,
                _ if rest.len() < 2 => Verb::List,
                _ => Verb::Get,
            },
            resource: part(0),
            name: part(1),
            subresource: part(2),
            number: 0,
            write: 0,
        }
    }

    /// Whether it gets or lists.
    pub(crate) fn is_read(&self) -> bool {
        matches!(self.verb, Verb::Get | Verb::List)
    }

    /// Whether it may change something. Renewals of Leases are not meant: they go on for ever.
    pub(crate) fn is_write(&self) -> bool {
        !self.is_read() && self.verb != Verb::Watch && self.resource != "leases"
    }
}

#[test]
fn a_request_is_known_by_its_path() {
    let call = |method: &str, uri: &str| {
        let request = Request::builder().method(method).uri(uri).body(()).unwrap();
        let Call {
            verb,
            resource,
            name,
            subresource,
            ..
        } = Call::of(&request);
        (verb, format!("{resource} {name} {subresource}"))
    };
    for (method, uri, expected) in [
        (
            "GET",
            "/api/v1/namespaces/quay/secrets/a?x=y",
            (Verb::Get, "secrets a "),
        ),
        (
            "GET",
            "/api/v1/namespaces/quay/secrets",
            (Verb::List, "secrets  "),
        ),
        (
            "GET",
            "/api/v1/secrets?watch=true&labelSelector=a",
            (Verb::Watch, "secrets  "),
        ),
        ("GET", "/api/v1/namespaces/quay", (Verb::Get, "namespaces quay ")),
        (
            "PATCH",
            "/apis/berth.dev/v1alpha1/namespaces/quay/registries/a/status?force=true",
            (Verb::Patch, "registries a status"),
        ),
        (
            "POST",
            "/apis/apps/v1/namespaces/quay/deployments",
            (Verb::Create, "deployments  "),
        ),
        ("GET", "/version", (Verb::List, "  ")),
    ] {
        let (verb, names) = call(method, uri);
        assert_eq!((verb, names.as_str()), expected, "{method} {uri}");
    }
}
