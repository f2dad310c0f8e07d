//! `/v2/<name>/referrers/<digest>` ("Listing Referrers", OCI distribution 1.1).

use bytes::Bytes;
use http::header::{CONTENT_TYPE, LINK};
use http::{HeaderValue, Response, StatusCode};
use registry_oci::{Digest, RepositoryName};

use super::Body;
use super::problem::Problem;
use super::reply::{OCI_FILTERS_APPLIED, Reply};
use super::request_context::RequestContext;

/// The index around the descriptors ("image index", image specification 1.1).
const INDEX: [&str; 2] = [
    r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":["#,
    "]}\n",
];

pub(super) async fn respond(
    context: &RequestContext<'_>,
    name: &RepositoryName,
    digest: &str,
) -> Result<Response<Body>, Problem> {
    let subject = Digest::parse(digest)?;
    let filter = context
        .query
        .get("artifactType")
        .filter(|filter| !filter.is_empty());
    let last = context.query.get("last").map(Digest::parse).transpose()?;
    let page = context
        .registry
        .referrers(name, &subject, filter, last.as_ref())
        .await?;
    let content_type = HeaderValue::from_static("application/vnd.oci.image.index.v1+json");
    let [before, behind] = INDEX.map(|text| Bytes::from_static(text.as_bytes()));
    let body = Body::chunks([before, page.descriptors, behind]);
    let mut reply = Reply::with_body(StatusCode::OK, body).value(CONTENT_TYPE, content_type);
    if let Some(next) = page.next {
        let query = context.query.with(&[("last", &next.to_string())]);
        reply = reply.header(LINK, format!("<{}?{query}>; rel=\"next\"", context.path));
    }
    Ok(match filter {
        Some(_) => reply.value(OCI_FILTERS_APPLIED, HeaderValue::from_static("artifactType")),
        None => reply,
    }
    .finish())
}
