//! The registry as an HTTP service: a request goes in, a response comes out.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use http::header::{
    ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, ORIGIN, RETRY_AFTER, WWW_AUTHENTICATE,
    X_CONTENT_TYPE_OPTIONS,
};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, Version};
use percent_encoding::percent_decode_str;
use registry_oci::RepositoryName;

use super::body_timeout::BodyTimeout;
use super::cors::ConfiguredHeaders;
use super::forwarded::{accountable_address, client_address};
use super::lingering_close::{LingeringClose, RequestHead, UnreadBody};
use super::location::Locations;
use super::metrics::Handler;
use super::peer::Peer;
use super::problem::{Code, Problem};
use super::query::Query;
use super::reply::Reply;
use super::request_context::RequestContext;
use super::required_access::required_access;
use super::route::Route;
use super::{Body, Options, RequestBody, blobs, catalog, framing, manifests, referrers, tags, uploads};
use crate::auth::{Access, Authenticator, Identity, Refusal};
use crate::registry::Registry;

/// The header by which clients recognise a registry, and its value.
const API_VERSION: (HeaderName, HeaderValue) = (
    HeaderName::from_static("docker-distribution-api-version"),
    HeaderValue::from_static("registry/2.0"),
);

/// The service. A clone is another handle of the same service.
#[derive(Debug, Clone)]
pub struct App {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    registry: Registry,
    authenticator: Authenticator,
    options: Options,
    headers: ConfiguredHeaders,
    lingering_close: LingeringClose,
}

impl App {
    /// A service for a registry. The authenticator decides about each request first.
    pub fn new(registry: Registry, authenticator: Authenticator, options: Options) -> Self {
        let lingering_close = LingeringClose::new(Arc::clone(&options.draining));
        Self {
            inner: Arc::new(Inner {
                headers: ConfiguredHeaders::new(&options.headers),
                registry,
                authenticator,
                options,
                lingering_close,
            }),
        }
    }

    /// The handler of a path, as metrics name it.
    pub fn handler(&self, uri: &Uri) -> Option<Handler> {
        let decoded = percent_decode_str(uri.path()).decode_utf8_lossy();
        let (_, path) = split_prefix(&decoded, &self.inner.options.prefix)?;
        Handler::of(&Route::parse(path))
    }

    /// The address of the client: the one that a trusted proxy names, else the peer's. `None` on a unix socket without
    /// a proxy.
    pub fn client_address(&self, headers: &HeaderMap, peer: &Peer) -> Option<IpAddr> {
        client_address(&self.inner.options.trusted_proxies, headers, peer)
    }

    /// Answers one request. The body is read only as far as the response needs it. Dropping the future leaves nothing
    /// half-written, and keeps the bytes of an upload that arrived. The response to an authenticated request carries
    /// the [`Identity`] as an extension, for the access log.
    pub async fn respond<B: RequestBody>(&self, request: Request<B>, peer: Peer) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let (is_head, version) = (parts.method == Method::HEAD, parts.version);
        let request_head = RequestHead::of(&parts);
        let origin = parts.headers.get(ORIGIN).cloned();
        let (body, unread) = UnreadBody::track(BodyTimeout::new(body, self.inner.options.body_timeout));
        let mut response = match framing::refusal(&parts) {
            Some(refusal) => refusal,
            None => {
                let response = self.inner.respond(parts, body, &peer).await;
                response.unwrap_or_else(Response::from)
            }
        };
        self.inner
            .lingering_close
            .finish(&request_head, unread, &mut response)
            .await;
        self.add_headers(origin.as_ref(), response.headers_mut());
        // HTTP/2 has a frame for this.
        if self.inner.options.draining.load(Ordering::Relaxed) && version <= Version::HTTP_11 {
            response
                .headers_mut()
                .insert(CONNECTION, HeaderValue::from_static("close"));
        }
        if is_head {
            response.map(|_| Body::empty())
        } else {
            response
        }
    }

    /// Adds the configured headers to a response to a request from `origin`. For responses that [`App::respond`] did
    /// not make.
    pub fn add_headers(&self, origin: Option<&HeaderValue>, headers: &mut HeaderMap) {
        self.inner.headers.add(origin, headers);
    }

    /// Sends a response that needs nothing of the request, whose body may still be arriving.
    pub async fn refuse<B: RequestBody>(
        &self,
        request: Request<B>,
        mut response: Response<Body>,
    ) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let (body, unread) = UnreadBody::track(body);
        drop(body);
        self.inner
            .lingering_close
            .finish(&RequestHead::of(&parts), unread, &mut response)
            .await;
        self.add_headers(parts.headers.get(ORIGIN), response.headers_mut());
        response
    }
}

impl Inner {
    /// Finds the route. Everything below the prefix carries [`API_VERSION`].
    async fn respond<B: RequestBody>(
        &self,
        parts: Parts,
        body: B,
        peer: &Peer,
    ) -> Result<Response<Body>, Problem> {
        let decoded = percent_decode_str(parts.uri.path()).decode_utf8_lossy();
        // Probes of load balancers do not know the configured prefix.
        if Route::parse(&decoded) == Route::Root {
            return Ok(Reply::new(StatusCode::OK)
                .value(CACHE_CONTROL, HeaderValue::from_static("no-cache"))
                .finish());
        }
        let response = match split_prefix(&decoded, &self.options.prefix) {
            Some((prefix, path)) => match Route::parse(path) {
                Route::Root | Route::Unknown | Route::UnknownApi => Ok(not_found()),
                route => self.api(&parts, body, peer, prefix, route).await,
            },
            None => Ok(not_found()),
        };
        let mut response = response.unwrap_or_else(Response::from);
        let (name, value) = API_VERSION;
        response.headers_mut().insert(name, value);
        Ok(response)
    }

    /// Authorizes a request of the API and hands it to its handler.
    async fn api<B: RequestBody>(
        &self,
        parts: &Parts,
        body: B,
        peer: &Peer,
        prefix: &str,
        route: Route<'_>,
    ) -> Result<Response<Body>, Problem> {
        // Browsers send no login with a preflight. The request that follows it needs one.
        if self.headers.is_preflight(parts) {
            return Ok(Reply::new(StatusCode::OK).finish());
        }
        let query = Query::parse(parts.uri.query());
        let name = name_of(&route)?;
        let access = required_access(&route, name.as_ref(), &parts.method, &query);
        let identity = self.authorize(parts, peer, &access).await?;
        let locations = Locations::of(&self.options, &parts.headers, &parts.uri, peer, prefix);
        let context = RequestContext {
            registry: &self.registry,
            options: &self.options,
            method: &parts.method,
            headers: &parts.headers,
            path: parts.uri.path(),
            query: &query,
            locations: &locations,
        };
        let response = dispatch(&context, route, name, body).await;
        let mut response = response.unwrap_or_else(Response::from);
        response.extensions_mut().insert(identity);
        Ok(response)
    }

    async fn authorize(&self, parts: &Parts, peer: &Peer, access: &[Access]) -> Result<Identity, Problem> {
        let client = accountable_address(&self.options.trusted_proxies, &parts.headers, peer);
        let authorized = self.authenticator.authorize(&parts.headers, access, client).await;
        authorized.map_err(|refusal| match refusal {
            Refusal::Challenge { www_authenticate } => {
                Problem::unauthorized(access).header(WWW_AUTHENTICATE, www_authenticate)
            }
            Refusal::TooMany { retry_after } => {
                Problem::new(Code::TooManyRequests).header(RETRY_AFTER, retry_after.as_secs().max(1))
            }
            Refusal::Unavailable => Problem::unavailable(Some(Duration::from_secs(1))),
        })
    }
}

/// Calls the handler of a route. The client is authorized: a client that is not must not learn which methods there are.
async fn dispatch<B: RequestBody>(
    context: &RequestContext<'_>,
    route: Route<'_>,
    name: Option<RepositoryName>,
    body: B,
) -> Result<Response<Body>, Problem> {
    if let Some(response) = response_by_method(context.options, &route, context.method) {
        return response;
    }
    match (route, name) {
        (Route::Base, _) => Ok(Reply::with_body(StatusCode::OK, Body::whole("{}"))
            .value(CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .finish()),
        (Route::Catalog, _) => catalog::respond(context).await,
        (Route::Blob { digest, .. }, Some(name)) => blobs::respond(context, &name, digest).await,
        (Route::Uploads { .. }, Some(name)) => uploads::start(context, &name, body).await,
        (Route::Upload { id, .. }, Some(name)) => uploads::respond(context, &name, id, body).await,
        (Route::Manifest { reference, .. }, Some(name)) => {
            manifests::respond(context, &name, reference, body).await
        }
        (Route::Tags { .. }, Some(name)) => tags::respond(context, &name).await,
        (Route::Referrers { digest, .. }, Some(name)) => referrers::respond(context, &name, digest).await,
        // Only routes without a repository have no name, and those are matched above.
        (_, _) => Ok(not_found()),
    }
}

/// The response to OPTIONS, and to a method that the route or a read-only registry does not have. `None` when the
/// handler has to respond.
fn response_by_method(
    options: &Options,
    route: &Route<'_>,
    method: &Method,
) -> Option<Result<Response<Body>, Problem>> {
    let allow = route.methods().join(", ");
    if method == Method::OPTIONS {
        return Some(Ok(Reply::new(StatusCode::OK).header(ALLOW, allow).finish()));
    }
    if !route.methods().contains(&method.as_str()) {
        return Some(Err(Problem::new(Code::Unsupported).header(ALLOW, allow)));
    }
    if options.read_only && ![Method::GET, Method::HEAD].contains(method) {
        let problem = Problem::with(Code::Unsupported, "the registry is read-only");
        return Some(Err(problem.header(ALLOW, "GET, HEAD")));
    }
    None
}

/// Splits a path into the part before `/v2/` and the rest. `None` when the path does not begin with the configured
/// prefix.
fn split_prefix<'a>(path: &'a str, prefix: &str) -> Option<(&'a str, &'a str)> {
    let prefix = prefix.trim_end_matches('/');
    let rest = path.strip_prefix(prefix)?;
    (rest.starts_with('/')).then(|| path.split_at(prefix.len()))
}

fn name_of(route: &Route<'_>) -> Result<Option<RepositoryName>, Problem> {
    match route {
        Route::Blob { name, .. }
        | Route::Uploads { name }
        | Route::Upload { name, .. }
        | Route::Manifest { name, .. }
        | Route::Tags { name }
        | Route::Referrers { name, .. } => Ok(Some(RepositoryName::parse(name)?)),
        Route::Root | Route::Base | Route::Catalog | Route::UnknownApi | Route::Unknown => Ok(None),
    }
}

fn not_found() -> Response<Body> {
    Reply::with_body(StatusCode::NOT_FOUND, Body::whole("404 page not found\n"))
        .value(
            CONTENT_TYPE,
            HeaderValue::from_static("text/plain; charset=utf-8"),
        )
        .value(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"))
        .finish()
}
