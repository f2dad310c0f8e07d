//! Pushed manifests: the accepted ones, and the ones that are refused before anything is stored.

use super::*;

#[tokio::test]
async fn references_to_what_the_repository_does_not_have_are_refused_one_by_one() {
    let server = server();
    let manifest = server.image("a", "content", "").await;
    // The same blobs in another repository do not count.
    let answer = server.send("PUT", "/v2/b/manifests/v1", PUSH, manifest).await;
    let answer = answer.refuses(400, "MANIFEST_BLOB_UNKNOWN");
    let details: Vec<_> = answer.json()["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| e["detail"].clone())
        .collect();
    assert_eq!(
        details,
        [
            Digest::sha256(b"{}").to_string(),
            Digest::sha256(b"content").to_string()
        ]
    );
    let index = format!(
        r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"{OCI_MANIFEST}","digest":"{}","size":3}}]}}"#,
        Digest::sha256(b"child")
    );
    let answer = server
        .send(
            "PUT",
            "/v2/b/manifests/v1",
            &[("content-type", OCI_INDEX)],
            index.clone(),
        )
        .await;
    answer.refuses(400, "MANIFEST_BLOB_UNKNOWN");
    server.get("/v2/b/tags/list").await.refuses(404, "NAME_UNKNOWN");
    let any = server_with(
        Settings {
            validation: Validation {
                references: ReferencePolicy::Any,
                ..Validation::default()
            },
            ..Settings::default()
        },
        |_| {},
    );
    let warning = format!(
        "299 - \"manifest {} is not in this repository\"",
        Digest::sha256(b"child")
    );
    any.send(
        "PUT",
        "/v2/b/manifests/v1",
        &[("content-type", OCI_INDEX)],
        index.clone(),
    )
    .await
    .is(201, &[("warning", &warning)]);
    let unchecked = server_with(
        Settings {
            validation: Validation {
                references: ReferencePolicy::Unchecked,
                ..Validation::default()
            },
            ..Settings::default()
        },
        |_| {},
    );
    unchecked
        .send("PUT", "/v2/b/manifests/v1", &[("content-type", OCI_INDEX)], index)
        .await
        .is(201, &[("warning", "-")]);
}

#[tokio::test]
async fn layers_that_lie_elsewhere_need_not_be_there_but_must_say_where() {
    let list = |patterns: &[&str]| patterns.iter().map(ToString::to_string).collect::<Vec<_>>();
    let elsewhere = |allow: &[&str], deny: &[&str]| Settings {
        validation: Validation {
            urls: Urls::new(&list(allow), &list(deny)).unwrap(),
            ..Validation::default()
        },
        ..Settings::default()
    };
    let server = server_with(elsewhere(&[], &["^$"]), |_| {});
    let config = server.push_blob("a", b"{}").await;
    let manifest = |layer: &str, urls: &str| {
        format!(
            r#"{{"schemaVersion":2,"mediaType":"{OCI_MANIFEST}","config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{config}","size":2}},"layers":[{{"mediaType":"{layer}","digest":"{}","size":9{urls}}}]}}"#,
            Digest::sha256(b"elsewhere")
        )
    };
    let oci = "application/vnd.oci.image.layer.nondistributable.v1.tar";
    let docker = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";
    let https = r#","urls":["https://layers.example/x"]"#;
    for (layer, urls, expected) in [
        (oci, https, Ok(())),
        (docker, https, Ok(())),
        (oci, "", Err("MANIFEST_BLOB_UNKNOWN")),
        (docker, "", Err("MANIFEST_INVALID")),
        (oci, r#","urls":["file:///etc/passwd"]"#, Err("MANIFEST_INVALID")),
        (
            "application/vnd.oci.image.layer.v1.tar",
            https,
            Err("MANIFEST_BLOB_UNKNOWN"),
        ),
    ] {
        let answer = server
            .send("PUT", "/v2/a/manifests/v1", PUSH, manifest(layer, urls))
            .await;
        match expected {
            Ok(()) => {
                let warning = "299 - \"layers that lie elsewhere are deprecated by the image specification\"";
                answer.is(201, &[("warning", warning)]);
            }
            Err(code) => {
                answer.refuses(400, code);
            }
        }
    }
    for (settings, status) in [
        (Settings::default(), 400),
        (elsewhere(&["^https://layers\\.example/"], &[]), 201),
        (elsewhere(&["^https://other\\.example/"], &[]), 400),
        (elsewhere(&[], &["/x$"]), 400),
    ] {
        let server = server_with(settings, |_| {});
        server.push_blob("a", b"{}").await;
        server
            .send("PUT", "/v2/a/manifests/v1", PUSH, manifest(oci, https))
            .await
            .is(status, &[]);
    }
}

#[tokio::test]
async fn manifests_of_a_class_that_is_not_listed_are_denied() {
    let settings = Settings {
        validation: Validation {
            classes: vec!["plugin".to_owned()],
            ..Validation::default()
        },
        ..Settings::default()
    };
    let server = server_with(settings, |_| {});
    let image = server.image("a", "content", "").await;
    let denied = server
        .send("PUT", "/v2/a/manifests/v1", PUSH, image.clone())
        .await;
    let answer = denied.refuses(403, "DENIED");
    assert_eq!(
        answer.json()["errors"][0]["detail"],
        "repositories may not hold manifests of class image"
    );
    let plugin = image.replace(
        "application/vnd.oci.image.config.v1+json",
        "application/vnd.docker.plugin.v1+json",
    );
    server
        .send("PUT", "/v2/a/manifests/v1", PUSH, plugin)
        .await
        .is(201, &[]);
    let other = image.replace("application/vnd.oci.image.config.v1+json", "text/plain");
    server
        .send("PUT", "/v2/a/manifests/v2", PUSH, other)
        .await
        .refuses(403, "DENIED");
}

#[tokio::test]
async fn documents_that_are_no_manifest_are_refused_and_leave_nothing() {
    let server = server();
    let manifest = server.image("a", "content", "").await;
    let before = server.files();
    let other = Digest::sha256(b"other").to_string();
    let rows: Vec<(&str, &str, Headers<'_>, String, u16, &str)> = vec![
        ("no type", "v1", &[], manifest.clone(), 400, "MANIFEST_INVALID"),
        ("not JSON", "v1", PUSH, "{".to_owned(), 400, "MANIFEST_INVALID"),
        ("empty", "v1", PUSH, String::new(), 400, "MANIFEST_INVALID"),
        (
            "another type",
            "v1",
            &[("content-type", OCI_INDEX)],
            manifest.clone(),
            400,
            "MANIFEST_INVALID",
        ),
        (
            "no media type",
            "v1",
            &[("content-type", "x")],
            manifest.clone(),
            400,
            "MANIFEST_INVALID",
        ),
        (
            "unknown type",
            "v1",
            &[("content-type", "text/plain")],
            manifest.clone(),
            400,
            "MANIFEST_INVALID",
        ),
        (
            "another digest",
            &other,
            PUSH,
            manifest.clone(),
            400,
            "DIGEST_INVALID",
        ),
        (
            "a broken digest",
            "sha256:abc",
            PUSH,
            manifest.clone(),
            400,
            "DIGEST_INVALID",
        ),
        (
            "a broken tag",
            ".hidden",
            PUSH,
            manifest.clone(),
            400,
            "TAG_INVALID",
        ),
        (
            "a broken extra tag",
            "v1?tag=.hidden",
            PUSH,
            manifest.clone(),
            400,
            "TAG_INVALID",
        ),
        (
            "too large",
            "v1",
            PUSH,
            " ".repeat(4 * 1024 * 1024 + 1),
            413,
            "MANIFEST_INVALID",
        ),
    ];
    for (row, reference, headers, body, status, code) in rows {
        let answer = server
            .send("PUT", &format!("/v2/a/manifests/{reference}"), headers, body)
            .await;
        println!("{row}: {}", answer.text()); // Shown when the row fails.
        answer.refuses(status, code);
    }
    assert_eq!(server.files(), before);
}

#[tokio::test]
async fn a_manifest_of_exactly_the_limit_is_taken() {
    let server = server();
    let short = server.image("a", "content", "").await;
    let padding = 4 * 1024 * 1024 - short.len();
    let manifest = short + &" ".repeat(padding);
    server
        .send("PUT", "/v2/a/manifests/v1", PUSH, manifest)
        .await
        .is(201, &[]);
}

#[tokio::test]
async fn several_tags_are_set_by_one_push() {
    let server = server();
    let manifest = server.image("a", "content", "").await;
    let digest = Digest::sha256(manifest.as_bytes());
    let path = format!("/v2/a/manifests/{digest}?tag=v1&tag=latest");
    let answer = server
        .send("PUT", &path, PUSH, manifest.clone())
        .await
        .is(201, &[]);
    let tags: Vec<_> = answer
        .headers
        .get_all("oci-tag")
        .iter()
        .map(|tag| tag.to_str().unwrap())
        .collect();
    assert_eq!(tags, ["v1", "latest"]);
    assert_eq!(
        server.get("/v2/a/tags/list").await.json()["tags"],
        serde_json::json!(["latest", "v1"])
    );
    let many: String = (0..65).map(|number| format!("&tag=t{number}")).collect();
    let path = format!("/v2/a/manifests/{digest}?{}", &many[1..]);
    server
        .send("PUT", &path, PUSH, manifest)
        .await
        .refuses(414, "TAG_INVALID");
}

#[tokio::test]
async fn null_for_an_empty_list_is_what_go_writes_and_is_taken_and_served() {
    let server = server();
    let manifest = server.image("a", "content", "").await;
    let manifest = manifest.replace(r#""size":2}"#, r#""size":2,"urls":null,"annotations":null}"#);
    server
        .send("PUT", "/v2/a/manifests/v1", PUSH, manifest.clone())
        .await
        .is(201, &[]);
    assert_eq!(
        server.get("/v2/a/manifests/v1").await.is(200, &[]).text(),
        manifest
    );
}

#[tokio::test]
async fn a_docker_document_says_its_type_itself_or_it_would_be_served_as_another() {
    let server = server();
    let image = server.image("a", "content", "").await;
    let silent = image.replace(&format!(r#""mediaType":"{OCI_MANIFEST}","#), "");
    let kinds = [
        (
            "application/vnd.docker.distribution.manifest.v2+json",
            silent.as_str(),
        ),
        (
            "application/vnd.docker.distribution.manifest.list.v2+json",
            r#"{"schemaVersion":2,"manifests":[]}"#,
        ),
    ];
    for (kind, document) in kinds {
        server
            .send(
                "PUT",
                "/v2/a/manifests/v1",
                &[("content-type", kind)],
                document.to_owned(),
            )
            .await
            .refuses(400, "MANIFEST_INVALID");
    }
    // In OCI the `mediaType` field is optional. Such a manifest is served with the type that it was pushed with.
    server
        .send("PUT", "/v2/a/manifests/v1", PUSH, silent)
        .await
        .is(201, &[]);
    server
        .get("/v2/a/manifests/v1")
        .await
        .is(200, &[("content-type", OCI_MANIFEST)]);
}
