//! Unusual and invalid paths and names.

use super::super::request::{Script, ask, delete, get, head, post, put};
use crate::protocol::digest;

pub(super) fn ask_all(script: &mut Script) {
    names(script);
    traversal(script);
    slashes(script);
    elsewhere(script);
    long(script);
}

/// Names at the edge of the grammar, on every route.
fn names(script: &mut Script) {
    script.about("names on the edge of the grammar");
    let long = format!("long/{}", "n".repeat(250));
    let too_long = format!("long/{}", "n".repeat(251));
    let deep = vec!["d"; 128].join("/");
    for name in [
        "a",
        "a/b/c/d/e/f",
        "a.b/c_d/e__f/g-h/i--j",
        "a..b",
        "a___b",
        "a-",
        "-a",
        "_a",
        ".a",
        "a._b",
        "UPPER",
        "camelCase/name",
        "a//b",
        "a+b",
        "a%2Bb",
        "a%20b",
        "a:5000/b",
        "example.org:5000/name",
        "a@b",
        "%C3%A9",
        "%ff",
        "%00",
        "a%2fb",
        "a%2Fb",
        "%61",
        "a;b",
        "a=b",
        "a,b",
        "a~b",
        "a*b",
        "a'b",
        "a(b)",
        "a!b",
        "a$b",
        "blobs",
        "uploads",
        "blobs/uploads",
        "manifests",
        "tags/list",
        "_catalog",
        "v2",
        &long,
        &too_long,
        &deep,
    ] {
        script
            .send(get(format!("/v2/{name}/tags/list")))
            .send(get(format!("/v2/{name}/manifests/latest")))
            .send(head(format!("/v2/{name}/blobs/{}", digest(b"nothing"))))
            .send(post(format!("/v2/{name}/blobs/uploads/")));
    }
    for name in ["UPPER", "a..b", "%00", "..", "%2e%2e"] {
        script
            .send(
                put(format!("/v2/{name}/manifests/latest"))
                    .with("Content-Type", "text/plain")
                    .body("{}"),
            )
            .send(delete(format!("/v2/{name}/manifests/latest")))
            .send(delete(format!("/v2/{name}/blobs/{}", digest(b"nothing"))))
            .send(get(format!(
                "/v2/{name}/blobs/uploads/01234567-89ab-4cde-8f01-23456789abcd"
            )));
    }
}

fn traversal(script: &mut Script) {
    script.about("paths that climb");
    for path in [
        "/..",
        "/../",
        "/../../../../etc/passwd",
        "/v2/..",
        "/v2/../v2/",
        "/v2/./_catalog",
        "/v2/../../etc/passwd",
        "/v2/nobody/../../tags/list",
        "/v2/nobody/tags/../tags/list",
        "/v2/../etc/manifests/latest",
        "/v2/nobody/manifests/..",
        "/v2/nobody/manifests/../../../etc/passwd",
        "/v2/nobody/blobs/../blobs/x",
        "/v2/nobody/blobs/..%2f..%2fetc",
        "/v2/%2e%2e/%2e%2e/etc/tags/list",
        "/v2/..%2f..%2fetc/tags/list",
        "/v2/..%5c..%5cetc/tags/list",
        "/v2/%252e%252e/tags/list",
        "/v2/nobody%2f..%2fother/tags/list",
        "/v2/nobody/manifests/%2e%2e%2f%2e%2e%2fetc",
        "/v2/nobody/blobs/sha256:%2e%2e%2f%2e%2e",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/v2%2f_catalog",
        "/v2/%5fcatalog",
        "/%76%32/",
        "/v2/nobody/tags/list%00",
        "/v2/nobody/tags/list%0a",
        "/v2/nobody/tags/list%0d%0aX-Injected:%20yes",
        "/v2/nobody%0d%0aX-Injected:%20yes/tags/list",
    ] {
        script.send(get(path));
        script.send(put(path).body("x"));
    }
}

fn slashes(script: &mut Script) {
    script.about("slashes too many or too few");
    for path in [
        "/v2",
        "/v2?x=y",
        "//",
        "//v2/",
        "/v2//",
        "//v2//_catalog",
        "/v2/_catalog/",
        "/v2/_catalog/x",
        "/v2//_catalog",
        "/v2//nobody/tags/list",
        "/v2/nobody//tags/list",
        "/v2/nobody/tags//list",
        "/v2/nobody/tags/list/",
        "/v2/nobody/tags/list//",
        "/v2/nobody/tags/",
        "/v2/nobody/tags",
        "/v2/nobody/manifests/",
        "/v2/nobody/manifests",
        "/v2/nobody/manifests//latest",
        "/v2/nobody/manifests/latest/",
        "/v2/nobody/blobs/",
        "/v2/nobody/blobs",
        "/v2/nobody/blobs/uploads",
        "/v2/nobody/blobs/uploads//",
        "/v2/nobody/blobs//uploads/",
        "/v2/nobody/",
        "/v2/nobody",
        "/v2/tags/list",
        "/v2/blobs/uploads/",
        "/v2/manifests/latest",
    ] {
        script.send(get(path)).send(post(path));
    }
}

fn elsewhere(script: &mut Script) {
    script.about("paths of no registry");
    for path in [
        "/favicon.ico",
        "/robots.txt",
        "/v1/",
        "/v1/_ping",
        "/v3/",
        "/v2x",
        "/V2/",
        "/V2/_catalog",
        "/v2/nobody/other/x",
        "/v2/_catalogs",
        "/v2/_oci/ext/discover",
        "/metrics",
        "/debug/health",
        "/debug/pprof/",
        "/debug/vars",
        "/healthz",
        "/readyz",
        "/index.html",
        "/?x=y",
        "/%",
        "/%zz",
        "/v2/%",
        "/v2/%zz/tags/list",
        "/v2/nobody/tags/list?%zz",
        "/v2/nobody/tags/list?n=%",
        "/v2/nobody/tags/list?n=%zz",
        "/v2/nobody/tags/list?a;b",
        "/v2/nobody/tags/list?n=1;last=x",
        "/v2/nobody/tags/list?",
        "/v2/nobody/tags/list??",
        "/v2/nobody/tags/list#fragment",
        "/v2/?=",
        "/v2/?&&&",
    ] {
        script.send(get(path));
    }
    for method in ["HEAD", "OPTIONS", "DELETE", "PATCH", "TRACE", "BREW"] {
        script
            .send(ask(method, "/v1/"))
            .send(ask(method, "/v2/nobody/other/x"))
            .send(ask(method, "/v2"));
    }
}

fn long(script: &mut Script) {
    script.about("long ones");
    for length in [1000, 5000, 60_000] {
        let long = "l".repeat(length);
        script
            .send(get(format!("/v2/{long}/tags/list")))
            .send(get(format!("/v2/nobody/manifests/{long}")))
            .send(get(format!("/v2/nobody/blobs/sha256:{long}")))
            .send(get(format!("/v2/nobody/tags/list?last={long}")))
            .send(get("/v2/").with("X-Long", &long))
            .send(get("/v2/nobody/manifests/latest").with("Accept", &long));
    }
    let mut many = get("/v2/");
    for number in 0..90 {
        many = many.with(&format!("X-Many-{number}"), "value");
    }
    script.send(many);
    script.send(get(format!("/v2/?{}", vec!["a=b"; 2000].join("&"))));
}
