//! Paging of the lists of tags and of repositories (OCI distribution 1.1, "Listing Tags"): the `n` parameter and the
//! `Link` header.

use http::Response;
use http::header::LINK;

use super::Body;
use super::problem::{Code, Problem};
use super::reply::Reply;
use super::request_context::RequestContext;

/// The `n` parameter: how many entries the client wants on a page.
pub(super) fn page_size(context: &RequestContext<'_>) -> Result<Option<usize>, Problem> {
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

/// The response, with a `Link` to the next page if there is one. The link has only a path and a query, so that it is
/// right behind any proxy, and keeps every other parameter of the request.
pub(super) fn with_next_link(
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
