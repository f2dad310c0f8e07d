//! Tags, the catalog and referrers.

use serde_json::json;

use super::*;

#[tokio::test]
async fn tags_are_listed_sorted_and_in_pages() {
    let server = server();
    for tag in ["v2", "v10", "latest", "V1", "v1"] {
        server.push_image("a/b", tag, "content").await;
    }
    let all = concat!(r#"{"name":"a/b","tags":["V1","latest","v1","v10","v2"]}"#, "\n");
    let json = [("content-type", "application/json"), ("link", "-")];
    assert_eq!(server.get("/v2/a/b/tags/list").await.is(200, &json).text(), all);
    for (query, tags, link) in [
        (
            "n=2",
            json!(["V1", "latest"]),
            "</v2/a/b/tags/list?last=latest&n=2>; rel=\"next\"",
        ),
        (
            "n=2&last=latest",
            json!(["v1", "v10"]),
            "</v2/a/b/tags/list?last=v10&n=2>; rel=\"next\"",
        ),
        ("n=2&last=v10", json!(["v2"]), "-"),
        ("n=2&last=v2", json!([]), "-"),
        ("n=5", json!(["V1", "latest", "v1", "v10", "v2"]), "-"),
        ("n=0", json!([]), "-"),
        ("last=v1", json!(["v10", "v2"]), "-"),
        ("last=v", json!(["v1", "v10", "v2"]), "-"),
        (
            "ns=docker.io&n=1",
            json!(["V1"]),
            "</v2/a/b/tags/list?ns=docker.io&last=V1&n=1>; rel=\"next\"",
        ),
        (
            "n=99999999999999999999",
            json!(["V1", "latest", "v1", "v10", "v2"]),
            "-",
        ),
    ] {
        let answer = server
            .get(&format!("/v2/a/b/tags/list?{query}"))
            .await
            .is(200, &[("link", link)]);
        assert_eq!(answer.json()["tags"], tags, "{query}");
    }
    for n in ["-1", "x", "1.5", "+1"] {
        let path = format!("/v2/a/b/tags/list?n={n}");
        server.get(&path).await.refuses(400, "PAGINATION_NUMBER_INVALID");
    }
}

#[tokio::test]
async fn too_large_a_page_of_tags_is_cut_to_the_limit() {
    let server = server_with(Settings::default(), |options| options.tags_max = 1);
    server.push_image("a", "v1", "one").await;
    server.push_image("a", "v2", "two").await;
    let link = "</v2/a/tags/list?last=v1&n=1>; rel=\"next\"";
    server.get("/v2/a/tags/list?n=9").await.is(200, &[("link", link)]);
    assert_eq!(
        server.get("/v2/a/tags/list").await.json()["tags"],
        json!(["v1", "v2"])
    );
}

#[tokio::test]
async fn an_unknown_repository_has_no_tags_and_a_known_one_an_empty_list() {
    let server = server();
    let answer = server.get("/v2/a/tags/list").await.refuses(404, "NAME_UNKNOWN");
    assert_eq!(answer.json()["errors"][0]["detail"], json!({ "name": "a" }));
    server.push_image("a", "v1", "content").await;
    server
        .send("DELETE", "/v2/a/manifests/v1", &[], "")
        .await
        .is(202, &[]);
    assert_eq!(
        server.get("/v2/a/tags/list").await.is(200, &[]).text(),
        concat!(r#"{"name":"a","tags":[]}"#, "\n")
    );
}

#[tokio::test]
async fn what_a_crash_left_behind_is_no_tag() {
    let server = server();
    server.push_image("a", "v1", "content").await;
    let tags = server
        .folder
        .path()
        .join("docker/registry/v2/repositories/a/_manifests/tags");
    std::fs::write(tags.join("link.0c6ad70b-6aef-4a10-a1cd-d8e0ba0dcf3b.tmp"), "").unwrap();
    std::fs::create_dir(tags.join(".hidden")).unwrap();
    assert_eq!(server.get("/v2/a/tags/list").await.json()["tags"], json!(["v1"]));
}

#[tokio::test]
async fn the_catalog_is_sorted_by_components_and_paged() {
    let server = server();
    for name in ["a-b", "a/b", "a", "b/c/d", "a/b/c"] {
        server.push_image(name, "v1", "content").await;
    }
    // A repository with blobs but no manifests is not listed, as in distribution 3.
    server.push_blob("blobs-only", b"x").await;
    let all = json!(["a", "a/b", "a/b/c", "a-b", "b/c/d"]);
    assert_eq!(
        server.get("/v2/_catalog").await.is(200, &[("link", "-")]).json()["repositories"],
        all
    );
    let mut seen = Vec::new();
    let mut path = "/v2/_catalog?n=1".to_owned();
    loop {
        let answer = server.get(&path).await.is(200, &[]);
        seen.extend(answer.json()["repositories"].as_array().unwrap().clone());
        match answer.header("link") {
            "-" => break,
            link => path = link.split(['<', '>']).nth(1).unwrap().to_owned(),
        }
    }
    assert_eq!(serde_json::Value::Array(seen), all);
    for (query, expected) in [
        ("n=2", json!(["a", "a/b"])),
        ("last=a%2Fb", json!(["a/b/c", "a-b", "b/c/d"])),
        ("last=a%2Fzzz", json!(["a-b", "b/c/d"])),
        ("last=b%2Fc%2Fd", json!([])),
        ("n=0", json!([])),
    ] {
        let answer = server.get(&format!("/v2/_catalog?{query}")).await;
        assert_eq!(answer.json()["repositories"], expected, "{query}");
    }
    for n in ["1001", "100000", "99999999999999999999"] {
        let answer = server
            .get(&format!("/v2/_catalog?n={n}"))
            .await
            .is(200, &[("link", "-")]);
        assert_eq!(answer.json()["repositories"], all, "{n}");
    }
    for n in ["-1", "x"] {
        server
            .get(&format!("/v2/_catalog?n={n}"))
            .await
            .refuses(400, "PAGINATION_NUMBER_INVALID");
    }
}

#[tokio::test]
async fn too_large_a_page_of_the_catalog_is_cut_to_the_limit() {
    let server = server_with(Settings::default(), |options| options.catalog_max = 1);
    server.push_image("a", "v1", "one").await;
    server.push_image("b", "v1", "two").await;
    let link = "</v2/_catalog?last=a&n=1>; rel=\"next\"";
    for query in ["", "?n=100000", "?n=99999999999999999999"] {
        let answer = server
            .get(&format!("/v2/_catalog{query}"))
            .await
            .is(200, &[("link", link)]);
        assert_eq!(answer.json()["repositories"], json!(["a"]), "{query}");
    }
}

#[tokio::test]
async fn a_page_of_the_catalog_ends_when_it_has_looked_into_too_many_folders_and_says_where_to_go_on() {
    let server = server();
    for name in ["a", "m/n", "z"] {
        server.push_image(name, "v1", "content").await;
    }
    let repositories = server.folder.path().join("docker/registry/v2/repositories");
    for number in 0..60 {
        let deep = format!("b/{number}/{}_uploads", "c/".repeat(100));
        std::fs::create_dir_all(repositories.join(deep)).unwrap();
    }
    let (mut seen, mut pages) = (Vec::new(), 0);
    let mut path = "/v2/_catalog?n=10&ns=x".to_owned();
    loop {
        let answer = server.get(&path).await.is(200, &[]);
        seen.extend(answer.json()["repositories"].as_array().unwrap().clone());
        pages += 1;
        match answer.header("link") {
            "-" => break,
            link => path = link.split(['<', '>']).nth(1).unwrap().to_owned(),
        }
        assert!(pages < 10, "{path}");
    }
    assert_eq!(seen, ["a", "m/n", "z"]);
    assert!(pages > 2, "{pages} pages");
}

#[tokio::test]
async fn a_tag_that_is_listed_can_be_deleted_whatever_is_left_of_it() {
    let server = server();
    let digest = server.push_image("a", "v1", "content").await;
    let tags = server
        .folder
        .path()
        .join("docker/registry/v2/repositories/a/_manifests/tags");
    let history = |tag: &str| tags.join(tag).join("index/sha256").join(digest.hex());
    std::fs::create_dir_all(tags.join("empty")).unwrap();
    std::fs::create_dir_all(history("past")).unwrap();
    std::fs::write(history("past").join("link"), digest.to_string()).unwrap();
    std::fs::create_dir_all(tags.join("dead/current")).unwrap();
    let gone = Digest::sha256(b"gone").to_string();
    std::fs::write(tags.join("dead/current/link"), gone).unwrap();
    let listed = server.get("/v2/a/tags/list").await.json()["tags"].clone();
    assert_eq!(listed, json!(["dead", "empty", "past", "v1"]));
    for tag in ["dead", "empty", "past"] {
        let path = format!("/v2/a/manifests/{tag}");
        server.get(&path).await.refuses(404, "MANIFEST_UNKNOWN");
        server.send("DELETE", &path, &[], "").await.is(202, &[]);
        server
            .send("DELETE", &path, &[], "")
            .await
            .refuses(404, "MANIFEST_UNKNOWN");
    }
    let listed = server.get("/v2/a/tags/list").await.json()["tags"].clone();
    assert_eq!(listed, json!(["v1"]));
    server.get("/v2/a/manifests/v1").await.is(200, &[]);
}

#[tokio::test]
async fn an_empty_catalog_is_an_empty_list() {
    assert_eq!(
        server().get("/v2/_catalog").await.is(200, &[]).text(),
        concat!(r#"{"repositories":[]}"#, "\n")
    );
}

/// Pushes a manifest with a subject.
async fn push_referrer(server: &Server, name: &str, subject: &Digest, kind: &str) -> String {
    let more = format!(
        r#","artifactType":"{kind}","subject":{{"mediaType":"{OCI_MANIFEST}","digest":"{subject}","size":9}},"annotations":{{"of":"{kind}"}}"#
    );
    let manifest = server.image(name, "content", &more).await;
    let digest = Digest::sha256(manifest.as_bytes()).to_string();
    let path = format!("/v2/{name}/manifests/{digest}");
    let subject = subject.to_string();
    let headers = [("content-type", OCI_MANIFEST)];
    server
        .send("PUT", &path, &headers, manifest)
        .await
        .is(201, &[("oci-subject", &subject)]);
    digest
}

fn digests(answer: &Answer) -> Vec<String> {
    let manifests = answer.json()["manifests"].as_array().unwrap().clone();
    manifests
        .iter()
        .map(|entry| entry["digest"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn referrers_are_listed_with_their_type_and_annotations() {
    let server = server();
    let subject = Digest::sha256(b"a subject that may not even be there");
    let path = format!("/v2/a/referrers/{subject}");
    let headers = [("content-type", OCI_INDEX), ("oci-filters-applied", "-")];
    let answer = server.get(&path).await.is(200, &headers);
    assert_eq!(
        answer.text(),
        format!("{{\"schemaVersion\":2,\"mediaType\":\"{OCI_INDEX}\",\"manifests\":[]}}\n")
    );
    let sbom = push_referrer(&server, "a", &subject, "app/sbom").await;
    let signature = push_referrer(&server, "a", &subject, "app/signature").await;
    let mut both = vec![sbom.clone(), signature];
    both.sort();
    assert_eq!(digests(&server.get(&path).await), both);
    let filtered = format!("{path}?artifactType=app%2Fsbom");
    let answer = server
        .get(&filtered)
        .await
        .is(200, &[("oci-filters-applied", "artifactType")]);
    let entry = &answer.json()["manifests"][0];
    assert_eq!(digests(&answer), [sbom]);
    assert_eq!(entry["artifactType"], "app/sbom");
    assert_eq!(entry["annotations"], json!({ "of": "app/sbom" }));
    assert_eq!(entry["mediaType"], OCI_MANIFEST);
    // Another repository has referrers of its own.
    assert_eq!(
        digests(&server.get(&format!("/v2/b/referrers/{subject}")).await),
        [""; 0]
    );
    server
        .get("/v2/a/referrers/sha256:abc")
        .await
        .refuses(400, "DIGEST_INVALID");
}

#[tokio::test]
async fn a_type_is_asked_for_in_any_case_and_with_a_plus_as_people_type_it() {
    let server = server();
    let subject = Digest::sha256(b"subject");
    let path = format!("/v2/a/referrers/{subject}");
    let sbom = push_referrer(&server, "a", &subject, "application/SPDX+json").await;
    push_referrer(&server, "a", &subject, "application/other").await;
    for filter in [
        "application/spdx+json",
        "application/spdx%2Bjson",
        "application%2FSPDX%2bjson",
        "application/spdx%20json",
    ] {
        let answer = server.get(&format!("{path}?artifactType={filter}")).await;
        assert_eq!(digests(&answer), [sbom.as_str()], "{filter}");
        assert_eq!(
            answer.json()["manifests"][0]["artifactType"],
            "application/SPDX+json"
        );
    }
}

#[tokio::test]
async fn a_config_type_is_listed_as_it_was_written() {
    let server = server();
    let subject = Digest::sha256(b"subject");
    let path = format!("/v2/a/referrers/{subject}");
    let config = server.push_blob("a", b"{}").await;
    let written = "Application/Vnd.Example+JSON; charset=utf-8";
    let manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":"{OCI_MANIFEST}","config":{{"mediaType":"{written}","digest":"{config}","size":2}},"layers":[],"subject":{{"mediaType":"{OCI_MANIFEST}","digest":"{subject}","size":9}}}}"#
    );
    let digest = Digest::sha256(manifest.as_bytes()).to_string();
    let headers = [("content-type", OCI_MANIFEST)];
    server
        .send("PUT", &format!("/v2/a/manifests/{digest}"), &headers, manifest)
        .await
        .is(201, &[]);
    for filter in [
        "",
        "?artifactType=application/vnd.example+json;%20charset=utf-8",
        "?artifactType=Application/Vnd.Example%2BJSON%3B+charset%3Dutf-8",
    ] {
        let answer = server.get(&format!("{path}{filter}")).await.is(200, &[]);
        assert_eq!(digests(&answer), [digest.as_str()], "{filter}");
        assert_eq!(answer.json()["manifests"][0]["artifactType"], written, "{filter}");
    }
}

#[tokio::test]
async fn a_deleted_referrer_is_listed_no_more() {
    let server = server();
    let subject = Digest::sha256(b"subject");
    for old in [false, true] {
        let referrer = push_referrer(&server, "a", &subject, "app/sbom").await;
        if old {
            server.make_old();
        }
        server
            .send("DELETE", &format!("/v2/a/manifests/{referrer}"), &[], "")
            .await
            .is(202, &[]);
        assert_eq!(
            digests(&server.get(&format!("/v2/a/referrers/{subject}")).await),
            [""; 0]
        );
        // A push that is running may rely on a young entry, so only the garbage collection removes that, later.
        let entered = server.files().keys().any(|path| path.contains("/subjects/"));
        assert_eq!(entered, !old);
    }
}

#[tokio::test]
async fn a_lost_or_damaged_index_of_referrers_is_rebuilt() {
    let server = server();
    let subject = Digest::sha256(b"subject");
    let referrer = push_referrer(&server, "a", &subject, "app/sbom").await;
    let path = format!("/v2/a/referrers/{subject}");
    let whole = server.get(&path).await.text();
    let index = server.folder.path().join("docker/registry/berth");
    std::fs::remove_dir_all(&index).unwrap();
    assert_eq!(server.get(&path).await.text(), whole);
    let entry = server
        .files()
        .into_keys()
        .find(|path| path.contains("/subjects/"))
        .unwrap();
    std::fs::write(server.folder.path().join(entry), "").unwrap();
    assert_eq!(server.get(&path).await.text(), whole);
    assert!(whole.contains(&referrer));
}

#[tokio::test]
async fn what_another_server_pushed_or_deleted_on_the_same_folder_is_seen() {
    let server = server();
    let subject = Digest::sha256(b"subject");
    let path = format!("/v2/a/referrers/{subject}");
    push_referrer(&server, "a", &subject, "app/sbom").await;
    // Distribution writes the payload and the revision link. It does not write our index of referrers.
    let manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":"{OCI_INDEX}","manifests":[],"subject":{{"mediaType":"{OCI_MANIFEST}","digest":"{subject}","size":9}}}}"#
    );
    let theirs = Digest::sha256(manifest.as_bytes());
    let payload = server.blob_path(&theirs);
    std::fs::create_dir_all(payload.parent().unwrap()).unwrap();
    std::fs::write(payload, &manifest).unwrap();
    let revisions = server
        .folder
        .path()
        .join("docker/registry/v2/repositories/a/_manifests/revisions/sha256");
    let revision = revisions.join(theirs.hex());
    std::fs::create_dir(&revision).unwrap();
    std::fs::write(revision.join("link"), theirs.to_string()).unwrap();
    let seen = digests(&server.get(&path).await);
    assert_eq!(seen.len(), 2);
    assert!(seen.contains(&theirs.to_string()), "{seen:?}");
    std::fs::remove_file(revision.join("link")).unwrap();
    assert_eq!(digests(&server.get(&path).await).len(), 1);
}

#[tokio::test]
async fn repositories_below_a_host_are_in_the_catalog() {
    let server = server();
    for name in ["localhost:5000/app", "Registry.Example.COM/team/app", "plain"] {
        server.push_image(name, "v1", name).await;
    }
    assert_eq!(
        server.get("/v2/_catalog").await.is(200, &[]).json()["repositories"],
        json!(["Registry.Example.COM/team/app", "localhost:5000/app", "plain"])
    );
    let behind = "/v2/_catalog?n=1&last=Registry.Example.COM%2Fteam%2Fapp";
    assert_eq!(
        server.get(behind).await.is(200, &[]).json()["repositories"],
        json!(["localhost:5000/app"])
    );
}

#[tokio::test]
async fn a_read_only_registry_lists_referrers_without_writing_its_index() {
    let server = server();
    let subject = Digest::sha256(b"subject");
    let referrer = push_referrer(&server, "a", &subject, "app/sbom").await;
    push_referrer(&server, "a", &Digest::sha256(b"other"), "app/sbom").await;
    let path = format!("/v2/a/referrers/{subject}");
    let whole = server.get(&path).await.text();
    // This is the state of a volume that distribution has written.
    std::fs::remove_dir_all(server.folder.path().join("docker/registry/berth")).unwrap();
    let before = server.files();
    let settings = Settings {
        read_only: true,
        ..Settings::default()
    };
    let app = app_in(server.folder.path(), settings, |options| options.read_only = true);
    let answer = send(&app, "GET", &path, &[], "").await.is(200, &[]);
    assert_eq!(answer.text(), whole);
    assert_eq!(digests(&answer), [referrer]);
    assert_eq!(server.files(), before);
}

#[tokio::test]
async fn referrers_with_megabytes_of_annotations_come_in_pages() {
    let server = server();
    let subject = Digest::sha256(b"subject");
    let mut pushed = Vec::new();
    for letter in ["a", "b", "c"] {
        let text = letter.repeat(3_000_000);
        let index = format!(
            r#"{{"schemaVersion":2,"mediaType":"{OCI_INDEX}","manifests":[],"subject":{{"mediaType":"{OCI_MANIFEST}","digest":"{subject}","size":9}},"annotations":{{"text":"{text}"}}}}"#
        );
        let digest = Digest::sha256(index.as_bytes()).to_string();
        let path = format!("/v2/a/manifests/{digest}");
        server
            .send("PUT", &path, &[("content-type", OCI_INDEX)], index)
            .await
            .is(201, &[]);
        pushed.push(digest);
    }
    pushed.sort();
    let path = format!("/v2/a/referrers/{subject}");
    let mut next = path.clone();
    for (at, digest) in pushed.iter().enumerate() {
        let last = format!("{path}?last={digest}");
        let link = match at {
            2 => "-".to_owned(),
            _ => format!("<{last}>; rel=\"next\""),
        };
        let page = server.get(&next).await.is(200, &[("link", &link)]);
        assert!(
            page.body.len() <= 4 * 1024 * 1024,
            "what clients read of an index"
        );
        assert_eq!(digests(&page), [digest.as_str()]);
        next = last;
    }
    server
        .get(&format!("{path}?last=x"))
        .await
        .refuses(400, "DIGEST_INVALID");
}
