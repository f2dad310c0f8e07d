//! The accesses that a client must have for a request.

use http::Method;
use registry_oci::RepositoryName;

use super::query::Query;
use super::route::Route;
use crate::auth::{Access, Action};

/// Reading needs pull, writing needs pull and push, deleting needs delete. A mount also needs pull on the repository
/// that it mounts from. `name` is the repository of the route; without one the request is for the catalog or for
/// `/v2/`.
pub(super) fn required_access(
    route: &Route<'_>,
    name: Option<&RepositoryName>,
    method: &Method,
    query: &Query,
) -> Vec<Access> {
    let Some(name) = name else {
        return vec![if *route == Route::Catalog {
            Access::Catalog
        } else {
            Access::Base
        }];
    };
    let on = |name: &RepositoryName, action| Access::Repository {
        name: name.clone(),
        action,
    };
    let mut access = match *method {
        Method::GET | Method::HEAD => vec![on(name, Action::Pull)],
        Method::DELETE => vec![on(name, Action::Delete)],
        _ => vec![on(name, Action::Pull), on(name, Action::Push)],
    };
    if let (Route::Uploads { .. }, Some(from)) = (route, query.get("from"))
        && let Ok(from) = RepositoryName::parse(from)
    {
        access.push(on(&from, Action::Pull));
    }
    access
}
