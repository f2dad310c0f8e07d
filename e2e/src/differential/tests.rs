use std::collections::BTreeMap;

use super::compare::{Fields, differences};
use super::difference_list::{DifferenceList, Entry};
use super::normalize::AnswerContext;
use super::request::{Script, get, patch, raw};
use super::route::{Parts, class};
use crate::raw_http::{Answer, Outcome};

fn answer(status: &str, headers: &[(&str, &str)], body: &str) -> Fields {
    let answer = Answer {
        version: "HTTP/1.1".to_owned(),
        status: status.to_owned(),
        headers: headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        body: body.as_bytes().to_owned(),
        ..Answer::default()
    };
    let context = AnswerContext {
        host: "127.0.0.1:5000",
        folder: "/tmp/run",
        answer: &answer,
        is_head: false,
        parts: Parts::of("/v2/some/name/tags/list"),
    };
    Fields::of(&Outcome::Answer(answer.clone()), &context)
}

/// The fields in which two answers differ.
fn differing(theirs: &Fields, ours: &Fields) -> Vec<String> {
    let (found, _) = differences(theirs, ours);
    found.into_iter().map(|difference| difference.field).collect()
}

const UNKNOWN: &str = "{\"errors\":[{\"code\":\"NAME_UNKNOWN\",\"message\":\"unknown\"}]}\n";

#[test]
fn equal_answers_do_not_differ() {
    let headers = [("content-type", "application/json"), ("content-length", "2")];
    let (found, compared) = differences(&answer("200", &headers, "{}"), &answer("200", &headers, "{}"));
    assert_eq!(found, []);
    assert_eq!(compared, 5, "status, version, two headers, body");
}

#[test]
fn each_part_of_an_answer_is_compared() {
    let theirs = answer("200", &[("etag", "a")], "body");
    assert_eq!(
        differing(&theirs, &answer("404", &[("etag", "a")], "body")),
        ["status"]
    );
    assert_eq!(
        differing(&theirs, &answer("200", &[("etag", "b")], "body")),
        ["header etag"]
    );
    assert_eq!(differing(&theirs, &answer("200", &[], "body")), ["header etag"]);
    let twice = [("etag", "a"), ("etag", "a")];
    assert_eq!(
        differing(&theirs, &answer("200", &twice, "body")),
        ["header etag #2"]
    );
    assert_eq!(
        differing(&theirs, &answer("200", &[("etag", "a")], "body\n")),
        ["body"]
    );
    let context = AnswerContext {
        host: "",
        folder: "/tmp/run",
        answer: &Answer::default(),
        is_head: false,
        parts: Parts::default(),
    };
    assert!(differing(&theirs, &Fields::of(&Outcome::Closed, &context)).contains(&"status".to_owned()));
}

#[test]
fn an_error_is_compared_by_its_parts_and_by_what_is_around_them() {
    let theirs = answer("404", &[], UNKNOWN);
    for (from, to, expected) in [
        ("NAME_UNKNOWN", "UNKNOWN", "body code"),
        ("\"unknown\"", "\"Unknown\"", "body message"),
        ("}]", ",\"detail\":{}}]", "body detail"),
        ("}\n", "}", "body around"),
        ("{\"code\"", "{ \"code\"", "body around"),
    ] {
        let ours = answer("404", &[], &UNKNOWN.replacen(from, to, 1));
        assert_eq!(differing(&theirs, &ours), [expected], "{from} became {to}");
    }
    assert_eq!(differing(&theirs, &answer("404", &[], "not found")), ["body"]);
}

#[test]
fn only_a_value_of_the_right_form_is_made_equal() {
    let date = |value| answer("200", &[("date", value)], "");
    let good = date("Sun, 06 Nov 1994 08:49:37 GMT");
    assert_eq!(differing(&good, &date("Mon, 07 Nov 1994 18:49:37 GMT")), [""; 0]);
    assert_eq!(differing(&good, &date("1994-11-06")), ["header date"]);
    let id = |value| answer("202", &[("docker-upload-uuid", value)], "");
    let first = id("01234567-89ab-4cde-8f01-23456789abcd");
    assert_eq!(
        differing(&first, &id("11234567-89ab-4cde-8f01-23456789abcd")),
        [""; 0]
    );
    assert_eq!(differing(&first, &id("01234567")), ["header docker-upload-uuid"]);
    let length = |value| answer("200", &[("content-length", value)], "body");
    assert_eq!(differing(&length("4"), &length("5")), ["header content-length"]);
}

#[test]
fn a_location_is_compared_but_for_port_id_and_signature() {
    let location = |host: &str, id: &str, offset: u32, more: &str| {
        use base64::Engine as _;
        let document = format!(
            r#"{{"Name":"some/name","UUID":"{id}","Offset":{offset},"StartedAt":"2026-01-02T03:04:05Z"}}"#
        );
        let token = base64::engine::general_purpose::URL_SAFE.encode(["x".repeat(32), document].concat());
        let url = format!("http://{host}/v2/some/name/blobs/uploads/{id}?_state={token}{more}");
        answer("202", &[("location", &url)], "")
    };
    let (first, second) = (
        "01234567-89ab-4cde-8f01-23456789abcd",
        "11234567-89ab-4cde-8f01-23456789abcd",
    );
    let ours = location("127.0.0.1:5000", first, 5, "");
    assert_eq!(
        differing(&location("127.0.0.1:5000", second, 5, ""), &ours),
        [""; 0]
    );
    for other in [
        location("127.0.0.2:5000", first, 5, ""),
        location("127.0.0.1:5000", first, 6, ""),
        location("127.0.0.1:5000", first, 5, "&x=y"),
    ] {
        assert_eq!(differing(&other, &ours), ["header location"]);
    }
}

fn entry(class: &str, theirs: &str) -> Entry {
    Entry {
        class: class.to_owned(),
        field: "status".to_owned(),
        peer: "3.1",
        theirs: theirs.to_owned(),
        ours: "200".to_owned(),
    }
}

const LIST: &str =
    "# a comment\nreason spec: the specification says so\n\nGET / | 3.1 | status | 404 | 200 | spec\n";

#[test]
fn a_listed_difference_holds_and_is_counted() {
    let list = DifferenceList::parse(LIST).unwrap();
    let verdict = list.judge(&BTreeMap::from([(entry("GET /", "404"), 3)]));
    assert!(verdict.holds());
    assert_eq!(verdict.by_reason, BTreeMap::from([("spec".to_owned(), 3)]));
}

#[test]
fn an_unlisted_difference_fails_be_it_ever_so_near_to_a_listed_one() {
    let list = DifferenceList::parse(LIST).unwrap();
    let listed = entry("GET /", "404");
    for other in [
        entry("GET /", "405"),
        entry("HEAD /", "404"),
        Entry {
            peer: "2.8",
            ..listed.clone()
        },
        Entry {
            peer: "both",
            ..listed.clone()
        },
        Entry {
            field: "version".to_owned(),
            ..listed.clone()
        },
        Entry {
            ours: "201".to_owned(),
            ..listed.clone()
        },
    ] {
        let verdict = list.judge(&BTreeMap::from([(listed.clone(), 1), (other.clone(), 1)]));
        assert!(!verdict.holds());
        assert_eq!(verdict.unlisted, [other]);
    }
}

#[test]
fn an_entry_and_a_reason_that_nothing_shows_fail() {
    let list = DifferenceList::parse(LIST).unwrap();
    let verdict = list.judge(&BTreeMap::new());
    assert!(!verdict.holds());
    assert_eq!(verdict.unused, [entry("GET /", "404")]);
    let list = DifferenceList::parse("reason spec: the specification says so").unwrap();
    assert_eq!(list.judge(&BTreeMap::new()).unused_reasons, ["spec"]);
}

#[test]
fn a_list_with_a_line_that_is_no_entry_is_not_read() {
    for line in [
        "GET / | 3.1 | status | 404 | 200 | other",
        "GET / | 3.1 | status | 404 | 200 | spec",
        "GET / | 3.0 | status | 404 | 201 | spec",
        "GET / | 3.1 | status | 404 | spec",
        "reason spec: another sentence",
        "reason as-3.1: a sentence\nGET / | both | status | 404 | 201 | as-3.1",
        "reason none",
        "something else",
    ] {
        assert!(DifferenceList::parse(&format!("{LIST}{line}")).is_err(), "{line}");
    }
}

#[test]
fn the_list_of_this_checkout_can_be_read_and_prints_as_it_is_written() {
    let list = DifferenceList::parse(super::difference_list::TEXT).unwrap();
    assert!(list.len() > 100);
}

#[test]
fn a_request_is_sent_as_it_is_written_with_what_the_server_gave() {
    let kept = BTreeMap::from([("up", "/v2/a/blobs/uploads/id?_state=token".to_owned())]);
    let message = patch("{up.path}?_state={up.state}&x")
        .body("01234")
        .message("host:1", &kept);
    assert_eq!(
        String::from_utf8(message.head).unwrap(),
        "PATCH /v2/a/blobs/uploads/id?_state=token&x HTTP/1.1\r\nHost: host:1\r\nContent-Length: 5\r\n\r\n"
    );
    assert_eq!(message.body, b"01234");
    let message = raw("GET  / HTTP/1.1\nHost: {host}\n\n").message("host:1", &kept);
    assert_eq!(message.head, b"GET  / HTTP/1.1\nHost: host:1\n\n");
}

#[test]
fn requests_are_classed_by_method_and_route() {
    for (target, expected) in [
        ("/", "GET /"),
        ("/v2", "GET /v2/"),
        ("/v2/_catalog?n=1", "GET /v2/_catalog"),
        ("/v2/a/b/tags/list", "GET /v2/<name>/tags/list"),
        ("/v2/a/manifests/v1", "GET /v2/<name>/manifests/<tag>"),
        ("/v2/a/manifests/sha256:0", "GET /v2/<name>/manifests/<digest>"),
        ("{up}", "GET /v2/<name>/blobs/uploads/<id>"),
        ("/in/front/v2/a/tags/list", "GET /v2/<name>/tags/list"),
        ("http://other.example/v2/", "GET /v2/"),
        ("/v2/a", "GET /v2/ and no route"),
        ("/etc/passwd", "GET elsewhere"),
    ] {
        assert_eq!(class(&get(target)), expected, "{target}");
    }
}

#[test]
fn the_generator_gives_the_same_requests_every_time() {
    let requests = || {
        let mut script = Script::default();
        super::corpus::generated::ask_all(&mut script);
        let requests = script.requests.iter();
        requests
            .map(super::request::Request::describe)
            .collect::<Vec<_>>()
    };
    let first = requests();
    assert!(first.len() >= 400);
    assert_eq!(first, requests());
}

/// `docs/drop-in.md` tells people what the list tells the suite.
#[test]
fn the_page_for_people_gives_exactly_the_reasons_of_the_list() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/drop-in.md");
    let text = std::fs::read_to_string(page).unwrap();
    let (_, rest) = text.split_once("a test holds the two together -->\n").unwrap();
    let told: Vec<&str> = rest.lines().take_while(|line| line.starts_with("- ")).collect();
    let expected: Vec<String> = DifferenceList::parse(super::difference_list::TEXT)
        .unwrap()
        .reasons()
        .collect();
    assert_eq!(told, expected, "in `{page}`");
}
