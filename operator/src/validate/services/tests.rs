use std::collections::BTreeSet;

use jiff::SignedDuration;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use serde_json::json;

use super::*;
use crate::certificate::KeyPair;
use crate::fixtures::{Fixture, NOW, least};
use crate::issue::{StoredSecrets, secrets as issue};
use crate::issue_plan::{CertificatePlan, IssuePlan};
use crate::validate::registry::FileSource;

/// A certificate, its key, and the CA that signed it.
fn certificate() -> (KeyPair, String) {
    let names = BTreeSet::from(["hold.example".to_owned()]);
    let plan = IssuePlan {
        http_secret: false,
        server: Some(CertificatePlan::new(
            names,
            BTreeSet::new(),
            SignedDuration::from_hours(24),
            None,
        )),
        edge: None,
        ca_name: "somebody".to_owned(),
        ..Default::default()
    };
    let issued = issue(&plan, StoredSecrets::default(), NOW.parse().unwrap()).unwrap();
    (issued.server.unwrap(), issued.cas.unwrap().current.certificate)
}

/// A Registry with this storage, and perhaps a cache, and the Secrets and ConfigMaps that tests name.
fn around(storage: &str, cache: &str) -> Fixture {
    let claim = "{persistentVolumeClaim: {template: {size: 5Gi}}}";
    let mut fixture = Fixture::parse(&least(cache).replace(claim, storage));
    let (pair, ca) = certificate();
    let secret = |entries: &[(&str, &str)]| {
        let entry = |(key, text): &(&str, &str)| ((*key).to_owned(), ByteString(text.as_bytes().to_vec()));
        Some(Secret {
            data: Some(entries.iter().map(entry).collect()),
            ..Default::default()
        })
    };
    let file = json!({ "type": "service_account", "client_email": "a@b.example", "private_key": "PEM" });
    let papers = [
        ("id", "AKIAEXAMPLE"),
        ("key", "wJalrXUtnFEMI"),
        ("token", "FwoGZXIvYXdz"),
        ("file", &file.to_string()),
        ("broken", "{\"type\": \"service_account\", wJalrXUtnFEMI"),
        ("line", "wJalrXUtnFEMI\n"),
        ("none", ""),
    ];
    let log = [
        ("user", "mate"),
        ("word", "hunter2"),
        ("ca", &ca),
        ("garbage", "-----BEGIN"),
    ];
    let pass = [("tls.crt", &*pair.certificate), ("tls.key", &*pair.key)];
    let secrets = &mut fixture.facts.secrets;
    secrets.insert("papers".to_owned(), secret(&papers));
    secrets.insert("log".to_owned(), secret(&log));
    secrets.insert("pass".to_owned(), secret(&pass));
    let data = BTreeMap::from([
        ("ca.pem".to_owned(), format!("{ca}{}", pair.certificate)),
        ("cut.pem".to_owned(), format!("{ca}{}", &pair.certificate[..200])),
    ]);
    let seals = ConfigMap {
        data: Some(data),
        ..Default::default()
    };
    fixture.facts.config_maps.insert("seals".to_owned(), Some(seals));
    fixture
}

fn check(storage: &str, cache: &str) -> Result<Services, Error> {
    let fixture = around(storage, cache);
    let mut found = Collector::default();
    let services = super::check(&fixture.registry.spec, &fixture.facts, &mut found);
    match found.problems.into_iter().next() {
        Some(first) => Err(first),
        None => Ok(services.unwrap()),
    }
}

/// The part of `config.yml`, and what the Pods are given, as text.
#[track_caller]
fn shown(storage: &str, cache: &str) -> String {
    let services = check(storage, cache).unwrap();
    let Supplies {
        secret_variables,
        variables,
        files,
        labels,
        identity_of_service_account,
    } = services.supplies;
    let mut text = serde_saphyr::to_string(&services.config).unwrap();
    for variable in secret_variables {
        text += &format!("{variable} <- input\n");
    }
    for (variable, value) in variables {
        text += &format!("{variable} = {value}\n");
    }
    for (file, source) in files {
        text += &match source {
            FileSource::Input => format!("{file} <- input\n"),
            FileSource::Token { audience } => format!("{file} <- token for {audience}\n"),
        };
    }
    for (key, value) in labels {
        text += &format!("label {key}: {value}\n");
    }
    if identity_of_service_account {
        text += "identity of the ServiceAccount\n";
    }
    let inputs: Vec<_> = services.inputs.into_keys().collect();
    text + &format!("inputs: {inputs:?}\n")
}

#[test]
fn a_bucket_of_amazons_by_keys_needs_little() {
    let keys = "{secret: {name: papers, accessKeyIDKey: id, secretAccessKeyKey: key}}";
    insta::assert_snapshot!(shown(
        &format!("{{s3: {{bucket: cargo, region: north-1, credentials: {keys}}}}}"),
        ""
    ));
}

#[test]
fn everything_can_be_said_of_a_bucket_of_another_store() {
    let fixture = include_str!("../../fixtures/s3.yaml");
    let spec = Fixture::parse(fixture).registry.spec;
    let storage = serde_json::to_string(&spec.storage).unwrap();
    let cache = format!("  cache: {}\n", serde_json::to_string(&spec.cache).unwrap());
    insta::assert_snapshot!(shown(&storage, &cache));
}

#[test]
fn a_role_is_taken_on_with_a_token_of_the_service_account() {
    let storage = |identity: &str| {
        format!("{{s3: {{bucket: cargo, region: a, credentials: {{workloadIdentity: {identity}}}}}}}")
    };
    insta::assert_snapshot!(shown(&storage("{roleARN: 'arn:aws:iam::1:role/mate'}"), ""));
    let own = shown(
        &storage("{roleARN: 'arn:aws:iam::1:role/mate', audience: hold}"),
        "",
    );
    assert!(own.contains("token <- token for hold\n"), "{own}");
    let webhook = shown(&storage("{}"), "");
    assert!(
        !webhook.contains("AWS_") && !webhook.contains("token"),
        "{webhook}"
    );
}

#[test]
fn a_container_of_azure_is_used_in_three_ways() {
    let shown = |credentials: &str| {
        let container = "accountName: hold, container: cargo, prefix: deck";
        shown(
            &format!("{{azure: {{{container}, credentials: {{{credentials}}}}}}}"),
            "",
        )
    };
    insta::assert_snapshot!(
        [
            shown("secret: {name: papers, accountKeyKey: key}"),
            shown("clientSecret: {clientID: mate, tenantID: ship, secretKeyRef: {name: papers, key: key}}"),
            shown("workloadIdentity: {clientID: mate, tenantID: ship}"),
            shown("workloadIdentity: {}"),
        ]
        .join("---\n")
    );
}

#[test]
fn a_bucket_of_googles_is_used_by_a_key_file_or_by_the_metadata_server() {
    let shown = |credentials: &str| {
        shown(
            &format!("{{gcs: {{bucket: cargo, credentials: {{{credentials}}}}}}}"),
            "",
        )
    };
    insta::assert_snapshot!(
        [
            shown("secret: {name: papers, keyFileKey: file}"),
            shown("workloadIdentity: {}"),
        ]
        .join("---\n")
    );
}

#[test]
fn redis_is_told_by_its_addresses_and_trusted_by_its_cas() {
    let shown = |redis: &str| shown("{emptyDir: {}}", &format!("  cache: {{redis: {{{redis}}}}}\n"));
    insta::assert_snapshot!(
        [
            shown("addresses: ['a:1']"),
            shown("addresses: ['a:1', 'b:2'], mode: Cluster, credentials: {secret: {name: log, passwordKey: word}}"),
            shown("addresses: ['a:1'], tls: {}"),
        ]
        .join("---\n")
    );
}

#[test]
fn a_volume_without_redis_needs_no_service() {
    let services = check("{emptyDir: {}}", "").unwrap();
    assert_eq!(
        (services.config, services.supplies),
        (json!({}), Supplies::default())
    );
}

#[test]
fn what_a_service_needs_must_be_there_and_hold_what_it_must() {
    let s3 = |keys: &str, more: &str| {
        format!("{{s3: {{bucket: cargo, region: a, credentials: {{secret: {{{keys}}}}}{more}}}}}")
    };
    let good = "name: papers, accessKeyIDKey: id, secretAccessKeyKey: key";
    let gcs = |key: &str| {
        format!("{{gcs: {{bucket: cargo, credentials: {{secret: {{name: papers, keyFileKey: {key}}}}}}}}}")
    };
    let redis = |more: &str| format!("  cache: {{redis: {{addresses: ['a:1'], {more}}}}}\n");
    let field = "`spec.storage.s3.credentials.secret`";
    let rows: Vec<(String, String, String)> = vec![
        (
            s3("name: nowhere, accessKeyIDKey: id, secretAccessKeyKey: key", ""),
            String::new(),
            format!("Secret `nowhere` of {field} does not exist"),
        ),
        (
            s3("name: papers, accessKeyIDKey: id, secretAccessKeyKey: lost", ""),
            String::new(),
            format!("Secret `papers` of {field} has no key `lost`"),
        ),
        (
            s3("name: papers, accessKeyIDKey: id, secretAccessKeyKey: line", ""),
            String::new(),
            format!("key `line` of Secret `papers` of {field} must be one line of text"),
        ),
        (
            s3(&format!("{good}, sessionTokenKey: none"), ""),
            String::new(),
            format!("key `none` of Secret `papers` of {field} is empty"),
        ),
        (
            s3(good, ", caBundle: {configMapKeyRef: {name: nowhere, key: ca.pem}}"),
            String::new(),
            "ConfigMap `nowhere` of `spec.storage.s3.caBundle` does not exist".to_owned(),
        ),
        (
            s3(good, ", caBundle: {configMapKeyRef: {name: seals, key: cut.pem}}"),
            String::new(),
            "key `cut.pem` of ConfigMap `seals` of `spec.storage.s3.caBundle` is not a PEM certificate, or not only such"
                .to_owned(),
        ),
        (
            s3(good, ", caBundle: {secretKeyRef: {name: log, key: garbage}}"),
            String::new(),
            "key `garbage` of Secret `log` of `spec.storage.s3.caBundle` is not a PEM certificate, or not only such"
                .to_owned(),
        ),
        (
            gcs("broken"),
            String::new(),
            "key `broken` of Secret `papers` of `spec.storage.gcs.credentials.secret` is not JSON".to_owned(),
        ),
        (
            gcs("id"),
            String::new(),
            "key `id` of Secret `papers` of `spec.storage.gcs.credentials.secret` is not JSON".to_owned(),
        ),
        (
            "{emptyDir: {}}".to_owned(),
            redis("credentials: {secret: {name: log, passwordKey: lost}}"),
            "Secret `log` of `spec.cache.redis.credentials.secret` has no key `lost`".to_owned(),
        ),
        (
            "{emptyDir: {}}".to_owned(),
            redis("tls: {clientCertificate: {name: log}}"),
            "Secret `log` of `spec.cache.redis.tls.clientCertificate` has no key `tls.crt`".to_owned(),
        ),
    ];
    for (storage, cache, expected) in rows {
        let got = check(&storage, &cache).map(drop).unwrap_err().to_string();
        assert_eq!(got, expected, "{storage} {cache}");
    }
}

#[test]
fn the_server_takes_what_each_store_and_cache_becomes_without_a_word() {
    let s3 = |more: &str| format!("{{s3: {{bucket: cargo, region: a, {more}}}}}");
    let azure = |credentials: &str| {
        format!(
            "{{azure: {{accountName: hold, container: cargo, prefix: deck, credentials: {{{credentials}}}}}}}"
        )
    };
    let bundle = "caBundle: {configMapKeyRef: {name: seals, key: ca.pem}}";
    let everything = Fixture::parse(include_str!("../../fixtures/s3.yaml"))
        .registry
        .spec;
    let everything_of_s3 = serde_json::to_string(&everything.storage).unwrap();
    let everything_of_redis = serde_json::to_string(&everything.cache).unwrap();
    for (storage, cache) in [
        (s3("credentials: {workloadIdentity: {}}"), "null"),
        (everything_of_s3, everything_of_redis.as_str()),
        (azure("secret: {name: papers, accountKeyKey: key}"), "null"),
        (
            azure("clientSecret: {clientID: mate, tenantID: ship, secretKeyRef: {name: papers, key: key}}"),
            "null",
        ),
        (
            azure("workloadIdentity: {clientID: mate, tenantID: ship}")
                .replace("prefix: deck", &format!("prefix: deck, {bundle}")),
            "{redis: {addresses: ['a:1'], tls: {}}}",
        ),
        (
            azure("workloadIdentity: {}"),
            "{redis: {addresses: ['a:1', 'b:2'], mode: Cluster}}",
        ),
        (
            "{emptyDir: {}}".to_owned(),
            "{redis: {addresses: ['a:1'], credentials: {secret: {name: log, usernameKey: user, passwordKey: word}}}}",
        ),
    ] {
        let fixture = around(&storage, &format!("  cache: {cache}\n"));
        let notes = fixture.validate().unwrap().notes;
        assert_eq!(notes, Vec::<String>::new(), "{storage} {cache}");
    }
}
