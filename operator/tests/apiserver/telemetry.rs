//! Scrapes of the running program, its recent reconciles, and its log, whose filter is changed meanwhile.

use anyhow::{Context as _, Result, ensure};
use e2e::wait::{Seen, wait_for};
use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::operator::{DEADLINE, USERS, create, htpasswd, registry, rolling_out, secret};
use crate::program::Program;

async fn get(address: &str, path: &str) -> Result<String> {
    let answer = reqwest::get(format!("http://{address}{path}")).await?;
    let status = answer.status();
    let text = answer.text().await?;
    ensure!(status.is_success(), "{path}: {status}: {text}");
    Ok(text)
}

/// The number in the first line that begins with `name` and holds each of `labels`.
fn sample(text: &str, name: &str, labels: &[&str]) -> Option<f64> {
    let mut lines = text.lines().filter(|line| line.starts_with(name));
    let line = lines.find(|line| labels.iter().all(|label| line.contains(label)))?;
    line.rsplit(' ').next()?.parse().ok()
}

#[tokio::test]
async fn a_scrape_after_a_reconcile_holds_the_names_and_right_values() -> Result<()> {
    let cluster = Cluster::with_namespace("telemetry-scrape").await?;
    create(&cluster, &secret("users", &[("htpasswd", USERS)])).await?;
    create(&cluster, &registry("harbour", json!({ "auth": htpasswd() }))).await?;
    create(
        &cluster,
        &registry(
            "pier",
            json!({ "auth": { "htpasswd": { "secretKeyRef": { "name": "nobody" } } } }),
        ),
    )
    .await?;
    let operator = Program::start(&cluster, "berth-operator-1")?;
    rolling_out(&cluster, "harbour").await?;
    crate::operator::reason(&cluster, "pier", "SecretNotFound").await?;
    let address = operator.address("metrics")?;
    let text = wait_for("both Registries in the metrics", DEADLINE, async || {
        let text = get(&address, "/metrics").await?;
        let has = |name: &str| sample(&text, "berth_registry_condition", &[name]).is_some();
        Ok(match has("harbour") && has("pier") {
            true => Seen::Done(text),
            false => Seen::NotYet(text),
        })
    })
    .await?;
    let value = |name: &str, labels: &[&str]| {
        sample(&text, name, labels).with_context(|| format!("no {name} with {labels:?} in:\n{text}"))
    };
    assert_eq!(value("berth_operator_leader", &[])?, 1.0);
    assert_eq!(value("berth_operator_build_info", &[operator::VERSION])?, 1.0);
    assert!(value("berth_operator_reconciles_total", &["success", "VolumePending"])? >= 1.0);
    assert!(value("berth_operator_reconcile_duration_seconds_count", &[])? >= 2.0);
    assert!(value("berth_operator_workqueue_wait_seconds_count", &[])? >= 2.0);
    let api = "berth_operator_api_requests_total";
    let namespaced = value(
        api,
        &["verb=\"patch\"", "resource=\"registries/status\"", "code=\"200\""],
    )?;
    assert!(namespaced >= 2.0, "{namespaced}");
    assert!(value(api, &["verb=\"watch\"", "resource=\"secrets\""])? >= 1.0);
    let of = |name: &'static str| ["namespace=\"telemetry-scrape\"", name];
    let conditions = "berth_registry_condition";
    assert_eq!(
        value(
            conditions,
            &[&of("name=\"harbour\"")[..], &["\"Ready\""]].concat()
        )?,
        0.0
    );
    assert_eq!(
        value(
            conditions,
            &[&of("name=\"pier\"")[..], &["\"Reconciling\""]].concat()
        )?,
        1.0
    );
    for secret in ["alice", "$2y$", "tls.key"] {
        assert!(!text.contains(secret), "`{secret}` is in the metrics");
    }

    // A Registry that is gone is told no more.
    cluster
        .api::<operator_api::Registry>()
        .delete("pier", &Default::default())
        .await?;
    wait_for(
        "the deleted Registry to leave the metrics",
        DEADLINE,
        async || {
            let text = get(&address, "/metrics").await?;
            Ok(match sample(&text, conditions, &["\"pier\""]) {
                None => Seen::Done(()),
                Some(_) => Seen::NotYet(text),
            })
        },
    )
    .await
}

#[tokio::test]
async fn support_sees_recent_reconciles_and_changes_the_log_without_a_restart() -> Result<()> {
    let cluster = Cluster::with_namespace("telemetry-support").await?;
    create(&cluster, &registry("harbour", json!({}))).await?;
    let operator = Program::start(&cluster, "berth-operator-1")?;
    rolling_out(&cluster, "harbour").await?;
    let address = operator.address("support")?;
    let recent = wait_for("a reconcile in the list", DEADLINE, async || {
        let list: Value = serde_json::from_str(&get(&address, "/debug/reconciles").await?)?;
        Ok(match list["reconciles"][0]["name"] == "harbour" {
            true => Seen::Done(list["reconciles"][0].clone()),
            false => Seen::NotYet(list.to_string()),
        })
    })
    .await?;
    assert_eq!(recent["namespace"], "telemetry-support");
    assert_eq!(recent["result"], "success");
    assert!(recent["next"].is_string() && recent["id"].is_number(), "{recent}");

    let client = reqwest::Client::new();
    let put = async |filter: &'static str, origin: Option<&str>| {
        let mut request = client.put(format!("http://{address}/debug/log")).body(filter);
        if let Some(origin) = origin {
            request = request.header("Origin", origin);
        }
        let answer = request.send().await?;
        anyhow::Ok((answer.status().as_u16(), answer.text().await?))
    };
    let (status, sentence) = put("operator=loud", None).await?;
    assert_eq!(status, 400);
    assert!(
        sentence.contains("`operator=loud` is no log filter"),
        "{sentence}"
    );
    assert_eq!(put("trace", Some("http://page.example")).await?.0, 403);
    assert!(!operator.log()?.contains("\"level\":\"DEBUG\""));
    assert_eq!(put("info,kube_client=debug", None).await?.0, 200);
    assert!(get(&address, "/debug/log").await?.contains("kube_client=debug"));
    let change = json!({ "spec": { "mode": "ReadOnly" } });
    crate::operator::merge::<operator_api::Registry>(&cluster, "harbour", change).await?;
    wait_for("a debug line", DEADLINE, async || {
        let log = operator.log()?;
        Ok(match log.contains("\"level\":\"DEBUG\"") {
            true => Seen::Done(()),
            false => Seen::NotYet(log),
        })
    })
    .await?;
    // The line about the reason of Ready says whose it is, and in which reconcile.
    let log = operator.log()?;
    let mut lines = log
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let line = lines
        .find(|line| line["reason"] == "VolumePending")
        .context("no line about the reason")?;
    assert_eq!(line["span"]["registry"], "harbour", "{line}");
    assert_eq!(line["span"]["namespace"], "telemetry-support", "{line}");
    assert!(line["span"]["reconcile"].is_number(), "{line}");
    Ok(())
}
