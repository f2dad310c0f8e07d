//! The sources of credentials for S3, with a store that checks them as Amazon's does.
//!
//! Start at [`temporary_credentials_are_found_and_renewed`].

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::json;

use super::cloud_server::{CloudServer, IN_PIECES, LAYERS, LIMIT, operation_name};
use crate::cache::Cache;
use crate::runner::Bench;
use crate::stores::cloud::{Cloud, ROLE, S3Request};
use crate::wait::{Seen, wait_for};

/// A source of temporary credentials.
struct CredentialSource {
    /// Its name in the cloud.
    how: &'static str,
    /// The environment variables that select it.
    variables: Vec<(&'static str, String)>,
}

/// Temporary credentials are found where Amazon's SDKs find them, requested once, and renewed before they expire.
pub(in crate::cases) async fn temporary_credentials_are_found_and_renewed(bench: &Bench<'_>) -> Result<()> {
    let cloud = Cloud::start(&Cache::open()?, bench.dir).await?;
    let token = bench.dir.join("token");
    let file = token.display().to_string();
    let sources = [
        CredentialSource {
            how: "web identity",
            variables: vec![
                ("AWS_ROLE_ARN", ROLE.to_owned()),
                ("AWS_WEB_IDENTITY_TOKEN_FILE", file.clone()),
                ("AWS_ENDPOINT_URL_STS", format!("https://{}", cloud.tls)),
            ],
        },
        CredentialSource {
            how: "container",
            variables: vec![
                (
                    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
                    format!("http://{}/container", cloud.address),
                ),
                ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", file),
            ],
        },
        CredentialSource {
            how: "instance",
            variables: vec![(
                "AWS_EC2_METADATA_SERVICE_ENDPOINT",
                format!("http://{}/", cloud.address),
            )],
        },
    ];
    for source in sources {
        let proved = async {
            let root = source.how.replace(' ', "-");
            credentials_last(bench, &cloud, &source, &root, &token).await?;
            credentials_expire(bench, &cloud, &source, &root, &token).await
        };
        proved.await.with_context(|| format!("by {}", source.how))?;
    }
    Ok(())
}

/// Makes the cloud expect the token `text`, and writes it into the file.
async fn rotate(cloud: &Cloud, file: &PathBuf, text: &str) -> Result<()> {
    cloud.want(&json!({"token": text})).await?;
    std::fs::write(file, text).with_context(|| format!("cannot write `{}`", file.display()))
}

/// A server asks once for credentials that last an hour, whatever it does.
async fn credentials_last(
    bench: &Bench<'_>,
    cloud: &Cloud,
    source: &CredentialSource,
    root: &str,
    token: &PathBuf,
) -> Result<()> {
    cloud.want(&json!({"lifetime": 3600})).await?;
    rotate(cloud, token, "the first token").await?;
    cloud.given().await?;
    let section = cloud.section(root, IN_PIECES);
    let server =
        CloudServer::start(bench, &format!("{root}-lasts"), cloud, section, &source.variables).await?;
    cloud.requests().await?;
    server.pushes(1).await?;
    server.pulls().await?;
    let given = cloud.given().await?;
    let [one] = given.as_slice() else {
        bail!("credentials were given {} times: {given:?}", given.len());
    };
    ensure!(one.how == source.how, "given by {}", one.how);
    let requests = cloud.requests().await?;
    let strangers: Vec<&S3Request> = requests
        .iter()
        .filter(|request| request.refused.is_some() || request.by.as_ref() != Some(&one.key))
        .collect();
    ensure!(strangers.is_empty(), "not by these credentials: {strangers:?}");
    // Clients use URLs signed with the temporary credentials at the store, and so do the server's own copies.
    let by_url = |operation_of: &str| {
        requests
            .iter()
            .filter(|request| request.signed == "url" && operation_name(request) == operation_of)
            .count()
    };
    let (reads, copies) = (
        requests
            .iter()
            .filter(|request| request.signed == "url" && request.method == "GET")
            .count(),
        by_url("part by copy"),
    );
    ensure!(
        reads >= LAYERS.len() && copies >= 2,
        "{reads} reads and {copies} copies by URL"
    );
    bench.note(format!(
        "{}: {} requests by credentials that were asked for once",
        source.how,
        requests.len()
    ));
    Ok(())
}

/// A server goes on with credentials that expire at once, and with a rotated token.
async fn credentials_expire(
    bench: &Bench<'_>,
    cloud: &Cloud,
    source: &CredentialSource,
    root: &str,
    token: &PathBuf,
) -> Result<()> {
    cloud.want(&json!({"lifetime": 4})).await?;
    let section = cloud.section(root, "");
    let server =
        CloudServer::start(bench, &format!("{root}-ends"), cloud, section, &source.variables).await?;
    server.pulls().await?;
    rotate(cloud, token, "the second token").await?;
    let before: BTreeSet<String> = cloud.given().await?.into_iter().map(|given| given.key).collect();
    ensure!(!before.is_empty(), "no credentials were given");
    // Each check is a push, whose requests bring new credentials. The credentials before have expired by then.
    let mut seed = 10;
    wait_for("credentials after those that ended", LIMIT, async || {
        seed += 1;
        server.pushes(seed).await?;
        let requests = cloud.requests().await?;
        let refused: Vec<&S3Request> = requests
            .iter()
            .filter(|request| request.refused.is_some())
            .collect();
        if !refused.is_empty() {
            return Ok(Seen::Never(anyhow::anyhow!("refused: {refused:?}")));
        }
        let fresh = requests
            .iter()
            .filter_map(|request| request.by.as_ref())
            .filter(|by| !before.contains(*by))
            .collect::<BTreeSet<_>>()
            .len();
        Ok(if fresh >= 3 {
            Seen::Done(())
        } else {
            Seen::NotYet(format!("{fresh} new credentials"))
        })
    })
    .await?;
    if source.how == "instance" {
        return Ok(());
    }
    // A refused token is reported as such. The right one is used without a restart.
    std::fs::write(token, "nobody's token")?;
    server.refuses("cannot get credentials", false).await?;
    rotate(cloud, token, "the third token").await?;
    server.recovers().await
}

/// Keys with a session token open the bucket, and without it they do not. A server without any source of credentials
/// says so.
pub(in crate::cases) async fn a_session_is_needed_and_told(bench: &Bench<'_>) -> Result<()> {
    let cloud = Cloud::start(&Cache::open()?, bench.dir).await?;
    let given = cloud.credentials().await?;
    let keys = |token: &str| {
        format!(
            "accesskey: {}, secretkey: \"{}\", sessiontoken: \"{token}\"",
            given.access_key_id, given.secret_access_key
        )
    };
    let section = cloud.section("session", &keys(&given.token));
    let server = CloudServer::start(bench, "session", &cloud, section, &[]).await?;
    cloud.requests().await?;
    server.pushes(1).await?;
    server.pulls().await?;
    let requests = cloud.requests().await?;
    let by = Some(&given.access_key_id);
    ensure!(!requests.is_empty(), "the store saw no request");
    for request in &requests {
        ensure!(
            request.refused.is_none() && request.by.as_ref() == by,
            "{request:?}"
        );
    }

    let section = cloud.section("session", &keys("another session"));
    let server = CloudServer::start(bench, "another-session", &cloud, section, &[]).await?;
    server.refuses("the store refuses the credentials", false).await?;

    // A port without a listener stands for a machine without a metadata service.
    let nobody = (
        "AWS_EC2_METADATA_SERVICE_ENDPOINT",
        "http://127.0.0.1:1".to_owned(),
    );
    let section = cloud.section("session", "");
    let server = CloudServer::start(bench, "nobody", &cloud, section, &[nobody]).await?;
    server
        .refuses("no credentials for the store can be had", true)
        .await
}
