//! Hosts that several Registries claim. An Ingress controller sends the requests for such a host to only one of them.
//!
//! Guarantees: a Registry of another namespace is not named, because not everybody may know of it. Start at
//! [`claimed`].

use std::collections::BTreeSet;

use operator_api::RegistrySpec;

use crate::subject::Subject;

/// The hosts with their ports at which a Registry wants to be found.
pub(crate) fn claimed(spec: &RegistrySpec) -> BTreeSet<String> {
    let ingress = spec.ingress.iter().flat_map(|ingress| &ingress.hosts);
    let http = spec.http_route.iter().flat_map(|route| &route.hostnames);
    let tls = spec.tls_route.iter().flat_map(|route| &route.hostnames);
    let hosts = ingress.chain(http).chain(tls);
    let mut all: BTreeSet<String> = hosts.map(|host| format!("{host}:443")).collect();
    all.extend(spec.public_url.as_deref().and_then(host_and_port));
    all
}

/// Host and port of a URL.
fn host_and_port(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let host_and_port = rest.trim_end_matches('/').to_ascii_lowercase();
    let has_port = host_and_port
        .rsplit_once(':')
        .is_some_and(|(_, port)| !port.ends_with(']'));
    Some(match (has_port, scheme) {
        (true, _) => host_and_port,
        (false, "http") => format!("{host_and_port}:80"),
        (false, _) => format!("{host_and_port}:443"),
    })
}

/// A note for the Registry `subject` about a host that `other` claims too.
pub(crate) fn note(host: &str, subject: &Subject, (namespace, name): &(String, String)) -> String {
    let host = host.trim_end_matches(":443");
    let other = match *namespace == subject.namespace {
        true => format!("Registry `{name}`"),
        false => "A Registry of another namespace".to_owned(),
    };
    format!("{other} claims `{host}` too; give each Registry hosts of its own")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{Fixture, least};

    #[test]
    fn an_ingress_and_a_public_address_claim_the_same_host_by_its_port() {
        let check = |spec: &str, expected: &[&str]| {
            let claimed = claimed(&Fixture::parse(&least(spec)).registry.spec);
            assert_eq!(claimed.iter().collect::<Vec<_>>(), expected, "{spec}");
        };
        check("", &[]);
        check(
            "  ingress: {hosts: [a.example, b.example]}\n",
            &["a.example:443", "b.example:443"],
        );
        check(
            "  tlsRoute: {parentRefs: [{name: gate}], hostnames: [a.example]}\n  \
             httpRoute: {parentRefs: [{name: gate}], hostnames: [b.example]}\n",
            &["a.example:443", "b.example:443"],
        );
        check("  publicURL: https://A.example/\n", &["a.example:443"]);
        check("  publicURL: http://a.example\n", &["a.example:80"]);
        check("  publicURL: https://a.example:5000\n", &["a.example:5000"]);
        check("  publicURL: \"https://[::1]\"\n", &["[::1]:443"]);
    }

    #[test]
    fn the_other_registry_is_named_in_its_own_namespace_only() {
        let subject = Fixture::parse(&least("")).subject();
        let note = |namespace: &str| {
            note(
                "a.example:443",
                &subject,
                &(namespace.to_owned(), "pier".to_owned()),
            )
        };
        let way_out = "claims `a.example` too; give each Registry hosts of its own";
        assert_eq!(note("quay"), format!("Registry `pier` {way_out}"));
        assert_eq!(note("dock"), format!("A Registry of another namespace {way_out}"));
    }
}
