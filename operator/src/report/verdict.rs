//! Whether clients are served, and what keeps the Registry from being as asked.
//!
//! Guarantees: pure; there is at most one cause, the most serious. Start at [`Verdict::of`].

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use operator_api::{Registry, RegistryStatus};

use super::outcome::{Outcome, STALLED_AFTER};
use super::{reason as why, sentence};
use crate::apply;
use crate::conditions::{READY, RECONCILING, STALLED};
use crate::error::{Error, Problems};
use crate::fault::Fault;
use crate::findings::{Findings, Rollout};
use crate::validate::ValidatedRegistry;

/// Why the Registry is not as asked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Cause {
    /// The reason of the conditions.
    pub(super) reason: &'static str,
    /// The cause and the way out.
    pub(super) sentence: String,
    /// The party that ends it.
    pub(super) urgency: Urgency,
}

/// The party that ends a cause.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Urgency {
    /// Nobody: it is as asked, and clients are not served all the same.
    AsAsked,
    /// Nobody: it passes.
    Passing,
    /// Somebody should act, and may do so soon.
    Waiting {
        /// Whether the sentence stays the same as long as the cause does.
        exact: bool,
    },
    /// A person, and nothing happens until then.
    Person,
}

/// The content of the conditions.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Verdict {
    /// Clients are served now, or no replica is asked for.
    pub(super) ready: bool,
    pub(super) reconciling: bool,
    pub(super) stalled: bool,
    pub(super) cause: Option<Cause>,
    /// Since when the cause is waited for.
    pub(super) waiting_since: Option<Timestamp>,
}

impl Verdict {
    /// The reason of Ready.
    pub(super) fn reason(&self) -> &'static str {
        self.cause.as_ref().map_or(why::SERVING, |cause| cause.reason)
    }

    /// Judges an outcome. `known` is the status before, `certificate_ends` the end of the server's certificate.
    pub(super) fn of(
        registry: &Registry,
        outcome: &Outcome<'_>,
        known: &RegistryStatus,
        certificate_ends: Option<Timestamp>,
        now: Timestamp,
    ) -> Self {
        let expired = certificate_ends.filter(|end| *end <= now);
        let was_ready = condition(known, READY).is_some_and(|c| c.status == "True");
        let findings = outcome.findings;
        // Proxies learn of the first Pods a moment after Kubernetes calls them ready.
        let reached = was_ready || findings.pending_endpoint().is_none();
        let serves = findings.available() && reached && expired.is_none();
        let cause = match outcome.registry.paused {
            true => Some(paused(registry, findings, known)),
            false => {
                of_problems(outcome.problems).or_else(|| of_findings(outcome.registry, findings, expired))
            }
        };
        // Nobody is served, as it was asked for. Tools that judge by the conditions would wait for ever otherwise.
        let is_as_asked = cause
            .as_ref()
            .is_some_and(|cause| cause.urgency == Urgency::AsAsked);
        let ready = serves || is_as_asked && findings.hibernates();
        let waiting_since = cause.as_ref().and_then(|cause| match cause.urgency {
            Urgency::Waiting { exact } => Some(waiting_since(registry, cause, exact, known, now)),
            Urgency::AsAsked | Urgency::Passing | Urgency::Person => None,
        });
        let is_long = waiting_since.is_some_and(|since| {
            now.duration_since(since) >= SignedDuration::try_from(STALLED_AFTER).unwrap_or_default()
        });
        let urgency = cause.as_ref().map(|cause| cause.urgency);
        let stalled = urgency == Some(Urgency::Person) || is_long;
        Self {
            ready,
            reconciling: !stalled && urgency.is_some_and(|urgency| urgency != Urgency::AsAsked),
            stalled,
            cause,
            waiting_since,
        }
    }
}

/// The cause of a paused Registry.
fn paused(registry: &Registry, findings: &Findings, known: &RegistryStatus) -> Cause {
    let mut sentence = "Paused: nothing is changed until `spec.paused` is false".to_owned();
    if !findings.as_asked && known.observed_generation != registry.metadata.generation {
        sentence.push_str(". The newest changes of the spec are not applied");
    }
    Cause {
        reason: why::PAUSED,
        sentence,
        urgency: Urgency::AsAsked,
    }
}

/// The condition of a status.
pub(super) fn condition<'a>(status: &'a RegistryStatus, kind: &str) -> Option<&'a Condition> {
    status.conditions.iter().find(|condition| condition.type_ == kind)
}

/// The sentence about what keeps the Registry from being as asked, in a status.
pub(super) fn told(status: &RegistryStatus) -> Option<&Condition> {
    let mut both = [STALLED, RECONCILING].into_iter();
    both.find_map(|kind| condition(status, kind).filter(|c| c.status == "True"))
}

/// Since when the same cause has been waited for. Another one, and a changed Registry, start the clock again.
fn waiting_since(
    registry: &Registry,
    cause: &Cause,
    exact: bool,
    known: &RegistryStatus,
    now: Timestamp,
) -> Timestamp {
    let same = told(known).is_some_and(|told| {
        told.reason == cause.reason
            && (!exact || told.message == cause.sentence)
            && told.observed_generation == registry.metadata.generation
    });
    let since = known.waiting_since.as_ref().filter(|_| same);
    // The API server stores whole seconds: a fraction would differ from what is read back.
    since.map_or_else(
        || Timestamp::from_second(now.as_second()).unwrap_or(now),
        |since| since.0,
    )
}

fn of_problems(problems: &Problems) -> Option<Cause> {
    let first = problems.first()?;
    // The API server's message may hold figures that change from answer to answer.
    let exact = problems
        .iter()
        .all(|error| matches!(error, Error::Validate(_) | Error::Apply(apply::Error::Foreign(_))));
    Some(Cause {
        reason: why::of(first),
        sentence: sentence::failure(problems),
        urgency: match first.fault() {
            Fault::Caller | Fault::Permanent => Urgency::Person,
            Fault::Waiting => Urgency::Waiting { exact },
            Fault::Transient { .. } => Urgency::Passing,
        },
    })
}

fn of_findings(
    registry: &ValidatedRegistry,
    findings: &Findings,
    expired: Option<Timestamp>,
) -> Option<Cause> {
    let cause = |reason, urgency, sentence| {
        Some(Cause {
            reason,
            sentence,
            urgency,
        })
    };
    let rolling = || sentence::with_cause(sentence::ready_replicas(findings), findings);
    if findings.rollout == Rollout::Stuck {
        return cause(
            why::ROLLOUT_STUCK,
            Urgency::Person,
            sentence::stuck(registry, findings),
        );
    }
    if findings.hibernates() {
        let sentence =
            "No replica is asked for, and nobody is served; raise `spec.replicas` to serve".to_owned();
        return cause(why::SCALED_TO_ZERO, Urgency::AsAsked, sentence);
    }
    if let Some(end) = expired {
        let sentence = sentence::expired(registry, end);
        return cause(why::CERTIFICATE_EXPIRED, Urgency::Person, sentence);
    }
    if let Some((claim, phase)) = &findings.unbound_claim {
        if let Some(problem) = &findings.claim_problem {
            let sentence = sentence::unprovisioned(claim, problem);
            return cause(why::VOLUME_PENDING, Urgency::Waiting { exact: false }, sentence);
        }
        if findings.pod_problem.is_none() {
            let sentence = sentence::unbound(claim, phase);
            return cause(why::VOLUME_PENDING, Urgency::Passing, sentence);
        }
    }
    if !findings.rolled_out() {
        if findings.rollout == Rollout::Complete && findings.ready_replicas == 0 {
            let sentence = format!("None of {} replicas is ready", findings.wanted);
            let sentence = sentence::with_cause(sentence, findings);
            return cause(why::NO_READY_REPLICA, Urgency::Passing, sentence);
        }
        return cause(why::ROLLING_OUT, Urgency::Passing, rolling());
    }
    if !findings.reachable {
        let service = registry.names.service();
        let sentence = format!("Service `{service}` does not lead to a ready replica yet");
        return cause(why::NO_READY_REPLICA, Urgency::Passing, sentence);
    }
    if let Some(endpoint) = findings.failed_endpoint() {
        let sentence = sentence::address(endpoint);
        return cause(
            why::ADDRESS_NOT_VERIFIED,
            Urgency::Waiting { exact: false },
            sentence,
        );
    }
    if let Some(endpoint) = findings.pending_endpoint() {
        let message = endpoint.message.clone();
        let sentence =
            message.unwrap_or_else(|| format!("The first answer of `{}` is awaited", endpoint.url));
        return cause(why::NOT_ANSWERING, Urgency::Passing, sentence);
    }
    None
}
