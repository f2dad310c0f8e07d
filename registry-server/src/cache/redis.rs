//! The cache in Redis, under distribution's keys: its servers and ours read each other's links and see each other's
//! deletions.
//!
//! For a link `<digest>` of a repository `<name>`:
//! ```text
//! repository::<name>::blobs               set: the digests it has, of blobs and manifests alike
//! repository::<name>::blobs::<digest>     hash: mediatype; ours: berth, which is `blob` or `manifest`
//! blobs::<digest>                         hash: digest (the payload's), size, mediatype
//! repository::{repository::<name>::blobs}::forgotten::<digest>
//!                                         ours: must not enter the set; of the same slot as that
//! ```
//! A link is a hit when distribution's three keys have it, as in distribution, and the field `berth` does, which
//! distribution 3 deletes with the rest. A link that only distribution cached is read from the store once more, for two
//! reasons: distribution does not tell a manifest from a blob; and its version 2 leaves a digest in the set when the link is
//! deleted (CVE-2026-35172), so that the link is back as soon as another repository gets the blob.
//!
//! Only `forgotten` expires. A script adds a digest to the set unless that key exists; it exists for as long as a server
//! that read the link before its deletion may still try to cache it. Distribution has no such key: if its servers use the
//! same Redis, a link that one of them deletes while another server reads it may stay cached.

mod connection;
mod keeper;

use std::time::{Duration, Instant};

use futures_util::future::join3;
use redis::{Cmd, FromRedisValue, RedisError, RedisResult};
use registry_oci::Digest;
use tokio::time::timeout_at;

pub use connection::{Servers, Settings, Tls};

use super::error::Error;
use super::link::{Descriptor, Link, LinkKind, Lookup, Ticket};
use keeper::Keeper;

/// How long after a read of the store began its result may still be cached.
const FRESH: Duration = Duration::from_secs(20);

/// How long a removed link must not be cached: longer than [`FRESH`], by far more than an answer of Redis takes.
const FORGOTTEN: Duration = Duration::from_secs(60);

/// How long a deletion waits for a connection to Redis. After that the client must try again.
const RETURN: Duration = Duration::from_secs(2);

/// Berth's own field.
const FIELD: &str = "berth";

/// Adds a digest to the set, unless it was removed a moment ago.
const REMEMBER: &str = "if redis.call('EXISTS', KEYS[2]) == 1 then return 0 end \
    return redis.call('SADD', KEYS[1], ARGV[1])";

/// Links in Redis.
#[derive(Debug)]
pub(super) struct Redis {
    keeper: Keeper,
}

impl Redis {
    pub(super) fn new(settings: Settings) -> Result<Self, Error> {
        Ok(Self {
            keeper: Keeper::new(settings)?,
        })
    }

    /// Looks a link up. The error, which was logged, is a ticket as after a miss.
    pub(super) async fn lookup(&self, link: &Link<'_>) -> Result<Lookup, Ticket> {
        let ticket = Ticket {
            at: Instant::now(),
            forgotten: 0,
        };
        let keys = Keys::of(link);
        // Three commands at once take one round trip. They cannot be one command, since the keys may lie on different members
        // of a cluster.
        let found: RedisResult<_> = async {
            let (member, descriptor, kind) = join3(
                self.ask::<bool, _>(["SISMEMBER", &keys.set, &keys.digest]),
                self.ask::<(Option<String>, Option<String>), _>([
                    "HMGET",
                    &keys.descriptor,
                    "digest",
                    "size",
                ]),
                self.ask::<Option<String>, _>(["HGET", &keys.link, FIELD]),
            )
            .await;
            Ok((member?, descriptor?, kind?))
        }
        .await;
        match found {
            Ok((true, (Some(canonical), Some(_)), Some(kind))) if kind == kind_name(link.kind) => {
                Ok(Digest::parse(&canonical).map_or(Lookup::Miss(ticket), Lookup::Hit))
            }
            Ok(_) => Ok(Lookup::Miss(ticket)),
            Err(_) => Err(ticket),
        }
    }

    pub(super) async fn remember(
        &self,
        link: &Link<'_>,
        ticket: &Ticket,
        descriptor: &Descriptor,
    ) -> Result<(), RedisError> {
        let keys = Keys::of(link);
        let media_type = descriptor.media_type.as_str();
        let (canonical, size) = (descriptor.canonical.to_string(), descriptor.size.to_string());
        let (payload, general, own) = join3(
            self.tell(["HMSET", &keys.descriptor, "digest", &canonical, "size", &size]),
            self.tell(["HSETNX", &keys.descriptor, "mediatype", media_type]),
            self.tell([
                "HMSET",
                &keys.link,
                "mediatype",
                media_type,
                FIELD,
                kind_name(link.kind),
            ]),
        )
        .await;
        payload.and(general).and(own)?;
        // Last, because this makes the link a hit.
        if ticket.at.elapsed() > FRESH {
            return Ok(());
        }
        self.tell(["EVAL", REMEMBER, "2", &keys.set, &keys.forgotten, &keys.digest])
            .await
    }

    pub(super) async fn forget(&self, link: &Link<'_>) -> Result<(), Error> {
        let back = tokio::time::Instant::now() + RETURN;
        // A connection that was idle for long may be closed. That is no reason to fail.
        if self.try_forget(link).await.is_ok() {
            return Ok(());
        }
        match timeout_at(back, self.keeper.up()).await {
            Ok(()) => self
                .try_forget(link)
                .await
                .map_err(|source| self.keeper.error(source)),
            Err(_) => Err(self.keeper.away()),
        }
    }

    async fn try_forget(&self, link: &Link<'_>) -> Result<(), RedisError> {
        let keys = Keys::of(link);
        // First, so that no server adds the digest in between.
        let span = FORGOTTEN.as_secs().to_string();
        self.tell(["SET", &keys.forgotten, "1", "EX", &span]).await?;
        let (set, own, payload) = join3(
            self.tell(["SREM", &keys.set, &keys.digest]),
            self.tell(["DEL", &keys.link]),
            self.tell(["HDEL", &keys.descriptor, "digest", "size", "mediatype"]),
        )
        .await;
        set.and(own).and(payload)
    }

    /// Waits until there is a connection.
    #[cfg(test)]
    pub(super) async fn up(&self) {
        self.keeper.up().await;
    }

    async fn tell<const N: usize>(&self, words: [&str; N]) -> Result<(), RedisError> {
        self.ask(words).await
    }

    async fn ask<T: FromRedisValue, const N: usize>(&self, words: [&str; N]) -> Result<T, RedisError> {
        let mut question = Cmd::new();
        for word in words {
            question.arg(word);
        }
        self.keeper.ask(&question).await
    }
}

/// The value of [`FIELD`].
fn kind_name(kind: LinkKind) -> &'static str {
    match kind {
        LinkKind::Blob => "blob",
        LinkKind::Manifest => "manifest",
    }
}

/// The keys of a link.
struct Keys {
    digest: String,
    set: String,
    link: String,
    descriptor: String,
    forgotten: String,
}

impl Keys {
    fn of(link: &Link<'_>) -> Self {
        let (name, digest) = (link.repository, link.digest.to_string());
        let set = format!("repository::{name}::blobs");
        Self {
            link: format!("{set}::{digest}"),
            descriptor: format!("blobs::{digest}"),
            // The text in braces decides the slot. The beginning is kept, since access rules of a server may name it.
            forgotten: format!("repository::{{{set}}}::forgotten::{digest}"),
            set,
            digest,
        }
    }
}

#[cfg(test)]
mod tests;
