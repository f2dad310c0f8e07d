//! Command lines and configuration.

use crate::program::{Server, binary, command, run};

const PROGRAM: &str = env!("CARGO_BIN_EXE_registry-server");

/// Checks that `serve` refuses a configuration with exactly this line, and with exit code 2.
#[track_caller]
fn refuses(configuration: &str, variables: &[(&str, &str)], expected: &str) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.yml");
    std::fs::write(&path, configuration.replace('%', folder.path().to_str().unwrap())).unwrap();
    let (code, stdout, stderr) = run(command(PROGRAM)
        .arg("serve")
        .arg(&path)
        .envs(variables.iter().copied()));
    let expected = expected.replace('%', folder.path().to_str().unwrap());
    assert_eq!(
        (code, stdout.as_str(), stderr.as_str()),
        (2, "", format!("error: {expected}\n").as_str())
    );
}

const GOOD: &str = "version: 0.1\nlog: {level: error}\nstorage: inmemory\n";

#[test]
fn a_wrong_value_is_one_line_with_path_value_and_what_is_allowed() {
    refuses(
        &format!("{GOOD}http: {{draintimeout: soon}}\n"),
        &[],
        "%/config.yml: `http.draintimeout` (line 4): `soon` is not allowed; allowed: \
         a duration such as `30s`, `1m30s` or `168h`",
    );
}

#[test]
fn a_wrong_variable_is_named() {
    refuses(
        GOOD,
        &[("REGISTRY_HTTP_ADDR", "5000")],
        "%/config.yml: `http.addr` (variable REGISTRY_HTTP_ADDR): `5000` is not allowed; \
         allowed: `:port` or `host:port`",
    );
}

#[test]
fn text_that_is_no_yaml_is_one_line() {
    refuses(
        "version: [0.1\n",
        &[],
        "%/config.yml: line 1, column 10: unclosed bracket '['",
    );
}

#[test]
fn what_the_server_cannot_use_is_named_before_it_listens() {
    let files = "auth: {htpasswd: {realm: r, path: \"%/config.yml/users\"}}\n";
    refuses(
        &format!("{GOOD}{files}"),
        &[],
        "%/config.yml (line 4): cannot read the users of `auth.htpasswd.path`, `%/config.yml/users`: Not a directory \
         (os error 20)",
    );
    refuses(
        &format!("{GOOD}{files}"),
        &[("REGISTRY_AUTH_HTPASSWD_PATH", "/dev/null/users")],
        "%/config.yml (variable REGISTRY_AUTH_HTPASSWD_PATH): cannot read the users of `auth.htpasswd.path`, \
         `/dev/null/users`: Not a directory (os error 20)",
    );
    refuses(
        GOOD,
        &[("REGISTRY_HTTP_DEBUG_ADDR", "192.0.2.1:1")],
        "%/config.yml (variable REGISTRY_HTTP_DEBUG_ADDR): cannot use `http.debug.addr`: cannot listen on \
         `192.0.2.1:1`: Cannot assign requested address (os error 99)",
    );
    refuses(
        &format!("{GOOD}http: {{tls: {{certificate: \"%/none.pem\", key: \"%/none.key\"}}}}\n"),
        &[],
        "%/config.yml (line 4): `http.tls.certificate`, `%/none.pem`, cannot be read: No such file or directory (os error 2)",
    );
    refuses(
        "version: 0.1\nstorage: {filesystem: {rootdirectory: \"%/config.yml/data\"}}\nlog: {level: error}\n",
        &[],
        "%/config.yml (line 2): cannot use `storage.filesystem.rootdirectory`, `%/config.yml/data`: Not a directory (os error 20)",
    );
}

#[test]
fn an_address_in_use_is_trouble_that_passes() {
    let server = Server::start("http: {addr: \"127.0.0.1:0\"}\n");
    let path = server.folder.path().join("second.yml");
    std::fs::write(&path, GOOD).unwrap();
    let (code, _, stderr) = run(command(PROGRAM)
        .arg("serve")
        .arg(&path)
        .env("REGISTRY_HTTP_ADDR", &server.address));
    let expected = format!(
        "error: {} (variable REGISTRY_HTTP_ADDR): cannot use `http.addr`: cannot listen on `{}`: Address already in use \
         (os error 98)\n",
        path.display(),
        server.address
    );
    assert_eq!((code, stderr), (4, expected));
}

#[test]
fn config_check_prints_what_is_in_force_with_secrets_masked_and_warns_apart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.yml");
    std::fs::write(
        &path,
        format!("{GOOD}htpp: {{}}\nhttp: {{secret: hunter2-hunter2-hunter2}}\n"),
    )
    .unwrap();
    let mut check = command(PROGRAM);
    check
        .env("REGISTRY_CONFIGURATION_PATH", &path)
        .env("REGISTRY_STORAGE_DELETE_ENABLED", "true");
    let (code, stdout, stderr) = run(check.args(["config", "check"]));
    let place = path.display();
    assert_eq!(
        (code, stdout, stderr),
        (
            0,
            format!(
                "# {place}\nversion: 0.1\nlog:\n  level: error\nstorage:\n  inmemory: {{}}\n  delete:\n    \
                 enabled: true\nhtpp: {{}}\nhttp:\n  secret: \"<masked>\"\n"
            ),
            format!("warning: {place}: `htpp` (line 4) is not a known key and is ignored\n"),
        )
    );
    let (code, stdout, stderr) = run(check.env("REGISTRY_LOG_LEVEL", "loud"));
    let expected = format!(
        "error: {place}: `log.level` (variable REGISTRY_LOG_LEVEL): `loud` is not allowed; \
         allowed: `error`, `warn`, `info`, `debug`\n"
    );
    assert_eq!((code, stdout.as_str(), stderr), (2, "", expected));
}

#[test]
fn a_closed_pipe_is_no_error() {
    let status = std::process::Command::new("sh")
        .args(["-c", "\"$0\" config check \"$1\" | true"])
        .arg(PROGRAM)
        .arg(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/rootfs/etc/docker/registry/config.yml"
        ))
        .stderr(std::process::Stdio::piped())
        .output()
        .unwrap();
    assert_eq!(
        (
            status.status.code(),
            String::from_utf8_lossy(&status.stderr).as_ref()
        ),
        (Some(0), "")
    );
}

#[test]
fn the_files_of_the_image_are_accepted_without_a_word() {
    for path in ["etc/docker/registry/config.yml", "etc/distribution/config.yml"] {
        let path = format!("{}/rootfs/{path}", env!("CARGO_MANIFEST_DIR"));
        let (code, _, stderr) = run(command(PROGRAM).args(["config", "check", &path]));
        assert_eq!((code, stderr.as_str()), (0, ""), "{path}");
    }
}

/// The binary on a machine without files at the default paths. Packages of other registries use these paths too, so the
/// test covers them in a mount namespace of its own.
fn without_default_files() -> std::process::Command {
    let mut program = command("unshare");
    if !rustix::process::geteuid().is_root() {
        program.arg("--map-root-user");
    }
    let script = "for folder in /etc/docker/registry /etc/distribution; do \
        if [ -d $folder ]; then mount -t tmpfs none $folder || exit 99; fi; done; exec \"$0\" \"$@\"";
    program.args(["--mount", "sh", "-c", script, PROGRAM]);
    program
}

#[test]
fn without_configuration_a_local_folder_is_served_on_this_machine() {
    let folder = tempfile::tempdir().unwrap();
    let mut check = without_default_files();
    let (_, defaults, stderr) = run(check
        .args(["config", "check"])
        .env("XDG_DATA_HOME", folder.path()));
    let data = folder.path().join("berth/registry");
    let expected = format!(
        "# the built-in configuration\nversion: \"0.1\"\nstorage:\n  filesystem:\n    rootdirectory: {}\n\
         http:\n  addr: \"127.0.0.1:5000\"\n",
        data.display()
    );
    assert_eq!((defaults, stderr.as_str()), (expected, ""));

    let mut serve = without_default_files();
    // Only the port differs from the default, which may be in use.
    serve
        .arg("serve")
        .env("XDG_DATA_HOME", folder.path())
        .env("REGISTRY_LOG_FORMATTER", "json");
    serve.env("REGISTRY_HTTP_ADDR", "127.0.0.1:0");
    let server = Server::spawn(folder, serve);
    assert_eq!(server.ask("GET /v2/ HTTP/1.1\r\n").status, 200);
    let line = server.log().wait("listening on ");
    assert!(line.contains("the built-in configuration"), "{line}");
    assert!(line.contains(data.to_str().unwrap()), "{line}");
    assert!(data.is_dir());
}

#[test]
fn help_and_version_are_data_and_nonsense_is_the_callers() {
    let (code, stdout, stderr) = run(command(PROGRAM).arg("--version"));
    let version = format!("registry-server berth {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!((code, stdout, stderr.as_str()), (0, version, ""));
    let (code, stdout, stderr) = run(command(PROGRAM).arg("help"));
    assert_eq!(
        (code, stdout.contains("Exit codes: 0 done"), stderr.as_str()),
        (0, true, "")
    );
    let (code, stdout, stderr) = run(command(PROGRAM).arg("garbage"));
    assert_eq!((code, stdout.as_str()), (2, ""));
    assert!(
        stderr.starts_with("error: unrecognized subcommand 'garbage'"),
        "{stderr}"
    );
    assert_eq!(run(&mut command(PROGRAM)).0, 2);
}

#[test]
fn the_entrypoint_serves_files_and_runs_other_programs() {
    let folder = tempfile::tempdir().unwrap();
    let entrypoint = binary(folder.path(), "entrypoint.sh");
    let (code, stdout, _) = run(command(&entrypoint).arg("--version"));
    assert_eq!(
        (code, stdout.starts_with("registry-server ")),
        (0, true),
        "{stdout}"
    );
    let (code, _, stderr) = run(command(&entrypoint).arg("missing.yml"));
    let expected =
        "error: cannot read the configuration `missing.yml`: No such file or directory (os error 2)\n";
    assert_eq!((code, stderr.as_str()), (2, expected));
    let (code, stdout, _) = run(command(&entrypoint).args(["echo", "-n", "hello"]));
    assert_eq!((code, stdout.as_str()), (0, "hello"));
    let (code, _, stderr) = run(command(&entrypoint).arg("no-such-program"));
    assert_eq!((code, stderr.lines().count()), (127, 2), "{stderr}");
}

#[test]
fn a_missing_file_that_a_variable_names_is_told_with_the_variable() {
    let (code, _, stderr) = run(command(PROGRAM)
        .arg("serve")
        .env("REGISTRY_CONFIGURATION_PATH", "/no/such.yml"));
    let expected = "error: cannot read the configuration `/no/such.yml` (variable REGISTRY_CONFIGURATION_PATH): \
        No such file or directory (os error 2)\n";
    assert_eq!((code, stderr.as_str()), (2, expected));
}

#[test]
fn a_variable_that_is_no_text_is_refused_and_not_passed_over() {
    use std::os::unix::ffi::OsStrExt as _;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.yml");
    std::fs::write(&path, GOOD).unwrap();
    let (code, _, stderr) = run(command(PROGRAM)
        .args(["config", "check"])
        .arg(&path)
        .env("REGISTRY_AUTH", std::ffi::OsStr::from_bytes(b"htp\xffasswd")));
    let expected = "error: variable REGISTRY_AUTH: its text is not UTF-8; allowed: UTF-8\n";
    assert_eq!((code, stderr.as_str()), (2, expected));
}

#[test]
fn a_configuration_says_the_same_from_every_editor() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.yml");
    let check = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        run(command(PROGRAM).args(["config", "check"]).arg(&path))
    };
    let plain = check(GOOD.as_bytes());
    assert_eq!((plain.0, plain.2.as_str()), (0, ""));
    let utf16: Vec<u8> = format!("\u{feff}{GOOD}")
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    assert_eq!(check(format!("\u{feff}{GOOD}").as_bytes()), plain);
    assert_eq!(check(GOOD.replace('\n', "\r\n").as_bytes()), plain);
    assert_eq!(check(&utf16), plain);
    let (code, _, stderr) = check(b"version: 0.1\n# M\xfcller\nstorage: inmemory\n");
    let expected = format!(
        "error: cannot read the configuration `{}`: line 2 is not UTF-8; save the file as UTF-8\n",
        path.display()
    );
    assert_eq!((code, stderr), (2, expected));
}

/// Debian's package of registry:2 is installed like this.
#[test]
fn a_folder_as_password_file_lets_nobody_in_and_is_warned_about() {
    let server =
        Server::start("auth: {htpasswd: {realm: basic-realm, path: \"%\"}}\nhttp: {addr: \"127.0.0.1:0\"}\n");
    let line = server
        .log()
        .wait("`auth.htpasswd.path` is a folder and no file: nobody can log in");
    assert!(line.contains("\"level\":\"warning\""), "{line}");
    assert_eq!(server.ask("GET /v2/ HTTP/1.1\r\n").status, 401);
    // docker:docker
    let login = "GET /v2/ HTTP/1.1\r\nAuthorization: Basic ZG9ja2VyOmRvY2tlcg==\r\n";
    assert_eq!(server.ask(login).status, 401);
}

#[test]
fn the_version_is_the_third_word_as_distribution_prints_it() {
    for flag in ["-v", "--version", "-V"] {
        let (code, stdout, _) = run(command(PROGRAM).arg(flag));
        let words: Vec<&str> = stdout.split_whitespace().collect();
        assert_eq!(
            (code, words.len(), words[2]),
            (0, 3, env!("CARGO_PKG_VERSION")),
            "{flag}"
        );
    }
}
