//! A layer of the client that counts requests to the API server by verb and resource. Start at [`RequestLayer`].

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use http::{Method, Request, Response};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use tower::{Layer, Service};

/// Bounds of the durations of requests, in seconds.
const BUCKETS: [f64; 9] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 15.0];

type ByVerb = Family<VerbLabels, Histogram, fn() -> Histogram>;

#[derive(Clone)]
pub(super) struct Requests {
    count: Family<RequestLabels, Counter>,
    duration: ByVerb,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct RequestLabels {
    verb: &'static str,
    resource: String,
    code: String,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct VerbLabels {
    verb: &'static str,
}

impl Requests {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let requests = Self {
            count: Family::default(),
            duration: Family::new_with_constructor(|| Histogram::new(BUCKETS)),
        };
        registry.register(
            "berth_operator_api_requests",
            "Requests to the API server, by verb, resource and status code; `none` for a request without an answer",
            requests.count.clone(),
        );
        registry.register(
            "berth_operator_api_request_duration_seconds",
            "Time until the API server began to answer, by verb",
            requests.duration.clone(),
        );
        requests
    }

    pub(super) fn layer(&self) -> RequestLayer {
        RequestLayer(self.clone())
    }

    fn ended(&self, request: Described, code: Option<u16>, began: Instant) {
        let Described { verb, resource } = request;
        let duration = began.elapsed().as_secs_f64();
        self.duration
            .get_or_create(&VerbLabels { verb })
            .observe(duration);
        let code = code.map_or_else(|| "none".to_owned(), |code| code.to_string());
        self.count
            .get_or_create(&RequestLabels { verb, resource, code })
            .inc();
    }
}

/// A request in the words of RBAC.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Described {
    verb: &'static str,
    /// Resource and subresource, such as `registries/status`; `none` outside of the resources.
    resource: String,
}

impl Described {
    fn of<B>(request: &Request<B>) -> Self {
        let segments: Vec<_> = request.uri().path().trim_matches('/').split('/').collect();
        let after_version = match segments.as_slice() {
            ["api", _, rest @ ..] | ["apis", _, _, rest @ ..] => rest,
            _ => &[],
        };
        let in_namespace = match after_version {
            ["namespaces", _, rest @ ..] if !rest.is_empty() => rest,
            rest => rest,
        };
        let (resource, named) = match in_namespace {
            [] => ("none".to_owned(), true),
            [resource] => ((*resource).to_owned(), false),
            [resource, _] => ((*resource).to_owned(), true),
            [resource, _, subresource, ..] => (format!("{resource}/{subresource}"), true),
        };
        let query = request.uri().query().unwrap_or_default();
        let watch = query
            .split('&')
            .any(|pair| pair == "watch=true" || pair == "watch=1");
        let verb = match *request.method() {
            Method::GET if watch => "watch",
            Method::GET if named => "get",
            Method::GET => "list",
            Method::POST => "create",
            Method::PUT => "update",
            Method::PATCH => "patch",
            Method::DELETE if named => "delete",
            Method::DELETE => "deletecollection",
            _ => "other",
        };
        Self { verb, resource }
    }
}

/// Counts a client's requests.
#[derive(Clone)]
pub struct RequestLayer(Requests);

impl<S> Layer<S> for RequestLayer {
    type Service = Counted<S>;

    fn layer(&self, inner: S) -> Counted<S> {
        Counted {
            inner,
            requests: self.0.clone(),
        }
    }
}

/// A client whose requests are counted.
#[derive(Clone)]
pub struct Counted<S> {
    inner: S,
    requests: Requests,
}

impl<S, B, R> Service<Request<B>> for Counted<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Future: Send + 'static,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<R>, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (described, requests) = (Described::of(&request), self.requests.clone());
        let began = Instant::now();
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await;
            let code = answer.as_ref().ok().map(|answer| answer.status().as_u16());
            requests.ended(described, code, began);
            answer
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(method: &str, uri: &str, verb: &str, resource: &str) {
        let request = Request::builder().method(method).uri(uri).body(()).unwrap();
        let Described {
            verb: got,
            resource: of,
        } = Described::of(&request);
        assert_eq!((got, of.as_str()), (verb, resource), "{method} {uri}");
    }

    #[test]
    fn requests_are_described_in_the_words_of_roles_and_without_names() {
        let registries = "/apis/berth.dev/v1alpha1/namespaces/quay/registries";
        check(
            "GET",
            "/apis/berth.dev/v1alpha1/registries?limit=1",
            "list",
            "registries",
        );
        check(
            "GET",
            "/api/v1/secrets?watch=true&allowWatchBookmarks=true",
            "watch",
            "secrets",
        );
        check("GET", registries, "list", "registries");
        check("GET", &format!("{registries}/harbour"), "get", "registries");
        check(
            "PATCH",
            &format!("{registries}/harbour/status?force=true"),
            "patch",
            "registries/status",
        );
        check("POST", "/api/v1/namespaces/quay/secrets", "create", "secrets");
        check(
            "DELETE",
            "/api/v1/namespaces/quay/secrets/harbour-tls",
            "delete",
            "secrets",
        );
        check("GET", "/api/v1/namespaces/quay", "get", "namespaces");
        check(
            "GET",
            "/apis/storage.k8s.io/v1/storageclasses/fast",
            "get",
            "storageclasses",
        );
        check("GET", "/readyz", "get", "none");
    }
}
