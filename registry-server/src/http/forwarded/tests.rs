//! The client of a request for every list of hops, and the headers that are trusted from each peer.

use http::HeaderValue;
use proptest::prelude::*;

use super::*;

fn peer() -> Peer {
    Peer {
        address: Some("10.0.0.1:41000".parse().unwrap()),
        tls: false,
    }
}

fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(*name, HeaderValue::from_str(value).unwrap());
    }
    headers
}

#[track_caller]
fn comes_from(trusted: &[&str], lines: &[(&'static str, &str)], expected: Option<&str>) {
    let trusted: Vec<Cidr> = trusted.iter().map(|text| Cidr::parse(text).unwrap()).collect();
    let found = Forwarded::of(&trusted, &headers(lines), &peer()).client;
    let expected = expected.map(|text| text.parse().unwrap());
    assert_eq!(found, expected, "trusted: {trusted:?}, headers: {lines:?}");
}

#[test]
fn without_a_list_of_proxies_the_first_hop_is_the_client() {
    comes_from(&[], &[], None);
    comes_from(&[], &[("x-forwarded-for", "192.0.2.1")], Some("192.0.2.1"));
    comes_from(
        &[],
        &[("x-forwarded-for", " 192.0.2.1 , 10.0.0.9")],
        Some("192.0.2.1"),
    );
    comes_from(
        &[],
        &[("x-forwarded-for", "2001:db8::7"), ("x-real-ip", "192.0.2.2")],
        Some("2001:db8::7"),
    );
    comes_from(&[], &[("x-real-ip", "192.0.2.2")], Some("192.0.2.2"));
    comes_from(
        &[],
        &[("forwarded", "for=192.0.2.3;proto=https, for=10.0.0.9")],
        Some("192.0.2.3"),
    );
    comes_from(
        &[],
        &[("forwarded", "for=192.0.2.3"), ("x-real-ip", "192.0.2.2")],
        Some("192.0.2.2"),
    );
}

#[test]
fn ports_brackets_and_mapped_addresses_are_understood() {
    for (hop, expected) in [
        ("192.0.2.1:4711", "192.0.2.1"),
        ("[2001:db8::7]:4711", "2001:db8::7"),
        ("[2001:db8::7]", "2001:db8::7"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
    ] {
        comes_from(&[], &[("x-forwarded-for", hop)], Some(expected));
        comes_from(&[], &[("forwarded", &format!("for=\"{hop}\""))], Some(expected));
    }
}

#[test]
fn what_is_no_address_is_nobody() {
    for bad in [
        "",
        "unknown",
        "_hidden",
        "evil.test",
        "192.0.2.1 x",
        "1.2.3",
        "192.0.2.1\"",
    ] {
        comes_from(&[], &[("x-forwarded-for", bad)], None);
        comes_from(&[], &[("x-real-ip", bad)], None);
        comes_from(&[], &[("forwarded", &format!("for={bad}"))], None);
        comes_from(
            &[],
            &[("x-forwarded-for", bad), ("x-real-ip", "192.0.2.2")],
            Some("192.0.2.2"),
        );
    }
}

#[test]
fn with_a_list_of_proxies_the_last_hop_that_is_none_is_the_client() {
    let inner = &["10.0.0.0/8"][..];
    comes_from(
        inner,
        &[("x-forwarded-for", "203.0.113.66, 192.0.2.1, 10.0.0.9")],
        Some("192.0.2.1"),
    );
    // Several lines of one header are one list.
    comes_from(
        inner,
        &[
            ("x-forwarded-for", "203.0.113.66"),
            ("x-forwarded-for", "192.0.2.1"),
        ],
        Some("192.0.2.1"),
    );
    comes_from(
        inner,
        &[("x-forwarded-for", "10.0.0.8, 10.0.0.9")],
        Some("10.0.0.8"),
    );
    comes_from(inner, &[("x-forwarded-for", "192.0.2.1, unknown")], None);
    comes_from(
        inner,
        &[("forwarded", "for=203.0.113.66, for=192.0.2.1;by=10.0.0.1")],
        Some("192.0.2.1"),
    );
}

#[test]
fn nothing_of_a_stranger_is_believed_once_proxies_are_named() {
    let trusted = [Cidr::parse("172.16.0.0/12").unwrap()];
    let lines = headers(&[
        ("x-forwarded-for", "192.0.2.1"),
        ("x-real-ip", "192.0.2.1"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "outer.test"),
        ("forwarded", "for=192.0.2.1;proto=https;host=outer.test"),
    ]);
    assert_eq!(Forwarded::of(&trusted, &lines, &peer()), Forwarded::default());
    let local = Peer {
        address: None,
        tls: false,
    };
    assert_ne!(Forwarded::of(&trusted, &lines, &local), Forwarded::default());
}

#[test]
fn a_broken_forwarded_header_is_not_replaced_by_another_and_an_empty_one_is() {
    let other = ("x-forwarded-proto", "https");
    let broken = Forwarded::of(&[], &headers(&[("forwarded", "host=\"x"), other]), &peer());
    assert_eq!(broken, Forwarded::default());
    let empty = Forwarded::of(&[], &headers(&[("forwarded", ""), other]), &peer());
    assert_eq!(empty.proto, Some(Scheme::Https));
}

proptest! {
    #[test]
    fn no_mutated_header_panics_and_no_strange_host_is_believed(
        forwarded in registry_mutation::mutated(&[
            "for=192.0.2.60;proto=https;host=registry.example.com:8443, for=\"[2001:db8::1]:41000\"",
            "For=_hidden; Host=\"a\\\"b\"",
        ]),
        addresses in registry_mutation::mutated(&["203.0.113.7, 10.0.0.2", "[2001:db8::1]:80", "unknown"]),
        host in registry_mutation::mutated(&["registry.example.com:443, inner.test", "[fd00::1]:5000"]),
    ) {
        let names = ["forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"];
        let lines = [forwarded.clone(), addresses, host, forwarded];
        let headers = names.into_iter().zip(lines).filter_map(|(name, line)| {
            Some((http::HeaderName::from_static(name), HeaderValue::from_bytes(&line).ok()?))
        });
        let Forwarded { host, .. } = Forwarded::of(&[], &headers.collect(), &peer());
        if let Some(host) = host {
            prop_assert_eq!(Host::parse(host.as_str()), Some(host.clone()));
            prop_assert!(!host.as_str().contains(['/', '@', '\\', ' ', '#', '?']), "{}", host.as_str());
        }
    }

    #[test]
    fn no_header_panics(
        values in prop::collection::vec("[ -~]{0,60}|(for=|host=|proto=|\"|;|,|\\\\|a|1|\\.|:|\\[|\\]){0,20}", 5),
        named: bool,
    ) {
        let names = ["forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip"];
        let lines: Vec<_> = names.into_iter().zip(values.iter().map(String::as_str)).collect();
        let trusted: Vec<Cidr> = named.then(|| Cidr::parse("10.0.0.0/8").unwrap()).into_iter().collect();
        let Forwarded { host, .. } = Forwarded::of(&trusted, &headers(&lines), &peer());
        if let Some(host) = host {
            prop_assert_eq!(Host::parse(host.as_str()), Some(host));
        }
    }

    #[test]
    fn what_a_proxy_quotes_is_read_as_it_was_meant(
        name in "[a-z0-9._-]{1,40}",
        port: Option<u16>,
        client: IpAddr,
        https: bool,
    ) {
        let host = port.map_or(name.clone(), |port| format!("{name}:{port}"));
        let proto = if https { "https" } else { "http" };
        let hop = if client.is_ipv6() { format!("\"[{client}]:80\"") } else { client.to_string() };
        let line = format!("for={hop};host=\"{host}\" ;Proto={proto}, for=10.9.9.9;host=inner");
        let found = Forwarded::of(&[], &headers(&[("forwarded", &line)]), &peer());
        prop_assert_eq!(found.host, Some(Host(host)));
        prop_assert_eq!(found.proto.map(Scheme::as_str), Some(proto));
        prop_assert_eq!(found.client, Some(client.to_canonical()));
    }
}

#[test]
fn a_client_answers_for_its_requests_with_an_address_that_it_cannot_choose() {
    let claimed = headers(&[("x-forwarded-for", "192.0.2.1")]);
    let socket = Peer::default();
    for (what, trusted, peer, expected) in [
        ("nobody is trusted", &[][..], peer(), Some("10.0.0.1")),
        (
            "the peer is trusted",
            &["10.0.0.0/8"][..],
            peer(),
            Some("192.0.2.1"),
        ),
        (
            "another is trusted",
            &["172.16.0.0/12"][..],
            peer(),
            Some("10.0.0.1"),
        ),
        ("a unix socket", &[][..], socket, Some("192.0.2.1")),
    ] {
        let trusted: Vec<Cidr> = trusted.iter().map(|text| Cidr::parse(text).unwrap()).collect();
        let address = accountable_address(&trusted, &claimed, &peer);
        assert_eq!(address, expected.map(|text| text.parse().unwrap()), "{what}");
    }
    assert_eq!(accountable_address(&[], &HeaderMap::new(), &socket), None);
}
