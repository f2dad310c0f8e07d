//! `/v2/<name>/tags/list` ("Listing Tags", OCI distribution 1.1), and the paging all lists share.

use http::header::LINK;
use http::{Response, StatusCode};
use registry_oci::{RepositoryName, Tag};
use serde::Serialize;

use super::Body;
use super::problem::{Code, Problem};
use super::reply::Reply;
use super::request_context::RequestContext;
use crate::registry::offload;

#[derive(Serialize)]
struct List<'a> {
    name: &'a str,
    tags: Vec<&'a str>,
}

pub(super) async fn respond(
    context: &RequestContext<'_>,
    name: &RepositoryName,
) -> Result<Response<Body>, Problem> {
    // Asked for without a number, the list is whole; asked for with too large a one, it comes in pages.
    let limit = number(context)?.map(|number| number.min(context.options.tags_max));
    let page = context
        .registry
        .tags(name, context.query.get("last"), limit)
        .await?;
    let last = page.items.last().filter(|_| page.more).cloned();
    let (name, tags) = (name.clone(), page.items);
    let reply = offload::by_count(tags.len(), move || {
        let list = List {
            name: name.as_str(),
            tags: tags.iter().map(Tag::as_str).collect(),
        };
        Reply::json(StatusCode::OK, &list)
    });
    Ok(linked(
        context,
        reply.await?,
        last.as_ref().map(Tag::as_str),
        limit,
    ))
}

/// The `n` parameter.
pub(super) fn number(context: &RequestContext<'_>) -> Result<Option<usize>, Problem> {
    match context.query.get("n") {
        None | Some("") => Ok(None),
        Some(text) => match text.parse() {
            Ok(number) => Ok(Some(number)),
            Err(_) if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) => {
                Ok(Some(usize::MAX))
            }
            Err(_) => Err(Problem::with(
                Code::PaginationNumberInvalid,
                serde_json::json!({ "n": text }),
            )),
        },
    }
}

/// The answer with a `Link` to the next page, if there is one: path and query only, so that it is right behind
/// any proxy, with every other parameter of the request kept.
pub(super) fn linked(
    context: &RequestContext<'_>,
    reply: Reply,
    last: Option<&str>,
    limit: Option<usize>,
) -> Response<Body> {
    match (last, limit) {
        (Some(last), Some(limit)) => {
            let query = context.query.with(&[("last", last), ("n", &limit.to_string())]);
            reply
                .header(LINK, format!("<{}?{query}>; rel=\"next\"", context.path))
                .finish()
        }
        (Some(_), None) | (None, _) => reply.finish(),
    }
}
