//! `/v2/_catalog` (distribution).

use http::{Response, StatusCode};
use registry_oci::RepositoryName;
use serde::Serialize;

use super::call::Call;
use super::problem::Problem;
use super::reply::Reply;
use super::{Body, tags};
use crate::registry::offload;

/// How many repositories a page has when the client does not say.
const PAGE: usize = 100;

#[derive(Serialize)]
struct List<'a> {
    repositories: Vec<&'a str>,
}

pub(super) async fn respond(call: &Call<'_>) -> Result<Response<Body>, Problem> {
    // Asked for with too large a number, the list comes in the largest pages there are.
    let limit = tags::number(call)?.unwrap_or(PAGE).min(call.options.catalog_max);
    let page = call.registry.catalog(call.query.get("last"), limit).await?;
    let (repositories, next) = (page.repositories, page.next);
    let reply = offload::by_count(repositories.len(), move || {
        let list = List {
            repositories: repositories.iter().map(RepositoryName::as_str).collect(),
        };
        Reply::json(StatusCode::OK, &list)
    });
    Ok(tags::linked(call, reply.await?, next.as_deref(), Some(limit)))
}
