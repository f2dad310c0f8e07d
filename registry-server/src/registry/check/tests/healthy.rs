//! Healthy stores, some of them unusual.

use bytes::Bytes;
use registry_oci::Reference;

use super::*;

/// Pushes everything that a client of ours can push.
async fn pushed(registry: &Registry) {
    let (app, deep) = (name("team/app"), name("a/very/deep/name"));
    let image = push_image(registry, &app, "v1", "layer").await;
    push_image(registry, &app, "v1", "a newer layer").await;
    push_image(registry, &deep, "v1", "layer").await;
    let payload = ObjectPath::BlobData { digest: image }.key();
    let size = registry.driver().stat(&payload).await.unwrap().size;
    let child = descriptor(&image, size as usize);
    let index = format!(r#"{{"schemaVersion":2,"manifests":[{child}]}}"#);
    push(registry, &app, "all", &MediaType::OCI_INDEX, index).await;
    let referrer = format!(r#"{{"schemaVersion":2,"manifests":[],"subject":{child}}}"#);
    push(registry, &app, "", &MediaType::OCI_INDEX, referrer.clone()).await;
    // Also by SHA-512: a blob, a manifest, and a manifest with a subject.
    let content = Bytes::from_static(b"by sha512");
    let other = Digest::of(Algorithm::Sha512, &content);
    push_blob(registry, &app, &other, &content).await;
    for text in [empty_index(), referrer.replace("[]", "[ ]")] {
        let reference = Reference::Digest(Digest::of(Algorithm::Sha512, text.as_bytes()));
        let put = registry.put_manifest(&app, &reference, &MediaType::OCI_INDEX, text.into(), &[]);
        put.await.unwrap();
    }
    // Deleted: the history of other tags still names it.
    let gone = push_image(registry, &app, "v2", "soon gone").await;
    push_image(registry, &app, "v2", "layer").await;
    registry.delete_manifest(&app, &gone).await.unwrap();
    registry.start_upload(&app).await.unwrap();
}

#[tokio::test]
async fn what_clients_push_and_delete_leaves_nothing_to_find() {
    let folder = tempfile::tempdir().unwrap();
    let registry = in_folder(folder.path());
    pushed(&registry).await;
    breaks(folder.path(), &registry, vec![], vec![]).await;
    let (checked, _) = check(&registry, REPORT).await;
    assert_eq!((checked.repositories, checked.open()), (2, 0));
    assert!(checked.manifests > 5 && checked.links > checked.manifests);
    assert!(
        checked.hashed >= checked.bytes && checked.bytes > 0,
        "{checked:?}"
    );
    let collecting = crate::registry::CollectionOptions {
        min_age: Duration::ZERO,
        ..Default::default()
    };
    registry.collect_garbage(&collecting, &mut |_| {}).await.unwrap();
    breaks(folder.path(), &registry, vec![], vec![]).await;
}

#[tokio::test]
async fn the_oddities_of_other_servers_are_none_of_a_checks_business() {
    let (folder, registry, app, blob, image) = with_image().await;
    let home = folder.path().join("docker/registry/v2/repositories/team/app");
    let file = |path: &str, content: &str| {
        let path = home.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    };
    // Empty folders, as deletions leave them, and a link that ends with a line feed.
    let gone = Digest::sha256(b"gone");
    for path in ["_manifests/revisions/sha256", "_layers/sha256"] {
        std::fs::create_dir_all(home.join(path).join(gone.hex())).unwrap();
    }
    let payload = path(folder.path(), &ObjectPath::BlobData { digest: gone });
    std::fs::create_dir_all(payload.parent().unwrap()).unwrap();
    file(
        &format!("_layers/sha256/{}/link", blob.hex()),
        &format!("{blob}\n"),
    );
    // Signatures beside a schema 1 manifest, which refers to its layers without sizes.
    let manifest = |text: &str| {
        let digest = Digest::sha256(text.as_bytes());
        write(folder.path(), &ObjectPath::BlobData { digest }, text.as_bytes());
        let link = revision(&app, digest);
        write(folder.path(), &link, digest.to_string().as_bytes());
        digest
    };
    let old = manifest(&format!(
        r#"{{"schemaVersion":1,"name":"team/app","tag":"old","fsLayers":[{{"blobSum":"{blob}"}}],"signatures":[{{}}]}}"#
    ));
    let signature = Digest::sha256(b"signature");
    let signatures = format!("_manifests/revisions/sha256/{}/signatures/sha256", old.hex());
    file(
        &format!("{signatures}/{}/link", signature.hex()),
        &signature.to_string(),
    );
    // Uploads with hash states, and one without `startedat`; a blob under its SHA-512 without an alias.
    file("_uploads/0193-ab/data", "half");
    file("_uploads/0193-ab/startedat", "2020-01-01T00:00:00Z");
    file("_uploads/0193-ab/hashstates/sha256/4", "state");
    file("_uploads/no-uuid/data", "");
    let other = Digest::of(Algorithm::Sha512, b"layer");
    write(folder.path(), &layer(&app, other), blob.to_string().as_bytes());
    // A history that names a deleted manifest.
    let past = history(&app, "v1", gone);
    write(folder.path(), &past, gone.to_string().as_bytes());
    // Manifests without types and sizes, of an unknown type, with a layer outside the registry, and a build cache.
    let foreign = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";
    let config = descriptor(&blob, 5);
    for text in [
        format!(
            r#"{{"schemaVersion":2,"config":{{"digest":"{blob}"}},"layers":[{{"digest":"{blob}","size":-7}}]}}"#
        ),
        format!(
            r#"{{"mediaType":"application/vnd.oci.artifact.manifest.v1+json","annotations":{{"base":"{gone}"}}}}"#
        ),
        format!(
            r#"{{"schemaVersion":2,"config":{config},"layers":[{{"mediaType":"{foreign}","digest":"{gone}","size":9,"urls":["https://example.com/x"]}}]}}"#
        ),
        format!(r#"{{"schemaVersion":2,"manifests":[{config}]}}"#),
    ] {
        manifest(&text);
    }
    // A temporary file that was written just now.
    file(
        &format!("_manifests/tags/v1/current/link.{}.tmp", Uuid::new_v4()),
        "",
    );
    // A manifest that another server program deleted, and that our own index still has.
    let text = format!(
        r#"{{"schemaVersion":2,"manifests":[],"subject":{}}}"#,
        descriptor(&image, 1)
    );
    let canonical = Digest::sha256(text.as_bytes());
    let reference = Reference::Digest(Digest::of(Algorithm::Sha512, text.as_bytes()));
    let put = registry.put_manifest(&app, &reference, &MediaType::OCI_INDEX, text.into(), &[]);
    put.await.unwrap();
    std::fs::remove_file(path(folder.path(), &revision(&app, canonical))).unwrap();
    breaks(folder.path(), &registry, vec![], vec![]).await;
}

#[tokio::test]
async fn an_index_need_not_hold_what_the_configuration_lets_it_lack() {
    let (folder, registry, app, ..) = with_image().await;
    let child = Digest::sha256(b"not here");
    let index = format!(r#"{{"schemaVersion":2,"manifests":[{}]}}"#, descriptor(&child, 1));
    let digest = Digest::sha256(index.as_bytes());
    write(folder.path(), &ObjectPath::BlobData { digest }, index.as_bytes());
    write(
        folder.path(),
        &revision(&app, digest),
        digest.to_string().as_bytes(),
    );
    assert_eq!(check(&registry, REPORT).await.1.len(), 1);
    let settings = crate::registry::Settings {
        validation: crate::registry::Validation {
            children: crate::registry::IndexChildren::None,
            ..Default::default()
        },
        ..Default::default()
    };
    let registry = Registry::new(std::sync::Arc::clone(registry.driver()), settings);
    assert_eq!(check(&registry, REPORT).await.1, []);
}

#[tokio::test]
async fn an_empty_store_is_healthy() {
    let folder = tempfile::tempdir().unwrap();
    let registry = in_folder(folder.path());
    let (checked, found) = check(&registry, MOVE).await;
    assert_eq!((checked.blobs, checked.repositories, found), (0, 0, vec![]));
}
