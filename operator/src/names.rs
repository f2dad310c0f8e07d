//! Names and labels of a Registry's objects: the only file that makes them.
//!
//! Guarantees: every name is a DNS-1035 label of at most 63 bytes, so that it can name a Service and be a label's
//! value, but for those of immutable ConfigMaps and Secrets, which end in a hash of their content; two Registries of one
//! namespace hardly ever share a name, because a name that had to be changed carries a hash of the whole name, and where
//! they do, `ownership` tells their objects apart by [`Names::whole`]; no suffix
//! contains a dash that could make `a` + `-b-tls` read like `a-b` + `-tls`, except `-ca-key`, for which no suffix `-key`
//! exists, and hashes, which are no suffixes. Names never change: volumes and people's scripts depend on them.
//! Start at [`Names::of`].

use std::collections::BTreeMap;

use operator_api::REGISTRY_LABEL;
use sha2::{Digest as _, Sha256};

/// Label and value that mark every object the operator made.
pub(crate) const MANAGED_BY: (&str, &str) = ("app.kubernetes.io/managed-by", "berth-operator");
/// The longest base: the longest suffix must fit after it.
const BASE_MAX: usize = 52;
/// Hexadecimal digits of the hash in a name that had to be changed.
const HASH_DIGITS: usize = 10;

/// The names of a Registry's objects.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Names {
    base: String,
    whole: Option<String>,
}

impl Names {
    /// The names of the Registry called `registry`, which may have 253 characters and dots.
    pub fn of(registry: &str) -> Self {
        let plain = registry.len() <= BASE_MAX
            && registry.starts_with(|c: char| c.is_ascii_lowercase())
            && registry
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
            && !registry.ends_with('-');
        if plain {
            let base = registry.to_owned();
            // A Registry may be called as the objects of another one are.
            let whole = ends_in_hash(registry).then(|| base.clone());
            return Self { base, whole };
        }
        let hash = hex(&Sha256::digest(registry.as_bytes()));
        let mut base: String = registry
            .chars()
            .map(|c| {
                if c.is_ascii_lowercase() || c.is_ascii_digit() {
                    c
                } else {
                    '-'
                }
            })
            .collect();
        if !base.starts_with(|c: char| c.is_ascii_lowercase()) {
            base.insert_str(0, "r-");
        }
        base.truncate(BASE_MAX - HASH_DIGITS - 1);
        let base = format!("{}-{}", base.trim_end_matches('-'), &hash[..HASH_DIGITS]);
        let whole = Some(registry.to_owned());
        Self { base, whole }
    }

    /// The Registry's whole name, where its objects may have the names of another one's: a name that ends in a hash can
    /// come from several.
    pub(crate) fn whole(&self) -> Option<&str> {
        self.whole.as_deref()
    }

    /// Value of [`operator_api::REGISTRY_LABEL`] on every object, and the Pods' selector.
    pub fn label(&self) -> &str {
        &self.base
    }

    /// Labels that select the Registry's Pods. They never change, because a Deployment's selector cannot.
    pub fn selector(&self) -> BTreeMap<String, String> {
        BTreeMap::from([(REGISTRY_LABEL.to_owned(), self.label().to_owned())])
    }

    /// Labels of every object.
    pub fn labels(&self) -> BTreeMap<String, String> {
        let mut labels = self.selector();
        for (key, value) in [
            ("app.kubernetes.io/name", "registry"),
            ("app.kubernetes.io/instance", self.label()),
            ("app.kubernetes.io/part-of", "berth"),
            MANAGED_BY,
        ] {
            labels.insert(key.to_owned(), value.to_owned());
        }
        labels
    }

    /// Deployment.
    pub fn deployment(&self) -> String {
        self.base.clone()
    }

    /// Service. Its name is part of the address that clients in the cluster use.
    pub fn service(&self) -> String {
        self.base.clone()
    }

    /// Host name of the Service for clients in the cluster.
    pub fn service_host(&self, namespace: &str) -> String {
        format!("{}.{namespace}.svc", self.service())
    }

    /// Ingress.
    pub fn ingress(&self) -> String {
        self.base.clone()
    }

    /// PodDisruptionBudget.
    pub fn disruption_budget(&self) -> String {
        self.base.clone()
    }

    /// HorizontalPodAutoscaler.
    pub fn autoscaler(&self) -> String {
        self.base.clone()
    }

    /// Objects of kinds that a cluster may not have.
    pub fn optional(&self) -> String {
        self.base.clone()
    }

    /// NetworkPolicy.
    pub fn network_policy(&self) -> String {
        self.base.clone()
    }

    /// ServiceAccount.
    pub fn service_account(&self) -> String {
        self.base.clone()
    }

    /// ConfigMap with `config.yml`. Each content has an object of its own: see [`revision`].
    pub fn config(&self) -> String {
        self.with("config")
    }

    /// Secret with everything secret that the server reads when it starts. Each content has an object of its own: see
    /// [`revision`].
    pub fn inputs(&self) -> String {
        self.with("inputs")
    }

    /// Secret with the users and the certificate, which the server reads again while it runs.
    pub fn live(&self) -> String {
        self.with("live")
    }

    /// Claim made from the template.
    pub fn claim(&self) -> String {
        self.with("data")
    }

    /// Secret that signs upload states.
    pub fn http_secret(&self) -> String {
        self.with("http")
    }

    /// Secret with the CA and its private key. No Pod mounts it.
    pub fn ca_key(&self) -> String {
        self.with("ca-key")
    }

    /// ConfigMap with the CAs that clients must trust.
    pub fn ca_bundle(&self) -> String {
        self.with("ca")
    }

    /// Secret with the CAs that clients must trust. It has not the name of the ConfigMap, because authors give that name to a
    /// Secret with a CA of their own.
    pub fn ca_secret(&self) -> String {
        self.with("cabundle")
    }

    /// Secret with the server's certificate.
    pub fn server_certificate(&self) -> String {
        self.with("tls")
    }

    /// Secret with the certificate of the Ingress.
    pub fn edge_certificate(&self) -> String {
        self.with("edge")
    }

    /// Secret with the CA with which the Ingress verifies the server.
    pub fn upstream_ca(&self) -> String {
        self.with("upstream")
    }

    /// Whether a child of this Registry may have this name. Those of a Registry with a longer name may too.
    pub(crate) fn may_name(&self, name: &str) -> bool {
        let rest = name.strip_prefix(&self.base);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    }

    fn with(&self, suffix: &str) -> String {
        format!("{}-{suffix}", self.base)
    }
}

/// Name of the immutable object with one content.
pub(crate) fn revision(name: &str, hash: &str) -> String {
    format!("{name}-{}", &hash[..HASH_DIGITS.min(hash.len())])
}

/// Whether an object with this name is one of the immutable objects called `name`.
pub(crate) fn is_revision(name: &str, of: &str) -> bool {
    let hash = of.strip_prefix(name).and_then(|rest| rest.strip_prefix('-'));
    hash.is_some_and(is_hash)
}

fn ends_in_hash(name: &str) -> bool {
    name.rsplit_once('-').is_some_and(|(_, end)| is_hash(end))
}

fn is_hash(text: &str) -> bool {
    let digit = |digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f');
    text.len() == HASH_DIGITS && text.bytes().all(digit)
}

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_base(registry: &str, expected: &str) {
        assert_eq!(Names::of(registry).label(), expected, "for `{registry}`");
    }

    #[test]
    fn a_name_that_is_a_label_is_kept() {
        check_base("registry", "registry");
        check_base("a", "a");
        check_base("team-1", "team-1");
        check_base(&"a".repeat(52), &"a".repeat(52));
    }

    #[test]
    fn other_names_are_made_labels_and_carry_a_hash() {
        check_base("registry.example.com", "registry-example-com-1752fe171e");
        check_base("1st", "r-1st-e01ddf6594");
        check_base(&"a".repeat(53), &format!("{}-abe346a725", "a".repeat(41)));
    }

    #[test]
    fn names_that_differ_only_where_labels_cannot_have_different_objects() {
        assert_ne!(Names::of("a.b"), Names::of("a-b"));
        assert_ne!(Names::of(&"x".repeat(253)), Names::of(&"x".repeat(252)));
    }

    #[test]
    fn a_registry_whose_objects_may_have_the_names_of_anothers_keeps_its_whole_name() {
        let dotted = Names::of("registry.example.com");
        let plain = Names::of("registry-example-com-1752fe171e");
        assert_eq!(dotted.claim(), plain.claim());
        assert_ne!(dotted.whole(), plain.whole());
        assert_eq!(
            Names::of("registry-2026").whole(),
            None,
            "no other can have these names"
        );
    }

    #[test]
    fn an_immutable_object_is_known_by_the_hash_at_the_end_of_its_name() {
        let hash = hex(&Sha256::digest(b"content"));
        let name = revision("harbour-config", &hash);
        assert_eq!(name, format!("harbour-config-{}", &hash[..10]));
        assert!(is_revision("harbour-config", &name));
        for other in [
            "harbour-config",
            "harbour-config-tls",
            "harbour-inputs-0123456789",
            "harbour-config-012345678G",
        ] {
            assert!(!is_revision("harbour-config", other), "{other}");
        }
    }

    #[test]
    fn every_name_fits_a_label_and_none_ends_in_a_dash() {
        let dashes = format!("a{}z", "-".repeat(251));
        let dots = format!("{}.{}", "9".repeat(126), "b".repeat(126));
        for registry in ["a", &"n".repeat(52), &"n".repeat(253), &dashes, &dots] {
            let names = Names::of(registry);
            for name in [
                names.deployment(),
                names.live(),
                names.claim(),
                names.http_secret(),
                names.ca_key(),
                names.ca_bundle(),
                names.ca_secret(),
                names.server_certificate(),
                names.edge_certificate(),
                names.upstream_ca(),
            ] {
                assert!(name.len() <= 63, "`{name}` has {} bytes", name.len());
                assert!(
                    !name.ends_with('-') && name.starts_with(|c: char| c.is_ascii_lowercase()),
                    "`{name}`"
                );
            }
        }
    }
}
