use k8s_openapi::api::core::v1::Secret;
use serde_json::{Value, json};

use super::*;
use crate::children::Found;
use crate::fixtures::{Fixture, least};
use crate::issue::{self, StoredSecrets};

/// All objects of a fixture as YAML documents.
#[track_caller]
fn documents(yaml: &str) -> String {
    let (validated, issued) = Fixture::parse(yaml).issued();
    super::documents(&children(&validated, Some(&issued)), &[]).unwrap()
}

/// The object as JSON; null when it is not wanted.
#[track_caller]
fn wanted<K: serde::Serialize>(want: Want<K>) -> Value {
    match want {
        Want::Present(object) => json!(object),
        Want::Absent => Value::Null,
        Want::IfMissing(_) | Want::Unchanged => panic!("the Registry is not valid"),
    }
}

#[test]
fn the_least_registry_becomes() {
    insta::assert_snapshot!(documents(include_str!("../fixtures/least.yaml")));
}

#[test]
fn a_registry_that_says_everything_becomes() {
    insta::assert_snapshot!(documents(include_str!("../fixtures/everything.yaml")));
}

#[test]
fn a_plain_registry_on_an_existing_claim_becomes() {
    insta::assert_snapshot!(documents(include_str!("../fixtures/plain.yaml")));
}

#[test]
fn a_registry_with_passthrough_on_a_folder_becomes() {
    insta::assert_snapshot!(documents(include_str!("../fixtures/passthrough.yaml")));
}

#[test]
fn a_registry_on_a_bucket_becomes() {
    let documents = documents(include_str!("../fixtures/bucket.yaml"));
    for secret in ["AKIAEXAMPLE", "wJalrXUtnFEMI", "hunter2"] {
        assert!(!documents.contains(secret), "{documents}");
    }
    insta::assert_snapshot!(documents);
}

#[test]
fn a_registry_that_is_scaled_and_closed_off_becomes() {
    insta::assert_snapshot!(documents(include_str!("../fixtures/scaled.yaml")));
}

#[test]
fn a_registry_on_a_bucket_by_a_token_becomes() {
    insta::assert_snapshot!(documents(include_str!("../fixtures/role.yaml")));
}

#[test]
fn the_configuration_with_everything_is() {
    let (validated, _) = Fixture::parse(include_str!("../fixtures/everything.yaml")).issued();
    let yaml = validated
        .workload
        .unwrap()
        .config
        .yaml
        .replace("fedcba9876543210", "<secret>");
    insta::assert_snapshot!(yaml);
}

#[test]
fn nothing_is_built_with_nulls_or_empty_lists() {
    for yaml in [
        include_str!("../fixtures/least.yaml"),
        include_str!("../fixtures/everything.yaml"),
        include_str!("../fixtures/plain.yaml"),
        include_str!("../fixtures/bucket.yaml"),
        include_str!("../fixtures/role.yaml"),
    ] {
        let text = documents(yaml);
        assert!(!text.contains(": null") && !text.contains(": []"), "{text}");
    }
}

/// The Deployment's template for Pods: when it changes, the Pods are replaced.
fn template(fixture: &Fixture, issued: &Issued) -> Value {
    let deployment = wanted(children(&fixture.validate().unwrap(), Some(issued)).deployment);
    deployment["spec"]["template"].clone()
}

#[test]
fn only_what_the_server_does_not_follow_by_itself_replaces_the_pods() {
    let everything = include_str!("../fixtures/everything.yaml");
    let fixture = Fixture::parse(everything);
    let (_, issued) = fixture.issued();
    let before = template(&fixture, &issued);
    let change = |from: &str, to: &str| {
        assert!(everything.contains(from), "{from}");
        template(&Fixture::parse(&everything.replace(from, to)), &issued)
    };
    assert_eq!(change("replicas: 3", "replicas: 4"), before);
    assert_eq!(change("duration: 2160h", "duration: 4320h"), before);
    assert_ne!(
        change("current: 0123456789abcdef", "current: 0123456789abcdeF"),
        before
    );
    assert_ne!(change("maxentries: 50", "maxentries: 51"), before);
    // In the fixture the users are also a variable; alone they are followed by the server.
    assert_ne!(change("alice:", "bob:"), before);
    let without = everything.replace(
        "      - {name: FROM, valueFrom: {secretKeyRef: {name: crew, key: list}}}\n",
        "",
    );
    let (alice, bob) = (
        Fixture::parse(&without),
        Fixture::parse(&without.replace("alice:", "bob:")),
    );
    assert_eq!(template(&alice, &issued), template(&bob, &issued));
}

#[test]
fn a_changed_key_of_a_store_password_or_ca_replaces_the_pods() {
    let bucket = include_str!("../fixtures/bucket.yaml");
    let fixture = Fixture::parse(bucket);
    let (_, issued) = fixture.issued();
    let before = template(&fixture, &issued);
    let change = |from: &str, to: &str| {
        assert!(bucket.contains(from), "{from}");
        template(&Fixture::parse(&bucket.replace(from, to)), &issued)
    };
    for (from, to) in [
        ("AKIAEXAMPLE", "AKIAANOTHER"),
        ("wJalrXUtnFEMI", "wJalrXUtnFEMJ"),
        ("hunter2", "hunter3"),
        (
            "    -----BEGIN CERTIFICATE-----\n",
            "    renewed\n    -----BEGIN CERTIFICATE-----\n",
        ),
    ] {
        assert_ne!(change(from, to), before, "{from}");
    }
    assert_eq!(change("replicas: 3", "replicas: 4"), before);
}

#[test]
fn annotations_of_the_service_account_replace_the_pods_only_where_they_say_who_the_pods_are() {
    let annotated = |yaml: &str, name: &str| {
        let pod = format!("  pod: {{serviceAccountAnnotations: {{who: {name}}}}}\n");
        Fixture::parse(&format!("{}\n{pod}", yaml.trim_end()))
    };
    let both = |yaml: &str| {
        let (one, other) = (annotated(yaml, "mate"), annotated(yaml, "bosun"));
        let (_, issued) = one.issued();
        (template(&one, &issued), template(&other, &issued))
    };
    let (one, other) = both(include_str!("../fixtures/role.yaml"));
    assert_ne!(one, other);
    let (one, other) = both(&least(""));
    assert_eq!(one, other);
}

#[test]
fn a_generated_secret_that_is_made_anew_replaces_the_pods() {
    let fixture = Fixture::parse(&least(""));
    let (_, one) = fixture.issued();
    let (_, other) = fixture.issued();
    assert_ne!(template(&fixture, &one), template(&fixture, &other));
}

#[test]
fn what_is_wrong_holds_up_only_what_depends_on_it() {
    let yaml = least("  ingress: {hosts: [a.example]}\n").replace(
        "{anonymous: {access: PullPush}}",
        "{htpasswd: {secretKeyRef: {name: crew, key: list}}}",
    );
    let fixture = Fixture::parse(&yaml);
    let (validated, problems) = fixture.parts();
    assert_eq!(problems.len(), 1, "{problems:?}");
    let stored = StoredSecrets::of(&fixture.facts.existing);
    let issued = issue::secrets(&validated.issue, stored, fixture.facts.now).unwrap();
    let children = children(&validated, Some(&issued));
    assert!(matches!(children.server_certificate, Want::Present(_)));
    assert!(matches!(children.edge_certificate, Want::Present(_)));
    assert!(matches!(children.ca_key, Want::Present(_)));
    assert!(matches!(children.claim, Want::Present(_)));
    assert!(matches!(children.service, Want::IfMissing(_)));
    assert!(matches!(children.ingress, Want::IfMissing(_)));
    assert!(matches!(children.ca_bundle, Want::Present(_)));
    assert!(matches!(children.live, Want::Present(_)));
    assert!(matches!(children.config, Want::Unchanged));
    assert!(matches!(children.inputs, Want::Unchanged));
    assert!(matches!(children.deployment, Want::Unchanged));
}

#[test]
fn a_secret_that_cannot_be_read_is_not_replaced_and_holds_up_only_what_needs_it() {
    let yaml = least("  ingress: {hosts: [a.example]}\n");
    let (_, issued) = Fixture::parse(&yaml).issued();
    let pair = issued.server.unwrap();
    let kept: Secret = serde_json::from_value(json!({
        "metadata": { "name": "harbour-live" },
        "data": { "tls.crt": base64(&pair.certificate), "tls.key": base64(&pair.key) },
    }))
    .unwrap();
    let built = |damage: fn(&mut Fixture)| {
        let mut fixture = Fixture::parse(&yaml);
        fixture.facts.existing.live = Found::Ours(kept.clone());
        damage(&mut fixture);
        let (validated, problems) = fixture.parts();
        assert!(problems.is_empty(), "reading has told it: {problems:?}");
        let stored = StoredSecrets::of(&fixture.facts.existing);
        let issued = issue::secrets(&validated.issue, stored, fixture.facts.now).unwrap();
        children(&validated, Some(&issued))
    };
    let all = built(|fixture| fixture.facts.existing.ca_key = Found::Unreadable);
    assert!(matches!(all.ca_key, Want::Unchanged));
    assert!(matches!(all.server_certificate, Want::Unchanged));
    assert!(matches!(all.edge_certificate, Want::Unchanged));
    assert!(matches!(all.http_secret, Want::Present(_)));
    assert!(matches!(all.service, Want::Present(_)));
    assert!(
        matches!(all.deployment, Want::Present(_)),
        "Pods have a copy of the certificate"
    );
    let all = built(|fixture| fixture.facts.existing.server_certificate = Found::Unreadable);
    assert!(matches!(all.server_certificate, Want::Unchanged));
    assert!(matches!(all.ca_key, Want::Present(_)));
    assert!(matches!(all.edge_certificate, Want::Present(_)));
    assert!(matches!(all.deployment, Want::Present(_)));
    let all = built(|fixture| fixture.facts.existing.http_secret = Found::Unreadable);
    assert!(matches!(all.http_secret, Want::Unchanged));
    assert!(matches!(all.server_certificate, Want::Present(_)));
    assert!(matches!(all.service, Want::IfMissing(_)));
    assert!(matches!(all.deployment, Want::Unchanged), "it needs the secret");
}

fn base64(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(text)
}

#[test]
fn a_paused_registry_keeps_what_it_has() {
    let fixture = Fixture::parse(&least("  paused: true\n"));
    let (validated, issued) = fixture.issued();
    let children = children(&validated, Some(&issued));
    assert!(matches!(children.ca_key, Want::Unchanged));
    assert!(matches!(children.service, Want::Unchanged));
    assert!(matches!(children.deployment, Want::Unchanged));
}

#[test]
fn user_and_groups_are_the_operators_the_authors_or_the_clusters() {
    let context = |spec: &str| {
        let fixture = Fixture::parse(&least(spec));
        let (_, issued) = fixture.issued();
        let template = template(&fixture, &issued);
        let context = &template["spec"]["securityContext"];
        assert_eq!(context["runAsNonRoot"], true, "{spec}");
        ["runAsUser", "runAsGroup", "fsGroup"].map(|id| context[id].as_i64())
    };
    assert_eq!(context(""), [Some(65532); 3]);
    // The range of a namespace on OpenShift decides.
    assert_eq!(context("  pod: {securityContext: {}}\n"), [None; 3]);
    let own = "  pod: {securityContext: {runAsUser: 1000, fsGroup: 2000}}\n";
    assert_eq!(context(own), [Some(1000), None, Some(2000)]);
}
