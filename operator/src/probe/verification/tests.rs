use k8s_openapi::api::apps::v1::Deployment;
use operator_api::{Endpoint, EndpointType};
use serde_json::json;

use super::*;
use crate::children::Existing;
use crate::findings::Rollout;
use crate::fixtures::{Fixture, NOW, least};

const URL: &str = "https://harbour.example";

/// A Registry that serves at [`URL`], with the annotation if there is a request.
struct Scene {
    fixture: Fixture,
    image: &'static str,
    rollout: Rollout,
    state: EndpointState,
}

impl Scene {
    fn new(spec: &str, request: Option<&str>) -> Self {
        let mut fixture = Fixture::parse(&least(spec));
        fixture.registry.metadata.annotations = request.map(|request| {
            let annotation = (operator_api::VERIFY_ANNOTATION.to_owned(), request.to_owned());
            [annotation].into_iter().collect()
        });
        Self {
            fixture,
            image: "registry:1",
            rollout: Rollout::Complete,
            state: EndpointState::Verified,
        }
    }

    fn state(&self) -> Next {
        let validated = self.fixture.validate().unwrap();
        let mut children = Children::<Existing>::default().live();
        let deployment: Deployment = serde_json::from_value(json!({
            "spec": { "selector": {}, "template": { "spec": { "containers": [{ "name": "registry", "image": self.image }] } } },
        }))
        .unwrap();
        children.deployment = Some(deployment);
        let address = Address {
            type_: EndpointType::Ingress,
            url: URL.to_owned(),
            subject: "The Ingress controller".to_owned(),
            targets: Vec::new(),
            unpublished: None,
            identity: "4711".to_owned(),
        };
        let findings = Findings {
            rollout: self.rollout.clone(),
            wanted: 1,
            ready_replicas: 1,
            reachable: true,
            endpoints: vec![Endpoint {
                type_: EndpointType::Ingress,
                url: URL.to_owned(),
                state: self.state,
                reason: None,
                message: None,
            }],
            ..Default::default()
        };
        state(
            &self.fixture.registry,
            &validated,
            &children,
            &[address],
            &findings,
        )
    }

    /// The question that is asked.
    #[track_caller]
    fn question(&self) -> Question {
        match self.state() {
            Next::Ask { question, .. } => *question,
            Next::Told(told) => panic!("nothing is asked: {told:?}"),
        }
    }

    /// The reason for which nothing is pushed.
    #[track_caller]
    fn waits(&self) -> &'static str {
        match self.state() {
            Next::Told(Some(Verification::Waiting { reason, .. })) => reason,
            other => panic!("{other:?}"),
        }
    }

    /// Puts the result of a question into the status.
    fn reported(&mut self, question: &Question, works: bool) {
        let verification = match works {
            true => {
                json!({ "lastHandledRequest": question.request, "served": question.served, "url": URL, "time": NOW })
            }
            false => json!({ "lastHandledRequest": question.request, "url": URL }),
        };
        self.fixture.registry.status = serde_json::from_value(json!({
            "conditions": [{
                "type": "Verified", "status": if works { "True" } else { "False" }, "reason": "A", "message": "",
                "lastTransitionTime": NOW,
            }],
            "verification": verification,
        }))
        .unwrap();
    }
}

#[test]
fn nothing_is_pushed_unless_somebody_asks() {
    assert_eq!(Scene::new("", None).state(), Next::Told(None));
}

#[test]
fn a_request_is_answered_once() {
    let mut scene = Scene::new("", Some("monday"));
    let question = scene.question();
    assert_eq!(question.request.as_deref(), Some("monday"));
    scene.reported(&question, true);
    assert!(matches!(
        scene.state(),
        Next::Told(Some(Verification::Verified { .. }))
    ));
    // A Pod that moves is no change of what is served.
    scene.rollout = Rollout::Progressing;
    assert!(matches!(
        scene.state(),
        Next::Told(Some(Verification::Verified { .. }))
    ));
    scene.image = "registry:2";
    assert_eq!(scene.waits(), "Changed");
}

#[test]
fn each_change_of_what_is_served_is_verified_where_the_spec_asks_for_it() {
    let mut scene = Scene::new("  verify: {policy: OnChange}\n", None);
    let first = scene.question();
    scene.reported(&first, true);
    assert!(matches!(scene.state(), Next::Told(Some(_))));
    scene.image = "registry:2";
    scene.rollout = Rollout::Progressing;
    assert_eq!(scene.waits(), "Pending");
    scene.rollout = Rollout::Complete;
    assert_ne!(scene.question().served, first.served);
}

#[test]
fn a_failure_is_told_until_a_later_attempt_succeeds() {
    let mut scene = Scene::new("", Some("monday"));
    let question = scene.question();
    scene.reported(&question, false);
    match scene.state() {
        Next::Ask { otherwise, .. } => assert_eq!(otherwise, Verification::AsBefore),
        other => panic!("{other:?}"),
    }
    scene.rollout = Rollout::Progressing;
    assert_eq!(scene.state(), Next::Told(Some(Verification::AsBefore)));
}

#[test]
fn nothing_is_pushed_where_it_cannot_arrive() {
    let mut scene = Scene::new("", Some("monday"));
    scene.state = EndpointState::Pending;
    assert_eq!(scene.waits(), "Pending");
    scene.state = EndpointState::NotProbed;
    assert_eq!(scene.waits(), "NotProbed");
    assert_eq!(
        Scene::new("  mode: ReadOnly\n", Some("monday")).waits(),
        "ReadOnly"
    );
}
