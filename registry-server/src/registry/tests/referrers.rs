//! The list of referrers: its cost, and the size of its pages.

use super::content::digests_of;
use super::counted::Counted;
use super::*;
use crate::storage::layout::{ObjectPath, PathPrefix};
use crate::storage::{Driver, Durability};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

fn subject() -> Digest {
    Digest::sha256(b"subject")
}

/// An index that refers to the subject, with more fields at its end.
async fn push(registry: &Registry, more: &str) -> Result<Digest, Error> {
    let subject = subject();
    let text = format!(
        r#"{{"schemaVersion":2,"manifests":[],"subject":{{"mediaType":"{MANIFEST}","digest":"{subject}","size":9}}{more}}}"#
    );
    let digest = Digest::sha256(text.as_bytes());
    let reference = Reference::Digest(digest);
    let name = name();
    let pushed = registry.put_manifest(&name, &reference, &MediaType::OCI_INDEX, text.into(), &[]);
    Ok(pushed.await?.digest)
}

async fn list(
    registry: &Registry,
    kind: Option<&str>,
    last: Option<&Digest>,
) -> (Vec<Digest>, Option<Digest>) {
    let page = registry.referrers(&name(), &subject(), kind, last).await.unwrap();
    (digests_of(&page.descriptors), page.next)
}

/// Removes the index, as if a server of distribution had pushed all manifests.
async fn lose_index(driver: &dyn Driver) {
    let area = PathPrefix::IndexedRepositories.key();
    driver.delete_tree(&area, Durability::Crash).await.unwrap();
}

fn on(driver: &Arc<Counted>, read_only: bool) -> Registry {
    let settings = Settings {
        read_only,
        ..Settings::default()
    };
    Registry::new(Arc::clone(driver) as Arc<dyn Driver>, settings)
}

#[tokio::test]
async fn manifests_that_no_index_knows_are_read_once_and_several_at_a_time() {
    const COUNT: usize = 200;
    for read_only in [true, false] {
        let store = InMemory::new();
        let plain = Registry::new(Arc::new(store.clone()), Settings::default());
        let mut pushed = Vec::new();
        for number in 0..COUNT {
            let more = format!(r#","annotations":{{"number":"{number}"}}"#);
            pushed.push(push(&plain, &more).await.unwrap());
        }
        pushed.sort();
        lose_index(&store).await;
        let driver = Arc::new(Counted::of(&store));
        let registry = on(&driver, read_only);
        // Requests at the same time wait for one scan.
        let asks = (0..8).map(|_| list(&registry, None, None));
        for (digests, next) in futures_util::future::join_all(asks).await {
            assert_eq!((digests, next), (pushed.clone(), None));
        }
        let (gets, most) = (driver.take("get"), driver.take_most());
        println!(
            "read-only {read_only}: {gets} reads, {most} at once, {} lists",
            driver.take("list")
        );
        // The scan reads the link and the payload of each once. Each answer reads the link and the entry, or the
        // payload where there is no entry.
        let answer = if read_only { 3 } else { 2 };
        assert_eq!(gets, COUNT * (2 + 8 * answer));
        assert!(most > 8, "{most} at once");
        assert!(most <= 8 * 16, "{most} at once");
        // No manifest is read a second time.
        assert_eq!(list(&registry, None, None).await.0, pushed);
        assert_eq!((driver.take("get"), driver.take("list")), (COUNT * answer, 4));
        assert!(driver.take_most() <= 16);
        // On a bucket nothing is scanned again so soon.
        let registry = on(&driver, read_only).with_scans_as_on_a_bucket();
        assert_eq!(list(&registry, None, None).await.0, pushed);
        for kind in ["get", "list"] {
            driver.take(kind);
        }
        assert_eq!(list(&registry, None, None).await.0, pushed);
        assert_eq!((driver.take("get"), driver.take("list")), (COUNT * answer, 1));
        registry.forget_scan(&name()).await;
        assert_eq!(list(&registry, None, None).await.0, pushed);
        assert_eq!((driver.take("get"), driver.take("list")), (COUNT * answer, 4));
    }
}

#[tokio::test]
async fn a_scan_goes_on_when_the_client_that_asked_is_gone() {
    let store = InMemory::new();
    let plain = Registry::new(Arc::new(store.clone()), Settings::default());
    for number in 0..100 {
        push(&plain, &format!(r#","annotations":{{"number":"{number}"}}"#))
            .await
            .unwrap();
    }
    lose_index(&store).await;
    let driver = Arc::new(Counted::of(&store));
    let registry = on(&driver, true);
    let gone = broken_off_after(3, list(&registry, None, None)).await;
    assert!(gone.is_none());
    assert_eq!(list(&registry, None, None).await.0.len(), 100);
    // Twice would be 400 and the list's own 300.
    assert_eq!(driver.take("get"), 200 + 300);
}

#[tokio::test]
async fn what_another_server_pushes_later_is_found() {
    let store = InMemory::new();
    let plain = Registry::new(Arc::new(store.clone()), Settings::default());
    let first = push(&plain, "").await.unwrap();
    let driver = Arc::new(Counted::of(&store));
    let registry = on(&driver, true);
    assert_eq!(list(&registry, None, None).await.0, [first]);
    let second = push(&plain, r#","annotations":{"a":"b"}"#).await.unwrap();
    lose_index(&store).await;
    let mut both = vec![first, second];
    both.sort();
    assert_eq!(list(&registry, None, None).await.0, both);
}

#[tokio::test]
async fn pages_are_bounded_in_number_and_in_bytes_and_lead_through_everything() {
    let registry = registry();
    let mut pushed = Vec::new();
    for number in 0..1100 {
        let kind = if number % 100 == 0 {
            "app/rare"
        } else {
            "app/common"
        };
        let more = format!(r#","artifactType":"{kind}","annotations":{{"number":"{number}"}}"#);
        pushed.push(push(&registry, &more).await.unwrap());
    }
    for letter in ["a", "b", "c", "d"] {
        let more = format!(
            r#","artifactType":"app/large","annotations":{{"text":"{}"}}"#,
            letter.repeat(1_500_000)
        );
        pushed.push(push(&registry, &more).await.unwrap());
    }
    pushed.sort();
    let (mut found, mut last, mut pages) = (Vec::new(), None, 0);
    loop {
        let page = registry
            .referrers(&name(), &subject(), None, last.as_ref())
            .await
            .unwrap();
        assert!(page.descriptors.len() <= 4 * 1024 * 1024 - 1024);
        let (digests, next) = list(&registry, None, last.as_ref()).await;
        assert!(digests.len() <= 1000);
        found.extend(digests);
        pages += 1;
        last = next;
        if next.is_none() {
            break;
        }
    }
    assert_eq!(found, pushed);
    assert!(pages >= 2, "{pages} pages");
    assert_eq!(list(&registry, Some("App/Rare"), None).await.0.len(), 11);
    let (large, next) = list(&registry, Some("app/large"), None).await;
    assert_eq!((large.len(), next), (2, large.last().copied()));
}

#[tokio::test]
async fn what_no_page_has_room_for_is_refused_and_listed_without_that_when_another_server_took_it() {
    let registry = registry();
    let kind = format!(r#","artifactType":"a/{}""#, "b".repeat(4_000_000));
    let annotations = format!(
        r#","annotations":{{"a":"{}"}}"#,
        "b".repeat(4 * 1024 * 1024 - 400)
    );
    for more in [&kind, &annotations] {
        let error = push(&registry, more).await.unwrap_err();
        assert!(matches!(error, Error::ManifestInvalid { .. }), "{error:?}");
        // A manifest without a subject is not listed.
        let text = format!(r#"{{"schemaVersion":2,"manifests":[]{more}}}"#);
        let tag = Reference::parse("v1").unwrap();
        let name = name();
        let pushed = registry.put_manifest(&name, &tag, &MediaType::OCI_INDEX, text.into(), &[]);
        pushed.await.unwrap();
    }
    // As a server stores it that has no such limit.
    let subject = subject();
    for more in [&kind, &annotations] {
        let text = format!(
            r#"{{"schemaVersion":2,"manifests":[],"subject":{{"mediaType":"{MANIFEST}","digest":"{subject}","size":9}}{more}}}"#
        );
        let digest = Digest::sha256(text.as_bytes());
        let driver = registry.driver();
        let payload = ObjectPath::BlobData { digest }.key();
        let put = driver.put(&payload, text.into(), storage::Mode::Replace, Durability::Crash);
        put.await.unwrap();
        registry.link_manifest(&name(), digest, digest).await.unwrap();
    }
    registry.forget_scan(&name()).await;
    let page = registry.referrers(&name(), &subject, None, None).await.unwrap();
    assert!(page.descriptors.len() < 1000, "{}", page.descriptors.len());
    assert_eq!(list(&registry, None, None).await.0.len(), 2);
}

#[tokio::test]
async fn hundreds_of_thousands_of_annotations_leave_the_thread_to_others() {
    let registry = registry();
    let annotations: Vec<String> = (0..250_000).map(|number| format!(r#""{number}":"x""#)).collect();
    let subject = subject();
    let text = format!(
        r#"{{"schemaVersion":2,"manifests":[],"subject":{{"mediaType":"{MANIFEST}","digest":"{subject}","size":9}},"annotations":{{{}}}}}"#,
        annotations.join(",")
    );
    let (name, tag, text) = (name(), Reference::parse("v1").unwrap(), Bytes::from(text));
    // The longest time for which the thread was busy.
    let (stop, mut stopped) = tokio::sync::oneshot::channel::<()>();
    let probe = tokio::spawn(async move {
        let mut longest = std::time::Duration::ZERO;
        while stopped.try_recv().is_err() {
            let asked = std::time::Instant::now();
            tokio::task::yield_now().await;
            longest = longest.max(asked.elapsed());
        }
        longest
    });
    let pushed = registry.put_manifest(&name, &tag, &MediaType::OCI_INDEX, text, &[]);
    pushed.await.unwrap();
    for _ in 0..3 {
        let page = registry.referrers(&name, &subject, None, None).await.unwrap();
        assert!(page.descriptors.len() > 2_000_000);
    }
    stop.send(()).unwrap();
    println!(
        "the longest time in which the thread did nothing else: {:?}",
        probe.await.unwrap()
    );
}
