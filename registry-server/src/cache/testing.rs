//! A real Redis for tests: Debian's `redis-server`; a missing one is a failure.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use registry_config::Secret;
use tempfile::TempDir;

use super::{Backend, Cache, Servers, Settings};

/// The deadline of waits in tests. Far more than they need on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A server that ends with its test, however that ends.
pub(crate) struct RedisServer {
    pub(crate) folder: TempDir,
    arguments: Vec<String>,
    child: Child,
}

impl RedisServer {
    /// One that answers on a socket in a folder of its own, with these arguments too, and keeps nothing.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        Self::start_with("", arguments)
    }

    /// The same with a configuration file, which a sentinel must have and writes to.
    pub(crate) fn start_with(rules: &str, arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("redis.conf"), rules).unwrap();
        let arguments: Vec<String> = arguments.iter().map(|text| (*text).to_owned()).collect();
        let child = spawn(folder.path(), &arguments);
        let server = Self {
            folder,
            arguments,
            child,
        };
        server.answers();
        server
    }

    /// The path of its socket.
    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("redis.sock")
    }

    /// The output of a command.
    pub(crate) fn ask(&self, words: &[&str]) -> String {
        let asked = Command::new("redis-cli")
            .arg("-s")
            .arg(self.socket())
            .args(words)
            .output()
            .expect("the client of Debian's package `redis-tools` starts");
        String::from_utf8(asked.stdout).unwrap().trim_end().to_owned()
    }

    fn answers(&self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            // Also when it wants a password first.
            let said = self.ask(&["PING"]);
            if said == "PONG" || said.contains("NOAUTH") {
                return;
            }
            assert!(Instant::now() < deadline, "last said: {said:?}");
            std::thread::yield_now();
        }
    }

    /// Ends it, as a machine that goes down.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again, empty.
    pub(crate) fn restart(&mut self) {
        self.child = spawn(self.folder.path(), &self.arguments);
        self.answers();
    }

    /// Lets it hang: connections are taken, and nothing is answered.
    pub(crate) fn stop(&self) {
        self.signal(rustix::process::Signal::STOP);
    }

    /// Lets it go on.
    pub(crate) fn resume(&self) {
        self.signal(rustix::process::Signal::CONT);
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let process = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(process, signal).unwrap();
    }

    /// How it is reached by its socket.
    pub(crate) fn settings(&self) -> Settings {
        settings(Servers::One(self.socket().display().to_string()))
    }

    /// A cache in it that is connected.
    pub(crate) async fn cache(&self) -> Cache {
        connected(self.settings()).await
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(folder: &Path, arguments: &[String]) -> Child {
    let log = fs::File::create(folder.join("log")).unwrap();
    Command::new("redis-server")
        .arg(folder.join("redis.conf"))
        .args(["--port", "0", "--save", "", "--unixsocket"])
        .arg(folder.join("redis.sock"))
        .args(["--dir"])
        .arg(folder)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(log)
        .spawn()
        .expect("the server of Debian's package `redis-server` starts")
}

/// The default settings with longer timeouts, for a busy machine.
pub(crate) fn settings(servers: Servers) -> Settings {
    Settings {
        servers,
        database: 0,
        username: None,
        password: None,
        resp3: false,
        client_name: None,
        identity: true,
        identity_suffix: None,
        tls: None,
        dial: Duration::from_secs(10),
        patience: Duration::from_secs(10),
    }
}

/// A cache that is connected.
pub(crate) async fn connected(settings: Settings) -> Cache {
    let cache = Cache::in_redis(settings).unwrap();
    up(&cache).await;
    cache
}

/// Waits until a cache is connected.
pub(crate) async fn up(cache: &Cache) {
    match &cache.backend {
        Backend::Redis(redis) => tokio::time::timeout(PATIENCE, redis.up())
            .await
            .expect("there is a connection in time"),
        Backend::Memory(_) => {}
    }
}

/// A port that is free at the moment. Another program may take it before the caller does.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

/// A password.
pub(crate) fn secret(text: &str) -> Option<Secret> {
    Some(Secret::new(text))
}
