//! Manifests that two programs could read differently, in forms that other registries accept, and with wrong sizes.

use super::*;

/// A descriptor of existing content.
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
        // `urls` in the config and in the layer of an image, in the child of an index, and in a subject.
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
        // Instead of the field, and in addition to it.
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
    // Names that no program takes for a field are allowed in any case. Annotations are case-sensitive.
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
    // These would be served as an image, or describe content that no client could identify.
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
    // The blobs of another repository do not count.
    server
        .send("PUT", "/v2/b/manifests/cache", push, document)
        .await
        .refuses(400, "MANIFEST_BLOB_UNKNOWN");
}

/// The limit for the size of an error response.
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
    // The existing layer is the last one and was not looked for.
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
        // The requests by which docker, containerd and others check a blob before they send it.
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
