//! Sessions on a real object store, continued by two servers that know nothing of each other.

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, TryStreamExt as _, stream};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use registry_oci::Algorithm;

use super::record::read_record;
use super::*;
use crate::registry::store_body::BodyError;
use crate::registry::{Offset, PurgeMode, Settings};
use crate::storage::conformance::stores;
use crate::storage::{Driver, EntryKind, ReadRange, StorageKey};

/// Two servers on one store.
fn replicas() -> [Registry; 2] {
    let root = uuid::Uuid::new_v4().to_string();
    [(); 2].map(|()| Registry::new(stores::s3_below(&root), Settings::default()))
}

fn name() -> RepositoryName {
    RepositoryName::parse("library/debian").unwrap()
}

fn chunk(offset: u64, length: usize, counted: bool) -> Chunk {
    Chunk {
        offset: Offset::At(offset),
        length: Some(length as u64),
        counted,
    }
}

fn random(size: usize, seed: u64) -> Bytes {
    let mut bytes = vec![0; size];
    StdRng::seed_from_u64(seed).fill(&mut bytes[..]);
    bytes.into()
}

/// A body in frames as they come from a connection.
fn body(bytes: Bytes) -> impl Stream<Item = Result<Bytes, BodyError>> + Send + Unpin + 'static {
    let mut rest = bytes;
    stream::iter(std::iter::from_fn(move || {
        (!rest.is_empty()).then(|| Ok(rest.split_to(rest.len().min(61_003))))
    }))
}

fn broken(bytes: Bytes) -> impl Stream<Item = Result<Bytes, BodyError>> + Send + Unpin + 'static {
    body(bytes).chain(stream::iter([Err("the connection broke".into())]))
}

async fn append(
    registry: &Registry,
    progress: &Progress,
    bytes: &Bytes,
    counted: bool,
) -> Result<Progress, Error> {
    let chunk = chunk(progress.size, bytes.len(), counted);
    registry
        .append_upload(&name(), progress, chunk, body(bytes.clone()))
        .await
}

async fn finish(
    registry: &Registry,
    progress: &Progress,
    rest: &Bytes,
    digest: &Digest,
) -> Result<BlobDescriptor, Error> {
    let chunk = chunk(progress.size, rest.len(), false);
    registry
        .finish_upload(&name(), progress, chunk, digest, body(rest.clone()))
        .await
}

async fn pull(registry: &Registry, digest: &Digest) -> Bytes {
    let blob = registry.get_blob(&name(), digest, ReadRange::Full).await.unwrap();
    let blocks: Vec<Bytes> = blob.content.try_collect().await.unwrap();
    blocks.concat().into()
}

/// The keys of all objects.
async fn objects(driver: &dyn Driver) -> Vec<String> {
    let (mut found, mut pending) = (Vec::new(), vec![StorageKey::parse("docker").unwrap()]);
    while let Some(prefix) = pending.pop() {
        let entries: Vec<_> = driver.list(&prefix).await.unwrap().try_collect().await.unwrap();
        for entry in entries {
            let key = prefix.child(&entry.name).unwrap();
            match entry.kind {
                EntryKind::Prefix => pending.push(key),
                EntryKind::Object => found.push(key.to_string()),
            }
        }
    }
    found
}

async fn nothing_is_left_of_uploads(registry: &Registry) {
    let left: Vec<String> = objects(&**registry.driver()).await;
    assert!(left.iter().all(|key| !key.contains("/_uploads/")), "{left:?}");
    let unfinished = registry
        .driver()
        .large_write()
        .multipart()
        .unwrap()
        .unfinished()
        .await
        .unwrap();
    assert_eq!(unfinished, []);
}

const MIB: usize = 1 << 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_goes_on_on_any_replica_with_chunks_of_any_size() {
    let sizes = [
        0,
        1,
        100,
        70_000,
        MIB,
        5 * MIB - 1,
        5 * MIB,
        5 * MIB + 1,
        12 * MIB,
    ];
    let mut chunks = 0;
    for seed in 0..6 {
        let mut choice = StdRng::seed_from_u64(seed);
        let replicas = replicas();
        let replica = |choice: &mut StdRng| &replicas[choice.random_range(0..2)];
        let mut progress = replica(&mut choice).start_upload(&name()).await.unwrap();
        let mut all = Vec::new();
        for _ in 0..choice.random_range(1..8) {
            let bytes = random(sizes[choice.random_range(0..sizes.len())], choice.random());
            let counted = choice.random();
            progress = append(replica(&mut choice), &progress, &bytes, counted)
                .await
                .unwrap();
            all.extend_from_slice(&bytes);
            chunks += 1;
            assert_eq!(progress.size, all.len() as u64);
            let told = replica(&mut choice)
                .upload_progress(&name(), &progress)
                .await
                .unwrap();
            assert_eq!(told, progress);
        }
        let rest = random(sizes[choice.random_range(0..sizes.len())], choice.random());
        all.extend_from_slice(&rest);
        let digest = Digest::sha256(&all);
        let held = finish(replica(&mut choice), &progress, &rest, &digest)
            .await
            .unwrap();
        assert_eq!((held.digest, held.size), (digest, all.len() as u64));
        assert!(pull(replica(&mut choice), &digest).await == all);
        nothing_is_left_of_uploads(&replicas[0]).await;
    }
    println!("{chunks} chunks");
}

#[tokio::test]
async fn a_small_blob_is_stored_once_and_its_link_is_all_that_finishing_writes() {
    let [one, other] = replicas();
    let bytes = random(70_000, 1);
    let digest = Digest::sha256(&bytes);
    let begun = one.start_upload(&name()).await.unwrap();
    assert_eq!(objects(&**one.driver()).await, [""; 0]);
    let progress = append(&one, &begun, &bytes, false).await.unwrap();
    assert_eq!(
        objects(&**one.driver()).await,
        [ObjectPath::BlobData { digest }.key().to_string()]
    );
    finish(&other, &progress, &Bytes::new(), &digest).await.unwrap();
    assert_eq!(objects(&**one.driver()).await.len(), 2);
    assert!(pull(&one, &digest).await == bytes);
    // The answer was lost, so the client asks again.
    finish(&one, &progress, &Bytes::new(), &digest).await.unwrap();
}

#[tokio::test]
async fn a_blob_that_comes_with_its_digest_is_stored_as_itself() {
    let [one, _] = replicas();
    for size in [0, 1, 5 * MIB, 13 * MIB + 7] {
        let bytes = random(size, size as u64);
        let digest = Digest::sha256(&bytes);
        let begun = one.start_upload(&name()).await.unwrap();
        finish(&one, &begun, &bytes, &digest).await.unwrap();
        assert!(pull(&one, &digest).await == bytes);
    }
    nothing_is_left_of_uploads(&one).await;
}

#[tokio::test]
async fn what_a_broken_connection_brought_is_kept_and_told() {
    let [one, other] = replicas();
    let (first, rest) = (random(6 * MIB + 5, 2), random(100, 3));
    let begun = one.start_upload(&name()).await.unwrap();
    let chunk = Chunk {
        offset: Offset::At(0),
        length: None,
        counted: false,
    };
    let error = one
        .append_upload(&name(), &begun, chunk, broken(first.clone()))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::UploadInterrupted { .. }), "{error}");
    // The client still has its earlier state.
    let told = other.upload_progress(&name(), &begun).await.unwrap();
    assert_eq!(told.size, first.len() as u64);
    let digest = Digest::sha256(&[&first[..], &rest[..]].concat());
    finish(&other, &told, &rest, &digest).await.unwrap();
    nothing_is_left_of_uploads(&one).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_requests_that_go_on_from_one_state_one_is_told_so_and_no_byte_is_mixed() {
    let [one, other] = replicas();
    let first = random(6 * MIB, 4);
    for round in 0..4 {
        let begun = one.start_upload(&name()).await.unwrap();
        let progress = append(&one, &begun, &first, true).await.unwrap();
        let (left, right) = (random(6 * MIB, 100 + round), random(70_000, 200 + round));
        let results = tokio::join!(
            append(&one, &progress, &left, true),
            append(&other, &progress, &right, true)
        );
        let (winner, bytes) = match results {
            (Ok(progress), Err(Error::UploadOffset { .. })) => (progress, &left),
            (Err(Error::UploadOffset { .. }), Ok(progress)) => (progress, &right),
            other => panic!("{other:?}"),
        };
        let digest = Digest::sha256(&[&first[..], &bytes[..]].concat());
        match finish(&one, &winner, &Bytes::new(), &digest).await {
            Ok(_) => assert!(pull(&other, &digest).await == [&first[..], &bytes[..]].concat()),
            // The other request stored a part under the same number: it is refused, and its client begins again.
            Err(Error::Storage { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test]
async fn a_cancelled_upload_is_gone_for_everybody() {
    let [one, other] = replicas();
    for (size, counted) in [(0, false), (100, false), (100, true), (6 * MIB, false)] {
        let begun = one.start_upload(&name()).await.unwrap();
        let bytes = random(size, 5);
        let progress = append(&one, &begun, &bytes, counted).await.unwrap();
        other.cancel_upload(&name(), &progress).await.unwrap();
        let error = one.upload_progress(&name(), &progress).await.unwrap_err();
        assert!(matches!(error, Error::UploadUnknown { .. }), "{size}: {error}");
    }
    let parts = one.driver().large_write().multipart().unwrap();
    assert_eq!(parts.unfinished().await.unwrap(), []);
}

#[tokio::test]
async fn bytes_that_are_not_what_they_are_sent_as_become_no_blob() {
    let [one, _] = replicas();
    for algorithm in Algorithm::ALL {
        let wrong = Digest::of(algorithm, b"something else");
        for (first, rest) in [(0, 100), (100, 0), (100, 100), (6 * MIB, 0), (0, 6 * MIB)] {
            let begun = one.start_upload(&name()).await.unwrap();
            let (first, rest) = (random(first, 6), random(rest, 7));
            let progress = append(&one, &begun, &first, false).await.unwrap();
            let error = finish(&one, &progress, &rest, &wrong).await.unwrap_err();
            assert!(matches!(error, Error::DigestMismatch { .. }), "{error}");
            assert!(one.head_blob(&name(), &wrong).await.is_err());
        }
    }
    nothing_is_left_of_uploads(&one).await;
}

#[tokio::test]
async fn a_blob_may_be_sent_as_its_sha512() {
    let [one, other] = replicas();
    for (first, rest) in [(0, 100), (100, 0), (6 * MIB, 0), (0, 6 * MIB), (5, 7 * MIB)] {
        let (first, rest) = (random(first, 8), random(rest, 9));
        let all = [&first[..], &rest[..]].concat();
        let digest = Digest::of(Algorithm::Sha512, &all);
        let begun = one.start_upload(&name()).await.unwrap();
        let progress = append(&one, &begun, &first, false).await.unwrap();
        finish(&other, &progress, &rest, &digest).await.unwrap();
        assert!(pull(&one, &digest).await == all);
    }
    nothing_is_left_of_uploads(&one).await;
}

/// A server is killed between putting the parts together and copying them.
#[tokio::test]
async fn an_upload_whose_parts_were_put_together_already_is_finished() {
    let [one, other] = replicas();
    let bytes = random(10 * MIB, 10);
    let begun = one.start_upload(&name()).await.unwrap();
    let progress = append(&one, &begun, &bytes, false).await.unwrap();
    let store = one.driver().large_write().multipart().unwrap();
    let found = read_record(store, &name(), &progress.id).await.unwrap().unwrap();
    let (upload, tail) = (found.record.upload.unwrap(), found.tail);
    let key = ObjectPath::upload_data(&name(), &progress.id).key();
    let mut receipts = upload.receipts.clone();
    receipts.push(
        store
            .put_part(&key, &upload.name, receipts.len(), vec![tail])
            .await
            .unwrap(),
    );
    store.complete(&key, &upload.name, &receipts).await.unwrap();
    let digest = Digest::sha256(&bytes);
    finish(&other, &progress, &Bytes::new(), &digest).await.unwrap();
    assert!(pull(&one, &digest).await == bytes);
    nothing_is_left_of_uploads(&one).await;
}

#[tokio::test]
async fn abandoned_uploads_are_purged_by_the_time_of_their_last_byte() {
    let [one, _] = replicas();
    let begun = one.start_upload(&name()).await.unwrap();
    append(&one, &begun, &random(6 * MIB, 11), false).await.unwrap();
    // A server that is killed in the middle of a request leaves parts: in a session, and in a blob that it stores
    // directly.
    let store = one.driver().large_write().multipart().unwrap();
    let orphans = [
        ObjectPath::upload_data(&name(), &UploadId::unique()).key(),
        ObjectPath::BlobData {
            digest: Digest::sha256(b"x"),
        }
        .key(),
    ];
    for key in &orphans {
        let upload = store.begin(key).await.unwrap();
        store
            .put_part(key, &upload, 0, vec![random(6 * MIB, 12)])
            .await
            .unwrap();
    }
    let hour = Duration::from_secs(3600);
    for (age, purge, found) in [
        (hour, PurgeMode::Remove, 0),
        (Duration::ZERO, PurgeMode::DryRun, 3),
        (Duration::ZERO, PurgeMode::Remove, 3),
        (Duration::ZERO, PurgeMode::Remove, 0),
    ] {
        let purged = one.purge_uploads(age, purge).await.unwrap();
        assert!(purged.first_failure.is_none(), "{:?}", purged.first_failure);
        assert!(purged.uploads >= found, "{purged:?} of {found}");
        if found == 0 {
            assert_eq!(purged.uploads, 0);
        }
    }
    nothing_is_left_of_uploads(&one).await;
}
