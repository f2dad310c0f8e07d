//! The log of one request and its response, from the first byte to the last: its line in the access log, its debug line,
//! and its metrics.
//!
//! Guarantees: a request whose client leaves, or whose future is dropped, is logged too.
//! Start at [`RequestLog`].

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use http::StatusCode;
use http_body::{Body, Frame, SizeHint};
use registry_config::GoDuration;

use crate::http::metrics::InFlightRequest;
use crate::telemetry::Sink;
use crate::telemetry::access_log::AccessLogEntry;
use crate::telemetry::request::RequestInfo;

/// The logged status of a request whose client left before the answer. HTTP does not define it; nginx and distribution
/// log it.
const CLIENT_CLOSED_REQUEST: u16 = 499;

/// The state of a request so far. Dropping it ends the request and writes the log.
#[derive(Debug)]
pub(super) struct RequestLog {
    info: Arc<RequestInfo>,
    access: Option<(Sink, AccessLogEntry)>,
    in_flight: Option<InFlightRequest>,
    status: u16,
    user: Option<String>,
    sent: u64,
    started: Instant,
}

impl RequestLog {
    /// The log of a request that begins now. `access` is its entry in the access log, `in_flight` its metrics; both can be
    /// switched off.
    pub(super) fn new(
        info: Arc<RequestInfo>,
        access: Option<(Sink, AccessLogEntry)>,
        in_flight: Option<InFlightRequest>,
    ) -> Self {
        Self {
            info,
            access,
            in_flight,
            status: CLIENT_CLOSED_REQUEST,
            user: None,
            sent: 0,
            started: Instant::now(),
        }
    }

    /// Notes the status of the response and the user.
    pub(super) fn answered(&mut self, status: StatusCode, user: Option<String>) {
        self.status = status.as_u16();
        self.user = user;
    }

    /// Wraps the body of the response. The request ends when the last byte is sent or the client leaves.
    pub(super) fn watch<B>(self, body: B) -> LoggedResponseBody<B> {
        LoggedResponseBody { body, log: self }
    }

    /// Writes distribution's debug line about a response, with distribution's field names.
    fn log_response(&self) {
        let duration = GoDuration::try_from(self.started.elapsed());
        tracing::debug!(
            "http.response.status" = self.status,
            "http.response.written" = self.sent,
            "http.response.duration" = duration.map(|span| span.to_string()).unwrap_or_default(),
            "{}",
            match self.status {
                ..400 => "response completed",
                _ => "response completed with error",
            }
        );
    }
}

impl Drop for RequestLog {
    fn drop(&mut self) {
        // A client that left during its upload does not read the response.
        if self.info.is_body_aborted() {
            self.status = CLIENT_CLOSED_REQUEST;
        }
        if let Some((sink, entry)) = &self.access {
            sink.write_line(&entry.line(self.status, self.sent, self.user.as_deref()));
        }
        // Distribution logs this at `info`, and at `error` for every status from 400 on. Here the access log has the same
        // facts already, and a missing image or a missing login is no error of the server.
        if tracing::enabled!(tracing::Level::DEBUG) {
            Arc::clone(&self.info).enter(|| self.log_response());
        }
        if let Some(in_flight) = self.in_flight.take() {
            in_flight.finish(self.status, self.sent);
        }
    }
}

/// The body of a request. It notes when the client leaves before the end of the body.
#[derive(Debug)]
pub(super) struct LoggedRequestBody<B> {
    body: B,
    info: Arc<RequestInfo>,
}

impl<B> LoggedRequestBody<B> {
    pub(super) fn new(body: B, info: Arc<RequestInfo>) -> Self {
        Self { body, info }
    }
}

impl<B: Body + Unpin> Body for LoggedRequestBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(Some(Err(_))) = &frame {
            self.info.body_was_aborted();
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The body of a response. It counts the sent bytes.
#[derive(Debug)]
pub(super) struct LoggedResponseBody<B> {
    body: B,
    log: RequestLog,
}

impl<B: Body<Data = Bytes> + Unpin> Body for LoggedResponseBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &frame
            && let Some(data) = frame.data_ref()
        {
            self.log.sent += data.len() as u64;
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
