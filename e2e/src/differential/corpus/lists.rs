//! Tags and the catalog, whole and in pages.

use super::super::request::{Script, get, head};
use super::manifests::{DOCKER_MANIFEST, docker_manifest};

const TAGS: [&str; 8] = ["1.0", "1.0.1", "2", "A", "_x", "a", "b-c", "latest"];
const REPOSITORIES: [&str; 7] = [
    "a1",
    "lists/alpha",
    "lists/alpha-beta",
    "lists/alpha/beta",
    "lists/beta",
    "lists/tagged",
    "z9",
];

/// The queries for a page.
const PAGES: [&str; 36] = [
    "",
    "?n=0",
    "?n=1",
    "?n=2",
    "?n=3",
    "?n=6",
    "?n=7",
    "?n=8",
    "?n=9",
    "?n=1000",
    "?n=1001",
    "?n=99999999999999999999",
    "?n=9223372036854775807",
    "?n=-1",
    "?n=",
    "?n=x",
    "?n=1.5",
    "?n=+2",
    "?n=%202",
    "?n=02",
    "?n=2&n=3",
    "?last=a",
    "?last=latest",
    "?last=zzz",
    "?last=",
    "?last=1.0&n=2",
    "?last=nothing&n=2",
    "?n=2&last=lists/alpha",
    "?n=2&last=lists%2Falpha",
    "?n=1&last=lists/alpha-beta",
    "?n=2&last=../../etc",
    "?n=2&last=%00",
    "?n=2&last=UPPER",
    "?n=2&ns=docker.io",
    "?n=2&last=a%26b",
    "?N=2",
];

pub(super) fn ask_all(script: &mut Script) {
    script
        .about("lists of an empty registry")
        .send(get("/v2/_catalog"))
        .send(get("/v2/_catalog?n=2"))
        .send(get("/v2/_catalog?n=0"))
        .send(get("/v2/_catalog/"))
        .send(get("/v2/lists/tagged/tags/list"))
        .send(get("/v2/lists/tagged/tags/list?n=2"));
    script.about("repositories are filled");
    for name in REPOSITORIES {
        let config = script.blob(name, b"{}");
        let text = docker_manifest(&config, 2, &[]);
        script.manifest(name, "latest", DOCKER_MANIFEST, &text);
        if name == "lists/tagged" {
            for tag in TAGS {
                script.manifest(name, tag, DOCKER_MANIFEST, &text);
            }
        }
    }
    // These repositories have no manifest.
    script.blob("lists/blobs-only", b"{}");
    script.start("lists/upload-only");
    script.about("lists");
    for page in PAGES {
        script
            .send(get(format!("/v2/lists/tagged/tags/list{page}")))
            .send(get(format!("/v2/_catalog{page}")));
    }
    script
        .send(head("/v2/lists/tagged/tags/list"))
        .send(head("/v2/lists/tagged/tags/list?n=2"))
        .send(head("/v2/_catalog"))
        .send(head("/v2/_catalog?n=2"))
        .send(get("/v2/lists/tagged/tags/list/"))
        .send(get("/v2/lists/blobs-only/tags/list"))
        .send(get("/v2/lists/blobs-only/tags/list?n=2"))
        .send(get("/v2/lists/upload-only/tags/list"))
        .send(get("/v2/lists/nothing/tags/list"))
        .send(head("/v2/lists/nothing/tags/list"))
        .send(get("/v2/lists/nothing/tags/list?n=x"))
        .send(get("/v2/lists/tags/list"))
        .send(get("/v2/lists/tagged/tags/list").with("Accept", "text/html"))
        .send(get("/v2/lists/tagged/tags/list").with("Range", "bytes=0-3"))
        .send(get("/v2/").with("Accept", "text/html"))
        .send(head("/v2/"))
        .send(get("/v2/?x=y"));
}

/// Deletes the last tag of a repository.
pub(super) fn emptied(script: &mut Script) {
    use super::super::request::delete;
    script.about("a repository loses its last tag");
    let name = "lists/emptied";
    let config = script.blob(name, b"{}");
    let text = docker_manifest(&config, 2, &[]);
    let digest = script.manifest(name, "only", DOCKER_MANIFEST, &text);
    script
        .send(delete(format!("/v2/{name}/manifests/only")))
        .send(get(format!("/v2/{name}/tags/list")))
        .send(get(format!("/v2/{name}/tags/list?n=2")))
        .send(get("/v2/_catalog"))
        .send(delete(format!("/v2/{name}/manifests/{digest}")))
        .send(get(format!("/v2/{name}/tags/list")))
        .send(get("/v2/_catalog"));
}
