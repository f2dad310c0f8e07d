//! The state of the running registry. `observe` and `probe` fill it in, `probe`, `report` and the driver read it.

use k8s_openapi::api::apps::v1::Deployment;

/// The state of the running registry.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Findings {
    /// How far the Deployment's rollout is.
    pub rollout: Rollout,
    /// Whether the Deployment calls itself available.
    pub available: bool,
    /// Number of Pods.
    pub replicas: i32,
    /// Number of ready Pods.
    pub ready_replicas: i32,
    /// Whether the Service leads to at least one ready Pod.
    pub reachable: bool,
    /// Why a Pod is not ready.
    pub pod_problem: Option<PodProblem>,
    /// Why clients do not reach the registry although Kubernetes calls it ready. Only asked before Ready is reported.
    pub probe_failure: Option<ProbeFailure>,
    /// Whether the probe has failed for longer than proxies need to learn of a new Pod.
    pub probe_failing_for_long: bool,
    /// Name and phase of the claim while it is not bound.
    pub unbound_claim: Option<(String, String)>,
    /// UID of the claim, once its volume was bound.
    pub claim_uid: Option<String>,
    /// Capacity of the volume.
    pub capacity: Option<String>,
}

/// How far a rollout is.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum Rollout {
    /// There is no Deployment.
    #[default]
    Absent,
    /// Not every Pod has the newest template, or old Pods are still there.
    Progressing,
    /// The Deployment exceeded its progress deadline.
    Stuck,
    /// Every Pod has the newest template.
    Complete,
}

impl Rollout {
    /// Decides as `kubectl rollout status` does.
    pub fn of(deployment: &Deployment) -> Self {
        let wanted = deployment
            .spec
            .as_ref()
            .and_then(|spec| spec.replicas)
            .unwrap_or(1);
        let Some(status) = &deployment.status else {
            return Self::Progressing;
        };
        // The status is about an older generation until the Deployment's controller has seen the newest.
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

/// Why a Pod is not ready. The kubelet's own messages are left out where they change from second to second, because
/// each change of the status would be a write.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum PodProblem {
    /// The API server refuses to create the Pods, with this message: a quota or an admission policy.
    Refused(String),
    /// No node takes the Pod.
    Unschedulable {
        /// The Pod.
        pod: String,
        /// The scheduler's message.
        message: String,
    },
    /// An image cannot be pulled.
    Image {
        /// The Pod.
        pod: String,
        /// The image.
        image: String,
    },
    /// The container is in CrashLoopBackOff.
    Crashing {
        /// The Pod.
        pod: String,
        /// Its last exit code.
        exit_code: Option<i32>,
        /// The error with which the server exited, when its log has one.
        message: Option<String>,
    },
    /// The server runs and reports that it cannot serve.
    Unready {
        /// The Pod.
        pod: String,
        /// The answer of its `/readyz`, which stays the same as long as the cause does.
        message: String,
    },
    /// The container cannot be created.
    Container {
        /// The Pod.
        pod: String,
        /// The kubelet's reason.
        reason: String,
    },
}

/// Why a client would not reach the registry at one of its addresses.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ProbeFailure {
    /// Nothing answers there, or the operator's network does not lead there.
    Unreachable(String),
    /// Something answers, but not the registry.
    WrongAnswer(String),
}

impl ProbeFailure {
    /// The sentence for the status.
    pub fn sentence(&self) -> &str {
        match self {
            Self::Unreachable(sentence) | Self::WrongAnswer(sentence) => sentence,
        }
    }
}

impl Findings {
    /// Whether Kubernetes calls everything ready and the probe, when it was made, succeeded.
    pub fn serving(&self) -> bool {
        self.up() && self.probe_failure.is_none()
    }

    /// Whether Kubernetes calls everything ready.
    pub fn up(&self) -> bool {
        self.rollout == Rollout::Complete && self.available && self.ready_replicas > 0 && self.reachable
    }
}
