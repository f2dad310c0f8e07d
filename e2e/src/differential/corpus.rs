//! The corpus: series of requests, each with its own configuration.
//!
//! To add a request, find the file of its noun in `corpus/` and a scenario in it. Use a repository of the scenario's
//! own, so that content of one server alone does not show elsewhere. Start at [`series`].

use std::path::Path;

use anyhow::{Context as _, Result};

use super::request::Script;
use crate::fixture;
use crate::server::Settings;

mod access;
mod blobs;
pub(super) mod generated;
mod invalid_manifests;
mod lists;
mod manifests;
mod paths;
mod raw_requests;
mod uploads;

/// The password of the only user.
const PASSWORD: &str = "open sesame";

/// A series of phases. The three servers are started once per phase, on folders that stay.
pub(super) struct Series {
    pub(super) name: &'static str,
    pub(super) phases: Vec<Phase>,
}

/// A configuration, and the requests under it.
pub(super) struct Phase {
    pub(super) settings: Settings,
    pub(super) script: Script,
}

impl Series {
    fn new(name: &'static str) -> Self {
        Self {
            name,
            phases: Vec::new(),
        }
    }

    /// Adds a phase.
    fn then(mut self, settings: Settings, fill: impl FnOnce(&mut Script)) -> Self {
        let mut script = Script::default();
        fill(&mut script);
        self.phases.push(Phase { settings, script });
        self
    }
}

/// All series. Files for their configuration are written to `dir`.
///
/// # Errors
/// A file cannot be written.
pub(super) fn series(dir: &Path) -> Result<Vec<Series>> {
    let users = dir.join("users");
    std::fs::write(&users, fixture::users_at_cost(PASSWORD, 4)?).context("cannot write the password file")?;
    let default = Settings::default;
    let delete = || Settings {
        delete: true,
        ..Settings::default()
    };
    Ok(vec![
        Series::new("default").then(default(), |script| {
            blobs::ask_all(script);
            uploads::ask_all(script);
            manifests::ask_all(script);
            invalid_manifests::ask_all(script);
        }),
        Series::new("delete").then(delete(), |script| {
            blobs::deletes(script);
            manifests::deletes(script);
        }),
        Series::new("lists").then(delete(), |script| {
            lists::ask_all(script);
            lists::emptied(script);
        }),
        Series::new("hostile").then(delete(), |script| {
            paths::ask_all(script);
            raw_requests::ask_all(script);
        }),
        Series::new("generated").then(delete(), generated::ask_all),
        Series::new("read-only").then(default(), access::fill).then(
            Settings {
                read_only: true,
                ..delete()
            },
            access::read_only,
        ),
        Series::new("password").then(default(), access::fill).then(
            Settings {
                htpasswd: Some(users),
                ..delete()
            },
            |script| access::password(script, PASSWORD),
        ),
        Series::new("relative").then(
            Settings {
                relative_urls: true,
                ..default()
            },
            |script| access::urls(script, ""),
        ),
        Series::new("host").then(
            Settings {
                host: Some("https://registry.example:8443".to_owned()),
                relative_urls: true,
                ..default()
            },
            |script| access::urls(script, ""),
        ),
        Series::new("prefix").then(
            Settings {
                prefix: Some("/in/front/".to_owned()),
                headers: vec![("X-Content-Type-Options".to_owned(), "nosniff".to_owned())],
                ..default()
            },
            |script| access::urls(script, "/in/front"),
        ),
    ])
}
