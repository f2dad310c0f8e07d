use std::collections::{BTreeMap, BTreeSet};

use jiff::SignedDuration;
use k8s_openapi::ByteString;

use super::*;
use crate::certificate::KeyPairError;
use crate::secret_data::CA_CERTIFICATE;

const START: &str = "2026-03-01T12:00:00Z";

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn certificate_plan(names: &[&str]) -> CertificatePlan {
    CertificatePlan::new(
        names.iter().map(|name| (*name).to_owned()).collect(),
        BTreeSet::from(["192.0.2.7".parse().unwrap()]),
        SignedDuration::from_hours(8760),
        None,
    )
}

fn plan(names: &[&str]) -> IssuePlan {
    IssuePlan {
        http_secret: true,
        server: Some(certificate_plan(names)),
        edge: None,
        ca_name: "berth: harbour in quay".to_owned(),
    }
}

fn secret(entries: &[(&str, &str)]) -> Option<Secret> {
    let data: BTreeMap<_, _> = entries
        .iter()
        .map(|(key, value)| ((*key).to_owned(), ByteString(value.as_bytes().to_vec())))
        .collect();
    Some(Secret {
        data: Some(data),
        ..Default::default()
    })
}

/// The Secrets in the cluster after `issued` was applied.
struct Cluster {
    http_secret: Option<Secret>,
    ca_key: Option<Secret>,
    server: Option<Secret>,
}

impl Cluster {
    fn with(issued: &Issued) -> Self {
        let ca = issued.ca.as_ref().unwrap();
        let server = issued.server.as_ref().unwrap();
        Self {
            http_secret: secret(&[(HTTP_SECRET_KEY, issued.http_secret.as_deref().unwrap())]),
            ca_key: secret(&[(CA_CERTIFICATE, &ca.certificate), (TLS_KEY, &ca.key)]),
            server: secret(&[(TLS_CERTIFICATE, &server.certificate), (TLS_KEY, &server.key)]),
        }
    }

    fn stored(&self) -> StoredSecrets<'_> {
        StoredSecrets {
            http_secret: self.http_secret.as_ref(),
            ca_key: self.ca_key.as_ref(),
            server: self.server.as_ref(),
            edge: None,
        }
    }
}

#[test]
fn good_secrets_are_kept_byte_for_byte() {
    let plan = plan(&["a.example"]);
    let first = secrets(&plan, StoredSecrets::default(), at(START)).unwrap();
    let again = secrets(&plan, Cluster::with(&first).stored(), at("2026-12-01T12:00:00Z")).unwrap();
    assert!(first.http_secret == again.http_secret);
    assert!(first.ca == again.ca, "the CA is another one");
    assert!(first.server == again.server, "the certificate is another one");
}

#[test]
fn a_certificate_with_other_names_is_made_anew_by_the_same_ca() {
    let first = secrets(&plan(&["a.example"]), StoredSecrets::default(), at(START)).unwrap();
    let changed = secrets(
        &plan(&["a.example", "b.example"]),
        Cluster::with(&first).stored(),
        at(START),
    )
    .unwrap();
    assert!(first.ca == changed.ca);
    let server = changed.server.unwrap();
    let parsed = key_pair(server.certificate.as_bytes(), server.key.as_bytes()).unwrap();
    assert_eq!(
        parsed.dns_names,
        BTreeSet::from(["a.example".to_owned(), "b.example".to_owned()])
    );
    assert_eq!(
        parsed.ip_addresses,
        BTreeSet::from(["192.0.2.7".parse().unwrap()])
    );
}

#[test]
fn a_certificate_is_renewed_when_its_end_is_near_and_not_before() {
    let plan = plan(&["a.example"]);
    let first = secrets(&plan, StoredSecrets::default(), at(START)).unwrap();
    assert_eq!(first.next_renewal, Some(at("2027-01-30T12:00:00Z")));
    let early = secrets(&plan, Cluster::with(&first).stored(), at("2027-01-30T11:59:59Z")).unwrap();
    assert!(first.server == early.server);
    let late = secrets(&plan, Cluster::with(&first).stored(), at("2027-01-30T12:00:00Z")).unwrap();
    assert!(first.server != late.server);
    assert!(first.ca == late.ca);
}

#[test]
fn a_certificate_of_another_ca_is_replaced() {
    let plan = plan(&["a.example"]);
    let first = secrets(&plan, StoredSecrets::default(), at(START)).unwrap();
    let mut cluster = Cluster::with(&first);
    cluster.ca_key = None;
    let second = secrets(&plan, cluster.stored(), at(START)).unwrap();
    assert!(first.ca != second.ca);
    assert!(first.server != second.server);
}

#[test]
fn a_certificate_never_outlives_its_ca() {
    let plan = plan(&["a.example"]);
    let first = secrets(&plan, StoredSecrets::default(), at(START)).unwrap();
    let end = first.ca.as_ref().unwrap().not_after;
    let last = secrets(
        &plan,
        Cluster::with(&first).stored(),
        end - SignedDuration::from_hours(24),
    )
    .unwrap();
    assert_eq!(last.server.unwrap().not_after, end);
}

#[test]
fn a_key_of_another_certificate_is_told_from_garbage() {
    let one = secrets(&plan(&["a.example"]), StoredSecrets::default(), at(START))
        .unwrap()
        .server
        .unwrap();
    let other = secrets(&plan(&["a.example"]), StoredSecrets::default(), at(START))
        .unwrap()
        .server
        .unwrap();
    let check = |certificate: &str, key: &str| key_pair(certificate.as_bytes(), key.as_bytes()).map(drop);
    assert_eq!(check(&one.certificate, &one.key), Ok(()));
    assert_eq!(check(&one.certificate, &other.key), Err(KeyPairError::Mismatch));
    assert_eq!(check("garbage", &one.key), Err(KeyPairError::Certificate));
    assert_eq!(check(&one.certificate, "garbage"), Err(KeyPairError::Key));
    assert_eq!(check("", ""), Err(KeyPairError::Certificate));
}

#[test]
fn nothing_generated_shows_in_debug_output() {
    let issued = secrets(&plan(&["a.example"]), StoredSecrets::default(), at(START)).unwrap();
    let shown = format!("{issued:?} {:?}", issued.server);
    assert!(!shown.contains("PRIVATE") && !shown.contains(issued.http_secret.as_deref().unwrap()));
}

#[test]
fn a_certificate_that_ends_with_its_ca_is_not_due_again_and_again() {
    let plan = plan(&["a.example"]);
    let first = secrets(&plan, StoredSecrets::default(), at(START)).unwrap();
    assert!(first.next_renewal.is_some());
    let end = first.ca.as_ref().unwrap().not_after;
    let last = secrets(
        &plan,
        Cluster::with(&first).stored(),
        end - SignedDuration::from_hours(24),
    )
    .unwrap();
    assert_eq!(last.server.as_ref().unwrap().not_after, end);
    assert_eq!(last.next_renewal, None);
}
