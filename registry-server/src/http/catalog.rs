//! `/v2/_catalog` (distribution).

use http::{Response, StatusCode};
use registry_oci::RepositoryName;
use serde::Serialize;

use super::problem::Problem;
use super::reply::Reply;
use super::request_context::RequestContext;
use super::{Body, tags};
use crate::registry::offload;

/// How many repositories a page has when the client does not say.
const PAGE: usize = 100;

#[derive(Serialize)]
struct List<'a> {
    repositories: Vec<&'a str>,
}

pub(super) async fn respond(context: &RequestContext<'_>) -> Result<Response<Body>, Problem> {
    // Asked for with too large a number, the list comes in the largest pages there are.
    let limit = tags::number(context)?
        .unwrap_or(PAGE)
        .min(context.options.catalog_max);
    let page = context.registry.catalog(context.query.get("last"), limit).await?;
    let (repositories, next) = (page.repositories, page.next);
    let reply = offload::by_count(repositories.len(), move || {
        let list = List {
            repositories: repositories.iter().map(RepositoryName::as_str).collect(),
        };
        Reply::json(StatusCode::OK, &list)
    });
    Ok(tags::linked(context, reply.await?, next.as_deref(), Some(limit)))
}
