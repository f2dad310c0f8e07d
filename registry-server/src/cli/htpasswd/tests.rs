use super::password::PasswordSource;
use super::{Action, Request, file, parse};

fn split(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

#[track_caller]
fn parses(line: &str, action: Action, user: &str, password: PasswordSource, cost: u32) {
    match parse(&split(line)) {
        Ok(request) => {
            assert_eq!(
                request,
                Request {
                    action,
                    user: user.to_owned(),
                    password,
                    cost
                },
                "htpasswd {line}"
            );
        }
        Err(error) => panic!("htpasswd {line}: {error}"),
    }
}

#[track_caller]
fn refuses(line: &str, code: u8, expected: &str) {
    match parse(&split(line)) {
        Ok(request) => panic!("htpasswd {line} was taken as {request:?}"),
        Err(error) => assert_eq!(
            (error.code(), error.to_string().as_str()),
            (code, expected),
            "htpasswd {line}"
        ),
    }
}

#[test]
fn flags_are_apaches() {
    let argument = |password: &str| PasswordSource::Argument(password.to_owned());
    let set = |create| Action::Set {
        path: "f".into(),
        create,
    };
    parses("-Bbn ann pw", Action::Print, "ann", argument("pw"), 5);
    parses("-nbB ann pw", Action::Print, "ann", argument("pw"), 5);
    parses("-B -b -n ann -pw", Action::Print, "ann", argument("-pw"), 5);
    parses("-bn -- -ann pw", Action::Print, "-ann", argument("pw"), 5);
    parses("-Bn ann", Action::Print, "ann", PasswordSource::Prompt, 5);
    parses("-Bin ann", Action::Print, "ann", PasswordSource::Stdin, 5);
    parses("-BbC 10 f ann pw", set(false), "ann", argument("pw"), 10);
    parses("-BbcC12 f ann pw", set(true), "ann", argument("pw"), 12);
    parses("-B f ann", set(false), "ann", PasswordSource::Prompt, 5);
    parses(
        "-D f ann",
        Action::Delete { path: "f".into() },
        "ann",
        PasswordSource::Prompt,
        5,
    );
    parses(
        "-vb f ann pw",
        Action::Verify { path: "f".into() },
        "ann",
        argument("pw"),
        5,
    );
}

#[test]
fn what_is_wrong_has_apaches_exit_code() {
    refuses(
        "-bm f ann pw",
        2,
        "-m makes a hash that the registry does not accept; only bcrypt (-B) is made here",
    );
    refuses("-Z", 2, "illegal option -- Z");
    refuses("", 2, "2 operands are needed, 0 are given");
    refuses("-Bbn ann", 2, "2 operands are needed, 1 are given");
    refuses("-cbn f ann pw", 2, "only one of -c -n -v -D may be specified");
    refuses("-bin ann pw", 2, "only one of -b and -i may be specified");
    refuses(
        "-BbnC 17 ann pw",
        2,
        "`17` is not a cost for -C; allowed: 4 to 16",
    );
    refuses("-BnC", 2, "-C needs a cost");
    refuses("-bn a:b pw", 6, "username contains illegal character ':'");
    refuses(
        &format!("-bn {} pw", "u".repeat(256)),
        5,
        "the username is longer than 255 bytes",
    );
}

#[test]
fn a_changed_file_keeps_its_other_lines() {
    let text = "# people\nann:old\nbo:x\n\nann:again";
    assert_eq!(
        file::with_user(text, "ann", "ann:new"),
        ("# people\nann:new\nbo:x\n\n".to_owned(), true)
    );
    assert_eq!(
        file::with_user("bo:x", "ann", "ann:new"),
        ("bo:x\nann:new\n".to_owned(), false)
    );
    assert_eq!(
        file::without_user(text, "ann"),
        ("# people\nbo:x\n\n".to_owned(), true)
    );
    assert_eq!(file::without_user(text, "an"), (format!("{text}\n"), false));
    assert_eq!(file::hash_of(text, "ann"), Some("again"));
    assert_eq!(file::hash_of(text, "people"), None);
}

#[test]
fn a_written_file_keeps_its_mode_and_leaves_nothing_beside_it() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("users");
    std::fs::write(&path, "ann:x\n").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
    let link = folder.path().join("link");
    std::os::unix::fs::symlink("users", &link).unwrap();
    file::write(&link, "bo:y\n").unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "bo:y\n");
    assert!(link.is_symlink());
    assert_eq!(
        std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o640
    );
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
}
