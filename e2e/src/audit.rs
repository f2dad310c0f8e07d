//! Requests to the API server, counted from its audit log.
//!
//! Guarantees: only finished requests count. A request that still runs is counted later, and never twice. Start at
//! [`Marker::now`] and [`Marker::writes_by`].

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::Deserialize;

/// A position in the audit log. The requests after it can be read.
#[derive(Clone, Debug)]
pub struct Marker {
    log: PathBuf,
    offset: u64,
}

/// One finished request.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    /// `create`, `update`, `patch`, `delete`, `get`, `list`, `watch` …
    pub verb: String,
    /// Path and query.
    #[serde(rename = "requestURI")]
    pub uri: String,
    /// The client's `User-Agent`.
    #[serde(default)]
    pub user_agent: String,
    /// The user who sent the request.
    pub user: User,
    /// The user as whom it was sent, when that is another one.
    #[serde(default)]
    pub impersonated_user: Option<User>,
    /// Notes of the API server, such as its decision about the right to the request.
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

/// The user who sent a request.
#[derive(Clone, Debug, Deserialize)]
pub struct User {
    /// The user's name. A Pod has `system:serviceaccount:<namespace>:<name>`.
    pub username: String,
}

impl Request {
    /// Whether the request was made as `user`.
    #[must_use]
    pub fn impersonates(&self, user: &str) -> bool {
        self.impersonated_user
            .as_ref()
            .is_some_and(|as_user| as_user.username == user)
    }

    /// Whether the request could change anything.
    #[must_use]
    pub fn is_write(&self) -> bool {
        matches!(
            self.verb.as_str(),
            "create" | "update" | "patch" | "delete" | "deletecollection"
        )
    }

    /// Whether the user had no right to the request.
    #[must_use]
    pub fn is_forbidden(&self) -> bool {
        let decision = self.annotations.get("authorization.k8s.io/decision");
        decision.is_some_and(|decision| decision == "forbid")
    }

    /// Whether the request is about a Lease, which its holder renews every few seconds.
    #[must_use]
    pub fn is_about_lease(&self) -> bool {
        self.uri.starts_with("/apis/coordination.k8s.io/")
    }
}

impl Marker {
    /// The current end of the log.
    ///
    /// # Errors
    /// The log cannot be opened.
    pub fn now(log: &Path) -> Result<Self> {
        let offset = log
            .metadata()
            .with_context(|| format!("no audit log at `{}`", log.display()))?
            .len();
        Ok(Self {
            log: log.to_owned(),
            offset,
        })
    }

    /// Every request that finished since this position.
    ///
    /// # Errors
    /// The log cannot be read or a line is no audit event.
    pub fn requests(&self) -> Result<Vec<Request>> {
        let mut file =
            File::open(&self.log).with_context(|| format!("cannot open `{}`", self.log.display()))?;
        file.seek(SeekFrom::Start(self.offset))
            .context("cannot seek in the audit log")?;
        let mut requests = Vec::new();
        let mut lines = BufReader::new(file);
        let mut line = String::new();
        // The last line is still being written while it has no line end.
        while lines.read_line(&mut line).context("cannot read the audit log")? > 0 && line.ends_with('\n') {
            requests.push(serde_json::from_str(&line).context("a line of the audit log is no audit event")?);
            line.clear();
        }
        Ok(requests)
    }

    /// The writes since this position by users or programs whose name contains `who`, except to Leases.
    ///
    /// # Errors
    /// As [`Marker::requests`].
    pub fn writes_by(&self, who: &str) -> Result<Vec<Request>> {
        let mut requests = self.requests()?;
        requests.retain(|request| {
            let by_it = request.user.username.contains(who) || request.user_agent.contains(who);
            request.is_write() && !request.is_about_lease() && by_it
        });
        Ok(requests)
    }
}
