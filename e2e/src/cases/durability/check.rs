//! Compares a server's answers with an [`ExpectedState`].

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use reqwest::{Method, StatusCode};
use serde_json::Value;

use super::client::{ScenarioClient, location};
use super::scenario::{ExpectedState, HERE, Presence, Scenario, UploadProgress};
use crate::protocol::digest;

/// The kind of interruption, which decides what an upload may have lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Interruption {
    /// The process ended. An upload holds exactly the bytes it reports.
    Kill,
    /// The machine ended. An upload may hold other bytes, and then no blob may come of it.
    PowerLoss,
}

struct Answer {
    status: StatusCode,
    digest: Option<String>,
    body: Bytes,
}

/// Checks everything. An unexpected answer is an error that describes it.
///
/// # Errors
/// Content was lost or is incomplete, or an answer is 5xx.
pub(super) async fn check(
    client: &ScenarioClient,
    scenario: &Scenario,
    expected: &ExpectedState,
    interruption: Interruption,
) -> Result<()> {
    for ((repository, name), presence) in &expected.blobs {
        let path = format!("/v2/{repository}/blobs/{name}");
        whole_or_absent(client, scenario, &path, name, *presence).await?;
    }
    for (name, presence) in &expected.manifests {
        let path = format!("/v2/{HERE}/manifests/{name}");
        whole_or_absent(client, scenario, &path, name, *presence).await?;
    }
    for (tag, meant) in &expected.tags {
        let path = format!("/v2/{HERE}/manifests/{tag}");
        let answer = get(client, &path).await?;
        let found = match answer.status {
            StatusCode::NOT_FOUND => None,
            _ => answer.digest.clone(),
        };
        ensure!(
            meant.contains(&found),
            "tag {tag} means {found:?} ({}), of {meant:?}",
            answer.status
        );
        if let Some(found) = found {
            ensure!(answer.status == StatusCode::OK, "{path}: {}", answer.status);
            is_whole(scenario, &path, &found, &answer.body)?;
        }
    }
    lists(client, scenario, expected).await?;
    for (number, upload) in expected.uploads.iter().enumerate() {
        // Nobody knows the location of an upload whose start was not answered.
        if let Some(path) = client.uploads.get(number).and_then(Option::as_ref) {
            go_on(client, path, &scenario.uploads[number], *upload, interruption)
                .await
                .with_context(|| format!("upload {number}"))?;
        }
    }
    Ok(())
}

async fn whole_or_absent(
    client: &ScenarioClient,
    scenario: &Scenario,
    path: &str,
    name: &str,
    presence: Presence,
) -> Result<()> {
    let answer = get(client, path).await?;
    let expected = match presence {
        Presence::Present => answer.status == StatusCode::OK,
        Presence::Absent => answer.status == StatusCode::NOT_FOUND,
        Presence::Maybe => matches!(answer.status, StatusCode::OK | StatusCode::NOT_FOUND),
    };
    ensure!(expected, "{path} should be {presence:?}: {}", answer.status);
    let head = ask(client, Method::HEAD, path, Bytes::new()).await?;
    ensure!(
        head.status == answer.status,
        "{path}: GET {}, HEAD {}",
        answer.status,
        head.status
    );
    if answer.status == StatusCode::OK {
        is_whole(scenario, path, name, &answer.body)?;
    }
    Ok(())
}

fn is_whole(scenario: &Scenario, path: &str, name: &str, body: &Bytes) -> Result<()> {
    let expected = scenario.content.get(name).context("bytes nobody sent")?;
    ensure!(
        body == expected,
        "{path}: {} bytes that are not those sent",
        body.len()
    );
    Ok(())
}

async fn lists(client: &ScenarioClient, scenario: &Scenario, expected: &ExpectedState) -> Result<()> {
    let certain: BTreeSet<&str> = expected
        .tags
        .iter()
        .filter(|(_, meant)| !meant.contains(&None))
        .map(|(tag, _)| *tag)
        .collect();
    let path = format!("/v2/{HERE}/tags/list");
    let answer = get(client, &path).await?;
    let listed = match answer.status {
        StatusCode::OK => texts(&answer.body, "tags")?,
        // Before the first push the repository does not exist.
        StatusCode::NOT_FOUND => BTreeSet::new(),
        status => anyhow::bail!("{path}: {status}"),
    };
    ensure!(
        certain.iter().all(|tag| listed.contains(*tag)),
        "{path} lists {listed:?} without all of {certain:?}"
    );
    ensure!(
        listed.iter().all(|tag| expected.tags.contains_key(tag.as_str())),
        "{path} lists {listed:?}, of which some are nobody's"
    );
    let answer = get(client, "/v2/_catalog").await?;
    ensure!(answer.status == StatusCode::OK, "the catalog: {}", answer.status);
    let listed = texts(&answer.body, "repositories")?;
    ensure!(
        certain.is_empty() || listed.contains(HERE),
        "the catalog lists {listed:?}"
    );
    let path = format!("/v2/{HERE}/referrers/{}", scenario.subject);
    let answer = get(client, &path).await?;
    ensure!(answer.status == StatusCode::OK, "{path}: {}", answer.status);
    let listed: Value = serde_json::from_slice(&answer.body)?;
    let entries = listed["manifests"].as_array().context("no list of referrers")?;
    let is_there = entries
        .iter()
        .any(|entry| entry["digest"] == scenario.referrer.as_str());
    let expected = match expected.manifests[&scenario.referrer] {
        Presence::Present => is_there,
        Presence::Absent => !is_there,
        Presence::Maybe => true,
    };
    ensure!(expected, "{path}: {listed}");
    Ok(())
}

fn texts(body: &[u8], field: &str) -> Result<BTreeSet<String>> {
    let value: Value = serde_json::from_slice(body)?;
    let list = value[field]
        .as_array()
        .with_context(|| format!("no list: {value}"))?;
    list.iter()
        .map(|text| text.as_str().map(str::to_owned).context("no text"))
        .collect()
}

/// Asks how much an upload holds, sends the rest, and checks the blob.
async fn go_on(
    client: &ScenarioClient,
    path: &str,
    whole: &Bytes,
    expected: UploadProgress,
    interruption: Interruption,
) -> Result<()> {
    let answer = client.request(Method::GET, path, Bytes::new())?.send().await?;
    let status = answer.status();
    let possible = match expected.presence {
        Presence::Present => status == StatusCode::NO_CONTENT,
        Presence::Absent => status == StatusCode::NOT_FOUND,
        Presence::Maybe => matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_FOUND),
    };
    ensure!(possible, "should be {expected:?}: {status}");
    if status == StatusCode::NOT_FOUND {
        return Ok(());
    }
    let range = answer.headers().get("range").context("no `Range`")?.to_str()?;
    let last: usize = range.strip_prefix("0-").context("no range")?.parse()?;
    // Zero bytes and one byte are both reported as `0-0`. No part of the scenario ends at one byte.
    let held = if last == 0 { 0 } else { last + 1 };
    ensure!(
        (expected.least..=expected.most).contains(&held),
        "should be {expected:?}: holds {held}"
    );
    let name = digest(whole);
    let put = format!("{}&digest={name}", location(&answer)?);
    let answer = ask(client, Method::PUT, &put, whole.slice(held..)).await?;
    match (answer.status, interruption) {
        (StatusCode::CREATED, _) => {}
        (StatusCode::BAD_REQUEST, Interruption::PowerLoss) => {
            let body: Value = serde_json::from_slice(&answer.body)?;
            ensure!(body["errors"][0]["code"] == "DIGEST_INVALID", "finished: {body}");
            return Ok(());
        }
        (status, _) => anyhow::bail!("finished from {held}: {status}"),
    }
    let blob = get(client, &format!("/v2/{HERE}/blobs/{name}")).await?;
    ensure!(
        blob.status == StatusCode::OK && blob.body == *whole,
        "finished from {held}: the blob is {} with {} bytes",
        blob.status,
        blob.body.len()
    );
    Ok(())
}

async fn get(client: &ScenarioClient, path: &str) -> Result<Answer> {
    ask(client, Method::GET, path, Bytes::new()).await
}

async fn ask(client: &ScenarioClient, method: Method, path: &str, body: Bytes) -> Result<Answer> {
    let answer = client.request(method.clone(), path, body)?.send().await?;
    let status = answer.status();
    let digest = answer.headers().get("docker-content-digest");
    let digest = digest.and_then(|digest| digest.to_str().ok()).map(str::to_owned);
    let body = answer
        .bytes()
        .await
        .with_context(|| format!("{method} {path} broke off"))?;
    ensure!(
        !status.is_server_error(),
        "{method} {path}: {status}: {:.300}",
        String::from_utf8_lossy(&body)
    );
    Ok(Answer { status, digest, body })
}
