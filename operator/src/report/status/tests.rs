use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use serde_json::{Value, json};

use super::*;
use crate::children::{Children, Existing};
use crate::error::Problems;
use crate::fixtures::no_facts;
use crate::fixtures::{Fixture, NOW, least};
use crate::observe;
use crate::validate;

/// The findings about these objects.
fn look(
    deployment: Option<&Deployment>,
    claim: Option<&PersistentVolumeClaim>,
    endpoints: &[EndpointSlice],
    pods: &[Pod],
) -> Findings {
    let mut children = Children::<Existing>::default().live();
    children.deployment = deployment.cloned();
    children.claim = claim.cloned();
    let mut facts = no_facts();
    facts.endpoints = endpoints.to_vec();
    facts.pods = pods.to_vec();
    observe::findings(&children, &facts)
}

fn problems(error: validate::Error) -> Problems {
    let mut problems = Problems::default();
    problems.extend([error]);
    problems
}

fn at(seconds: i64) -> Timestamp {
    NOW.parse::<Timestamp>().unwrap() + jiff::SignedDuration::from_secs(seconds)
}

fn deployment(status: Value) -> Deployment {
    serde_json::from_value(json!({
        "metadata": { "generation": 2 },
        "spec": { "replicas": 2, "selector": {}, "template": {} },
        "status": status,
    }))
    .unwrap()
}

fn rolled_out() -> Value {
    json!({
        "observedGeneration": 2, "replicas": 2, "updatedReplicas": 2, "readyReplicas": 2,
        "conditions": [{ "type": "Available", "status": "True" }],
    })
}

fn endpoints(ready: bool) -> Vec<EndpointSlice> {
    vec![
        serde_json::from_value(json!({
            "addressType": "IPv4",
            "endpoints": [{ "addresses": ["10.0.0.1"], "conditions": { "ready": ready } }],
        }))
        .unwrap(),
    ]
}

/// Ready, Reconciling, Stalled as letters, reason and sentence.
fn shown(status: &RegistryStatus) -> String {
    let letters: String = status.conditions.iter().map(|c| &c.status[..1]).collect();
    format!(
        "{letters} {}: {}",
        status.conditions[0].reason, status.conditions[0].message
    )
}

fn two_replicas() -> Fixture {
    Fixture::parse(&least("  replicas: 2\n").replace("size: 5Gi", "size: 5Gi, accessModes: [ReadWriteMany]"))
}

#[track_caller]
fn check_applied(deployment_status: Value, endpoints: &[EndpointSlice], expected: &str) {
    let fixture = two_replicas();
    let (registry, issued) = fixture.issued();
    let findings = look(Some(&deployment(deployment_status)), None, endpoints, &[]);
    let outcome = Outcome::Applied {
        registry: &registry,
        issued: &issued,
        findings: &findings,
    };
    assert_eq!(shown(&status(&fixture.registry, &outcome, at(0))), expected);
}

#[test]
fn ready_needs_the_newest_pods_their_availability_and_an_endpoint() {
    check_applied(
        rolled_out(),
        &endpoints(true),
        "TFF Serving: Serving with 2 of 2 replicas",
    );
    let changed = |member: &str, value: Value| {
        let mut status = rolled_out();
        status[member] = value;
        status
    };
    let rolling = "FTF RollingOut: 2 of 2 replicas are ready";
    check_applied(changed("observedGeneration", json!(1)), &endpoints(true), rolling);
    check_applied(changed("updatedReplicas", json!(1)), &endpoints(true), rolling);
    check_applied(changed("replicas", json!(3)), &endpoints(true), rolling);
    let unavailable = json!([{ "type": "Available", "status": "False" }]);
    check_applied(changed("conditions", unavailable), &endpoints(true), rolling);
    let nowhere = "FTF NoReadyReplica: Service `harbour` does not lead to a ready replica yet";
    check_applied(rolled_out(), &endpoints(false), nowhere);
    check_applied(rolled_out(), &[], nowhere);
    let none = "FTF NoReadyReplica: None of 2 replicas is ready";
    check_applied(changed("readyReplicas", json!(0)), &endpoints(true), none);
    check_applied(Value::Null, &[], "FTF RollingOut: 0 of 2 replicas are ready");
}

#[test]
fn a_rollout_kubernetes_gave_up_on_is_stalled_and_says_where_to_look() {
    let mut status = rolled_out();
    status["readyReplicas"] = json!(0);
    status["conditions"] =
        json!([{ "type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded" }]);
    check_applied(
        status,
        &[],
        "FFT RolloutStuck: 0 of 2 replicas are ready and Deployment `harbour` makes no progress; look at its Pods with \
         `kubectl describe pods -l berth.dev/registry=harbour`",
    );
}

#[test]
fn what_is_missing_is_waited_for_and_stalls_after_minutes_and_not_before() {
    let mut fixture = Fixture::parse(&least("").replace(
        "{anonymous: {access: PullPush}}",
        "{htpasswd: {secretKeyRef: {name: crew, key: htpasswd}}}",
    ));
    let error = problems(fixture.validate().unwrap_err());
    let findings = Findings::default();
    let mut pass = |seconds: i64| {
        let outcome = Outcome::Failed {
            problems: &error,
            findings: &findings,
        };
        let status = status(&fixture.registry, &outcome, at(seconds));
        fixture.registry.status = Some(status.clone());
        status
    };
    let sentence =
        "SecretNotFound: Secret `crew` of `spec.auth.htpasswd.secretKeyRef` does not exist; create it";
    let limit = i64::try_from(STALLED_AFTER.as_secs()).unwrap();
    assert_eq!(shown(&pass(0)), format!("FTF {sentence}"));
    assert_eq!(shown(&pass(limit - 1)), format!("FTF {sentence}"));
    assert_eq!(shown(&pass(limit)), format!("FFT {sentence}"));
    assert_eq!(shown(&pass(10 * limit)), format!("FFT {sentence}"));
    fixture.registry.metadata.generation = Some(4);
    let outcome = Outcome::Failed {
        problems: &error,
        findings: &findings,
    };
    let changed = status(&fixture.registry, &outcome, at(11 * limit));
    assert_eq!(
        shown(&changed),
        format!("FTF {sentence}"),
        "a changed Registry is tried anew"
    );
}

#[test]
fn a_status_that_says_the_same_is_the_same_at_any_time() {
    let mut fixture = two_replicas();
    let (registry, issued) = fixture.issued();
    let findings = look(Some(&deployment(rolled_out())), None, &endpoints(true), &[]);
    let outcome = Outcome::Applied {
        registry: &registry,
        issued: &issued,
        findings: &findings,
    };
    let first = status(&fixture.registry, &outcome, at(0));
    fixture.registry.status = Some(first.clone());
    assert_eq!(status(&fixture.registry, &outcome, at(1_000_000)), first);
}

#[test]
fn a_status_reads_back_as_it_was_written() {
    let fixture = Fixture::parse(include_str!("../../fixtures/everything.yaml"));
    let (registry, issued) = fixture.issued();
    let findings = look(None, None, &[], &[]);
    let outcome = Outcome::Applied {
        registry: &registry,
        issued: &issued,
        findings: &findings,
    };
    let written = status(&fixture.registry, &outcome, at(0));
    let read: RegistryStatus = serde_json::from_value(json!(written)).unwrap();
    assert_eq!(
        read, written,
        "a fraction of a second or an order is lost, and would be written again and again"
    );
    insta::assert_yaml_snapshot!(written);
}

#[test]
fn errors_that_only_the_author_can_mend_stall_at_once() {
    let fixture = Fixture::parse(&least("  config: {http: {secret: x}}\n"));
    let error = fixture.validate().unwrap_err();
    assert!(
        matches!(error, validate::Error::ConfigKeyOwned { .. }),
        "{error:?}"
    );
    let outcome = Outcome::Failed {
        problems: &problems(error),
        findings: &Findings::default(),
    };
    let expected =
        "FFT ConfigKeyRefused: `spec.config` must not set `http.secret`; use `spec.http.secretKeyRef`";
    assert_eq!(shown(&status(&fixture.registry, &outcome, at(0))), expected);
}

#[test]
fn what_keeps_a_pod_from_being_ready_is_said_with_the_way_out() {
    let waiting = |reason: &str| {
        json!({ "containerStatuses": [{
            "name": "registry", "image": "images.invalid/a:1", "imageID": "", "ready": false, "restartCount": 3,
            "state": { "waiting": { "reason": reason, "message": "changes every second" } },
            "lastState": { "terminated": { "exitCode": 2 } },
        }] })
    };
    let unschedulable = json!({ "conditions": [{
        "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes are available",
    }] });
    let rows = [
        (
            waiting("ImagePullBackOff"),
            "the image `images.invalid/a:1` of Pod `harbour-1` cannot be pulled; correct `spec.image` or its pull secrets",
        ),
        (
            waiting("ErrImagePull"),
            "the image `images.invalid/a:1` of Pod `harbour-1` cannot be pulled; correct `spec.image` or its pull secrets",
        ),
        (
            waiting("CrashLoopBackOff"),
            "the server is in CrashLoopBackOff with exit code 2; see why with `kubectl logs --previous harbour-1`",
        ),
        (
            waiting("CreateContainerConfigError"),
            "the container of Pod `harbour-1` cannot be made (CreateContainerConfigError); see why with `kubectl describe pod harbour-1`",
        ),
        (
            unschedulable,
            "no node takes Pod `harbour-1`: 0/1 nodes are available",
        ),
    ];
    let fixture = two_replicas();
    let (registry, issued) = fixture.issued();
    for (pod, cause) in rows {
        let pod =
            serde_json::from_value(json!({ "metadata": { "name": "harbour-1" }, "status": pod })).unwrap();
        let findings = look(Some(&deployment(Value::Null)), None, &[], &[pod]);
        let outcome = Outcome::Applied {
            registry: &registry,
            issued: &issued,
            findings: &findings,
        };
        let expected = format!("FTF RollingOut: 0 of 2 replicas are ready: {cause}");
        assert_eq!(shown(&status(&fixture.registry, &outcome, at(0))), expected);
    }
    let starting = serde_json::from_value(json!({ "status": waiting("ContainerCreating") })).unwrap();
    assert_eq!(look(None, None, &[], &[starting]).pod_problem, None);
}

#[test]
fn what_a_server_says_of_itself_is_passed_on() {
    let fixture = two_replicas();
    let (registry, issued) = fixture.issued();
    let crashed = json!({ "containerStatuses": [{
        "name": "registry", "image": "a", "imageID": "", "ready": false, "restartCount": 3,
        "state": { "waiting": { "reason": "CrashLoopBackOff" } },
        "lastState": { "terminated": { "exitCode": 2, "message": "error: the store is another's\nhint: name another\n" } },
    }] });
    let pod =
        serde_json::from_value(json!({ "metadata": { "name": "harbour-1" }, "status": crashed })).unwrap();
    let crashing = look(None, None, &[], &[pod]);
    let mut gone = rolled_out();
    gone["readyReplicas"] = json!(0);
    let mut unready = look(Some(&deployment(gone)), None, &endpoints(false), &[]);
    unready.pod_problem = Some(crate::findings::PodProblem::Unready {
        pod: "harbour-1".to_owned(),
        message: "storagedriver_s3: no such bucket".to_owned(),
    });
    for (findings, expected) in [
        (
            crashing,
            "FTF RollingOut: 0 of 2 replicas are ready: the server is in CrashLoopBackOff: the store is another's; name another",
        ),
        (
            unready,
            "FTF NoReadyReplica: None of 2 replicas is ready: the server in Pod `harbour-1` says: storagedriver_s3: no such \
             bucket",
        ),
    ] {
        let outcome = Outcome::Applied {
            registry: &registry,
            issued: &issued,
            findings: &findings,
        };
        assert_eq!(shown(&status(&fixture.registry, &outcome, at(0))), expected);
    }
}

#[test]
fn an_address_stands_in_the_status_once_whatever_stands_between() {
    let spec = |url: &str| format!("  publicURL: {url}\n  ingress: {{hosts: [a.example, b.example]}}\n");
    for (public, others) in [
        (
            "https://b.example",
            vec!["https://a.example", "https://harbour.quay.svc:5000"],
        ),
        (
            "https://harbour.quay.svc:5000",
            vec!["https://a.example", "https://b.example"],
        ),
    ] {
        let fixture = Fixture::parse(&least(&spec(public)));
        let (registry, issued) = fixture.issued();
        let outcome = Outcome::Applied {
            registry: &registry,
            issued: &issued,
            findings: &Findings::default(),
        };
        let status = status(&fixture.registry, &outcome, at(0));
        let urls: Vec<_> = status
            .endpoints
            .iter()
            .map(|endpoint| endpoint.url.as_str())
            .collect();
        assert_eq!(urls, [&[public], others.as_slice()].concat());
    }
}

#[test]
fn waiting_for_another_thing_of_the_same_kind_starts_the_clock_again() {
    let spec = "{htpasswd: {secretKeyRef: {name: crew, key: htpasswd}}}";
    let yaml = least("").replace("{anonymous: {access: PullPush}}", spec);
    let mut fixture = Fixture::parse(&yaml);
    let limit = i64::try_from(STALLED_AFTER.as_secs()).unwrap();
    for (name, seconds, letters) in [
        ("crew", 0, "FTF"),
        ("pilots", limit - 1, "FTF"),
        ("pilots", limit, "FTF"),
        ("pilots", 2 * limit, "FFT"),
        ("crew", 3 * limit, "FTF"),
    ] {
        let wanted = Fixture::parse(&yaml.replace("crew", name));
        let error = problems(wanted.validate().unwrap_err());
        let outcome = Outcome::Failed {
            problems: &error,
            findings: &Findings::default(),
        };
        let status = status(&fixture.registry, &outcome, at(seconds));
        let got = shown(&status);
        assert!(got.starts_with(letters), "{name} at {seconds}: {got}");
        fixture.registry.status = Some(status);
    }
}
