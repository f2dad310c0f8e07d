//! hyper's settings for HTTP/1.1 and HTTP/2: what one connection may use.

use std::time::Duration;

use hyper::server::conn::{http1, http2};
use hyper_util::rt::TokioTimer;

use crate::http::response_memory::BLOCK_MAX;

/// How long a connection may be idle between two requests, the next head included. Longer than the proxies in front
/// keep theirs (nginx 60 s, Traefik 90 s): if the server closed first, a request that is on its way already would be
/// lost.
const IDLE: Duration = Duration::from_secs(300);
/// The largest head of a request in bytes. hyper answers 431 to larger ones.
const HEAD_MAX: usize = 128 << 10;
/// The bytes of a response in hyper's buffer over HTTP/1.1 before it asks for no more. A little more than a block, so
/// that the next block is read while one is sent. A head of [`HEAD_MAX`] bytes has to fit as well.
const H1_BUFFER: usize = BLOCK_MAX + (16 << 10);
const _: () = assert!(H1_BUFFER >= HEAD_MAX);

/// How often the peer of an HTTP/2 connection is pinged, and how long it may take to answer. This is how a dead peer is
/// noticed.
const PING_EVERY: Duration = Duration::from_secs(60);
const PING_ANSWER: Duration = Duration::from_secs(20);
/// The largest head of an HTTP/2 request in bytes, for each stream of a connection. A `Range` of a thousand ranges has
/// 17 KiB, a token 16 KiB.
const H2_HEAD_MAX: u32 = 64 << 10;
/// The bytes of a request's body that an HTTP/2 client may send before a handler reads them.
const H2_STREAM_WINDOW: u32 = 256 << 10;
/// The same for all streams of a connection together, as in Go's server. It is large enough that a few streams which no
/// handler reads leave something for one that is read.
const H2_CONNECTION_WINDOW: u32 = 1 << 20;
/// The bytes of a response in a stream's queue beside the block that is being sent.
const H2_SEND_BUFFER: usize = 64 << 10;
/// How many requests a client may reset before they were accepted, and how many broken ones it may send. One more ends
/// the connection.
const H2_RESETS: usize = 100;

pub(super) fn http1_builder() -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE)
        .max_header_size(HEAD_MAX)
        .max_buf_size(H1_BUFFER);
    builder
}

/// `streams` is how many requests there may be at the same time; `executor` runs each of them.
pub(super) fn http2_builder<E: Clone>(executor: E, streams: u32) -> http2::Builder<E> {
    let mut builder = http2::Builder::new(executor);
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_ANSWER)
        .max_header_list_size(H2_HEAD_MAX)
        .max_concurrent_streams(streams)
        .max_pending_accept_reset_streams(H2_RESETS)
        .max_local_error_reset_streams(H2_RESETS)
        .max_send_buf_size(H2_SEND_BUFFER)
        .initial_stream_window_size(H2_STREAM_WINDOW)
        .initial_connection_window_size(H2_CONNECTION_WINDOW);
    builder
}
