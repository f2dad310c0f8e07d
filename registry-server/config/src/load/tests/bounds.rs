//! Limits, spans and secrets that are too small to be meant.

use super::*;

#[test]
fn limits_that_would_stop_the_server_from_serving_are_refused() {
    let refused = |yaml: &str| {
        let text = format!("version: 0.1\nstorage: {{inmemory: {{}}}}\nhttp: {{limits: {{{yaml}}}}}");
        load(&text, []).err().map(|errors| errors[0].to_string())
    };
    assert_eq!(
        refused("connections: 10000, writetimeout: 1s, responsememory: 8388608"),
        None
    );
    for (yaml, allowed) in [
        ("connections: 0", "a whole number, 1 or more"),
        ("connectionsperclient: 0", "a whole number, 1 or more"),
        ("streams: 0", "a whole number, 1 or more"),
        ("requestmemory: 8388607", "8388608 (8 MiB) or more"),
        ("responsememory: 0", "8388608 (8 MiB) or more"),
        ("bodytimeout: 0s", "a second or more, such as `90s`"),
        ("writetimeout: -90s", "a second or more, such as `90s`"),
    ] {
        let error = refused(yaml).unwrap_or_else(|| panic!("{yaml} was taken"));
        assert!(error.contains(allowed), "{yaml}: {error}");
    }
}

/// Both peers refuse `age: 168`; what they take of the others they take for nanoseconds.
#[test]
fn a_duration_without_a_unit_is_refused_for_every_key() {
    use crate::keys::{KEYS, Shape, Support};
    let spans = |key: &&crate::keys::Key| matches!(key.shape, Shape::Duration | Shape::Timeout);
    let mut seen = 0;
    for key in KEYS
        .iter()
        .filter(spans)
        .filter(|key| key.support != Support::Planned)
    {
        let of = |value: &str| {
            let mut yaml = value.to_owned();
            for step in key.path.rsplit('.') {
                yaml = match step.strip_suffix("[]") {
                    Some(name) => format!("{{{name}: [{yaml}]}}"),
                    None => format!("{{{step}: {yaml}}}"),
                };
            }
            let mut tree = Tree::parse(GOOD).unwrap();
            tree.merge(&Tree::parse(&yaml).unwrap());
            lines(&tree.to_yaml()).err().unwrap_or_default().join("\n")
        };
        for number in ["60", "168", "5000000000", "-5", "'10'"] {
            let text = number.trim_matches('\'');
            let expected = format!(
                "`{text}` is not allowed; allowed: a number with its unit: `{text}s` for seconds, `{text}m` for minutes, \
                 `{text}h` for hours"
            );
            let got = of(number);
            assert!(got.contains(&expected), "{}: {number}: {got}", key.path);
        }
        // Nothing is a duration; whether the key allows it is another matter.
        assert!(!of("0").contains("with its unit"), "{}", key.path);
        seen += 1;
    }
    assert!(seen >= 15, "{seen}");
}

#[test]
fn a_duration_that_burns_a_core_or_takes_what_was_just_written_is_refused() {
    let interval = "is not allowed; allowed: a duration of 100ms or more, or 0 for the default";
    refuses(
        "health:\n  storagedriver: {interval: 10ns}\n  file: [{file: f, interval: -1s}]\n  \
         http: [{uri: u, interval: 1ms, timeout: 1ns}]\n  tcp: [{addr: 'a:1', interval: 99ms}]",
        &[
            &format!("`health.storagedriver.interval` (line 4): `10ns` {interval}"),
            &format!("`health.file[0].interval` (line 5): `-1s` {interval}"),
            &format!("`health.http[0].interval` (line 6): `1ms` {interval}"),
            "`health.http[0].timeout` (line 6): `1ns` is not allowed; allowed: a duration of 1ms or more, or 0 for the default",
            &format!("`health.tcp[0].interval` (line 7): `99ms` {interval}"),
        ],
    );
    refuses(
        "redis: {readtimeout: 10ns}",
        &[
            "`redis.readtimeout` (line 3): `10ns` is not allowed; allowed: a duration of 1ms or more, or less than nothing \
           for the default",
        ],
    );
}

#[test]
fn a_secret_that_can_be_guessed_is_warned_about_and_an_empty_one_is_none() {
    warns(
        "http: {secret: a, previoussecrets: [0123456789abcdef, b]}",
        &[
            "`http.secret` (line 3) is shorter than 16 bytes: whoever guesses it can take over the uploads of others; \
             allowed: any text, such as 32 random bytes in base64",
            "`http.previoussecrets[1]` (line 3) is shorter than 16 bytes: whoever guesses it can take over the uploads of \
             others; allowed: any text, such as 32 random bytes in base64",
        ],
    );
    // Nobody needs to guess it.
    refuses(
        "http: {previoussecrets: ['']}",
        &["`http.previoussecrets[0]` is missing; allowed: a secret that was used before, or no such item"],
    );
}
