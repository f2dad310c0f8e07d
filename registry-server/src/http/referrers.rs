//! `/v2/<name>/referrers/<digest>` ("Listing Referrers", OCI distribution 1.1).

use http::header::{CONTENT_TYPE, LINK};
use http::{HeaderValue, Response, StatusCode};
use registry_oci::{Descriptor, Digest, MediaType, RepositoryName};
use serde::Serialize;

use super::Body;
use super::call::Call;
use super::problem::Problem;
use super::reply::{OCI_FILTERS_APPLIED, Reply};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Index {
    schema_version: u8,
    media_type: MediaType,
    manifests: Vec<Descriptor>,
}

pub(super) async fn respond(
    call: &Call<'_>,
    name: &RepositoryName,
    digest: &str,
) -> Result<Response<Body>, Problem> {
    let subject = Digest::parse(digest)?;
    let filter = call.query.get("artifactType").filter(|filter| !filter.is_empty());
    let last = call.query.get("last").map(Digest::parse).transpose()?;
    let page = call
        .registry
        .referrers(name, &subject, filter, last.as_ref())
        .await?;
    let next = page.items.last().filter(|_| page.more).map(|entry| entry.digest);
    let manifests = page.items;
    let index = Index {
        schema_version: 2,
        media_type: MediaType::OCI_INDEX,
        manifests,
    };
    let content_type = HeaderValue::from_static("application/vnd.oci.image.index.v1+json");
    let mut reply = Reply::json(StatusCode::OK, &index).value(CONTENT_TYPE, content_type);
    if let Some(next) = next {
        let query = call.query.with(&[("last", &next.to_string())]);
        reply = reply.header(LINK, format!("<{}?{query}>; rel=\"next\"", call.path));
    }
    Ok(match filter {
        Some(_) => reply.value(OCI_FILTERS_APPLIED, HeaderValue::from_static("artifactType")),
        None => reply,
    }
    .finish())
}
