//! Who may do what.
//!
//! Guarantees: a request is let through only after [`Gate::authorize`] said so for every access it asks; a password
//! is in no log, error or `Debug`; checking one never blocks an async thread; its cost is bounded however many ask at
//! once, is shared fairly among the addresses they ask from, and tells nobody which users there are.
//! Must not: know a route or a body.
//! Start at [`Gate`]; the one way to prove who one is, so far, is `htpasswd`.

mod credential_cache;
mod htpasswd;
mod login_queue;
mod metrics;
mod password;
mod users;

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::registry::Registry;
use registry_config::htpasswd::COSTS;
use registry_oci::RepositoryName;

use crate::fault::Fault;
pub use htpasswd::Htpasswd;

/// What is done to a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Read.
    Pull,
    /// Write.
    Push,
    /// Remove.
    Delete,
}

/// One thing a request asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Access {
    /// Nothing but a valid login.
    Base,
    /// The list of repositories.
    Catalog,
    /// One action on one repository.
    Repository {
        /// Which repository.
        name: RepositoryName,
        /// What is done to it.
        action: Action,
    },
}

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Identity {
    /// The user's name; nothing when nobody had to log in.
    pub name: Option<String>,
}

/// Why a request is not let through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The client must log in, or log in as somebody else.
    Challenge {
        /// The `WWW-Authenticate` header.
        www_authenticate: String,
    },
    /// The client's address sends more logins than can be checked.
    TooMany {
        /// When to come back.
        retry_after: Duration,
    },
    /// The verdict cannot be had now; trying again makes sense.
    Unavailable,
}

/// Why authentication cannot be set up. At run time nothing of this stops a server: the last good users stay.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file is there but cannot be read.
    #[error("cannot read the users of `auth.htpasswd.path`, `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file was missing and could not be made.
    #[error("`auth.htpasswd.path`, `{}`, is missing and cannot be made", path.display())]
    Create {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file holds lines, but none that can be accepted.
    #[error("`auth.htpasswd.path`, `{}`, holds no user with a bcrypt hash that is accepted; allowed: lines made by `htpasswd -B`, with a cost of {} to {}", path.display(), COSTS.start(), COSTS.end())]
    NoUsers {
        /// The file.
        path: PathBuf,
    },
    /// The operating system's random numbers or bcrypt failed, which they do not.
    #[error("cannot hash a password; please report this")]
    Bug(#[source] bcrypt::BcryptError),
}

impl Error {
    /// Who must act.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Read { .. } | Self::Create { .. } | Self::NoUsers { .. } => Fault::Caller,
            Self::Bug(_) => Fault::Permanent,
        }
    }
}

/// The one door every request passes. Cheap to clone; clones share everything.
#[derive(Debug, Clone)]
pub struct Gate(Arc<Kind>);

#[derive(Debug)]
enum Kind {
    Open,
    Silly { realm: String, service: String },
    Htpasswd(Htpasswd),
}

impl Gate {
    /// A gate that lets everybody through, whatever `Authorization` they send: a proxy in front may use its own.
    pub fn open() -> Self {
        Self(Arc::new(Kind::Open))
    }

    /// Distribution's gate for tests: any `Authorization` header is good enough.
    pub fn silly(realm: impl Into<String>, service: impl Into<String>) -> Self {
        Self(Arc::new(Kind::Silly {
            realm: realm.into(),
            service: service.into(),
        }))
    }

    /// Users with passwords.
    pub fn htpasswd(users: Htpasswd) -> Self {
        Self(Arc::new(Kind::Htpasswd(users)))
    }

    /// The name of the way in, for the line logged at start.
    pub fn name(&self) -> &'static str {
        match &*self.0 {
            Kind::Open => "none",
            Kind::Silly { .. } => "silly",
            Kind::Htpasswd(_) => "htpasswd",
        }
    }

    /// Counts logins from now on.
    pub fn register(&self, registry: &mut Registry) {
        match &*self.0 {
            Kind::Open | Kind::Silly { .. } => {}
            Kind::Htpasswd(users) => users.register(registry),
        }
    }

    /// Reads the users again whenever their file changes, for as long as the future is polled.
    pub async fn follow(self) {
        match &*self.0 {
            Kind::Open | Kind::Silly { .. } => {}
            Kind::Htpasswd(users) => users.follow().await,
        }
    }

    /// Reads the users again now. Once it returns, whoever is no longer in the file is not let in; a file that cannot be
    /// used is logged and changes nothing.
    pub async fn reload(&self) {
        match &*self.0 {
            Kind::Open | Kind::Silly { .. } => {}
            Kind::Htpasswd(users) => users.reload().await,
        }
    }

    /// Decides whether the client that sent `headers` may have every one of `access`. `client` is the address that it
    /// shares the capacity for logins by: one that it cannot choose; nothing on a unix socket. Dropping the future half-way
    /// is safe.
    ///
    /// # Errors
    /// A [`Refusal`] when it may not, or when that cannot be told. The challenges are distribution's, to the byte.
    pub async fn authorize(
        &self,
        headers: &http::HeaderMap,
        access: &[Access],
        client: Option<IpAddr>,
    ) -> Result<Identity, Refusal> {
        let authorization = headers
            .get(http::header::AUTHORIZATION)
            .map(http::HeaderValue::as_bytes);
        match &*self.0 {
            Kind::Open => Ok(Identity::default()),
            Kind::Silly { realm, service } => match authorization {
                Some(_) => Ok(Identity {
                    name: Some("silly".to_owned()),
                }),
                None => Err(Refusal::Challenge {
                    www_authenticate: silly_challenge(realm, service, access),
                }),
            },
            Kind::Htpasswd(users) => match authorization.and_then(basic) {
                Some((user, password)) => users.check(user, password, client).await,
                None => Err(users.challenge()),
            },
        }
    }
}

fn silly_challenge(realm: &str, service: &str, access: &[Access]) -> String {
    let scope: Vec<String> = access.iter().filter_map(scope).collect();
    let mut challenge = format!("Bearer realm={},service={}", quoted(realm), quoted(service));
    if !scope.is_empty() {
        challenge.push_str(&format!(",scope={}", quoted(&scope.join(" "))));
    }
    challenge
}

/// An access as distribution's token specification spells it: `repository:library/busybox:pull`.
fn scope(access: &Access) -> Option<String> {
    match access {
        Access::Base => None,
        Access::Catalog => Some("registry:catalog:*".to_owned()),
        Access::Repository { name, action } => {
            let action = match action {
                Action::Pull => "pull",
                Action::Push => "push",
                Action::Delete => "delete",
            };
            Some(format!("repository:{name}:{action}"))
        }
    }
}

/// A quoted string (RFC 9110, section 5.6.4). Control characters cannot stand in a header and become spaces.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// User and password of a `Basic` header (RFC 7617, section 2).
fn basic(header: &[u8]) -> Option<(String, Vec<u8>)> {
    use base64::Engine;
    let (scheme, rest) = header.split_at_checked(6)?;
    if !scheme.eq_ignore_ascii_case(b"basic ") {
        return None;
    }
    // Some clients leave the padding out.
    let lenient = base64::engine::GeneralPurposeConfig::new()
        .with_decode_padding_mode(base64::engine::DecodePaddingMode::Indifferent);
    let engine = base64::engine::GeneralPurpose::new(&base64::alphabet::STANDARD, lenient);
    let mut decoded = engine.decode(rest.trim_ascii()).ok()?;
    let colon = decoded.iter().position(|byte| *byte == b':')?;
    let password = decoded.split_off(colon + 1);
    decoded.pop();
    Some((String::from_utf8(decoded).ok()?, password))
}

#[cfg(test)]
mod tests;
