//! How full the file system with the content is. A server tells it at the address of its probes.
//!
//! Start at [`address`] and [`used_percent`].

use http::StatusCode;
use serde::Deserialize;

use super::request::{body, client, pod_url};
use crate::read::Facts;
use crate::validate::ValidatedRegistry;

/// The longest answer that is read, in bytes.
const ANSWER_MAX: usize = 4096;

/// The answer of a server. An object store has no figures.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    capacity_bytes: Option<u64>,
    available_bytes: Option<u64>,
}

/// The address of a ready Pod; `None` where the content is not on a file system.
pub(super) fn address(registry: &ValidatedRegistry, facts: &Facts) -> Option<String> {
    let storage = registry.storage.as_ref()?;
    if storage.location().is_some() {
        return None;
    }
    let mut endpoints = facts.endpoints.iter().flat_map(|slice| &slice.endpoints);
    let ready = endpoints.find(|endpoint| {
        let conditions = endpoint.conditions.as_ref();
        conditions.and_then(|conditions| conditions.ready).unwrap_or(true)
    });
    ready?.addresses.first().cloned()
}

/// The used share in whole percent, rounded down. `None` without an answer, which servers of earlier versions do not give.
pub(super) async fn used_percent(address: &str, port: u16) -> Option<i32> {
    let url = pod_url(address, port, "/debug/storage");
    let answer = client(None).ok()?.get(url).send().await.ok()?;
    if answer.status() != StatusCode::OK {
        return None;
    }
    let answer: Answer = serde_json::from_slice(&body(answer, ANSWER_MAX).await?).ok()?;
    let (capacity, available) = (answer.capacity_bytes?, answer.available_bytes?);
    let used = u128::from(capacity.checked_sub(available)?) * 100;
    i32::try_from(used.checked_div(u128::from(capacity))?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{Fixture, answer_once, least};

    async fn told(status: &str, body: &str) -> Option<i32> {
        let length = body.len();
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n{body}");
        used_percent(
            "127.0.0.1",
            answer_once("GET /debug/storage HTTP/1.1\r\n", answer).await,
        )
        .await
    }

    #[tokio::test]
    async fn a_share_is_told_by_servers_that_have_a_file_system() {
        let folder = r#"{"driver":"filesystem","capacityBytes":1000,"availableBytes":101}"#;
        assert_eq!(told("200 OK", folder).await, Some(89));
        assert_eq!(told("200 OK", r#"{"driver":"s3"}"#).await, None);
        assert_eq!(told("404 Not Found", "404 page not found").await, None);
        let empty = r#"{"driver":"filesystem","capacityBytes":0,"availableBytes":0}"#;
        assert_eq!(told("200 OK", empty).await, None);
    }

    #[test]
    fn a_ready_pod_is_asked_unless_the_content_is_in_a_bucket() {
        let mut fixture = Fixture::parse(&least(""));
        let slice = serde_json::json!({
            "addressType": "IPv4",
            "endpoints": [
                { "addresses": ["10.0.0.1"], "conditions": { "ready": false } },
                { "addresses": ["10.0.0.2"], "conditions": { "ready": true } },
            ],
        });
        fixture.facts.endpoints = vec![serde_json::from_value(slice).unwrap()];
        let registry = fixture.validate().unwrap();
        assert_eq!(address(&registry, &fixture.facts).as_deref(), Some("10.0.0.2"));
        let mut bucket = Fixture::parse(&least("").replace(
            "persistentVolumeClaim: {template: {size: 5Gi}}",
            "s3: {bucket: cargo, region: north-1, credentials: {workloadIdentity: {}}}",
        ));
        bucket.facts.endpoints = fixture.facts.endpoints.clone();
        let registry = bucket.validate().unwrap();
        assert_eq!(address(&registry, &bucket.facts), None);
    }
}
