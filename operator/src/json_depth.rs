//! A limit on how deeply the API server's answers are nested.
//!
//! The JSON parser gives up at 128 levels, and `spec.config` takes any nesting. One Registry with more would make every
//! list of Registries unreadable, for all namespaces.
//!
//! Guarantees: an answer is nested at most [`MAX_DEPTH`] levels; what is deeper becomes null, and the rest stays byte for
//! byte. `validate` refuses a `spec.config` long before this depth, so no shortened one is used. Must not: touch
//! answers that are not JSON.
//! Start at [`with_limited_nesting`].

use http::Response;
use http::header::CONTENT_TYPE;
use http_body_util::BodyExt as _;
use hyper::body::Bytes;
use kube::Client;
use kube::client::Body;

/// The deepest nesting that is passed on.
pub(crate) const MAX_DEPTH: usize = 100;

/// Limits the nesting of every JSON answer to `client`.
pub(crate) fn with_limited_nesting(client: &Client) -> Client {
    let namespace = client.default_namespace().to_owned();
    let client = client.clone();
    let service = tower::service_fn(move |request| {
        let client = client.clone();
        async move { client.send(request).await.map(limit) }
    });
    Client::new(service, namespace)
}

fn limit(
    answer: Response<Body>,
) -> Response<impl hyper::body::Body<Data = Bytes, Error = kube::Error> + Send + 'static> {
    let content_type = answer.headers().get(CONTENT_TYPE);
    let json = content_type.is_some_and(|value| value.as_bytes().starts_with(b"application/json"));
    let mut nesting = json.then(Nesting::default);
    answer.map(|body| {
        body.map_frame(move |frame| {
            frame.map_data(|bytes| match &mut nesting {
                Some(nesting) => nesting.shorten(bytes),
                None => bytes,
            })
        })
    })
}

/// The state of a JSON text that arrives in parts.
#[derive(Default)]
struct Nesting {
    depth: usize,
    in_string: bool,
    escaped: bool,
}

impl Nesting {
    /// The next part of the text, without what is nested too deeply.
    fn shorten(&mut self, part: Bytes) -> Bytes {
        let mut kept: Option<Vec<u8>> = None;
        for (at, byte) in part.iter().enumerate() {
            let keep = self.step(*byte);
            if !matches!(keep, Keep::Byte) && kept.is_none() {
                kept = Some(part[..at].to_vec());
            }
            if let Some(kept) = &mut kept {
                match keep {
                    Keep::Byte => kept.push(*byte),
                    Keep::Null => kept.extend(b"null"),
                    Keep::Nothing => {}
                }
            }
        }
        kept.map_or(part, Bytes::from)
    }

    fn step(&mut self, byte: u8) -> Keep {
        let before = self.depth;
        if self.in_string {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = true,
                b'"' => self.in_string = false,
                _ => {}
            }
        } else {
            match byte {
                b'"' => self.in_string = true,
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' => self.depth = self.depth.saturating_sub(1),
                _ => {}
            }
        }
        match (before > MAX_DEPTH, self.depth > MAX_DEPTH) {
            (false, false) => Keep::Byte,
            (false, true) => Keep::Null,
            (true, _) => Keep::Nothing,
        }
    }
}

/// The choice about one byte.
enum Keep {
    Byte,
    Null,
    Nothing,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shorten(text: &str, part: usize) -> String {
        let mut nesting = Nesting::default();
        let parts = text.as_bytes().chunks(part).map(Bytes::copy_from_slice);
        let kept: Vec<u8> = parts.flat_map(|part| nesting.shorten(part)).collect();
        String::from_utf8(kept).unwrap()
    }

    fn nested(depth: usize) -> String {
        format!("{}1{}", r#"{"a":["#.repeat(depth / 2), "]}".repeat(depth / 2))
    }

    #[test]
    fn an_answer_within_the_limit_stays_as_it_is() {
        for text in [
            r#"{"a": "[[[[{{{\"]\\", "b": [1, {}]}"#,
            &nested(MAX_DEPTH),
            "[[]]\n{}\n",
        ] {
            assert_eq!(shorten(text, 7), text);
        }
    }

    #[test]
    fn what_is_nested_too_deeply_becomes_null_and_the_rest_stays() {
        let text = format!(r#"{{"items":[{},{{"b":"]}}"}}]}}"#, nested(5_000));
        for part in [1, 3, 1024, usize::MAX] {
            let got = shorten(&text, part);
            let value: serde_json::Value = serde_json::from_str(&got).expect("the parser takes it");
            assert_eq!(value["items"][1]["b"], "]}", "{got}");
            assert_eq!(got.matches("null").count(), 1);
        }
    }
}
