//! `/v2/_catalog` (distribution).

use http::{Response, StatusCode};
use registry_oci::RepositoryName;
use serde::Serialize;

use super::problem::Problem;
use super::reply::Reply;
use super::request_context::RequestContext;
use super::{Body, paging};
use crate::registry::offload;

/// The number of repositories on a page when the client sends no `n`.
const PAGE_SIZE: usize = 100;

#[derive(Serialize)]
struct List<'a> {
    repositories: Vec<&'a str>,
}

pub(super) async fn respond(context: &RequestContext<'_>) -> Result<Response<Body>, Problem> {
    // With an `n` above the maximum the list comes in pages of the maximum.
    let limit = paging::page_size(context)?
        .unwrap_or(PAGE_SIZE)
        .min(context.options.catalog_max);
    let page = context.registry.catalog(context.query.get("last"), limit).await?;
    let (repositories, next) = (page.repositories, page.next);
    let reply = offload::by_count(repositories.len(), move || {
        let list = List {
            repositories: repositories.iter().map(RepositoryName::as_str).collect(),
        };
        Reply::json(StatusCode::OK, &list)
    });
    Ok(paging::with_next_link(
        context,
        reply.await?,
        next.as_deref(),
        Some(limit),
    ))
}
