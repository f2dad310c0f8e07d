//! Links in Redis, under distribution's keys, so that its servers know what these do, and each hears of the other's
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
//! A link is known when all three of distribution's say so, as in distribution, and `berth` does, which distribution 3
//! deletes with the rest. What only distribution remembers is read from the store once more: it tells no manifest from
//! a blob, and its version 2 leaves a digest in the set when the link goes (CVE-2026-35172), from where it comes back
//! to life with the next repository that has the blob.
//!
//! Nothing expires but `forgotten`: a digest enters the set by a script, which finds that key there for as long as
//! anybody who read the link before it was taken away may try. Distribution has no such key, so where its servers
//! take part, a link that one of them takes away in the moment in which another reads it may stay known.

mod connection;
mod keeper;

use std::time::{Duration, Instant};

use futures_util::join;
use redis::{Cmd, FromRedisValue, RedisError, RedisResult};
use registry_oci::Digest;
use tokio::time::timeout_at;

pub use connection::{Servers, Settings, Tls};

use super::{Descriptor, Error, Link, LinkKind, Lookup, Ticket};
use keeper::Keeper;

/// How long after the store was asked its answer may still be remembered.
const FRESH: Duration = Duration::from_secs(20);

/// How long a forgotten link must not be remembered: longer than [`FRESH`], by far more than an answer of Redis takes.
const FORGOTTEN: Duration = Duration::from_secs(60);

/// How long a deletion waits for Redis to be back. What is longer is for the client to wait.
const RETURN: Duration = Duration::from_secs(2);

/// The field that is ours.
const FIELD: &str = "berth";

/// Adds a digest to the set, unless it was forgotten just now.
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

    /// Whether a link is known; an error is a ticket too, and Redis was spoken of.
    pub(super) async fn lookup(&self, link: &Link<'_>) -> Result<Lookup, Ticket> {
        let ticket = Ticket {
            at: Instant::now(),
            forgotten: 0,
        };
        let keys = Keys::of(link);
        // Three questions at once are one way there and back. In one they cannot be: a cluster's members have a key
        // each.
        let found: RedisResult<_> = async {
            let (member, descriptor, kind) = join!(
                self.ask::<bool, _>(["SISMEMBER", &keys.set, &keys.digest]),
                self.ask::<(Option<String>, Option<String>), _>([
                    "HMGET",
                    &keys.descriptor,
                    "digest",
                    "size"
                ]),
                self.ask::<Option<String>, _>(["HGET", &keys.link, FIELD]),
            );
            Ok((member?, descriptor?, kind?))
        }
        .await;
        match found {
            Ok((true, (Some(canonical), Some(_)), Some(kind))) if kind == word(link.kind) => {
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
        let (payload, general, own) = join!(
            self.tell(["HMSET", &keys.descriptor, "digest", &canonical, "size", &size]),
            self.tell(["HSETNX", &keys.descriptor, "mediatype", media_type]),
            self.tell([
                "HMSET",
                &keys.link,
                "mediatype",
                media_type,
                FIELD,
                word(link.kind)
            ]),
        );
        payload.and(general).and(own)?;
        // Last, as it is what makes the link known.
        if ticket.at.elapsed() > FRESH {
            return Ok(());
        }
        self.tell(["EVAL", REMEMBER, "2", &keys.set, &keys.forgotten, &keys.digest])
            .await
    }

    pub(super) async fn forget(&self, link: &Link<'_>) -> Result<(), Error> {
        let back = tokio::time::Instant::now() + RETURN;
        // A connection that was idle for long may turn out to be none any more. That is no reason to fail.
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
        // First, so that nobody enters behind our back.
        let span = FORGOTTEN.as_secs().to_string();
        self.tell(["SET", &keys.forgotten, "1", "EX", &span]).await?;
        let (set, own, payload) = join!(
            self.tell(["SREM", &keys.set, &keys.digest]),
            self.tell(["DEL", &keys.link]),
            self.tell(["HDEL", &keys.descriptor, "digest", "size", "mediatype"]),
        );
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

/// What [`FIELD`] holds.
fn word(kind: LinkKind) -> &'static str {
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
            // What stands in braces decides on the slot. The beginning is what a server's access rules may know.
            forgotten: format!("repository::{{{set}}}::forgotten::{digest}"),
            set,
            digest,
        }
    }
}

#[cfg(test)]
mod tests;
