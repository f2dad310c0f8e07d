//! What a request wants to do, and how the answer to that looks.

use std::time::Duration;

use registry_oci::RepositoryName;

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
