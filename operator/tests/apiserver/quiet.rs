//! Nothing is written when nothing changes.

use anyhow::Result;
use e2e::audit::Marker;
use e2e::wait::{Seen, wait_for};
use k8s_openapi::api::core::v1::Secret;
use serde_json::json;

use crate::cluster::Cluster;
use crate::operator::{DEADLINE, Operator, USERS, create, htpasswd, registry, rolling_out, secret};

#[tokio::test]
async fn an_operator_that_starts_again_looks_at_everything_and_writes_nothing() -> Result<()> {
    let cluster = Cluster::with_namespace("quiet-restart").await?;
    create(&cluster, &secret("users", &[("htpasswd", USERS)])).await?;
    let operator = Operator::start(&cluster);
    // Many fields, above all quantities and lists, because the API server rewrites those.
    let everything = json!({
        "auth": htpasswd(),
        "ingress": { "hosts": ["b.example", "a.example"], "className": "nginx" },
        "service": { "type": "NodePort", "annotations": { "x.example/y": "z" } },
        "pod": {
            "resources": { "requests": { "cpu": "0.5", "memory": "1024Mi" }, "limits": { "memory": "1.5Gi" } },
            "env": [{ "name": "EMPTY", "value": "" }],
            "tolerations": [{ "operator": "Exists", "effect": "NoSchedule" }],
            "affinity": { "podAntiAffinity": { "preferredDuringSchedulingIgnoredDuringExecution": [{
                "weight": 1,
                "podAffinityTerm": { "topologyKey": "kubernetes.io/hostname", "labelSelector": { "matchLabels": { "a": "b" } } },
            }] } },
        },
    });
    create(&cluster, &registry("harbour", everything)).await?;
    let role = json!({ "roleARN": "arn:aws:iam::1:role/mate" });
    let bucket = json!({ "bucket": "cargo", "region": "a", "credentials": { "workloadIdentity": role } });
    create(
        &cluster,
        &registry("pier", json!({ "storage": { "s3": bucket } })),
    )
    .await?;
    rolling_out(&cluster, "harbour").await?;
    rolling_out(&cluster, "pier").await?;
    operator.stop().await?;

    let before = Marker::now(&cluster.server.audit_log())?;
    let second = Operator::start(&cluster);
    // Stopping waits for the reconciles that run.
    let touched = json!({ "metadata": { "annotations": { "somebody.example/touched": "1" } } });
    let mut seen = 1;
    for name in ["harbour", "pier"] {
        reconciles(&second, seen).await?;
        seen = second.health.reconciles();
        crate::operator::merge::<Secret>(&cluster, &format!("{name}-http"), touched.clone()).await?;
        reconciles(&second, seen).await?;
    }
    second.stop().await?;
    let writes: Vec<String> = before
        .requests()?
        .into_iter()
        .filter(|request| request.is_write() && request.uri.contains("/quiet-restart/"))
        .filter(|request| !request.uri.contains("-http"))
        .map(|request| format!("{} {}", request.verb, request.uri))
        .collect();
    assert_eq!(writes, Vec::<String>::new());
    Ok(())
}

/// Waits until more reconciles than `seen` have ended.
async fn reconciles(operator: &Operator, seen: u64) -> Result<()> {
    wait_for("a reconcile", DEADLINE, async || {
        let ended = operator.health.reconciles();
        Ok(if ended > seen {
            Seen::Done(())
        } else {
            Seen::NotYet(format!("{ended} have ended"))
        })
    })
    .await
}

#[tokio::test]
async fn two_operators_at_once_make_one_ca() -> Result<()> {
    let cluster = Cluster::with_namespace("quiet-two").await?;
    let (_one, _other) = (Operator::start(&cluster), Operator::start(&cluster));
    for name in ["a", "b", "c", "d"] {
        create(
            &cluster,
            &registry(name, json!({ "storage": { "emptyDir": {} } })),
        )
        .await?;
    }
    for name in ["a", "b", "c", "d"] {
        rolling_out(&cluster, name).await?;
        let signed = |secret: &Secret| {
            let data = secret.data.clone().unwrap_or_default();
            (data.get("ca.crt").cloned(), data.get("tls.key").cloned())
        };
        let (ca, _) = signed(&cluster.api::<Secret>().get(&format!("{name}-ca-key")).await?);
        e2e::wait::wait_for("one CA", DEADLINE, async || {
            let (vouches, _) = signed(&cluster.api::<Secret>().get(&format!("{name}-tls")).await?);
            Ok(if vouches == ca {
                Seen::Done(())
            } else {
                Seen::NotYet("another one".to_owned())
            })
        })
        .await?;
    }
    Ok(())
}
