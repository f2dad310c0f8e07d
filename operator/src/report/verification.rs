//! The condition `Verified` and the latest verification in the status. Start at [`condition`] and [`latest`].

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use operator_api::{RegistryStatus, VerificationStatus};

use super::reason as why;
use super::{sentence, verdict};
use crate::conditions::VERIFIED;
use crate::findings::Verification;
use crate::validate::ValidatedRegistry;

/// Whether the condition holds, its reason and its message; `None` when nobody asks for a verification.
pub(super) fn condition(
    registry: &ValidatedRegistry,
    verification: Option<&Verification>,
    known: &RegistryStatus,
) -> Option<(Option<bool>, String, String)> {
    Some(match verification? {
        Verification::Verified { url, .. } => {
            let plan = &registry.verify;
            let rest = match plan.removable {
                true => "it was removed again".to_owned(),
                false => format!(
                    "it stays in repository `{}`, because `spec.storage.deletion` is Disabled",
                    plan.repository
                ),
            };
            let message = format!("An artifact was pushed to `{url}` and pulled; {rest}");
            (Some(true), why::PUSHED_AND_PULLED.to_owned(), message)
        }
        Verification::Failed { reason, message, .. } => (Some(false), (*reason).to_owned(), message.clone()),
        Verification::Waiting { reason, message } => {
            (None, (*reason).to_owned(), sentence::capitalised(message))
        }
        Verification::AsBefore => {
            let before = verdict::condition(known, VERIFIED)?;
            (Some(false), before.reason.clone(), before.message.clone())
        }
    })
}

/// The latest verification. While another one is awaited it stays.
pub(super) fn latest(
    registry: &ValidatedRegistry,
    verification: Option<&Verification>,
    known: &RegistryStatus,
) -> Option<VerificationStatus> {
    let request = || registry.verify.request.clone();
    match verification? {
        Verification::Verified { url, served, time } => Some(VerificationStatus {
            last_handled_request: request(),
            url: Some(url.clone()),
            served: Some(served.clone()),
            time: Some(Time(*time)),
        }),
        Verification::Failed { url, .. } => Some(VerificationStatus {
            last_handled_request: request(),
            url: Some(url.clone()),
            ..Default::default()
        }),
        Verification::Waiting { .. } | Verification::AsBefore => known.verification.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::fixtures::{Fixture, NOW, least};

    fn registry(spec: &str) -> ValidatedRegistry {
        let mut fixture = Fixture::parse(&least(spec));
        let annotations = [("berth.dev/verify".to_owned(), "monday".to_owned())];
        fixture.registry.metadata.annotations = Some(annotations.into_iter().collect());
        fixture.validate().unwrap()
    }

    fn verified() -> Verification {
        Verification::Verified {
            url: "https://harbour.example".to_owned(),
            served: "0123".to_owned(),
            time: NOW.parse().unwrap(),
        }
    }

    #[test]
    fn a_verification_says_where_it_was_made_and_what_stays() {
        let told = |spec| condition(&registry(spec), Some(&verified()), &RegistryStatus::default()).unwrap();
        let (holds, reason, message) = told("");
        assert_eq!((holds, reason.as_str()), (Some(true), "PushedAndPulled"));
        assert_eq!(
            message,
            "An artifact was pushed to `https://harbour.example` and pulled; it stays in repository `berth-verify`, because \
             `spec.storage.deletion` is Disabled"
        );
        let deletion = least("").replace(
            "{persistentVolumeClaim",
            "{deletion: Enabled, persistentVolumeClaim",
        );
        let registry = Fixture::parse(&deletion).validate().unwrap();
        let (_, _, message) = condition(&registry, Some(&verified()), &RegistryStatus::default()).unwrap();
        assert!(message.ends_with("; it was removed again"), "{message}");
    }

    #[test]
    fn a_request_is_answered_by_a_success_and_by_a_failure() {
        let latest = |verification| latest(&registry(""), Some(&verification), &RegistryStatus::default());
        let success = latest(verified()).unwrap();
        assert_eq!(success.last_handled_request.as_deref(), Some("monday"));
        assert!(success.served.is_some() && success.time.is_some());
        let failure = latest(Verification::Failed {
            url: "https://harbour.example".to_owned(),
            reason: "PushFailed",
            message: "a proxy".to_owned(),
        });
        let failure = failure.unwrap();
        assert_eq!(failure.last_handled_request.as_deref(), Some("monday"));
        assert!(failure.served.is_none(), "a failure would count as a success");
    }

    #[test]
    fn a_failure_stays_until_there_is_another_result_and_nothing_is_said_unasked() {
        let known: RegistryStatus = serde_json::from_value(json!({
            "conditions": [{
                "type": "Verified", "status": "False", "reason": "PushFailed", "message": "a proxy",
                "lastTransitionTime": NOW,
            }],
            "verification": { "lastHandledRequest": "sunday" },
        }))
        .unwrap();
        let registry = registry("");
        let told = condition(&registry, Some(&Verification::AsBefore), &known);
        assert_eq!(
            told,
            Some((Some(false), "PushFailed".to_owned(), "a proxy".to_owned()))
        );
        let kept = latest(&registry, Some(&Verification::AsBefore), &known);
        assert_eq!(kept, known.verification);
        assert_eq!(condition(&registry, None, &known), None);
        assert_eq!(latest(&registry, None, &known), None);
    }
}
