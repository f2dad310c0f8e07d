use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::core::PartialObjectMeta;
use kube::runtime::watcher::Event;
use serde_json::json;

use super::entry::Watch;
use super::objects::Objects;
use super::*;

fn map(name: &str, version: u64, value: &str) -> ConfigMap {
    serde_json::from_value(json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "namespace": "quay",
            "name": name,
            "resourceVersion": version.to_string(),
            "labels": { operator_api::REGISTRY_LABEL: "harbour" },
            "managedFields": [{ "manager": "kubectl" }],
        },
        "data": { "value": value },
    }))
    .unwrap()
}

fn dynamic(map: &ConfigMap) -> DynamicObject {
    serde_json::from_value(serde_json::to_value(map).unwrap()).unwrap()
}

/// A cache whose only watch is on ConfigMaps.
struct Maps {
    cache: Cache,
    watch: WatchOf,
}

impl Maps {
    fn announced() -> Self {
        let maps = Self {
            cache: Cache::default(),
            watch: WatchOf {
                kind: Kind::of::<ConfigMap>(),
                namespace: None,
            },
        };
        maps.cache.announce(&maps.watch, true);
        maps
    }

    fn listed(objects: &[ConfigMap]) -> Self {
        let maps = Self::announced();
        maps.list(objects);
        maps
    }

    fn list(&self, objects: &[ConfigMap]) {
        self.event(Event::Init);
        for object in objects {
            self.event(Event::InitApply(dynamic(object)));
        }
        self.event(Event::InitDone);
    }

    fn event(&self, event: Event<DynamicObject>) {
        self.cache.event(&self.watch, &event);
    }

    fn write(&self, name: &str) -> Ticket {
        self.cache.writing(Kind::of::<ConfigMap>(), "quay", name)
    }

    fn get(&self, name: &str) -> Cached<ConfigMap> {
        self.cache.get("quay", name).unwrap()
    }

    #[track_caller]
    fn check(&self, name: &str, expected: Option<&str>) {
        let known = match self.get(name) {
            Cached::Known(found) => found.map(|map| map.data.unwrap()["value"].clone()),
            Cached::Ask(_) => panic!("`{name}` has to be asked for"),
        };
        assert_eq!(known.as_deref(), expected, "{name}");
    }

    #[track_caller]
    fn check_asks(&self, name: &str) -> Ticket {
        match self.get(name) {
            Cached::Ask(ticket) => ticket,
            Cached::Known(found) => panic!("`{name}` is known: {found:?}"),
        }
    }
}

#[test]
fn nothing_is_known_before_the_first_list_and_everything_after_it() {
    let maps = Maps::announced();
    maps.check_asks("a");
    maps.event(Event::Init);
    maps.event(Event::InitApply(dynamic(&map("a", 5, "one"))));
    maps.check_asks("a");
    maps.event(Event::InitDone);
    maps.check("a", Some("one"));
    maps.check("b", None);
    maps.event(Event::Apply(dynamic(&map("b", 6, "two"))));
    maps.check("b", Some("two"));
    maps.event(Event::Delete(dynamic(&map("b", 7, "two"))));
    maps.check("b", None);
}

#[test]
fn a_kind_without_a_watch_is_asked_for() {
    let maps = Maps::listed(&[]);
    assert!(matches!(
        maps.cache.get::<Secret>("quay", "a"),
        Ok(Cached::Ask(_))
    ));
    assert!(maps.cache.labelled::<Secret>("quay", "harbour").is_none());
}

#[test]
fn a_watch_that_fails_for_long_is_not_trusted_until_it_works_again() {
    let start = Instant::now();
    let after = |seconds: u64| start + Duration::from_secs(seconds);
    let mut watch = Watch::default();
    assert!(!watch.is_trusted(start), "it has not listed yet");
    watch.list_ends();
    assert!(watch.is_trusted(start));
    // One failure from which it goes on without a new list.
    watch.fail(None, start);
    assert!(watch.is_trusted(after(1)) && watch.is_trusted(after(100)));
    for seconds in (100..160).step_by(4) {
        watch.fail(None, after(seconds));
    }
    assert!(watch.is_trusted(after(110)) && !watch.is_trusted(after(160)));
    assert!(watch.is_trusted(after(200)), "it has not failed again");
    watch.fail(None, after(160));
    assert!(!watch.is_trusted(after(161)));
    watch.list_ends();
    assert!(watch.is_trusted(after(161)));
}

#[test]
fn a_kind_that_may_not_be_watched_is_told_until_it_is_listed() {
    let maps = Maps::announced();
    let words = "configmaps is forbidden".to_owned();
    maps.cache.watch_failed(&maps.watch, false, Some(words.clone()));
    let refused = maps.cache.refused_watches();
    assert_eq!(
        refused.into_iter().collect::<Vec<_>>(),
        [(Kind::of::<ConfigMap>(), words)]
    );
    maps.list(&[]);
    assert!(maps.cache.refused_watches().is_empty());
}

#[test]
fn an_own_write_is_seen_at_once_and_no_older_event_replaces_it() {
    let maps = Maps::listed(&[map("a", 5, "one")]);
    let ticket = maps.write("a");
    maps.check_asks("a");
    maps.cache.written(ticket, &dynamic(&map("a", 8, "mine")));
    maps.check("a", Some("mine"));
    maps.event(Event::Apply(dynamic(&map("a", 7, "earlier"))));
    maps.check("a", Some("mine"));
    maps.event(Event::Apply(dynamic(&map("a", 9, "later"))));
    maps.check("a", Some("later"));
}

#[test]
fn a_write_that_changes_nothing_leaves_the_object_known() {
    let maps = Maps::listed(&[map("a", 5, "one"), map("b", 90, "other")]);
    let ticket = maps.write("a");
    maps.cache.written(ticket, &dynamic(&map("a", 5, "one")));
    maps.check("a", Some("one"));
}

#[test]
fn an_own_write_that_no_event_tells_of_is_asked_for_after_a_while() {
    let json = |version| Json::of(&map("a", version, "mine"), &map("a", version, "mine").metadata);
    let key = || ("quay".to_owned(), "a".to_owned());
    let now = Instant::now();
    let is_known = |objects: &mut Objects, now| matches!(objects.get(&key(), 9, now), Said::Known(Some(_)));
    let later = now + Duration::from_secs(60);
    let listed = |version: Option<u64>| {
        let mut objects = Objects::default();
        objects.announce(None, true);
        objects.list_begins(&None, 1);
        if let Some(version) = version {
            objects.listed(&None, &dynamic(&map("a", version, "one")), 2);
        }
        objects.list_ends(&None, 3);
        objects
    };
    let mut lost = listed(Some(5));
    lost.forget(&key(), 4);
    lost.settle(key(), 4, json(8));
    assert!(is_known(&mut lost, now));
    assert!(lost.labelled("quay", "harbour").is_some());
    assert!(!is_known(&mut lost, later), "its event is lost");
    lost.settle(key(), 9, json(8));
    assert!(is_known(&mut lost, now), "it was asked for");

    let mut told = listed(None);
    told.forget(&key(), 4);
    told.settle(key(), 4, json(8));
    told.applied(&dynamic(&map("a", 8, "mine")), 5);
    assert!(is_known(&mut told, later), "its event has come");

    let mut unchanged = listed(Some(8));
    unchanged.forget(&key(), 4);
    unchanged.settle(key(), 4, json(8));
    assert!(
        is_known(&mut unchanged, later),
        "no event comes of a write that changes nothing"
    );
}

#[test]
fn a_write_without_an_answer_leaves_the_object_to_be_asked_for() {
    let maps = Maps::listed(&[map("a", 5, "one")]);
    drop(maps.write("a"));
    let ticket = maps.check_asks("a");
    maps.cache.settle(ticket, Some(&map("a", 6, "two")));
    maps.check("a", Some("two"));
    // The next one was refused because the object is gone.
    drop(maps.write("a"));
    let ticket = maps.check_asks("a");
    maps.cache.settle(ticket, None::<&ConfigMap>);
    maps.check("a", None);
    // The event of a write tells of it too.
    drop(maps.write("a"));
    maps.event(Event::Apply(dynamic(&map("a", 9, "three"))));
    maps.check("a", Some("three"));
}

#[test]
fn an_answer_that_comes_after_the_deletion_brings_nothing_back() {
    let maps = Maps::listed(&[]);
    let ticket = maps.write("a");
    maps.event(Event::Apply(dynamic(&map("a", 8, "mine"))));
    maps.event(Event::Delete(dynamic(&map("a", 9, "mine"))));
    maps.cache.written(ticket, &dynamic(&map("a", 8, "mine")));
    maps.check("a", None);
}

#[test]
fn a_new_list_removes_what_it_does_not_have() {
    let maps = Maps::listed(&[map("a", 5, "one"), map("b", 6, "two")]);
    maps.event(Event::Init);
    let ticket = maps.write("c");
    maps.cache.written(ticket, &dynamic(&map("c", 20, "mine")));
    maps.event(Event::InitApply(dynamic(&map("a", 5, "one"))));
    maps.event(Event::InitDone);
    maps.check("a", Some("one"));
    maps.check("b", None);
    // Written while the list was read: it may be too new for the list, or deleted before it.
    maps.check_asks("c");
}

#[test]
fn an_object_without_the_label_is_asked_for_each_time() {
    let maps = Maps::listed(&[]);
    drop(maps.write("a"));
    let mut strange = map("a", 6, "two");
    strange.metadata.labels = None;
    let ticket = maps.check_asks("a");
    maps.cache.settle(ticket, Some(&strange));
    maps.check_asks("a");
}

#[test]
fn objects_are_found_by_their_label_and_kept_without_managed_fields() {
    let mut other = map("b", 6, "two");
    let labels = other.metadata.labels.as_mut().unwrap();
    labels.insert(operator_api::REGISTRY_LABEL.to_owned(), "pier".to_owned());
    let maps = Maps::listed(&[map("a", 5, "one"), other]);
    let found = maps.cache.labelled::<ConfigMap>("quay", "harbour").unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].metadata.name.as_deref(), Some("a"));
    assert_eq!(found[0].metadata.managed_fields, None);
    assert!(
        maps.cache
            .labelled::<ConfigMap>("town", "harbour")
            .unwrap()
            .is_empty()
    );
}

#[tokio::test]
async fn a_start_waits_for_every_watch_to_list_or_to_fail() {
    let maps = Maps::announced();
    let secrets = WatchOf {
        kind: Kind::of::<Secret>(),
        namespace: None,
    };
    maps.cache.announce_named(&secrets);
    maps.list(&[]);
    let started = maps.cache.started();
    tokio::pin!(started);
    assert!(futures_util::poll!(&mut started).is_pending());
    maps.cache.watch_failed(&secrets, true, None);
    maps.cache.watch_failed(&secrets, true, None);
    started.await;
}

/// A cache whose only watch is on the metadata of all Secrets.
fn named() -> (Cache, WatchOf) {
    let (cache, watch) = (
        Cache::default(),
        WatchOf {
            kind: Kind::of::<Secret>(),
            namespace: None,
        },
    );
    cache.announce_named(&watch);
    tell(&cache, &watch, Event::Init);
    tell(&cache, &watch, Event::InitDone);
    (cache, watch)
}

fn tell(cache: &Cache, watch: &WatchOf, event: Event<PartialObjectMeta<Secret>>) {
    cache.named_event(watch, &event);
}

fn users(version: u64) -> Secret {
    serde_json::from_value(json!({
        "metadata": { "namespace": "quay", "name": "users", "resourceVersion": version.to_string() },
    }))
    .unwrap()
}

fn metadata(version: u64) -> PartialObjectMeta<Secret> {
    serde_json::from_value(serde_json::to_value(users(version)).unwrap()).unwrap()
}

fn ask(cache: &Cache) -> Option<Ticket> {
    match cache.named::<Secret>("quay", "users").unwrap() {
        Cached::Ask(ticket) => Some(ticket),
        Cached::Known(_) => None,
    }
}

#[test]
fn a_named_object_is_asked_for_once_and_again_when_it_changes() {
    let (cache, watch) = named();
    let ticket = ask(&cache).unwrap();
    cache.settle(ticket, None::<&Secret>);
    assert!(ask(&cache).is_none(), "that there is none is known too");
    tell(&cache, &watch, Event::Apply(metadata(5)));
    let ticket = ask(&cache).unwrap();
    cache.settle(ticket, Some(&users(5)));
    tell(&cache, &watch, Event::Apply(metadata(5)));
    assert!(ask(&cache).is_none(), "the event tells nothing new");
    tell(&cache, &watch, Event::Apply(metadata(6)));
    assert!(ask(&cache).is_some());
}

#[test]
fn an_answer_that_was_overtaken_by_a_change_is_not_kept() {
    let (cache, watch) = named();
    let ticket = ask(&cache).unwrap();
    tell(&cache, &watch, Event::Apply(metadata(6)));
    cache.settle(ticket, Some(&users(5)));
    assert!(ask(&cache).is_some());
}

#[test]
fn a_named_object_that_a_new_list_does_not_have_is_asked_for() {
    let (cache, watch) = named();
    let ticket = ask(&cache).unwrap();
    cache.settle(ticket, Some(&users(5)));
    tell(&cache, &watch, Event::Init);
    tell(&cache, &watch, Event::InitApply(metadata(5)));
    tell(&cache, &watch, Event::InitDone);
    assert!(ask(&cache).is_none());
    tell(&cache, &watch, Event::Init);
    tell(&cache, &watch, Event::InitDone);
    assert!(ask(&cache).is_some());
}
