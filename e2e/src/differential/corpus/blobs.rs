//! Blobs: whole, in ranges, with conditions, of another repository, and missing.

use super::super::request::{Script, delete, get, head};
use crate::protocol::digest;

pub(super) fn ask_all(script: &mut Script) {
    whole(script);
    ranges(script);
    conditions(script);
    digests(script);
    isolation(script);
}

fn whole(script: &mut Script) {
    script.about("a blob is read whole");
    for bytes in [&b"0123456789abcdefghij"[..], b"", b"\x00\xff\x00", &[7; 5000]] {
        let digest = script.blob("blobs/whole", bytes);
        let path = format!("/v2/blobs/whole/blobs/{digest}");
        script
            .send(head(&path))
            .send(get(&path))
            .send(get(&path).with("Accept", "text/plain"))
            .send(get(&path).with("Accept-Encoding", "gzip"))
            .send(get(format!("{path}?ns=docker.io")))
            .send(delete(&path));
    }
}

fn ranges(script: &mut Script) {
    script.about("a blob is read in parts");
    let digest = script.blob("blobs/parts", b"0123456789abcdefghij");
    let path = format!("/v2/blobs/parts/blobs/{digest}");
    for range in [
        "bytes=0-4",
        "bytes=0-0",
        "bytes=5-",
        "bytes=-3",
        "bytes=-99",
        "bytes=-0",
        "bytes=0-",
        "bytes=0-99",
        "bytes=19-19",
        "bytes=19-",
        "bytes=20-",
        "bytes=20-21",
        "bytes=9-5",
        "bytes=0-1,3-4",
        "bytes=0-1,0-1",
        "bytes=0-1,30-40",
        "bytes=0-4,",
        "bytes=30-31,40-41",
        "bytes= 0 - 4",
        "Bytes=0-4",
        "BYTES=0-4",
        "bytes 0-4",
        "bytes=",
        "bytes=-",
        "bytes=a-b",
        "bytes=+1-2",
        "bytes=0x1-2",
        "bytes=1-18446744073709551616",
        "bytes=99999999999999999999-",
        "bytes=-99999999999999999999",
        "items=0-4",
        "",
    ] {
        script
            .send(get(&path).with("Range", range))
            .send(head(&path).with("Range", range));
    }
    script.about("an empty blob is read in parts");
    let digest = script.blob("blobs/parts", b"");
    let path = format!("/v2/blobs/parts/blobs/{digest}");
    for range in ["bytes=0-", "bytes=0-0", "bytes=-1"] {
        script
            .send(get(&path).with("Range", range))
            .send(head(&path).with("Range", range));
    }
}

fn conditions(script: &mut Script) {
    script.about("a blob is read on a condition");
    let digest = script.blob("blobs/conditions", b"0123456789abcdefghij");
    let path = format!("/v2/blobs/conditions/blobs/{digest}");
    let tag = format!("\"{digest}\"");
    let other = format!("\"{}\"", crate::protocol::digest(b"other"));
    for value in [
        tag.clone(),
        format!("W/{tag}"),
        digest.clone(),
        "*".to_owned(),
        other.clone(),
        format!("{other}, {tag}"),
        "\"".to_owned(),
    ] {
        script
            .send(get(&path).with("If-None-Match", &value))
            .send(head(&path).with("If-None-Match", &value));
    }
    for value in [&tag, &other, &format!("W/{tag}"), &"*".to_owned()] {
        script
            .send(get(&path).with("If-Match", value))
            .send(get(&path).with("If-Range", value).with("Range", "bytes=0-4"));
    }
    script
        .send(
            get(&path)
                .with("If-Range", "Sat, 29 Oct 1994 19:43:31 GMT")
                .with("Range", "bytes=0-4"),
        )
        .send(get(&path).with("If-Modified-Since", "Sat, 29 Oct 1994 19:43:31 GMT"))
        .send(get(&path).with("If-Unmodified-Since", "Sat, 29 Oct 1994 19:43:31 GMT"))
        .send(get(&path).with("If-None-Match", &tag).with("Range", "bytes=0-4"));
}

/// Every spelling of a digest.
fn digests(script: &mut Script) {
    script.about("a blob's digest is written in many ways");
    script.blob("blobs/digests", b"here");
    let sha256 = digest(b"nowhere");
    let hex = sha256.trim_start_matches("sha256:");
    for digest in [
        sha256.clone(),
        hex.to_owned(),
        format!("sha256:{}", hex.to_uppercase()),
        format!("SHA256:{hex}"),
        format!("sha256:{}", &hex[1..]),
        format!("sha256:{hex}0"),
        format!("sha256:{}g", &hex[1..]),
        format!("sha512:{hex}{hex}"),
        format!("sha512:{hex}"),
        format!("sha384:{}{}", hex, &hex[..32]),
        format!("md5:{}", &hex[..32]),
        format!("sha256+b64:{hex}"),
        format!("sha256:{hex}:x"),
        "sha256:".to_owned(),
        ":".to_owned(),
        "sha256".to_owned(),
        "latest".to_owned(),
        format!("sha256%3A{hex}"),
        format!("tarsum.v1+sha256:{hex}"),
    ] {
        script
            .send(get(format!("/v2/blobs/digests/blobs/{digest}")))
            .send(head(format!("/v2/blobs/digests/blobs/{digest}")))
            .send(delete(format!("/v2/blobs/digests/blobs/{digest}")));
    }
}

/// Content of one repository is not visible through another.
fn isolation(script: &mut Script) {
    script.about("a blob of another repository");
    let digest = script.blob("blobs/inside", b"private");
    script
        .send(get(format!("/v2/blobs/outside/blobs/{digest}")))
        .send(head(format!("/v2/blobs/outside/blobs/{digest}")))
        .send(get(format!("/v2/blobs/inside/deeper/blobs/{digest}")));
}

/// Requests to a registry with deletion enabled.
pub(super) fn deletes(script: &mut Script) {
    script.about("a blob is deleted");
    let digest = script.blob("blobs/deleted", b"soon gone");
    let path = format!("/v2/blobs/deleted/blobs/{digest}");
    script
        .send(delete(format!("/v2/blobs/elsewhere/blobs/{digest}")))
        .send(delete(&path))
        .send(get(&path))
        .send(head(&path))
        .send(delete(&path));
    let again = script.blob("blobs/deleted", b"soon gone");
    script
        .send(get(format!("/v2/blobs/deleted/blobs/{again}")))
        .send(delete(format!("{path}?x=y")).body(b"a body"))
        .send(delete("/v2/blobs/deleted/blobs/sha256:0"))
        .send(delete("/v2/blobs/deleted/blobs/latest"));
    script.about("a blob that a manifest needs is deleted");
    let config = script.blob("blobs/needed", b"{}");
    let text = super::manifests::oci_manifest(&config, 2, &[]);
    let manifest = script.manifest("blobs/needed", "needing", super::manifests::OCI_MANIFEST, &text);
    script
        .send(delete(format!("/v2/blobs/needed/blobs/{config}")))
        .send(
            get(format!("/v2/blobs/needed/manifests/{manifest}"))
                .with("Accept", super::manifests::OCI_MANIFEST),
        );
    script.manifest("blobs/needed", "again", super::manifests::OCI_MANIFEST, &text);
}
