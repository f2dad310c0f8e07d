use super::{KEYS, Support, Upstream};
use crate::load;

/// The table as people count it. A changed number is a changed promise.
#[test]
fn every_key_is_counted_by_kind() {
    let count = |support: Support| KEYS.iter().filter(|key| key.support == support).count();
    let counts = [
        Support::Implemented,
        Support::Ignored,
        Support::Refused,
        Support::Planned,
    ]
    .map(count);
    assert_eq!(counts.iter().sum::<usize>(), KEYS.len());
    println!(
        "keys: {} acted on, {} accepted, {} refused, {} not yet",
        counts[0], counts[1], counts[2], counts[3]
    );
    assert_eq!(
        KEYS.iter().filter(|key| key.upstream == Upstream::Berth).count(),
        18
    );
}

#[test]
fn no_key_stands_twice_and_each_says_what_happens() {
    let mut seen = std::collections::BTreeSet::new();
    for key in KEYS {
        assert!(seen.insert(key.path), "{} stands twice", key.path);
        assert!(
            !key.note.is_empty() && !key.note.ends_with('.'),
            "{}: {:?}",
            key.path,
            key.note
        );
    }
}

/// A value of each shape, as a file could hold it.
fn sample(key: &super::Key) -> &'static str {
    use super::Shape;
    match key.shape {
        Shape::Section | Shape::Any => "{}",
        Shape::Secret | Shape::Text => match key.path {
            "http.host" => "https://registry.example.com",
            "http.prefix" => "/a/",
            "http.addr" | "http.debug.addr" => ":5000",
            _ => "text",
        },
        Shape::OneOf(allowed) => allowed[allowed.len() - 1],
        Shape::Bool => "yes",
        Shape::Integer(_) => "7",
        Shape::Duration | Shape::Timeout => "1m",
        Shape::Network => "10.0.0.0/8",
        Shape::Pattern => "'^https://'",
    }
}

/// The types hold what the table promises: otherwise a key would be accepted and silently do nothing.
#[test]
fn every_key_that_is_acted_on_is_decoded_into_the_types() {
    for key in KEYS.iter().filter(|key| key.support == Support::Implemented) {
        // Read into another key, or chosen by being there at all.
        if matches!(key.path, "version" | "loglevel" | "auth.none") || key.path.starts_with("storage.s3aws") {
            continue;
        }
        let mut yaml = sample(key).to_owned();
        for step in key.path.rsplit('.') {
            let name = step.trim_end_matches("[]").replace('*', "X-Any");
            yaml = if step.ends_with("[]") {
                format!("{{{name}: [{yaml}]}}")
            } else {
                format!("{{{name}: {yaml}}}")
            };
        }
        let mut tree = crate::Tree::parse("version: 0.1\n").unwrap();
        tree.merge(&crate::Tree::parse(&yaml).unwrap());
        let with = crate::decode::decode::<crate::Config>(&tree.root)
            .unwrap_or_else(|error| panic!("{}: {error:?}", key.path));
        assert_ne!(
            with,
            crate::Config::default(),
            "{} is in the table but not in the types",
            key.path
        );
        // And what they hold is written under the same name.
        let written = with.to_tree().to_yaml();
        let last = key
            .path
            .rsplit('.')
            .next()
            .unwrap()
            .trim_end_matches("[]")
            .replace('*', "X-Any");
        assert!(
            written.contains(&format!("{last}:")),
            "{} is written as\n{written}",
            key.path
        );
    }
}

#[test]
fn every_key_that_is_not_supported_refuses_the_start_when_it_is_used() {
    for key in KEYS
        .iter()
        .filter(|key| matches!(key.support, Support::Planned | Support::Refused))
    {
        let mut yaml = sample(key).to_owned();
        if yaml == "{}" {
            yaml = "{name: used}".to_owned();
        }
        for step in key.path.rsplit('.') {
            let name = step.trim_end_matches("[]").replace('*', "X-Any");
            yaml = if step.ends_with("[]") {
                format!("{{{name}: [{yaml}]}}")
            } else {
                format!("{{{name}: {yaml}}}")
            };
        }
        if key.path.ends_with(".disabled") {
            continue; // `disabled: yes` is what switches such an entry off.
        }
        let mut tree = crate::Tree::parse("version: 0.1\nstorage: {inmemory: {}}\n").unwrap();
        tree.merge(&crate::Tree::parse(&yaml).unwrap());
        let errors = match load(&tree.to_yaml(), []) {
            Ok(_) => panic!("{} was accepted", key.path),
            Err(errors) => errors
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join("\n"),
        };
        assert!(errors.contains(" is not supported"), "{}: {errors}", key.path);
    }
}
