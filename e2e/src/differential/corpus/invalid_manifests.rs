//! Documents that are pushed as manifests and are invalid or unusual.

use super::super::request::{Script, get, put};
use super::manifests::{
    DOCKER_LIST, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST, docker_manifest, index, oci_manifest,
};
use crate::protocol::digest;

const SCHEMA1: &str = "application/vnd.docker.distribution.manifest.v1+json";
const SCHEMA1_SIGNED: &str = "application/vnd.docker.distribution.manifest.v1+prettyjws";
/// The largest size of a manifest.
const MOST: usize = 4 << 20;

pub(super) fn ask_all(script: &mut Script) {
    types(script);
    shapes(script);
    references(script);
    sizes(script);
}

fn push(name: &str, tag: &str, kind: &str, text: &str) -> super::super::request::Request {
    put(format!("/v2/{name}/manifests/{tag}"))
        .with("Content-Type", kind)
        .body(text)
}

/// The right document with every media type, and with none.
fn types(script: &mut Script) {
    script.about("a document under another type");
    let name = "documents/types";
    let config = script.blob(name, b"{}");
    let docker = docker_manifest(&config, 2, &[]);
    let oci = oci_manifest(&config, 2, &[]);
    let untyped = oci.replace(&format!(r#""mediaType":"{OCI_MANIFEST}","#), "");
    for text in [&docker, &oci, &untyped] {
        for kind in [
            DOCKER_MANIFEST,
            OCI_MANIFEST,
            OCI_INDEX,
            DOCKER_LIST,
            SCHEMA1,
            SCHEMA1_SIGNED,
            "application/json",
            "text/plain",
            "",
            "nonsense",
            "application/vnd.oci.artifact.manifest.v1+json",
            &format!("{DOCKER_MANIFEST}; charset=utf-8"),
            &format!("{OCI_MANIFEST};charset=utf-8"),
            &OCI_MANIFEST.to_uppercase(),
        ] {
            script.send(push(name, "typed", kind, text));
        }
        script.send(put(format!("/v2/{name}/manifests/typed")).body(text));
        script.send(
            put(format!("/v2/{name}/manifests/typed"))
                .with("Content-Type", OCI_MANIFEST)
                .chunked(text),
        );
    }
    script.send(get(format!("/v2/{name}/tags/list")));
}

fn shapes(script: &mut Script) {
    script.about("a document of another shape");
    let name = "documents/shapes";
    let config = script.blob(name, b"{}");
    let layer = script.blob(name, b"layer");
    let good = oci_manifest(&config, 2, &[(&layer, 5)]);
    let docker = docker_manifest(&config, 2, &[(&layer, 5)]);
    let list = index(OCI_INDEX, OCI_MANIFEST, &digest(good.as_bytes()), good.len());
    let nested = format!("{}{}", "[".repeat(500), "]".repeat(500));
    let changed = |from: &str, to: &str| good.replacen(from, to, 1);
    let number = "size\":5";
    for text in [
        String::new(),
        " ".to_owned(),
        "null".to_owned(),
        "[]".to_owned(),
        "{}".to_owned(),
        "\"text\"".to_owned(),
        "1".to_owned(),
        "{".to_owned(),
        good.trim_end_matches('}').to_owned(),
        format!("{good}{good}"),
        format!("{good}x"),
        format!("\u{feff}{good}"),
        format!("\n {good}\n"),
        changed("\"schemaVersion\":2", "\"schemaVersion\":1"),
        changed("\"schemaVersion\":2", "\"schemaVersion\":3"),
        changed("\"schemaVersion\":2", "\"schemaVersion\":\"2\""),
        changed("\"schemaVersion\":2", "\"schemaVersion\":2.0"),
        changed("\"schemaVersion\":2", "\"schemaVersion\":null"),
        changed("\"schemaVersion\":2,", ""),
        changed("\"schemaVersion\"", "\"SchemaVersion\""),
        changed("\"schemaVersion\":2", "\"schemaVersion\":1,\"schemaVersion\":2"),
        changed("\"layers\"", "\"layers\":[],\"layers\""),
        changed("\"layers\"", "\"layer\""),
        changed("\"config\"", "\"conf\""),
        changed(
            "\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\"",
            "\"mediaType\":\"text/plain\"",
        ),
        changed(
            "\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\"",
            "\"mediaType\":null",
        ),
        changed(
            "\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\"",
            "\"mediaType\":5",
        ),
        changed(
            "\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\"",
            "\"mediaType\":\"\"",
        ),
        changed(number, "size\":-1"),
        changed(number, "size\":5.5"),
        changed(number, "size\":6"),
        changed(number, "size\":\"5\""),
        changed(number, "size\":null"),
        changed(number, "size\":1e3"),
        changed(number, "size\":9223372036854775807"),
        changed(number, "size\":9223372036854775808"),
        changed(number, "size\":18446744073709551615"),
        changed(number, "size\":100000000000000000000000"),
        changed(&layer, "sha256:0"),
        changed(&layer, "latest"),
        changed(&layer, ""),
        changed(&config, ""),
        changed(&config, "sha256:0"),
        changed(&format!("\"digest\":\"{config}\""), "\"digest\":null"),
        changed("\"layers\":[", "\"layers\":[null,"),
        changed("\"layers\":[", "\"layers\":[{},"),
        changed("\"layers\":[", "\"layers\":[5,"),
        format!(r#"{{"schemaVersion":2,"mediaType":"{OCI_MANIFEST}","config":null,"layers":null}}"#),
        format!(r#"{{"schemaVersion":2,"mediaType":"{OCI_MANIFEST}","config":{{}},"layers":[]}}"#),
        format!(r#"{{"schemaVersion":2,"mediaType":"{OCI_MANIFEST}"}}"#),
        changed("\"layers\"", "\"annotations\":{\"a\":5},\"layers\""),
        changed("\"layers\"", "\"annotations\":{\"a\":\"b\"},\"layers\""),
        changed("\"layers\"", "\"annotations\":null,\"layers\""),
        changed("\"layers\"", "\"manifests\":[],\"layers\""),
        changed("\"layers\"", "\"manifests\":null,\"layers\""),
        changed("\"layers\"", "\"subject\":null,\"layers\""),
        changed("\"layers\"", "\"subject\":{},\"layers\""),
        changed("\"layers\"", "\"subject\":\"x\",\"layers\""),
        changed("\"layers\"", "\"artifactType\":5,\"layers\""),
        changed("\"layers\"", "\"unknown\":{\"deep\":[1,2,{}]},\"layers\""),
        changed("\"layers\"", &format!("\"unknown\":{nested},\"layers\"")),
        changed("\"layers\"", "\"urls\":[\"https://example.org\"],\"layers\""),
        list.clone(),
    ] {
        script.send(push(name, "shaped", OCI_MANIFEST, &text));
    }
    for text in [
        String::new(),
        "{}".to_owned(),
        "null".to_owned(),
        docker.replacen("\"schemaVersion\":2", "\"schemaVersion\":1", 1),
        docker.replacen(&format!("\"mediaType\":\"{DOCKER_MANIFEST}\","), "", 1),
        docker.replacen("\"layers\"", "\"manifests\":[],\"layers\"", 1),
        docker.replacen("\"size\":5", "\"size\":-1", 1),
        docker.replacen(&layer, "latest", 1),
        list.clone(),
    ] {
        script.send(push(name, "docker", DOCKER_MANIFEST, &text));
    }
    script.send(push(name, "child", OCI_MANIFEST, &good));
    for text in [
        list.clone(),
        "{}".to_owned(),
        "null".to_owned(),
        list.replacen("\"schemaVersion\":2", "\"schemaVersion\":1", 1),
        list.replacen("\"manifests\"", "\"manifest\"", 1),
        list.replacen("\"manifests\"", "\"layers\":[],\"manifests\"", 1),
        list.replacen("\"manifests\"", "\"config\":{},\"manifests\"", 1),
        list.replacen("amd64", "", 1),
        list.replacen(
            ",\"platform\":{\"architecture\":\"amd64\",\"os\":\"linux\"}",
            "",
            1,
        ),
        list.replacen("{\"architecture\":\"amd64\",\"os\":\"linux\"}", "null", 1),
        list.replacen("\"amd64\"", "5", 1),
        list.replacen(OCI_INDEX, OCI_MANIFEST, 1),
        list.replacen(&format!("\"mediaType\":\"{OCI_INDEX}\","), "", 1),
        list.replacen(&digest(good.as_bytes()), "sha256:0", 1),
        format!(r#"{{"schemaVersion":2,"mediaType":"{OCI_INDEX}","manifests":[]}}"#),
        format!(r#"{{"schemaVersion":2,"mediaType":"{OCI_INDEX}","manifests":null}}"#),
        good.clone(),
    ] {
        script.send(push(name, "index", OCI_INDEX, &text));
    }
    script
        .send(push(name, "index", DOCKER_LIST, &list.replace(OCI_INDEX, DOCKER_LIST)))
        .send(push(name, "index", DOCKER_LIST, "{}"))
        .send(push(name, "old", SCHEMA1, r#"{"schemaVersion":1,"name":"documents/shapes","tag":"old","architecture":"amd64","fsLayers":[],"history":[]}"#))
        .send(push(name, "old", SCHEMA1_SIGNED, r#"{"schemaVersion":1}"#))
        .send(push(name, "old", "application/json", r#"{"schemaVersion":1,"signatures":[]}"#));
}

/// Documents whose references are missing or impossible.
fn references(script: &mut Script) {
    script.about("a document refers to what is not there");
    let name = "documents/references";
    let config = script.blob(name, b"{}");
    let layer = script.blob(name, b"layer");
    let elsewhere = script.blob("documents/elsewhere", b"elsewhere");
    let missing = digest(b"missing");
    let other = digest(b"other");
    for text in [
        oci_manifest(&missing, 2, &[]),
        oci_manifest(&config, 2, &[(&missing, 5)]),
        oci_manifest(&missing, 2, &[(&other, 5)]),
        oci_manifest(&config, 2, &[(&missing, 5), (&missing, 5)]),
        oci_manifest(&config, 2, &[(&layer, 5), (&missing, 5), (&layer, 5)]),
        oci_manifest(&config, 2, &[(&elsewhere, 9)]),
        oci_manifest(&config, 2, &[(&layer, 500)]),
        oci_manifest(&config, 2, &[(&format!("sha512:{}", "0".repeat(128)), 5)]),
        oci_manifest(&config, 2, &[(&format!("md5:{}", "0".repeat(32)), 5)]),
    ] {
        script.send(push(name, "missing", OCI_MANIFEST, &text));
    }
    for text in [
        docker_manifest(&missing, 2, &[]),
        docker_manifest(&config, 2, &[(&missing, 5)]),
    ] {
        script.send(push(name, "missing", DOCKER_MANIFEST, &text));
    }
    for (kind, child) in [(OCI_INDEX, OCI_MANIFEST), (DOCKER_LIST, DOCKER_MANIFEST)] {
        script.send(push(name, "missing", kind, &index(kind, child, &missing, 5)));
    }
    // An index that refers to a blob.
    script.send(push(
        name,
        "missing",
        OCI_INDEX,
        &index(OCI_INDEX, OCI_MANIFEST, &layer, 5),
    ));
    script.send(get(format!("/v2/{name}/manifests/missing")));
    script.about("layers from elsewhere");
    for (kind, layer_type) in [
        (
            DOCKER_MANIFEST,
            "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        ),
        (
            OCI_MANIFEST,
            "application/vnd.oci.image.layer.nondistributable.v1.tar",
        ),
        (OCI_MANIFEST, "application/vnd.oci.image.layer.v1.tar"),
        (
            DOCKER_MANIFEST,
            "application/vnd.docker.image.rootfs.diff.tar.gzip",
        ),
    ] {
        for urls in [
            "",
            r#","urls":["https://example.org/layer"]"#,
            r#","urls":["http://example.org/layer"]"#,
            r#","urls":["ftp://example.org/layer"]"#,
            r#","urls":["https://example.org/layer#part"]"#,
            r#","urls":["nonsense"]"#,
            r#","urls":[""]"#,
            r#","urls":[]"#,
            r#","urls":["https://example.org/layer","ftp://x"]"#,
        ] {
            let text = format!(
                r#"{{"schemaVersion":2,"mediaType":"{kind}","config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{config}","size":2}},"layers":[{{"mediaType":"{layer_type}","digest":"{missing}","size":5{urls}}}]}}"#
            );
            script.send(push(name, "foreign", kind, &text));
        }
    }
}

fn sizes(script: &mut Script) {
    script.about("a document of some size");
    let name = "documents/sizes";
    let config = script.blob(name, b"{}");
    let good = oci_manifest(&config, 2, &[]);
    for size in [MOST - 1, MOST, MOST + 1, MOST + 2_000_000] {
        let text = format!("{good}{}", " ".repeat(size - good.len()));
        script.send(push(name, "sized", OCI_MANIFEST, &text).with("Expect", "100-continue"));
        // One byte too many is left out: there chance decides whether the connection is kept.
        if size != MOST + 1 {
            script.send(
                put(format!("/v2/{name}/manifests/sized"))
                    .with("Content-Type", OCI_MANIFEST)
                    .chunked(&text),
            );
        }
    }
    script.send(
        put(format!("/v2/{name}/manifests/short"))
            .with("Content-Type", OCI_MANIFEST)
            .with("Content-Length", "5000")
            .by_hand(&good),
    );
}
