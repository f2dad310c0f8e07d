//! Tests of the table of codes against those of the specification and of distribution, and of the response to each
//! error.

use std::collections::BTreeSet;

use registry_oci::{Digest, MediaType, Reference, RepositoryName, Tag, UploadId};

use super::*;
use crate::registry::{Error, MissingReference};
use crate::storage::{self, StorageKey};

/// OCI distribution 1.1, "Error Codes", in its order.
const SPECIFICATION: [&str; 14] = [
    "BLOB_UNKNOWN",
    "BLOB_UPLOAD_INVALID",
    "BLOB_UPLOAD_UNKNOWN",
    "DIGEST_INVALID",
    "MANIFEST_BLOB_UNKNOWN",
    "MANIFEST_INVALID",
    "MANIFEST_UNKNOWN",
    "NAME_INVALID",
    "NAME_UNKNOWN",
    "SIZE_INVALID",
    "UNAUTHORIZED",
    "DENIED",
    "UNSUPPORTED",
    "TOOMANYREQUESTS",
];

/// The codes of distribution 3.1 (`registry/api/errcode/register.go`), sorted.
const DISTRIBUTION: [(&str, u16, &str); 19] = [
    ("BLOB_UNKNOWN", 404, "blob unknown to registry"),
    ("BLOB_UPLOAD_INVALID", 404, "blob upload invalid"),
    ("BLOB_UPLOAD_UNKNOWN", 404, "blob upload unknown to registry"),
    ("DENIED", 403, "requested access to the resource is denied"),
    (
        "DIGEST_INVALID",
        400,
        "provided digest did not match uploaded content",
    ),
    ("MANIFEST_BLOB_UNKNOWN", 400, "blob unknown to registry"),
    ("MANIFEST_INVALID", 400, "manifest invalid"),
    ("MANIFEST_UNKNOWN", 404, "manifest unknown"),
    ("NAME_INVALID", 400, "invalid repository name"),
    ("NAME_UNKNOWN", 404, "repository name not known to registry"),
    (
        "PAGINATION_NUMBER_INVALID",
        400,
        "invalid number of results requested",
    ),
    ("RANGE_INVALID", 416, "invalid content range"),
    (
        "SIZE_INVALID",
        400,
        "provided length did not match content length",
    ),
    ("TAG_INVALID", 400, "manifest tag did not match URI"),
    ("TOOMANYREQUESTS", 429, "too many requests"),
    ("UNAUTHORIZED", 401, "authentication required"),
    ("UNAVAILABLE", 503, "service unavailable"),
    ("UNKNOWN", 500, "unknown error"),
    ("UNSUPPORTED", 405, "The operation is unsupported."),
];

#[test]
fn the_table_begins_with_the_specifications_codes_in_its_order() {
    let names: Vec<&str> = Code::ALL.iter().take(14).map(|code| code.name()).collect();
    assert_eq!(names, SPECIFICATION);
}

#[test]
fn every_code_has_distributions_status_and_message() {
    let ours: BTreeSet<_> = Code::ALL
        .iter()
        .map(|code| (code.name(), code.status().as_u16(), code.message()))
        .collect();
    assert_eq!(ours, BTreeSet::from(DISTRIBUTION));
}

async fn answered(problem: Problem) -> (u16, String, Response<()>) {
    use http_body_util::BodyExt as _;
    let (parts, body) = Response::from(problem).into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    (
        parts.status.as_u16(),
        String::from_utf8(body.to_vec()).unwrap(),
        Response::from_parts(parts, ()),
    )
}

#[tokio::test]
async fn every_error_of_the_registry_has_its_code_status_and_detail() {
    let repository = RepositoryName::parse("a/b").unwrap();
    let (digest, other) = (Digest::sha256(b"x"), Digest::sha256(b"y"));
    let id = UploadId::parse("id-1").unwrap();
    let reference = Reference::Digest(digest);
    let source = || registry_oci::Error::InvalidManifest {
        reason: "no".to_owned(),
    };
    let key = || StorageKey::parse("secret/path").unwrap();
    let rows: Vec<(Error, u16, &str, &str)> = vec![
        (
            Error::BlobUnknown {
                repository: repository.clone(),
                digest,
            },
            404,
            "BLOB_UNKNOWN",
            "sha256:2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881",
        ),
        (
            Error::UploadUnknown {
                repository: repository.clone(),
                id: id.clone(),
            },
            404,
            "BLOB_UPLOAD_UNKNOWN",
            "repository a/b has no upload id-1",
        ),
        (
            Error::UploadOffset {
                id: id.clone(),
                expected: 9,
                actual: 4,
            },
            416,
            "RANGE_INVALID",
            "upload id-1 holds 4 bytes, the chunk begins at 9",
        ),
        (
            Error::UploadOvertaken {
                id: id.clone(),
                actual: 4,
            },
            416,
            "RANGE_INVALID",
            "another request goes on with upload id-1, which holds 4 bytes",
        ),
        (
            Error::UploadBusy { id: id.clone() },
            429,
            "TOOMANYREQUESTS",
            "another request is still storing bytes of upload id-1",
        ),
        (
            Error::UploadInterrupted {
                id: id.clone(),
                received: 3,
                source: Box::new(crate::http::body_timeout::IdleTimeout(
                    std::time::Duration::from_secs(90),
                )),
            },
            408,
            "SIZE_INVALID",
            "the client stopped sending to upload id-1 after 3 bytes",
        ),
        (
            Error::UploadInterrupted {
                id: id.clone(),
                received: 3,
                source: "gone".into(),
            },
            400,
            "SIZE_INVALID",
            "the client stopped sending to upload id-1 after 3 bytes",
        ),
        (
            Error::UploadLength {
                id: id.clone(),
                expected: 9,
                received: 4,
            },
            400,
            "SIZE_INVALID",
            "upload id-1 got 4 bytes, 9 were announced",
        ),
        (
            Error::DigestMismatch {
                repository: repository.clone(),
                id,
                claimed: digest,
                actual: other,
            },
            400,
            "DIGEST_INVALID",
            "was sent as sha256:2d71",
        ),
        (
            Error::ManifestDigestMismatch {
                claimed: digest,
                actual: other,
            },
            400,
            "DIGEST_INVALID",
            "the manifest was sent as sha256:2d71",
        ),
        (
            Error::ManifestUnknown {
                repository: repository.clone(),
                reference: reference.clone(),
            },
            404,
            "MANIFEST_UNKNOWN",
            "repository a/b has no manifest sha256:2d71",
        ),
        (
            Error::ManifestNotAccepted {
                reference,
                media_type: MediaType::OCI_INDEX,
            },
            404,
            "MANIFEST_UNKNOWN",
            "which the request's Accept header does not list",
        ),
        (
            Error::ManifestInvalid { source: source() },
            400,
            "MANIFEST_INVALID",
            "not a manifest: no",
        ),
        (
            Error::ManifestTooLarge {
                size: 5_000_000,
                limit: 4_194_304,
            },
            413,
            "MANIFEST_INVALID",
            "the manifest has 5000000 bytes, more than the 4194304 a manifest may have",
        ),
        (
            Error::ManifestReferences {
                missing: vec![MissingReference::Blob(digest)],
                more: 0,
            },
            400,
            "MANIFEST_BLOB_UNKNOWN",
            "sha256:2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881",
        ),
        (
            Error::ManifestSize {
                digest,
                said: 9,
                actual: 7,
            },
            400,
            "MANIFEST_INVALID",
            "sha256:2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881 has 7 bytes, the manifest says 9",
        ),
        (
            Error::RepositoryUnknown {
                repository: repository.clone(),
            },
            404,
            "NAME_UNKNOWN",
            r#"{"name":"a/b"}"#,
        ),
        (
            Error::TagUnknown {
                repository,
                tag: Tag::parse("v1").unwrap(),
            },
            404,
            "MANIFEST_UNKNOWN",
            "repository a/b has no tag v1",
        ),
        (
            Error::RangeNotSatisfiable { size: 7 },
            416,
            "RANGE_INVALID",
            "the range begins behind the 7 bytes of the blob",
        ),
        (
            Error::Corrupt { digest },
            500,
            "UNKNOWN",
            r#""detail":{"request":""#,
        ),
        (
            Error::StoredManifest {
                digest,
                source: source(),
            },
            500,
            "UNKNOWN",
            r#""detail":{"request":""#,
        ),
        (
            Error::Storage {
                doing: "store a blob",
                source: storage::Error::Io {
                    action: "write",
                    key: key(),
                    source: std::io::Error::other("the disk is on fire"),
                },
            },
            503,
            "UNAVAILABLE",
            "service unavailable",
        ),
        (
            Error::Storage {
                doing: "store a blob",
                source: storage::Error::Full {
                    action: "write",
                    key: key(),
                    source: std::io::ErrorKind::StorageFull.into(),
                },
            },
            503,
            "UNAVAILABLE",
            r#""detail":"storage full""#,
        ),
        (
            Error::Storage {
                doing: "store a blob",
                source: storage::Error::ReadOnly {
                    action: "write",
                    key: key(),
                    source: std::io::ErrorKind::ReadOnlyFilesystem.into(),
                },
            },
            503,
            "UNAVAILABLE",
            r#""detail":"storage read-only""#,
        ),
        (
            Error::Storage {
                doing: "store a blob",
                source: storage::Error::Remote {
                    action: "write",
                    key: key(),
                    cause: storage::Cause::Overloaded,
                    source: "fire".into(),
                },
            },
            503,
            "UNAVAILABLE",
            r#""detail":"storage overloaded""#,
        ),
        (
            Error::Storage {
                doing: "store a blob",
                source: storage::Error::Remote {
                    action: "write",
                    key: key(),
                    cause: storage::Cause::NoBucket,
                    source: "fire".into(),
                },
            },
            503,
            "UNAVAILABLE",
            r#""detail":"storage misconfigured""#,
        ),
        (
            Error::Storage {
                doing: "open an upload",
                source: storage::Error::Busy { key: key() },
            },
            503,
            "UNAVAILABLE",
            "service unavailable",
        ),
        (Error::Stopping, 503, "UNAVAILABLE", "service unavailable"),
    ];
    for (error, status, code, detail) in rows {
        let row = error.to_string();
        // Waiting neither frees space on a disk nor creates a bucket.
        let waiting_helps = matches!(error.fault(), Fault::Transient { retry_after: Some(_) });
        let (got, body, response) = answered(error.into()).await;
        assert_eq!(
            response.headers().contains_key(RETRY_AFTER),
            waiting_helps,
            "{row}"
        );
        assert_eq!(got, status, "{row}");
        assert!(
            body.starts_with(&format!(r#"{{"errors":[{{"code":"{code}","message":""#)),
            "{row}\ngot: {body}"
        );
        assert!(body.contains(detail), "{row}\nexpected: {detail}\ngot: {body}");
        assert!(
            !body.contains("secret/path") && !body.contains("fire"),
            "{row} tells too much: {body}"
        );
    }
}

#[tokio::test]
async fn errors_say_how_to_go_on_in_their_headers() {
    let id = UploadId::parse("id-1").unwrap();
    let (_, _, answer) = answered(
        Error::UploadOffset {
            id,
            expected: 9,
            actual: 4,
        }
        .into(),
    )
    .await;
    assert_eq!(answer.headers()["range"], "0-3");
    let (_, _, answer) = answered(Error::RangeNotSatisfiable { size: 7 }.into()).await;
    assert_eq!(answer.headers()["content-range"], "bytes */7");
    let (_, _, answer) = answered(Error::Stopping.into()).await;
    assert_eq!(answer.headers()["retry-after"], "1");
    assert_eq!(answer.headers()["content-type"], "application/json");
}

#[tokio::test]
async fn every_missing_reference_is_an_error_of_its_own() {
    let missing = [b"1", b"2"].map(|bytes| MissingReference::Manifest(Digest::sha256(bytes)));
    let (status, body, _) = answered(
        Error::ManifestReferences {
            missing: missing.to_vec(),
            more: 7,
        }
        .into(),
    )
    .await;
    let document: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(status, 400);
    assert_eq!(document["errors"].as_array().unwrap().len(), 3);
    assert_eq!(
        document["errors"][2]["detail"],
        "and 7 more, as far as they were looked for"
    );
    assert_eq!(
        document["errors"][1],
        json!({
            "code": "MANIFEST_BLOB_UNKNOWN",
            "message": "blob unknown to registry",
            "detail": "sha256:d4735e3a265e16eee03f59718b9b5d03019c07d8b6c51f90da3a666eec13ab35",
        })
    );
}

#[tokio::test]
async fn every_text_in_a_detail_is_cut() {
    let long = "x".repeat(1 << 20);
    for detail in [
        json!(long),
        json!([{ "name": long }, long]),
        json!({ "n": [long] }),
    ] {
        let (_, body, _) = answered(Problem::with(Code::ManifestInvalid, detail)).await;
        assert!(body.len() < 4096, "{} bytes", body.len());
    }
}

#[tokio::test]
async fn a_refused_client_learns_what_it_asked_for() {
    let name = RepositoryName::parse("a/b").unwrap();
    let access = [Access::Repository {
        name,
        action: Action::Pull,
    }];
    let (status, body, _) = answered(Problem::unauthorized(&access)).await;
    assert_eq!(status, 401);
    let detail = json!([{ "Type": "repository", "Class": "", "Name": "a/b", "Action": "pull" }]);
    let expected = json!({ "code": "UNAUTHORIZED", "message": "authentication required", "detail": detail });
    let document: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(document, json!({ "errors": [expected] }));
    let (_, body, _) = answered(Problem::unauthorized(&[Access::Base])).await;
    assert_eq!(
        body,
        concat!(
            r#"{"errors":[{"code":"UNAUTHORIZED","message":"authentication required","detail":null}]}"#,
            "\n"
        )
    );
}
