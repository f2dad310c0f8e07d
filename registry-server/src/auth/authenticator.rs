//! The decision whether a request is let through, for each configured method.

use std::net::IpAddr;
use std::sync::Arc;

use prometheus_client::registry::Registry;

use super::access::{Access, Action, Identity, Refusal};
use super::header::{basic, quoted};
use super::htpasswd::Htpasswd;

/// Decides about every request. Cheap to clone: clones share everything.
#[derive(Debug, Clone)]
pub struct Authenticator(Arc<AuthMethod>);

#[derive(Debug)]
enum AuthMethod {
    Open,
    Silly { realm: String, service: String },
    Htpasswd(Htpasswd),
}

impl Authenticator {
    /// Lets every request through, whatever its `Authorization` says: a proxy in front may use that header for itself.
    pub fn open() -> Self {
        Self(Arc::new(AuthMethod::Open))
    }

    /// Distribution's method for tests: accepts every `Authorization` header.
    pub fn silly(realm: impl Into<String>, service: impl Into<String>) -> Self {
        Self(Arc::new(AuthMethod::Silly {
            realm: realm.into(),
            service: service.into(),
        }))
    }

    /// Lets users with passwords through.
    pub fn htpasswd(users: Htpasswd) -> Self {
        Self(Arc::new(AuthMethod::Htpasswd(users)))
    }

    /// The name of the method, for the log line at start.
    pub fn name(&self) -> &'static str {
        match &*self.0 {
            AuthMethod::Open => "none",
            AuthMethod::Silly { .. } => "silly",
            AuthMethod::Htpasswd(_) => "htpasswd",
        }
    }

    /// Exposes the metrics of logins.
    pub fn register(&self, registry: &mut Registry) {
        match &*self.0 {
            AuthMethod::Open | AuthMethod::Silly { .. } => {}
            AuthMethod::Htpasswd(users) => users.register(registry),
        }
    }

    /// Reloads the users whenever their file changes, for as long as the future is polled.
    pub async fn watch_users(self) {
        match &*self.0 {
            AuthMethod::Open | AuthMethod::Silly { .. } => {}
            AuthMethod::Htpasswd(users) => users.watch().await,
        }
    }

    /// Reloads the users now. When it returns, a user who is no longer in the file cannot log in. A file that cannot be
    /// used is logged and changes nothing.
    pub async fn reload(&self) {
        match &*self.0 {
            AuthMethod::Open | AuthMethod::Silly { .. } => {}
            AuthMethod::Htpasswd(users) => users.reload().await,
        }
    }

    /// Decides whether the client that sent `headers` may have every one of `access`. `client` is the address by which
    /// the capacity for checking logins is shared; it must be one that the client cannot choose. It is `None` on a unix
    /// socket. Dropping the future half-way is safe.
    ///
    /// # Errors
    /// A [`Refusal`] when the client may not have the access, or when that cannot be decided now. The challenges are
    /// distribution's, to the byte.
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
            AuthMethod::Open => Ok(Identity::default()),
            AuthMethod::Silly { realm, service } => match authorization {
                Some(_) => Ok(Identity {
                    name: Some("silly".to_owned()),
                }),
                None => Err(Refusal::Challenge {
                    www_authenticate: silly_challenge(realm, service, access),
                }),
            },
            AuthMethod::Htpasswd(users) => match authorization.and_then(basic) {
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

/// An access in the form of distribution's token specification: `repository:library/busybox:pull`.
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
