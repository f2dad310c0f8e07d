//! Tests that are easier without HTTP: how bodies are stored, and what the store holds afterwards.

pub(in crate::registry) mod content;
mod counted;
mod durable;
mod gated;
mod races;
mod referrers;
mod tags;

use std::path::Path;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use futures_util::stream;
use registry_oci::{Digest, MediaType, Reference, RepositoryName};

use super::*;
use crate::fault::Fault;
use crate::storage;
use crate::storage::{Filesystem, FilesystemOptions, InMemory, ReadRange};

fn registry() -> Registry {
    Registry::new(Arc::new(InMemory::new()), Settings::default())
}

/// A registry on a folder, as another replica has one. Its writes are not durable.
pub(super) fn in_folder(folder: &Path) -> Registry {
    let options = FilesystemOptions {
        sync: storage::Sync::Never,
        ..FilesystemOptions::default()
    };
    Registry::new(
        Arc::new(Filesystem::new(folder, &options).unwrap()),
        Settings::default(),
    )
}

fn name() -> RepositoryName {
    RepositoryName::parse("team/app").unwrap()
}

type Frames = Vec<Result<Bytes, Box<dyn std::error::Error + Send + Sync>>>;

fn frames(sizes: &[usize]) -> (Frames, Vec<u8>) {
    let mut all = Vec::new();
    let mut frames: Frames = Vec::new();
    for (number, size) in sizes.iter().enumerate() {
        let frame: Vec<u8> = (0..*size)
            .map(|at| (at ^ (at >> 8) ^ (number * 7)) as u8)
            .collect();
        all.extend_from_slice(&frame);
        frames.push(Ok(frame.into()));
    }
    (frames, all)
}

const TO_THE_END: Chunk = Chunk {
    offset: Offset::At(0),
    length: None,
    counted: false,
};

#[tokio::test]
async fn frames_of_any_size_arrive_in_order_and_whole() {
    for sizes in [
        &[][..],
        &[0, 0, 0],
        &[1; 3000],
        &[512 * 1024],
        &[512 * 1024 - 1, 1, 1],
        &[512 * 1024 + 1],
        &[5_000_000],
        &[100, 0, 700_000, 1, 1_500_000, 16],
    ] {
        let registry = registry();
        let (frames, content) = frames(sizes);
        let digest = Digest::sha256(&content);
        let id = registry.start_upload(&name()).await.unwrap().id;
        let body = stream::iter(frames);
        let held = registry
            .finish_upload(&name(), &id, TO_THE_END, &digest, body)
            .await
            .unwrap();
        assert_eq!(held.size, content.len() as u64, "{sizes:?}");
        let blob = registry
            .get_blob(&name(), &digest, ReadRange::Full)
            .await
            .unwrap();
        let chunks: Vec<Bytes> = futures_util::TryStreamExt::try_collect(blob.content)
            .await
            .unwrap();
        assert!(chunks.concat() == content, "{sizes:?}");
    }
}

#[tokio::test]
async fn an_upload_goes_on_when_nobody_waits_for_the_answer_any_more() {
    let registry = registry();
    let id = registry.start_upload(&name()).await.unwrap().id;
    let (sender, receiver) = futures_channel();
    let name = name();
    let append = registry.append_upload(&name, &id, TO_THE_END, receiver);
    // The connection is gone: the future that served it is dropped after half of the body.
    let waited = tokio::time::timeout(std::time::Duration::from_millis(1), append).await;
    assert!(waited.is_err(), "the body has not ended");
    sender.send(Ok(Bytes::from("the first part"))).unwrap();
    drop(sender);
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(30);
    loop {
        let progress = registry.upload_progress(&name, &id).await.unwrap();
        if progress.size == 14 {
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "last seen: {progress:?}");
        tokio::task::yield_now().await;
    }
}

type Frame = Result<Bytes, Box<dyn std::error::Error + Send + Sync>>;

/// A body whose frames the test sends.
fn futures_channel() -> (
    tokio::sync::mpsc::UnboundedSender<Frame>,
    impl futures_util::Stream<Item = Frame> + Send + Unpin + 'static,
) {
    let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
    let body = stream::unfold(receiver, async |mut receiver| {
        receiver.recv().await.map(|frame| (frame, receiver))
    });
    (sender, Box::pin(body))
}

#[tokio::test]
async fn every_error_says_who_must_act() {
    let registry = registry();
    let digest = Digest::sha256(b"missing");
    let error = registry.head_blob(&name(), &digest).await.unwrap_err();
    assert_eq!(error.fault(), Fault::Caller);
    assert_eq!(
        error.to_string(),
        format!("repository team/app has no blob {digest}"),
        "one level, without a cause"
    );
}

/// Polls a future a number of times and then drops it, as a broken connection or a crash does.
async fn broken_off_after<F: Future>(steps: usize, future: F) -> Option<F::Output> {
    let mut future = std::pin::pin!(future);
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

#[tokio::test]
async fn a_deletion_that_broke_off_can_be_asked_for_again_and_leaves_no_tag() {
    let mut steps = 1;
    loop {
        let folder = tempfile::tempdir().unwrap();
        let driver = Filesystem::new(folder.path(), &FilesystemOptions::default()).unwrap();
        let registry = Registry::new(Arc::new(driver), Settings::default());
        let index = Bytes::from(r#"{"schemaVersion":2,"manifests":[]}"#);
        let tag = Reference::parse("v1").unwrap();
        let digest = registry
            .put_manifest(&name(), &tag, &MediaType::OCI_INDEX, index, &[])
            .await
            .unwrap()
            .digest;
        let finished = broken_off_after(steps, registry.remove_manifest(&name(), &digest)).await;
        let again = registry.delete_manifest(&name(), &digest).await;
        assert!(
            matches!(again, Ok(()) | Err(Error::ManifestUnknown { .. })),
            "{again:?}"
        );
        // The dropped deletion may have handed work to another thread, which ends a moment later.
        let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(30);
        loop {
            let tags = registry.tags(&name(), None, None).await.unwrap().items;
            if tags.is_empty() {
                break;
            }
            assert!(
                tokio::time::Instant::now() < deadline,
                "after {steps} steps: {tags:?}"
            );
            tokio::task::yield_now().await;
        }
        if finished.is_some() {
            assert!(steps > 3, "a deletion has several steps");
            return;
        }
        steps += 1;
    }
}

#[tokio::test]
async fn an_upload_that_was_cancelled_while_it_was_written_leaves_nothing_and_is_not_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let driver = Filesystem::new(folder.path(), &FilesystemOptions::default()).unwrap();
    let registry = Registry::new(Arc::new(driver), Settings::default());
    let id = registry.start_upload(&name()).await.unwrap().id;
    let (sender, body) = futures_channel();
    let (other, name, session) = (registry.clone(), name(), id.clone());
    let append = tokio::spawn(async move { other.append_upload(&name, &session, TO_THE_END, body).await });
    let name = self::name();
    sender.send(Ok(Bytes::from(vec![7; 4 << 20]))).unwrap();
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(30);
    while registry.upload_progress(&name, &id).await.unwrap().size == 0 {
        assert!(tokio::time::Instant::now() < deadline, "nothing was written");
        tokio::task::yield_now().await;
    }
    registry.cancel_upload(&name, &id).await.unwrap();
    drop(sender);
    // The cancelling request ends the upload where it waits for its client, or the upload finds its session gone.
    let answer = append.await.unwrap();
    assert!(
        matches!(
            answer,
            Err(Error::UploadOvertaken { .. } | Error::UploadUnknown { .. })
        ),
        "{answer:?}"
    );
    let session = folder
        .path()
        .join(format!("docker/registry/v2/repositories/{name}/_uploads/{id}"));
    assert!(!session.exists());
}

#[tokio::test]
async fn only_so_many_large_manifests_are_in_memory_at_once_and_small_ones_do_not_wait() {
    let registry = registry();
    let pushed = async |annotation: usize| {
        let text = "x".repeat(annotation);
        let index = format!(r#"{{"schemaVersion":2,"manifests":[],"annotations":{{"a":"{text}"}}}}"#);
        let (name, tag) = (name(), Reference::parse("v1").unwrap());
        let pushed = registry.put_manifest(&name, &tag, &MediaType::OCI_INDEX, index.into(), &[]);
        pushed.await.unwrap();
        let pulled = registry.get_manifest(&name, &tag, &Accepts::Anything);
        assert!(pulled.await.unwrap().bytes.len() > annotation);
    };
    let permits = Arc::clone(&registry.parser.permits);
    let all = permits
        .acquire_many(manifest_parser::AT_ONCE as u32)
        .await
        .unwrap();
    pushed(100).await;
    let mut large = std::pin::pin!(pushed(200_000));
    assert!(futures_util::poll!(large.as_mut()).is_pending());
    drop(all);
    large.await;
    // It is dropped on another thread, and keeps its permit until that is done.
    let every = permits.acquire_many(manifest_parser::AT_ONCE as u32);
    let every = tokio::time::timeout(std::time::Duration::from_secs(30), every).await;
    drop(every.expect("no permit is lost").unwrap());
}
