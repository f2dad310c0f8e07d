//! The NetworkPolicy: the peers that may connect to the Pods.

use k8s_openapi::api::networking::v1::{
    NetworkPolicy, NetworkPolicyIngressRule, NetworkPolicyPeer, NetworkPolicyPort, NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::metadata::owned;
use super::ports::{PROBES_PORT, REGISTRY_PORT};
use crate::validate::ValidatedRegistry;

/// The label of the operator's Pods.
const OPERATOR_LABEL: (&str, &str) = ("app.kubernetes.io/name", "berth-operator");

/// The policy, where the spec asks for one. It says nothing about connections that the Pods make: the object store may
/// be anywhere.
pub(super) fn network_policy(registry: &ValidatedRegistry) -> Option<NetworkPolicy> {
    let asked = registry.network_policy.as_ref()?;
    let same_namespace = NetworkPolicyPeer {
        pod_selector: Some(LabelSelector::default()),
        ..Default::default()
    };
    let peers = match asked.from.is_empty() {
        true => vec![same_namespace],
        false => asked.from.clone(),
    };
    let mut rules = vec![
        rule(peers, &[REGISTRY_PORT]),
        // The operator asks the Pods why they are not ready, and the Service whether it answers.
        rule(vec![operator()], &[REGISTRY_PORT, PROBES_PORT]),
    ];
    if !asked.metrics_from.is_empty() {
        rules.push(rule(asked.metrics_from.clone(), &[PROBES_PORT]));
    }
    Some(NetworkPolicy {
        metadata: owned(registry, registry.names.network_policy()),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(LabelSelector {
                match_labels: Some(registry.names.selector()),
                ..Default::default()
            }),
            policy_types: Some(vec!["Ingress".to_owned()]),
            ingress: Some(rules),
            ..Default::default()
        }),
    })
}

fn rule(from: Vec<NetworkPolicyPeer>, ports: &[&str]) -> NetworkPolicyIngressRule {
    let port = |name: &&str| NetworkPolicyPort {
        port: Some(IntOrString::String((*name).to_owned())),
        protocol: Some("TCP".to_owned()),
        ..Default::default()
    };
    NetworkPolicyIngressRule {
        from: Some(from),
        ports: Some(ports.iter().map(port).collect()),
    }
}

/// The operator's Pods, in whichever namespace it is installed.
fn operator() -> NetworkPolicyPeer {
    let (key, value) = OPERATOR_LABEL;
    NetworkPolicyPeer {
        namespace_selector: Some(LabelSelector::default()),
        pod_selector: Some(LabelSelector {
            match_labels: Some([(key.to_owned(), value.to_owned())].into()),
            ..Default::default()
        }),
        ..Default::default()
    }
}
