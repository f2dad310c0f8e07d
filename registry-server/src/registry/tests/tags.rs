//! Tags: the cost of deleting a manifest where there are many of them.

use super::counted::Counted;
use super::*;
use crate::storage::Driver;

const TAGS: usize = 500;

/// A repository with many tags of one manifest and a few of another; returns the digest of the second.
async fn filled(registry: &Registry) -> Digest {
    let push = async |more: &str, tags: Vec<registry_oci::Tag>| {
        let text = format!(r#"{{"schemaVersion":2,"manifests":[]{more}}}"#);
        let digest = Digest::sha256(text.as_bytes());
        for tags in tags.chunks(60) {
            let reference = Reference::Digest(digest);
            let (name, text) = (name(), text.clone().into());
            let pushed = registry.put_manifest(&name, &reference, &MediaType::OCI_INDEX, text, tags);
            pushed.await.unwrap();
        }
        digest
    };
    let tags = |prefix: &str, count: usize| -> Vec<registry_oci::Tag> {
        let tag = |number| registry_oci::Tag::parse(&format!("{prefix}{number}")).unwrap();
        (0..count).map(tag).collect()
    };
    push("", tags("many", TAGS)).await;
    push(r#","annotations":{"a":"b"}"#, tags("few", 3)).await
}

#[tokio::test]
async fn a_manifest_is_deleted_beside_many_tags_with_two_reads_each_and_several_at_once() {
    let driver = Arc::new(Counted::default());
    let registry = Registry::new(Arc::clone(&driver) as Arc<dyn Driver>, Settings::default());
    let digest = filled(&registry).await;
    for kind in ["get", "stat"] {
        driver.take(kind);
    }
    driver.take_most();
    registry.delete_manifest(&name(), &digest).await.unwrap();
    let (gets, stats, most) = (driver.take("get"), driver.take("stat"), driver.take_most());
    println!("{gets} reads, {stats} looks, {most} at once");
    // Once before its link is removed, and once after that for a tag that a push set meanwhile.
    assert!(gets < 2 * TAGS + 50, "{gets} reads");
    assert!(stats < 50, "{stats} looks");
    assert!((16..=64).contains(&most), "{most} at once");
    let left = registry.tags(&name(), None, None).await.unwrap().items;
    assert_eq!(left.len(), TAGS);
    assert!(left.iter().all(|tag| tag.as_str().starts_with("many")));
}

#[tokio::test]
async fn a_deletion_goes_on_when_the_client_that_asked_is_gone() {
    let driver = Arc::new(Counted::default());
    let registry = Registry::new(Arc::clone(&driver) as Arc<dyn Driver>, Settings::default());
    let digest = filled(&registry).await;
    let gone = broken_off_after(1, registry.delete_manifest(&name(), &digest)).await;
    assert!(gone.is_none());
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(30);
    loop {
        let found = registry
            .head_manifest(&name(), &Reference::Digest(digest), &Accepts::Anything)
            .await;
        if matches!(found, Err(Error::ManifestUnknown { .. })) {
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "last seen: {found:?}");
        tokio::task::yield_now().await;
    }
    assert_eq!(
        registry.tags(&name(), None, None).await.unwrap().items.len(),
        TAGS
    );
}
