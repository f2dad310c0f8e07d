//! The answers of one address, and for how long it has failed.
//!
//! Guarantees: pure. A single failed request is no failure of the address. Start at [`Record`].

use std::time::{Duration, Instant};

use operator_api::EndpointState;

/// How long an address must fail before the status says so. An Ingress controller needs some time to learn of Pods.
const LASTING: Duration = Duration::from_secs(30);
/// How long an address that cannot be reached is waited for. The operator's network may never lead there.
const LASTING_UNREACHABLE: Duration = Duration::from_secs(10);

/// Why an address is not verified.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Failure {
    /// The state of the address when the failure lasts.
    pub(super) state: EndpointState,
    pub(super) reason: &'static str,
    pub(super) message: String,
}

/// The latest knowledge about an address.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) enum Answer {
    /// It was not asked yet.
    #[default]
    Unknown,
    /// This Registry answered.
    Verified,
    /// It did not.
    Failing {
        failure: Failure,
        /// Whether it has failed for so long that it is no passing matter.
        lasting: bool,
    },
}

/// The answers of an address over time.
#[derive(Clone, Debug, Default)]
pub(super) struct Record {
    answer: Answer,
    failing_since: Option<Instant>,
}

impl Record {
    pub(super) fn answer(&self) -> &Answer {
        &self.answer
    }

    /// Takes the result of a request that ended at `now`.
    pub(super) fn add(&mut self, result: Result<(), Failure>, now: Instant) {
        self.answer = match result {
            Ok(()) => {
                self.failing_since = None;
                Answer::Verified
            }
            Err(failure) => {
                let since = *self.failing_since.get_or_insert(now);
                let limit = match failure.state {
                    EndpointState::Unreachable => LASTING_UNREACHABLE,
                    _ => LASTING,
                };
                Answer::Failing {
                    failure,
                    lasting: now.duration_since(since) >= limit,
                }
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(state: EndpointState) -> Failure {
        Failure {
            state,
            reason: "WrongAnswer",
            message: "a portal".to_owned(),
        }
    }

    fn lasting(record: &Record) -> Option<bool> {
        match record.answer() {
            Answer::Failing { lasting, .. } => Some(*lasting),
            Answer::Unknown | Answer::Verified => None,
        }
    }

    #[test]
    fn how_long_an_address_has_failed_does_not_depend_on_earlier_failures() {
        let (mut record, start) = (Record::default(), Instant::now());
        let fail = |record: &mut Record, seconds: u64| {
            record.add(
                Err(failure(EndpointState::Failed)),
                start + Duration::from_secs(seconds),
            );
            lasting(record)
        };
        assert_eq!(fail(&mut record, 0), Some(false));
        assert_eq!(fail(&mut record, 29), Some(false));
        assert_eq!(fail(&mut record, 30), Some(true));
        record.add(Ok(()), start + Duration::from_secs(31));
        assert_eq!(record.answer(), &Answer::Verified);
        assert_eq!(fail(&mut record, 300), Some(false));
    }

    #[test]
    fn an_address_that_cannot_be_reached_is_given_up_earlier() {
        let (mut record, start) = (Record::default(), Instant::now());
        record.add(Err(failure(EndpointState::Unreachable)), start);
        record.add(
            Err(failure(EndpointState::Unreachable)),
            start + LASTING_UNREACHABLE,
        );
        assert_eq!(lasting(&record), Some(true));
    }
}
