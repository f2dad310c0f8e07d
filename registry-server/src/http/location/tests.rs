//! The URL that a client is sent to, for every kind of proxy that a request can come through.

use http::{HeaderName, HeaderValue};
use proptest::prelude::*;
use registry_config::cidr::Cidr;

use super::*;
use crate::http::Secrets;

struct Case {
    options: Options,
    headers: Vec<(&'static str, &'static str)>,
    peer: Peer,
    prefix: &'static str,
}

fn case() -> Case {
    let address = Some("192.0.2.7:41000".parse().unwrap());
    Case {
        options: Options::new(Secrets::new("s", [])),
        headers: vec![("host", "registry.test:5000")],
        peer: Peer { address, tls: false },
        prefix: "",
    }
}

impl Case {
    fn header(mut self, name: &'static str, value: &'static str) -> Self {
        self.headers.push((name, value));
        self
    }

    fn option(mut self, change: impl FnOnce(&mut Options)) -> Self {
        change(&mut self.options);
        self
    }

    #[track_caller]
    fn leads_to(self, expected: &str) {
        let Self {
            options,
            headers,
            peer,
            prefix,
        } = self;
        let map = headers
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect();
        let uri = Uri::from_static("/v2/a/blobs/uploads/");
        let locations = Locations::of(&options, &map, &uri, &peer, prefix);
        let got = locations.blob(&RepositoryName::parse("a/b").unwrap(), &Digest::sha256(b""));
        let tail = "/v2/a/b/blobs/sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(got, format!("{expected}{tail}"), "headers: {headers:?}");
    }
}

#[test]
fn without_a_proxy_the_requests_own_scheme_and_host_are_used() {
    case().leads_to("http://registry.test:5000");
    let mut tls = case();
    tls.peer.tls = true;
    tls.leads_to("https://registry.test:5000");
}

#[test]
fn the_configured_host_wins_over_everything() {
    let configured = |host: &'static str| {
        case()
            .header("x-forwarded-proto", "http")
            .header("x-forwarded-host", "inner")
            .option(|options| options.host = Some(host.to_owned()))
            .option(|options| options.relative_urls = true)
    };
    configured("https://images.test").leads_to("https://images.test");
    configured("https://images.test/").leads_to("https://images.test");
    configured("https://images.test/sub/").leads_to("https://images.test/sub");
}

#[test]
fn x_forwarded_headers_name_the_outer_scheme_and_host() {
    case()
        .header("x-forwarded-proto", "https")
        .leads_to("https://registry.test:5000");
    case()
        .header("x-forwarded-host", "outer.test")
        .leads_to("http://outer.test");
    case()
        .header("x-forwarded-proto", "HTTPS, http")
        .header("x-forwarded-host", "first.test:8443 , second.test")
        .leads_to("https://first.test:8443");
}

#[test]
fn forwarded_wins_over_x_forwarded_and_its_first_element_counts() {
    case()
        .header("x-forwarded-host", "other.test")
        .header(
            "forwarded",
            r#"for=192.0.2.60;proto=https;host="outer.test:8443", for=10.0.0.1;host=inner.test"#,
        )
        .leads_to("https://outer.test:8443");
    case()
        .header("forwarded", "Proto=https")
        .leads_to("https://registry.test:5000");
    case()
        .header("forwarded", r#"for="[2001:db8::1]:4711" ; HOST=outer.test"#)
        .leads_to("http://outer.test");
}

#[test]
fn what_is_no_host_or_scheme_is_not_repeated() {
    for bad in [
        "evil.test/path",
        "user@evil.test",
        "a b",
        "evil.test\"",
        "evil.test?x",
        "evil.test#x",
        "evil.test\\x",
        "evil.test:99999",
        "evil.test:-1",
        "evil.test:80:80",
        "[::1",
        "[::g]",
        "::1",
        "%65vil.test",
        "evil.test:",
        ":5000",
        "",
    ] {
        case()
            .header("x-forwarded-host", bad)
            .leads_to("http://registry.test:5000");
    }
    case()
        .header("x-forwarded-proto", "javascript")
        .leads_to("http://registry.test:5000");
    case()
        .header("forwarded", r#"host="never closed"#)
        .leads_to("http://registry.test:5000");
    let mut hostless = case();
    hostless.headers.clear();
    hostless.leads_to("");
}

#[test]
fn hosts_of_every_form_are_repeated_as_they_came() {
    for good in [
        "outer.test",
        "OUTER.test:443",
        "under_score.test",
        "192.0.2.1:5000",
        "[2001:db8::1]:8443",
        "[::1]",
    ] {
        let mut own = case();
        own.headers = vec![("host", good)];
        own.leads_to(&format!("http://{good}"));
    }
}

#[test]
fn a_proxy_on_a_unix_socket_is_always_trusted() {
    let mut local = case()
        .header("x-forwarded-proto", "https")
        .option(|options| options.trusted_proxies = vec![Cidr::parse("10.0.0.0/8").unwrap()]);
    local.peer.address = None;
    local.leads_to("https://registry.test:5000");
}

#[test]
fn only_trusted_proxies_are_believed_once_some_are_named() {
    let behind = |network| {
        case()
            .header("x-forwarded-proto", "https")
            .header("x-forwarded-host", "outer.test")
            .option(|options| options.trusted_proxies = vec![Cidr::parse(network).unwrap()])
    };
    behind("192.0.2.0/24").leads_to("https://outer.test");
    behind("192.0.2.7").leads_to("https://outer.test");
    behind("10.0.0.0/8").leads_to("http://registry.test:5000");
    behind("::/0").leads_to("http://registry.test:5000");
}

#[test]
fn relative_urls_have_neither_scheme_nor_host() {
    case().option(|options| options.relative_urls = true).leads_to("");
    let mut prefixed = case().option(|options| options.relative_urls = true);
    prefixed.prefix = "/sub/";
    prefixed.leads_to("/sub");
}

#[test]
fn a_path_prefix_is_kept() {
    let mut prefixed = case();
    prefixed.prefix = "/sub";
    prefixed.leads_to("http://registry.test:5000/sub");
}

proptest! {
    #[test]
    fn no_header_reaches_a_location_but_as_a_host_and_a_scheme(
        values in prop::collection::vec("[ -~]{0,40}|(for=|host=|proto=|https|\"|;|,|\\\\|a|@|:|\\[|\\]|1|\r|\n| ){0,20}", 4),
        relative: bool,
    ) {
        let names = [HOST, http::header::FORWARDED]
            .into_iter()
            .chain(["x-forwarded-host", "x-forwarded-proto"].map(HeaderName::from_static));
        let headers: HeaderMap = names
            .zip(&values)
            .filter_map(|(name, value)| Some((name, HeaderValue::from_str(value).ok()?)))
            .collect();
        let mut options = case().options;
        options.relative_urls = relative;
        let locations = Locations::of(&options, &headers, &Uri::from_static("/v2/"), &case().peer, "");
        let location = locations.blob(&RepositoryName::parse("a/b").unwrap(), &Digest::sha256(b""));
        let tail = "/v2/a/b/blobs/sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let base = location.strip_suffix(tail).unwrap();
        let host = base.strip_prefix("http://").or_else(|| base.strip_prefix("https://"));
        match host {
            Some(host) => {
                prop_assert!(host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte)));
                // Another parser finds the end of the host in the same place.
                let uri: Uri = location.parse().unwrap();
                prop_assert_eq!(uri.authority().unwrap().as_str(), host);
                prop_assert_eq!(uri.path(), tail);
            }
            None => prop_assert_eq!(base, ""),
        }
    }
}
