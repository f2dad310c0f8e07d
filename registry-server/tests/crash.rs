//! Kills the real server with SIGKILL in the middle of a push and looks at what its successor finds. What was
//! acknowledged must be there, and an upload must go on from what its status reports.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use registry_oci::Digest;

/// How long anything may take before a test gives up.
const PATIENCE: Duration = Duration::from_secs(120);

const SIZE: usize = 64 * 1024 * 1024;

/// A running server on a folder; killed when it is dropped.
struct Server {
    child: Child,
    address: String,
}

impl Server {
    fn start(folder: &Path) -> Self {
        let path = folder.join("config.yml");
        let text = format!(
            "version: 0.1\nlog: {{formatter: json, accesslog: {{disabled: true}}}}\n\
             storage: {{filesystem: {{rootdirectory: \"{}\"}}}}\n\
             http: {{addr: \"127.0.0.1:0\", secret: the same for every start}}\n",
            folder.join("data").display()
        );
        std::fs::write(&path, text).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_registry-server"))
            .arg("serve")
            .arg(&path)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut seen = String::new();
        let address = loop {
            let start = seen.len();
            assert_ne!(
                log.read_line(&mut seen).unwrap(),
                0,
                "the server ended before it listened:\n{seen}"
            );
            let line: serde_json::Value = serde_json::from_str(&seen[start..]).unwrap_or_default();
            if let (Some(address), Some(true)) = (
                line["address"].as_str(),
                line["message"]
                    .as_str()
                    .or(line["msg"].as_str())
                    .map(|m| m.contains("listening")),
            ) {
                break address.to_owned();
            }
        };
        // Somebody must read the log, or the server waits for room in the pipe.
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        Self { child, address }
    }

    /// Ends the process at once, whatever it is doing.
    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    fn ask(&self, method: &str, path: &str, headers: &str, body: &[u8]) -> Answer {
        let mut stream = self.connect();
        write!(stream, "{}", self.head(method, path, headers, body.len())).unwrap();
        stream.write_all(body).unwrap();
        Answer::read(stream)
    }

    fn head(&self, method: &str, path: &str, headers: &str, length: usize) -> String {
        let host = &self.address;
        format!(
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n"
        )
    }

    fn start_upload(&self) -> String {
        self.ask("POST", "/v2/team/app/blobs/uploads/", "", b"")
            .is(202)
            .location()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Already dead after `kill`; otherwise a failed test must not leave it behind.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Answer {
    head: String,
    body: Vec<u8>,
}

impl Answer {
    fn read(mut stream: TcpStream) -> Self {
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        let end = bytes
            .windows(4)
            .position(|window| window == b"\r\n\r\n")
            .expect("an answer has a head");
        Self {
            head: String::from_utf8(bytes[..end].to_vec()).unwrap(),
            body: bytes[end + 4..].to_vec(),
        }
    }

    #[track_caller]
    fn is(self, status: u16) -> Self {
        let body = String::from_utf8_lossy(&self.body[..self.body.len().min(500)]).into_owned();
        assert!(
            self.head.starts_with(&format!("HTTP/1.1 {status} ")),
            "expected {status}, got:\n{}\n{body}",
            self.head
        );
        self
    }

    fn header(&self, name: &str) -> &str {
        self.head
            .lines()
            .filter_map(|line| line.split_once(": "))
            .find(|(found, _)| found.eq_ignore_ascii_case(name))
            .map_or("", |(_, value)| value)
    }

    /// Path and query: the next server has another port.
    fn location(&self) -> String {
        let location = self.header("location");
        location[location.find("/v2/").expect("a location")..].to_owned()
    }

    /// How many bytes an upload holds.
    fn size(&self) -> usize {
        let last: usize = self.header("range").strip_prefix("0-").unwrap().parse().unwrap();
        if last == 0 { 0 } else { last + 1 }
    }
}

fn content() -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    })
    .take(SIZE / 8)
    .flatten()
    .collect()
}

/// Sends a part of a PATCH of the whole, waits until the server stored some of it, and kills the server.
fn kill_in_the_middle(server: Server, location: &str, content: &[u8], sent: usize) {
    let mut stream = server.connect();
    write!(stream, "{}", server.head("PATCH", location, "", content.len())).unwrap();
    stream.write_all(&content[..sent]).unwrap();
    let deadline = Instant::now() + PATIENCE;
    loop {
        let size = server.ask("GET", location, "", b"").is(204).size();
        if size >= sent / 2 {
            break;
        }
        assert!(
            Instant::now() < deadline,
            "of {sent} bytes sent, {size} were stored"
        );
    }
    server.kill();
}

#[test]
fn an_upload_killed_in_the_middle_goes_on_from_what_its_status_reports() {
    let content = content();
    let digest = Digest::sha256(&content);
    for sent in [3_000_000, 40_000_000] {
        let folder = tempfile::tempdir().unwrap();
        let server = Server::start(folder.path());
        let location = server.start_upload();
        kill_in_the_middle(server, &location, &content, sent);

        let server = Server::start(folder.path());
        let status = server.ask("GET", &location, "", b"").is(204);
        let size = status.size();
        assert!(
            size >= sent / 2 && size <= sent,
            "{size} of {sent} bytes survived"
        );
        // Killed again, with a saved hash state behind and one missing in front.
        let middle = (size + SIZE) / 2;
        let location = server
            .ask("PATCH", &status.location(), "", &content[size..middle])
            .is(202)
            .location();
        server.kill();

        let server = Server::start(folder.path());
        assert_eq!(server.ask("GET", &location, "", b"").is(204).size(), middle);
        let range = format!("Content-Range: {middle}-{}\r\n", SIZE - 1);
        let location = server
            .ask("PATCH", &location, &range, &content[middle..])
            .is(202)
            .location();
        let put = format!("{location}&digest={digest}");
        let answer = server.ask("PUT", &put, "", b"").is(201);
        assert_eq!(answer.header("docker-content-digest"), digest.to_string());
        let blob = server
            .ask("GET", &format!("/v2/team/app/blobs/{digest}"), "", b"")
            .is(200);
        assert_eq!(Digest::sha256(&blob.body), digest);
    }
}

#[test]
fn what_was_acknowledged_is_there_after_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let mut pushed = Vec::new();
    for round in 0..5 {
        let server = Server::start(folder.path());
        for (digest, layer) in &pushed {
            server
                .ask("GET", &format!("/v2/team/app/manifests/{digest}"), "", b"")
                .is(200);
            server
                .ask("GET", &format!("/v2/team/app/blobs/{layer}"), "", b"")
                .is(200);
        }
        let mut tags = Vec::new();
        for number in 0..4 {
            let layer = format!("layer {round} {number}").into_bytes();
            let blobs = [b"{}".to_vec(), layer.clone()].map(|bytes| {
                let digest = Digest::sha256(&bytes);
                server
                    .ask(
                        "POST",
                        &format!("/v2/team/app/blobs/uploads/?digest={digest}"),
                        "",
                        &bytes,
                    )
                    .is(201);
                digest
            });
            let kind = "application/vnd.oci.image.manifest.v1+json";
            let manifest = format!(
                r#"{{"schemaVersion":2,"mediaType":"{kind}","config":{{"mediaType":"a/b","digest":"{}","size":2}},"layers":[{{"mediaType":"a/b","digest":"{}","size":{}}}]}}"#,
                blobs[0],
                blobs[1],
                layer.len()
            );
            let path = format!("/v2/team/app/manifests/v{number}");
            server
                .ask(
                    "PUT",
                    &path,
                    &format!("Content-Type: {kind}\r\n"),
                    manifest.as_bytes(),
                )
                .is(201);
            let digest = Digest::sha256(manifest.as_bytes());
            pushed.push((digest, blobs[1]));
            tags.push((path, digest));
        }
        // Right after the last acknowledgement.
        server.kill();
        let server = Server::start(folder.path());
        for (path, digest) in tags {
            let answer = server.ask("GET", &path, "", b"").is(200);
            assert_eq!(answer.header("docker-content-digest"), digest.to_string());
        }
    }
}
