//! Calls that the link cache saves a pull, and decisions that it must never make.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{TryStreamExt as _, stream};
use registry_oci::{Digest, MediaType, Reference, RepositoryName, Tag};

use super::super::tests::in_folder;
use super::super::{
    Accepts, Chunk, CollectionOptions, Error, LiveServerPolicy, Offset, Registry, Removal, Settings, Untagged,
};
use crate::cache::Cache;
use crate::cache::testing::RedisServer;
use crate::fault::Fault;
use crate::storage::layout::ObjectPath;
use crate::storage::{InMemory, ReadRange, Timed};

const LAYERS: usize = 10;

fn name() -> RepositoryName {
    RepositoryName::parse("team/app").unwrap()
}

fn tag() -> Reference {
    Reference::Tag(Tag::parse("latest").unwrap())
}

fn cached(registry: Registry, cache: Cache) -> Registry {
    registry.with_cache(Some(Arc::new(cache)))
}

fn in_memory(registry: Registry) -> Registry {
    cached(registry, Cache::in_memory(Some(100)))
}

async fn push_blob(registry: &Registry, bytes: &[u8]) -> Digest {
    let digest = Digest::sha256(bytes);
    let id = registry.start_upload(&name()).await.unwrap().id;
    let all = Chunk {
        offset: Offset::At(0),
        length: None,
        counted: false,
    };
    let frame: Result<Bytes, Box<dyn std::error::Error + Send + Sync>> = Ok(Bytes::copy_from_slice(bytes));
    let body = stream::iter([frame]);
    registry
        .finish_upload(&name(), &id, all, &digest, body)
        .await
        .unwrap();
    digest
}

/// An image of ten layers and a config.
struct Image {
    blobs: Vec<Digest>,
    manifest: Bytes,
    digest: Digest,
}

impl Image {
    async fn push(registry: &Registry) -> Self {
        let mut blobs = Vec::new();
        for number in 0..=LAYERS {
            blobs.push(push_blob(registry, format!("blob {number:x}").as_bytes()).await);
        }
        let of = |digest: &Digest| {
            format!(
                r#"{{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"{digest}","size":6}}"#
            )
        };
        let layers: Vec<String> = blobs[1..].iter().map(of).collect();
        let manifest = format!(
            r#"{{"schemaVersion":2,"mediaType":"{}","config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{}","size":6}},"layers":[{}]}}"#,
            MediaType::OCI_MANIFEST,
            blobs[0],
            layers.join(",")
        );
        let image = Self {
            digest: Digest::sha256(manifest.as_bytes()),
            manifest: manifest.into(),
            blobs,
        };
        image.push_manifest(registry).await.unwrap();
        image
    }

    async fn push_manifest(&self, registry: &Registry) -> Result<(), Error> {
        let (bytes, media_type) = (self.manifest.clone(), MediaType::OCI_MANIFEST);
        registry
            .put_manifest(&name(), &tag(), &media_type, bytes, &[])
            .await
            .map(drop)
    }

    async fn pull(&self, registry: &Registry) {
        pull_manifest(registry, &tag()).await.unwrap();
        for digest in &self.blobs {
            pull_blob(registry, digest).await.unwrap();
        }
    }
}

async fn pull_blob(registry: &Registry, digest: &Digest) -> Result<(), Error> {
    let blob = registry.get_blob(&name(), digest, ReadRange::Full).await?;
    let bytes: Vec<Bytes> = blob.content.try_collect().await.unwrap();
    assert_eq!(Digest::sha256(&bytes.concat()), *digest);
    Ok(())
}

async fn pull_manifest(registry: &Registry, reference: &Reference) -> Result<(), Error> {
    registry
        .get_manifest(&name(), reference, &Accepts::Anything)
        .await
        .map(drop)
}

#[track_caller]
fn check(answer: Result<(), Error>, expected: Result<(), &str>) {
    let said = match &answer {
        Ok(()) => Ok(()),
        Err(Error::BlobUnknown { .. } | Error::ManifestUnknown { .. }) => Err("unknown"),
        Err(Error::CacheInvalidation { .. }) => Err("cannot forget"),
        Err(error) => panic!("{error:?}"),
    };
    assert_eq!(said, expected);
}

const UNKNOWN: Result<(), &str> = Err("unknown");

/// How many calls a store got, by its metrics.
fn asked(metrics: &prometheus_client::registry::Registry) -> u64 {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, metrics).unwrap();
    text.lines()
        .filter(|line| line.starts_with("registry_storage_action_seconds_count"))
        .map(|line| line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap())
        .sum()
}

#[tokio::test]
async fn a_warm_pull_of_eleven_blobs_asks_the_store_thirteen_times() {
    let server = RedisServer::start(&[]);
    for (kind, cache, second) in [
        ("none", None, 25),
        ("memory", Some(Cache::in_memory(Some(100))), 13),
        ("redis", Some(server.cache().await), 13),
    ] {
        let mut metrics = prometheus_client::registry::Registry::default();
        let driver = Timed::new(Arc::new(InMemory::new()), &mut metrics);
        let registry = Registry::new(Arc::new(driver), Settings::default()).with_cache(cache.map(Arc::new));
        let image = Image::push(&registry).await;
        let mut before = asked(&metrics);
        let mut pull = async || {
            image.pull(&registry).await;
            let after = asked(&metrics);
            let took = after - before;
            before = after;
            took
        };
        // The tag, the link of the manifest and the manifest, and for each blob the link and the content.
        let (cold, warm) = (pull().await, pull().await);
        println!("cache {kind}: {cold} requests to the store, and {warm} the second time");
        assert_eq!((cold, warm), (25, second), "{kind}");
    }
}

/// Two replicas on one folder. The second deletes links that the first has in its memory.
fn replicas(folder: &Path) -> (Registry, Registry) {
    (in_memory(in_folder(folder)), in_memory(in_folder(folder)))
}

#[tokio::test]
async fn what_a_push_relies_on_is_never_told_from_a_cache() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = replicas(folder.path());
    let image = Image::push(&one).await;
    image.pull(&one).await;
    let manifest = Reference::Digest(image.digest);
    let blob = &image.blobs[3];
    two.delete_blob(&name(), blob).await.unwrap();
    two.delete_manifest(&name(), &image.digest).await.unwrap();

    let head = one.head_blob(&name(), blob).await.map(drop);
    check(head, UNKNOWN);
    let other = RepositoryName::parse("team/other").unwrap();
    let mounted = one.mount_blob(&other, blob, Some(&name())).await.unwrap();
    assert_eq!(mounted, None);
    let Err(Error::ManifestReferences { missing, .. }) = image.push_manifest(&one).await else {
        panic!("the manifest refers to a blob that was taken away")
    };
    assert_eq!(missing.len(), 1);
    let head = one.head_manifest(&name(), &manifest, &Accepts::Anything).await;
    check(head.map(drop), UNKNOWN);
}

#[tokio::test]
async fn another_replica_s_deletion_is_served_for_five_seconds_at_most_and_ones_own_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = replicas(folder.path());
    let image = Image::push(&one).await;
    image.pull(&one).await;
    let (blob, own) = (&image.blobs[3], &image.blobs[4]);
    let manifest = Reference::Digest(image.digest);
    one.delete_blob(&name(), own).await.unwrap();
    check(pull_blob(&one, own).await, UNKNOWN);

    two.delete_blob(&name(), blob).await.unwrap();
    two.delete_manifest(&name(), &image.digest).await.unwrap();
    check(pull_blob(&two, blob).await, UNKNOWN);
    check(pull_manifest(&two, &manifest).await, UNKNOWN);
    let deadline = Instant::now() + Duration::from_secs(60);
    while pull_blob(&one, blob).await.is_ok() || pull_manifest(&one, &manifest).await.is_ok() {
        assert!(Instant::now() < deadline, "it is still served");
        tokio::task::yield_now().await;
    }
    check(pull_blob(&one, blob).await, UNKNOWN);
    check(pull_manifest(&one, &manifest).await, UNKNOWN);

    let pushed = push_blob(&one, b"blob 3").await;
    check(pull_blob(&one, &pushed).await, Ok(()));
    one.delete_blob(&name(), &pushed).await.unwrap();
    check(pull_blob(&one, &pushed).await, UNKNOWN);
}

#[tokio::test]
async fn through_redis_a_deletion_takes_effect_for_all_replicas_at_once() {
    let server = RedisServer::start(&[]);
    let folder = tempfile::tempdir().unwrap();
    let one = cached(in_folder(folder.path()), server.cache().await);
    let two = cached(in_folder(folder.path()), server.cache().await);
    let image = Image::push(&one).await;
    image.pull(&one).await;
    let manifest = Reference::Digest(image.digest);
    for _ in 0..10 {
        let blob = push_blob(&one, b"blob 3").await;
        image.push_manifest(&one).await.unwrap();
        for registry in [&one, &two] {
            check(pull_blob(registry, &blob).await, Ok(()));
            check(pull_manifest(registry, &manifest).await, Ok(()));
        }
        two.delete_manifest(&name(), &image.digest).await.unwrap();
        two.delete_blob(&name(), &blob).await.unwrap();
        for registry in [&one, &two] {
            check(pull_blob(registry, &blob).await, UNKNOWN);
            check(pull_manifest(registry, &manifest).await, UNKNOWN);
        }
    }
}

#[tokio::test]
async fn a_payload_that_is_gone_is_unknown_whatever_the_cache_says_and_is_forgotten() {
    let server = RedisServer::start(&[]);
    for cache in [Cache::in_memory(None), server.cache().await] {
        let folder = tempfile::tempdir().unwrap();
        let registry = cached(in_folder(folder.path()), cache);
        let image = Image::push(&registry).await;
        image.pull(&registry).await;
        let blob = &image.blobs[3];
        for digest in [*blob, image.digest] {
            registry
                .driver()
                .delete(&ObjectPath::BlobData { digest }.key())
                .await
                .unwrap();
        }
        let manifest = Reference::Digest(image.digest);
        check(pull_blob(&registry, blob).await, UNKNOWN);
        check(pull_manifest(&registry, &manifest).await, UNKNOWN);
        // The payloads return by a push to another repository, but the links are gone: nothing may remember them.
        for (place, bytes) in [
            (ObjectPath::BlobData { digest: *blob }, Bytes::from("blob 3")),
            (
                ObjectPath::BlobData { digest: image.digest },
                image.manifest.clone(),
            ),
        ] {
            use crate::storage::{Durability, Mode};
            let put = registry
                .driver()
                .put(&place.key(), bytes, Mode::Replace, Durability::Crash)
                .await;
            put.unwrap();
        }
        for place in [
            ObjectPath::LayerLink {
                repository: name(),
                digest: *blob,
            },
            ObjectPath::RevisionLink {
                repository: name(),
                digest: image.digest,
            },
        ] {
            registry.driver().delete(&place.key()).await.unwrap();
        }
        check(pull_blob(&registry, blob).await, UNKNOWN);
        check(pull_manifest(&registry, &manifest).await, UNKNOWN);
    }
}

#[tokio::test]
async fn a_dead_redis_costs_no_pull_and_no_push_and_a_deletion_waits_for_it() {
    let mut server = RedisServer::start(&[]);
    let folder = tempfile::tempdir().unwrap();
    let registry = cached(in_folder(folder.path()), server.cache().await);
    let image = Image::push(&registry).await;
    image.pull(&registry).await;
    server.kill();
    image.pull(&registry).await;
    let pushed = push_blob(&registry, b"pushed without it").await;
    image.push_manifest(&registry).await.unwrap();
    check(pull_blob(&registry, &pushed).await, Ok(()));

    // Redis may come back with its old entries, so no link that it may hold can be deleted while it is away.
    let error = registry.delete_blob(&name(), &pushed).await.unwrap_err();
    assert!(
        matches!(error.fault(), Fault::Transient { retry_after: Some(_) }),
        "{error:?}"
    );
    check(
        registry.delete_manifest(&name(), &image.digest).await,
        Err("cannot forget"),
    );
    check(pull_blob(&registry, &pushed).await, Ok(()));
    image.pull(&registry).await;

    server.restart();
    let deadline = Instant::now() + crate::cache::testing::PATIENCE;
    while let Err(error) = registry.delete_blob(&name(), &pushed).await {
        assert!(Instant::now() < deadline, "last seen: {error:?}");
    }
    check(pull_blob(&registry, &pushed).await, UNKNOWN);
}

#[tokio::test]
async fn what_a_collection_removes_is_forgotten_in_redis() {
    let server = RedisServer::start(&[]);
    let folder = tempfile::tempdir().unwrap();
    let registry = cached(in_folder(folder.path()), server.cache().await);
    let image = Image::push(&registry).await;
    image.pull(&registry).await;
    let Reference::Tag(tag) = tag() else {
        panic!("it is one")
    };
    registry.delete_tag(&name(), &tag).await.unwrap();
    assert_eq!(server.ask(&["SCARD", "repository::team/app::blobs"]), "12");
    let collecting = CollectionOptions {
        untagged: Untagged::Delete,
        removal: Removal::Remove,
        live_server_policy: LiveServerPolicy::Ignore,
        min_age: Duration::ZERO,
        ..CollectionOptions::default()
    };
    let collector = cached(in_folder(folder.path()), server.cache().await);
    let collected = collector.collect_garbage(&collecting, &mut |_| {}).await.unwrap();
    assert_eq!((collected.manifests_removed, collected.failed), (1, 0));
    assert_eq!(server.ask(&["SCARD", "repository::team/app::blobs"]), "0");
    check(
        pull_manifest(&registry, &Reference::Digest(image.digest)).await,
        UNKNOWN,
    );
    check(pull_blob(&registry, &image.blobs[0]).await, UNKNOWN);
}
