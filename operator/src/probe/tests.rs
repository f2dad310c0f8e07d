use operator_api::{EndpointState, EndpointType};
use serde_json::json;

use super::record::Failure;
use super::*;
use crate::fixtures::{Fixture, least};

fn ingress() -> Address {
    Address {
        type_: EndpointType::Ingress,
        url: "https://harbour.example".to_owned(),
        subject: "The Ingress controller".to_owned(),
        targets: vec!["192.0.2.1".to_owned()],
        unpublished: None,
        identity: "0".to_owned(),
    }
}

fn failing(lasting: bool) -> Answer {
    Answer::Failing {
        failure: Failure {
            state: EndpointState::Failed,
            reason: "WrongAnswer",
            message: "a portal".to_owned(),
        },
        lasting,
    }
}

/// A Registry whose status has this address, and says this of Ready.
fn reported(ready: &str, state: EndpointState) -> Registry {
    let mut registry = Fixture::parse(&least("")).registry;
    registry.status = serde_json::from_value(json!({
        "conditions": [{
            "type": "Ready", "status": ready, "reason": "A", "message": "",
            "lastTransitionTime": "2026-03-01T12:00:00Z",
        }],
        "endpoints": [{ "type": "Ingress", "url": "https://harbour.example", "state": state }],
    }))
    .unwrap();
    registry
}

#[test]
fn a_state_changes_with_an_answer_and_a_failure_only_when_it_lasts() {
    use EndpointState::{Failed, Pending, Verified};
    let rows = [
        (
            "a restart of the operator",
            "True",
            true,
            Verified,
            Answer::Unknown,
            Verified,
        ),
        (
            "a restart while it fails",
            "True",
            true,
            Failed,
            Answer::Unknown,
            Failed,
        ),
        (
            "the first Pods",
            "False",
            true,
            Verified,
            Answer::Unknown,
            Pending,
        ),
        (
            "all Pods are gone",
            "False",
            false,
            Verified,
            Answer::Unknown,
            Verified,
        ),
        (
            "a single failure",
            "True",
            true,
            Verified,
            failing(false),
            Verified,
        ),
        (
            "a failure from the start",
            "False",
            true,
            Pending,
            failing(false),
            Pending,
        ),
        (
            "a failure that lasts",
            "True",
            true,
            Verified,
            failing(true),
            Failed,
        ),
        ("an answer", "False", true, Pending, Answer::Verified, Verified),
    ];
    for (case, ready, available, before, answer, expected) in rows {
        let registry = reported(ready, before);
        let known = Known::of(&registry, available);
        assert_eq!(known.endpoint(&ingress(), &answer).state, expected, "{case}");
    }
}

#[test]
fn why_an_address_is_still_awaited_is_said() {
    let registry = reported("False", EndpointState::Pending);
    let endpoint = Known::of(&registry, true).endpoint(&ingress(), &failing(false));
    assert_eq!(endpoint.message.as_deref(), Some("a portal"));
}
