//! Starts the binary, talks to it and ends it. A test that fails leaves no process behind.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// How long anything may take before a test gives up. Far more than it needs on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The binary under another name, as the image's links call it.
pub(crate) fn binary(folder: &Path, name: &str) -> PathBuf {
    let link = folder.join(name);
    if !link.exists() {
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_registry-server"), &link).unwrap();
    }
    link
}

/// A command of the binary without this process's own variables.
pub(crate) fn command(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    command
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("RUST_BACKTRACE", "1");
    command
}

/// Runs it to its end: exit code, standard output, standard error.
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

/// A process that ends with its test, however that ends.
pub(crate) struct Running(pub(crate) Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A running server.
pub(crate) struct Server {
    pub(crate) child: Child,
    pub(crate) folder: TempDir,
    log: Arc<Lines>,
    access: Arc<Lines>,
    /// `127.0.0.1:port` or a path.
    pub(crate) address: String,
    /// The probes' address, if any.
    pub(crate) probes: String,
}

/// Lines of a stream, as they come.
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

    /// Waits for a line that holds the text.
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
        // Also after a failed `wait`, to show what there was.
        self.lines
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .join("\n")
    }
}

/// A configuration on ports of the system's choice; `%` stands for the server's folder.
const BASE: &str = "version: 0.1
log: {formatter: json}
";
/// The storage of most tests.
const STORAGE: &str = "storage: {filesystem: {rootdirectory: \"%/data\"}}\n";
/// What most tests put behind it.
pub(crate) const HTTP: &str =
    "http: {addr: \"127.0.0.1:0\", debug: {addr: \"127.0.0.1:0\"}, secret: s3cret}\n";

impl Server {
    /// Starts a server and waits until it listens.
    #[track_caller]
    pub(crate) fn start(configuration: &str) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), configuration)
    }

    #[track_caller]
    pub(crate) fn start_in(folder: TempDir, configuration: &str) -> Self {
        Self::start_in_whole(folder, &format!("{STORAGE}{configuration}"))
    }

    /// With a configuration that says where its storage is.
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

    /// Makes the store one that cannot be read: its folder becomes a link to itself. What was there stays beside it.
    pub(crate) fn break_store(&self) {
        let (docker, away) = (
            self.folder.path().join("data/docker"),
            self.folder.path().join("away"),
        );
        std::fs::create_dir_all(&away).unwrap();
        for attempt in 0.. {
            // The server may be making the folder anew at this moment, for a sign that it is alive.
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

    /// An empty store in place of the broken one.
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

    /// Waits for the end; gives the exit code and what ended it.
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

    /// One request on a connection of its own.
    #[track_caller]
    pub(crate) fn ask(&self, request: &str) -> Answer {
        ask(&self.address, request)
    }

    /// What a probe says.
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

/// An answer, taken apart.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    /// A header's value.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    #[track_caller]
    pub(crate) fn read(mut stream: impl Read) -> Self {
        let mut text = Vec::new();
        // A TLS stream may end without a notice; what came before counts.
        let _ = stream.read_to_end(&mut text);
        let text = String::from_utf8_lossy(&text);
        let (head, body) = text
            .split_once("\r\n\r\n")
            .unwrap_or_else(|| panic!("no whole answer: {text:?}"));
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok())
            .unwrap();
        Self {
            status,
            head: head.to_owned(),
            body: body.to_owned(),
        }
    }
}

/// Sends a request's lines (and what follows them) and reads until the end of the connection.
#[track_caller]
pub(crate) fn ask(address: &str, request: &str) -> Answer {
    let stream = connect(address);
    send(&stream, request);
    Answer::read(stream)
}

#[track_caller]
pub(crate) fn connect(address: &str) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap_or_else(|error| panic!("{address}: {error}"));
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Writes a head; `Host` and `Connection: close` are added.
pub(crate) fn send(mut stream: impl Write, head: &str) {
    let text = format!("{head}Host: registry.test\r\nConnection: close\r\n\r\n");
    stream.write_all(text.as_bytes()).unwrap();
}
