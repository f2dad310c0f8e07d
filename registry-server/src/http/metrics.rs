//! Metrics of requests, with distribution's names, labels and buckets.
//!
//! Guarantees: no label comes from content, because there are few handlers, methods and statuses; a request costs a few
//! look-ups and no allocation once its labels exist.
//! Must not: know a response body. Start at [`Metrics::start`].

use std::time::Instant;

use http::{HeaderMap, Method, Uri, header};
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use super::route::Route;

/// The buckets of durations, in seconds.
const DURATIONS: [f64; 13] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 60.0,
];

/// The handler of a request, as distribution's metrics name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Handler {
    /// `/v2/`
    Base,
    /// A blob.
    Blob,
    /// A new upload.
    BlobUpload,
    /// A running upload.
    BlobUploadChunk,
    /// The list of repositories.
    Catalog,
    /// A manifest.
    Manifest,
    /// The referrers of a manifest. Distribution has no such handler.
    Referrers,
    /// The list of tags.
    Tags,
}

impl Handler {
    const ALL: [Self; 8] = [
        Self::Base,
        Self::Blob,
        Self::BlobUpload,
        Self::BlobUploadChunk,
        Self::Catalog,
        Self::Manifest,
        Self::Referrers,
        Self::Tags,
    ];

    /// The handler of a route. `None` for routes that are not counted.
    pub(super) fn of(route: &Route<'_>) -> Option<Self> {
        match route {
            Route::Base => Some(Self::Base),
            Route::Blob { .. } => Some(Self::Blob),
            Route::Uploads { .. } => Some(Self::BlobUpload),
            Route::Upload { .. } => Some(Self::BlobUploadChunk),
            Route::Catalog => Some(Self::Catalog),
            Route::Manifest { .. } => Some(Self::Manifest),
            Route::Referrers { .. } => Some(Self::Referrers),
            Route::Tags { .. } => Some(Self::Tags),
            Route::Root | Route::UnknownApi | Route::Unknown => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Base => "base",
            Self::Blob => "blob",
            Self::BlobUpload => "blob_upload",
            Self::BlobUploadChunk => "blob_upload_chunk",
            Self::Catalog => "catalog",
            Self::Manifest => "manifest",
            Self::Referrers => "referrers",
            Self::Tags => "tags",
        }
    }
}

impl EncodeLabelValue for Handler {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        self.name().encode(encoder)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByHandler {
    handler: Handler,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByMethod {
    handler: Handler,
    method: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByCode {
    code: u16,
    handler: Handler,
    method: &'static str,
}

/// The metrics. A clone is another handle of the same metrics.
#[derive(Debug, Clone)]
pub struct Metrics {
    in_flight: Family<ByHandler, Gauge>,
    requests: Family<ByCode, Counter>,
    durations: Family<ByMethod, Histogram>,
    request_sizes: Family<ByHandler, Histogram>,
    response_sizes: Family<ByHandler, Histogram>,
}

impl Metrics {
    /// Registers the metrics.
    pub fn new(registry: &mut Registry) -> Self {
        // 1 KiB to 2 GiB.
        let sizes: fn() -> Histogram = || Histogram::new(exponential_buckets(1024.0, 2.0, 22));
        let metrics = Self {
            in_flight: Family::default(),
            requests: Family::default(),
            durations: Family::new_with_constructor(|| Histogram::new(DURATIONS)),
            request_sizes: Family::new_with_constructor(sizes),
            response_sizes: Family::new_with_constructor(sizes),
        };
        for handler in Handler::ALL {
            drop(metrics.in_flight.get_or_create(&ByHandler { handler }));
        }
        let Self {
            in_flight,
            requests,
            durations,
            request_sizes,
            response_sizes,
        } = metrics.clone();
        registry.register(
            "registry_http_in_flight_requests",
            "The in-flight HTTP requests",
            in_flight,
        );
        registry.register(
            "registry_http_requests",
            "Total number of HTTP requests made",
            requests,
        );
        registry.register(
            "registry_http_request_duration_seconds",
            "The HTTP request latencies in seconds",
            durations,
        );
        registry.register(
            "registry_http_request_size_bytes",
            "The HTTP request sizes in bytes",
            request_sizes,
        );
        registry.register(
            "registry_http_response_size_bytes",
            "The HTTP response sizes in bytes",
            response_sizes,
        );
        metrics
    }

    /// Begins a request.
    pub fn start(
        &self,
        handler: Handler,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
    ) -> InFlightRequest {
        self.in_flight.get_or_create(&ByHandler { handler }).inc();
        InFlightRequest {
            metrics: self.clone(),
            handler,
            method: method_name(method),
            size: size(method, uri, headers),
            started: Instant::now(),
        }
    }
}

/// A request that is being answered. The caller must finish it, or it counts as in flight for ever.
#[derive(Debug)]
#[must_use]
pub struct InFlightRequest {
    metrics: Metrics,
    handler: Handler,
    method: &'static str,
    size: u64,
    started: Instant,
}

impl InFlightRequest {
    /// Counts the end of the request: its status, and the bytes of the response body that were sent.
    pub fn finish(self, code: u16, sent: u64) {
        let Self {
            metrics,
            handler,
            method,
            size,
            started,
        } = self;
        metrics.in_flight.get_or_create(&ByHandler { handler }).dec();
        let by_code = ByCode {
            code,
            handler,
            method,
        };
        metrics.requests.get_or_create(&by_code).inc();
        metrics
            .durations
            .get_or_create(&ByMethod { handler, method })
            .observe(started.elapsed().as_secs_f64());
        let by_handler = ByHandler { handler };
        metrics
            .request_sizes
            .get_or_create(&by_handler)
            .observe(size as f64);
        metrics
            .response_sizes
            .get_or_create(&by_handler)
            .observe(sent as f64);
    }
}

/// The method as the Prometheus library for Go writes it. A method that is not listed is `unknown`.
fn method_name(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "get",
        "HEAD" => "head",
        "PUT" => "put",
        "POST" => "post",
        "PATCH" => "patch",
        "DELETE" => "delete",
        "OPTIONS" => "options",
        "CONNECT" => "connect",
        "TRACE" => "trace",
        _ => "unknown",
    }
}

/// The approximate size of a request, as the Prometheus library for Go computes it: the request line, the headers and
/// the `Content-Length`.
fn size(method: &Method, uri: &Uri, headers: &HeaderMap) -> u64 {
    let target = uri.path_and_query().map_or(0, |target| target.as_str().len());
    let line = method.as_str().len() + target + "HTTP/1.1".len();
    let headers_size: usize = headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len())
        .sum();
    let content_length = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse().ok())
        .unwrap_or(0);
    u64::saturating_add((line + headers_size) as u64, content_length)
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;

    use super::*;

    #[test]
    fn a_request_is_counted_by_handler_method_and_status() {
        let mut registry = Registry::default();
        let metrics = Metrics::new(&mut registry);
        let uri: Uri = "/v2/a/manifests/latest".parse().unwrap();
        let headers: HeaderMap = [(header::CONTENT_LENGTH, "1900".parse().unwrap())]
            .into_iter()
            .collect();
        let running = metrics.start(Handler::Manifest, &Method::PUT, &uri, &headers);
        let strange = Method::from_bytes(b"BREW").unwrap();
        metrics
            .start(Handler::Base, &strange, &uri, &HeaderMap::new())
            .finish(405, 10);
        let text = || {
            let mut text = String::new();
            encode(&mut text, &registry).unwrap();
            text
        };
        let during = text();
        for line in [
            "registry_http_in_flight_requests{handler=\"manifest\"} 1\n",
            "registry_http_in_flight_requests{handler=\"base\"} 0\n",
            "registry_http_requests_total{code=\"405\",handler=\"base\",method=\"unknown\"} 1\n",
        ] {
            assert!(during.contains(line), "{line}{during}");
        }
        running.finish(201, 0);
        let after = text();
        for line in [
            "registry_http_in_flight_requests{handler=\"manifest\"} 0\n",
            "registry_http_requests_total{code=\"201\",handler=\"manifest\",method=\"put\"} 1\n",
            "registry_http_request_duration_seconds_count{handler=\"manifest\",method=\"put\"} 1\n",
            "registry_http_request_size_bytes_bucket{le=\"1024.0\",handler=\"manifest\"} 0\n",
            "registry_http_request_size_bytes_bucket{le=\"2048.0\",handler=\"manifest\"} 1\n",
            "registry_http_response_size_bytes_sum{handler=\"manifest\"} 0.0\n",
        ] {
            assert!(after.contains(line), "{line}{after}");
        }
    }
}
