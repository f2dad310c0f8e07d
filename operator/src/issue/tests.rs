use std::collections::{BTreeMap, BTreeSet};

use jiff::SignedDuration;
use k8s_openapi::ByteString;

use super::*;
use crate::certificate::KeyPairError;
use crate::secret_data::{CA_CERTIFICATE, NEXT_CA_CERTIFICATE, NEXT_CA_KEY};

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
        ..Default::default()
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
    ca_bundle: Option<ConfigMap>,
    server: Option<Secret>,
}

impl Cluster {
    fn with(issued: &Issued) -> Self {
        let cas = issued.cas.as_ref().unwrap();
        let server = issued.server.as_ref().unwrap();
        let current = &cas.current;
        let mut entries = vec![
            (CA_CERTIFICATE, current.certificate.as_str()),
            (TLS_KEY, current.key.as_str()),
        ];
        let mut annotations = BTreeMap::new();
        if let Some(next) = &cas.next {
            entries.push((NEXT_CA_CERTIFICATE, &next.pair.certificate));
            entries.push((NEXT_CA_KEY, &next.pair.key));
            annotations.insert(
                rotation::NEXT_CA_SIGNS_FROM.to_owned(),
                next.signs_from.to_string(),
            );
        }
        if let Some(answered) = &cas.answered {
            annotations.insert(rotation::RENEWAL_ANSWERED.to_owned(), answered.clone());
        }
        let mut ca_key = secret(&entries).unwrap();
        ca_key.metadata.annotations = Some(annotations);
        let published = (
            trust::PUBLISHED_ANNOTATION.to_owned(),
            issued.trust.published.clone(),
        );
        let mut ca_bundle = ConfigMap {
            data: Some([(CA_CERTIFICATE.to_owned(), issued.trust.certificates.clone())].into()),
            ..Default::default()
        };
        ca_bundle.metadata.annotations = Some([published].into());
        Self {
            http_secret: secret(&[(HTTP_SECRET_KEY, issued.http_secret.as_deref().unwrap())]),
            ca_key: Some(ca_key),
            ca_bundle: Some(ca_bundle),
            server: secret(&[(TLS_CERTIFICATE, &server.certificate), (TLS_KEY, &server.key)]),
        }
    }

    fn stored(&self) -> StoredSecrets<'_> {
        StoredSecrets {
            http_secret: self.http_secret.as_ref(),
            ca_key: self.ca_key.as_ref(),
            ca_bundle: self.ca_bundle.as_ref(),
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
    assert!(first.cas == again.cas, "the CA is another one");
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
    assert!(first.cas == changed.cas);
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
    assert!(first.cas == late.cas);
}

#[test]
fn a_certificate_of_another_ca_is_replaced() {
    let plan = plan(&["a.example"]);
    let first = secrets(&plan, StoredSecrets::default(), at(START)).unwrap();
    let mut cluster = Cluster::with(&first);
    cluster.ca_key = None;
    let second = secrets(&plan, cluster.stored(), at(START)).unwrap();
    assert!(first.cas != second.cas);
    assert!(first.server != second.server);
}

#[test]
fn a_certificate_never_outlives_its_ca() {
    let plan = plan(&["a.example"]);
    let first = secrets(&plan, StoredSecrets::default(), at(START)).unwrap();
    let end = first.cas.as_ref().unwrap().current.not_after;
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
fn a_certificate_that_ends_with_its_ca_is_due_when_the_next_ca_signs() {
    let plan = plan(&["a.example"]);
    let first = secrets(&plan, StoredSecrets::default(), at(START)).unwrap();
    assert!(first.next_renewal.is_some());
    let end = first.cas.as_ref().unwrap().current.not_after;
    let last = secrets(
        &plan,
        Cluster::with(&first).stored(),
        end - SignedDuration::from_hours(24),
    )
    .unwrap();
    assert_eq!(last.server.as_ref().unwrap().not_after, end);
    let next = last.cas.as_ref().unwrap().next.as_ref().unwrap();
    assert_eq!(last.next_renewal, Some(next.signs_from));
    assert!(next.signs_from < end);
}

fn leaf(issued: &Issued) -> crate::certificate::Certificate {
    let server = issued.server.as_ref().unwrap();
    key_pair(server.certificate.as_bytes(), server.key.as_bytes()).unwrap()
}

/// Whether a client that trusts these CAs accepts the certificate.
fn trusts(bundle: &str, leaf: &crate::certificate::Certificate) -> bool {
    crate::certificate::blocks(bundle).iter().any(|block| {
        let ca = crate::certificate::Certificate::parse(block.as_bytes()).unwrap();
        leaf.issued_by(&ca) && leaf.not_after <= ca.not_after
    })
}

#[test]
fn over_thirty_years_every_certificate_is_trusted_by_clients_that_read_the_bundle_a_week_ago() {
    let plan = plan(&["a.example"]);
    let mut now = at(START);
    let mut issued = secrets(&plan, StoredSecrets::default(), now).unwrap();
    let mut seen = BTreeSet::from([issued.cas.as_ref().unwrap().current.certificate.clone()]);
    let mut bundles = vec![issued.trust.certificates.clone()];
    for _ in 0..30 * 52 {
        now += SignedDuration::from_hours(7 * 24);
        issued = secrets(&plan, Cluster::with(&issued).stored(), now).unwrap();
        let leaf = leaf(&issued);
        assert!(leaf.not_after > now, "a certificate has ended at {now}");
        assert!(
            leaf.not_after.duration_since(leaf.not_before) >= SignedDuration::from_hours(8760),
            "a certificate was cut short at {now}"
        );
        let week_ago = bundles.last().unwrap();
        assert!(
            trusts(week_ago, &leaf),
            "clients do not trust the certificate at {now}"
        );
        assert!(trusts(&issued.trust.certificates, &leaf));
        assert!(issued.next_renewal.unwrap() > now, "due again and again at {now}");
        let published = crate::certificate::blocks(&issued.trust.certificates).len();
        assert!(published <= 3, "{published} CAs are published at {now}");
        bundles.push(issued.trust.certificates.clone());
        seen.insert(issued.cas.as_ref().unwrap().current.certificate.clone());
    }
    assert!(seen.len() >= 3, "{} CAs in thirty years", seen.len());
    assert_eq!(crate::certificate::blocks(bundles.last().unwrap()).len(), 1);
}

#[test]
fn a_request_for_a_new_ca_is_answered_once_and_the_old_one_stays_published() {
    let mut plan = plan(&["a.example"]);
    let first = secrets(&plan, StoredSecrets::default(), at(START)).unwrap();
    plan.renew_ca = Some("leaked".to_owned());
    let announced = secrets(&plan, Cluster::with(&first).stored(), at(START)).unwrap();
    assert!(
        announced.server == first.server,
        "the new CA signs before anybody trusts it"
    );
    assert_eq!(crate::certificate::blocks(&announced.trust.certificates).len(), 2);
    let due = announced.next_renewal.unwrap();
    assert_eq!(due, at("2026-03-01T12:10:00Z"));
    let renewed = secrets(&plan, Cluster::with(&announced).stored(), due).unwrap();
    assert!(renewed.cas != first.cas && renewed.server != first.server);
    assert!(trusts(&announced.trust.certificates, &leaf(&renewed)));
    assert!(
        trusts(&renewed.trust.certificates, &leaf(&first)),
        "old certificates are still shown"
    );
    let after = at("2026-03-02T12:00:00Z");
    let again = secrets(&plan, Cluster::with(&renewed).stored(), after).unwrap();
    assert!(again.cas == renewed.cas && again.trust == renewed.trust);
    let gone = secrets(&plan, Cluster::with(&again).stored(), at("2026-04-01T12:00:00Z")).unwrap();
    assert_eq!(crate::certificate::blocks(&gone.trust.certificates).len(), 1);
    plan.renew_ca = Some("leaked again".to_owned());
    let second = secrets(&plan, Cluster::with(&gone).stored(), at("2026-04-01T12:00:00Z")).unwrap();
    assert!(second.cas.unwrap().next.is_some());
}

#[test]
fn a_ca_of_the_authors_signs_and_the_former_one_stays_published_but_nothing_of_a_stranger() {
    let mut plan = plan(&["a.example"]);
    let first = secrets(&plan, StoredSecrets::default(), at(START)).unwrap();
    let stranger = secrets(&plan, StoredSecrets::default(), at(START)).unwrap();
    let signer = secrets(&plan, StoredSecrets::default(), at(START)).unwrap();
    plan.provided_signer = signer.cas.map(|cas| cas.current);
    let mut cluster = Cluster::with(&first);
    let data = cluster.ca_bundle.as_mut().unwrap().data.as_mut().unwrap();
    let added = format!("{}{}", data[CA_CERTIFICATE], stranger.trust.certificates);
    data.insert(CA_CERTIFICATE.to_owned(), added);
    let issued = secrets(&plan, cluster.stored(), at(START)).unwrap();
    assert!(issued.cas.is_none(), "the Registry's own CA stays as it is");
    let published = &issued.trust.certificates;
    assert!(trusts(published, &leaf(&issued)) && trusts(published, &leaf(&first)));
    assert!(!published.contains(stranger.trust.certificates.trim()));
    assert_eq!(crate::certificate::blocks(published).len(), 2);
}
