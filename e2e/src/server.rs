//! A registry server of the suite: the real binary as a process on a loopback port.
//!
//! It serves cases about one process and its folder (crashes, memory, the protocol), which would be slower and less
//! exact in a Pod. The process is killed when its [`Server`] is dropped; the folder belongs to the caller.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use reqwest::{Client, Url};
use tokio::process::{Child, Command};

use crate::ports;
use crate::protocol::Repository;

/// Time limit for a server's first answer. Generous, because the machine may be busy.
const START_LIMIT: Duration = Duration::from_secs(30);

/// Settings of the configuration file beyond the folder and the address. Each key means the same to registry:2,
/// registry:3 and ours.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// The driver's section of `storage`, for example `s3: {bucket: …}`. Without it the driver is a folder below the
    /// root.
    pub storage: Option<String>,
    /// `storage.cache.blobdescriptor: inmemory`
    pub cache: bool,
    /// `storage.delete.enabled`
    pub delete: bool,
    /// `storage.maintenance.readonly.enabled`
    pub read_only: bool,
    /// `auth.htpasswd.path`
    pub htpasswd: Option<PathBuf>,
    /// `http.relativeurls`
    pub relative_urls: bool,
    /// `http.host`
    pub host: Option<String>,
    /// `http.prefix`
    pub prefix: Option<String>,
    /// `http.headers`
    pub headers: Vec<(String, String)>,
}

impl Settings {
    fn file(&self, data: &Path, address: SocketAddr) -> String {
        let folder = || format!("filesystem: {{rootdirectory: {}}}", data.display());
        let driver = self.storage.clone().unwrap_or_else(folder);
        let mut text = format!("version: 0.1\nstorage:\n  {driver}\n");
        if self.cache {
            text += "  cache:\n    blobdescriptor: inmemory\n";
        }
        if self.delete {
            text += "  delete:\n    enabled: true\n";
        }
        if self.read_only {
            text += "  maintenance:\n    readonly:\n      enabled: true\n";
        }
        if let Some(path) = &self.htpasswd {
            text += &format!(
                "auth:\n  htpasswd:\n    realm: Registry Realm\n    path: {}\n",
                path.display()
            );
        }
        text += &format!("http:\n  addr: {address}\n");
        if self.relative_urls {
            text += "  relativeurls: true\n";
        }
        if let Some(host) = &self.host {
            text += &format!("  host: {host}\n");
        }
        if let Some(prefix) = &self.prefix {
            text += &format!("  prefix: {prefix}\n");
        }
        if !self.headers.is_empty() {
            text += "  headers:\n";
        }
        for (name, value) in &self.headers {
            text += &format!("    {name}: [{value}]\n");
        }
        text
    }
}

/// How a server is started. A server started again continues on the data of the one before.
#[derive(Debug, Clone)]
pub struct ServerSetup {
    binary: PathBuf,
    root: PathBuf,
    address: SocketAddr,
    variables: Vec<(String, String)>,
    settings: Settings,
    socket: Option<PathBuf>,
    command_prefix: Vec<String>,
}

impl ServerSetup {
    /// A server that keeps its data below `root`, on a port that was free a moment ago.
    ///
    /// # Errors
    /// No port is free.
    pub fn new(binary: &Path, root: &Path) -> Result<Self> {
        let setup = Self {
            binary: binary.to_owned(),
            root: root.to_owned(),
            address: ports::free()?,
            variables: Vec::new(),
            settings: Settings::default(),
            socket: None,
            command_prefix: Vec::new(),
        };
        Ok(setup.with("REGISTRY_HTTP_SECRET", "a secret of the test's own"))
    }

    /// Adds an environment variable.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sets the settings of the configuration file.
    #[must_use]
    pub fn configured(mut self, settings: &Settings) -> Self {
        settings.clone_into(&mut self.settings);
        self
    }

    /// Starts the server through another command, such as strace, whose last arguments are the server's command.
    #[must_use]
    pub fn wrapped_in(mut self, command: impl IntoIterator<Item = String>) -> Self {
        self.command_prefix.extend(command);
        self
    }

    /// Keeps the data in another folder.
    #[must_use]
    pub fn keeping_data_in(self, folder: &Path) -> Self {
        self.with(
            "REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY",
            &folder.display().to_string(),
        )
    }

    /// Listens on a unix socket below `root`, and gives its path too.
    #[must_use]
    pub fn on_socket(mut self) -> (Self, PathBuf) {
        let socket = self.root.join("socket");
        self.socket = Some(socket.clone());
        let path = socket.display().to_string();
        let setup = self
            .with("REGISTRY_HTTP_NET", "unix")
            .with("REGISTRY_HTTP_ADDR", &path);
        (setup, socket)
    }

    /// The address of the server, without the scheme.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Starts the server and waits for its first answer.
    ///
    /// # Errors
    /// The process ends, or does not answer in time. The error holds its output.
    pub async fn start(&self) -> Result<Server> {
        let log = self.root.join("server.log");
        let output = std::fs::OpenOptions::new().create(true).append(true).open(&log)?;
        // With a file of its own, the server does not look for the machine's.
        let file = self.root.join("config.yml");
        let text = self.settings.file(&self.root.join("data"), self.address);
        std::fs::write(&file, text).with_context(|| format!("cannot write `{}`", file.display()))?;
        let mut command = match self.command_prefix.split_first() {
            None => Command::new(&self.binary),
            Some((program, words)) => {
                let mut command = Command::new(program);
                command.args(words).arg(&self.binary);
                command
            }
        };
        let mut process = command
            .arg("serve")
            .arg(&file)
            .env_clear()
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .current_dir(&self.root)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start `{}`", self.binary.display()))?;
        let base = Url::parse(&format!("http://{}/", self.address))?;
        let client = Client::builder().no_proxy();
        let client = match &self.socket {
            Some(socket) => client.unix_socket(socket.as_path()).build()?,
            None => client.build()?,
        };
        let started = Instant::now();
        loop {
            if let Some(status) = process.try_wait()? {
                bail!(
                    "the server ended with {status}:\n{}",
                    std::fs::read_to_string(&log)?
                );
            }
            if client.get(base.clone()).send().await.is_ok() {
                return Ok(Server {
                    process,
                    base,
                    client,
                });
            }
            if started.elapsed() > START_LIMIT {
                bail!(
                    "no answer on {base} after {START_LIMIT:?}:\n{}",
                    std::fs::read_to_string(&log)?
                );
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// A running server.
pub struct Server {
    process: Child,
    base: Url,
    client: Client,
}

impl Server {
    /// Its base URL.
    pub fn base(&self) -> &Url {
        &self.base
    }

    /// Its address, as registry clients write it.
    ///
    /// # Errors
    /// Never in practice: the URL was made from an address.
    pub fn address(&self) -> Result<SocketAddr> {
        let found = self.base.socket_addrs(|| None)?;
        found.first().copied().context("the server's URL has no address")
    }

    /// A client of one of its repositories.
    pub fn repository(&self, name: &str) -> Repository {
        Repository::new(self.client.clone(), self.base.clone(), name, None)
    }

    /// Waits until it ends by itself.
    ///
    /// # Errors
    /// It does not end within `limit`.
    pub async fn ended(mut self, limit: Duration) -> Result<()> {
        tokio::time::timeout(limit, self.process.wait())
            .await
            .with_context(|| format!("the server still runs after {limit:?}"))?
            .context("cannot wait for the server")
            .map(drop)
    }

    /// Whether it still runs.
    ///
    /// # Errors
    /// The process cannot be asked.
    pub fn runs(&mut self) -> Result<bool> {
        Ok(self.process.try_wait()?.is_none())
    }

    /// The most memory the process ever held, in bytes (`VmHWM`).
    ///
    /// # Errors
    /// The process is gone.
    pub fn peak_memory(&self) -> Result<u64> {
        self.memory_of("VmHWM:")
    }

    /// The memory the process holds now, in bytes (`VmRSS`).
    ///
    /// # Errors
    /// The process is gone.
    pub fn memory(&self) -> Result<u64> {
        self.memory_of("VmRSS:")
    }

    /// Resets [`Server::peak_memory`] to the present memory.
    ///
    /// # Errors
    /// The process is gone.
    pub fn forget_peak_memory(&self) -> Result<()> {
        // proc(5): 5 resets the peak resident set size.
        std::fs::write(format!("/proc/{}/clear_refs", self.id()?), "5")
            .context("cannot reset the peak of the server's memory")
    }

    fn memory_of(&self, field: &str) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id()?))?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(field))
            .with_context(|| format!("no `{field}`"))?;
        let kibibytes: u64 = line.trim().trim_end_matches(" kB").parse()?;
        Ok(kibibytes * 1024)
    }

    fn id(&self) -> Result<u32> {
        self.process.id().context("the server has ended")
    }

    /// Kills it (SIGKILL), which is as near to a power cut as a process can get, and waits until it is gone.
    ///
    /// # Errors
    /// It cannot be waited for.
    pub async fn kill(mut self) -> Result<()> {
        self.process.kill().await.context("cannot kill the server")
    }
}
