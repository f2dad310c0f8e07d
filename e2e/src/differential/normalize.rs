//! Makes the parts of answers equal that cannot be compared, by rules that each have a reason. Everything else is
//! compared as it was sent.
//!
//! A rule replaces a value only when the value has its proper form, so a malformed one still shows as a difference.
//! Start at [`RULES`].

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use percent_encoding::percent_decode_str;
use serde::Deserialize;

use super::route::Parts;
use crate::raw_http::Answer;

/// The facts about an answer that a rule may use beside the value.
pub(super) struct AnswerContext<'a> {
    /// Host and port of the server that answered.
    pub(super) host: &'a str,
    /// The folder of the server's data.
    pub(super) folder: &'a str,
    pub(super) answer: &'a Answer,
    pub(super) is_head: bool,
    /// Repository, tag and digest of the request.
    pub(super) parts: Parts<'a>,
}

/// One rule: the beginning of the field names it applies to, its reason, and the replacement.
pub(super) struct Rule {
    pub(super) field: &'static str,
    pub(super) reason: &'static str,
    pub(super) apply: fn(&str, &AnswerContext<'_>) -> String,
}

/// All rules, applied in this order.
pub(super) const RULES: &[Rule] = &[
    Rule {
        field: "header date",
        reason: "the second may change between the answers of the three",
        apply: date,
    },
    Rule {
        field: "header docker-upload-uuid",
        reason: "each server draws its own",
        apply: |value, _| {
            if is_uuid(value) {
                "<uuid>".to_owned()
            } else {
                value.to_owned()
            }
        },
    },
    Rule {
        field: "header x-request-id",
        reason: "each request has its own",
        apply: |value, _| without_uuids(value),
    },
    Rule {
        field: "header location",
        reason: "the server's own port, the upload it drew, and the time in the signed token; path, parameters and what the \
                 token says otherwise are compared",
        apply: location,
    },
    Rule {
        field: "header content-length",
        reason: "it follows from the body, which is compared",
        apply: content_length,
    },
    Rule {
        field: "header content-type",
        reason: "what separates the parts of a body is drawn for each answer",
        apply: without_boundary,
    },
    Rule {
        field: "body",
        reason: "what separates the parts of a body is drawn for each answer",
        apply: without_boundary,
    },
    Rule {
        field: "body",
        reason: "an upload's or a request's number is the server's own",
        apply: |value, _| without_uuids(value),
    },
    Rule {
        field: "body",
        reason: "an error of the file system names the run's own folder",
        apply: |value, context| value.replace(context.folder, "<folder>"),
    },
    Rule {
        field: "",
        reason: "one line of the list covers a route, whatever repository, tag or digest was asked for",
        apply: without_parts,
    },
];

/// The value after all rules for its field.
pub(super) fn normalized(field: &str, value: &str, context: &AnswerContext<'_>) -> String {
    RULES
        .iter()
        .filter(|rule| field.starts_with(rule.field))
        .fold(value.to_owned(), |value, rule| (rule.apply)(&value, context))
}

/// `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110, section 5.6.7).
fn date(value: &str, _: &AnswerContext<'_>) -> String {
    let form: String = value
        .chars()
        .map(|c| match c {
            '0'..='9' => '0',
            'a'..='z' | 'A'..='Z' => 'a',
            other => other,
        })
        .collect();
    if form == "aaa, 00 aaa 0000 00:00:00 aaa" && value.ends_with(" GMT") {
        "<date>".to_owned()
    } else {
        value.to_owned()
    }
}

fn content_length(value: &str, context: &AnswerContext<'_>) -> String {
    let is_error = context.answer.status.starts_with(['4', '5']);
    if context.is_head && is_error && value.parse::<u64>().is_ok_and(|length| length > 0) {
        // The answer to HEAD states the length of GET's body.
        "<length>".to_owned()
    } else if !context.is_head && value == context.answer.body.len().to_string() && value != "0" {
        "<length>".to_owned()
    } else {
        value.to_owned()
    }
}

fn without_boundary(value: &str, context: &AnswerContext<'_>) -> String {
    let boundary = context
        .answer
        .header("content-type")
        .and_then(|kind| kind.split_once("boundary="));
    match boundary {
        Some((_, boundary)) if boundary.len() >= 20 => value.replace(boundary, "<boundary>"),
        Some(_) | None => value.to_owned(),
    }
}

/// The content of an upload's token (see `http.secret` in distribution).
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct UploadToken {
    name: String,
    #[serde(rename = "UUID")]
    id: String,
    offset: u64,
    started_at: String,
}

fn location(value: &str, context: &AnswerContext<'_>) -> String {
    let value = value.replace(context.host, "<server>");
    let (path, query) = match value.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (value.as_str(), None),
    };
    let id = path.rsplit('/').next().unwrap_or_default();
    let query = query.map(|query| {
        let parameters = query.split('&').map(|parameter| match parameter.split_once('=') {
            Some(("_state", token)) => format!("_state={}", state(token, id)),
            Some(_) | None => parameter.to_owned(),
        });
        parameters.collect::<Vec<_>>().join("&")
    });
    let path = without_uuids(path);
    match query {
        Some(query) => format!("{path}?{query}"),
        None => path,
    }
}

fn state(token: &str, id: &str) -> String {
    const MAC: usize = 32;
    let document = URL_SAFE.decode(token.replace("%3D", "=")).ok();
    let state: Option<UploadToken> =
        document.and_then(|bytes| serde_json::from_slice(bytes.get(MAC..)?).ok());
    match state {
        Some(state) if state.id == id && state.started_at.contains('T') => {
            // The padding can be written in two ways that mean the same query.
            format!("<token of {} at {}>", state.name, state.offset)
        }
        Some(_) | None => token.to_owned(),
    }
}

fn without_parts(value: &str, context: &AnswerContext<'_>) -> String {
    let mut value = value.to_owned();
    let parts = [(context.parts.name, "<name>"), (context.parts.last, "<last>")];
    for (part, placeholder) in parts {
        let Some(part) = part else { continue };
        let decoded = decoded(part);
        if !decoded.contains(char::is_alphanumeric) {
            continue;
        }
        // A short value would match in unrelated text, so it is replaced only between quotes.
        let quoted = [
            (
                format!("`{}`", decoded.escape_debug()),
                format!("`{placeholder}`"),
            ),
            (format!("\"{decoded}\""), format!("\"{placeholder}\"")),
            (
                format!("repository {decoded} "),
                format!("repository {placeholder} "),
            ),
            (format!("tag {decoded}\""), format!("tag {placeholder}\"")),
            (
                format!("manifest {decoded}\""),
                format!("manifest {placeholder}\""),
            ),
            (format!("upload {decoded}\""), format!("upload {placeholder}\"")),
        ];
        for (from, to) in quoted {
            value = value.replace(&from, &to);
        }
        if part.len() > 4 {
            value = value.replace(part, placeholder).replace(&decoded, placeholder);
        }
    }
    value
}

/// The percent-decoded text, as a server reads it.
fn decoded(part: &str) -> String {
    percent_decode_str(part).decode_utf8_lossy().into_owned()
}

fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.char_indices().all(|(at, c)| match at {
            8 | 13 | 18 | 23 => c == '-',
            _ => c.is_ascii_digit() || ('a'..='f').contains(&c),
        })
}

fn without_uuids(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        if let Some(candidate) = rest.get(..36)
            && is_uuid(candidate)
        {
            out.push_str("<uuid>");
            rest = &rest[36..];
        } else {
            out.push(next);
            rest = &rest[next.len_utf8()..];
        }
    }
    out
}
