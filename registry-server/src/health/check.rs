//! One look at one thing: the storage, a file, a URL, an address.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::TryStreamExt as _;
use http::{HeaderMap, HeaderName, HeaderValue};
use registry_config::Secret;
use registry_config::model::{self, ten_seconds_unless};
use tokio::task::JoinHandle;

use super::Effect;
use crate::fault::{Fault, chain};
use crate::storage::{Driver, StorageKey};

/// How long a look may take that has no `timeout`.
const LOOK_LIMIT: Duration = Duration::from_secs(10);

/// Why checks cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is nobody to ask URLs with.
    #[error("cannot set up the checks of `health.http`")]
    Client(#[source] reqwest::Error),
}

impl Error {
    /// Who must act: it is the system's authorities that cannot be read.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Client(_) => Fault::Permanent,
        }
    }
}

/// Something that is looked at from time to time.
#[derive(Debug)]
pub struct Check {
    /// As distribution names it: `storagedriver_filesystem`, the path, the URL, the address.
    pub(super) name: String,
    pub(super) interval: Duration,
    /// Failures in a row that count; at least one.
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
        /// The look that has not come back, on a file system that hangs: there is never a second one.
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
    /// Every check of the section, the storage's included unless it is switched off.
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
                limit: LOOK_LIMIT,
                subject: Subject::Storage(Arc::clone(driver)),
            });
        }
        for file in &health.file {
            all.push(Self {
                name: file.file.clone(),
                interval: ten_seconds_unless(file.interval),
                threshold: file.threshold.unwrap_or(0).max(1),
                effect: Effect::OutOfService,
                limit: LOOK_LIMIT,
                subject: Subject::File {
                    path: PathBuf::from(&file.file),
                    running: None,
                },
            });
        }
        for http in &health.http {
            // Without connections kept: a look shall find out whether one can be had.
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
        // Two checks of one thing, with different thresholds perhaps, are two in what is shown.
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

    /// Looks once; on failure says what is wrong, in distribution's words where it has some.
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
                    // As in Go, no host is this one.
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

/// The storage's check, as distribution names it.
pub(super) fn of_storage(driver: &str) -> String {
    format!("storagedriver_{driver}")
}

/// Whether the store answers. An empty one is a new one, and as good as any. By a list: a look at one object cannot tell
/// a bucket that is empty from one that is not there.
async fn reachable(driver: &dyn Driver) -> Result<(), String> {
    let key = StorageKey::parse("docker").expect("one component is a key");
    let listed = match driver.list(&key).await {
        Ok(mut listing) => listing.try_next().await.map(drop),
        Err(error) => Err(error),
    };
    listed.map_err(|error| chain(&error))
}

/// Whether there is no such file.
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

/// The configured headers. What is no header, in name or in value, is left out: distribution's client would refuse
/// every request because of it, and the server be out of service for ever.
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

/// The URL as it may be shown. What is no URL has no password that would be sent anywhere.
fn without_password(uri: &str) -> String {
    if let Ok(mut url) = reqwest::Url::parse(uri)
        && url.password().is_some()
        && url.set_password(Some("xxxxx")).is_ok()
    {
        return url.into();
    }
    uri.to_owned()
}
