//! One request with its answer, from the first byte to the last, for the access log and the metrics.

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

/// The client left before it was answered. No status of HTTP: nginx's, and distribution's, for its own log.
const CLIENT_CLOSED_REQUEST: u16 = 499;

/// What became of a request so far. Dropping it, whenever that happens, is its end.
#[derive(Debug)]
pub(super) struct RequestLog {
    about: Arc<RequestInfo>,
    line: Option<(Sink, AccessLogEntry)>,
    in_flight: Option<InFlightRequest>,
    status: u16,
    user: Option<String>,
    sent: u64,
    started: Instant,
}

impl RequestLog {
    /// A request that begins now, with what is known of it, when it is to be logged and when it is to be counted.
    pub(super) fn new(
        about: Arc<RequestInfo>,
        line: Option<(Sink, AccessLogEntry)>,
        in_flight: Option<InFlightRequest>,
    ) -> Self {
        Self {
            about,
            line,
            in_flight,
            status: CLIENT_CLOSED_REQUEST,
            user: None,
            sent: 0,
            started: Instant::now(),
        }
    }

    /// There is an answer.
    pub(super) fn answered(&mut self, status: StatusCode, user: Option<String>) {
        self.status = status.as_u16();
        self.user = user;
    }

    /// Counts what is sent, and ends when the last byte is gone or the client is.
    pub(super) fn watch<B>(self, body: B) -> ResponseBody<B> {
        ResponseBody { body, log: self }
    }

    /// Distribution's line about an answer, under its names.
    fn tell(&self) {
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
        // Whatever was made of half an upload, nobody reads it.
        if self.about.is_body_aborted() {
            self.status = CLIENT_CLOSED_REQUEST;
        }
        if let Some((sink, entry)) = &self.line {
            sink.write_line(&entry.line(self.status, self.sent, self.user.as_deref()));
        }
        // Distribution says this at `info`, and at `error` of every status from 400 on. Here the access log has it
        // already, and that an image is not there, or that a client has to log in first, is no error of the server.
        if tracing::enabled!(tracing::Level::DEBUG) {
            Arc::clone(&self.about).enter(|| self.tell());
        }
        if let Some(in_flight) = self.in_flight.take() {
            in_flight.finish(self.status, self.sent);
        }
    }
}

/// A request's body that notes when it breaks off.
#[derive(Debug)]
pub(super) struct RequestBody<B> {
    body: B,
    about: Arc<RequestInfo>,
}

impl<B> RequestBody<B> {
    pub(super) fn new(body: B, about: Arc<RequestInfo>) -> Self {
        Self { body, about }
    }
}

impl<B: Body + Unpin> Body for RequestBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(Some(Err(_))) = &frame {
            self.about.body_was_aborted();
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

/// A response's body that is counted.
#[derive(Debug)]
pub(super) struct ResponseBody<B> {
    body: B,
    log: RequestLog,
}

impl<B: Body<Data = Bytes> + Unpin> Body for ResponseBody<B> {
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
