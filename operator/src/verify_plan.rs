//! The plan that `validate` makes for a verification by a push and a pull: whether it is asked for, and with which
//! credentials.

/// The verification that a Registry asks for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct VerifyPlan {
    /// The value of the annotation that asks for it.
    pub request: Option<String>,
    /// Whether each change of what is served asks for it too.
    pub on_change: bool,
    /// The repository for the artifact.
    pub repository: String,
    /// The user who pushes; `None` for anonymous access.
    pub credentials: Option<Credentials>,
    /// Whether the artifact can be removed again.
    pub removable: bool,
    /// Why nothing can be pushed, as far as the spec tells.
    pub hindrance: Option<Hindrance>,
}

impl VerifyPlan {
    /// Whether anybody asks for a verification.
    pub fn is_wanted(&self) -> bool {
        self.on_change || self.request.is_some()
    }
}

/// A user and the password.
#[derive(Clone, Eq, PartialEq)]
pub struct Credentials {
    /// The user.
    pub username: String,
    /// The password.
    pub password: String,
}

/// Deliberately without contents.
impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").finish_non_exhaustive()
    }
}

/// The reason why no verification can be made.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Hindrance {
    /// The reason of the condition.
    pub reason: &'static str,
    /// The message of the condition.
    pub message: String,
}
