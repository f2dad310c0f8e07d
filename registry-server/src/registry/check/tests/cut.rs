//! A repair that is interrupted at any point, and one beside a process that writes.

use std::pin::pin;
use std::task::Poll;

use super::super::inspector::Inspector;
use super::super::trash::{Moved, Trash};
use super::*;
use crate::storage::StorageKey;

/// Polls a future a number of times and then drops it, as a kill does.
async fn cut_after<F: Future>(steps: usize, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut left = steps;
    std::future::poll_fn(|context| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        future.as_mut().poll(context).map(Some)
    })
    .await
}

/// A store with a damaged blob, a damaged manifest, and the objects that depend on them.
async fn broken() -> (tempfile::TempDir, Registry, BTreeMap<String, Vec<u8>>) {
    let (folder, registry, app, blob, _) = with_image().await;
    let damaged = push_image(&registry, &app, "damaged", "other").await;
    write(folder.path(), &ObjectPath::BlobData { digest: blob }, b"");
    write(folder.path(), &ObjectPath::BlobData { digest: damaged }, b"torn");
    let before = objects(&registry).await;
    (folder, registry, before)
}

/// The objects in the trash of all runs, by their old keys. All copies of one object must be the same.
async fn trashed(registry: &Registry) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for key in keys(registry.driver()).await {
        let key = StorageKey::parse(&key).unwrap();
        if let Some(ObjectPath::Trashed { was, .. }) = ObjectPath::parse(&key) {
            let bytes = registry.driver().get(&key, u64::MAX).await.unwrap().to_vec();
            let before = found.insert(was.key().to_string(), bytes.clone());
            assert!(before.is_none_or(|before| before == bytes), "{key}");
        }
    }
    found
}

/// The runs that moved anything, oldest first.
async fn runs(registry: &Registry) -> Vec<Uuid> {
    let places = keys(registry.driver()).await;
    let places = places
        .iter()
        .filter_map(|key| ObjectPath::parse(&StorageKey::parse(key).unwrap()));
    let mut runs: Vec<Uuid> = places
        .filter_map(|place| match place {
            ObjectPath::TrashJournal { run, .. } => Some(run),
            _ => None,
        })
        .collect();
    runs.sort_unstable();
    runs.dedup();
    runs
}

#[tokio::test]
async fn a_repair_that_is_cut_off_anywhere_loses_nothing_and_goes_on() {
    let mut steps = 1;
    loop {
        let (_folder, registry, before) = broken().await;
        let mut watch = |_: CheckEvent<'_>| {};
        let finished = cut_after(steps, registry.check(MOVE, &mut watch)).await;
        // Every byte is in its place, or in the trash, or in both.
        let mut all = trashed(&registry).await;
        all.extend(objects(&registry).await);
        all.retain(|key, _| before.contains_key(key));
        assert_eq!(all, before, "after {steps} steps");
        check(&registry, MOVE).await;
        let left: Vec<_> = check(&registry, REPORT).await.1;
        assert!(
            left.iter().all(|finding| finding.kind() == "blob-missing"),
            "after {steps} steps: {left:?}"
        );
        // The last run first: it puts back the objects that both runs moved.
        for run in runs(&registry).await.into_iter().rev() {
            let undone = registry
                .undo_repair(run, LiveServerPolicy::Refuse, &mut |_| {})
                .await;
            assert_eq!(undone.unwrap().in_the_way, 0, "after {steps} steps");
        }
        let mut now = objects(&registry).await;
        now.retain(|key, _| before.contains_key(key));
        assert_eq!(now, before, "after {steps} steps: undone");
        if finished.is_some() {
            assert!(steps > 20, "a repair has many steps, not {steps}");
            return;
        }
        steps += 1;
    }
}

#[tokio::test]
async fn an_undoing_that_is_cut_off_anywhere_loses_nothing_and_goes_on() {
    let mut steps = 1;
    loop {
        let (_folder, registry, before) = broken().await;
        let run = check(&registry, MOVE).await.0.run.unwrap();
        let mut watch = |_: UndoEvent<'_>| {};
        let undoing = registry.undo_repair(run, LiveServerPolicy::Refuse, &mut watch);
        let finished = cut_after(steps, undoing).await;
        let mut all = trashed(&registry).await;
        all.extend(objects(&registry).await);
        all.retain(|key, _| before.contains_key(key));
        assert_eq!(all, before, "after {steps} steps");
        match registry
            .undo_repair(run, LiveServerPolicy::Refuse, &mut |_| {})
            .await
        {
            Ok(undone) => assert_eq!(undone.in_the_way, 0, "after {steps} steps"),
            Err(CheckError::NoSuchRepair { .. }) if finished.is_some() => {}
            // A call of the file system that had begun completed the undoing by itself.
            Err(CheckError::NoSuchRepair { .. }) => {}
            Err(error) => panic!("after {steps} steps: {error:?}"),
        }
        let mut now = objects(&registry).await;
        now.retain(|key, _| before.contains_key(key));
        assert_eq!(now, before, "after {steps} steps: undone");
        if finished.is_some() {
            assert!(steps > 10, "an undoing has many steps, not {steps}");
            return;
        }
        steps += 1;
    }
}

#[tokio::test]
async fn what_is_written_anew_between_the_look_and_the_move_stays() {
    let (folder, registry, app, blob, _) = with_image().await;
    let link = layer(&app, blob);
    write(folder.path(), &link, b"");
    let inspector = Inspector::new(&registry, Digests::Trusted);
    let found = inspector
        .link_to_blob(link.clone(), blob)
        .await
        .unwrap()
        .pop()
        .unwrap();
    push_blob(&registry, &app, &blob, &bytes::Bytes::from_static(b"layer")).await;
    let mut trash = Trash::new(&registry, LiveServerPolicy::Refuse);
    let moved = trash.take(&found.moves[0], &found.finding).await.unwrap();
    assert_eq!((moved, trash.run()), (Moved::No, None));
    assert_eq!(
        std::fs::read_to_string(path(folder.path(), &link)).unwrap(),
        blob.to_string()
    );
}
