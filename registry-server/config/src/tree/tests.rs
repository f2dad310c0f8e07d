use super::{MAX_DEPTH, Tree};

/// Reads the text and writes it again.
#[track_caller]
fn reads(text: &str, expected: &str) {
    match Tree::parse(text) {
        Ok(tree) => assert_eq!(tree.to_yaml(), expected, "input:\n{text}"),
        Err(error) => panic!("{error}\ninput:\n{text}"),
    }
}

#[track_caller]
fn refuses(text: &str, expected: &str) {
    match Tree::parse(text) {
        Ok(tree) => panic!("accepted as\n{}\ninput:\n{text}", tree.to_yaml()),
        Err(error) => assert_eq!(error.to_string(), expected, "input:\n{text}"),
    }
}

#[test]
fn scalars_keep_the_text_that_was_written() {
    reads(
        "a: 0123456\nb: 1.10\nc: 1e5\nd: yes\ne: 0x10\n",
        "a: 0123456\nb: 1.10\nc: 1e5\nd: yes\ne: 0x10\n",
    );
    reads(
        "a: \"yes\"\nb: '0123'\nc: \"null\"\nd: ~\ne:\n",
        "a: \"yes\"\nb: \"0123\"\nc: \"null\"\nd:\ne:\n",
    );
    reads("a: 'it''s: #1'\n", "a: \"it's: #1\"\n");
}

#[test]
fn lists_and_sections_of_either_style_are_the_same() {
    reads(
        "l: [a, {b: c, d: []}, [e]]\nm: {}\n",
        "l:\n  - a\n  - b: c\n    d: []\n  -\n    - e\nm: {}\n",
    );
}

#[test]
fn merge_keys_give_way_to_written_ones_wherever_they_stand() {
    reads(
        "x: &x {a: 1, b: 2}\nw: {<<: *x, b: 3}\n",
        "x:\n  a: 1\n  b: 2\nw:\n  b: 3\n  a: 1\n",
    );
    reads(
        "w: {b: 3, <<: [{a: 1}, {a: 2, c: 4}]}\n",
        "w:\n  b: 3\n  a: 1\n  c: 4\n",
    );
    refuses(
        "y: {<<: 3}\n",
        "line 1, column 9: `<<` takes a section or a list of sections",
    );
}

#[test]
fn a_key_that_stands_twice_is_refused_with_its_line() {
    refuses("a: 1\nb: 2\na: 3\n", "line 3, column 4: `a` stands here twice");
}

#[test]
fn what_is_no_configuration_is_refused() {
    refuses(
        "hello",
        "line 1, column 1: a configuration is a section of keys, `version: 0.1` among them",
    );
    refuses(
        "- a",
        "line 1, column 1: a configuration is a section of keys, `version: 0.1` among them",
    );
    refuses(
        "a: 1\n---\nb: 2\n",
        "line 2, column 1: a second document; a configuration is one",
    );
    refuses("{[a]: b}", "line 1, column 2: a key that is not a plain text");
    refuses(
        "a: &x [*x]",
        "line 1, column 8: an alias of a value that contains it",
    );
    reads("", "{}\n");
}

#[test]
fn depth_and_size_are_bounded() {
    let deep = format!("a: {}{}", "[".repeat(MAX_DEPTH), "]".repeat(MAX_DEPTH));
    refuses(
        &deep,
        &format!("line 1, column {}: more than 32 levels", MAX_DEPTH + 3),
    );
    let laughs: String = std::iter::once("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned())
        .chain((1..9).map(|n| {
            let before = format!("*a{}", n - 1);
            format!("a{n}: &a{n} [{}]\n", [before.as_str(); 10].join(", "))
        }))
        .collect();
    refuses(&laughs, "line 5, column 45: more than 100000 values");
    refuses(
        &"#".repeat(super::MAX_BYTES + 1),
        "line 1, column 1: 1048577 bytes are too many; at most 1048576 are read",
    );
}

#[test]
fn a_tree_shows_no_secret_unless_asked() {
    let text = "http:\n  secret: hunter2\nstorage:\n  s3:\n    secretkey: hunter3\n    passwrod: hunter4\n";
    let mut tree = Tree::parse(text).unwrap();
    let masked = "http:\n  secret: \"<masked>\"\nstorage:\n  s3:\n    secretkey: \"<masked>\"\n    passwrod: \"<masked>\"\n";
    assert_eq!(format!("{tree:?}"), masked);
    assert_eq!(tree.to_yaml(), text);
    tree.set("http.secret", "other");
    assert_eq!(tree.text("http.secret"), Some("other"));
}

#[test]
fn the_password_of_a_url_is_shown_nowhere() {
    for (text, expected) in [
        (
            "https://ann:hunter2@example.com/a?b",
            "https://ann:<masked>@example.com/a?b",
        ),
        ("http://:p@ss:w@[::1]:80", "http://:<masked>@[::1]:80"),
        ("https://ann@example.com/a:b@c", "https://ann@example.com/a:b@c"),
        ("https://ann:@example.com", "https://ann:@example.com"),
        ("https://example.com", "https://example.com"),
        ("a:b@c", "a:b@c"),
    ] {
        let tree = Tree::parse(&format!("health: {{http: [{{uri: '{text}'}}]}}")).unwrap();
        let shown = format!("{tree:?}");
        assert!(shown.contains(expected), "{shown}");
        assert_eq!(super::shown(text), format!("`{expected}`"));
        assert!(tree.to_yaml().contains(text), "the tree itself keeps it");
    }
}

#[test]
fn a_tree_laid_over_another_replaces_values_and_keeps_the_rest() {
    let mut tree = Tree::parse("a: {b: 1, c: 2}\nl: [1, 2]\n").unwrap();
    tree.merge(&Tree::parse("a: {c: 3, d: 4}\nl: [5]\n").unwrap());
    assert_eq!(tree.to_yaml(), "a:\n  b: 1\n  c: 3\n  d: 4\nl:\n  - 5\n");
}

proptest::proptest! {
    #[test]
    fn no_text_panics_and_what_is_written_is_read_back(text in "(\\PC|[\\n :{}\\[\\],&*#'\"-]){0,80}") {
        if let Ok(tree) = Tree::parse(&text) {
            let written = tree.to_yaml();
            let again = Tree::parse(&written).map(|tree| tree.to_yaml());
            proptest::prop_assert_eq!(again, Ok(written));
        }
    }

    #[test]
    fn any_text_survives_as_a_value(text: String, key in "\\PC{1,12}") {
        let mut tree = Tree::parse("{}").unwrap();
        // Dots separate keys, and `<<` is no key.
        let key = key.replace('.', "_").replace("<<", "_");
        tree.set(&key, &text);
        let again = Tree::parse(&tree.to_yaml()).unwrap();
        proptest::prop_assert_eq!(again.text(&key), Some(text.as_str()), "{}", tree.to_yaml());
    }
}

#[test]
fn a_key_longer_than_yaml_finds_by_itself_is_read_back() {
    for length in [1023, 1024, 1025, 5000] {
        let key = "k".repeat(length);
        for text in [
            format!("? {key}\n: v\n"),
            format!("a:\n- ? {key}\n  : {{b: c}}\n"),
        ] {
            let written = Tree::parse(&text).unwrap().to_yaml();
            assert!(written.contains(&key));
            assert_eq!(Tree::parse(&written).unwrap().to_yaml(), written, "{length}");
        }
    }
}
