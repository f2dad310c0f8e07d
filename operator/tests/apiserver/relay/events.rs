//! Faults of watches: what a slow or lagging watcher really sees.
//!
//! Guarantees: a watch that loses events ends with 410, as the API server promises; events of one object arrive in
//! order. Start at [`merged`] and [`lost`].

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt as _, TryStreamExt as _};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use serde_json::{Value, json};

use super::{Body, Failure};

/// How long events are held or lost.
const WINDOW: Duration = Duration::from_millis(700);

/// The events of each window, with one of each object.
pub(super) fn merged(body: Body) -> Body {
    let windows = stream::unfold(lines(body), |mut lines| async {
        // The first event opens the window.
        let first = match lines.next().await? {
            Ok(line) => line,
            Err(error) => return Some((Err(error), lines)),
        };
        let mut window = vec![first];
        let end = tokio::time::Instant::now() + WINDOW;
        while let Ok(Some(Ok(line))) = tokio::time::timeout_at(end, lines.next()).await {
            window.push(line);
        }
        Some((Ok(merge(&window)), lines))
    });
    frames(windows.boxed())
}

/// No event but the bookmarks of the beginning, and 410 in the end.
pub(super) fn lost(_: Body) -> Body {
    let gone = json!({ "type": "ERROR", "object": {
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "reason": "Expired", "code": 410, "message": "too old resource version",
    } });
    let end = stream::once(async move {
        tokio::time::sleep(WINDOW).await;
        Ok(Bytes::from(format!("{gone}\n")))
    });
    frames(end.boxed())
}

fn frames(parts: BoxStream<'static, Result<Bytes, Failure>>) -> Body {
    StreamBody::new(parts.map_ok(Frame::data)).boxed_unsync()
}

/// The body line by line; each is one event.
fn lines(body: Body) -> BoxStream<'static, Result<Bytes, Failure>> {
    let state = (body.into_data_stream(), BytesMut::new());
    let lines = stream::unfold(state, |(mut parts, mut buffer)| async move {
        loop {
            if let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
                let line = buffer.split_to(end + 1).freeze();
                return Some((Ok(line), (parts, buffer)));
            }
            match parts.next().await? {
                Ok(part) => buffer.extend_from_slice(&part),
                Err(error) => return Some((Err(error), (parts, buffer))),
            }
        }
    });
    lines.boxed()
}

/// The last event of each object. One that was deleted and made again looks changed; one that came and went was never
/// there.
fn merge(window: &[Bytes]) -> Bytes {
    let mut order: Vec<(Value, bool, Value)> = Vec::new();
    for line in window {
        let Ok(event) = serde_json::from_slice::<Value>(line) else {
            continue;
        };
        let meta = &event["object"]["metadata"];
        let object = json!([meta["namespace"], meta["name"]]);
        let is_new = event["type"] == "ADDED";
        match order
            .iter_mut()
            .find(|(known, ..)| *known == object && !object[1].is_null())
        {
            Some((.., last)) => *last = event,
            None => order.push((object, is_new, event)),
        }
    }
    let mut text = String::new();
    for (_, was_new, mut event) in order {
        match (was_new, event["type"].as_str()) {
            // An API server never hides a deletion: a client may know the object from its own write.
            (true, Some("MODIFIED")) => event["type"] = json!("ADDED"),
            (false, Some("ADDED")) => event["type"] = json!("MODIFIED"),
            _ => {}
        }
        text.push_str(&format!("{event}\n"));
    }
    Bytes::from(text)
}

#[test]
fn of_each_object_the_last_event_is_left() {
    let event = |kind: &str, name: &str, version: u32| {
        let object = json!({ "metadata": { "namespace": "quay", "name": name, "resourceVersion": version.to_string() } });
        Bytes::from(json!({ "type": kind, "object": object }).to_string())
    };
    let window = [
        event("ADDED", "new", 1),
        event("MODIFIED", "new", 2),
        event("ADDED", "short", 3),
        event("DELETED", "short", 4),
        event("DELETED", "replaced", 5),
        event("ADDED", "replaced", 6),
        event("MODIFIED", "gone", 7),
        event("DELETED", "gone", 8),
    ];
    let merged = merge(&window);
    let text = String::from_utf8(merged.to_vec()).unwrap();
    let seen: Vec<String> = text
        .lines()
        .map(|line| {
            let event: Value = serde_json::from_str(line).unwrap();
            let meta = &event["object"]["metadata"];
            format!("{} {} {}", event["type"], meta["name"], meta["resourceVersion"])
        })
        .map(|line| line.replace('"', ""))
        .collect();
    assert_eq!(
        seen,
        [
            "ADDED new 2",
            "DELETED short 4",
            "MODIFIED replaced 6",
            "DELETED gone 8"
        ]
    );
}
