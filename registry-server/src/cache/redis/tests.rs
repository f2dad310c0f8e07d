//! Against a real Redis: what is cached there, what is read back, and what happens when it is gone.

mod reached;

use registry_oci::{MediaType, RepositoryName};

use super::super::testing::{PATIENCE, RedisServer, up};
use super::*;
use crate::cache::Cache;

const SIZE: u64 = 1234;

struct Case {
    kind: LinkKind,
    repository: RepositoryName,
    digest: Digest,
}

impl Case {
    fn blob() -> Self {
        Self {
            kind: LinkKind::Blob,
            repository: RepositoryName::parse("team/app").unwrap(),
            digest: Digest::sha256(b"layer"),
        }
    }

    fn manifest() -> Self {
        let kind = LinkKind::Manifest;
        Self { kind, ..Self::blob() }
    }

    fn link(&self) -> Link<'_> {
        Link {
            kind: self.kind,
            repository: &self.repository,
            digest: &self.digest,
        }
    }

    fn descriptor(&self) -> Descriptor {
        Descriptor {
            canonical: self.digest,
            size: SIZE,
            media_type: match self.kind {
                LinkKind::Blob => MediaType::OCTET_STREAM,
                LinkKind::Manifest => MediaType::OCI_MANIFEST,
            },
        }
    }

    async fn knows(&self, cache: &Cache) -> bool {
        match cache.lookup(&self.link()).await {
            Lookup::Hit(canonical) => {
                assert_eq!(canonical, self.digest);
                true
            }
            Lookup::Miss(_) => false,
        }
    }

    async fn ticket(&self, cache: &Cache) -> Ticket {
        match cache.lookup(&self.link()).await {
            Lookup::Miss(ticket) => ticket,
            Lookup::Hit(_) => panic!("it is known already"),
        }
    }

    async fn remember(&self, cache: &Cache) {
        let ticket = self.ticket(cache).await;
        cache.remember(&self.link(), ticket, &self.descriptor()).await;
    }

    /// Waits until a link can be remembered and is.
    async fn works(&self, cache: &Cache) {
        let deadline = Instant::now() + PATIENCE;
        while let Lookup::Miss(ticket) = cache.lookup(&self.link()).await {
            assert!(Instant::now() < deadline, "last seen: the link is not remembered");
            up(cache).await;
            cache.remember(&self.link(), ticket, &self.descriptor()).await;
        }
    }
}

#[tokio::test]
async fn a_link_is_kept_under_distributions_keys() {
    let server = RedisServer::start(&[]);
    let cache = server.cache().await;
    let case = Case::blob();
    case.remember(&cache).await;
    let digest = case.digest.to_string();
    assert_eq!(server.ask(&["SMEMBERS", "repository::team/app::blobs"]), digest);
    assert_eq!(
        server.ask(&["HGETALL", &format!("repository::team/app::blobs::{digest}")]),
        "mediatype\napplication/octet-stream\nberth\nblob"
    );
    assert_eq!(
        server.ask(&[
            "HMGET",
            &format!("blobs::{digest}"),
            "digest",
            "size",
            "mediatype"
        ]),
        format!("{digest}\n1234\napplication/octet-stream")
    );
    assert_eq!(server.ask(&["DBSIZE"]), "3");
    // Nothing expires, as in distribution.
    assert_eq!(server.ask(&["TTL", "repository::team/app::blobs"]), "-1");
    cache.forget(&case.link()).await.unwrap();
    let left = format!("repository::{{repository::team/app::blobs}}::forgotten::{digest}");
    assert_eq!(server.ask(&["KEYS", "*"]), left);
    let span: u64 = server.ask(&["TTL", &left]).parse().unwrap();
    assert!(span <= 60, "{span}");
}

#[tokio::test]
async fn what_only_distribution_remembers_is_not_believed_and_what_it_takes_away_is_forgotten() {
    let server = RedisServer::start(&[]);
    let cache = server.cache().await;
    let case = Case::blob();
    let digest = case.digest.to_string();
    let set = "repository::team/app::blobs";
    let own = format!("repository::team/app::blobs::{digest}");
    let general = format!("blobs::{digest}");
    let octets = "application/octet-stream";
    // In version 2 the remains of a deleted link look the same once another repository has the blob.
    for words in [
        &["SADD", set, &digest][..],
        &["HMSET", &general, "digest", &digest, "size", "1234"],
        &["HSETNX", &general, "mediatype", octets],
        &["HSET", &own, "mediatype", octets],
    ] {
        server.ask(words);
    }
    assert!(!case.knows(&cache).await);

    // Version 3 deletes all of it, in one step; version 2 only the last. Any of it is enough.
    let gone: [&[&str]; 4] = [
        &["SREM", set, &digest],
        &["DEL", &own],
        &["HDEL", &general, "digest", "size", "mediatype"],
        &["HSET", &general, "digest", "no digest"],
    ];
    for words in gone {
        case.remember(&cache).await;
        assert!(case.knows(&cache).await, "before {words:?}");
        server.ask(words);
        assert!(!case.knows(&cache).await, "after {words:?}");
    }
}

#[tokio::test]
async fn a_manifest_is_not_taken_for_a_blob_nor_the_other_way_round() {
    let server = RedisServer::start(&[]);
    let cache = server.cache().await;
    let (blob, manifest) = (Case::blob(), Case::manifest());
    manifest.remember(&cache).await;
    assert_eq!(
        (blob.knows(&cache).await, manifest.knows(&cache).await),
        (false, true)
    );
    blob.remember(&cache).await;
    assert_eq!(
        (blob.knows(&cache).await, manifest.knows(&cache).await),
        (true, false)
    );
}

#[tokio::test]
async fn what_one_replica_forgets_is_forgotten_by_all_also_by_who_was_just_reading_it() {
    let server = RedisServer::start(&[]);
    let (one, two) = (server.cache().await, server.cache().await);
    let case = Case::blob();
    case.remember(&one).await;
    assert!(case.knows(&two).await);
    one.forget(&case.link()).await.unwrap();
    assert!(!case.knows(&two).await);

    // The second reads the link from the store, the first takes it away, and only then the second remembers it.
    let ticket = case.ticket(&two).await;
    one.forget(&case.link()).await.unwrap();
    two.remember(&case.link(), ticket, &case.descriptor()).await;
    assert!(!case.knows(&one).await && !case.knows(&two).await);

    // A read of the store that took too long is not cached.
    server.ask(&["FLUSHALL"]);
    let Ticket { at, forgotten } = case.ticket(&two).await;
    let old = Ticket {
        at: at - FRESH,
        forgotten,
    };
    two.remember(&case.link(), old, &case.descriptor()).await;
    assert!(!case.knows(&two).await);
    case.remember(&two).await;
    assert!(case.knows(&one).await);
}

#[tokio::test]
async fn a_dead_redis_knows_nothing_refuses_to_forget_and_comes_back() {
    let mut server = RedisServer::start(&[]);
    let cache = server.cache().await;
    let case = Case::blob();
    case.remember(&cache).await;
    assert!(case.knows(&cache).await);
    server.kill();
    assert!(!case.knows(&cache).await);
    case.remember(&cache).await;
    let error = cache.forget(&case.link()).await.unwrap_err();
    let expected = format!("Redis at {} does not answer", server.socket().display());
    assert_eq!(error.to_string(), expected);
    server.restart();
    case.works(&cache).await;
    cache.forget(&case.link()).await.unwrap();
    assert!(!case.knows(&cache).await);
}

#[tokio::test]
async fn a_connection_that_was_cut_is_no_reason_to_refuse_to_forget() {
    let server = RedisServer::start(&[]);
    let cache = server.cache().await;
    let case = Case::blob();
    case.remember(&cache).await;
    server.ask(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
    cache.forget(&case.link()).await.unwrap();
    assert!(!case.knows(&cache).await);
    assert_eq!(server.ask(&["EXISTS", "repository::team/app::blobs"]), "0");
}

#[tokio::test]
async fn a_redis_that_hangs_is_asked_once_and_then_not_for_a_while() {
    let server = RedisServer::start(&[]);
    let settings = Settings {
        patience: Duration::from_millis(200),
        ..server.settings()
    };
    let cache = Cache::in_redis(settings).unwrap();
    up(&cache).await;
    let case = Case::blob();
    case.works(&cache).await;
    server.stop();
    assert!(!case.knows(&cache).await);
    // From now on there is no connection, so nobody waits: thousands of looks fail without one of them being sent.
    let errors = cache.metrics.failures();
    for _ in 0..10_000 {
        assert!(!case.knows(&cache).await);
    }
    assert_eq!(cache.metrics.failures() - errors, 10_000);
    server.resume();
    case.works(&cache).await;
}

#[tokio::test]
async fn a_redis_without_room_still_tells_what_it_knows() {
    let server = RedisServer::start(&[]);
    let cache = server.cache().await;
    let (blob, manifest) = (Case::blob(), Case::manifest());
    blob.remember(&cache).await;
    server.ask(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]);
    server.ask(&["CONFIG", "SET", "maxmemory", "1"]);
    manifest.remember(&cache).await;
    assert!(blob.knows(&cache).await);
    assert!(!manifest.knows(&cache).await);
    assert_eq!(cache.metrics.failures(), 1);
}

#[tokio::test]
async fn what_redis_is_asked_is_counted_under_distributions_names() {
    let server = RedisServer::start(&[]);
    let cache = server.cache().await;
    let mut registry = prometheus_client::registry::Registry::default();
    cache.register(&mut registry);
    let case = Case::blob();
    case.remember(&cache).await;
    assert!(case.knows(&cache).await);
    let text = crate::telemetry::metrics::Metrics::new(registry).text();
    for line in [
        "registry_storage_cache_requests_total 2\n",
        "registry_storage_cache_hits_total 1\n",
        "registry_storage_cache_errors_total 0\n",
        "registry_storage_cache_total{type=\"Request\"} 2\n",
        "registry_storage_cache_total{type=\"Hit\"} 1\n",
        "registry_storage_cache_total{type=\"Miss\"} 1\n",
        "registry_storage_cache_redis_seconds_count{operation=\"RepoStat\"} 2\n",
        "registry_storage_cache_redis_seconds_count{operation=\"RepoSetDescriptor\"} 1\n",
    ] {
        assert!(text.contains(line), "{line}{text}");
    }
}
