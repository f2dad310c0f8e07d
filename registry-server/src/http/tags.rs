//! `/v2/<name>/tags/list` ("Listing Tags", OCI distribution 1.1).

use http::{Response, StatusCode};
use registry_oci::{RepositoryName, Tag};
use serde::Serialize;

use super::Body;
use super::paging;
use super::problem::Problem;
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
    // Without `n` the list comes whole. With an `n` above the maximum it comes in pages of the maximum.
    let limit = paging::page_size(context)?.map(|size| size.min(context.options.tags_max));
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
    Ok(paging::with_next_link(
        context,
        reply.await?,
        last.as_ref().map(Tag::as_str),
        limit,
    ))
}
