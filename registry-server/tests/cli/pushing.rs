//! Pushes without a client library, and the paths of pushed blobs.

use std::path::{Path, PathBuf};

use registry_oci::Digest;

use crate::program::Server;

/// Pushes a blob in one request.
pub(crate) fn push_blob(server: &Server, content: &str) -> Digest {
    let digest = Digest::sha256(content.as_bytes());
    let path = format!("/v2/team/app/blobs/uploads/?digest={digest}");
    server.request("POST", &path, "", content.as_bytes()).is(201);
    digest
}

/// Pushes an image with one layer, and a blob that no image refers to. Gives the digests of the configuration, the layer,
/// the manifest and that blob.
pub(crate) fn push(server: &Server) -> [Digest; 4] {
    let (config, layer) = (push_blob(server, "{}"), push_blob(server, "layer"));
    let part = |digest, size| format!(r#"{{"mediaType":"a/b","digest":"{digest}","size":{size}}}"#);
    let manifest = format!(
        r#"{{"schemaVersion":2,"config":{},"layers":[{}]}}"#,
        part(config, 2),
        part(layer, 5)
    );
    let kind = "Content-Type: application/vnd.oci.image.manifest.v1+json\r\n";
    server
        .request("PUT", "/v2/team/app/manifests/v1", kind, manifest.as_bytes())
        .is(201);
    let garbage = push_blob(server, "garbage");
    [config, layer, Digest::sha256(manifest.as_bytes()), garbage]
}

/// The file of a blob in the folder of a server.
pub(crate) fn data(folder: &Path, digest: &Digest) -> PathBuf {
    let hex = digest.hex();
    folder
        .join("data/docker/registry/v2/blobs/sha256")
        .join(&hex[..2])
        .join(hex)
        .join("data")
}
