use std::future::Future;
use std::pin::pin;

use super::*;

/// A line of the lowest cost, because bcrypt itself is not tested here.
fn line(user: &str, password: &str) -> String {
    format!("{user}:{}\n", bcrypt::hash(password, 4).unwrap())
}

/// Opens a file whose passwords are checked one at a time.
fn open(path: &Path) -> Htpasswd {
    let metrics = LoginMetrics::default();
    let queue = LoginQueue::with(1, 256, Duration::from_secs(600), metrics.clone());
    Htpasswd::open_with("realm".to_owned(), path.to_owned(), queue, metrics).unwrap()
}

fn check<'a>(
    users: &'a Htpasswd,
    user: &str,
    password: &str,
) -> impl Future<Output = Result<Identity, Refusal>> + use<'a> {
    users.check(user.to_owned(), password.as_bytes().to_vec(), None)
}

fn name(user: &str) -> Option<Identity> {
    Some(Identity {
        name: Some(user.to_owned()),
    })
}

fn credentials(user: &str, password: &str) -> Credentials {
    Credentials {
        user: user.to_owned(),
        password: password.as_bytes().to_vec(),
    }
}

#[tokio::test]
async fn a_login_that_waited_is_checked_against_the_users_of_the_day() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("users");
    std::fs::write(&path, line("ann", "pw") + &line("ben", "old")).unwrap();
    let users = open(&path);
    let other = Login {
        client: None.into(),
        user: 0,
        fingerprint: users.shared.cache.fingerprint("", b"", ""),
        verified_before: false,
    };
    let permit = users.shared.queue.admit(other).await.unwrap();
    let (mut removed, mut changed) = (
        pin!(check(&users, "ann", "pw")),
        pin!(check(&users, "ben", "new")),
    );
    assert!(futures_util::poll!(removed.as_mut()).is_pending());
    assert!(futures_util::poll!(changed.as_mut()).is_pending());
    std::fs::write(&path, line("ben", "new")).unwrap();
    users.reload().await;
    drop(permit);
    let (removed, changed) = tokio::join!(removed, changed);
    assert_eq!(removed, Err(users.challenge()));
    assert_eq!(changed.ok(), name("ben"));
}

#[tokio::test]
async fn a_user_who_is_taken_out_while_bcrypt_works_is_not_let_in() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("users");
    std::fs::write(&path, line("ann", "pw") + &line("ben", "pw")).unwrap();
    let users = open(&path);
    let before = users.shared.users.load_full();
    std::fs::write(&path, line("ann", "other")).unwrap();
    users.reload().await;
    for user in ["ann", "ben"] {
        for matches in [true, false] {
            let settled = users
                .shared
                .conclude(&credentials(user, "pw"), before.hash(user), matches);
            assert_eq!(settled, Checked::Outdated, "{user}, matches: {matches}");
        }
        assert_eq!(check(&users, user, "pw").await, Err(users.challenge()), "{user}");
    }
    assert_eq!(check(&users, "ann", "other").await.ok(), name("ann"));
}

#[tokio::test]
async fn a_user_who_was_let_in_is_not_once_the_file_was_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("users");
    std::fs::write(&path, line("ann", "pw") + &line("ben", "pw")).unwrap();
    let users = open(&path);
    for user in ["ann", "ben"] {
        assert_eq!(check(&users, user, "pw").await.ok(), name(user));
    }
    std::fs::write(&path, line("ann", "pw")).unwrap();
    users.reload().await;
    // The hash of the same password with another salt.
    assert_eq!(check(&users, "ann", "pw").await.ok(), name("ann"));
    assert_eq!(check(&users, "ben", "pw").await, Err(users.challenge()));
}

#[tokio::test]
async fn credentials_that_are_no_longer_believed_are_checked_ahead_of_a_storm() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("users");
    std::fs::write(&path, line("ann", "pw")).unwrap();
    let users = open(&path);
    assert_eq!(check(&users, "ann", "pw").await.ok(), name("ann"));
    let stored = users.shared.users.load_full();
    let fingerprint = users
        .shared
        .fingerprint(&credentials("ann", "pw"), stored.hash("ann"));
    users.shared.cache.expire(fingerprint);
    // These are more logins than the queue holds, and all of them arrive first.
    let storm: Vec<_> = (0..400).map(|n| check(&users, "ann", &n.to_string())).collect();
    let (storm, ann) = tokio::join!(futures_util::future::join_all(storm), check(&users, "ann", "pw"));
    assert_eq!(ann.ok(), name("ann"));
    assert!(storm.iter().all(Result::is_err));
}

/// A hash of cost 31 takes days. An earlier version made one at the start, and one at each login of an unknown user.
#[tokio::test]
async fn a_line_that_costs_too_much_locks_its_user_out_and_nobody_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("users");
    let dear = |user: &str| line(user, "pw").replace("$04$", "$31$");
    std::fs::write(&path, dear("slow") + &line("ann", "pw")).unwrap();
    let users = open(&path);
    for _ in 0..4 {
        assert_eq!(check(&users, "slow", "pw").await, Err(users.challenge()));
    }
    assert_eq!(check(&users, "ann", "pw").await.ok(), name("ann"));
    std::fs::write(&path, dear("slow") + &dear("ann") + &line("ben", "pw")).unwrap();
    users.reload().await;
    assert_eq!(check(&users, "ann", "pw").await, Err(users.challenge()));
    assert_eq!(check(&users, "ben", "pw").await.ok(), name("ben"));
    std::fs::write(&path, dear("slow")).unwrap();
    assert!(matches!(Htpasswd::open("r", &path), Err(Error::NoUsers { .. })));
}

#[tokio::test]
async fn a_folder_in_place_of_the_file_lets_nobody_in() {
    let folder = tempfile::tempdir().unwrap();
    let users = open(folder.path());
    assert_eq!(check(&users, "ann", "pw").await, Err(users.challenge()));
}

#[tokio::test]
async fn a_password_counts_as_far_as_bcrypt_looks_at_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("users");
    let long = "p".repeat(72);
    std::fs::write(&path, line("ann", &format!("{long}and more"))).unwrap();
    let users = open(&path);
    assert_eq!(check(&users, "ann", &long[1..]).await, Err(users.challenge()));
    assert_eq!(
        check(&users, "ann", &format!("{long}or less")).await.ok(),
        name("ann")
    );
}

#[tokio::test]
async fn logins_are_counted_by_what_became_of_them() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("users");
    std::fs::write(&path, line("ann", "pw")).unwrap();
    let users = open(&path);
    let mut registry = Registry::default();
    users.register(&mut registry);
    for (user, password) in [("ann", "pw"), ("ann", "pw"), ("ann", "no"), ("ben", "pw")] {
        let _ = check(&users, user, password).await;
    }
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    for line in [
        "registry_auth_logins_total{outcome=\"accepted\"} 2\n",
        "registry_auth_logins_total{outcome=\"refused\"} 2\n",
        "registry_auth_waiting_logins 0\n",
    ] {
        assert!(text.contains(line), "{line}{text}");
    }
}
