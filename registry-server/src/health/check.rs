//! A health check: of the store, a file, a URL or an address.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::TryStreamExt as _;
use http::{HeaderMap, HeaderName, HeaderValue};
use registry_config::Secret;
use registry_config::model::{self, ten_seconds_unless};
use tokio::task::JoinHandle;

use crate::fault::{Fault, chain};
use crate::storage::{Driver, StorageKey};

/// The timeout of a check without a `timeout`.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

/// Why the checks cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The HTTP client cannot be made.
    #[error("cannot set up the checks of `health.http`")]
    Client(#[source] reqwest::Error),
}

impl Error {
    /// The fault: who must act. The cause is that the system's CA certificates cannot be read.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Client(_) => Fault::Permanent,
        }
    }
}

/// The effect of a failing check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    /// `/readyz` fails.
    Unready,
    /// `/readyz` fails, and every request is refused.
    OutOfService,
}

/// A check that runs at an interval.
#[derive(Debug)]
pub struct Check {
    /// Its name in distribution: `storagedriver_filesystem`, the path, the URL, the address.
    pub(super) name: String,
    pub(super) interval: Duration,
    /// The number of failures in a row after which the check counts as failing; at least one.
    pub(super) threshold: u32,
    pub(super) effect: Effect,
    limit: Duration,
    subject: Subject,
}

#[derive(Debug)]
enum Subject {
    Storage(Arc<dyn Driver>),
    File {
        path: PathBuf,
        /// The running look at the file, on a file system that hangs. A second one is never started.
        running: Option<JoinHandle<std::io::Result<()>>>,
    },
    Http {
        client: reqwest::Client,
        /// May hold a password.
        uri: Secret,
        headers: HeaderMap,
        status: u16,
    },
    Tcp(String),
}

impl Check {
    /// All checks of the section, and the check of the store unless it is switched off.
    ///
    /// # Errors
    /// [`Error::Client`], when there are URLs to ask.
    pub fn all(health: &model::Health, driver: &Arc<dyn Driver>) -> Result<Vec<Self>, Error> {
        let mut all = Vec::new();
        let storage = &health.storagedriver;
        if storage.enabled != Some(false) {
            all.push(Self {
                name: of_storage(driver.name()),
                interval: ten_seconds_unless(storage.interval),
                threshold: storage.threshold.unwrap_or(0).max(1),
                effect: Effect::Unready,
                limit: DEFAULT_TIMEOUT,
                subject: Subject::Storage(Arc::clone(driver)),
            });
        }
        for file in &health.file {
            all.push(Self {
                name: file.file.clone(),
                interval: ten_seconds_unless(file.interval),
                threshold: file.threshold.unwrap_or(0).max(1),
                effect: Effect::OutOfService,
                limit: DEFAULT_TIMEOUT,
                subject: Subject::File {
                    path: PathBuf::from(&file.file),
                    running: None,
                },
            });
        }
        for http in &health.http {
            // No connection is kept, since the check is whether one can be made.
            let client = reqwest::Client::builder()
                .pool_max_idle_per_host(0)
                .build()
                .map_err(Error::Client)?;
            all.push(Self {
                name: without_password(&http.uri),
                interval: ten_seconds_unless(http.interval),
                threshold: http.threshold.unwrap_or(0).max(1),
                effect: Effect::OutOfService,
                limit: ten_seconds_unless(http.timeout),
                subject: Subject::Http {
                    client,
                    uri: Secret::new(&http.uri),
                    headers: headers(http),
                    status: http.expected(),
                },
            });
        }
        for tcp in &health.tcp {
            all.push(Self {
                name: tcp.addr.clone(),
                interval: ten_seconds_unless(tcp.interval),
                threshold: tcp.threshold.unwrap_or(0).max(1),
                effect: Effect::OutOfService,
                limit: ten_seconds_unless(tcp.timeout),
                subject: Subject::Tcp(tcp.addr.clone()),
            });
        }
        // Two checks of the same subject, perhaps with different thresholds, get different names.
        let mut seen: BTreeMap<String, u32> = BTreeMap::new();
        for check in &mut all {
            let times = seen.entry(check.name.clone()).or_default();
            *times += 1;
            if *times > 1 {
                check.name = format!("{} ({times})", check.name);
            }
        }
        Ok(all)
    }

    /// Runs the check once. The error is the problem, in distribution's words where it has some.
    pub(super) async fn look(&mut self) -> Result<(), String> {
        let (name, limit) = (&self.name, self.limit);
        let look = async {
            match &mut self.subject {
                Subject::Storage(driver) => reachable(&**driver).await,
                Subject::File { path, running } => absent(path, running).await,
                Subject::Http {
                    client,
                    uri,
                    headers,
                    status,
                } => {
                    let request = client.head(uri.expose()).headers(headers.clone());
                    // Without the URL: it may hold a password, and the name is there already.
                    let answer = request.send().await.map_err(reqwest::Error::without_url);
                    match answer.map(|answer| answer.status().as_u16()) {
                        Ok(got) if got == *status => Ok(()),
                        Ok(got) => Err(format!(
                            "{name}: downstream service returned unexpected status: {got}"
                        )),
                        Err(error) => Err(format!("{name}: error while checking: {}", chain(&error))),
                    }
                }
                Subject::Tcp(address) => {
                    let local;
                    // As in Go, an address without a host is on this machine.
                    let target = match address.strip_prefix(':') {
                        Some(port) => {
                            local = format!("localhost:{port}");
                            &local
                        }
                        None => &*address,
                    };
                    match tokio::net::TcpStream::connect(target.as_str()).await {
                        Ok(_) => Ok(()),
                        Err(error) => Err(format!("{name}: connection failed: {error}")),
                    }
                }
            }
        };
        tokio::time::timeout(limit, look)
            .await
            .unwrap_or_else(|_| Err(format!("no answer within {limit:?}")))
    }
}

/// The name of the store's check, as in distribution.
pub(super) fn of_storage(driver: &str) -> String {
    format!("storagedriver_{driver}")
}

/// Whether the store answers. An empty store is new, and fine. The check is a list, since a request for one object cannot
/// tell an empty bucket from a missing one.
async fn reachable(driver: &dyn Driver) -> Result<(), String> {
    let key = StorageKey::parse("docker").expect("one component is a key");
    let listed = match driver.list(&key).await {
        Ok(mut listing) => listing.try_next().await.map(drop),
        Err(error) => Err(error),
    };
    listed.map_err(|error| chain(&error))
}

/// Checks that a file does not exist.
async fn absent(path: &Path, running: &mut Option<JoinHandle<std::io::Result<()>>>) -> Result<(), String> {
    let handle = running.get_or_insert_with(|| {
        let path = path.to_owned();
        tokio::task::spawn_blocking(move || std::fs::metadata(path).map(drop))
    });
    let seen = handle.await;
    *running = None;
    match seen {
        Ok(Ok(())) => Err("file exists".to_owned()),
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Ok(Err(error)) => Err(format!("stat {}: {error}", path.display())),
        Err(error) => Err(error.to_string()),
    }
}

/// The configured headers. An invalid name or value is left out: with it distribution's client refuses every request, and
/// its server is out of service for ever.
fn headers(http: &model::HttpCheck) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, values) in &http.headers {
        for value in values {
            if let (Ok(name), Ok(mut value)) =
                (name.parse::<HeaderName>(), HeaderValue::from_str(value.expose()))
            {
                value.set_sensitive(true);
                headers.append(name, value);
            } else {
                tracing::warn!(
                    header = name,
                    check = without_password(&http.uri),
                    "not a header; the health check goes without it"
                );
            }
        }
    }
    headers
}

/// The URL for messages. A text that is no URL has no password that would be sent anywhere.
fn without_password(uri: &str) -> String {
    if let Ok(mut url) = reqwest::Url::parse(uri)
        && url.password().is_some()
        && url.set_password(Some("xxxxx")).is_ok()
    {
        return url.into();
    }
    uri.to_owned()
}
