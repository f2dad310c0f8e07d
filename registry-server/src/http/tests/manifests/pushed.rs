//! What is taken of a manifest, and what is refused before anything is stored.

use super::*;

#[tokio::test]
async fn references_to_what_the_repository_does_not_have_are_refused_one_by_one() {
    let server = server();
    let manifest = server.image("a", "content", "").await;
    // The same blobs in another repository do not help.
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
                references: References::Any,
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
                references: References::Unchecked,
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
    // OCI leaves it to the document, and such a one is served as what it was pushed as.
    server
        .send("PUT", "/v2/a/manifests/v1", PUSH, silent)
        .await
        .is(201, &[]);
    server
        .get("/v2/a/manifests/v1")
        .await
        .is(200, &[("content-type", OCI_MANIFEST)]);
}

/// A descriptor of something that is there.
fn described(digest: &Digest, size: usize) -> String {
    format!(r#"{{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"{digest}","size":{size}}}"#)
}

#[tokio::test]
async fn nothing_may_lie_elsewhere_unless_a_list_says_so_whatever_it_is() {
    let server = server();
    let image = server.image("a", "content", "").await;
    let child = server.push_image("a", "child", "child").await;
    let urls = r#""urls":["http://169.254.169.254/latest"],"digest""#;
    let index = format!(
        r#"{{"schemaVersion":2,"mediaType":"{OCI_INDEX}","manifests":[{}]}}"#,
        described(&child, 1)
    );
    let subject = image.replace(
        "\"layers\":",
        &format!("\"subject\":{},\"layers\":", described(&child, 1)),
    );
    for (kind, document) in [
        // The config, then the layer, of an image; the child of an index; a subject.
        (OCI_MANIFEST, image.replacen("\"digest\"", urls, 1)),
        (
            OCI_MANIFEST,
            image.replace("layer.v1.tar\",\"digest\"", &format!("layer.v1.tar\",{urls}")),
        ),
        (
            OCI_MANIFEST,
            image.replace(
                "layer.v1.tar\",\"digest\"",
                &format!("layer.v1.tar+zstd\",{urls}"),
            ),
        ),
        (OCI_INDEX, index.replace("\"digest\"", urls)),
        (
            OCI_MANIFEST,
            subject.replacen("layer.v1.tar\",\"digest\"", &format!("layer.v1.tar\",{urls}"), 1),
        ),
    ] {
        assert!(document.contains("169.254"), "{document}");
        let answer = server
            .send("PUT", "/v2/a/manifests/v1", &[("content-type", kind)], document)
            .await;
        answer.refuses(400, "MANIFEST_INVALID");
    }
}

#[tokio::test]
async fn a_key_that_only_some_readers_take_for_a_field_is_refused_at_every_level() {
    let server = server();
    let image = server.image("a", "content", "").await;
    let child = server.push_image("a", "child", "child").await;
    let platform = r#","platform":{"architecture":"amd64","os":"linux"}}"#;
    let size = std::fs::metadata(server.blob_path(&child)).unwrap().len();
    let index = format!(
        r#"{{"schemaVersion":2,"mediaType":"{OCI_INDEX}","manifests":[{}{platform}],"annotations":{{"a":"b"}}}}"#,
        described(&child, size as usize).trim_end_matches('}')
    );
    let push = async |kind: &str, document: String| {
        server
            .send("PUT", "/v2/a/manifests/v1", &[("content-type", kind)], document)
            .await
    };
    push(OCI_INDEX, index.clone()).await.is(201, &[]);
    for (from, to) in [
        // In place of the field, and beside it.
        ("\"layers\":", "\"Layers\":"),
        ("\"layers\":", "\"Layers\":[],\"layers\":"),
        ("\"layers\":", "\"layer\u{17f}\":[],\"layers\":"),
        ("\"layers\":", r#""layer\u017f":[],"layers":"#),
        ("\"layers\":", "\"layers\":[],\"layers\":"),
        ("\"layers\":", "\"Manifests\":[],\"layers\":"),
        ("\"layers\":", "\"SUBJECT\":null,\"layers\":"),
        ("\"config\":", "\"Config\":{},\"config\":"),
        ("\"mediaType\":", "\"mediatype\":\"a/b\",\"mediaType\":"),
        ("\"schemaVersion\":", "\"SchemaVersion\":1,\"schemaVersion\":"),
        ("\"digest\":", "\"dige\u{17f}t\":\"x\",\"digest\":"),
        ("\"digest\":", "\"d\u{131}gest\":\"x\",\"digest\":"),
        ("\"digest\":", "\"Urls\":[],\"digest\":"),
        ("\"digest\":", "\"Data\":\"e30=\",\"digest\":"),
        ("\"digest\":", "\"Size\":1,\"digest\":"),
    ] {
        let document = image.replacen(from, to, 1);
        assert_ne!(document, image, "{from}");
        push(OCI_MANIFEST, document)
            .await
            .refuses(400, "MANIFEST_INVALID");
    }
    for (from, to) in [
        ("\"manifests\":", "\"Layers\":[],\"manifests\":"),
        ("\"platform\":", "\"Platform\":{},\"platform\":"),
        ("\"os\":", "\"OS\":\"windows\",\"os\":"),
        ("\"os\":", "\"o\u{17f}\":\"windows\",\"os\":"),
        ("\"os\":", "\"os\":\"windows\",\"os\":"),
        ("\"a\":", "\"a\":\"c\",\"a\":"),
    ] {
        let document = index.replacen(from, to, 1);
        assert_ne!(document, index, "{from}");
        push(OCI_INDEX, document).await.refuses(400, "MANIFEST_INVALID");
    }
    // What nobody takes for a field may be spelt in any way, and annotations tell case.
    let free = index.replace("\"a\":", "\"A\":\"c\",\"Layers\":\"d\",\"a\":");
    let free = free.replacen('{', r#"{"x":1,"X":2,"x":3,"#, 1);
    push(OCI_INDEX, free).await.is(201, &[]);
}

#[tokio::test]
async fn every_shape_that_distribution_takes_is_taken_and_served_as_what_it_was_pushed_as() {
    let server = server();
    let image = server.image("a", "content", "").await;
    let child = server.push_image("a", "child", "child").await;
    let docker = image.replace(
        OCI_MANIFEST,
        "application/vnd.docker.distribution.manifest.v2+json",
    );
    let sizeless = image.replace(r#","size":7"#, "").replace(r#","size":2"#, "");
    let own_type = format!(r#""mediaType":"{OCI_MANIFEST}","#);
    let index = |list: &str| format!(r#"{{"schemaVersion":2,"mediaType":"{OCI_INDEX}"{list}}}"#);
    for (kind, document) in [
        (OCI_MANIFEST, sizeless.clone()),
        (OCI_MANIFEST, image.replace(r#""size":7"#, r#""size":null"#)),
        (
            OCI_MANIFEST,
            image.replace(r#""mediaType":"application/vnd.oci.image.layer.v1.tar","#, ""),
        ),
        (
            OCI_MANIFEST,
            image.replace("application/vnd.oci.image.layer.v1.tar", "none"),
        ),
        (
            OCI_MANIFEST,
            image.replace(r#""layers":"#, r#""manifests":null,"layers":"#),
        ),
        (OCI_MANIFEST, image.replace(&own_type, r#""mediaType":"","#)),
        (
            OCI_MANIFEST,
            image.replace(r#""layers":"#, r#""annotations":{"a":null},"layers":"#),
        ),
        (OCI_INDEX, index("")),
        (OCI_INDEX, index(r#","manifests":null"#)),
        (OCI_INDEX, index(r#","config":null,"layers":null,"manifests":[]"#)),
        (
            OCI_INDEX,
            index(&format!(
                r#","manifests":[{{"digest":"{child}","platform":{{"os":null,"os.features":[null]}}}}]"#
            )),
        ),
        (
            "application/vnd.docker.distribution.manifest.v2+json",
            docker.replace(r#","size":7"#, ""),
        ),
    ] {
        let answer = server
            .send(
                "PUT",
                "/v2/a/manifests/v1",
                &[("content-type", kind)],
                document.clone(),
            )
            .await;
        println!("{document}: {}", answer.text()); // Shown when it fails.
        answer.is(201, &[]);
        let served = server.get("/v2/a/manifests/v1").await;
        assert_eq!(served.is(200, &[("content-type", kind)]).text(), document);
    }
    // These would be served as an image, or speak of content that no client could tell.
    for (kind, document) in [
        (OCI_INDEX, r#"{"schemaVersion":2}"#.to_owned()),
        (OCI_INDEX, r#"{"schemaVersion":2,"manifests":null}"#.to_owned()),
        (OCI_MANIFEST, image.replace(r#""size":7"#, r#""size":-1"#)),
        (
            OCI_MANIFEST,
            image.replace(r#""layers":"#, r#""subject":{},"layers":"#),
        ),
        (
            OCI_MANIFEST,
            image.replace(OCI_MANIFEST, &OCI_MANIFEST.to_uppercase()),
        ),
        (
            OCI_MANIFEST,
            image
                .replace(r#""config":{"#, r#""config":["#)
                .replace(r#""size":2}"#, r#""size":2]"#),
        ),
    ] {
        assert_ne!(document, image);
        let answer = server
            .send("PUT", "/v2/a/manifests/v1", &[("content-type", kind)], document)
            .await;
        answer.refuses(400, "MANIFEST_INVALID");
    }
}

#[tokio::test]
async fn a_cache_of_a_build_may_list_blobs_as_long_as_each_is_there() {
    let server = server();
    let (config, layer) = (
        server.push_blob("a", b"{}").await,
        server.push_blob("a", b"layer").await,
    );
    let cache = |config: &Digest, layer: &Digest| {
        format!(
            r#"{{"schemaVersion":2,"mediaType":"{OCI_INDEX}","manifests":[{},{{"mediaType":"application/vnd.buildkit.cacheconfig.v0","digest":"{config}","size":2}}]}}"#,
            described(layer, 5)
        )
    };
    let push: Headers<'_> = &[("content-type", OCI_INDEX)];
    let document = cache(&config, &layer);
    server
        .send("PUT", "/v2/a/manifests/cache", push, document.clone())
        .await
        .is(201, &[]);
    assert_eq!(
        server.get("/v2/a/manifests/cache").await.is(200, &[]).text(),
        document
    );
    let missing = Digest::sha256(b"missing");
    server
        .send("PUT", "/v2/a/manifests/cache", push, cache(&config, &missing))
        .await
        .refuses(400, "MANIFEST_BLOB_UNKNOWN");
    // Another repository's blobs do not help.
    server
        .send("PUT", "/v2/b/manifests/cache", push, document)
        .await
        .refuses(400, "MANIFEST_BLOB_UNKNOWN");
}

/// More than any answer should say.
const FEW_KIB: usize = 6 * 1024;

#[tokio::test]
async fn an_answer_repeats_no_more_of_a_manifest_than_a_person_reads() {
    let server = server();
    let image = server.image("a", "content", "").await;
    let long = "x".repeat(2_000_000);
    for document in [
        image.replace(r#""schemaVersion":2"#, &format!(r#""schemaVersion":"{long}""#)),
        image.replace(r#""layers":"#, &format!(r#""artifactType":["{long}"],"layers":"#)),
        image.replace(OCI_MANIFEST, &format!("application/{long}")),
        image.replace(
            r#""layers":"#,
            &format!(r#""annotations":{{"{long}":"a","{long}":"b"}},"layers":"#),
        ),
        image.replacen(
            r#""digest""#,
            &format!(r#""urls":["https://{long}/"],"digest""#),
            1,
        ),
        image.replacen("sha256:", &format!("sha256:{long}"), 1),
    ] {
        let answer = server.send("PUT", "/v2/a/manifests/v1", PUSH, document).await;
        let answer = answer.refuses(400, "MANIFEST_INVALID");
        assert!(answer.body.len() < FEW_KIB, "{} bytes", answer.body.len());
    }
    let missing: Vec<String> = (0..25_000u32)
        .map(|number| described(&Digest::sha256(&number.to_le_bytes()), 1))
        .collect();
    let document = image.replace(r#""layers":["#, &format!(r#""layers":[{},"#, missing.join(",")));
    let answer = server.send("PUT", "/v2/a/manifests/v1", PUSH, document).await;
    let answer = answer.refuses(400, "MANIFEST_BLOB_UNKNOWN");
    assert!(answer.body.len() < FEW_KIB, "{} bytes", answer.body.len());
    let errors = answer.json()["errors"].as_array().unwrap().clone();
    assert_eq!(errors.len(), 21);
    // The layer that is there stands last and was not looked for.
    assert_eq!(
        errors.last().unwrap()["detail"],
        "and 24981 more, as far as they were looked for"
    );
}

#[tokio::test]
async fn a_document_nested_deeper_than_any_client_reads_is_refused() {
    let server = server();
    let image = server.image("a", "content", "").await;
    let nested = |depth: usize| {
        let deep = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        image.replace(r#""layers":"#, &format!(r#""x":{deep},"layers":"#))
    };
    server
        .send("PUT", "/v2/a/manifests/v1", PUSH, nested(9_999))
        .await
        .is(201, &[]);
    for depth in [10_000, 2_000_000] {
        let answer = server
            .send("PUT", "/v2/a/manifests/v1", PUSH, nested(depth))
            .await;
        answer.refuses(400, "MANIFEST_INVALID");
    }
}

#[tokio::test]
async fn a_size_that_content_does_not_have_is_refused_and_says_what_it_has() {
    let server = server();
    let manifest = server.image("a", "content", "").await;
    let lie = manifest.replacen("\"size\":7", "\"size\":1000000000000000", 1);
    assert_ne!(lie, manifest);
    let answer = server.send("PUT", "/v2/a/manifests/v1", PUSH, lie).await;
    let answer = answer.refuses(400, "MANIFEST_INVALID");
    let digest = Digest::sha256(b"content");
    assert_eq!(
        answer.json()["errors"][0]["detail"],
        format!("{digest} has 7 bytes, the manifest says 1000000000000000")
    );
    server
        .get("/v2/a/manifests/v1")
        .await
        .refuses(404, "MANIFEST_UNKNOWN");
    server
        .send("PUT", "/v2/a/manifests/v1", PUSH, manifest)
        .await
        .is(201, &[]);
}

#[tokio::test]
async fn a_blob_that_was_cut_off_is_asked_for_again_by_the_push_that_names_it() {
    let server = server();
    let manifest = server.image("a", "content", "").await;
    let digest = Digest::sha256(b"content");
    let hex = digest.hex();
    let payload = format!("docker/registry/v2/blobs/sha256/{}/{hex}/data", &hex[..2]);
    for left in ["", "cont"] {
        std::fs::write(server.folder.path().join(&payload), left).unwrap();
        let answer = server
            .send("PUT", "/v2/a/manifests/v1", PUSH, manifest.clone())
            .await;
        let answer = answer.refuses(400, "MANIFEST_BLOB_UNKNOWN");
        assert_eq!(answer.json()["errors"][0]["detail"], digest.to_string());
        // What docker, containerd and the others ask before they send a blob.
        let path = format!("/v2/a/blobs/{digest}");
        server.send("HEAD", &path, &[], "").await.is(404, &[]);
        let mount = format!("/v2/b/blobs/uploads/?mount={digest}&from=a");
        server.send("POST", &mount, &[], "").await.is(202, &[]);
        server.image("a", "content", "").await;
        server
            .send("PUT", "/v2/a/manifests/v1", PUSH, manifest.clone())
            .await
            .is(201, &[]);
    }
}
