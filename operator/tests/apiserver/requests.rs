//! How many requests the operator sends: what it knows from its watches it does not ask for.

use std::collections::BTreeMap;

use anyhow::Result;
use e2e::audit::{Marker, Request};
use e2e::wait::{Seen, wait_for};
use k8s_openapi::api::core::v1::Secret;
use serde_json::json;

use crate::cluster::Cluster;
use crate::installed::{grant, operator_role};
use crate::operator::{DEADLINE, Operator, USERS, create, htpasswd, merge, registry, rolling_out, secret};

const REGISTRIES: usize = 10;

/// The requests that `user` sent, but for watches and questions for the API server's health.
fn requests(since: &Marker, user: &str) -> Result<Vec<Request>> {
    let mut requests = since.requests()?;
    requests.retain(|request| {
        request.impersonates(user) && request.verb != "watch" && !request.uri.starts_with("/readyz")
    });
    Ok(requests)
}

fn by_verb(requests: &[Request]) -> BTreeMap<&str, usize> {
    let mut counts = BTreeMap::new();
    for request in requests {
        *counts.entry(request.verb.as_str()).or_default() += 1;
    }
    counts
}

/// Waits until `more` reconciles have ended.
async fn reconciles(operator: &Operator, more: u64) -> Result<()> {
    let wanted = operator.health.reconciles() + more;
    wait_for("reconciles", DEADLINE, async || {
        let ended = operator.health.reconciles();
        Ok(match ended >= wanted {
            true => Seen::Done(()),
            false => Seen::NotYet(format!("{ended} of {wanted}")),
        })
    })
    .await
}

#[tokio::test]
async fn what_the_watches_tell_is_not_asked_for() -> Result<()> {
    let cluster = Cluster::with_namespace("requests").await?;
    let user = "requests-operator";
    grant(&cluster, &operator_role("requests")?, user).await?;
    let client = cluster.impersonating(user).await?;
    create(&cluster, &secret("users", &[("htpasswd", USERS)])).await?;
    let operator = Operator::with_client(&cluster, client.clone());
    // It may have been refused once, until the API server knows the new role.
    reconciles_begin(&operator).await?;

    let before = Marker::now(&cluster.server.audit_log())?;
    let names: Vec<String> = (0..REGISTRIES)
        .map(|number| format!("harbour-{number}"))
        .collect();
    for name in &names {
        let spec = json!({ "auth": htpasswd(), "storage": { "emptyDir": {} } });
        create(&cluster, &registry(name, spec)).await?;
    }
    for name in &names {
        rolling_out(&cluster, name).await?;
    }
    let birth = requests(&before, user)?;
    eprintln!("{REGISTRIES} Registries from nothing: {:?}", by_verb(&birth));
    let reads = |requests: &[Request]| {
        let found = requests.iter().filter(|request| !request.is_write());
        found
            .map(|request| format!("{} {}", request.verb, request.uri))
            .collect::<Vec<_>>()
    };
    assert!(birth.len() <= 20 * REGISTRIES, "{:?}", by_verb(&birth));
    assert!(reads(&birth).len() <= 2 * REGISTRIES, "{:?}", reads(&birth));

    // A change from outside starts a reconcile, which asks for nothing.
    let before = Marker::now(&cluster.server.audit_log())?;
    let touched = json!({ "metadata": { "annotations": { "somebody.example/touched": "1" } } });
    for name in &names {
        merge::<Secret>(&cluster, &format!("{name}-http"), touched.clone()).await?;
    }
    reconciles(&operator, 1).await?;
    operator.stop().await?;
    let quiet = requests(&before, user)?;
    assert_eq!(by_verb(&quiet), BTreeMap::new(), "{:?}", reads(&quiet));

    let before = Marker::now(&cluster.server.audit_log())?;
    let second = Operator::with_client(&cluster, client);
    reconciles(&second, REGISTRIES as u64).await?;
    second.stop().await?;
    let restart = requests(&before, user)?;
    eprintln!("a restart with {REGISTRIES} Registries: {:?}", by_verb(&restart));
    let writes = restart.iter().filter(|request| request.is_write()).count();
    assert_eq!(writes, 0);
    // One list for each watch, and the one Secret that all Registries name, by each worker at most.
    assert!(reads(&restart).len() <= 30, "{:?}", reads(&restart));
    Ok(())
}

async fn reconciles_begin(operator: &Operator) -> Result<()> {
    wait_for("the first lists", DEADLINE, async || {
        Ok(match operator.health.is_ready() {
            true => Seen::Done(()),
            false => Seen::NotYet("not ready".to_owned()),
        })
    })
    .await
}
