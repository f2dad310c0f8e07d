//! The log lines of a running server, and its mails through a real mail server.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};
use std::sync::mpsc;

use crate::program::{HTTP, Lines, PATIENCE, Running, Server, ask, command, connect, run};

/// Debian's Python, with Debian's package `python3-aiosmtpd`. A missing package is a failure.
const PYTHON: &str = "/usr/bin/python3";
const PASSWORD: &str = "hunter2";

/// A mail server and the mails that it received.
struct Smtp {
    _child: Running,
    port: u16,
    mails: mpsc::Receiver<serde_json::Value>,
}

impl Smtp {
    /// Starts a mail server. It requires the user and offers STARTTLS with the certificate, unless they are empty.
    #[track_caller]
    fn start(user: &str, certificate: &str, key: &str) -> Self {
        let child = Command::new(PYTHON)
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cli/smtp.py"))
            .args([user, PASSWORD, certificate, key])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut child = Running(child);
        let mut lines = BufReader::new(child.0.stdout.take().unwrap()).lines();
        let port = lines
            .next()
            .expect("the mail server of Debian's package `python3-aiosmtpd` starts")
            .unwrap()
            .parse()
            .unwrap();
        let (sender, mails) = mpsc::channel();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let _ = sender.send(serde_json::from_str(&line).unwrap());
            }
        });
        Self {
            _child: child,
            port,
            mails,
        }
    }

    #[track_caller]
    fn mail(&self) -> serde_json::Value {
        self.mails.recv_timeout(PATIENCE).unwrap()
    }
}

/// Starts a server with a section `log`, which must ask for JSON. No health check runs, so that only requests are logged.
#[track_caller]
fn server(log: &str) -> Server {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.yml");
    let text = format!(
        "version: 0.1\nlog: {log}\nstorage: {{filesystem: {{rootdirectory: \"%/data\"}}}}\n\
         health: {{storagedriver: {{enabled: false}}}}\n{HTTP}"
    );
    std::fs::write(&path, text.replace('%', folder.path().to_str().unwrap())).unwrap();
    let mut serve = command(env!("CARGO_BIN_EXE_registry-server"));
    serve.arg("serve").arg(path);
    Server::spawn(folder, serve)
}

/// Sends a request that fails, because the store cannot be read.
#[track_caller]
fn fail(server: &Server) {
    if !server.folder.path().join("data/docker").is_symlink() {
        server.break_store();
    }
    let request = "GET /v2/a/tags/list?_state=s3cret&n=7 HTTP/1.1\r\nUser-Agent: test/1 \"x\"\r\n\
        Authorization: Basic YW5uOmh1bnRlcjI=\r\n";
    assert_eq!(server.ask(request).status, 503);
}

fn hook(port: u16, more: &str) -> String {
    format!(
        "{{formatter: json, hooks: [{{type: mail, levels: [error], options: {{smtp: {{addr: \"127.0.0.1:{port}\"{more}}}, \
         from: Registry <registry@example.com>, to: [ann@example.com, bob@example.com]}}}}]}}"
    )
}

#[test]
fn a_line_about_a_request_says_which_one_without_its_secrets() {
    let server = server("{formatter: json, fields: {service: registry, place: {rack: 7}}}");
    fail(&server);
    let line = server.log().wait("a request could not be answered now");
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    for (name, expected) in [
        ("level", "error"),
        ("service", "registry"),
        ("http.request.method", "GET"),
        ("http.request.uri", "/v2/a/tags/list?_state=&n=7"),
        ("http.request.host", "registry.test"),
        ("http.request.useragent", "test/1 \"x\""),
    ] {
        assert_eq!(line[name], expected, "{name}: {line}");
    }
    assert_eq!(line["place"]["rack"], "7", "{line}");
    assert!(
        line["http.request.remoteaddr"]
            .as_str()
            .unwrap()
            .starts_with("127.0.0.1:"),
        "{line}"
    );
    assert_eq!(line["http.request.id"].as_str().map(str::len), Some(36), "{line}");
    let written = server.log().all() + &server.access().all();
    for secret in ["YW5u", "s3cret"] {
        assert!(!written.contains(secret), "{written}");
    }
}

#[test]
fn at_level_debug_each_answer_is_a_line_as_in_distribution() {
    let server = server("{formatter: json, level: debug}");
    assert_eq!(server.ask("GET /v2/ HTTP/1.1\r\n").status, 200);
    assert_eq!(server.ask("GET /v2/a/tags/list HTTP/1.1\r\n").status, 404);
    for (message, uri, status) in [
        ("\"response completed\"", "/v2/", 200),
        ("\"response completed with error\"", "/v2/a/tags/list", 404),
    ] {
        let line = server.log().wait(message);
        let line: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(
            (&line["http.request.uri"], &line["http.response.status"]),
            (&uri.into(), &status.into())
        );
        assert!(line["http.response.written"].as_u64().unwrap() > 0, "{line}");
        assert!(
            line["http.response.duration"].as_str().unwrap().ends_with('s'),
            "{line}"
        );
    }
}

#[test]
fn lines_name_their_place_when_they_are_asked_to() {
    let server_with_caller = server("{formatter: json, reportcaller: true}");
    let line = server_with_caller.log().wait("listening on ");
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(line["func"], "registry_server::cli::serve");
    assert!(line["file"].as_str().unwrap().contains("serve.rs:"), "{line}");
    let silent = server("{formatter: json}");
    let line = silent.log().wait("listening on ");
    assert!(
        !line.contains("serve.rs") && !line.contains("registry_server"),
        "{line}"
    );
}

#[test]
fn an_error_is_mailed_to_everybody_named() {
    let smtp = Smtp::start("", "", "");
    let server = server(&hook(smtp.port, ""));
    fail(&server);
    let mail = smtp.mail();
    assert_eq!(
        (&mail["from"], &mail["to"], &mail["tls"], &mail["user"]),
        (
            &"registry@example.com".into(),
            &serde_json::json!(["ann@example.com", "bob@example.com"]),
            &false.into(),
            &serde_json::Value::Null,
        )
    );
    assert_eq!(
        mail["subject"],
        "[error] 127.0.0.1: a request could not be answered now"
    );
    let body = mail["body"].as_str().unwrap();
    assert!(
        body.starts_with("a request could not be answered now\n\n"),
        "{body}"
    );
    for line in [
        "http.request.uri: /v2/a/tags/list?_state=&n=7\n",
        "http.request.method: GET\n",
    ] {
        assert!(body.contains(line), "{line:?} in {body}");
    }
}

#[test]
fn a_password_goes_to_a_server_whose_certificate_is_believed_and_to_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let path = |name| folder.path().join(name).display().to_string();
    std::fs::write(path("tls.crt"), params.self_signed(&key).unwrap().pem()).unwrap();
    std::fs::write(path("tls.key"), key.serialize_pem()).unwrap();
    let smtp = Smtp::start("ann", &path("tls.crt"), &path("tls.key"));

    let login = format!(", username: ann, password: {PASSWORD}");
    let careful = server(&hook(smtp.port, &login));
    fail(&careful);
    let line = careful.log().wait("log lines could not be sent by mail");
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(
        (&line["failed"], &line["dropped"]),
        (&1.into(), &0.into()),
        "{line}"
    );
    assert!(line["error"].as_str().unwrap().contains("ertificate"), "{line}");
    assert!(!careful.log().all().contains(PASSWORD));

    let trusting = server(&hook(smtp.port, &format!("{login}, insecure: true")));
    fail(&trusting);
    let mail = smtp.mail();
    assert_eq!(
        (&mail["tls"], &mail["user"]),
        (&true.into(), &"ann".into()),
        "{mail}"
    );
}

#[test]
fn a_dead_mail_server_costs_nothing_but_the_mails() {
    // This mail server accepts connections and never answers.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let mut server = server(&hook(port, ""));
    // More than the queue holds.
    for _ in 0..150 {
        fail(&server);
    }
    drop(silent);
    let line = server.log().wait("log lines could not be sent by mail");
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(line["level"], "warning");
    assert!(line["dropped"].as_u64().unwrap() >= 1, "{line}");
    server.signal(rustix::process::Signal::TERM);
    assert_eq!(server.wait(), (Some(0), None));
}

#[test]
fn a_hook_that_lacks_something_is_told_and_its_password_is_masked() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.yml");
    let text = format!(
        "version: 0.1\nstorage: inmemory\nlog: {{hooks: [{{type: mail, levels: [panic], options: \
         {{smtp: {{addr: \"mail.example.com:25\", password: {PASSWORD}}}, from: a@example.com}}}}, \
         {{type: mail, disabled: true, levels: [panic]}}, {{type: mail}}]}}\n\
         health: {{http: [{{uri: \"http://localhost/\", headers: {{Authorization: [Bearer {PASSWORD}]}}}}]}}\n"
    );
    std::fs::write(&path, text).unwrap();
    let (code, stdout, stderr) = run(command(env!("CARGO_BIN_EXE_registry-server"))
        .args(["config", "check"])
        .arg(&path));
    let expected = format!(
        "warning: {}: `log.hooks[0]` does nothing: `options.to` is not set\n",
        path.display()
    );
    assert_eq!((code, stderr), (0, expected));
    assert!(!stdout.contains(PASSWORD), "{stdout}");
    assert_eq!(stdout.matches("<masked>").count(), 2, "{stdout}");
}

#[test]
fn a_reader_that_stalls_holds_up_no_request() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.yml");
    let data = folder.path().join("data");
    let text = format!(
        "version: 0.1\nlog: {{formatter: json}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\n{HTTP}",
        data.display()
    );
    std::fs::write(&path, text).unwrap();
    let child = command(env!("CARGO_BIN_EXE_registry-server"))
        .arg("serve")
        .arg(&path)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut child = Running(child);
    let log = Lines::follow(child.0.stderr.take().unwrap());
    let line: serde_json::Value = serde_json::from_str(&log.wait("listening on ")).unwrap();
    let address = line["address"].as_str().unwrap().to_owned();
    // Nobody reads standard output meanwhile. A line has only a part of its long target, and all lines together are still
    // twice as much as may wait in the program, and more than a pipe holds.
    let request = format!("GET /v2/?{} HTTP/1.1\r\n", "x".repeat(32 << 10));
    for _ in 0..1024 {
        assert_eq!(ask(&address, &request).status, 200);
    }
    let access = Lines::follow(child.0.stdout.take().unwrap());
    let line: serde_json::Value =
        serde_json::from_str(&log.wait("lines were left out, because nobody read them in time")).unwrap();
    assert_eq!(line["stream"], "standard output");
    let left_out = line["lines"].as_u64().unwrap();
    assert!(left_out > 0);
    // The other lines arrive, and later lines too.
    assert_eq!(ask(&address, "GET /v2/?last HTTP/1.1\r\n").status, 200);
    access.wait("GET /v2/?last");
    assert!(access.all().lines().count() as u64 <= 1025 - left_out);
}

#[test]
fn a_client_that_leaves_before_it_is_answered_leaves_a_line() {
    let server = Server::start(HTTP);
    let answer = server.ask("POST /v2/a/blobs/uploads/ HTTP/1.1\r\nContent-Length: 0\r\n");
    let path = answer.location();
    let mut stream = connect(&server.address);
    let head = format!("PATCH {path} HTTP/1.1\r\nHost: registry.test\r\nContent-Length: 100000\r\n\r\nsome");
    stream.write_all(head.as_bytes()).unwrap();
    drop(stream);
    let line = server.access().wait("PATCH /v2/a/blobs/uploads/");
    assert!(line.contains(" HTTP/1.1\" 499 "), "{line}");
}

#[tokio::test]
async fn a_stream_that_is_reset_before_it_is_answered_leaves_a_line() {
    use http_body_util::StreamBody;
    use hyper_util::rt::{TokioExecutor, TokioIo};

    let server = Server::start(
        "http: {addr: \"127.0.0.1:0\", h2c: {enabled: true}, debug: {addr: \"127.0.0.1:0\", prometheus: {enabled: true}}}\n",
    );
    let stream = tokio::net::TcpStream::connect(&server.address).await.unwrap();
    let (mut client, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    tokio::spawn(connection);
    // A body that never comes. When the test cuts it, the client resets the stream.
    let (cut, cutting) = tokio::sync::oneshot::channel::<()>();
    let body = StreamBody::new(futures_util::stream::once(Box::pin(async {
        let _ = cutting.await;
        Err::<hyper::body::Frame<bytes::Bytes>, _>(std::io::Error::other("cut"))
    })));
    let request = http::Request::put("http://registry.test/v2/a/manifests/latest")
        .header("content-type", "application/json")
        .body(body)
        .unwrap();
    let answer = tokio::spawn(client.send_request(request));
    let deadline = std::time::Instant::now() + PATIENCE;
    let running = "registry_http_in_flight_requests{handler=\"manifest\"} 1\n";
    while !server.probe("/metrics").body.contains(running) {
        assert!(
            std::time::Instant::now() < deadline,
            "{}",
            server.probe("/metrics").body
        );
        tokio::task::yield_now().await;
    }
    cut.send(()).unwrap();
    answer.await.unwrap().unwrap_err();
    let line = server.access().wait("PUT /v2/a/manifests/latest");
    assert!(line.contains(" HTTP/2.0\" 499 "), "{line}");
}

#[test]
fn the_start_is_told_in_distributions_words_which_tests_of_other_programs_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.yml");
    for (address, probes, expected) in [
        (
            "127.0.0.1:0",
            "127.0.0.1:0",
            r#" level=info msg="listening on 127\.0\.0\.1:[0-9]+" "#,
        ),
        (":0", "", r#" level=info msg="listening on \[::\]:[0-9]+" "#),
    ] {
        // The form of the configuration in BuildKit's tests.
        let data = folder.path().join("data");
        let text = format!(
            "version: 0.1\nloglevel: debug\nstorage:\n    filesystem:\n        rootdirectory: {}\nhttp:\n    addr: {address}\n    \
             debug: {{addr: '{probes}'}}\n",
            data.display()
        );
        std::fs::write(&path, text).unwrap();
        let child = command(crate::program::binary(folder.path(), "registry"))
            .arg("serve")
            .arg(&path)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut child = Running(child);
        let log = Lines::follow(child.0.stderr.take().unwrap());
        let line = log.wait("msg=\"listening on ");
        let pattern = regex::Regex::new(&format!("^time=\"[^\"]+\"{expected}")).unwrap();
        assert!(pattern.is_match(&line), "{line}");
        if !probes.is_empty() {
            log.wait("level=info msg=\"debug server listening 127.0.0.1:0\"");
        }
    }
}

#[test]
fn what_a_client_sends_is_4_kib_of_a_line_and_never_the_state_of_an_upload() {
    let server = Server::start(HTTP);
    server.break_store();
    let long = "x".repeat(20_000);
    let request = format!(
        "GET /v2/a/tags/list?%5Fstate=s3cret&n={long} HTTP/1.1\r\nUser-Agent: {long}\r\nReferer: http://a/?_State=s3cret&{long}\r\n\
         Content-Type: {long}\r\n"
    );
    server.ask(&request);
    server.ask(&request.replace(&format!("&n={long}"), ""));
    let access = server.access().wait("GET /v2/a/tags/list");
    assert!(access.len() < 4096 + 200, "{} bytes", access.len());
    let line = server.log().wait("http.request.uri");
    // The limit here includes the names of the fields.
    assert!(line.len() < 4096 + 600, "{} bytes: {line}", line.len());
    for log in [server.log().all(), server.access().all()] {
        assert!(!log.contains("s3cret"), "{log}");
    }
}
