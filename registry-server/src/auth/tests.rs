use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use base64::Engine;

use super::{Access, Action, Error, Gate, Htpasswd, Refusal};

fn headers(authorization: Option<&str>) -> http::HeaderMap {
    authorization
        .map(|value| (http::header::AUTHORIZATION, value.parse().unwrap()))
        .into_iter()
        .collect()
}

fn login(user: &str, password: &str) -> String {
    format!(
        "Basic {}",
        base64::prelude::BASE64_STANDARD.encode(format!("{user}:{password}"))
    )
}

/// Who is let in: the user's name, or the challenge.
async fn ask(gate: &Gate, authorization: Option<&str>) -> Result<String, String> {
    match gate.authorize(&headers(authorization), &[Access::Base]).await {
        Ok(identity) => Ok(identity.name.unwrap_or_default()),
        Err(Refusal::Challenge { www_authenticate }) => Err(www_authenticate),
        Err(Refusal::TooMany { .. }) => Err("too many".to_owned()),
        Err(Refusal::Unavailable) => Err("unavailable".to_owned()),
    }
}

/// Lines of the cheapest cost: what is tested is not bcrypt.
fn line(user: &str, password: &str) -> String {
    format!("{user}:{}\n", bcrypt::hash(password, 4).unwrap())
}

fn gate(path: &Path) -> Gate {
    Gate::htpasswd(Htpasswd::open("Berth \"test\"", path).unwrap())
}

const CHALLENGE: &str = "Basic realm=\"Berth \\\"test\\\"\"";

/// Asks until the answer is the expected one; the file is looked at once a second.
async fn becomes(gate: &Gate, authorization: &str, expected: Result<&str, &str>) {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let got = ask(gate, Some(authorization)).await;
        if got.as_deref().map_err(String::as_str) == expected {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "expected {expected:?}, last answer {got:?}"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn an_open_gate_ignores_the_authorization_of_a_proxy_in_front() {
    assert_eq!(ask(&Gate::open(), Some("Basic !!!")).await, Ok(String::new()));
}

#[tokio::test]
async fn the_silly_gate_wants_a_header_and_names_the_scopes() {
    let gate = Gate::silly("r", "s");
    let name = registry_oci::RepositoryName::parse("a/b").unwrap();
    let access = [
        Access::Repository {
            name,
            action: Action::Pull,
        },
        Access::Catalog,
    ];
    let refusal = gate.authorize(&headers(None), &access).await.unwrap_err();
    let www_authenticate =
        "Bearer realm=\"r\",service=\"s\",scope=\"repository:a/b:pull registry:catalog:*\"".to_owned();
    assert_eq!(refusal, Refusal::Challenge { www_authenticate });
    assert_eq!(
        ask(&gate, None).await,
        Err("Bearer realm=\"r\",service=\"s\"".to_owned())
    );
    assert_eq!(ask(&gate, Some("x")).await, Ok("silly".to_owned()));
}

#[tokio::test]
async fn only_the_right_password_of_a_known_user_is_let_in() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("users");
    std::fs::write(
        &path,
        format!("# people\n\n{}{}", line("amélie", "p:w"), line("bo", "")),
    )
    .unwrap();
    let gate = gate(&path);
    for (authorization, expected) in [
        (None, Err(CHALLENGE)),
        (Some(login("amélie", "p:w")), Ok("amélie")),
        // A second time, from memory.
        (Some(login("amélie", "p:w")), Ok("amélie")),
        (Some(login("amélie", "p:W")), Err(CHALLENGE)),
        (Some(login("bo", "")), Ok("bo")),
        (Some(login("nobody", "p:w")), Err(CHALLENGE)),
        // The password that stands behind unknown users.
        (Some(login("nobody", "")), Err(CHALLENGE)),
        (Some(login("", "")), Err(CHALLENGE)),
        (
            Some(login("amélie", "p:w").replace("Basic", "bAsIc")),
            Ok("amélie"),
        ),
        (
            Some(login("amélie", "p:w").replace("Basic", "Bearer")),
            Err(CHALLENGE),
        ),
        (Some(login("bo", "").trim_end_matches('=').to_owned()), Ok("bo")),
        (Some("Basic".to_owned()), Err(CHALLENGE)),
        (Some("Basic %%%".to_owned()), Err(CHALLENGE)),
        (Some("Basic Ym8=".to_owned()), Err(CHALLENGE)),
    ] {
        let got = ask(&gate, authorization.as_deref()).await;
        assert_eq!(
            got.as_deref().map_err(String::as_str),
            expected,
            "{authorization:?}"
        );
    }
}

#[tokio::test]
async fn hashes_that_are_not_bcrypt_are_never_accepted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("users");
    let good = line("good", "pw");
    let others = "plain:pw\nmd5:$apr1$x$y\nsha:{SHA}kHJPq2yFLSuWnUJyR8hkKqRUSGo=\nnocolon\n:$2y$\n\
        short:$2y$04$abc\nx:$2x$04$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy\n";
    std::fs::write(&path, format!("{others}{good}")).unwrap();
    let gate = gate(&path);
    assert_eq!(
        ask(&gate, Some(&login("good", "pw"))).await,
        Ok("good".to_owned())
    );
    for (user, password) in [
        ("plain", "pw"),
        ("md5", "pw"),
        ("sha", "pw"),
        ("short", ""),
        ("x", "U*U"),
        ("nocolon", ""),
    ] {
        assert_eq!(
            ask(&gate, Some(&login(user, password))).await,
            Err(CHALLENGE.to_owned()),
            "{user}"
        );
    }
    std::fs::write(&path, others).unwrap();
    assert!(matches!(Htpasswd::open("r", &path), Err(Error::NoUsers { .. })));
}

#[tokio::test]
async fn a_changed_file_is_read_again_and_a_bad_one_keeps_the_last_good_users() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("users");
    std::fs::write(&path, line("old", "pw")).unwrap();
    let gate = gate(&path);
    becomes(&gate, &login("old", "pw"), Ok("old")).await;

    std::fs::write(&path, line("new", "pw")).unwrap();
    becomes(&gate, &login("new", "pw"), Ok("new")).await;
    becomes(&gate, &login("old", "pw"), Err(CHALLENGE)).await;

    std::fs::write(&path, line("new", "other")).unwrap();
    becomes(&gate, &login("new", "other"), Ok("new")).await;
    becomes(&gate, &login("new", "pw"), Err(CHALLENGE)).await;

    std::fs::write(&path, "new:plain\n").unwrap();
    let Gate(kind) = &gate;
    let super::Kind::Htpasswd(users) = &**kind else {
        panic!("not htpasswd")
    };
    users.look_now();
    assert_eq!(
        ask(&gate, Some(&login("new", "other"))).await,
        Ok("new".to_owned()),
        "a bad file"
    );
    std::fs::remove_file(&path).unwrap();
    users.look_now();
    assert_eq!(
        ask(&gate, Some(&login("new", "other"))).await,
        Ok("new".to_owned()),
        "no file"
    );

    std::fs::write(&path, line("last", "pw")).unwrap();
    becomes(&gate, &login("last", "pw"), Ok("last")).await;
    becomes(&gate, &login("new", "other"), Err(CHALLENGE)).await;
}

#[tokio::test]
async fn an_unknown_user_costs_as_much_as_the_dearest_known_one_also_after_a_change() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("users");
    std::fs::write(&path, line("ann", "pw")).unwrap();
    let users = Htpasswd::open("r", &path).unwrap();
    assert_eq!(users.nobody_cost(), 4);
    let dear = bcrypt::hash("pw", 6).unwrap();
    std::fs::write(&path, format!("{}bo:{dear}\n", line("ann", "pw"))).unwrap();
    users.look_now();
    assert_eq!(users.nobody_cost(), 6);
}

/// As the kubelet does it: the file is a link through `..data`, which is replaced by a rename.
#[tokio::test]
async fn a_secret_that_is_swapped_by_its_links_is_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let swap = |name: &str, text: String| {
        let target = folder.path().join(name);
        std::fs::create_dir(&target).unwrap();
        std::fs::write(target.join("users"), text).unwrap();
        std::os::unix::fs::symlink(name, folder.path().join("..data_tmp")).unwrap();
        std::fs::rename(folder.path().join("..data_tmp"), folder.path().join("..data")).unwrap();
    };
    swap("..1", line("user", "one"));
    let path = folder.path().join("users");
    std::os::unix::fs::symlink("..data/users", &path).unwrap();
    let gate = gate(&path);
    becomes(&gate, &login("user", "one"), Ok("user")).await;
    swap("..2", line("user", "two"));
    becomes(&gate, &login("user", "two"), Ok("user")).await;
    becomes(&gate, &login("user", "one"), Err(CHALLENGE)).await;
}

#[tokio::test]
async fn a_missing_file_is_made_for_one_user_and_for_its_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("new/users");
    Htpasswd::open("r", &path).unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.starts_with("docker:$2y$"), "{text}");
    assert_eq!(
        std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
}

#[tokio::test]
async fn a_file_of_apaches_tool_is_understood() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("users");
    let output = Command::new("/usr/bin/htpasswd")
        .args(["-cbB", "-C", "5"])
        .arg(&path)
        .args(["ann", "s3cret"])
        .output();
    let output = output.expect("apache2-utils is installed");
    assert!(output.status.success(), "{output:?}");
    let gate = gate(&path);
    assert_eq!(
        ask(&gate, Some(&login("ann", "s3cret"))).await,
        Ok("ann".to_owned())
    );
    assert_eq!(
        ask(&gate, Some(&login("ann", "secret"))).await,
        Err(CHALLENGE.to_owned())
    );
}

proptest::proptest! {
    #[test]
    fn no_mutated_login_panics(header in registry_mutation::mutated(&["Basic YW5uOnMzY3JldA==", "basic Og==", "Bearer abc"])) {
        let _ = super::basic(&header);
    }

    #[test]
    fn no_mutated_file_of_users_panics(text in registry_mutation::mutated_text(&[
        "ann:$2y$05$abcdefghijklmnopqrstuuABCDEFGHIJKLMNOPQRSTUVWXYZ01234\n# comment\n\nben:$apr1$x$y\n:$2a$10$\n",
    ])) {
        let _ = super::htpasswd::parse(&text);
    }

    #[test]
    fn no_header_panics(header: Vec<u8>, text in "[Bb]asic [A-Za-z0-9+/=]{0,40}") {
        let _ = super::basic(&header);
        let _ = super::basic(text.as_bytes());
    }
}

#[tokio::test]
async fn a_flood_of_wrong_passwords_is_told_to_come_back_and_holds_up_nobody_who_is_known() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("htpasswd");
    std::fs::write(&path, line("ann", "right") + &line("ben", "other")).unwrap();
    let gate = gate(&path);
    let known = login("ann", "right");
    assert_eq!(ask(&gate, Some(&known)).await.as_deref(), Ok("ann"));
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let wrong = login("ben", "wrong");
    let flood = (0..200 * cores).map(|_| ask(&gate, Some(&wrong)));
    let flood = futures_util::future::join_all(flood);
    // Asked in the middle of it: polled after all of the flood, before any of it has its verdict.
    let (answers, ann) = tokio::join!(flood, ask(&gate, Some(&known)));
    assert_eq!(ann.as_deref(), Ok("ann"));
    let told = answers
        .iter()
        .filter(|answer| answer.as_ref().is_err_and(|error| error == "too many"))
        .count();
    let refused = answers
        .iter()
        .filter(|answer| answer.as_ref().is_err_and(|error| error == CHALLENGE))
        .count();
    assert!(
        told > 0 && refused > 0,
        "{told} told to come back, {refused} refused"
    );
    assert_eq!(told + refused, answers.len());
    assert_eq!(
        ask(&gate, Some(&login("ben", "other"))).await.as_deref(),
        Ok("ben")
    );
}
