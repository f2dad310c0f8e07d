use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use operator_api::{Endpoint, EndpointType};
use serde_json::{Value, json};

use super::{EndpointState, Findings, Outcome, Registry, RegistryStatus, Timestamp};
use crate::children::{Children, Existing};
use crate::conditions::{AVAILABLE, CERTIFICATE_VALID, READY, RECONCILING, STALLED, STORAGE_HEALTHY};
use crate::error::Problems;
use crate::findings::endpoint_reason;
use crate::fixtures::no_facts;
use crate::fixtures::{Fixture, NOW, least};
use crate::issue::Issued;
use crate::observe;
use crate::report::STALLED_AFTER;
use crate::report::verdict::{condition, told};
use crate::validate;
use crate::validate::ValidatedRegistry;

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

fn problems(errors: Vec<validate::Error>) -> Problems {
    let mut problems = Problems::default();
    problems.extend(errors);
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

/// Ready, Reconciling, Stalled as letters, reason of Ready, and the sentence that is told.
fn shown(status: &RegistryStatus) -> String {
    let found = [READY, RECONCILING, STALLED].map(|kind| condition(status, kind).unwrap());
    let letters: String = found.iter().map(|c| &c.status[..1]).collect();
    let message = told(status).map_or(&found[0].message, |told| &told.message);
    format!("{letters} {}: {message}", found[0].reason)
}

/// The status without its verdict.
fn status(registry: &Registry, outcome: &Outcome<'_>, now: Timestamp) -> RegistryStatus {
    super::status(registry, outcome, now).0
}

/// The outcome when everything was applied.
fn applied<'a>(
    registry: &'a ValidatedRegistry,
    issued: &'a Issued,
    findings: &'a Findings,
    none: &'a Problems,
) -> Outcome<'a> {
    Outcome {
        registry,
        issued: Some(issued),
        findings,
        problems: none,
    }
}

/// A registry that serves with two replicas.
fn serving() -> Findings {
    look(Some(&deployment(rolled_out())), None, &endpoints(true), &[])
}

fn two_replicas() -> Fixture {
    Fixture::parse(&least("  replicas: 2\n").replace("size: 5Gi", "size: 5Gi, accessModes: [ReadWriteMany]"))
}

#[track_caller]
fn check_applied(deployment_status: Value, endpoints: &[EndpointSlice], expected: &str) {
    let fixture = two_replicas();
    let (registry, issued) = fixture.issued();
    let findings = look(Some(&deployment(deployment_status)), None, endpoints, &[]);
    let none = Problems::default();
    let outcome = applied(&registry, &issued, &findings, &none);
    assert_eq!(shown(&status(&fixture.registry, &outcome, at(0))), expected);
}

#[test]
fn ready_is_what_clients_have_and_reconciling_what_the_rollout_lacks() {
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
    // A changed log level: the old Pods serve until the new ones do.
    let rolling = "TTF RollingOut: 2 of 2 replicas are ready, and not all have the newest configuration";
    check_applied(changed("observedGeneration", json!(1)), &endpoints(true), rolling);
    check_applied(changed("updatedReplicas", json!(1)), &endpoints(true), rolling);
    check_applied(changed("replicas", json!(3)), &endpoints(true), rolling);
    // One Pod is moved to another node.
    check_applied(
        changed("readyReplicas", json!(1)),
        &endpoints(true),
        "TTF RollingOut: 1 of 2 replicas are ready",
    );
    let nowhere = "FTF NoReadyReplica: Service `harbour` does not lead to a ready replica yet";
    check_applied(rolled_out(), &endpoints(false), nowhere);
    check_applied(rolled_out(), &[], nowhere);
    let none = "FTF NoReadyReplica: None of 2 replicas is ready";
    check_applied(changed("readyReplicas", json!(0)), &endpoints(true), none);
    check_applied(Value::Null, &[], "FTF RollingOut: 0 of 2 replicas are ready");
}

#[test]
fn a_registry_that_serves_stays_ready_when_its_changed_spec_is_refused() {
    let fixture = Fixture::parse(&least("  config: {http: {secret: x}}\n"));
    let (parts, found) = fixture.parts();
    let outcome = Outcome {
        registry: &parts,
        issued: None,
        findings: &serving(),
        problems: &problems(found),
    };
    let status = status(&fixture.registry, &outcome, at(0));
    let ready = condition(&status, READY).unwrap();
    assert_eq!(
        (
            ready.status.as_str(),
            ready.reason.as_str(),
            ready.message.as_str()
        ),
        ("True", "ConfigKeyRefused", "Serving with 2 of 2 replicas")
    );
    assert_eq!(condition(&status, STALLED).unwrap().status, "True");
}

#[test]
fn the_cause_is_told_once() {
    let fixture = Fixture::parse(&least("  config: {http: {secret: x}}\n"));
    let (parts, found) = fixture.parts();
    let outcome = Outcome {
        registry: &parts,
        issued: None,
        findings: &Findings::default(),
        problems: &problems(found),
    };
    let status = status(&fixture.registry, &outcome, at(0));
    let with_cause = status
        .conditions
        .iter()
        .filter(|c| c.message.contains("`spec.config`"));
    assert_eq!(with_cause.count(), 1, "{:?}", status.conditions);
    let ready = condition(&status, READY).unwrap();
    assert_eq!(ready.message, "Not serving; condition Stalled says why");
}

#[test]
fn a_paused_registry_does_not_claim_that_its_spec_was_applied() {
    let mut fixture = Fixture::parse(&least("  paused: true\n"));
    fixture.registry.status = serde_json::from_value(json!({ "observedGeneration": 2 })).unwrap();
    let (registry, issued) = fixture.issued();
    let (none, findings) = (Problems::default(), serving());
    let status = status(
        &fixture.registry,
        &applied(&registry, &issued, &findings, &none),
        at(0),
    );
    assert_eq!(status.observed_generation, Some(2), "the spec's generation is 3");
    assert_eq!(
        shown(&status),
        "TFF Paused: Serving with 2 of 2 replicas. Paused: nothing is changed until `spec.paused` is false. The newest \
         changes of the spec are not applied"
    );
}

#[test]
fn a_paused_registry_that_is_as_asked_says_so_by_its_generation() {
    let mut fixture = Fixture::parse(&least("  paused: true\n"));
    fixture.registry.status = serde_json::from_value(json!({ "observedGeneration": 2 })).unwrap();
    let (registry, issued) = fixture.issued();
    let none = Problems::default();
    let findings = Findings {
        as_asked: true,
        ..serving()
    };
    let outcome = applied(&registry, &issued, &findings, &none);
    let status = status(&fixture.registry, &outcome, at(0));
    assert_eq!(status.observed_generation, Some(3));
    let sentence = "Serving with 2 of 2 replicas. Paused: nothing is changed until `spec.paused` is false";
    assert_eq!(shown(&status), format!("TFF Paused: {sentence}"));
}

#[test]
fn a_registry_without_replicas_is_ready_as_asked_and_not_available() {
    let fixture = Fixture::parse(&least("  replicas: 0\n"));
    let (registry, issued) = fixture.issued();
    let none = Problems::default();
    let mut stopped = deployment(json!({ "observedGeneration": 2 }));
    stopped.spec.as_mut().unwrap().replicas = Some(0);
    let findings = look(Some(&stopped), None, &endpoints(false), &[]);
    let outcome = applied(&registry, &issued, &findings, &none);
    let told = status(&fixture.registry, &outcome, at(0));
    let sentence = "No replica is asked for, and nobody is served; raise `spec.replicas` to serve";
    assert_eq!(shown(&told), format!("TFF ScaledToZero: {sentence}"));
    assert_eq!(condition(&told, AVAILABLE).unwrap().status, "False");
    // The last Pod still ends its requests.
    stopped.status = serde_json::from_value(json!({ "observedGeneration": 1, "replicas": 1 })).unwrap();
    let findings = look(Some(&stopped), None, &endpoints(false), &[]);
    let outcome = applied(&registry, &issued, &findings, &none);
    let told = status(&fixture.registry, &outcome, at(0));
    assert!(shown(&told).starts_with("FTF RollingOut"), "{}", shown(&told));
}

/// The status after these addresses were asked, `seconds` after the status before.
fn after(fixture: &mut Fixture, findings: &Findings, seconds: i64) -> RegistryStatus {
    let (registry, issued) = fixture.issued();
    let none = Problems::default();
    let outcome = applied(&registry, &issued, findings, &none);
    let status = status(&fixture.registry, &outcome, at(seconds));
    fixture.registry.status = Some(status.clone());
    status
}

fn address(type_: EndpointType, url: &str, state: EndpointState, reason: Option<&str>) -> Endpoint {
    Endpoint {
        type_,
        url: url.to_owned(),
        state,
        reason: reason.map(str::to_owned),
        message: reason.map(|_| format!("Something is at {url}")),
    }
}

#[test]
fn a_url_is_published_when_it_was_verified_and_its_failure_does_not_end_the_service() {
    use EndpointState::{Failed, Pending, Verified};
    let mut fixture = two_replicas();
    let mut findings = serving();
    let mut seen = |state, reason, seconds| {
        findings.endpoints = vec![
            address(EndpointType::Ingress, "https://a.example", state, reason),
            address(
                EndpointType::Service,
                "https://harbour.quay.svc:5000",
                Verified,
                None,
            ),
        ];
        let status = after(&mut fixture, &findings, seconds);
        format!(
            "{} at {}",
            shown(&status),
            status.url.as_deref().unwrap_or("no address")
        )
    };
    let wrong = Some(endpoint_reason::WRONG_ANSWER);
    let way_out =
        "lead the address to the registry, or set `spec.probe` to Disabled if clients get another answer";
    assert_eq!(
        seen(Pending, wrong, 0),
        "FTF NotAnswering: Something is at https://a.example at https://harbour.quay.svc:5000"
    );
    let failed = format!(
        "AddressNotVerified: Something is at https://a.example; {way_out} at https://harbour.quay.svc:5000"
    );
    assert_eq!(seen(Failed, wrong, 30), format!("TTF {failed}"));
    assert_eq!(seen(Failed, wrong, 329), format!("TTF {failed}"));
    assert_eq!(seen(Failed, wrong, 330), format!("TFT {failed}"));
    assert_eq!(
        seen(Verified, None, 400),
        "TFF Serving: Serving with 2 of 2 replicas at https://a.example"
    );
    assert_eq!(
        seen(Pending, None, 500),
        "TTF NotAnswering: The first answer of `https://a.example` is awaited at https://a.example"
    );
}

#[test]
fn a_certificate_for_other_names_is_told_and_counts_where_a_name_was_promised() {
    let covered = Some(endpoint_reason::HOST_NOT_COVERED);
    for (type_, letters) in [(EndpointType::Service, "TFF"), (EndpointType::Public, "TTF")] {
        let mut fixture = two_replicas();
        let mut findings = serving();
        findings.endpoints = vec![address(
            type_,
            "https://a.example",
            EndpointState::Failed,
            covered,
        )];
        let status = after(&mut fixture, &findings, 0);
        let valid = condition(&status, CERTIFICATE_VALID).unwrap();
        assert_eq!(
            (
                valid.status.as_str(),
                valid.reason.as_str(),
                valid.message.as_str()
            ),
            ("False", "HostNotCovered", "Something is at https://a.example")
        );
        assert!(shown(&status).starts_with(letters), "{}", shown(&status));
        assert_eq!(status.url, None);
    }
}

#[test]
fn an_expired_certificate_never_says_serving() {
    let mut fixture = two_replicas();
    let findings = serving();
    let status = after(&mut fixture, &findings, 0);
    let end = status.tls.unwrap().not_after.unwrap().0;
    let (registry, issued) = fixture.issued();
    let none = Problems::default();
    let outcome = applied(&registry, &issued, &findings, &none);
    for (moment, letters) in [
        (end - jiff::SignedDuration::from_secs(1), "TFF Serving: "),
        (
            end,
            "FFT CertificateExpired: The server's certificate expired at ",
        ),
    ] {
        let status = super::status(&fixture.registry, &outcome, moment).0;
        assert!(shown(&status).starts_with(letters), "{}", shown(&status));
    }
    // Nor when it could not be renewed because of another problem.
    let outcome = Outcome {
        issued: None,
        ..outcome
    };
    let status = super::status(&fixture.registry, &outcome, end).0;
    assert!(
        shown(&status).starts_with("FFT CertificateExpired: "),
        "{}",
        shown(&status)
    );
    assert_eq!(
        condition(&status, CERTIFICATE_VALID).unwrap().reason,
        "CertificateExpired"
    );
}

#[test]
fn a_volume_that_cannot_be_made_is_told_with_the_way_out() {
    let claim = serde_json::from_value(json!({ "metadata": { "name": "harbour-data" } })).unwrap();
    let mut fixture = two_replicas();
    let mut findings = look(Some(&deployment(Value::Null)), Some(&claim), &[], &[]);
    findings.claim_problem = Some("storageclass.storage.k8s.io \"fats\" not found".to_owned());
    let status = after(&mut fixture, &findings, 0);
    assert_eq!(
        shown(&status),
        "FTF VolumePending: No volume is made for PersistentVolumeClaim `harbour-data`: storageclass.storage.k8s.io \"fats\" \
         not found; correct the storage class, or delete the claim and name another in \
         `spec.storage.persistentVolumeClaim.template.storageClassName`"
    );
    let storage = condition(&status, STORAGE_HEALTHY).unwrap();
    assert_eq!(
        (storage.status.as_str(), storage.reason.as_str()),
        ("False", "ProvisioningFailed")
    );
}

#[test]
fn a_rollout_that_crashes_beside_enough_old_pods_is_told() {
    let mut rolling = rolled_out();
    (rolling["updatedReplicas"], rolling["replicas"]) = (json!(1), json!(3));
    let crashing = json!({
        "metadata": { "name": "harbour-2" },
        "status": { "containerStatuses": [{
            "name": "registry", "image": "a", "imageID": "", "ready": false, "restartCount": 3,
            "state": { "waiting": { "reason": "CrashLoopBackOff" } },
            "lastState": { "terminated": { "exitCode": 2, "message": "error: Permission denied\n" } },
        }] },
    });
    let pod = serde_json::from_value(crashing).unwrap();
    let findings = look(Some(&deployment(rolling)), None, &endpoints(true), &[pod]);
    assert_eq!(
        shown(&after(&mut two_replicas(), &findings, 0)),
        "TTF RollingOut: 2 of 2 replicas are ready, and not all have the newest configuration: the server is in \
         CrashLoopBackOff: Permission denied; the volume's files must belong to the Pod's group (`fsGroup`, which NFS and \
         host paths ignore): give them to it with `chown -R` on the volume"
    );
}

#[test]
fn what_the_api_server_refuses_of_the_pods_is_said_in_the_fields_of_the_registry() {
    let refusal = kube::core::Status {
        code: 422,
        message: "Deployment.apps \"harbour\" is invalid: spec.template.spec.containers[0].resources.requests: Invalid \
                  value: \"2\": must be less than or equal to cpu limit of 1"
            .to_owned(),
        reason: "Invalid".to_owned(),
        ..Default::default()
    };
    let mut problems = Problems::default();
    problems.extend([crate::apply::Error::Write {
        verb: "apply",
        kind: "Deployment".to_owned(),
        name: "harbour".to_owned(),
        source: Box::new(kube::Error::Api(Box::new(refusal))),
    }]);
    let sentence = crate::report::sentence::failure(&problems);
    assert!(
        sentence.contains(" spec.pod.resources.requests: Invalid value"),
        "{sentence}"
    );
    assert!(!sentence.contains("spec.template"), "{sentence}");
}

#[test]
fn the_time_of_a_transition_moves_only_with_a_transition() {
    let mut fixture = two_replicas();
    let rolling = look(Some(&deployment(Value::Null)), None, &[], &[]);
    let first = after(&mut fixture, &rolling, 0);
    let mut no_claim = rolling.clone();
    no_claim.unbound_claim = Some(("harbour-data".to_owned(), "Pending".to_owned()));
    let second = after(&mut fixture, &no_claim, 60);
    let (before, now) = (
        condition(&first, RECONCILING).unwrap(),
        condition(&second, RECONCILING).unwrap(),
    );
    assert_ne!(before.reason, now.reason);
    assert_eq!(before.last_transition_time, now.last_transition_time);
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
    let (parts, found) = fixture.parts();
    let error = problems(found);
    let findings = Findings::default();
    let mut pass = |seconds: i64| {
        let outcome = Outcome {
            registry: &parts,
            issued: None,
            findings: &findings,
            problems: &error,
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
    let outcome = Outcome {
        registry: &parts,
        issued: None,
        findings: &findings,
        problems: &error,
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
    let none = Problems::default();
    let outcome = applied(&registry, &issued, &findings, &none);
    let first = status(&fixture.registry, &outcome, at(0));
    fixture.registry.status = Some(first.clone());
    assert_eq!(status(&fixture.registry, &outcome, at(1_000_000)), first);
}

#[test]
fn a_status_reads_back_as_it_was_written() {
    let fixture = Fixture::parse(include_str!("../../fixtures/everything.yaml"));
    let (registry, issued) = fixture.issued();
    let findings = look(None, None, &[], &[]);
    let none = Problems::default();
    let outcome = applied(&registry, &issued, &findings, &none);
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
    let (parts, found) = fixture.parts();
    assert!(
        matches!(found[..], [validate::Error::ConfigKeyOwned { .. }]),
        "{found:?}"
    );
    let outcome = Outcome {
        registry: &parts,
        issued: None,
        findings: &Findings::default(),
        problems: &problems(found),
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
            "the server is in CrashLoopBackOff with exit code 2; see why with `kubectl logs --previous harbour-1 -c registry`",
        ),
        (
            waiting("CreateContainerConfigError"),
            "container `registry` of Pod `harbour-1` cannot be made (CreateContainerConfigError); see why with `kubectl describe pod harbour-1`",
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
        let none = Problems::default();
        let outcome = applied(&registry, &issued, &findings, &none);
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
    let crashing = look(Some(&deployment(Value::Null)), None, &[], &[pod]);
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
        let none = Problems::default();
        let outcome = applied(&registry, &issued, &findings, &none);
        assert_eq!(shown(&status(&fixture.registry, &outcome, at(0))), expected);
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
        let (parts, found) = wanted.parts();
        let error = problems(found);
        let outcome = Outcome {
            registry: &parts,
            issued: None,
            findings: &Findings::default(),
            problems: &error,
        };
        let status = status(&fixture.registry, &outcome, at(seconds));
        let got = shown(&status);
        assert!(got.starts_with(letters), "{name} at {seconds}: {got}");
        fixture.registry.status = Some(status);
    }
}
