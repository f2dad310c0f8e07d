//! Why a Pod is not ready, as its status says.
//!
//! Guarantees: a Pod that is being deleted is no problem; containers that a webhook added are not taken for the server.
//! Start at [`first_problem`].

use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodStatus};

use crate::findings::PodProblem;
use crate::pod_layout::CONTAINER;

/// The problem of the first Pod that has one.
pub(super) fn first_problem(pods: &[Pod]) -> Option<PodProblem> {
    let mut staying = pods
        .iter()
        .filter(|pod| pod.metadata.deletion_timestamp.is_none());
    staying.find_map(problem_of)
}

fn problem_of(pod: &Pod) -> Option<PodProblem> {
    let name = pod.metadata.name.clone().unwrap_or_default();
    let status = pod.status.as_ref()?;
    if let Some(message) = unschedulable(status) {
        return Some(PodProblem::Unschedulable { pod: name, message });
    }
    // The server starts when the init containers have ended.
    let init = status.init_container_statuses.iter().flatten();
    let server = status
        .container_statuses
        .iter()
        .flatten()
        .filter(|c| c.name == CONTAINER);
    init.chain(server).find_map(|container| waiting(&name, container))
}

fn unschedulable(status: &PodStatus) -> Option<String> {
    let mut conditions = status.conditions.iter().flatten();
    let scheduled = conditions.find(|c| c.type_ == "PodScheduled")?;
    let refused = scheduled.status == "False" && scheduled.reason.as_deref() == Some("Unschedulable");
    refused.then(|| scheduled.message.clone().unwrap_or_default())
}

/// Why a container does not run.
fn waiting(pod: &str, container: &ContainerStatus) -> Option<PodProblem> {
    let pod = pod.to_owned();
    let reason = container.state.as_ref()?.waiting.as_ref()?.reason.as_deref()?;
    match reason {
        "ErrImagePull" | "ImagePullBackOff" | "ErrImageNeverPull" | "InvalidImageName" => {
            Some(PodProblem::Image {
                pod,
                image: container.image.clone(),
            })
        }
        "CrashLoopBackOff" => {
            let last = container
                .last_state
                .as_ref()
                .and_then(|state| state.terminated.as_ref());
            Some(PodProblem::Crashing {
                pod,
                container: container.name.clone(),
                exit_code: last.map(|last| last.exit_code),
                message: last.and_then(|last| last_error(last.message.as_deref()?)),
            })
        }
        "ContainerCreating" | "PodInitializing" => None,
        other => Some(PodProblem::Container {
            pod,
            container: container.name.clone(),
            reason: other.to_owned(),
        }),
    }
}

/// The error with which the server exited, out of the last lines of its log. The lines of the log itself hold times and
/// numbers that differ with each try. The error is the same each time and holds nothing of a Secret.
fn last_error(log: &str) -> Option<String> {
    let said = |prefix: &str| log.lines().rev().find_map(|line| line.strip_prefix(prefix));
    let error = said("error: ").filter(|error| !error.is_empty())?;
    Some(match said("hint: ") {
        Some(hint) => format!("{error}; {hint}"),
        None => error.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

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

    fn pod(deleted: Option<&str>, init: Value, containers: Value) -> Pod {
        serde_json::from_value(json!({
            "metadata": { "name": "harbour-1", "deletionTimestamp": deleted },
            "status": { "initContainerStatuses": init, "containerStatuses": containers },
        }))
        .unwrap()
    }

    fn container(name: &str, waiting: &str) -> Value {
        json!({
            "name": name, "image": "images.invalid/a:1", "imageID": "", "ready": false, "restartCount": 3,
            "state": { "waiting": { "reason": waiting } },
        })
    }

    #[test]
    fn the_server_is_found_beside_the_containers_of_a_webhook() {
        let crashing = container("mesh", "CrashLoopBackOff");
        let both = json!([crashing, container("registry", "ImagePullBackOff")]);
        let found = first_problem(&[pod(None, json!([]), both)]);
        assert!(matches!(found, Some(PodProblem::Image { .. })), "{found:?}");
        let alone = pod(None, json!([]), json!([container("mesh", "CrashLoopBackOff")]));
        assert_eq!(first_problem(&[alone]), None);
    }

    #[test]
    fn an_init_container_that_crashes_is_named() {
        let init = json!([container("unpack", "CrashLoopBackOff")]);
        let found = first_problem(&[pod(None, init, json!([container("registry", "PodInitializing")]))]);
        assert!(
            matches!(&found, Some(PodProblem::Crashing { container, .. }) if container == "unpack"),
            "{found:?}"
        );
    }

    #[test]
    fn a_pod_that_ends_is_no_problem() {
        let ending = pod(
            Some("2026-03-01T12:00:00Z"),
            json!([]),
            json!([container("registry", "CrashLoopBackOff")]),
        );
        assert_eq!(first_problem(&[ending]), None);
    }
}
