//! Pushing, pulling and deleting manifests and tags.

mod deleted;
mod pulled;
mod pushed;
mod shapes;

use registry_oci::Algorithm;

use super::*;
use crate::registry::{ReferencePolicy, Urls, Validation};

const PUSH: Headers<'_> = &[("content-type", OCI_MANIFEST)];

#[tokio::test]
async fn a_manifest_is_pulled_as_it_was_pushed_by_tag_and_by_digest() {
    let server = server();
    let manifest = server.image("a/b", "content", "").await;
    let digest = Digest::sha256(manifest.as_bytes()).to_string();
    let answer = server
        .send("PUT", "/v2/a/b/manifests/v1", PUSH, manifest.clone())
        .await;
    let expected = [
        ("docker-content-digest", digest.as_str()),
        ("oci-subject", "-"),
        ("oci-tag", "-"),
    ];
    assert_eq!(
        answer.is(201, &expected).location(),
        format!("/v2/a/b/manifests/{digest}")
    );
    let (etag, length) = (format!("\"{digest}\""), manifest.len().to_string());
    let headers = [
        ("content-type", OCI_MANIFEST),
        ("content-length", &length),
        ("docker-content-digest", &digest),
        ("etag", &etag),
    ];
    for reference in ["v1", &digest] {
        let path = format!("/v2/a/b/manifests/{reference}");
        assert_eq!(server.get(&path).await.is(200, &headers).text(), manifest);
        assert_eq!(
            server.send("HEAD", &path, &[], "").await.is(200, &headers).body,
            ""
        );
        server
            .send("GET", &path, &[("if-none-match", &etag)], "")
            .await
            .is(304, &[("etag", &etag)]);
    }
}

#[tokio::test]
async fn a_push_leaves_distributions_files() {
    let server = server();
    let digest = server.push_image("a/b", "v1", "content").await.hex();
    let (config, layer) = (Digest::sha256(b"{}").hex(), Digest::sha256(b"content").hex());
    let home = "docker/registry/v2/repositories/a/b";
    let mut expected: Vec<String> = [&digest, &config, &layer]
        .map(|hex| format!("docker/registry/v2/blobs/sha256/{}/{hex}/data", &hex[..2]))
        .into();
    expected.extend([&config, &layer].map(|hex| format!("{home}/_layers/sha256/{hex}/link")));
    expected.push(format!("{home}/_manifests/revisions/sha256/{digest}/link"));
    expected.push(format!("{home}/_manifests/tags/v1/current/link"));
    expected.push(format!("{home}/_manifests/tags/v1/index/sha256/{digest}/link"));
    expected.sort();
    let files = server
        .files()
        .into_keys()
        .filter(|path| path.starts_with("docker/registry/v2/"));
    assert_eq!(files.collect::<Vec<_>>(), expected);
    let link = server
        .folder
        .path()
        .join(format!("{home}/_manifests/tags/v1/current/link"));
    assert_eq!(std::fs::read_to_string(link).unwrap(), format!("sha256:{digest}"));
}

#[tokio::test]
async fn a_tag_moves_to_the_manifest_pushed_last() {
    let server = server();
    let first = server.push_image("a", "v1", "one").await.to_string();
    let second = server.push_image("a", "v1", "two").await.to_string();
    server
        .get("/v2/a/manifests/v1")
        .await
        .is(200, &[("docker-content-digest", &second)]);
    server.get(&format!("/v2/a/manifests/{first}")).await.is(200, &[]);
}
