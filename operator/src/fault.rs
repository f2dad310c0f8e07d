//! The party that must act on an error, and the text of an error with its causes.
//!
//! Guarantees: every step's error can be asked for its [`Fault`]; each cause stands in the text once. Must not: know a
//! step, so that every step can use this file. Start at [`Fault`].

use std::time::Duration;

/// The party that must act on an error. The conditions and the time of the next reconcile follow from it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fault {
    /// The author of the Registry must change it. Nothing happens until then.
    Caller,
    /// Somebody must create or correct another object. A watch reports that.
    Waiting,
    /// Nobody: the cause passes. The reconcile is retried with growing delays.
    Transient {
        /// The shortest delay that the API server asked for.
        retry_after: Option<Duration>,
    },
    /// The operator's developers: a bug, or a cluster that the operator does not understand. Retried slowly.
    Permanent,
}

impl Fault {
    /// The party that must act when a request to the API server fails.
    pub(crate) fn of(error: &kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => Self::of_status(status),
            // Connections that fail, and answers that are cut or are no answers of an API server (a proxy's page).
            kube::Error::HyperError(_)
            | kube::Error::Service(_)
            | kube::Error::ReadEvents(_)
            | kube::Error::FromUtf8(_)
            | kube::Error::SerdeError(_)
            | kube::Error::LinesCodecMaxLineLengthExceeded
            // A token file that is just being renewed.
            | kube::Error::Auth(_) => Self::Transient { retry_after: None },
            // A name in the spec from which no request can be built.
            kube::Error::BuildRequest(_) | kube::Error::HttpError(_) => Self::Caller,
            // Everything about the configuration, which was read at the start.
            _ => Self::Permanent,
        }
    }

    fn of_status(status: &kube::core::Status) -> Self {
        match status.code {
            // The object itself: it does not fit the kind's schema, breaks a rule of the kind, or is too large.
            400 | 405 | 406 | 413 | 415 | 422 => Self::Caller,
            // A namespace that is being deleted, a quota, an admission policy, a right: a person has to change these.
            402..=404 => Self::Waiting,
            // 401: the token is being renewed. 409: the watch brings the newer object, and the next reconcile starts
            // from it. 410: what was asked for is too old, and the next list is not.
            401 | 408 | 409 | 410 | 425 | 429 | 500..=599 => Self::Transient {
                retry_after: retry_after(status),
            },
            _ => Self::Permanent,
        }
    }
}

/// Whether the API server refused an object because its namespace is being deleted.
pub(crate) fn namespace_is_ending(error: &kube::Error) -> bool {
    let kube::Error::Api(status) = error else {
        return false;
    };
    let mut causes = status.details.iter().flat_map(|details| &details.causes);
    causes.any(|cause| cause.reason == "NamespaceTerminating")
}

fn retry_after(status: &kube::core::Status) -> Option<Duration> {
    let seconds = status.details.as_ref()?.retry_after_seconds;
    (seconds > 0).then(|| Duration::from_secs(u64::from(seconds)))
}

/// Whether a right of the operator's account is missing, rather than a quota or an admission policy in the way.
pub(crate) fn is_missing_right(status: &kube::core::Status) -> bool {
    status.code == 403 && status.message.contains(" cannot ") && status.message.contains("resource \"")
}

/// The way out when a right is missing.
pub(crate) const GRANT_THE_ROLE: &str = "bind the ClusterRole `berth-operator` of this version (`config/rbac/role.yaml`) to the operator's account";

/// The way out when a right is missing. The API server's message names its verb and resource.
pub(crate) fn missing_right_hint(error: &kube::Error) -> Option<String> {
    let kube::Error::Api(status) = error else {
        return None;
    };
    is_missing_right(status).then(|| GRANT_THE_ROLE.to_owned())
}

/// An error and its causes on one line, joined by colons.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = message_of(error);
    let mut source = error.source();
    while let Some(cause) = source {
        let message = message_of(cause);
        // kube repeats the cause in its own text.
        if !text.contains(&message) {
            text.push_str(": ");
            text.push_str(&message);
        }
        source = cause.source();
    }
    text
}

/// The text of one error without its causes. kube prints the API server's whole answer; its message is enough.
fn message_of(error: &(dyn std::error::Error + 'static)) -> String {
    let boxed = error.downcast_ref::<Box<kube::Error>>().map(AsRef::as_ref);
    let status = match boxed.or_else(|| error.downcast_ref::<kube::Error>()) {
        Some(kube::Error::Api(status)) => Some(status.as_ref()),
        _ => error
            .downcast_ref::<kube::core::Status>()
            .or_else(|| error.downcast_ref::<Box<kube::core::Status>>().map(AsRef::as_ref)),
    };
    status.map_or_else(|| error.to_string(), |status| status.message.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_answer_of_the_api_server_has_a_party_that_must_act() {
        let soon = Fault::Transient { retry_after: None };
        let later = Fault::Transient {
            retry_after: Some(Duration::from_secs(3)),
        };
        for (code, seconds, expected) in [
            (400, 0, Fault::Caller),
            (401, 0, soon),
            (403, 0, Fault::Waiting),
            (404, 0, Fault::Waiting),
            (408, 0, soon),
            (409, 0, soon),
            (410, 0, soon),
            (413, 0, Fault::Caller),
            (422, 0, Fault::Caller),
            (425, 0, soon),
            (429, 3, later),
            (500, 0, soon),
            (502, 0, soon),
            (503, 3, later),
            (504, 0, soon),
            (418, 0, Fault::Permanent),
            (200, 0, Fault::Permanent),
        ] {
            let status = serde_json::json!({ "code": code, "details": { "retryAfterSeconds": seconds } });
            let error = kube::Error::Api(serde_json::from_value(status).unwrap());
            assert_eq!(Fault::of(&error), expected, "{code}");
        }
    }

    #[test]
    fn each_error_of_the_transport_passes_and_each_of_the_request_does_not() {
        let soon = Fault::Transient { retry_after: None };
        let broken = || std::io::Error::from(std::io::ErrorKind::ConnectionReset);
        let not_json = serde_json::from_str::<u8>("<html>").unwrap_err();
        let not_utf8 = String::from_utf8(vec![0xff]).unwrap_err();
        let invalid = http::Request::get("http://[").body(()).unwrap_err();
        for (error, expected) in [
            (kube::Error::Service(Box::new(broken())), soon),
            (kube::Error::ReadEvents(broken()), soon),
            (kube::Error::SerdeError(not_json), soon),
            (kube::Error::FromUtf8(not_utf8), soon),
            (kube::Error::LinesCodecMaxLineLengthExceeded, soon),
            (kube::Error::HttpError(invalid), Fault::Caller),
            (kube::Error::TlsRequired, Fault::Permanent),
        ] {
            assert_eq!(Fault::of(&error), expected, "{error:?}");
        }
    }
}
