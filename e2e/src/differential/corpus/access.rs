//! The same requests where not everything is allowed, and where URLs are built in another way.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::super::request::{Script, ask, delete, get, head, patch, post, put};
use super::manifests::{DOCKER_MANIFEST, one_of_each};
use crate::fixture::USER;
use crate::protocol::digest;

/// Pushes content for a phase with another configuration.
pub(super) fn fill(script: &mut Script) {
    script.about("content is pushed");
    one_of_each(script, "access/content");
}

/// One request per route and method.
fn every_route(script: &mut Script, login: Option<&str>) {
    let layer = digest(b"layer");
    for path in [
        "/".to_owned(),
        "/v2/".to_owned(),
        "/v2/_catalog".to_owned(),
        "/v2/access/content/tags/list".to_owned(),
        "/v2/access/content/manifests/docker".to_owned(),
        "/v2/access/content/manifests/missing".to_owned(),
        format!("/v2/access/content/manifests/{layer}"),
        format!("/v2/access/content/blobs/{layer}"),
        "/v2/access/content/blobs/uploads/".to_owned(),
        "/v2/access/content/blobs/uploads/01234567-89ab-4cde-8f01-23456789abcd".to_owned(),
        "/v2/UPPER/tags/list".to_owned(),
        "/v2/access/content/other".to_owned(),
    ] {
        for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] {
            let mut request = ask(method, &path).with("Accept", DOCKER_MANIFEST);
            if let Some(login) = login {
                request = request.with("Authorization", login);
            }
            script.send(request);
        }
    }
}

/// Requests to a read-only registry.
pub(super) fn read_only(script: &mut Script) {
    script.about("a read-only registry");
    every_route(script, None);
    let layer = digest(b"layer");
    script
        .send(post(format!(
            "/v2/access/mounted/blobs/uploads/?mount={layer}&from=access/content"
        )))
        .send(
            put("/v2/access/content/manifests/new")
                .with("Content-Type", DOCKER_MANIFEST)
                .body("{}"),
        );
}

/// Requests to a registry with a password.
pub(super) fn password(script: &mut Script, password: &str) {
    let basic = |text: &str| format!("Basic {}", STANDARD.encode(text));
    let right = basic(&format!("{USER}:{password}"));
    script.about("nobody is logged in");
    every_route(script, None);
    script.send(post(format!(
        "/v2/access/mounted/blobs/uploads/?mount={}&from=access/content",
        digest(b"layer")
    )));
    script.about("somebody logs in");
    for login in [
        right.as_str(),
        &basic(&format!("{USER}:wrong")),
        &basic(&format!("{USER}:")),
        &basic(&format!("nobody:{password}")),
        &basic(USER),
        &basic(""),
        &basic(":"),
        "Basic",
        "Basic ",
        "Basic %%%",
        &right.replace("Basic", "basic"),
        &right.replace("Basic ", "Basic  "),
        "Bearer nonsense",
        "nonsense",
        "",
    ] {
        script
            .send(get("/v2/").with("Authorization", login))
            .send(head("/v2/_catalog").with("Authorization", login));
    }
    script
        .send(
            get("/v2/")
                .with("Authorization", &right)
                .with("Authorization", "Basic wrong"),
        )
        .send(
            post("/v2/access/content/blobs/uploads/")
                .with("Authorization", &right)
                .keep("up"),
        )
        .send(patch("{up}").body("01234"))
        .send(
            patch("{up}")
                .with("Authorization", &right)
                .body("01234")
                .keep("up"),
        )
        .send(delete("{up}").with("Authorization", &right));
    script.about("everything is asked by somebody who is logged in");
    every_route(script, Some(&right));
}

/// Requests whose answers contain URLs.
pub(super) fn urls(script: &mut Script, prefix: &str) {
    script.about("where answers point to");
    let name = "access/urls";
    let bytes = b"{}";
    let blob = digest(bytes);
    let text = super::manifests::docker_manifest(&blob, 2, &[]);
    let path = format!("{prefix}/v2/{name}");
    for extra in [
        &[][..],
        &[
            ("X-Forwarded-Proto", "https"),
            ("X-Forwarded-Host", "outer.example"),
        ],
        &[("Forwarded", "proto=https;host=outer.example")],
        &[("Host", "other.example")],
    ] {
        let also = |request: super::super::request::Request| {
            extra
                .iter()
                .fold(request, |request, (name, value)| request.with(name, *value))
        };
        script
            .send(also(post(format!("{path}/blobs/uploads/")).keep("up")))
            .send(also(get("{up}")))
            .send(also(patch("{up}").body(bytes).keep("up")))
            .send(also(put(format!("{{up}}&digest={blob}"))))
            .send(also(
                put(format!("{path}/manifests/one"))
                    .with("Content-Type", DOCKER_MANIFEST)
                    .body(&text),
            ))
            .send(also(
                put(format!("{path}/manifests/two"))
                    .with("Content-Type", DOCKER_MANIFEST)
                    .body(&text),
            ))
            .send(also(get(format!("{path}/tags/list?n=1"))))
            .send(also(get(format!("{prefix}/v2/_catalog?n=0"))))
            .send(also(post(format!(
                "{prefix}/v2/access/mounted/blobs/uploads/?mount={blob}&from={name}"
            ))));
    }
    for path in [
        "/",
        "/v2",
        "/v2/",
        "/v2/_catalog",
        "/v2/nothing/tags/list",
        "/in/front",
        "/in/front/",
        "/in/front/v2",
        "/in/front/v2/",
        "/in/front/v1",
        "/elsewhere/v2/",
    ] {
        script.send(get(path)).send(head(path));
    }
}
