//! Objects beside the Pods: budgets, autoscalers, network policies, monitors and routes.

use anyhow::Result;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::networking::v1::{Ingress, NetworkPolicy};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use kube::api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use operator::optional::OptionalKind;
use operator_api::Registry;
use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::objects::gone;
use crate::operator::{DEADLINE, Operator, create, merge, object, registry, rolling_out};

/// Storage that several Pods can share.
fn bucket() -> Value {
    json!({ "s3": { "bucket": "cargo", "region": "quay-1", "credentials": { "workloadIdentity": {} } } })
}

#[tokio::test]
async fn two_replicas_have_a_budget_and_are_spread() -> Result<()> {
    let cluster = Cluster::with_namespace("kinds-budget").await?;
    let _operator = Operator::start(&cluster);
    let two = json!({ "storage": bucket(), "replicas": 2 });
    create(&cluster, &registry("harbour", two)).await?;
    rolling_out(&cluster, "harbour").await?;
    object(
        &cluster,
        "harbour",
        "lets one Pod go",
        |budget: &PodDisruptionBudget| {
            let spec = budget.spec.as_ref()?;
            (spec.max_unavailable == Some(k8s_openapi::apimachinery::pkg::util::intstr::IntOrString::Int(1)))
                .then_some(())
        },
    )
    .await?;
    object(&cluster, "harbour", "is spread", |deployment: &Deployment| {
        let pod = deployment.spec.as_ref()?.template.spec.as_ref()?;
        (pod.topology_spread_constraints.as_ref()?.len() == 2).then_some(())
    })
    .await?;
    merge::<Registry>(&cluster, "harbour", json!({ "spec": { "replicas": 1 } })).await?;
    gone::<PodDisruptionBudget>(&cluster, "harbour").await?;
    let off = json!({ "spec": { "replicas": 2, "pod": { "disruptionBudget": "Disabled" } } });
    merge::<Registry>(&cluster, "harbour", off).await?;
    object(
        &cluster,
        "harbour",
        "has two replicas",
        |deployment: &Deployment| (deployment.spec.as_ref()?.replicas == Some(2)).then_some(()),
    )
    .await?;
    gone::<PodDisruptionBudget>(&cluster, "harbour").await
}

#[tokio::test]
async fn an_autoscaler_takes_over_the_replicas_without_changing_them() -> Result<()> {
    let cluster = Cluster::with_namespace("kinds-scaling").await?;
    let _operator = Operator::start(&cluster);
    let three = json!({ "storage": bucket(), "replicas": 3 });
    create(&cluster, &registry("harbour", three)).await?;
    let before = object(
        &cluster,
        "harbour",
        "has three replicas",
        |deployment: &Deployment| {
            (deployment.spec.as_ref()?.replicas == Some(3)).then(|| deployment.spec.clone())
        },
    )
    .await?;
    let scaled = json!({ "spec": { "autoscaling": { "minReplicas": 2, "maxReplicas": 6 } } });
    merge::<Registry>(&cluster, "harbour", scaled).await?;
    object(
        &cluster,
        "harbour",
        "scales the Deployment",
        |scaler: &HorizontalPodAutoscaler| {
            let spec = scaler.spec.as_ref()?;
            (spec.scale_target_ref.name == "harbour" && spec.max_replicas == 6).then_some(())
        },
    )
    .await?;
    rolling_out(&cluster, "harbour").await?;
    let handed_over = cluster.api::<Deployment>().get("harbour").await?;
    // The generation also counts changes of annotations.
    assert_eq!(handed_over.spec, before, "neither replicas nor Pods change");
    // As the autoscaler does it.
    let five = json!({ "spec": { "replicas": 5 } });
    cluster
        .api::<Deployment>()
        .patch_scale("harbour", &PatchParams::default(), &Patch::Merge(five))
        .await?;
    // Another change of the Deployment leaves them alone.
    let slow = json!({ "spec": { "http": { "drainTimeout": "90s" } } });
    merge::<Registry>(&cluster, "harbour", slow).await?;
    object(&cluster, "harbour", "follows", |deployment: &Deployment| {
        let spec = deployment.spec.as_ref()?;
        let grace = spec.template.spec.as_ref()?.termination_grace_period_seconds;
        (grace == Some(105)).then_some(spec.replicas)
    })
    .await
    .map(|replicas| assert_eq!(replicas, Some(5)))?;
    // Hibernation.
    merge::<Registry>(&cluster, "harbour", json!({ "spec": { "replicas": 0 } })).await?;
    gone::<HorizontalPodAutoscaler>(&cluster, "harbour").await?;
    object(&cluster, "harbour", "is stopped", |deployment: &Deployment| {
        (deployment.spec.as_ref()?.replicas == Some(0)).then_some(())
    })
    .await
}

#[tokio::test]
async fn a_network_policy_and_the_options_of_the_service_come_and_go() -> Result<()> {
    let cluster = Cluster::with_namespace("kinds-network").await?;
    let _operator = Operator::start(&cluster);
    let asked = json!({
        "networkPolicy": { "from": [{ "namespaceSelector": { "matchLabels": { "team": "pilots" } } }] },
        "service": {
            "type": "LoadBalancer",
            "loadBalancerSourceRanges": ["192.0.2.0/24"],
            "externalTrafficPolicy": "Local",
            "ipFamilyPolicy": "PreferDualStack",
        },
        "ingress": { "hosts": ["harbour.example"] },
    });
    create(&cluster, &registry("harbour", asked)).await?;
    object(&cluster, "harbour", "lets pilots in", |policy: &NetworkPolicy| {
        let ingress = policy.spec.as_ref()?.ingress.as_ref()?;
        (ingress.len() == 2 && ingress[0].from.as_ref()?[0].namespace_selector.is_some()).then_some(())
    })
    .await?;
    object(&cluster, "harbour", "has its options", |service: &Service| {
        let spec = service.spec.as_ref()?;
        let right = spec.external_traffic_policy.as_deref() == Some("Local")
            && spec.load_balancer_source_ranges.as_deref() == Some(&["192.0.2.0/24".to_owned()])
            && spec.ip_family_policy.as_deref() == Some("PreferDualStack");
        right.then_some(())
    })
    .await?;
    object(
        &cluster,
        "harbour",
        "never repeats a push",
        |ingress: &Ingress| {
            let annotations = ingress.metadata.annotations.as_ref()?;
            (annotations.get("nginx.ingress.kubernetes.io/proxy-next-upstream")? == "off").then_some(())
        },
    )
    .await?;
    let back = json!({ "spec": { "networkPolicy": null, "service": null } });
    merge::<Registry>(&cluster, "harbour", back).await?;
    gone::<NetworkPolicy>(&cluster, "harbour").await?;
    object(&cluster, "harbour", "is as by default", |service: &Service| {
        let spec = service.spec.as_ref()?;
        (spec.type_.as_deref() == Some("ClusterIP") && spec.load_balancer_source_ranges.is_none())
            .then_some(())
    })
    .await
}

#[tokio::test]
async fn a_request_for_a_reconcile_is_answered_in_the_status() -> Result<()> {
    let cluster = Cluster::with_namespace("kinds-request").await?;
    let _operator = Operator::start(&cluster);
    create(&cluster, &registry("harbour", json!({}))).await?;
    rolling_out(&cluster, "harbour").await?;
    let asked = json!({ "metadata": { "annotations": { "reconcile.fluxcd.io/requestedAt": "2026-03-01T12:00:00Z" } } });
    merge::<Registry>(&cluster, "harbour", asked).await?;
    object(&cluster, "harbour", "answers", |registry: &Registry| {
        let status = registry.status.as_ref()?;
        (status.last_handled_reconcile_at.as_deref() == Some("2026-03-01T12:00:00Z")).then_some(())
    })
    .await
}

#[tokio::test]
async fn an_upgrade_of_the_operator_moves_through_the_registries() -> Result<()> {
    let cluster = Cluster::with_namespace("kinds-upgrade").await?;
    let names = ["pier", "quay", "wharf"];
    let operator = Operator::start(&cluster);
    for name in names {
        create(&cluster, &registry(name, json!({ "storage": bucket() }))).await?;
        rolling_out(&cluster, name).await?;
    }
    operator.stop().await?;
    // As an earlier version of the operator would have left them.
    for name in names {
        let container = json!({ "name": "registry", "image": "registry.invalid/berth/registry:old" });
        let old = json!({
            "metadata": { "annotations": { "berth.dev/operator-version": "0.0.1" } },
            "spec": { "template": { "spec": { "containers": [container] } } },
        });
        cluster
            .api::<Deployment>()
            .patch(name, &PatchParams::default(), &Patch::Strategic(old))
            .await?;
    }
    let old = |deployment: &Deployment| {
        let template = deployment.spec.as_ref().map(|spec| &spec.template);
        let containers = template.and_then(|template| Some(&template.spec.as_ref()?.containers));
        containers.is_some_and(|all| {
            all.iter()
                .any(|c| c.image.as_deref().is_some_and(|i| i.ends_with(":old")))
        })
    };
    let mut settings = Operator::settings(&cluster);
    settings.max_concurrent_upgrades = 1;
    let _operator = Operator::with_settings(cluster.client.clone(), settings);
    for moved in 1..=names.len() {
        let waiting = names.len() - moved;
        let deployments = e2e::wait::wait_for("the next one to move", DEADLINE, async || {
            let all = cluster
                .api::<Deployment>()
                .list(&ListParams::default())
                .await?
                .items;
            let mut told = 0;
            for registry in cluster
                .api::<Registry>()
                .list(&ListParams::default())
                .await?
                .items
            {
                let conditions = registry.status.iter().flat_map(|status| &status.conditions);
                told += usize::from(
                    conditions
                        .into_iter()
                        .any(|c| c.message.contains("moved to this version")),
                );
            }
            let count = all.iter().filter(|deployment| old(deployment)).count();
            assert!(count >= waiting, "more than one moved at a time");
            Ok(match count == waiting && told == waiting {
                true => e2e::wait::Seen::Done(all),
                false => e2e::wait::Seen::NotYet(format!("{count} are old, {told} say that they wait")),
            })
        })
        .await?;
        // No controller rolls out here.
        for deployment in deployments.iter().filter(|deployment| !old(deployment)) {
            let status = json!({ "status": {
                "observedGeneration": deployment.metadata.generation,
                "replicas": 1, "updatedReplicas": 1, "readyReplicas": 1, "availableReplicas": 1,
            } });
            let name = deployment.metadata.name.clone().unwrap_or_default();
            cluster
                .api::<Deployment>()
                .patch_status(&name, &PatchParams::default(), &Patch::Merge(status))
                .await?;
        }
    }
    Ok(())
}

/// A definition that takes anything: the kinds' own definitions are not part of this repository.
fn definition(kind: OptionalKind) -> Result<CustomResourceDefinition> {
    let resource = kind.resource();
    let open = json!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true });
    let schema =
        json!({ "openAPIV3Schema": { "type": "object", "properties": { "spec": open, "status": open } } });
    Ok(serde_json::from_value(json!({
        "metadata": {
            "name": format!("{}.{}", resource.plural, resource.group),
            "annotations": { "api-approved.kubernetes.io": "unapproved, for a test" },
        },
        "spec": {
            "group": resource.group,
            "names": { "kind": resource.kind, "plural": resource.plural },
            "scope": "Namespaced",
            "versions": [{ "name": resource.version, "served": true, "storage": true, "schema": schema }],
        },
    }))?)
}

async fn optional(
    cluster: &Cluster,
    kind: OptionalKind,
    what: &str,
    look: impl Fn(&DynamicObject) -> bool,
) -> Result<()> {
    let api =
        Api::<DynamicObject>::namespaced_with(cluster.client.clone(), &cluster.namespace, &kind.resource());
    e2e::wait::wait_for(what, DEADLINE, async || {
        Ok(match api.get_opt("harbour").await? {
            Some(found) if look(&found) => e2e::wait::Seen::Done(()),
            other => e2e::wait::Seen::NotYet(format!("{:?}", other.map(|found| found.data))),
        })
    })
    .await
}

#[tokio::test]
async fn kinds_that_the_cluster_gets_later_are_used_then() -> Result<()> {
    let cluster = Cluster::with_definition("kinds-optional", &operator_api::crd()).await?;
    let _operator = Operator::start(&cluster);
    let asked = json!({
        "metrics": { "interval": "30s", "labels": { "release": "watchtower" } },
        "httpRoute": { "parentRefs": [{ "name": "gate", "namespace": "edge" }], "hostnames": ["harbour.example"] },
        "tlsRoute": {
            "parentRefs": [{ "kind": "ListenerSet", "name": "berths", "sectionName": "passthrough" }],
            "hostnames": ["direct.example"],
        },
    });
    create(&cluster, &registry("harbour", asked)).await?;
    rolling_out(&cluster, "harbour").await?;
    let definitions = Api::<CustomResourceDefinition>::all(cluster.client.clone());
    for kind in OptionalKind::ALL {
        definitions
            .create(&PostParams::default(), &definition(kind)?)
            .await?;
    }
    optional(&cluster, OptionalKind::PodMonitor, "a PodMonitor", |found| {
        found.data["spec"]["podMetricsEndpoints"][0]["interval"] == "30s"
            && found
                .metadata
                .labels
                .as_ref()
                .is_some_and(|labels| labels["release"] == "watchtower")
    })
    .await?;
    let right = |found: &DynamicObject| {
        let spec = &found.data["spec"];
        spec["rules"][0]["timeouts"] == json!({ "request": "0s", "backendRequest": "0s" })
            && spec["parentRefs"][0]["name"] == "gate"
            && spec["hostnames"] == json!(["harbour.example"])
    };
    optional(&cluster, OptionalKind::HttpRoute, "an HTTPRoute", right).await?;
    optional(&cluster, OptionalKind::TlsRoute, "a TLSRoute", |found| {
        let spec = &found.data["spec"];
        spec["hostnames"] == json!(["direct.example"])
            && spec["parentRefs"][0]["kind"] == "ListenerSet"
            && spec["rules"][0]["backendRefs"][0]["name"] == "harbour"
    })
    .await?;
    optional(
        &cluster,
        OptionalKind::BackendTlsPolicy,
        "a BackendTLSPolicy",
        |found| found.data["spec"]["validation"]["hostname"] == "harbour.kinds-optional.svc",
    )
    .await?;
    // Put back when it is deleted or changed, gone when it is no longer asked for.
    let api = Api::<DynamicObject>::namespaced_with(
        cluster.client.clone(),
        &cluster.namespace,
        &OptionalKind::HttpRoute.resource(),
    );
    api.delete("harbour", &DeleteParams::default()).await?;
    optional(
        &cluster,
        OptionalKind::HttpRoute,
        "the HTTPRoute to be back",
        right,
    )
    .await?;
    let wrong = json!({ "spec": { "hostnames": ["elsewhere.example"] } });
    api.patch("harbour", &PatchParams::default(), &Patch::Merge(wrong))
        .await?;
    optional(
        &cluster,
        OptionalKind::HttpRoute,
        "the HTTPRoute to be put back",
        right,
    )
    .await?;
    let every = json!({ "spec": { "httpRoute": { "hostnames": null } } });
    merge::<Registry>(&cluster, "harbour", every).await?;
    optional(
        &cluster,
        OptionalKind::HttpRoute,
        "the HTTPRoute without host names",
        |found| found.data["spec"]["hostnames"].is_null(),
    )
    .await?;
    merge::<Registry>(&cluster, "harbour", json!({ "spec": { "httpRoute": null } })).await?;
    e2e::wait::wait_for("the HTTPRoute to go", DEADLINE, async || {
        Ok(match api.get_opt("harbour").await? {
            None => e2e::wait::Seen::Done(()),
            Some(found) => e2e::wait::Seen::NotYet(format!("{:?}", found.metadata.deletion_timestamp)),
        })
    })
    .await
}
