//! Starts the binary as a process, sends it HTTP requests, and ends it. A test that fails leaves no process behind.
//!
//! The client here is our own, because tests send what no library would, and read heads byte for byte.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// The time after which a test gives up waiting. Even a busy machine needs far less.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// The binary under another name, like the links of the image.
pub(crate) fn binary(folder: &Path, name: &str) -> PathBuf {
    let link = folder.join(name);
    if !link.exists() {
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_registry-server"), &link).unwrap();
    }
    link
}

/// A command without the environment of this process.
pub(crate) fn command(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    command
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("RUST_BACKTRACE", "1");
    command
}

/// Runs a command to its end. Gives the exit code, standard output and standard error.
#[track_caller]
pub(crate) fn run(command: &mut Command) -> (i32, String, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = command.stdin(Stdio::null()).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap_or(-1), text(stdout), text(stderr))
}

/// A process that is killed at the end of its test, even if the test fails.
pub(crate) struct Running(pub(crate) Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A running server. Dropping it kills the process, and prints its log if the test fails.
pub(crate) struct Server {
    pub(crate) child: Child,
    pub(crate) folder: TempDir,
    log: Arc<Lines>,
    access: Arc<Lines>,
    /// `127.0.0.1:port` or a path.
    pub(crate) address: String,
    /// The address of the probes, or an empty text.
    pub(crate) probes: String,
}

/// The lines of a stream so far.
#[derive(Default)]
pub(crate) struct Lines {
    lines: Mutex<Vec<String>>,
    more: Condvar,
}

impl Lines {
    pub(crate) fn follow(stream: impl Read + Send + 'static) -> Arc<Self> {
        let lines = Arc::new(Self::default());
        let writer = Arc::clone(&lines);
        std::thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                writer.lines.lock().unwrap().push(line);
                writer.more.notify_all();
            }
        });
        lines
    }

    /// Waits for a line that contains the text.
    #[track_caller]
    pub(crate) fn wait(&self, text: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        let mut lines = self.lines.lock().unwrap();
        loop {
            if let Some(line) = lines.iter().find(|line| line.contains(text)) {
                return line.clone();
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "no line with {text:?} in:\n{}", lines.join("\n"));
            lines = self.more.wait_timeout(lines, left).unwrap().0;
        }
    }

    pub(crate) fn all(&self) -> String {
        // A failed `wait` poisons the lock, and its lines are wanted all the same.
        self.lines
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .join("\n")
    }
}

/// The beginning of every configuration. In all of them `%` stands for the folder of the server.
const BASE: &str = "version: 0.1
log: {formatter: json}
";
/// The storage of most tests.
const STORAGE: &str = "storage: {filesystem: {rootdirectory: \"%/data\"}}\n";
/// The section `http` of most tests: the system chooses the ports.
pub(crate) const HTTP: &str =
    "http: {addr: \"127.0.0.1:0\", debug: {addr: \"127.0.0.1:0\"}, secret: s3cret}\n";

impl Server {
    /// Starts a server and waits until it listens.
    #[track_caller]
    pub(crate) fn start(configuration: &str) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), configuration)
    }

    /// The same, in a folder that may hold the store of an earlier server.
    #[track_caller]
    pub(crate) fn start_in(folder: TempDir, configuration: &str) -> Self {
        Self::start_in_whole(folder, &format!("{STORAGE}{configuration}"))
    }

    /// The same, with a configuration that has a section `storage`.
    #[track_caller]
    pub(crate) fn start_in_whole(folder: TempDir, configuration: &str) -> Self {
        let path = folder.path().join("config.yml");
        let text = format!("{BASE}{configuration}").replace('%', folder.path().to_str().unwrap());
        std::fs::write(&path, text).unwrap();
        let mut command = command(env!("CARGO_BIN_EXE_registry-server"));
        command.arg("serve").arg(&path);
        Self::spawn(folder, command)
    }

    #[track_caller]
    pub(crate) fn spawn(folder: TempDir, mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = Lines::follow(child.stderr.take().unwrap());
        let access = Lines::follow(child.stdout.take().unwrap());
        let mut server = Self {
            child,
            folder,
            log,
            access,
            address: String::new(),
            probes: String::new(),
        };
        let line = server.log.wait("listening on ");
        let line: serde_json::Value =
            serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
        let field = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
        server.address = field("address");
        server.probes = field("probes");
        server
    }

    /// Makes the store unreadable: its folder becomes a link to itself. The old folder is kept in `away`.
    pub(crate) fn break_store(&self) {
        let (docker, away) = (
            self.folder.path().join("data/docker"),
            self.folder.path().join("away"),
        );
        std::fs::create_dir_all(&away).unwrap();
        for attempt in 0.. {
            // The server may create the folder again at this moment, for its heartbeat.
            if docker.exists() {
                std::fs::rename(&docker, away.join(attempt.to_string())).unwrap();
            }
            match std::os::unix::fs::symlink("docker", &docker) {
                Ok(()) => return,
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => panic!("{}: {error}", docker.display()),
            }
        }
    }

    /// Replaces the broken store by an empty one.
    pub(crate) fn mend_store(&self) {
        std::fs::remove_file(self.folder.path().join("data/docker")).unwrap();
    }

    pub(crate) fn log(&self) -> &Lines {
        &self.log
    }

    pub(crate) fn access(&self) -> &Lines {
        &self.access
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_raw(self.child.id() as i32).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Kills the server at once. Gives its folder, for the next server.
    pub(crate) fn kill(mut self) -> TempDir {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        std::mem::replace(&mut self.folder, tempfile::tempdir().unwrap())
    }

    /// Waits for the end. Gives the exit code and the signal that ended the process.
    #[track_caller]
    pub(crate) fn wait(&mut self) -> (Option<i32>, Option<i32>) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return (status.code(), status.signal());
            }
            assert!(
                Instant::now() < deadline,
                "still running; its log:\n{}",
                self.log.all()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Sends a request without a body on a connection of its own. `head` is the request line and the header lines.
    #[track_caller]
    pub(crate) fn ask(&self, head: &str) -> Answer {
        ask(&self.address, head)
    }

    /// Sends a request with a body on a connection of its own. Each line of `headers` ends with `\r\n`.
    #[track_caller]
    pub(crate) fn request(&self, method: &str, path: &str, headers: &str, body: &[u8]) -> Answer {
        request(&self.address, method, path, headers, body)
    }

    /// Asks a probe.
    #[track_caller]
    pub(crate) fn probe(&self, path: &str) -> Answer {
        ask(&self.probes, &format!("GET {path} HTTP/1.1\r\n"))
    }

    /// Asks a probe until it has the status.
    #[track_caller]
    pub(crate) fn wait_probe(&self, path: &str, status: u16) -> Answer {
        until(path, status, || self.probe(path))
    }

    /// Asks the main address until it has the status.
    #[track_caller]
    pub(crate) fn wait_answer(&self, path: &str, status: u16) -> Answer {
        until(path, status, || self.ask(&format!("GET {path} HTTP/1.1\r\n")))
    }
}

#[track_caller]
fn until(path: &str, status: u16, ask: impl Fn() -> Answer) -> Answer {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = ask();
        if answer.status == status {
            return answer;
        }
        assert!(
            Instant::now() < deadline,
            "expected {status} of {path}, last: {answer:?}"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Already gone in most tests.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!(
                "--- log of the server:\n{}\n--- access log:\n{}",
                self.log.all(),
                self.access.all()
            );
        }
    }
}

/// A response, split into its parts.
#[derive(Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    /// The body as text, with replacement characters for other bytes.
    pub(crate) body: String,
    /// The body.
    pub(crate) bytes: Vec<u8>,
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let beginning: String = self.body.chars().take(2000).collect();
        write!(f, "{}\n\n{beginning}", self.head)
    }
}

impl Answer {
    /// Checks the status.
    #[track_caller]
    pub(crate) fn is(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{self:?}");
        self
    }

    /// Path and query of the header `Location`: the next server has another port.
    #[track_caller]
    pub(crate) fn location(&self) -> String {
        let location = self.header("location").unwrap_or_else(|| panic!("{self:?}"));
        location[location.find("/v2/").unwrap()..].to_owned()
    }

    /// The value of a header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    #[track_caller]
    pub(crate) fn read(mut stream: impl Read) -> Self {
        let mut bytes = Vec::new();
        // A TLS stream may end without a notice. Everything before its end counts.
        let _ = stream.read_to_end(&mut bytes);
        let end = bytes
            .windows(4)
            .position(|window| window == b"\r\n\r\n")
            .unwrap_or_else(|| panic!("no whole answer: {:?}", String::from_utf8_lossy(&bytes)));
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let bytes = bytes.split_off(end + 4);
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok())
            .unwrap();
        Self {
            status,
            body: String::from_utf8_lossy(&bytes).into_owned(),
            head,
            bytes,
        }
    }
}

/// Sends a request without a body, and reads the response until the end of the connection.
#[track_caller]
pub(crate) fn ask(address: &str, head: &str) -> Answer {
    let stream = connect(address);
    send(&stream, head);
    Answer::read(stream)
}

/// Sends a request with a body, and reads the response until the end of the connection.
#[track_caller]
pub(crate) fn request(address: &str, method: &str, path: &str, headers: &str, body: &[u8]) -> Answer {
    let mut stream = connect(address);
    let length = body.len();
    send(
        &stream,
        &format!("{method} {path} HTTP/1.1\r\nContent-Length: {length}\r\n{headers}"),
    );
    stream.write_all(body).unwrap();
    Answer::read(stream)
}

#[track_caller]
pub(crate) fn connect(address: &str) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap_or_else(|error| panic!("{address}: {error}"));
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Sends a head, with the headers `Host` and `Connection: close` added.
pub(crate) fn send(mut stream: impl Write, head: &str) {
    let text = format!("{head}Host: registry.test\r\nConnection: close\r\n\r\n");
    stream.write_all(text.as_bytes()).unwrap();
}
