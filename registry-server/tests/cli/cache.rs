//! The cache of links in Redis, with the real binary, and together with a real registry:2.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::program::{Lines, PATIENCE, Running, Server, ask, command, request};

/// A running Redis from Debian's package. A missing package is a failure.
struct Redis {
    process: Running,
    port: u16,
    folder: TempDir,
}

impl Redis {
    fn start() -> Self {
        loop {
            let port = TcpListener::bind("127.0.0.1:0")
                .unwrap()
                .local_addr()
                .unwrap()
                .port();
            let folder = TempDir::new().unwrap();
            let process = spawn(port, folder.path());
            let mut redis = Self {
                process,
                port,
                folder,
            };
            // Fails if another process took the port meanwhile.
            if redis.answers() {
                return redis;
            }
        }
    }

    fn answers(&mut self) -> bool {
        let deadline = Instant::now() + PATIENCE;
        while self.process.0.try_wait().unwrap().is_none() {
            if self.ask(&["PING"]) == "PONG" {
                return true;
            }
            assert!(Instant::now() < deadline, "Redis does not answer");
        }
        false
    }

    fn ask(&self, words: &[&str]) -> String {
        let port = self.port.to_string();
        let asked = Command::new("redis-cli")
            .args(["-p", &port, "-a", PASSWORD, "--no-auth-warning"])
            .args(words)
            .output()
            .expect("the client of Debian's package `redis-tools` starts");
        String::from_utf8(asked.stdout).unwrap().trim_end().to_owned()
    }

    fn kill(&mut self) {
        self.process.0.kill().unwrap();
        self.process.0.wait().unwrap();
    }

    fn restart(&mut self) {
        self.process = spawn(self.port, self.folder.path());
        assert!(self.answers(), "its port is taken");
    }
}

const PASSWORD: &str = "hunter2";

fn spawn(port: u16, folder: &Path) -> Running {
    let child = Command::new("redis-server")
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""])
        .args(["--requirepass", PASSWORD, "--dir"])
        .arg(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .expect("the server of Debian's package `redis-server` starts");
    Running(child)
}

/// A configuration that Berth and registry:2 both read.
fn configuration(shared: &Path, redis: &Redis, http: &str) -> String {
    format!(
        "storage: {{filesystem: {{rootdirectory: {}}}, delete: {{enabled: true}}, cache: {{blobdescriptor: redis}}}}\n\
         redis: {{addr: \"127.0.0.1:{}\", password: {PASSWORD}}}\nhttp: {http}\n",
        shared.display(),
        redis.port
    )
}

fn ours(shared: &Path, redis: &Redis) -> Server {
    let http = "{addr: \"127.0.0.1:0\", secret: s3cret, debug: {addr: \"127.0.0.1:0\", prometheus: {enabled: true}}}";
    let server = Server::start_in_whole(TempDir::new().unwrap(), &configuration(shared, redis, http));
    server.log().wait("Redis answers");
    server
}

fn digest(content: &str) -> String {
    use registry_oci::Digest;
    Digest::sha256(content.as_bytes()).to_string()
}

#[track_caller]
fn push(address: &str, content: &str) {
    let started = request(address, "POST", "/v2/a/blobs/uploads/", "", b"");
    let path = format!("{}&digest={}", started.location(), digest(content));
    request(address, "PUT", &path, "", content.as_bytes()).is(201);
}

#[track_caller]
fn check(address: &str, method: &str, content: &str, status: u16) {
    let answer = ask(
        address,
        &format!("{method} /v2/a/blobs/{} HTTP/1.1\r\n", digest(content)),
    );
    assert_eq!(
        answer.status, status,
        "{method} {content} of {address}: {answer:?}"
    );
}

/// The file of the link to a blob.
fn link(shared: &TempDir, content: &str) -> std::path::PathBuf {
    let digest = digest(content);
    let (_, hex) = digest.split_once(':').unwrap();
    let layers = shared
        .path()
        .join("docker/registry/v2/repositories/a/_layers/sha256");
    layers.join(hex).join("link")
}

/// The value of a counter in the metrics of a server.
#[track_caller]
fn counter(server: &Server, name: &str) -> u64 {
    let body = server.probe("/metrics").body;
    let line = body.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap_or_else(|| panic!("no {name} in {body}"))
        .trim()
        .parse()
        .unwrap()
}

#[test]
fn beside_registry_2_on_one_redis_each_hears_of_the_others_deletions_at_once() {
    let (redis, shared) = (Redis::start(), TempDir::new().unwrap());
    let folder = TempDir::new().unwrap();
    // registry:2 cannot report a port that the system chose, so the test chooses one.
    let theirs = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .to_string();
    let path = folder.path().join("config.yml");
    let text = configuration(
        shared.path(),
        &redis,
        &format!("{{addr: \"{theirs}\", secret: s3cret}}"),
    );
    std::fs::write(&path, format!("version: 0.1\n{text}")).unwrap();
    let mut peer = Running(
        command("/usr/bin/docker-registry")
            .arg("serve")
            .arg(&path)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("Debian's docker-registry is installed"),
    );
    Lines::follow(peer.0.stderr.take().unwrap()).wait("msg=\"listening on");
    let server = ours(shared.path(), &redis);
    let hits = || counter(&server, "registry_storage_cache_hits_total");

    // A blob of registry:2 is looked up in the store once, and comes from the cache after that.
    push(&theirs, "pushed there");
    check(&theirs, "GET", "pushed there", 200);
    for expected in [0, 1, 2] {
        check(&server.address, "GET", "pushed there", 200);
        assert_eq!(hits(), expected);
    }
    check(&server.address, "DELETE", "pushed there", 202);
    check(&theirs, "GET", "pushed there", 404);
    check(&server.address, "GET", "pushed there", 404);
    assert_eq!(hits(), 2);

    // registry:2 trusts the cache entry of our server.
    push(&server.address, "pushed here");
    check(&server.address, "GET", "pushed here", 200);
    let set = "repository::a::blobs";
    assert_eq!(redis.ask(&["SMEMBERS", set]), digest("pushed here"));
    std::fs::rename(link(&shared, "pushed here"), shared.path().join("away")).unwrap();
    check(&theirs, "GET", "pushed here", 200);
    std::fs::rename(shared.path().join("away"), link(&shared, "pushed here")).unwrap();
    check(&server.address, "GET", "pushed here", 200);
    assert_eq!(hits(), 3);
    check(&theirs, "DELETE", "pushed here", 202);
    check(&server.address, "GET", "pushed here", 404);
    assert_eq!(counter(&server, "registry_storage_cache_errors_total"), 0);
}

#[test]
fn a_redis_that_dies_is_one_line_and_so_is_its_return_and_its_password_is_in_none() {
    let (mut redis, shared) = (Redis::start(), TempDir::new().unwrap());
    let server = ours(shared.path(), &redis);
    push(&server.address, "content");
    check(&server.address, "GET", "content", 200);
    redis.kill();
    for _ in 0..20 {
        check(&server.address, "GET", "content", 200);
        check(&server.address, "HEAD", "content", 200);
    }
    push(&server.address, "more");
    let answer = ask(
        &server.address,
        &format!("DELETE /v2/a/blobs/{} HTTP/1.1\r\n", digest("content")),
    );
    assert_eq!(
        (answer.status, answer.header("retry-after")),
        (503, Some("5")),
        "{answer:?}"
    );
    assert_eq!(server.probe("/readyz").status, 200);
    server.log().wait("Redis is away");
    redis.restart();
    let deadline = Instant::now() + PATIENCE;
    let returns = || server.log().all().matches("Redis answers").count();
    while returns() < 2 {
        assert!(Instant::now() < deadline, "it does not come back");
        std::thread::sleep(Duration::from_millis(20));
    }
    check(&server.address, "DELETE", "content", 202);
    check(&server.address, "GET", "content", 404);
    let log = server.log().all();
    assert_eq!(log.matches("Redis is away").count(), 1, "{log}");
    assert_eq!(returns(), 2, "{log}");
    assert!(!log.contains(PASSWORD), "{log}");
}

#[test]
fn a_redis_that_was_never_there_and_a_file_that_is_missing_are_told_apart() {
    let shared = TempDir::new().unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = port.local_addr().unwrap();
    drop(port);
    let with = |more: &str| {
        format!(
            "storage: {{filesystem: {{rootdirectory: {}}}, cache: {{blobdescriptor: redis}}}}\n\
             redis: {{addrs: [\"{address}\"], {more}}}\nhttp: {{addr: \"127.0.0.1:0\"}}\n",
            shared.path().display()
        )
    };
    let server = Server::start_in_whole(TempDir::new().unwrap(), &with(""));
    server.log().wait(&format!("Redis at {address}"));
    push(&server.address, "content");
    check(&server.address, "GET", "content", 200);

    let folder = TempDir::new().unwrap();
    let path = folder.path().join("config.yml");
    let text = format!("version: 0.1\n{}", with("tls: {rootcas: [/nowhere/ca.crt]}"));
    std::fs::write(&path, text).unwrap();
    let mut serve = command(env!("CARGO_BIN_EXE_registry-server"));
    let (code, _, stderr) = crate::program::run(serve.arg("serve").arg(&path));
    assert_eq!(code, 2, "{stderr}");
    assert!(
        stderr.contains("cannot read `/nowhere/ca.crt` of `redis.tls`"),
        "{stderr}"
    );
}
