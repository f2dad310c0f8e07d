use super::*;

#[test]
fn one_letter_is_told_from_two_and_case_does_not_count() {
    for (written, expected) in [
        ("auth", 0),
        ("Auth", 0),
        ("AUTH", 0),
        ("a-u_t h", 0),
        ("auth\u{200b}", 0),
        ("aut", 1),
        ("auht", 1),
        ("uath", 1),
        ("autz", 1),
        ("xauth", 1),
        ("auths", 1),
        ("\u{430}uth", 1),
        ("authn2", 2),
        ("ahut", 2),
        ("path", 2),
        ("", 2),
    ] {
        assert_eq!(distance(written, "auth"), expected, "{written:?}");
    }
}

#[test]
fn every_guarded_key_is_one_of_the_table() {
    let guarded = GUARDED.iter().map(|(path, _)| path);
    for path in guarded.chain(NAMED.iter().map(|(_, path)| path)) {
        let found = path
            .split('.')
            .try_fold(schema(), |schema, step| schema.members.get(step));
        assert!(found.is_some(), "{path}");
        assert!(guard(path).is_some(), "{path}");
    }
}

proptest::proptest! {
    #[test]
    fn no_name_panics(name in "\\PC{0,12}", pieces in proptest::collection::vec("[a-z]{0,8}", 0..5)) {
        let _ = (distance(&name, "clientcas"), variable(&pieces));
    }
}

/// The text before a row of the page.
const BEFORE: &str = "version: 0.1\nstorage:\n  inmemory: {}\n";

/// One row: what is written, and what the page says of it.
struct Row {
    written: String,
    outcome: String,
}

fn rows() -> Vec<Row> {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../docs/careless-configuration.md"
    );
    let page = std::fs::read_to_string(path).unwrap();
    let cells = page.lines().filter_map(|line| line.strip_prefix("| `"));
    let rows = cells.map(|line| {
        let (written, rest) = line.split_once("` | ").unwrap_or_else(|| panic!("{line}"));
        let (outcome, _) = rest.split_once(" | ").unwrap_or_else(|| panic!("{line}"));
        Row {
            written: written.to_owned(),
            outcome: outcome.to_owned(),
        }
    });
    rows.collect()
}

/// Loads what a row says: a variable, a member of `storage`, or another section.
fn loaded(written: &str) -> Result<crate::Loaded, Vec<Error>> {
    let is_name = |name: &str| {
        name.bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    if let Some((name, value)) = written.split_once('=').filter(|(name, _)| is_name(name)) {
        return crate::load(BEFORE, [(name.to_owned(), value.to_owned())]);
    }
    match written
        .strip_prefix("storage: {")
        .and_then(|rest| rest.strip_suffix('}'))
    {
        Some(member) => crate::load(&format!("{BEFORE}  {member}\n"), []),
        None => crate::load(&format!("{BEFORE}{written}\n"), []),
    }
}

#[test]
fn every_careless_configuration_does_what_its_page_says() {
    let rows = rows();
    assert!(rows.len() > 75, "{} rows", rows.len());
    let mut wrong = Vec::new();
    for Row { written, outcome } in &rows {
        let (verdict, said) = outcome.split_once(": ").unwrap_or((outcome, ""));
        let (got, lines) = match loaded(written) {
            Ok(loaded) if loaded.warnings.is_empty() => ("starts", String::new()),
            Ok(loaded) => {
                let lines: Vec<String> = loaded.warnings.iter().map(ToString::to_string).collect();
                ("warns", lines.join("\n"))
            }
            Err(errors) => {
                let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
                ("refused", lines.join("\n"))
            }
        };
        if got != verdict || !lines.contains(said) {
            wrong.push(format!("{written}\n  expected: {outcome}\n  got: {got}: {lines}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_second_spelling_beside_the_right_one_is_told_apart_from_a_mistake() {
    let lines = |yaml: &str| match crate::load(&format!("{BEFORE}{yaml}"), []) {
        Ok(loaded) => Ok(loaded.warnings.len()),
        Err(errors) => Err(errors
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("\n")),
    };
    // An anchor for what follows, as people write it.
    assert_eq!(
        lines("x-auth: &auth {silly: {realm: r, service: s}}\nauth: *auth\n"),
        Ok(1)
    );
    // Which of the two is meant cannot be known.
    let both = lines("auth: none\nAuth: {silly: {realm: r, service: s}}\n");
    assert!(both.unwrap_err().contains("`Auth` (line 5)"));
    // An empty value loses nothing, and a very different name is no misspelling.
    assert_eq!(
        lines("htpp: {}\nAuth:\nproxys: {remoteurl: u}\nhttp: {tsl: {}}\n"),
        Ok(4)
    );
}

#[test]
fn an_empty_variable_does_not_take_away_who_may_come_in() {
    let file = format!("{BEFORE}auth: {{silly: {{realm: r, service: s}}}}\n");
    let with = |value: &str| crate::load(&file, [("REGISTRY_AUTH".to_owned(), value.to_owned())]);
    for value in ["", "{}", "null"] {
        let errors = with(value).unwrap_err();
        assert!(
            errors[0]
                .to_string()
                .starts_with("variable REGISTRY_AUTH: an empty text is not allowed for `auth`"),
            "{errors:?}"
        );
    }
    let file = format!(
        "{BEFORE}http: {{addr: 'localhost:5000', tls: {{certificate: c, key: k, clientcas: [a]}}}}\nvalidation: {{manifests: {{}}}}\n"
    );
    for name in [
        "HTTP_ADDR",
        "HTTP_TLS",
        "HTTP_TLS_CLIENTCAS",
        "HTTP_TLS_CERTIFICATE",
    ] {
        let errors = crate::load(&file, [(format!("REGISTRY_{name}"), String::new())]).unwrap_err();
        let expected = format!("variable REGISTRY_{name}: an empty text is not allowed for ");
        assert!(errors[0].to_string().starts_with(&expected), "{errors:?}");
    }
    // A later variable counts, and an earlier empty one loses nothing.
    assert!(
        crate::load(
            &file,
            [("REGISTRY_HTTP_TLS_CLIENTAUTH".to_owned(), String::new())]
        )
        .is_ok()
    );
    let open = with("none").unwrap();
    assert_eq!(
        (open.config.auth, open.warnings.len()),
        (crate::model::Auth::default(), 0)
    );
}
