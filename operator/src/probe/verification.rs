//! Whether a push and a pull work at the published address, by the latest result or by what the status remembers.
//!
//! Guarantees: pure but for the question to the [`Verifier`]; a result that is in the status is not asked for again.
//! Start at [`verification`].

use operator_api::{EndpointState, Registry, VerificationStatus};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::address::Address;
use super::push::Question;
use super::verifier::Verifier;
use crate::certificate::fingerprint;
use crate::children::{Children, Live};
use crate::conditions::VERIFIED;
use crate::findings::{Findings, Verification};
use crate::names::hex;
use crate::secret_data::{CA_CERTIFICATE, TLS_CERTIFICATE, text};
use crate::validate::ValidatedRegistry;

/// The reason while a result is awaited.
const PENDING: &str = "Pending";

/// The state of the verification; `None` when nobody asks for one.
pub(super) fn verification(
    verifier: &Verifier,
    registry: &Registry,
    validated: &ValidatedRegistry,
    children: &Children<Live>,
    addresses: &[Address],
    findings: &Findings,
) -> Option<Verification> {
    let subject = &validated.subject;
    let state = state(registry, validated, children, addresses, findings);
    match state {
        Next::Told(told) => {
            verifier.end(subject);
            told
        }
        Next::Ask { question, otherwise } => {
            let told = match verifier.ask(subject, &question) {
                None => otherwise,
                Some(Ok(time)) => Verification::Verified {
                    url: question.address.url,
                    served: question.served,
                    // The API server stores whole seconds.
                    time: jiff::Timestamp::from_second(time.as_second()).unwrap_or(time),
                },
                Some(Err(failure)) => Verification::Failed {
                    url: question.address.url,
                    reason: failure.reason,
                    message: failure.message,
                },
            };
            Some(told)
        }
    }
}

/// The next thing to do.
#[derive(Debug, PartialEq)]
enum Next {
    /// Nothing has to be pushed.
    Told(Option<Verification>),
    /// A push and a pull have to be made; without a result this is told.
    Ask {
        question: Box<Question>,
        otherwise: Verification,
    },
}

fn state(
    registry: &Registry,
    validated: &ValidatedRegistry,
    children: &Children<Live>,
    addresses: &[Address],
    findings: &Findings,
) -> Next {
    let plan = &validated.verify;
    if !plan.is_wanted() {
        return Next::Told(None);
    }
    let waiting = |reason, message: &str| {
        let message = message.to_owned();
        Next::Told(Some(Verification::Waiting { reason, message }))
    };
    if let Some(hindrance) = &plan.hindrance {
        return waiting(hindrance.reason, &hindrance.message);
    }
    let endpoint = findings.published();
    let address = endpoint.and_then(|found| addresses.iter().find(|address| address.url == found.url));
    let (Some(endpoint), Some(address)) = (endpoint, address) else {
        return waiting(PENDING, "There is no address yet at which the registry answers");
    };
    if endpoint.state == EndpointState::NotProbed {
        let message = "`spec.probe` is Disabled, so the operator sends no requests to the address";
        return waiting("NotProbed", message);
    }
    let served = served(&address.url, validated, children);
    let known = Known::of(registry);
    if let Some(success) = known
        .success
        .filter(|success| success.last_handled_request == plan.request)
    {
        let (same, time) = (success.served.as_ref() == Some(&served), success.time.as_ref());
        if let (true, Some(time)) = (same, time) {
            return Next::Told(Some(Verification::Verified {
                url: address.url.clone(),
                served,
                time: time.0,
            }));
        }
        if !plan.on_change {
            let message = "What is served has changed since the last verification; give the annotation \
                           `berth.dev/verify` another value to have it verified again";
            return waiting("Changed", message);
        }
    }
    if !findings.available() || !findings.rolled_out() {
        return match known.failed {
            true => Next::Told(Some(Verification::AsBefore)),
            false => waiting(PENDING, "The verification follows when the rollout has ended"),
        };
    }
    let cas = children
        .ca_bundle
        .as_ref()
        .and_then(|bundle| bundle.data.as_ref());
    let question = Question {
        address: address.clone(),
        cas: cas
            .and_then(|data| data.get(CA_CERTIFICATE).cloned())
            .unwrap_or_default(),
        repository: plan.repository.clone(),
        credentials: plan.credentials.clone(),
        removable: plan.removable,
        request: plan.request.clone(),
        served,
    };
    let otherwise = match known.failed {
        true => Verification::AsBefore,
        false => Verification::Waiting {
            reason: PENDING,
            message: format!(
                "An artifact is being pushed to `{}` and pulled",
                question.address.url
            ),
        },
    };
    Next::Ask {
        question: Box::new(question),
        otherwise,
    }
}

/// The status before this reconcile.
struct Known<'a> {
    /// The latest verification, when it was a success.
    success: Option<&'a VerificationStatus>,
    /// Whether the condition says that it failed.
    failed: bool,
}

impl<'a> Known<'a> {
    fn of(registry: &'a Registry) -> Self {
        let status = registry.status.as_ref();
        let success = status.and_then(|status| status.verification.as_ref());
        let mut conditions = status.into_iter().flat_map(|status| &status.conditions);
        Self {
            success: success.filter(|latest| latest.served.is_some()),
            failed: conditions.any(|c| c.type_ == VERIFIED && c.status == "False"),
        }
    }
}

/// A hash of what is served: the Pods' template with image and configuration, the address, and the certificates.
fn served(url: &str, validated: &ValidatedRegistry, children: &Children<Live>) -> String {
    let spec = children.deployment.as_ref().and_then(|found| found.spec.as_ref());
    let template = spec.map(|spec| json!(spec.template)).unwrap_or_default();
    let certificates = [&children.server_certificate, &children.edge_certificate];
    let issued = certificates
        .into_iter()
        .filter_map(|secret| text(secret.as_ref(), TLS_CERTIFICATE));
    let provided = validated.live.certificate.as_ref();
    let provided = provided.map(|(certificate, _)| String::from_utf8_lossy(certificate).into_owned());
    let prints: Vec<_> = issued.chain(provided).map(|pem| fingerprint(&pem)).collect();
    let repository = &validated.verify.repository;
    let text = json!([template, url, prints, repository]).to_string();
    hex(&Sha256::digest(text.as_bytes())[..16])
}

#[cfg(test)]
mod tests;
