//! The decision whether a request is let through, for each configured method.

use std::net::IpAddr;
use std::sync::Arc;

use prometheus_client::registry::Registry;

use super::access::{Access, Action, Identity, Refusal};
use super::header::{basic, quoted};
use super::htpasswd::Htpasswd;

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
