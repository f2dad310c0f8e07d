//! The state of the running registry. `observe` and `probe` fill it in, `report` and the driver read it.

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use operator_api::{Endpoint, EndpointState, EndpointType};

/// The state of the running registry.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Findings {
    /// How far the Deployment's rollout is.
    pub rollout: Rollout,
    /// Whether the objects of a paused Registry are what its spec asks for.
    pub as_asked: bool,
    /// Number of Pods that are asked for.
    pub wanted: i32,
    /// Number of Pods.
    pub replicas: i32,
    /// Number of ready Pods.
    pub ready_replicas: i32,
    /// Whether the Service leads to at least one ready Pod.
    pub reachable: bool,
    /// Why a Pod is not ready.
    pub pod_problem: Option<PodProblem>,
    /// The addresses at which clients look, the preferred one first.
    pub endpoints: Vec<Endpoint>,
    /// The port on every node that leads to the registry.
    pub node_port: Option<i32>,
    /// Name and phase of the claim while it is not bound.
    pub unbound_claim: Option<(String, String)>,
    /// UID of the claim, once its volume was bound.
    pub claim_uid: Option<String>,
    /// Why no volume could be made for the claim.
    pub claim_problem: Option<String>,
    /// Capacity of the volume.
    pub capacity: Option<String>,
    /// The claim's volume is smaller than asked for.
    pub resize: Option<Resize>,
    /// The used share of the file system with the content, in whole percent; `None` while no Pod has told.
    pub used_percent: Option<i32>,
    /// Image of the Pods that the Deployment makes.
    pub image: Option<String>,
    /// The verification by a push and a pull; `None` when nobody asks for one.
    pub verification: Option<Verification>,
}

/// A volume that is being grown.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Resize {
    /// The claim.
    pub claim: String,
    /// Its capacity.
    pub from: String,
    /// The size that it asks for.
    pub to: String,
    /// Whether the rest is done when a Pod mounts the volume.
    pub at_mount: bool,
    /// Why it does not grow.
    pub problem: Option<String>,
}

/// The verification by a push and a pull.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Verification {
    /// It worked.
    Verified {
        /// The address.
        url: String,
        /// A hash of what was served.
        served: String,
        /// When it worked.
        time: Timestamp,
    },
    /// It did not.
    Failed {
        /// The address.
        url: String,
        /// The reason of the condition.
        reason: &'static str,
        /// The cause and the way out.
        message: String,
    },
    /// Nothing can be said yet.
    Waiting {
        /// The reason of the condition.
        reason: &'static str,
        /// The thing that is waited for.
        message: String,
    },
    /// A failure is in the status already, and the next result is awaited.
    AsBefore,
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
        /// The container.
        container: String,
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
        /// The container.
        container: String,
        /// The kubelet's reason.
        reason: String,
    },
}

/// Reasons of an [`Endpoint`] that is not verified.
pub mod endpoint_reason {
    /// Nothing answers.
    pub const NO_ANSWER: &str = "NoAnswer";
    /// Something answers that is no registry.
    pub const WRONG_ANSWER: &str = "WrongAnswer";
    /// Another Registry answers.
    pub const OTHER_REGISTRY: &str = "OtherRegistry";
    /// No Ingress controller has taken the Ingress.
    pub const NOT_PUBLISHED: &str = "NotPublished";
    /// The certificate is for other names.
    pub const HOST_NOT_COVERED: &str = "HostNotCovered";
    /// The certificate has expired or is not valid yet.
    pub const CERTIFICATE_EXPIRED: &str = "CertificateExpired";
}

/// Whether an endpoint's reason is about its certificate.
pub fn is_about_the_certificate(endpoint: &Endpoint) -> bool {
    let reason = endpoint.reason.as_deref();
    reason == Some(endpoint_reason::HOST_NOT_COVERED) || reason == Some(endpoint_reason::CERTIFICATE_EXPIRED)
}

impl Findings {
    /// Whether a ready Pod stands behind the Service.
    pub fn available(&self) -> bool {
        self.ready_replicas > 0 && self.reachable
    }

    /// Whether no Pod is asked for, and there is none.
    pub fn hibernates(&self) -> bool {
        self.wanted == 0 && self.rollout == Rollout::Complete
    }

    /// Whether every Pod has the newest template and is ready.
    pub fn rolled_out(&self) -> bool {
        self.rollout == Rollout::Complete && self.ready_replicas >= self.wanted
    }

    /// The address that clients use: one that was verified, or that nobody may ask.
    pub fn url(&self) -> Option<&str> {
        self.published().map(|endpoint| endpoint.url.as_str())
    }

    /// The endpoint with the address that clients use.
    pub fn published(&self) -> Option<&Endpoint> {
        let is_published = |endpoint: &&Endpoint| {
            matches!(endpoint.state, EndpointState::Verified | EndpointState::NotProbed)
        };
        self.endpoints.iter().find(is_published)
    }

    /// The first address whose first answer is still awaited.
    pub fn pending_endpoint(&self) -> Option<&Endpoint> {
        // A load balancer's own address is for clients that no other address was made for.
        let mut endpoints = self
            .endpoints
            .iter()
            .filter(|e| e.type_ != EndpointType::LoadBalancer);
        endpoints.find(|endpoint| endpoint.state == EndpointState::Pending)
    }

    /// The first address that does not do what the spec promises. The certificate need not cover the addresses of the
    /// Service and its load balancer, for which nobody asked by name.
    pub fn failed_endpoint(&self) -> Option<&Endpoint> {
        let is_promised = |endpoint: &Endpoint| match endpoint.type_ {
            EndpointType::Public | EndpointType::Ingress => true,
            EndpointType::LoadBalancer => false,
            EndpointType::Service => !is_about_the_certificate(endpoint),
        };
        let mut failed = self.endpoints.iter().filter(|e| e.state == EndpointState::Failed);
        failed.find(|endpoint| is_promised(endpoint))
    }
}
