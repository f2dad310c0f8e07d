//! `htpasswd`: our program compared with Apache's, and the server with the files of both.

use std::io::Write;
use std::process::Stdio;

use base64::Engine;

use crate::program::{HTTP, Server, binary, command, run};

const APACHE: &str = "/usr/bin/htpasswd";

fn login(user: &str, password: &str) -> String {
    let credentials = base64::prelude::BASE64_STANDARD.encode(format!("{user}:{password}"));
    format!("GET /v2/ HTTP/1.1\r\nAuthorization: Basic {credentials}\r\n")
}

#[test]
fn the_line_people_know_prints_a_user_with_a_bcrypt_hash() {
    let folder = tempfile::tempdir().unwrap();
    let (code, stdout, stderr) =
        run(command(binary(folder.path(), "htpasswd")).args(["-Bbn", "ann", "s3cret"]));
    assert_eq!((code, stderr.as_str()), (0, ""));
    let hash = stdout
        .strip_prefix("ann:")
        .and_then(|rest| rest.strip_suffix("\n\n"))
        .unwrap();
    assert!(hash.starts_with("$2y$05$") && hash.len() == 60, "{stdout:?}");
}

#[test]
fn apaches_tool_verifies_what_ours_wrote_and_ours_what_apaches_wrote() {
    let folder = tempfile::tempdir().unwrap();
    let (ours, file) = (binary(folder.path(), "htpasswd"), folder.path().join("users"));
    let with = |program: &std::path::Path, arguments: &[&str], rest: &[&str]| {
        run(command(program).args(arguments).arg(&file).args(rest))
    };
    let apache = std::path::Path::new(APACHE);

    let result = with(&ours, &["-cbB"], &["ann", "one"]);
    assert_eq!(
        result,
        (0, String::new(), "Adding password for user ann\n".to_owned())
    );
    assert_eq!(with(apache, &["-vb"], &["ann", "one"]).0, 0);
    assert_eq!(with(apache, &["-vb"], &["ann", "two"]).0, 3);

    assert_eq!(with(apache, &["-bB"], &["bo", "two"]).0, 0);
    assert_eq!(with(&ours, &["-vb"], &["bo", "two"]).0, 0);
    assert_eq!(with(&ours, &["-vb"], &["ann", "one"]).0, 0);
    let result = with(&ours, &["-vb"], &["bo", "one"]);
    assert_eq!(
        result,
        (
            3,
            String::new(),
            "error: htpasswd: password verification failed\n".to_owned()
        )
    );

    // Both programs have the same exit codes for errors.
    for (arguments, rest) in [
        (&["-vb"][..], &["nobody", "x"][..]),
        (&["-D"][..], &["nobody"][..]),
        (&["-cbB"][..], &["a:b", "x"][..]),
        (&["-bB", "-C", "3"][..], &["ann", "x"][..]),
    ] {
        let (ours, apaches) = (with(&ours, arguments, rest).0, with(apache, arguments, rest).0);
        // For a cost that is not allowed, Apache exits as for a wrong password. Ours exits as for a wrong command line.
        let expected = if apaches == 3 { 2 } else { apaches };
        assert_eq!(ours, expected, "htpasswd {arguments:?} {rest:?}");
    }
    let result = with(&ours, &["-D"], &["ann"]);
    assert_eq!(
        result,
        (0, String::new(), "Deleting password for user ann\n".to_owned())
    );
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.starts_with("bo:") && text.lines().count() == 1, "{text}");
    std::fs::remove_file(&file).unwrap();
    assert_eq!(
        with(&ours, &["-bB"], &["ann", "x"]).0,
        with(apache, &["-bB"], &["ann", "x"]).0
    );
}

#[test]
fn a_password_can_come_from_standard_input() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("users");
    for (arguments, typed, code) in [
        (["-ciB"], "one\n", 0),
        (["-cB"], "two\ntwo\n", 0),
        (["-cB"], "two\nthree\n", 3),
        (["-cB"], "two\n", 4),
    ] {
        let mut child = command(binary(folder.path(), "htpasswd"))
            .args(arguments)
            .arg(&file)
            .arg("ann")
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(typed.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(
            output.status.code(),
            Some(code),
            "{arguments:?} {typed:?}: {output:?}"
        );
        assert!(
            !String::from_utf8_lossy(&output.stderr).contains("two"),
            "{output:?}"
        );
    }
    // Failed commands have not changed the password.
    assert_eq!(
        run(command(APACHE).arg("-vb").arg(&file).args(["ann", "two"])).0,
        0
    );
}

#[test]
fn a_server_challenges_and_lets_the_users_of_the_file_in() {
    let folder = tempfile::tempdir().unwrap();
    let made = command(APACHE)
        .arg("-cbB")
        .arg(folder.path().join("users"))
        .args(["ann", "s3cret"])
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    let configuration = format!("auth: {{htpasswd: {{realm: Berth, path: \"%/users\"}}}}\n{HTTP}");
    let server = Server::start_in(folder, &configuration);
    let answer = server.ask("GET /v2/ HTTP/1.1\r\n");
    assert_eq!(
        (answer.status, answer.header("www-authenticate")),
        (401, Some("Basic realm=\"Berth\""))
    );
    assert_eq!(server.ask(&login("ann", "wrong")).status, 401);
    assert_eq!(server.ask(&login("ann", "s3cret")).status, 200);
    // Probes never need a login.
    assert_eq!(server.probe("/readyz").status, 200);
    assert_eq!(server.probe("/livez").status, 200);
    // The logs contain no password, right or wrong.
    let written = server.log().all() + &server.access().all();
    for secret in ["s3cret", "wrong", "YW5u"] {
        assert!(!written.contains(secret), "{written}");
    }
}

/// The server used to compute such a hash at its start, which takes days, and handled no signal meanwhile.
#[test]
fn a_hash_that_takes_days_to_check_holds_up_neither_the_start_nor_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let users = folder.path().join("users");
    let made = command(APACHE).args(["-nbB", "ann", "s3cret"]).output().unwrap();
    let line = String::from_utf8(made.stdout).unwrap();
    let slow = line.replace("ann:", "slow:").replace("$05$", "$31$");
    std::fs::write(&users, format!("{}\n{}\n", slow.trim(), line.trim())).unwrap();
    let ours = binary(folder.path(), "htpasswd");
    let result = run(command(ours).arg("-vb").arg(&users).args(["slow", "s3cret"]));
    assert_eq!(result.0, 3, "{result:?}");
    let configuration = format!("auth: {{htpasswd: {{realm: Berth, path: \"%/users\"}}}}\n{HTTP}");
    let mut server = Server::start_in(folder, &configuration);
    let warning = server.log().wait("htpasswd line is not accepted");
    let warning: serde_json::Value = serde_json::from_str(&warning).unwrap();
    assert_eq!(
        (warning["line"].as_u64(), warning["user"].as_str()),
        (Some(1), Some("slow")),
        "{warning}"
    );
    for _ in 0..4 {
        assert_eq!(server.ask(&login("slow", "s3cret")).status, 401);
    }
    assert_eq!(server.ask(&login("ann", "s3cret")).status, 200);
    server.signal(rustix::process::Signal::TERM);
    assert_eq!(server.wait(), (Some(0), None));
    let written = server.log().all();
    assert!(!written.contains("$31$"), "{written}");
}

#[test]
fn a_missing_file_is_made_and_its_password_works() {
    let server = Server::start(&format!(
        "auth: {{htpasswd: {{realm: r, path: \"%/new/users\"}}}}\n{HTTP}"
    ));
    let line = server.log().wait("htpasswd is missing");
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(
        (line["level"].as_str(), line["user"].as_str()),
        (Some("warning"), Some("docker"))
    );
    assert_eq!(
        server
            .ask(&login("docker", line["password"].as_str().unwrap()))
            .status,
        200
    );
}
