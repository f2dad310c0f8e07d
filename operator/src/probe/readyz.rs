//! Why a running Pod is not ready. Its server answers `/readyz` with the reason, which the kubelet does not pass on.
//!
//! Start at [`unready`] and [`reason`].

use http::StatusCode;
use k8s_openapi::api::core::v1::Pod;

use super::request::{body, client, pod_url};
use crate::findings::PodProblem;
use crate::pod_layout::{CONTAINER, PROBE_PORT};

/// The longest answer that is read, in bytes. The sentences about all checks of a server are shorter.
const ANSWER_MAX: usize = 4096;
/// The longest message that is reported, in characters.
const MESSAGE_MAX: usize = 500;

/// The Pods that run and are not ready, by name and address.
pub(super) fn unready(pods: &[Pod]) -> Vec<(String, String)> {
    pods.iter().filter_map(running_and_unready).collect()
}

/// Asks the first Pod that gives a reason. `None` when there is none, or when none can be reached.
pub(super) async fn reason(pods: &[(String, String)]) -> Option<PodProblem> {
    for (pod, address) in pods {
        if let Some(message) = ask(address, PROBE_PORT).await {
            return Some(PodProblem::Unready {
                pod: pod.clone(),
                message,
            });
        }
    }
    None
}

/// Name and address of a Pod whose server runs, that is not ready, and that is not being deleted.
fn running_and_unready(pod: &Pod) -> Option<(String, String)> {
    let status = pod.status.as_ref()?;
    let mut containers = status.container_statuses.iter().flatten();
    let server = containers.find(|container| container.name == CONTAINER)?;
    let runs = server.state.as_ref().is_some_and(|state| state.running.is_some());
    if server.ready || !runs || pod.metadata.deletion_timestamp.is_some() {
        return None;
    }
    Some((pod.metadata.name.clone()?, status.pod_ip.clone()?))
}

/// The server's message. Without an answer there is none; Ready says all the same that the Pod is not ready.
async fn ask(address: &str, port: u16) -> Option<String> {
    let request = client(None).ok()?.get(pod_url(address, port, "/readyz"));
    let answer = request.send().await.ok()?;
    if answer.status() != StatusCode::SERVICE_UNAVAILABLE {
        return None;
    }
    let body = body(answer, ANSWER_MAX).await?;
    let text = String::from_utf8_lossy(&body);
    let message = text.lines().map(str::trim).collect::<Vec<_>>().join("; ");
    (!message.is_empty()).then(|| message.chars().take(MESSAGE_MAX).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::fixtures::answer_once;

    async fn answering(answer: String) -> u16 {
        answer_once("GET /readyz HTTP/1.1\r\n", answer).await
    }

    fn http(status: &str, body: &str) -> String {
        format!(
            "HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
    }

    #[tokio::test]
    async fn a_servers_own_words_are_passed_on_and_nothing_else_is() {
        let unready = http(
            "503 Service Unavailable",
            "storagedriver_s3: bucket `cargo` does not exist\n",
        );
        assert_eq!(
            ask("127.0.0.1", answering(unready).await).await.as_deref(),
            Some("storagedriver_s3: bucket `cargo` does not exist")
        );
        for other in [
            http("200 OK", "ok\n"),
            http("404 Not Found", "404 page not found\n"),
            http("503 Service Unavailable", ""),
            http("503 Service Unavailable", &"long\n".repeat(ANSWER_MAX)),
            "nonsense\r\n\r\n".to_owned(),
        ] {
            let port = answering(other.clone()).await;
            assert_eq!(
                ask("127.0.0.1", port).await,
                None,
                "{}",
                &other[..other.len().min(80)]
            );
        }
    }

    #[test]
    fn only_a_pod_that_runs_unready_and_stays_is_asked() {
        let pod = |state: &str, ready: bool, deleted: Option<&str>| -> Pod {
            let container = json!({
                "name": "registry", "image": "a", "imageID": "b", "restartCount": 0, "ready": ready,
                "state": { state: {} },
            });
            serde_json::from_value(json!({
                "metadata": { "name": "harbour-1", "deletionTimestamp": deleted },
                "status": { "podIP": "10.0.0.7", "containerStatuses": [container] },
            }))
            .unwrap()
        };
        let asked = |pod: Pod| running_and_unready(&pod).map(|(name, address)| format!("{name} {address}"));
        assert_eq!(
            asked(pod("running", false, None)).as_deref(),
            Some("harbour-1 10.0.0.7")
        );
        assert_eq!(asked(pod("running", true, None)), None);
        assert_eq!(asked(pod("waiting", false, None)), None);
        assert_eq!(asked(pod("running", false, Some("2026-03-01T12:00:00Z"))), None);
    }
}
