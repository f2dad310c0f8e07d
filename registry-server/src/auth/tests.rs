use std::net::IpAddr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use base64::Engine;

use super::{Access, Action, Authenticator, Error, Htpasswd, Refusal};

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

/// Authorizes a request. Returns the name of the user, or the challenge.
async fn ask(authenticator: &Authenticator, authorization: Option<&str>) -> Result<String, String> {
    ask_from(authenticator, authorization, "192.0.2.1").await
}

async fn ask_from(
    authenticator: &Authenticator,
    authorization: Option<&str>,
    address: &str,
) -> Result<String, String> {
    let client: IpAddr = address.parse().unwrap();
    match authenticator
        .authorize(&headers(authorization), &[Access::Base], Some(client))
        .await
    {
        Ok(identity) => Ok(identity.name.unwrap_or_default()),
        Err(Refusal::Challenge { www_authenticate }) => Err(www_authenticate),
        Err(Refusal::TooMany { .. }) => Err("too many".to_owned()),
        Err(Refusal::Unavailable) => Err("unavailable".to_owned()),
    }
}

/// A line of the lowest cost, because bcrypt itself is not tested here.
fn line(user: &str, password: &str) -> String {
    format!("{user}:{}\n", bcrypt::hash(password, 4).unwrap())
}

fn authenticator(path: &Path) -> Authenticator {
    Authenticator::htpasswd(Htpasswd::open("Berth \"test\"", path).unwrap())
}

const CHALLENGE: &str = "Basic realm=\"Berth \\\"test\\\"\"";

/// Repeats a login until its result is the expected one. The file is polled once a second.
async fn becomes(authenticator: &Authenticator, authorization: &str, expected: Result<&str, &str>) {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let got = ask(authenticator, Some(authorization)).await;
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
async fn an_open_registry_ignores_the_authorization_of_a_proxy_in_front() {
    assert_eq!(
        ask(&Authenticator::open(), Some("Basic !!!")).await,
        Ok(String::new())
    );
}

#[tokio::test]
async fn silly_wants_a_header_and_names_the_scopes() {
    let authenticator = Authenticator::silly("r", "s");
    let name = registry_oci::RepositoryName::parse("a/b").unwrap();
    let access = [
        Access::Repository {
            name,
            action: Action::Pull,
        },
        Access::Catalog,
    ];
    let refusal = authenticator
        .authorize(&headers(None), &access, None)
        .await
        .unwrap_err();
    let www_authenticate =
        "Bearer realm=\"r\",service=\"s\",scope=\"repository:a/b:pull registry:catalog:*\"".to_owned();
    assert_eq!(refusal, Refusal::Challenge { www_authenticate });
    assert_eq!(
        ask(&authenticator, None).await,
        Err("Bearer realm=\"r\",service=\"s\"".to_owned())
    );
    assert_eq!(ask(&authenticator, Some("x")).await, Ok("silly".to_owned()));
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
    let authenticator = authenticator(&path);
    for (authorization, expected) in [
        (None, Err(CHALLENGE)),
        (Some(login("amélie", "p:w")), Ok("amélie")),
        // The second time it comes from the cache.
        (Some(login("amélie", "p:w")), Ok("amélie")),
        (Some(login("amélie", "p:W")), Err(CHALLENGE)),
        (Some(login("bo", "")), Ok("bo")),
        (Some(login("nobody", "p:w")), Err(CHALLENGE)),
        // The password that unknown users are checked against.
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
        let got = ask(&authenticator, authorization.as_deref()).await;
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
    let authenticator = authenticator(&path);
    assert_eq!(
        ask(&authenticator, Some(&login("good", "pw"))).await,
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
            ask(&authenticator, Some(&login(user, password))).await,
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
    let authenticator = authenticator(&path);
    let changes = async |text: Option<String>, expected: &[(&str, &str, bool)]| {
        match text {
            Some(text) => std::fs::write(&path, text).unwrap(),
            None => std::fs::remove_file(&path).unwrap(),
        }
        authenticator.reload().await;
        for (user, password, let_in) in expected {
            let got = ask(&authenticator, Some(&login(user, password))).await;
            assert_eq!(got.is_ok(), *let_in, "{user}:{password}: {got:?}");
        }
    };
    changes(
        Some(line("new", "pw")),
        &[("new", "pw", true), ("old", "pw", false)],
    )
    .await;
    changes(
        Some(line("new", "other")),
        &[("new", "other", true), ("new", "pw", false)],
    )
    .await;
    changes(
        Some("new:plain\n".to_owned()),
        &[("new", "other", true), ("new", "plain", false)],
    )
    .await;
    changes(None, &[("new", "other", true)]).await;
    changes(
        Some(line("last", "pw")),
        &[("last", "pw", true), ("new", "other", false)],
    )
    .await;
}

/// The kubelet updates a Secret in this way: the file is a link through `..data`, which a rename replaces.
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
    let authenticator = authenticator(&path);
    tokio::spawn(authenticator.clone().watch_users());
    becomes(&authenticator, &login("user", "one"), Ok("user")).await;
    swap("..2", line("user", "two"));
    becomes(&authenticator, &login("user", "two"), Ok("user")).await;
    becomes(&authenticator, &login("user", "one"), Err(CHALLENGE)).await;
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
    let authenticator = authenticator(&path);
    assert_eq!(
        ask(&authenticator, Some(&login("ann", "s3cret"))).await,
        Ok("ann".to_owned())
    );
    assert_eq!(
        ask(&authenticator, Some(&login("ann", "secret"))).await,
        Err(CHALLENGE.to_owned())
    );
}

proptest::proptest! {
    #[test]
    fn no_mutated_login_panics(header in registry_mutation::mutated(&["Basic YW5uOnMzY3JldA==", "basic Og==", "Bearer abc"])) {
        let _ = super::header::basic(&header);
    }

    #[test]
    fn no_header_panics(header: Vec<u8>, text in "[Bb]asic [A-Za-z0-9+/=]{0,40}") {
        let _ = super::header::basic(&header);
        let _ = super::header::basic(text.as_bytes());
    }
}

#[tokio::test]
async fn a_storm_of_wrong_passwords_holds_up_no_first_login_from_another_address() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("htpasswd");
    std::fs::write(&path, line("ann", "right") + &line("ben", "other")).unwrap();
    let authenticator = authenticator(&path);
    // The attackers know the name of the user, and one of them sends from many addresses of one network.
    let wrong = login("ann", "wrong");
    let storm = (0..600).map(|n| {
        let (authenticator, wrong) = (&authenticator, &wrong);
        async move {
            let address = match n % 2 {
                0 => "192.0.2.1".to_owned(),
                _ => format!("2001:db8::{n:x}"),
            };
            ask_from(authenticator, Some(wrong), &address).await
        }
    });
    let storm = futures_util::future::join_all(storm);
    // These logins are polled after all of the storm, and before any login of it has a result.
    let (right, known) = (login("ann", "right"), login("ben", "other"));
    let first = ask_from(&authenticator, Some(&right), "192.0.2.2");
    let same_network = ask_from(&authenticator, Some(&known), "2001:db8::1");
    let (answers, ann, ben) = tokio::join!(storm, first, same_network);
    assert_eq!((ann.as_deref(), ben.as_deref()), (Ok("ann"), Ok("ben")));
    let count = |expected: &str| {
        let is = |answer: &&Result<String, String>| answer.as_ref().is_err_and(|error| error == expected);
        answers.iter().filter(is).count()
    };
    let (told, refused) = (count("too many"), count(CHALLENGE));
    assert!(
        told > 0 && refused > 0,
        "{told} told to come back, {refused} refused"
    );
    assert_eq!(told + refused, answers.len());
}
