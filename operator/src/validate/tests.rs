use std::collections::BTreeSet;

use jiff::SignedDuration;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Secret, Service};
use operator_api::{RegistryStatus, StorageStatus};
use serde_json::{Value, json};

use super::backend::Backend;
use super::registry::Replicas;
use super::*;
use crate::certificate::KeyPair;
use crate::children::{Found, Want};
use crate::fixtures::{Fixture, least};
use crate::issue::{StoredSecrets, secrets as issue};
use crate::issue_plan::{CertificatePlan, IssuePlan};
use crate::ownership::Lifetime;

#[track_caller]
fn check_refused(fixture: &Fixture, expected: &str) {
    let error = fixture.validate().map(drop).unwrap_err();
    let got = match error.hint() {
        Some(hint) => format!("{error}; {hint}"),
        None => error.to_string(),
    };
    assert_eq!(got, expected);
}

/// The sentences about objects of somebody else, from validation and from what would be applied.
fn foreign(fixture: &Fixture) -> Vec<String> {
    let (validated, problems) = fixture.parts();
    let stored = StoredSecrets::of(&fixture.facts.existing);
    let issued = issue(&validated.issue, stored, fixture.facts.now).unwrap();
    let desired = crate::build::children(&validated, Some(&issued));
    let in_the_way = desired.foreign(&fixture.facts.existing, &fixture.facts.named, &validated.names);
    let problems = problems
        .into_iter()
        .map(|error| (error.to_string(), error.hint().unwrap()));
    let in_the_way = in_the_way
        .iter()
        .map(|foreign| (foreign.to_string(), foreign.hint()));
    problems
        .chain(in_the_way)
        .map(|(text, hint)| format!("{text}; {hint}"))
        .collect()
}

/// A certificate for these names and its key, and the CA that signed it.
fn certificate(names: &[&str]) -> (KeyPair, String) {
    let names = names.iter().map(|name| (*name).to_owned()).collect();
    let server = CertificatePlan::new(names, BTreeSet::new(), SignedDuration::from_hours(24), None);
    let plan = IssuePlan {
        http_secret: false,
        server: Some(server),
        edge: None,
        ca_name: "somebody".to_owned(),
        ..Default::default()
    };
    let now = crate::fixtures::NOW.parse().unwrap();
    let issued = issue(&plan, StoredSecrets::default(), now).unwrap();
    (issued.server.unwrap(), issued.cas.unwrap().current.certificate)
}

fn provide(fixture: &mut Fixture, name: &str, entries: &[(&str, &str)]) {
    let entry = |(key, text): &(&str, &str)| ((*key).to_owned(), ByteString(text.as_bytes().to_vec()));
    let secret = Secret {
        data: Some(entries.iter().map(entry).collect()),
        ..Default::default()
    };
    fixture.facts.secrets.insert(name.to_owned(), Some(secret));
}

#[test]
fn what_is_named_must_be_there_and_hold_what_it_must() {
    let everything = include_str!("../fixtures/everything.yaml");
    let change = |from: &str, to: &str| {
        assert!(everything.contains(from), "{from}");
        Fixture::parse(&everything.replace(from, to))
    };
    let mut missing = Fixture::parse(everything);
    missing.facts.config_maps.clear();
    check_refused(
        &missing,
        "ConfigMap `charts` of `spec.pod.volumes` does not exist; create it",
    );
    missing.facts.secrets.remove("signing");
    check_refused(
        &missing,
        "Secret `signing` of `spec.http.secretKeyRef` does not exist; create it",
    );
    check_refused(
        &change("before: fedcba9876543210", "after: fedcba9876543210"),
        "Secret `signing` of `spec.http.previousSecretKeyRefs` has no key `before`; add it",
    );
    check_refused(
        &change("current: 0123456789abcdef", "current: short"),
        "key `current` of Secret `signing` of `spec.http.secretKeyRef` is shorter than 16 bytes and could be guessed; \
         correct it",
    );
    for not_bcrypt in [
        "alice:{SHA}x",
        "alice:$apr1$x$y",
        "alice",
        ":$2y$05$c4WoMPo3SXsafkva.HHa6uXQZWr7oboPiC2bT/r7q1BB8I2s0BRqC",
        "alice:$2y$31$c4WoMPo3SXsafkva.HHa6uXQZWr7oboPiC2bT/r7q1BB8I2s0BRqC",
    ] {
        let line = "alice:$2y$05$c4WoMPo3SXsafkva.HHa6uXQZWr7oboPiC2bT/r7q1BB8I2s0BRqC";
        check_refused(
            &change(line, not_bcrypt),
            "key `list` of Secret `crew` of `spec.auth.htpasswd.secretKeyRef` holds no user with a bcrypt hash of a \
             cost from 4 to 16, as `htpasswd -B` writes them; correct it",
        );
    }
}

#[test]
fn a_user_whom_the_server_will_not_accept_is_named_and_the_others_can_log_in() {
    let line = "alice:$2y$05$c4WoMPo3SXsafkva.HHa6uXQZWr7oboPiC2bT/r7q1BB8I2s0BRqC";
    let dear = line.replace("alice:$2y$05", "bob:$2y$18");
    let everything = include_str!("../fixtures/everything.yaml");
    let fixture = Fixture::parse(&everything.replace(line, &format!("{line}\\n{dear}\\nsecret")));
    let notes = fixture.validate().unwrap().notes;
    let note = "Line 2, of user `bob`, of key `list` of Secret `crew` is not accepted by the server: its bcrypt hash has a \
                cost of 18; allowed: 4 to 16; make it anew with `htpasswd -B -C 10`; nor is 1 more line";
    assert!(notes.iter().any(|other| other == note), "{notes:?}");
}

#[test]
fn a_value_of_a_secret_that_the_server_refuses_is_never_quoted() {
    let everything = include_str!("../fixtures/everything.yaml");
    let fixture =
        Fixture::parse(&everything.replace("path: redis.sentinelpassword", "path: catalog.maxentries"));
    check_refused(
        &fixture,
        "key `before` of Secret `signing` of `spec.configFrom` is refused by the server at its path in `config.yml`; \
         correct it",
    );
}

#[test]
fn a_gateway_verifies_a_provided_certificate_where_it_can() {
    let route = "  httpRoute: {parentRefs: [{name: gate}], hostnames: [pier.example]}\n";
    let yaml = least(&format!("  tls: {{secret: {{name: papers}}}}\n{route}"));
    let (pair, ca) = certificate(&["pier.example"]);
    let policy = |with_ca: bool| {
        let mut fixture = Fixture::parse(&yaml);
        let mut files = vec![
            ("tls.crt", pair.certificate.as_str()),
            ("tls.key", pair.key.as_str()),
        ];
        files.extend(with_ca.then_some(("ca.crt", ca.as_str())));
        provide(&mut fixture, "papers", &files);
        let validated = fixture.validate().unwrap();
        let objects = crate::build::optional(&validated).unwrap();
        let policy = objects
            .into_iter()
            .find(|(kind, _)| *kind == OptionalKind::BackendTlsPolicy);
        let hostname = policy.map(|(_, policy)| policy.data["spec"]["validation"]["hostname"].clone());
        (hostname, validated.notes.concat())
    };
    assert_eq!(policy(true).0, Some(json!("pier.example")));
    let (none, notes) = policy(false);
    assert_eq!(none, None);
    assert!(
        notes.contains("no BackendTLSPolicy") && notes.contains("has no `ca.crt`"),
        "{notes}"
    );
}

#[test]
fn the_servers_certificate_names_the_hosts_of_a_tls_route() {
    let route = "  tlsRoute: {parentRefs: [{name: gate}], hostnames: [pier.example]}\n";
    let validated = Fixture::parse(&least(route)).validate().unwrap();
    let names = validated.issue.server.unwrap().dns_names;
    assert!(names.contains("pier.example"), "{names:?}");
}

#[test]
fn a_provided_certificate_must_work_and_is_verified_by_a_name_it_covers() {
    let yaml = least("  tls: {secret: {name: papers}}\n  ingress: {hosts: [pier.example]}\n");
    let (pair, ca) = certificate(&["*.example", "elsewhere.invalid"]);
    let (other, _) = certificate(&["pier.example"]);
    let verify_as = |entries: &[(&str, &str)]| {
        let mut fixture = Fixture::parse(&yaml);
        provide(&mut fixture, "papers", entries);
        let validated = fixture.validate().unwrap();
        let Some(ServerTls::Provided { verify_as, .. }) = validated.tls else {
            panic!("{:?}", validated.tls)
        };
        (verify_as, validated.notes)
    };
    let files = [
        ("tls.crt", pair.certificate.as_str()),
        ("tls.key", pair.key.as_str()),
    ];
    let with_ca = [files[0], files[1], ("ca.crt", ca.as_str())];
    assert_eq!(verify_as(&with_ca), (Some("pier.example".to_owned()), vec![]));
    let note =
        "The Ingress does not verify the server's certificate, because Secret `papers` has no `ca.crt`";
    assert_eq!(verify_as(&files), (None, vec![note.to_owned()]));
    let (stray, ca) = certificate(&["elsewhere.invalid"]);
    let note = "The Ingress does not verify the server's certificate, because it names neither `harbour.quay.svc` nor a \
                host of the Ingress; have one issued for Secret `papers` that does";
    let stray = [
        ("tls.crt", stray.certificate.as_str()),
        ("tls.key", stray.key.as_str()),
        ("ca.crt", ca.as_str()),
    ];
    assert_eq!(verify_as(&stray), (None, vec![note.to_owned()]));
    let mut mismatched = Fixture::parse(&yaml);
    provide(&mut mismatched, "papers", &[files[0], ("tls.key", &other.key)]);
    check_refused(
        &mismatched,
        "Secret `papers` of `spec.tls.secret` cannot be used: the key is not the certificate's; correct it",
    );
}

#[test]
fn an_ended_certificate_is_said_and_goes_on_serving() {
    let mut fixture = Fixture::parse(&least("  tls: {secret: {name: papers}}\n"));
    let (pair, _) = certificate(&["harbour.example"]);
    provide(
        &mut fixture,
        "papers",
        &[("tls.crt", &pair.certificate), ("tls.key", &pair.key)],
    );
    fixture.facts.now = pair.not_after + SignedDuration::from_secs(1);
    let notes = fixture.validate().unwrap().notes;
    assert_eq!(
        notes,
        ["The certificate of Secret `papers` ended on 2026-03-02; renew it"]
    );
}

#[test]
fn an_existing_claim_must_be_there_and_to_stay() {
    let yaml = include_str!("../fixtures/plain.yaml");
    let mut fixture = Fixture::parse(yaml);
    let validated = fixture.validate().unwrap();
    assert_eq!(validated.workload.unwrap().replicas, Replicas::Fixed(1));
    let note = "One replica runs instead of 2, because PersistentVolumeClaim `hold` is not ReadWriteMany";
    assert_eq!(validated.notes, [note]);
    fixture
        .facts
        .named_claim
        .as_mut()
        .unwrap()
        .metadata
        .deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(
        fixture.facts.now,
    ));
    check_refused(
        &fixture,
        "PersistentVolumeClaim `hold` is being deleted; its content goes when the last Pod that uses it ends: copy it while \
         the registry still serves, or wait until the claim is gone and create it again",
    );
    fixture.facts.named_claim = None;
    check_refused(
        &fixture,
        "PersistentVolumeClaim `hold` of `spec.storage.persistentVolumeClaim.claimName` does not exist; create it, or name \
         another",
    );
    let shared =
        Fixture::parse(&yaml.replace("accessModes: [ReadWriteOnce]", "accessModes: [ReadWriteMany]"));
    assert_eq!(
        shared.validate().unwrap().workload.unwrap().replicas,
        Replicas::Fixed(2)
    );
}

fn made_claim(request: &str) -> PersistentVolumeClaim {
    serde_json::from_value(json!({
        "metadata": {
            "name": "harbour-data",
            "labels": { "berth.dev/registry": "harbour", "app.kubernetes.io/managed-by": "berth-operator" },
        },
        "spec": {
            "accessModes": ["ReadWriteOnce"], "storageClassName": "slow",
            "resources": { "requests": { "storage": request } },
        },
    }))
    .unwrap()
}

#[test]
fn a_made_claim_grows_where_its_class_allows_it_and_never_shrinks() {
    let with = |request: &str, can_grow: Option<bool>| {
        let mut fixture = Fixture::parse(&least(""));
        fixture.facts.existing.claim = Found::Ours(made_claim(request));
        fixture.facts.claim_can_grow = can_grow;
        let validated = fixture.validate().unwrap();
        let Some(Backend::MadeClaim(claim)) = validated.storage else {
            panic!("{:?}", validated.storage)
        };
        (claim.size, claim.storage_class_name, validated.notes)
    };
    assert_eq!(with("4Gi", Some(true)), ("5Gi".to_owned(), None, vec![]));
    assert_eq!(with("5120Mi", Some(false)), ("5Gi".to_owned(), None, vec![]));
    assert_eq!(with("6Gi", Some(true)), ("6Gi".to_owned(), None, vec![]));
    let note = "PersistentVolumeClaim `harbour-data` stays at 4Gi instead of 5Gi, because its storage class does not \
                allow volumes to grow";
    assert_eq!(
        with("4Gi", Some(false)),
        ("4Gi".to_owned(), None, vec![note.to_owned()])
    );
}

#[test]
fn storage_is_only_changed_when_the_annotation_names_the_new_one() {
    let mut fixture = Fixture::parse(include_str!("../fixtures/plain.yaml"));
    let known = |backend: &str, claim: Option<&str>| {
        Some(RegistryStatus {
            storage: Some(StorageStatus {
                backend: Some(backend.to_owned()),
                claim_name: claim.map(str::to_owned),
                claim_uid: None,
                location: None,
                capacity: None,
                used_percent: None,
            }),
            ..Default::default()
        })
    };
    fixture.registry.status = known("persistentVolumeClaim", Some("hold"));
    fixture.validate().unwrap();
    fixture.registry.status = known("persistentVolumeClaim", Some("other"));
    let error = fixture.validate().map(drop).unwrap_err();
    let (from, to) = (
        "persistentVolumeClaim/other".to_owned(),
        "persistentVolumeClaim/hold".to_owned(),
    );
    assert_eq!(error, Error::StorageChanged { from, to });
    let annotate = |fixture: &mut Fixture, value: &str| {
        let annotation = (
            operator_api::CHANGE_STORAGE_ANNOTATION.to_owned(),
            value.to_owned(),
        );
        fixture.registry.metadata.annotations = Some([annotation].into());
    };
    annotate(&mut fixture, "emptyDir");
    assert!(fixture.validate().is_err(), "the annotation names something else");
    annotate(&mut fixture, "persistentVolumeClaim/hold");
    fixture.validate().unwrap();
}

#[test]
fn an_object_is_ours_by_its_controller_and_a_lasting_one_by_its_labels() {
    let check_foreign = |fixture: &Fixture, expected: &str| assert_eq!(foreign(fixture), [expected]);
    let service = |owner: Value| -> Option<Service> {
        let metadata = json!({ "name": "harbour", "ownerReferences": [owner] });
        serde_json::from_value(json!({ "metadata": metadata })).unwrap()
    };
    let owner = |kind: &str, name: &str, uid: &str| json!({ "apiVersion": "berth.dev/v1alpha1", "kind": kind, "name": name, "uid": uid, "controller": true });
    let mut fixture = Fixture::parse(&least(""));
    let uid = fixture.registry.metadata.uid.clone().unwrap();
    let found = |fixture: &Fixture, object| Found::of(object, Lifetime::UntilRolledOut, &fixture.subject());
    fixture.facts.existing.service = found(&fixture, service(owner("Registry", "harbour", &uid)));
    assert_eq!(foreign(&fixture), Vec::<String>::new());
    // Left by an earlier Registry of this name.
    fixture.facts.existing.service = found(&fixture, service(owner("Registry", "harbour", "another")));
    assert_eq!(foreign(&fixture), Vec::<String>::new());
    // Left by `kubectl delete --cascade=orphan`.
    let labels = json!({ "berth.dev/registry": "harbour", "app.kubernetes.io/managed-by": "berth-operator" });
    let labelled = |owners: Value| -> Option<Service> {
        let metadata = json!({ "name": "harbour", "labels": labels, "ownerReferences": owners });
        serde_json::from_value(json!({ "metadata": metadata })).unwrap()
    };
    fixture.facts.existing.service = found(&fixture, labelled(json!([])));
    assert_eq!(foreign(&fixture), Vec::<String>::new());
    let website = json!([owner("Website", "harbour", "another")]);
    fixture.facts.existing.service = found(&fixture, labelled(website));
    assert_eq!(foreign(&fixture).len(), 1, "another controller owns it");
    let sentence = "Service `harbour` exists and does not belong to this Registry; delete or rename it, or rename the Registry";
    for stranger in [
        owner("Registry", "pier", "another"),
        owner("Website", "harbour", "another"),
    ] {
        fixture.facts.existing.service = found(&fixture, service(stranger));
        check_foreign(&fixture, sentence);
    }
    fixture.facts.existing.service = Found::Absent;
    let mut claim = made_claim("5Gi");
    claim
        .metadata
        .labels
        .as_mut()
        .unwrap()
        .insert("berth.dev/registry".to_owned(), "pier".to_owned());
    fixture.facts.existing.claim = Found::of(Some(claim), Lifetime::Lasting, &fixture.subject());
    check_foreign(
        &fixture,
        "PersistentVolumeClaim `harbour-data` exists and does not belong to this Registry; delete or rename it, or rename \
         the Registry",
    );
}

#[test]
fn a_spoilt_ca_is_not_replaced_in_silence() {
    let mut fixture = Fixture::parse(&least(""));
    let labels = json!({ "berth.dev/registry": "harbour", "app.kubernetes.io/managed-by": "berth-operator" });
    let spoilt: Secret = serde_json::from_value(json!({
        "metadata": { "name": "harbour-ca-key", "labels": labels },
        "data": { "ca.crt": "Z2FyYmFnZQ==", "tls.key": "Z2FyYmFnZQ==" },
    }))
    .unwrap();
    let mut short = spoilt.clone();
    fixture.facts.existing.ca_key = Found::Ours(spoilt);
    check_refused(
        &fixture,
        "Secret `harbour-ca-key`, which the operator made, was changed and cannot be used any more: the certificate is not \
         a PEM certificate; restore it, or delete it to have a new one made, which clients will have to trust anew",
    );
    fixture.facts.existing.ca_key = Found::Absent;
    short.metadata.name = Some("harbour-http".to_owned());
    fixture.facts.existing.http_secret = Found::Ours(short);
    check_refused(
        &fixture,
        "Secret `harbour-http`, which the operator made, was changed and cannot be used any more: key `secret` is missing, \
         too short or not one line; restore it, or delete it to have a new one made, with which running uploads begin again",
    );
}

#[test]
fn an_image_is_the_operators_own_but_for_what_is_said() {
    let image = |spec: &str| {
        Fixture::parse(&least(spec))
            .validate()
            .unwrap()
            .workload
            .unwrap()
            .image
    };
    assert_eq!(image(""), "images.invalid:5000/berth/registry:9.9");
    assert_eq!(
        image("  image: {tag: edge}\n"),
        "images.invalid:5000/berth/registry:edge"
    );
    assert_eq!(image("  image: {repository: a.example/b}\n"), "a.example/b:9.9");
    let digest = format!("sha256:{}", "0".repeat(64));
    let both = format!("  image: {{tag: edge, digest: '{digest}'}}\n");
    assert_eq!(
        image(&both),
        format!("images.invalid:5000/berth/registry@{digest}")
    );
}

#[test]
fn a_users_object_is_only_in_the_way_where_the_registry_needs_its_name() {
    let (pair, _) = certificate(&["harbour.quay.svc"]);
    let files = [
        ("tls.crt", pair.certificate.as_str()),
        ("tls.key", pair.key.as_str()),
    ];
    let users = |fixture: &Fixture, name: &str, lifetime| {
        let secret: Secret = serde_json::from_value(json!({ "metadata": { "name": name } })).unwrap();
        Found::of(Some(secret), lifetime, &fixture.subject())
    };
    let own = "  tls: {secret: {name: harbour-tls}}\n  ingress: {hosts: [a.example], tls: {secretName: harbour-edge}}\n";
    let mut fixture = Fixture::parse(&least(own));
    provide(&mut fixture, "harbour-tls", &files);
    provide(&mut fixture, "harbour-edge", &files);
    fixture.facts.existing.server_certificate = users(&fixture, "harbour-tls", Lifetime::UntilRolledOut);
    fixture.facts.existing.edge_certificate = users(&fixture, "harbour-edge", Lifetime::UntilRolledOut);
    fixture.facts.existing.ca_key = users(&fixture, "harbour-ca-key", Lifetime::CreatedOnce);
    assert_eq!(foreign(&fixture), Vec::<String>::new());
    let mut fixture = Fixture::parse(&least("  ingress: {hosts: [a.example]}\n"));
    fixture.facts.existing.server_certificate = users(&fixture, "harbour-tls", Lifetime::UntilRolledOut);
    let sentence = |name: &str| {
        format!(
            "Secret `{name}` exists and does not belong to this Registry; delete or rename it, or rename the Registry"
        )
    };
    assert_eq!(foreign(&fixture), [sentence("harbour-tls")]);
    fixture.facts.existing.server_certificate = Found::Absent;
    fixture.facts.existing.edge_certificate = users(&fixture, "harbour-edge", Lifetime::UntilRolledOut);
    assert_eq!(foreign(&fixture), [sentence("harbour-edge")]);
    fixture.facts.existing.edge_certificate = Found::Absent;
    fixture.facts.existing.http_secret = users(&fixture, "harbour-http", Lifetime::CreatedOnce);
    assert_eq!(foreign(&fixture), [sentence("harbour-http")]);
}

#[test]
fn an_image_pinned_by_its_digest_stays_one_image() {
    let (pinned, other) = ("0".repeat(64), "1".repeat(64));
    for default in [
        format!("a.example:5000/berth/registry@sha256:{pinned}"),
        format!("a.example:5000/berth/registry:9.9@sha256:{pinned}"),
    ] {
        let settings = Settings {
            registry_image: default.clone(),
            ..Settings::default()
        };
        let image = |spec: &str| super::image(&Fixture::parse(&least(spec)).registry.spec, &settings, None);
        assert_eq!(image(""), default);
        assert_eq!(
            image("  image: {tag: edge}\n"),
            "a.example:5000/berth/registry:edge"
        );
        assert_eq!(
            image("  image: {repository: mirror.example/r}\n"),
            format!("mirror.example/r@sha256:{pinned}")
        );
        assert_eq!(
            image(&format!("  image: {{digest: 'sha256:{other}'}}\n")),
            format!("a.example:5000/berth/registry@sha256:{other}")
        );
    }
}

#[test]
fn nothing_of_a_secret_is_in_a_debug_output_or_published() {
    for (secret, yaml) in [
        ("0123456789abcdef", include_str!("../fixtures/everything.yaml")),
        ("wJalrXUtnFEMI", include_str!("../fixtures/bucket.yaml")),
    ] {
        assert!(yaml.contains(secret));
        let fixture = Fixture::parse(yaml);
        let (registry, issued) = fixture.issued();
        let children = crate::build::children(&registry, Some(&issued));
        let outputs = format!(
            "{registry:?} {issued:?} {children:?} {:?} {:?}",
            fixture.facts, fixture.facts.existing
        );
        let bytes = format!("{:?}", secret.as_bytes());
        for form in [secret, &bytes[1..bytes.len() - 1]] {
            assert!(!outputs.contains(form), "{outputs}");
        }
    }

    let (pair, ca) = certificate(&["harbour.quay.svc"]);
    let mut fixture = Fixture::parse(&least(
        "  tls: {secret: {name: papers}}\n  ingress: {hosts: [a.example]}\n",
    ));
    let files = [
        ("tls.crt", pair.certificate.as_str()),
        ("tls.key", pair.key.as_str()),
        ("ca.crt", &format!("{ca}{}", pair.key)),
    ];
    provide(&mut fixture, "papers", &files);
    let (registry, issued) = fixture.issued();
    let children = crate::build::children(&registry, Some(&issued));
    let (Want::Present(bundle), Want::Present(upstream)) = (children.ca_bundle, children.upstream_ca) else {
        panic!("no CA is published")
    };
    let bundle = &bundle.data.unwrap()["ca.crt"];
    assert!(
        bundle.contains(ca.trim()) && !bundle.contains("PRIVATE KEY"),
        "{bundle}"
    );
    let upstream = upstream.data.unwrap();
    let upstream = String::from_utf8_lossy(&upstream["ca.crt"].0);
    assert_eq!(
        *upstream, *bundle,
        "a certificate may be shown before its CA is trusted"
    );
}

#[test]
fn a_spoilt_ca_holds_up_the_pods_only_where_it_signs_their_certificate() {
    let workload = |spec: &str| {
        let mut fixture = Fixture::parse(&least(spec));
        fixture.facts.existing.ca_key = Found::Foreign;
        let (validated, problems) = fixture.parts();
        assert_eq!(problems.len(), 1, "{problems:?}");
        validated.workload.is_some()
    };
    assert!(!workload(""));
    assert!(workload(
        "  tls: {disabled: {}}\n  ingress: {hosts: [a.example]}\n"
    ));
}

#[test]
fn everything_that_is_wrong_is_found_at_once() {
    let everything = include_str!("../fixtures/everything.yaml");
    let mut fixture = Fixture::parse(everything);
    fixture.facts.secrets.remove("crew");
    fixture.facts.config_maps.clear();
    fixture.facts.existing.ca_key = Found::Foreign;
    let (validated, problems) = fixture.parts();
    let problems: Vec<_> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(
        problems,
        [
            "Secret `crew` of `spec.auth.htpasswd.secretKeyRef` does not exist",
            "Secret `crew` of `spec.pod.env` does not exist",
            "ConfigMap `charts` of `spec.pod.volumes` does not exist",
            "Secret `harbour-ca-key` exists and does not belong to this Registry",
        ]
    );
    assert!(validated.workload.is_none() && validated.unusable.ca);
    assert!(
        validated.storage.is_some(),
        "the claim does not depend on any of them"
    );
}

#[test]
fn a_name_that_no_object_can_have_is_told_and_never_requested() {
    let spec = "  tls: {secret: {name: 'tls/../tls'}}\n  \
                http: {secretKeyRef: {name: 'my users', key: a}}\n  \
                pod: {volumes: [{name: a, mountPath: /a, configMap: {name: 'maps?x=1#a'}}]}\n";
    let mut fixture = Fixture::parse(&least(spec));
    fixture.registry.spec.storage = serde_json::from_value(json!({
        "persistentVolumeClaim": { "claimName": "../secrets/users" },
    }))
    .unwrap();
    let named = crate::references::references(&fixture.registry.spec);
    assert!(
        named.secrets.is_empty() && named.config_maps.is_empty(),
        "{named:?}"
    );
    let (validated, problems) = fixture.parts();
    let problems: Vec<_> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(
        problems,
        [
            "`spec.storage.persistentVolumeClaim.claimName` names a PersistentVolumeClaim `../secrets/users`, and no object can \
             have this name",
            "`spec.http.secretKeyRef` names a Secret `my users`, and no object can have this name",
            "`spec.pod.volumes` names a ConfigMap `maps?x=1#a`, and no object can have this name",
            "`spec.tls.secret` names a Secret `tls/../tls`, and no object can have this name",
        ]
    );
    assert!(validated.workload.is_none() && !validated.issue.http_secret);
}

#[test]
fn a_configuration_that_is_nested_too_deeply_is_refused() {
    let mut value = json!(1);
    for _ in 0..40 {
        value = json!({ "a": value });
    }
    let mut fixture = Fixture::parse(&least(""));
    fixture.registry.spec.config = value.as_object().cloned();
    check_refused(
        &fixture,
        "the server would refuse `spec.config`: it is nested more than 32 levels deep",
    );
}

#[test]
fn what_was_good_before_is_said_to_stay_in_use_only_when_pods_have_a_copy_of_it() {
    let spec = "  ingress: {hosts: [a.example], tls: {secretName: papers}}\n";
    let yaml = least(spec).replace(
        "{anonymous: {access: PullPush}}",
        "{htpasswd: {secretKeyRef: {name: crew, key: list}}}",
    );
    let mut fixture = Fixture::parse(&yaml);
    provide(&mut fixture, "crew", &[("list", "garbage")]);
    provide(
        &mut fixture,
        "papers",
        &[("tls.crt", "garbage"), ("tls.key", "garbage")],
    );
    let hints = |fixture: &Fixture| -> Vec<String> {
        let (_, problems) = fixture.parts();
        problems.iter().map(|problem| problem.hint().unwrap()).collect()
    };
    assert_eq!(hints(&fixture), ["correct it", "correct it"]);
    fixture.facts.existing.inputs = Found::Ours(Secret::default());
    let kept = "correct it; what was good before stays in use";
    // Users first, then the Ingress's certificate, of which no Pod has a copy.
    let mut hints = hints(&fixture);
    hints.sort();
    assert_eq!(hints, ["correct it", kept]);
}

#[test]
fn the_last_good_users_and_what_old_pods_read_stay_in_the_live_secret() {
    let stored = |keys: &[&str]| -> Secret {
        let data = keys.iter().map(|key| ((*key).to_owned(), json!("Z29vZA==")));
        let data: serde_json::Map<String, Value> = data.collect();
        serde_json::from_value(json!({ "metadata": { "name": "harbour-live" }, "data": data })).unwrap()
    };
    let kept = |fixture: &Fixture| -> Vec<String> {
        let (validated, _) = fixture.parts();
        validated.live.kept.keys().cloned().collect()
    };
    let users = least("").replace(
        "{anonymous: {access: PullPush}}",
        "{htpasswd: {secretKeyRef: {name: crew, key: list}}}",
    );
    let all = ["htpasswd", "tls.crt", "tls.key"];
    let mut fixture = Fixture::parse(&users);
    fixture.facts.existing.live = Found::Ours(stored(&all));
    assert_eq!(kept(&fixture), all, "the users are missing");

    let mut fixture = Fixture::parse(&least("  tls: {disabled: {}}\n"));
    fixture.facts.existing.live = Found::Ours(stored(&all));
    assert_eq!(kept(&fixture), all, "no rollout is known to be complete");
    let deployment = |volumes: Value| {
        let pod = json!({ "spec": { "containers": [], "volumes": volumes } });
        let object = json!({
            "spec": { "replicas": 1, "selector": {}, "template": pod },
            "status": { "replicas": 1, "updatedReplicas": 1 },
        });
        Found::Ours(serde_json::from_value(object).unwrap())
    };
    fixture.facts.existing.deployment = deployment(json!([{ "name": "tls" }, { "name": "htpasswd" }]));
    assert_eq!(kept(&fixture), all, "Pods mount them");
    fixture.facts.existing.deployment = deployment(json!([{ "name": "tls" }]));
    assert_eq!(kept(&fixture), ["tls.crt", "tls.key"]);
    fixture.facts.existing.deployment = deployment(json!([]));
    assert_eq!(kept(&fixture), Vec::<String>::new());
}

#[test]
fn an_unknown_key_inside_the_configuration_is_named_wherever_it_stands() {
    let config = "  config: {catalog: {maxentrees: 5}, health: {file: [{file: /a, intervall: 3s}]}}\n";
    let notes = Fixture::parse(&least(config)).validate().unwrap().notes.join(" ");
    for key in ["maxentrees", "intervall"] {
        assert!(notes.contains(key), "`{key}` is not named: {notes}");
    }
}

#[test]
fn with_the_policy_manual_the_pods_keep_the_image_they_run() {
    let image = |spec: &str, running: Option<&str>| {
        let mut fixture = Fixture::parse(&least(spec));
        if let Some(running) = running {
            let container = json!({ "name": "registry", "image": running });
            let deployment =
                json!({ "spec": { "selector": {}, "template": { "spec": { "containers": [container] } } } });
            fixture.facts.existing.deployment = Found::Ours(serde_json::from_value(deployment).unwrap());
        }
        fixture.validate().unwrap().workload.unwrap().image
    };
    let manual = "  upgradePolicy: Manual\n";
    let running = "images.invalid:5000/berth/registry:8.0";
    let old = Some(running);
    assert_eq!(image("", old), "images.invalid:5000/berth/registry:9.9");
    assert_eq!(image(manual, old), running);
    assert_eq!(image(manual, None), "images.invalid:5000/berth/registry:9.9");
    let named = format!("{manual}  image: {{tag: '8.1'}}\n");
    assert_eq!(image(&named, old), "images.invalid:5000/berth/registry:8.1");
    let moved = format!("{manual}  image: {{repository: elsewhere.invalid/registry}}\n");
    assert_eq!(image(&moved, old), "elsewhere.invalid/registry:9.9");
}

#[test]
fn an_autoscaler_sets_the_replicas_and_zero_replicas_stop_it() {
    let replicas = |spec: &str, current: Option<i32>| {
        let shared = spec.replace(
            "STORAGE",
            "storage: {s3: {bucket: b, region: r, credentials: {workloadIdentity: {}}}}",
        );
        let yaml = least("").replace(
            "storage: {persistentVolumeClaim: {template: {size: 5Gi}}}",
            &shared,
        );
        let mut fixture = Fixture::parse(&yaml);
        if current.is_some() {
            let deployment = json!({ "spec": { "replicas": current, "selector": {}, "template": {} } });
            fixture.facts.existing.deployment = Found::Ours(serde_json::from_value(deployment).unwrap());
        }
        fixture.validate().unwrap().workload.unwrap().replicas
    };
    let scaled = "STORAGE\n  autoscaling: {minReplicas: 2, maxReplicas: 5}";
    assert_eq!(replicas(scaled, None).asked(), Some(2), "the first Pods");
    assert_eq!(replicas(scaled, Some(4)).asked(), None);
    assert_eq!(
        replicas(scaled, Some(0)).asked(),
        Some(2),
        "an autoscaler never starts the first Pod"
    );
    let stopped = format!("{scaled}\n  replicas: 0");
    assert_eq!(replicas(&stopped, Some(4)).asked(), Some(0));
}
