//! Fifth step: what do the live objects say about the registry?
//!
//! Guarantees: pure; nothing is called ready that a client could not use. Must not: write a sentence, which is
//! `report`'s. Start at [`findings`].

use k8s_openapi::api::apps::v1::{Deployment, DeploymentStatus};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use k8s_openapi::api::discovery::v1::EndpointSlice;

use crate::build::{Children, Live};
use crate::probe::ProbeFailure;
use crate::read::Facts;

/// What was seen.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Findings {
    /// Where the Deployment's rollout is.
    pub rollout: Rollout,
    /// Whether the Deployment calls itself available.
    pub available: bool,
    /// Pods there are.
    pub replicas: i32,
    /// Pods that are ready.
    pub ready_replicas: i32,
    /// Whether the Service leads to at least one ready Pod.
    pub reachable: bool,
    /// What keeps a Pod from being ready.
    pub pod_problem: Option<PodProblem>,
    /// Where clients will look, and something else than the registry, or nothing, is found; asked before Ready only.
    pub probe_failure: Option<ProbeFailure>,
    /// Whether that has been so for longer than proxies need.
    pub probe_failing_for_long: bool,
    /// Phase of the claim while it is not bound.
    pub unbound_claim: Option<(String, String)>,
    /// Capacity of the volume.
    pub capacity: Option<String>,
}

/// Where a rollout is.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum Rollout {
    /// There is no Deployment.
    #[default]
    Absent,
    /// Not every Pod is of the newest kind yet, or old ones are still there.
    Progressing,
    /// Kubernetes has given up waiting.
    Stuck,
    /// Every Pod is of the newest kind.
    Complete,
}

impl Rollout {
    /// Judged as `kubectl rollout status` does.
    pub fn of(deployment: &Deployment) -> Self {
        let wanted = deployment
            .spec
            .as_ref()
            .and_then(|spec| spec.replicas)
            .unwrap_or(1);
        let Some(status) = &deployment.status else {
            return Self::Progressing;
        };
        // Until the Deployment's controller has seen the newest generation, its status is about an older one.
        if status.observed_generation < deployment.metadata.generation {
            return Self::Progressing;
        }
        let condition = |kind: &str| status.conditions.iter().flatten().find(|c| c.type_ == kind);
        if condition("Progressing").is_some_and(|c| c.reason.as_deref() == Some("ProgressDeadlineExceeded")) {
            return Self::Stuck;
        }
        let updated = status.updated_replicas.unwrap_or(0);
        let all = status.replicas.unwrap_or(0);
        if updated < wanted || all > updated {
            Self::Progressing
        } else {
            Self::Complete
        }
    }
}

/// Looks at the objects as they were applied.
pub fn findings(children: &Children<Live>, facts: &Facts) -> Findings {
    let claim = children.claim.as_ref().or(facts.named_claim.as_ref());
    look(Some(&children.deployment), claim, &facts.endpoints, &facts.pods)
}

/// Looks at whatever there is, for passes that did not get as far as applying.
pub fn look(
    deployment: Option<&Deployment>,
    claim: Option<&PersistentVolumeClaim>,
    endpoints: &[EndpointSlice],
    pods: &[Pod],
) -> Findings {
    let status = deployment.and_then(|deployment| deployment.status.as_ref());
    let available = status
        .and_then(|status| status.conditions.as_ref())
        .is_some_and(|all| all.iter().any(|c| c.type_ == "Available" && c.status == "True"));
    let claim_status = claim.and_then(|claim| claim.status.as_ref());
    let capacity = claim_status.and_then(|status| Some(status.capacity.as_ref()?.get("storage")?.0.clone()));
    let unbound_claim = claim.and_then(|claim| {
        let phase = claim_status
            .and_then(|status| status.phase.clone())
            .unwrap_or_else(|| "Pending".to_owned());
        (phase != "Bound").then(|| (claim.metadata.name.clone().unwrap_or_default(), phase))
    });
    Findings {
        rollout: deployment.map_or(Rollout::Absent, Rollout::of),
        available,
        replicas: status.and_then(|status| status.replicas).unwrap_or(0),
        ready_replicas: status.and_then(|status| status.ready_replicas).unwrap_or(0),
        reachable: endpoints
            .iter()
            .flat_map(|slice| &slice.endpoints)
            .any(|endpoint| {
                // Absent means ready, by the API's own message.
                endpoint
                    .conditions
                    .as_ref()
                    .and_then(|conditions| conditions.ready)
                    .unwrap_or(true)
            }),
        pod_problem: refused(status).or_else(|| pods.iter().find_map(PodProblem::of)),
        probe_failure: None,
        probe_failing_for_long: false,
        unbound_claim,
        capacity,
    }
}

/// Why a Pod is not ready. Kinds, and not the kubelet's own words: those change from second to second, and each change
/// would be a write.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum PodProblem {
    /// The API server refuses the Pods; its words.
    Refused(String),
    /// No node takes the Pod; the scheduler's words.
    Unschedulable {
        /// The Pod.
        pod: String,
        /// The scheduler's words.
        message: String,
    },
    /// An image cannot be pulled.
    Image {
        /// The Pod.
        pod: String,
        /// The image.
        image: String,
    },
    /// The container ends again and again.
    Crashing {
        /// The Pod.
        pod: String,
        /// Its last exit code.
        exit_code: Option<i32>,
        /// What the server said last, when that was an error.
        message: Option<String>,
    },
    /// The server runs and cannot serve; its own words, which are the same as long as the cause is.
    Unready {
        /// The Pod.
        pod: String,
        /// What its `/readyz` says.
        message: String,
    },
    /// The container cannot be made; the kubelet's reason.
    Container {
        /// The Pod.
        pod: String,
        /// The kubelet's reason.
        reason: String,
    },
}

/// A quota or an admission policy is in the way.
fn refused(status: Option<&DeploymentStatus>) -> Option<PodProblem> {
    let failure = status?
        .conditions
        .as_ref()?
        .iter()
        .find(|c| c.type_ == "ReplicaFailure" && c.status == "True")?;
    Some(PodProblem::Refused(failure.message.clone().unwrap_or_default()))
}

impl PodProblem {
    fn of(pod: &Pod) -> Option<Self> {
        let name = || pod.metadata.name.clone().unwrap_or_default();
        let status = pod.status.as_ref()?;
        if let Some(scheduled) = status
            .conditions
            .iter()
            .flatten()
            .find(|c| c.type_ == "PodScheduled")
            && scheduled.status == "False"
            && scheduled.reason.as_deref() == Some("Unschedulable")
        {
            let message = scheduled.message.clone().unwrap_or_default();
            return Some(Self::Unschedulable { pod: name(), message });
        }
        let container = status.container_statuses.as_ref()?.first()?;
        let reason = container.state.as_ref()?.waiting.as_ref()?.reason.as_deref()?;
        match reason {
            "ErrImagePull" | "ImagePullBackOff" | "ErrImageNeverPull" | "InvalidImageName" => {
                Some(Self::Image {
                    pod: name(),
                    image: container.image.clone(),
                })
            }
            "CrashLoopBackOff" => {
                let last = container
                    .last_state
                    .as_ref()
                    .and_then(|state| state.terminated.as_ref());
                Some(Self::Crashing {
                    pod: name(),
                    exit_code: last.map(|last| last.exit_code),
                    message: last.and_then(|last| last_error(last.message.as_deref()?)),
                })
            }
            "ContainerCreating" | "PodInitializing" => None,
            other => Some(Self::Container {
                pod: name(),
                reason: other.to_owned(),
            }),
        }
    }
}

/// The error with which the server ended, out of the last lines of its log. Lines of the log itself carry times and
/// numbers that are new with each try; the error is the same, and holds nothing of a Secret.
fn last_error(log: &str) -> Option<String> {
    let said = |prefix: &str| log.lines().rev().find_map(|line| line.strip_prefix(prefix));
    let error = said("error: ").filter(|error| !error.is_empty())?;
    Some(match said("hint: ") {
        Some(hint) => format!("{error}; {hint}"),
        None => error.to_owned(),
    })
}

impl Findings {
    /// Whether a client that comes now is served by the newest Pods.
    pub fn serving(&self) -> bool {
        self.up() && self.probe_failure.is_none()
    }

    /// Whether Kubernetes calls everything ready.
    pub fn up(&self) -> bool {
        self.rollout == Rollout::Complete && self.available && self.ready_replicas > 0 && self.reachable
    }
}

#[cfg(test)]
mod tests {
    use super::last_error;

    #[test]
    fn the_servers_last_error_is_found_among_the_lines_of_its_log() {
        let log = "time=\"2026-03-01T12:00:00Z\" level=warning msg=\"error: not this\"\n\
                   warning: /etc/berth/config/config.yml: `a` is not a known key\n\
                   error: the store belongs to `quay/pier`\n\
                   hint: name another folder\n";
        let message = last_error(log);
        assert_eq!(
            message.as_deref(),
            Some("the store belongs to `quay/pier`; name another folder")
        );
        assert_eq!(last_error("error: a\nerror: b\n").as_deref(), Some("b"));
        for nothing in ["", "panicked at somewhere", "error: ", "an error: elsewhere"] {
            assert_eq!(last_error(nothing), None, "{nothing}");
        }
    }
}
