//! Two tasks interleave in every way: one makes some of its calls of the store, the other some of its own, then the
//! first runs to its end, then the other. However they interleave, the answers and the objects afterwards are those of
//! one task after the other.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use registry_oci::{Digest, MediaType, Reference, Tag};

use super::content::{blob_of, descriptor, name, push};
use super::gated::{Gated, Removals, Shared, TO_THE_END};
use crate::registry::{
    Accepts, CollectionOptions, Error, LiveServerPolicy, PurgeMode, Registry, Settings, Untagged,
};
use crate::storage::Driver;

type Doing<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// A task, and its answer in a word.
type Work = fn(Registry) -> Doing<String>;

/// Two tasks, what is prepared before them, and what is observed after them.
struct Meeting {
    before: fn(Registry) -> Doing<()>,
    /// Whether the objects that exist before are two hours old.
    old: bool,
    one: Work,
    other: Work,
    seen: fn(Registry) -> Doing<String>,
    how: How,
}

/// In how many ways the tasks interleave.
#[derive(Clone, Copy, PartialEq)]
enum How {
    /// Any number of calls of the first, then any number of calls of the second.
    InAnyWay,
    /// Any number of calls of the first, then all of the second.
    TheOtherWhole,
}

/// The answers to the two tasks, and what is observed afterwards.
type Outcome = (String, String, String);

fn registry(driver: Arc<dyn Driver>) -> Registry {
    Registry::new(driver, Settings::default())
}

impl Meeting {
    async fn prepared(&self, removals: Removals) -> Arc<Shared> {
        let shared = Shared::new(removals);
        (self.before)(registry(Arc::new(shared.memory.clone()))).await;
        if self.old {
            shared.make_old();
        }
        shared
    }

    /// Lets one task make `first` calls, the other `second`, then the first and then the other all the rest. Returns
    /// whether they were done before that.
    async fn hold(
        &self,
        removals: Removals,
        works: [Work; 2],
        first: usize,
        second: usize,
    ) -> ([bool; 2], [String; 3]) {
        let shared = self.prepared(removals).await;
        let stores = [Gated::new(&shared), Gated::new(&shared)].map(Arc::new);
        let sides = [0, 1].map(|side| {
            let registry = registry(Arc::clone(&stores[side]) as Arc<dyn Driver>);
            tokio::spawn(works[side](registry))
        });
        let mut done = [false; 2];
        for (side, calls) in [first, second].into_iter().enumerate() {
            stores[side].gate.advance(calls, &sides[side]).await;
            // A task that waits for the other makes no more calls before the other continues.
            done[side] = sides[side].is_finished() || stores[side].gate.waits();
        }
        for side in [0, 1] {
            stores[side].gate.advance(TO_THE_END, &sides[side]).await;
        }
        let [one, other] = sides;
        let (one, other) = (one.await.unwrap(), other.await.unwrap());
        let seen = (self.seen)(registry(Arc::new(shared.memory.clone()))).await;
        (done, [one, other, seen])
    }

    /// The outcomes when one task runs after the other.
    async fn in_turn(&self, removals: Removals) -> BTreeSet<Outcome> {
        let (_, [one, other, seen]) = self
            .hold(removals, [self.one, self.other], TO_THE_END, TO_THE_END)
            .await;
        let (_, [late, early, then]) = self
            .hold(removals, [self.other, self.one], TO_THE_END, TO_THE_END)
            .await;
        BTreeSet::from([(one, other, seen), (early, late, then)])
    }

    /// Interleaves the tasks in every way. Returns the number of ways.
    async fn in_every_way(&self) -> usize {
        let mut ways = 0;
        for removals in [Removals::AtOnce, Removals::Apart] {
            let allowed = self.in_turn(removals).await;
            for swapped in [false, true] {
                let works = match swapped {
                    false => [self.one, self.other],
                    true => [self.other, self.one],
                };
                for first in 0.. {
                    let mut first_done = false;
                    for second in 0.. {
                        let second = match self.how {
                            How::InAnyWay => second,
                            How::TheOtherWhole => TO_THE_END,
                        };
                        let (done, [one, other, seen]) = self.hold(removals, works, first, second).await;
                        let outcome = match swapped {
                            false => (one, other, seen),
                            true => (other, one, seen),
                        };
                        assert!(
                            allowed.contains(&outcome),
                            "{removals:?}, swapped: {swapped}, {first} calls of the first, then {second} of the second\n\
                             allowed: {allowed:#?}\ngot: {outcome:#?}"
                        );
                        ways += 1;
                        first_done = done[0];
                        if done[1] || self.how == How::TheOtherWhole {
                            break;
                        }
                    }
                    if first_done {
                        break;
                    }
                }
            }
        }
        assert!(ways > 20, "only {ways} ways");
        ways
    }
}

fn app() -> registry_oci::RepositoryName {
    name("team/app")
}

const INDEX: &str = r#"{"schemaVersion":2,"manifests":[]}"#;

fn index() -> Digest {
    Digest::sha256(INDEX.as_bytes())
}

/// An answer in a word.
fn answer_text<T>(answer: Result<T, Error>) -> String {
    match answer {
        Ok(_) => "done".to_owned(),
        Err(Error::ManifestUnknown { .. } | Error::TagUnknown { .. } | Error::BlobUnknown { .. }) => {
            "unknown".to_owned()
        }
        Err(Error::ManifestReferences { .. }) => "refused".to_owned(),
        Err(Error::UploadUnknown { .. }) => "upload unknown".to_owned(),
        Err(error) => panic!("{error:?}"),
    }
}

async fn put(registry: &Registry, reference: &str, text: String) -> String {
    let digest = Digest::sha256(text.as_bytes());
    let reference = match reference {
        "" => Reference::Digest(digest),
        tag => Reference::parse(tag).unwrap(),
    };
    let media_type = match text.contains("layers") {
        true => MediaType::OCI_MANIFEST,
        false => MediaType::OCI_INDEX,
    };
    answer_text(
        registry
            .put_manifest(&app(), &reference, &media_type, text.into(), &[])
            .await,
    )
}

async fn delete(registry: &Registry, digest: Digest) -> String {
    answer_text(registry.delete_manifest(&app(), &digest).await)
}

async fn is_there(registry: &Registry, digest: Digest) -> bool {
    let (app, reference) = (app(), Reference::Digest(digest));
    let found = registry.head_manifest(&app, &reference, &Accepts::Anything);
    found.await.is_ok()
}

/// Every listed tag, and whether it can be pulled.
async fn tags(registry: &Registry) -> String {
    let listed = match registry.tags(&app(), None, None).await {
        Ok(page) => page.items,
        Err(Error::RepositoryUnknown { .. }) => Vec::new(),
        Err(error) => panic!("{error:?}"),
    };
    let mut seen = Vec::new();
    for tag in listed {
        let reference = Reference::parse(tag.as_str()).unwrap();
        let pulled = registry
            .get_manifest(&app(), &reference, &Accepts::Anything)
            .await;
        let pulled = pulled.map_or("nothing".to_owned(), |stored| {
            String::from_utf8_lossy(&stored.bytes).into_owned()
        });
        seen.push(format!("{tag}: {pulled}"));
    }
    seen.join(", ")
}

async fn tags_and_index(registry: Registry) -> String {
    format!(
        "{}; index: {}",
        tags(&registry).await,
        is_there(&registry, index()).await
    )
}

/// An index with two tags.
async fn tagged_index(registry: Registry) {
    for tag in ["a", "z"] {
        push(&registry, &app(), tag, &MediaType::OCI_INDEX, INDEX.to_owned()).await;
    }
}

#[tokio::test]
async fn a_push_under_a_new_tag_and_the_deletion_of_the_same_digest() {
    for old in [false, true] {
        let meeting = Meeting {
            before: |registry| Box::pin(tagged_index(registry)),
            old,
            one: |registry| Box::pin(async move { put(&registry, "new", INDEX.to_owned()).await }),
            other: |registry| Box::pin(async move { delete(&registry, index()).await }),
            seen: |registry| Box::pin(tags_and_index(registry)),
            how: How::InAnyWay,
        };
        println!("{} ways", meeting.in_every_way().await);
    }
}

#[tokio::test]
async fn a_push_under_the_tag_it_has_and_the_deletion_of_the_same_digest() {
    let meeting = Meeting {
        before: |registry| Box::pin(tagged_index(registry)),
        old: false,
        one: |registry| Box::pin(async move { put(&registry, "a", INDEX.to_owned()).await }),
        other: |registry| Box::pin(async move { delete(&registry, index()).await }),
        seen: |registry| Box::pin(tags_and_index(registry)),
        how: How::InAnyWay,
    };
    println!("{} ways", meeting.in_every_way().await);
}

#[tokio::test]
async fn a_push_by_digest_and_the_deletion_of_the_same_digest() {
    let meeting = Meeting {
        before: |registry| Box::pin(tagged_index(registry)),
        old: true,
        one: |registry| Box::pin(async move { put(&registry, "", INDEX.to_owned()).await }),
        other: |registry| Box::pin(async move { delete(&registry, index()).await }),
        seen: |registry| Box::pin(tags_and_index(registry)),
        how: How::InAnyWay,
    };
    println!("{} ways", meeting.in_every_way().await);
}

#[tokio::test]
async fn a_tag_that_moves_to_another_digest_and_the_deletion_of_what_it_meant() {
    let meeting = Meeting {
        before: |registry| Box::pin(tagged_index(registry)),
        old: false,
        one: |registry| Box::pin(async move { put(&registry, "a", format!("{INDEX} ")).await }),
        other: |registry| Box::pin(async move { delete(&registry, index()).await }),
        seen: |registry| Box::pin(tags_and_index(registry)),
        how: How::InAnyWay,
    };
    println!("{} ways", meeting.in_every_way().await);
}

#[tokio::test]
async fn a_push_under_a_tag_and_the_deletion_of_that_tag() {
    for text in [INDEX.to_owned(), format!("{INDEX} ")] {
        let same = text == INDEX;
        let meeting = Meeting {
            before: |registry| Box::pin(tagged_index(registry)),
            old: false,
            one: match same {
                true => |registry| Box::pin(async move { put(&registry, "a", INDEX.to_owned()).await }),
                false => |registry| Box::pin(async move { put(&registry, "a", format!("{INDEX} ")).await }),
            },
            other: |registry| {
                Box::pin(async move {
                    let tag = Tag::parse("a").unwrap();
                    answer_text(registry.delete_tag(&app(), &tag).await)
                })
            },
            seen: |registry| Box::pin(tags_and_index(registry)),
            how: How::InAnyWay,
        };
        println!("{} ways", meeting.in_every_way().await);
    }
}

fn referrer() -> String {
    let subject = descriptor(&index(), INDEX.len());
    format!(r#"{{"schemaVersion":2,"manifests":[],"subject":{subject}}}"#)
}

#[tokio::test]
async fn a_referrer_that_is_pushed_while_it_is_deleted_is_listed_if_it_is_there() {
    for old in [false, true] {
        let meeting = Meeting {
            before: |registry| {
                Box::pin(async move {
                    tagged_index(registry.clone()).await;
                    push(&registry, &app(), "", &MediaType::OCI_INDEX, referrer()).await;
                })
            },
            old,
            one: |registry| Box::pin(async move { put(&registry, "", referrer()).await }),
            other: |registry| {
                Box::pin(async move { delete(&registry, Digest::sha256(referrer().as_bytes())).await })
            },
            seen: |registry| {
                Box::pin(async move {
                    let there = is_there(&registry, Digest::sha256(referrer().as_bytes())).await;
                    let listed = registry.referrers(&app(), &index(), None, None).await.unwrap();
                    format!("there: {there}, listed: {}", !listed.descriptors.is_empty())
                })
            },
            how: How::InAnyWay,
        };
        println!("{} ways", meeting.in_every_way().await);
    }
}

/// An index of the manifest that exists.
fn parent() -> String {
    let child = descriptor(&index(), INDEX.len());
    format!(r#"{{"schemaVersion":2,"manifests":[{child}]}}"#)
}

const LAYER: &str = "layer";

fn layer() -> Digest {
    Digest::sha256(LAYER.as_bytes())
}

/// An image whose only blob exists.
fn image() -> String {
    let blob = descriptor(&layer(), LAYER.len());
    format!(r#"{{"schemaVersion":2,"config":{blob},"layers":[{blob}]}}"#)
}

/// Deletes the content of a manifest while the manifest is being pushed, after each call of the push. If the deletion
/// is done before anybody can pull the manifest, the push is refused and sets no tag.
async fn what_is_named_goes(text: fn() -> String, deleting: Work) {
    for removals in [Removals::AtOnce, Removals::Apart] {
        let mut refused = 0;
        for calls in 0.. {
            let shared = Shared::new(removals);
            let plain = registry(Arc::new(shared.memory.clone()));
            tagged_index(plain.clone()).await;
            blob_of(&plain, &app(), LAYER).await;
            let store = Arc::new(Gated::new(&shared));
            let pushing = registry(Arc::clone(&store) as Arc<dyn Driver>);
            let push = tokio::spawn(async move { put(&pushing, "z", text()).await });
            store.gate.advance(calls, &push).await;
            let done = push.is_finished();
            assert_eq!(deleting(plain.clone()).await, "done");
            let digest = Digest::sha256(text().as_bytes());
            let visible = is_there(&plain, digest).await;
            store.gate.advance(TO_THE_END, &push).await;
            let answer = push.await.unwrap();
            assert!(
                visible || answer == "refused",
                "{removals:?}, behind {calls} calls: {answer}"
            );
            if answer != "done" {
                refused += 1;
                let tags = tags(&plain).await;
                assert!(!tags.contains(&text()), "behind {calls} calls: {tags}");
            }
            if done {
                break;
            }
        }
        assert!(refused > 3, "refused {refused} times");
    }
}

#[tokio::test]
async fn an_index_whose_child_is_deleted_before_anybody_sees_the_index_is_refused() {
    what_is_named_goes(parent, |registry| {
        Box::pin(async move { delete(&registry, index()).await })
    })
    .await;
}

#[tokio::test]
async fn an_image_whose_blob_is_deleted_before_anybody_sees_the_image_is_refused() {
    what_is_named_goes(image, |registry| {
        Box::pin(async move { answer_text(registry.delete_blob(&app(), &layer()).await) })
    })
    .await;
}

async fn blob_is_there(registry: Registry) -> String {
    let there = |repository| {
        let registry = registry.clone();
        async move { registry.head_blob(&name(repository), &layer()).await.is_ok() }
    };
    format!("{} {}", there("team/app").await, there("team/other").await)
}

#[tokio::test]
async fn a_blob_that_is_sent_and_deleted() {
    let meeting = Meeting {
        before: |registry| {
            Box::pin(async move {
                blob_of(&registry, &app(), LAYER).await;
            })
        },
        old: false,
        one: |registry| {
            Box::pin(async move {
                blob_of(&registry, &app(), LAYER).await;
                "done".to_owned()
            })
        },
        other: |registry| Box::pin(async move { answer_text(registry.delete_blob(&app(), &layer()).await) }),
        seen: |registry| Box::pin(blob_is_there(registry)),
        how: How::InAnyWay,
    };
    println!("{} ways", meeting.in_every_way().await);
}

#[tokio::test]
async fn a_blob_that_is_mounted_and_deleted_where_it_comes_from() {
    let meeting = Meeting {
        before: |registry| {
            Box::pin(async move {
                blob_of(&registry, &app(), LAYER).await;
            })
        },
        old: true,
        one: |registry| {
            Box::pin(async move {
                let mounted = registry
                    .mount_blob(&name("team/other"), &layer(), Some(&app()))
                    .await;
                format!("{}", mounted.unwrap().is_some())
            })
        },
        other: |registry| Box::pin(async move { answer_text(registry.delete_blob(&app(), &layer()).await) }),
        seen: |registry| Box::pin(blob_is_there(registry)),
        how: How::InAnyWay,
    };
    println!("{} ways", meeting.in_every_way().await);
}

async fn collect(registry: Registry) -> String {
    let collecting = CollectionOptions {
        untagged: Untagged::Delete,
        live_server_policy: LiveServerPolicy::Ignore,
        ..CollectionOptions::default()
    };
    let collected = registry.collect_garbage(&collecting, &mut |_| {}).await.unwrap();
    assert_eq!(collected.failed, 0, "{collected:?}");
    "done".to_owned()
}

#[tokio::test]
async fn an_image_of_old_blobs_that_is_pushed_while_garbage_is_collected() {
    let meeting = Meeting {
        before: |registry| {
            Box::pin(async move {
                blob_of(&registry, &app(), LAYER).await;
            })
        },
        old: true,
        one: |registry| Box::pin(async move { put(&registry, "new", image()).await }),
        other: |registry| Box::pin(collect(registry)),
        seen: |registry| {
            Box::pin(async move {
                let there = is_there(&registry, Digest::sha256(image().as_bytes())).await;
                // A blob that was renewed for a refused push may stay.
                let blob = !there || registry.head_blob(&app(), &layer()).await.is_ok();
                format!("{}; whole: {blob}", tags(&registry).await)
            })
        },
        how: How::TheOtherWhole,
    };
    println!("{} ways", meeting.in_every_way().await);
}

#[tokio::test]
async fn an_old_untagged_manifest_that_is_tagged_while_garbage_is_collected() {
    let meeting = Meeting {
        before: |registry| {
            Box::pin(async move {
                push(&registry, &app(), "", &MediaType::OCI_INDEX, INDEX.to_owned()).await;
            })
        },
        old: true,
        one: |registry| Box::pin(async move { put(&registry, "new", INDEX.to_owned()).await }),
        other: |registry| Box::pin(collect(registry)),
        seen: |registry| Box::pin(tags_and_index(registry)),
        how: How::TheOtherWhole,
    };
    let allowed = meeting.in_turn(Removals::AtOnce).await;
    // A later collection keeps manifests with a tag.
    assert_eq!(allowed.len(), 1, "{allowed:?}");
    println!("{} ways", meeting.in_every_way().await);
}

#[tokio::test]
async fn an_old_upload_that_is_finished_while_it_is_purged() {
    async fn begun(registry: &Registry) -> crate::registry::Progress {
        let id = registry_oci::UploadId::parse("9f2f6b44-2f39-4c5e-8a0a-7f7d7b0d5b11").unwrap();
        crate::registry::Progress {
            size: registry
                .upload_progress(&app(), &id)
                .await
                .map_or(0, |progress| progress.size),
            id,
            resume: None,
        }
    }
    let meeting = Meeting {
        before: |registry| {
            Box::pin(async move {
                let place = crate::storage::layout::ObjectPath::UploadData {
                    repository: app(),
                    id: registry_oci::UploadId::parse("9f2f6b44-2f39-4c5e-8a0a-7f7d7b0d5b11").unwrap(),
                };
                let store = registry.driver().large_write().append().unwrap();
                let staged = store.stage(&place.key(), crate::storage::Staged::New).await;
                let mut writer = staged.unwrap();
                writer.write(Bytes::from_static(LAYER.as_bytes())).await.unwrap();
            })
        },
        old: true,
        one: |registry| {
            Box::pin(async move {
                let begun = begun(&registry).await;
                let chunk = super::Chunk {
                    offset: super::Offset::End,
                    length: None,
                    counted: false,
                };
                let body = futures_util::stream::iter(super::Frames::new());
                answer_text(
                    registry
                        .finish_upload(&app(), &begun, chunk, &layer(), body)
                        .await,
                )
            })
        },
        other: |registry| {
            Box::pin(async move {
                registry
                    .purge_uploads(Duration::from_secs(3600), PurgeMode::Remove)
                    .await
                    .unwrap();
                "done".to_owned()
            })
        },
        seen: |registry| Box::pin(blob_is_there(registry)),
        how: How::TheOtherWhole,
    };
    println!("{} ways", meeting.in_every_way().await);
}
