//! `/v2/_catalog` (distribution).

use http::{Response, StatusCode};
use registry_oci::RepositoryName;
use serde::Serialize;

use super::call::Call;
use super::problem::Problem;
use super::reply::Reply;
use super::{Body, tags};

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
    let repositories: Vec<&str> = page.items.iter().map(RepositoryName::as_str).collect();
    let last = repositories.last().copied().filter(|_| page.more);
    let reply = Reply::json(
        StatusCode::OK,
        &List {
            repositories: repositories.clone(),
        },
    );
    Ok(tags::linked(call, reply, last, Some(limit)))
}
