//! The accesses that a request needs, and the two results of deciding about them: an identity or a refusal.

use std::time::Duration;

use registry_oci::RepositoryName;

/// An action on a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Reads.
    Pull,
    /// Writes.
    Push,
    /// Deletes.
    Delete,
}

/// One access that a request needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Access {
    /// A valid login and nothing more.
    Base,
    /// The list of repositories.
    Catalog,
    /// One action on one repository.
    Repository {
        /// The repository.
        name: RepositoryName,
        /// The action.
        action: Action,
    },
}

/// The user that a request was authenticated as.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Identity {
    /// The user's name. `None` when no login was needed.
    pub name: Option<String>,
}

/// The reasons for not letting a request through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The client must log in, or log in as another user.
    Challenge {
        /// The value of the `WWW-Authenticate` header.
        www_authenticate: String,
    },
    /// The client's address sends more logins than can be checked.
    TooMany {
        /// How long the client should wait.
        retry_after: Duration,
    },
    /// The login cannot be checked now. The client can try again.
    Unavailable,
}
