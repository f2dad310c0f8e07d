//! Conditional removal, on which garbage collection and the deletion of tags rely: check and removal are one step.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;

use super::super::{Condition, Driver, Durability, EntryKind, Error};
use super::{get, key, list, put};

const HOUR: Duration = Duration::from_secs(3600);

async fn delete(driver: &Arc<dyn Driver>, name: &str, limit: SystemTime) -> Result<Option<u64>, Error> {
    let (name, prune_root) = (key(name), key("a"));
    let condition = Condition::Older(limit);
    let removed = driver.delete_if(&name, &condition, &prune_root, Durability::PowerLoss);
    Ok(removed.await?.map(|found| found.size))
}

async fn modified(driver: &Arc<dyn Driver>, name: &str) -> SystemTime {
    driver.stat(&key(name)).await.unwrap().modified
}

pub(super) async fn what_is_older_than_a_limit_is_deleted_and_what_is_younger_stays(driver: Arc<dyn Driver>) {
    put(&driver, "a/b", "12345").await;
    let written = modified(&driver, "a/b").await;
    let early = written - Duration::from_nanos(1);
    assert_eq!(delete(&driver, "a/b", early).await.unwrap(), None);
    assert_eq!(&get(&driver, "a/b").await[..], b"12345");
    assert_eq!(delete(&driver, "a/b", written).await.unwrap(), Some(5));
    assert!(driver.stat(&key("a/b")).await.unwrap_err().is_not_found());
}

pub(super) async fn deleting_old_objects_leaves_the_prune_root_and_its_other_content(
    driver: Arc<dyn Driver>,
) {
    let later = SystemTime::now() + HOUR;
    put(&driver, "a/b/c/one", "1").await;
    put(&driver, "a/b/two", "2").await;
    assert_eq!(delete(&driver, "a/b/c/one", later).await.unwrap(), Some(1));
    let names = |entries: Vec<super::Entry>| {
        let names = entries.into_iter().map(|entry| (entry.name, entry.kind));
        names.collect::<Vec<_>>()
    };
    assert_eq!(
        names(list(&driver, "a/b").await),
        [("two".to_owned(), EntryKind::Object)]
    );
    assert_eq!(delete(&driver, "a/b/two", later).await.unwrap(), Some(1));
    assert_eq!(names(list(&driver, "a").await), []);
    // The folders can be written into again.
    put(&driver, "a/b/c/one", "1").await;
}

pub(super) async fn deleting_or_refreshing_nothing_is_not_found(driver: Arc<dyn Driver>) {
    put(&driver, "a/b/c", "").await;
    for name in ["a/x", "a/b/c/d", "x/y"] {
        let deleted = delete(&driver, name, SystemTime::now() + HOUR).await.unwrap_err();
        assert!(deleted.is_not_found(), "{name}: {deleted}");
        let refreshed = driver.touch(&key(name)).await.unwrap_err();
        assert!(refreshed.is_not_found(), "{name}: {refreshed}");
    }
}

/// The classic race of garbage collections, two hundred times: either the refresher finds nothing, or the object
/// stays.
pub(super) async fn what_was_refreshed_in_time_is_never_deleted(driver: Arc<dyn Driver>) {
    let (mut stayed, mut gone) = (0, 0);
    let mut objects = Vec::new();
    for round in 0..200 {
        let name = format!("a/{round}/x");
        put(&driver, &name, "12345").await;
        let written = modified(&driver, &name).await;
        objects.push((name, written));
    }
    let latest = objects.iter().map(|(_, written)| *written).max();
    // Times are only as fine as the store's clock; the refresher must be seen to be later.
    loop {
        put(&driver, "a/clock", "").await;
        if Some(modified(&driver, "a/clock").await) > latest {
            break;
        }
    }
    for (round, (name, written)) in objects.into_iter().enumerate() {
        let (other, asked) = (Arc::clone(&driver), key(&name));
        let refreshed = tokio::spawn(async move { other.touch(&asked).await });
        let deleted = delete(&driver, &name, written).await.unwrap_or(None);
        match (refreshed.await.unwrap(), deleted) {
            (Ok(()), None) => {
                assert_eq!(&get(&driver, &name).await[..], b"12345", "round {round}");
                let touched = driver.stat_touched(&key(&name)).await.unwrap().modified;
                assert!(touched > written, "round {round}");
                stayed += 1;
            }
            (Err(error), Some(5)) if error.is_not_found() => gone += 1,
            // It was set aside for a moment: the refresher takes it for gone, which is always right to say.
            (Err(error), None) if error.is_not_found() => stayed += 1,
            other => panic!("round {round}: {other:?}"),
        }
    }
    assert_eq!(stayed + gone, 200);
}

/// A tag that is moved while its old target is deleted, two hundred times.
pub(super) async fn an_object_that_was_replaced_is_not_deleted_for_what_it_held(driver: Arc<dyn Driver>) {
    let holds = |text: &'static str| Condition::Holds(Bytes::from_static(text.as_bytes()));
    put(&driver, "a/b/link", "one").await;
    let (name, prune_root) = (key("a/b/link"), key("a"));
    for other in ["on", "two", "one\n"] {
        let condition = holds(other);
        let kept = driver.delete_if(&name, &condition, &prune_root, Durability::Crash);
        assert_eq!(kept.await.unwrap(), None, "{other:?}");
    }
    for round in 0..200 {
        put(&driver, "a/b/link", "one").await;
        let other = Arc::clone(&driver);
        let moved = tokio::spawn(async move {
            loop {
                put(&other, "a/b/link", "two").await;
                if other.confirm_put(&key("a/b/link")).await.unwrap() {
                    break;
                }
            }
        });
        let condition = holds("one");
        let deleted = driver
            .delete_if(&name, &condition, &prune_root, Durability::Crash)
            .await;
        moved.await.unwrap();
        assert_eq!(
            get(&driver, "a/b/link").await,
            "two",
            "round {round}: {deleted:?}"
        );
    }
}
