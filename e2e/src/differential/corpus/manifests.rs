//! Manifests and indexes: pushed, read by tag and digest, negotiated, deleted.

use super::super::request::{Script, ask, delete, get, head, put};
use crate::protocol::digest;

pub(super) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(super) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(super) const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
pub(super) const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

/// An OCI image manifest of a config and layers that have been pushed.
pub(super) fn oci_manifest(config: &str, size: usize, layers: &[(&str, usize)]) -> String {
    let layers: Vec<String> = layers
        .iter()
        .map(|(digest, size)| {
            format!(r#"{{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"{digest}","size":{size}}}"#)
        })
        .collect();
    format!(
        r#"{{"schemaVersion":2,"mediaType":"{OCI_MANIFEST}","config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{config}","size":{size}}},"layers":[{}]}}"#,
        layers.join(",")
    )
}

/// The same as a Docker manifest.
pub(super) fn docker_manifest(config: &str, size: usize, layers: &[(&str, usize)]) -> String {
    let layers: Vec<String> = layers
        .iter()
        .map(|(digest, size)| {
            format!(
                r#"{{"mediaType":"application/vnd.docker.image.rootfs.diff.tar.gzip","digest":"{digest}","size":{size}}}"#
            )
        })
        .collect();
    format!(
        r#"{{"schemaVersion":2,"mediaType":"{DOCKER_MANIFEST}","config":{{"mediaType":"application/vnd.docker.container.image.v1+json","digest":"{config}","size":{size}}},"layers":[{}]}}"#,
        layers.join(",")
    )
}

/// An index or a list of one manifest for linux/amd64.
pub(super) fn index(kind: &str, child_kind: &str, child: &str, size: usize) -> String {
    format!(
        r#"{{"schemaVersion":2,"mediaType":"{kind}","manifests":[{{"mediaType":"{child_kind}","digest":"{child}","size":{size},"platform":{{"architecture":"amd64","os":"linux"}}}}]}}"#
    )
}

pub(super) fn ask_all(script: &mut Script) {
    media_types(script);
    conditions(script);
    references(script);
    tags(script);
    artifacts(script);
    methods(script);
}

/// Pushes one of each kind below tags of its own and gives tags and digests.
pub(super) fn one_of_each(script: &mut Script, name: &str) -> Vec<(&'static str, String, &'static str)> {
    let config = script.blob(name, b"{}");
    let layer = script.blob(name, b"layer");
    let layers = [(layer.as_str(), 5)];
    let docker = docker_manifest(&config, 2, &layers);
    let docker_digest = script.manifest(name, "docker", DOCKER_MANIFEST, &docker);
    let list = index(DOCKER_LIST, DOCKER_MANIFEST, &docker_digest, docker.len());
    let list_digest = script.manifest(name, "docker-list", DOCKER_LIST, &list);
    let oci = oci_manifest(&config, 2, &layers);
    let oci_digest = script.manifest(name, "oci", OCI_MANIFEST, &oci);
    let oci_index = index(OCI_INDEX, OCI_MANIFEST, &oci_digest, oci.len());
    let index_digest = script.manifest(name, "oci-index", OCI_INDEX, &oci_index);
    vec![
        ("docker", docker_digest, DOCKER_MANIFEST),
        ("docker-list", list_digest, DOCKER_LIST),
        ("oci", oci_digest, OCI_MANIFEST),
        ("oci-index", index_digest, OCI_INDEX),
    ]
}

fn media_types(script: &mut Script) {
    script.about("manifests of each kind are read");
    let docker_client = format!(
        "{DOCKER_MANIFEST}, {DOCKER_LIST}, {OCI_MANIFEST}, {OCI_INDEX}, application/vnd.docker.distribution.manifest.v1+prettyjws"
    );
    for (tag, digest, kind) in one_of_each(script, "manifests/kinds") {
        for reference in [tag, digest.as_str()] {
            let path = format!("/v2/manifests/kinds/manifests/{reference}");
            script.send(get(&path)).send(head(&path));
            for accept in [
                kind,
                &docker_client,
                "*/*",
                "application/*",
                "application/json",
                "text/html",
                DOCKER_MANIFEST,
                OCI_MANIFEST,
                &format!("{kind};q=0.5"),
                &format!("{kind};q=0"),
                &format!(" {kind} ,text/html"),
                &kind.to_uppercase(),
                "",
                ",",
                "application/vnd.docker.distribution.manifest.v1+prettyjws",
            ] {
                script.send(get(&path).with("Accept", accept));
            }
            script
                .send(head(&path).with("Accept", kind))
                .send(get(&path).with("Accept", "text/html").with("Accept", kind))
                .send(get(&path).with("Accept", kind).with("Range", "bytes=0-3"))
                .send(get(format!("{path}?ns=docker.io")).with("Accept", kind));
        }
        // The right digest in the wrong repository.
        script.send(get(format!("/v2/manifests/other/manifests/{digest}")).with("Accept", kind));
    }
}

fn conditions(script: &mut Script) {
    script.about("a manifest is read on a condition");
    let config = script.blob("manifests/conditions", b"{}");
    let text = docker_manifest(&config, 2, &[]);
    let digest = script.manifest("manifests/conditions", "latest", DOCKER_MANIFEST, &text);
    for reference in ["latest", digest.as_str()] {
        let path = format!("/v2/manifests/conditions/manifests/{reference}");
        for value in [
            format!("\"{digest}\""),
            digest.clone(),
            format!("W/\"{digest}\""),
            "*".to_owned(),
            "\"other\"".to_owned(),
            format!("\"other\", \"{digest}\""),
        ] {
            script
                .send(
                    get(&path)
                        .with("Accept", DOCKER_MANIFEST)
                        .with("If-None-Match", &value),
                )
                .send(
                    head(&path)
                        .with("Accept", DOCKER_MANIFEST)
                        .with("If-None-Match", &value),
                );
        }
    }
}

/// Every spelling of a tag or a digest, with every method.
fn references(script: &mut Script) {
    script.about("references of every form");
    let config = script.blob("manifests/references", b"{}");
    let text = docker_manifest(&config, 2, &[]);
    let right = digest(text.as_bytes());
    let wrong = digest(b"wrong");
    let hex = right.trim_start_matches("sha256:").to_owned();
    let long = "t".repeat(128);
    let too_long = "t".repeat(129);
    for reference in [
        right.as_str(),
        &wrong,
        &long,
        &too_long,
        "_under",
        ".dot",
        "-dash",
        "UPPER",
        "a..b",
        "a+b",
        "a%2Bb",
        "a b",
        "a%20b",
        "%00",
        "%ff",
        "a:b",
        "a@b",
        "a%2fb",
        "tagged@sha256:0",
        &hex,
        &format!("sha256:{}", hex.to_uppercase()),
        &format!("sha256:{}", &hex[1..]),
        &format!("sha512:{hex}{hex}"),
        &format!("sha512:{hex}"),
        &format!("md5:{}", &hex[..32]),
        &format!("unknown:{hex}"),
        "sha256:",
        "1.0",
        "%C3%A9",
    ] {
        // A space would end the request's target.
        if reference.contains(' ') {
            continue;
        }
        let path = format!("/v2/manifests/references/manifests/{reference}");
        script
            .send(put(&path).with("Content-Type", DOCKER_MANIFEST).body(&text))
            .send(get(&path).with("Accept", DOCKER_MANIFEST))
            .send(head(&path).with("Accept", DOCKER_MANIFEST))
            .send(delete(&path));
    }
    script
        .about("references that are not there")
        .send(get("/v2/manifests/references/manifests/missing"))
        .send(head("/v2/manifests/references/manifests/missing"))
        .send(get("/v2/manifests/nothing/manifests/missing"))
        .send(get(format!("/v2/manifests/nothing/manifests/{right}")))
        .send(head(format!("/v2/manifests/nothing/manifests/{right}")));
}

fn tags(script: &mut Script) {
    script.about("a tag is moved");
    let config = script.blob("manifests/tags", b"{}");
    let layer = script.blob("manifests/tags", b"layer");
    let first = docker_manifest(&config, 2, &[]);
    let second = docker_manifest(&config, 2, &[(&layer, 5)]);
    let path = "/v2/manifests/tags/manifests/moving";
    for text in [&first, &second, &first, &first] {
        script.manifest("manifests/tags", "moving", DOCKER_MANIFEST, text);
        script
            .send(get(path).with("Accept", DOCKER_MANIFEST))
            .send(get("/v2/manifests/tags/tags/list"));
    }
    script
        .about("tags beside the digest")
        .send(
            put(format!(
                "/v2/manifests/tags/manifests/{}?tag=one&tag=two",
                digest(second.as_bytes())
            ))
            .with("Content-Type", DOCKER_MANIFEST)
            .body(&second),
        )
        .send(get("/v2/manifests/tags/tags/list"));
}

fn artifacts(script: &mut Script) {
    script.about("artifacts with a subject");
    let name = "manifests/artifacts";
    let config = script.blob(name, b"{}");
    let text = oci_manifest(&config, 2, &[]);
    let subject = script.manifest(name, "subject", OCI_MANIFEST, &text);
    let artifact = format!(
        r#"{{"schemaVersion":2,"mediaType":"{OCI_MANIFEST}","artifactType":"text/sbom","config":{{"mediaType":"application/vnd.oci.empty.v1+json","digest":"{config}","size":2}},"layers":[],"subject":{{"mediaType":"{OCI_MANIFEST}","digest":"{subject}","size":{}}}}}"#,
        text.len()
    );
    let digest = script.manifest(name, &digest(artifact.as_bytes()), OCI_MANIFEST, &artifact);
    script
        .send(get(format!("/v2/{name}/manifests/{digest}")).with("Accept", OCI_MANIFEST))
        .send(get(format!("/v2/{name}/referrers/{subject}")))
        .send(head(format!("/v2/{name}/referrers/{subject}")))
        .send(get(format!(
            "/v2/{name}/referrers/{subject}?artifactType=text/sbom"
        )))
        .send(get(format!(
            "/v2/{name}/referrers/{subject}?artifactType=text/other"
        )))
        .send(get(format!("/v2/{name}/referrers/{digest}")))
        .send(get(format!("/v2/{name}/referrers/latest")))
        .send(ask("POST", format!("/v2/{name}/referrers/{subject}")));
}

fn methods(script: &mut Script) {
    script.about("methods a manifest does not have");
    for method in [
        "POST", "PATCH", "OPTIONS", "TRACE", "PROPFIND", "get", "put", "LINK", "M-SEARCH",
    ] {
        script
            .send(ask(method, "/v2/manifests/kinds/manifests/oci"))
            .send(ask(
                method,
                format!("/v2/manifests/kinds/manifests/{}", digest(b"nothing")),
            ))
            .send(ask(
                method,
                format!("/v2/manifests/kinds/blobs/{}", digest(b"layer")),
            ))
            .send(ask(method, "/v2/manifests/kinds/tags/list"))
            .send(ask(method, "/v2/_catalog"))
            .send(ask(method, "/v2/"))
            .send(ask(method, "/"));
    }
    for method in ["POST", "PUT", "PATCH", "DELETE"] {
        script
            .send(ask(method, "/v2/manifests/kinds/tags/list"))
            .send(ask(method, "/v2/_catalog"))
            .send(ask(method, "/v2/"))
            .send(ask(method, "/"));
    }
}

/// Requests to a registry with deletion enabled.
pub(super) fn deletes(script: &mut Script) {
    script.about("manifests are deleted");
    let name = "manifests/deleted";
    for (tag, digest, kind) in one_of_each(script, name) {
        let by_tag = format!("/v2/{name}/manifests/{tag}");
        let by_digest = format!("/v2/{name}/manifests/{digest}");
        script
            .send(delete(format!("/v2/manifests/elsewhere/manifests/{digest}")))
            .send(delete(format!("/v2/{name}/manifests/missing")))
            .send(delete(format!("/v2/{name}/manifests/sha256:0")))
            .send(delete(&by_tag))
            .send(delete(&by_tag))
            .send(get(&by_tag).with("Accept", kind))
            .send(get(&by_digest).with("Accept", kind))
            .send(delete(&by_digest))
            .send(delete(&by_digest))
            .send(get(&by_digest).with("Accept", kind))
            .send(get(format!("/v2/{name}/tags/list")));
    }
    script.about("a manifest is deleted under its tags");
    let config = script.blob(name, b"{}");
    let text = docker_manifest(&config, 2, &[]);
    script.manifest(name, "one", DOCKER_MANIFEST, &text);
    let digest = script.manifest(name, "two", DOCKER_MANIFEST, &text);
    script
        .send(get(format!("/v2/{name}/tags/list")))
        .send(delete(format!("/v2/{name}/manifests/{digest}")))
        .send(get(format!("/v2/{name}/tags/list")))
        .send(get(format!("/v2/{name}/manifests/one")).with("Accept", DOCKER_MANIFEST));
    script.manifest(name, "two", DOCKER_MANIFEST, &text);
    script.send(get(format!("/v2/{name}/manifests/two")).with("Accept", DOCKER_MANIFEST));
}
