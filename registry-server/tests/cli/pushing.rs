//! Pushes by hand, and where their blobs lie then.

use std::path::{Path, PathBuf};

use registry_oci::Digest;

use crate::program::{Answer, Server};

fn pushed(server: &Server, request: &str, body: &str) -> Answer {
    let head = format!("{request} HTTP/1.1\r\nContent-Length: {}\r\n", body.len());
    let stream = crate::program::connect(&server.address);
    crate::program::send(&stream, &head);
    std::io::Write::write_all(&mut &stream, body.as_bytes()).unwrap();
    let answer = Answer::read(stream);
    assert_eq!(answer.status, 201, "{answer:?}");
    answer
}

pub(crate) fn push_blob(server: &Server, content: &str) -> Digest {
    let digest = Digest::sha256(content.as_bytes());
    pushed(
        server,
        &format!("POST /v2/team/app/blobs/uploads/?digest={digest}"),
        content,
    );
    digest
}

/// Pushes an image of one layer, and a blob that no image has.
pub(crate) fn push(server: &Server) -> [Digest; 4] {
    let (config, layer) = (push_blob(server, "{}"), push_blob(server, "layer"));
    let part = |digest, size| format!(r#"{{"mediaType":"a/b","digest":"{digest}","size":{size}}}"#);
    let manifest = format!(
        r#"{{"schemaVersion":2,"config":{},"layers":[{}]}}"#,
        part(config, 2),
        part(layer, 5)
    );
    let head = "PUT /v2/team/app/manifests/v1 HTTP/1.1\r\nContent-Type: application/vnd.oci.image.manifest.v1+json\r\n";
    let stream = crate::program::connect(&server.address);
    crate::program::send(&stream, &format!("{head}Content-Length: {}\r\n", manifest.len()));
    std::io::Write::write_all(&mut &stream, manifest.as_bytes()).unwrap();
    assert_eq!(Answer::read(stream).status, 201);
    let garbage = push_blob(server, "garbage");
    [config, layer, Digest::sha256(manifest.as_bytes()), garbage]
}

pub(crate) fn data(folder: &Path, digest: &Digest) -> PathBuf {
    let hex = digest.hex();
    folder
        .join("data/docker/registry/v2/blobs/sha256")
        .join(&hex[..2])
        .join(hex)
        .join("data")
}
