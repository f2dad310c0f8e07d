//! One request to one answer.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use http::header::{
    ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HOST, ORIGIN, RETRY_AFTER, TRANSFER_ENCODING,
    WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, Version};
use percent_encoding::percent_decode_str;
use registry_oci::RepositoryName;

use super::body_timeout::BodyTimeout;
use super::cors::ConfiguredHeaders;
use super::forwarded::{accountable_address, client_address};
use super::linger::{Leftover, Lingering, Sender};
use super::location::Locations;
use super::metrics::Handler;
use super::peer::Peer;
use super::problem::{Code, Problem};
use super::query::Query;
use super::reply::Reply;
use super::request_context::RequestContext;
use super::route::Route;
use super::{Body, Options, RequestBody, blobs, catalog, manifests, referrers, tags, uploads};
use crate::auth::{Access, Action, Authenticator, Refusal};
use crate::registry::Registry;

/// The header that tells a client it speaks to a registry, and its value.
const API_VERSION: (HeaderName, HeaderValue) = (
    HeaderName::from_static("docker-distribution-api-version"),
    HeaderValue::from_static("registry/2.0"),
);

/// The interface. A clone is another handle of the same one.
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
    lingering: Lingering,
}

impl App {
    /// An interface to a registry behind an authenticator.
    pub fn new(registry: Registry, authenticator: Authenticator, options: Options) -> Self {
        let lingering = Lingering::new(Arc::clone(&options.draining));
        Self {
            inner: Arc::new(Inner {
                headers: ConfiguredHeaders::new(&options.headers),
                registry,
                authenticator,
                options,
                lingering,
            }),
        }
    }

    /// Who answers a path, for counting.
    pub fn handler(&self, uri: &Uri) -> Option<Handler> {
        let decoded = percent_decode_str(uri.path()).decode_utf8_lossy();
        let (_, path) = split_prefix(&decoded, &self.inner.options.prefix)?;
        Handler::of(&Route::parse(path))
    }

    /// Whom a request comes from: the client if a believed proxy names it, else the peer. Nothing on a unix socket
    /// without either.
    pub fn client_address(&self, headers: &HeaderMap, peer: &Peer) -> Option<IpAddr> {
        client_address(&self.inner.options.trusted_proxies, headers, peer)
    }

    /// Answers one request. The body is read only as far as the answer needs it; dropping the future leaves
    /// nothing half-written, and bytes of an upload that came in are kept. An answer to somebody the authenticator let in
    /// carries the [`crate::auth::Identity`] as an extension, for the access log.
    pub async fn respond<B: RequestBody>(&self, request: Request<B>, peer: Peer) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let (head, version, sender) = (parts.method == Method::HEAD, parts.version, Sender::of(&parts));
        let origin = parts.headers.get(ORIGIN).cloned();
        let (body, leftover) = Leftover::of(BodyTimeout::new(body, self.inner.options.body_timeout));
        let answer = match (has_unknown_coding(&parts), host_fault(&parts)) {
            (true, _) => Ok(refused(
                StatusCode::NOT_IMPLEMENTED,
                "Unsupported transfer encoding".to_owned(),
            )),
            (false, Some(fault)) => Ok(refused(
                StatusCode::BAD_REQUEST,
                format!("400 Bad Request: {fault}"),
            )),
            (false, None) => self.inner.answer(parts, body, &peer).await,
        };
        let mut response = answer.unwrap_or_else(Response::from);
        self.inner
            .lingering
            .answer(&sender, leftover, &mut response)
            .await;
        self.add_headers(origin.as_ref(), response.headers_mut());
        // HTTP/2 says it with a frame of its own.
        if self.inner.options.draining.load(Ordering::Relaxed) && version <= Version::HTTP_11 {
            response
                .headers_mut()
                .insert(CONNECTION, HeaderValue::from_static("close"));
        }
        if head {
            response.map(|_| Body::empty())
        } else {
            response
        }
    }

    /// Adds the configured headers to an answer to a request from `origin`; for answers that are not
    /// [`App::respond`]'s.
    pub fn add_headers(&self, origin: Option<&HeaderValue>, headers: &mut HeaderMap) {
        self.inner.headers.add(origin, headers);
    }

    /// Gives an answer that is known without looking at the request, which may still be on its way.
    pub async fn refuse<B: RequestBody>(
        &self,
        request: Request<B>,
        mut response: Response<Body>,
    ) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let (lent, leftover) = Leftover::of(body);
        drop(lent);
        self.inner
            .lingering
            .answer(&Sender::of(&parts), leftover, &mut response)
            .await;
        self.add_headers(parts.headers.get(ORIGIN), response.headers_mut());
        response
    }
}

impl Inner {
    async fn answer<B: RequestBody>(
        &self,
        parts: Parts,
        body: B,
        peer: &Peer,
    ) -> Result<Response<Body>, Problem> {
        let decoded = percent_decode_str(parts.uri.path()).decode_utf8_lossy();
        // A probe that knows nothing of the configured prefix is answered too.
        if Route::parse(&decoded) == Route::Root {
            return Ok(Reply::new(StatusCode::OK)
                .value(CACHE_CONTROL, HeaderValue::from_static("no-cache"))
                .finish());
        }
        let answer = match split_prefix(&decoded, &self.options.prefix) {
            Some((prefix, path)) => match Route::parse(path) {
                Route::Root | Route::Unknown | Route::UnknownApi => Ok(not_found()),
                route => self.api(&parts, body, peer, prefix, route).await,
            },
            None => Ok(not_found()),
        };
        let mut response = answer.unwrap_or_else(Response::from);
        let (name, value) = API_VERSION;
        response.headers_mut().insert(name, value);
        Ok(response)
    }

    async fn api<B: RequestBody>(
        &self,
        parts: &Parts,
        body: B,
        peer: &Peer,
        prefix: &str,
        route: Route<'_>,
    ) -> Result<Response<Body>, Problem> {
        let Inner {
            registry,
            authenticator,
            options,
            headers,
            lingering: _,
        } = self;
        // Browsers send no login with it, and the real request is asked for one.
        if headers.is_preflight(parts) {
            return Ok(Reply::new(StatusCode::OK).finish());
        }
        let query = Query::parse(parts.uri.query());
        let name = name_of(&route)?;
        let access = access(&route, name.as_ref(), &parts.method, &query);
        let identity = authenticator
            .authorize(
                &parts.headers,
                &access,
                accountable_address(&options.trusted_proxies, &parts.headers, peer),
            )
            .await
            .map_err(|refusal| match refusal {
                Refusal::Challenge { www_authenticate } => {
                    Problem::unauthorized(&access).header(WWW_AUTHENTICATE, www_authenticate)
                }
                Refusal::TooMany { retry_after } => {
                    Problem::new(Code::TooManyRequests).header(RETRY_AFTER, retry_after.as_secs().max(1))
                }
                Refusal::Unavailable => Problem::unavailable(Some(std::time::Duration::from_secs(1))),
            })?;
        let locations = Locations::of(options, &parts.headers, &parts.uri, peer, prefix);
        let context = RequestContext {
            registry,
            options,
            method: &parts.method,
            headers: &parts.headers,
            path: parts.uri.path(),
            query: &query,
            locations: &locations,
        };
        let answer = match (route, name) {
            // Behind the authenticator: whoever is not let in learns nothing else.
            (route, _) if let Some(answer) = without_work(options, &route, &parts.method) => answer,
            (Route::Base, _) => Ok(Reply::with_body(StatusCode::OK, Body::whole("{}"))
                .value(CONTENT_TYPE, HeaderValue::from_static("application/json"))
                .finish()),
            (Route::Catalog, _) => catalog::respond(&context).await,
            (Route::Blob { digest, .. }, Some(name)) => blobs::respond(&context, &name, digest).await,
            (Route::Uploads { .. }, Some(name)) => uploads::start(&context, &name, body).await,
            (Route::Upload { id, .. }, Some(name)) => uploads::respond(&context, &name, id, body).await,
            (Route::Manifest { reference, .. }, Some(name)) => {
                manifests::respond(&context, &name, reference, body).await
            }
            (Route::Tags { .. }, Some(name)) => tags::respond(&context, &name).await,
            (Route::Referrers { digest, .. }, Some(name)) => {
                referrers::respond(&context, &name, digest).await
            }
            // Only routes without a repository have no name, and those are answered above.
            (_, _) => Ok(not_found()),
        };
        let mut response = answer.unwrap_or_else(Response::from);
        response.extensions_mut().insert(identity);
        Ok(response)
    }
}

/// The answer to a method that the route, or a read-only registry, does not have, and to OPTIONS.
fn without_work(
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

/// Splits a path into what stands in front of `/v2/` and the rest. The configured prefix must be there.
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

/// What a request asks for: reading asks pull, writing pull and push, deleting delete, and a mount also pull on
/// the repository it takes from.
fn access(route: &Route<'_>, name: Option<&RepositoryName>, method: &Method, query: &Query) -> Vec<Access> {
    let Some(name) = name else {
        return vec![if *route == Route::Catalog {
            Access::Catalog
        } else {
            Access::Base
        }];
    };
    let on = |name: &RepositoryName, action| Access::Repository {
        name: name.clone(),
        action,
    };
    let mut access = match *method {
        Method::GET | Method::HEAD => vec![on(name, Action::Pull)],
        Method::DELETE => vec![on(name, Action::Delete)],
        _ => vec![on(name, Action::Pull), on(name, Action::Push)],
    };
    if let (Route::Uploads { .. }, Some(from)) = (route, query.get("from"))
        && let Ok(from) = RepositoryName::parse(from)
    {
        access.push(on(&from, Action::Pull));
    }
    access
}

/// What is wrong with the `Host` header of an HTTP/1.1 request: there must be one, and proxies in front must not be able
/// to read it in another way (RFC 9112, section 3.2).
fn host_fault(parts: &Parts) -> Option<&'static str> {
    if parts.version != Version::HTTP_11 {
        return None;
    }
    let mut hosts = parts.headers.get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (None, _) => Some("missing required Host header"),
        (Some(_), Some(_)) => Some("too many Host headers"),
        (Some(host), None) => {
            let fits = |byte: &u8| byte.is_ascii_alphanumeric() || b"!$%&'()*+,-.:;=[]_~".contains(byte);
            (!host.as_bytes().iter().all(fits)).then_some("malformed Host header")
        }
    }
}

/// Whether the body of an HTTP/1.1 request is coded in another way than `chunked`, the one coding that is undone: its
/// bytes would be taken for the content (RFC 9112, section 6.1).
fn has_unknown_coding(parts: &Parts) -> bool {
    let mut codings = parts.headers.get_all(TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => false,
        (Some(coding), None) => {
            !coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked")
                && parts.version <= Version::HTTP_11
        }
        (Some(_), Some(_)) => parts.version <= Version::HTTP_11,
    }
}

/// An answer to what is hardly HTTP, in the words of Go's server.
fn refused(status: StatusCode, text: String) -> Response<Body> {
    Reply::with_body(status, Body::whole(text))
        .value(
            CONTENT_TYPE,
            HeaderValue::from_static("text/plain; charset=utf-8"),
        )
        .value(CONNECTION, HeaderValue::from_static("close"))
        .finish()
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
