//! The move between plain HTTP and TLS, without a moment in which a client or a proxy finds the wrong one.
//!
//! It has three parts: the Pods are replaced by ones that answer both; when the last of the earlier ones has ended, because a
//! proxy may send it requests until then, the Service and the Ingress change; and when
//! every proxy has followed, the Pods are replaced by ones that answer what the spec asks for. Where Pods are not replaced
//! one by one there is an interruption anyway, and the move is made at once. Start at [`overlap`].

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use operator_api::RegistrySpec;

use super::backend::Backend;
use super::registry::{Overlap, Scheme};
use crate::findings::Rollout;
use crate::pod_layout::{OVERLAP_SINCE_ANNOTATION, TLS_VOLUME, answers_both};
use crate::read::Facts;
use crate::secret_data::TLS_CERTIFICATE;

/// How long an Ingress controller may take to follow its Ingress, with time to spare for connections that are open.
const PROXIES_FOLLOW: SignedDuration = SignedDuration::from_secs(30);

/// The part of the move that a Registry is in; `None` when there is none.
pub(super) fn overlap(spec: &RegistrySpec, storage: Option<&Backend>, facts: &Facts) -> Option<Overlap> {
    let deployment = facts.existing.deployment.ours()?;
    let replaced_one_by_one = storage.is_some_and(Backend::shared) && spec.replicas > 0;
    if !replaced_one_by_one || asks_for_client_certificates(spec) {
        return None;
    }
    let target = Scheme::of(spec);
    if target == Scheme::Http && !has_certificate(facts) {
        return None;
    }
    let both = answers_both(deployment);
    if !both && speaks(deployment) == target {
        return None;
    }
    // A move whose second part has begun goes on with it, whatever replaces the Pods meanwhile.
    let since = since(facts).filter(|_| both);
    let earlier_pods_answer = since.is_none() && facts.pods.iter().any(|pod| is_ending(pod, facts.now));
    if !both || Rollout::of(deployment) != Rollout::Complete || earlier_pods_answer {
        return Some(Overlap {
            published: if since.is_some() {
                target
            } else {
                published(facts, target)
            },
            since,
            ends: None,
        });
    }
    let since = since.unwrap_or(whole_seconds(facts.now));
    let ends = since + PROXIES_FOLLOW;
    (facts.now < ends).then_some(Overlap {
        published: target,
        since: Some(since),
        ends: Some(ends),
    })
}

/// Whether the Pod has been told to end and still has time for that. One on a node that is lost never ends.
fn is_ending(pod: &Pod, now: Timestamp) -> bool {
    let end = pod.metadata.deletion_timestamp.as_ref();
    end.is_some_and(|end| now < end.0)
}

fn speaks(deployment: &Deployment) -> Scheme {
    let pod = deployment
        .spec
        .as_ref()
        .and_then(|spec| spec.template.spec.as_ref());
    let mut volumes = pod.iter().flat_map(|pod| pod.volumes.iter().flatten());
    match volumes.any(|volume| volume.name == TLS_VOLUME) {
        true => Scheme::Https,
        false => Scheme::Http,
    }
}

/// Whether there is a certificate that Pods can go on to read.
fn has_certificate(facts: &Facts) -> bool {
    let live = facts.existing.live.ours().and_then(|secret| secret.data.as_ref());
    live.is_some_and(|data| data.contains_key(TLS_CERTIFICATE))
}

/// The scheme that the Service publishes.
fn published(facts: &Facts, target: Scheme) -> Scheme {
    let service = facts.existing.service.ours();
    let ports = service.and_then(|service| service.spec.as_ref()?.ports.as_ref());
    let protocol = ports.and_then(|ports| ports.first()?.app_protocol.as_deref());
    match protocol {
        Some("http") => Scheme::Http,
        Some("https") => Scheme::Https,
        _ => target,
    }
}

/// When the Service and the Ingress changed.
fn since(facts: &Facts) -> Option<Timestamp> {
    let service = facts.existing.service.ours()?;
    let annotations = service.metadata.annotations.as_ref()?;
    annotations.get(OVERLAP_SINCE_ANNOTATION)?.parse().ok()
}

/// Whether `spec.config` makes clients show a certificate. Plain HTTP would let them in without one.
fn asks_for_client_certificates(spec: &RegistrySpec) -> bool {
    let tls = spec
        .config
        .as_ref()
        .and_then(|config| config.get("http")?.get("tls"));
    let tls = tls.and_then(serde_json::Value::as_object);
    tls.is_some_and(|tls| tls.keys().any(|key| key.eq_ignore_ascii_case("clientcas")))
}

fn whole_seconds(moment: Timestamp) -> Timestamp {
    Timestamp::from_second(moment.as_second()).unwrap_or(moment)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::children::Found;
    use crate::fixtures::{Fixture, least};
    use crate::pod_layout::BOTH_ANNOTATION;

    /// A Registry whose Pods and Service are as given; `target` is its `spec.tls`.
    fn moving(target: &str, both: bool, volumes: Value, rolled_out: bool, service: Value) -> Fixture {
        let yaml = least(target).replace("size: 5Gi", "size: 5Gi, accessModes: [ReadWriteMany]");
        let mut fixture = Fixture::parse(&yaml);
        let annotations = if both {
            json!({ (BOTH_ANNOTATION): "true" })
        } else {
            json!({})
        };
        let template = json!({ "metadata": { "annotations": annotations }, "spec": { "containers": [], "volumes": volumes } });
        let status = if rolled_out {
            json!({ "replicas": 1, "updatedReplicas": 1 })
        } else {
            json!({ "replicas": 2 })
        };
        let deployment =
            json!({ "spec": { "replicas": 1, "selector": {}, "template": template }, "status": status });
        fixture.facts.existing.deployment = Found::Ours(serde_json::from_value(deployment).unwrap());
        let live = json!({ "data": { "tls.crt": "Z29vZA==", "tls.key": "Z29vZA==" } });
        fixture.facts.existing.live = Found::Ours(serde_json::from_value(live).unwrap());
        fixture.facts.existing.service = Found::Ours(serde_json::from_value(service).unwrap());
        fixture
    }

    fn service(protocol: &str, since: Option<&str>) -> Value {
        let annotations = since.map(|since| json!({ (OVERLAP_SINCE_ANNOTATION): since }));
        json!({
            "metadata": { "annotations": annotations.unwrap_or(json!({})) },
            "spec": { "ports": [{ "port": 5000, "appProtocol": protocol }] },
        })
    }

    #[track_caller]
    fn check(fixture: &Fixture, expected: Option<(Scheme, bool, bool)>) {
        let validated = fixture.validate().unwrap();
        let got = validated
            .overlap
            .map(|o| (o.published, o.since.is_some(), o.ends.is_some()));
        assert_eq!(got, expected);
        assert_eq!(
            validated
                .workload
                .unwrap()
                .config
                .yaml
                .contains("allowplaintext: true"),
            expected.is_some()
        );
    }

    #[test]
    fn pods_answer_both_before_the_ingress_changes_and_for_a_while_after_it() {
        let plain = "  tls: {disabled: {}}\n";
        let tls = || json!([{ "name": "tls" }]);
        for (target, from, to, before) in [
            (plain, Scheme::Https, Scheme::Http, tls()),
            ("", Scheme::Http, Scheme::Https, json!([])),
        ] {
            let (old, new) = (from.as_str(), to.as_str());
            check(
                &moving(target, false, before, true, service(old, None)),
                Some((from, false, false)),
            );
            check(
                &moving(target, true, tls(), false, service(old, None)),
                Some((from, false, false)),
            );
            check(
                &moving(target, true, tls(), true, service(old, None)),
                Some((to, true, true)),
            );
            let now = crate::fixtures::NOW;
            check(
                &moving(target, true, tls(), true, service(new, Some(now))),
                Some((to, true, true)),
            );
            check(
                &moving(target, true, tls(), false, service(new, Some(now))),
                Some((to, true, false)),
            );
            let long_ago = Some("2026-03-01T11:59:29Z");
            check(&moving(target, true, tls(), true, service(new, long_ago)), None);
            let after = if to == Scheme::Https { tls() } else { json!([]) };
            check(&moving(target, false, after, false, service(new, None)), None);
        }
    }

    #[test]
    fn the_ingress_changes_when_the_last_of_the_earlier_pods_has_ended() {
        let mut fixture = moving(
            "  tls: {disabled: {}}\n",
            true,
            json!([{ "name": "tls" }]),
            true,
            service("https", None),
        );
        let ending = |at: &str| {
            let pod = json!({ "metadata": { "name": "earlier", "deletionTimestamp": at } });
            vec![serde_json::from_value(pod).unwrap()]
        };
        fixture.facts.pods = ending("2026-03-01T12:00:30Z");
        check(&fixture, Some((Scheme::Https, false, false)));
        // One on a node that is lost holds nothing up.
        fixture.facts.pods = ending("2026-03-01T11:59:30Z");
        check(&fixture, Some((Scheme::Http, true, true)));
        // A move that has gone on goes on.
        fixture = moving(
            "  tls: {disabled: {}}\n",
            true,
            json!([{ "name": "tls" }]),
            true,
            service("http", Some(crate::fixtures::NOW)),
        );
        fixture.facts.pods = ending("2026-03-01T12:00:30Z");
        check(&fixture, Some((Scheme::Http, true, true)));
    }

    #[test]
    fn where_pods_are_not_replaced_one_by_one_or_clients_show_certificates_the_move_is_made_at_once() {
        let mut fixture = moving(
            "  tls: {disabled: {}}\n",
            false,
            json!([{ "name": "tls" }]),
            true,
            service("https", None),
        );
        check(&fixture, Some((Scheme::Https, false, false)));
        fixture.registry.spec.replicas = 0;
        check(&fixture, None);
        let clients = "  config: {http: {tls: {clientcas: [/more/ca.crt]}}}\n";
        check(
            &moving(clients, false, json!([]), true, service("http", None)),
            None,
        );
    }
}
