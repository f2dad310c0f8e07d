//! The CA of a Registry over time: clients trust the next CA for a while before it signs.
//!
//! Guarantees: a CA is followed by the next one so early that no certificate has to end before its time; the next CA is
//! made and published first, and signs later; a request to renew is answered once. Start at [`cas`].

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Secret;

use super::ca::Ca;
use crate::certificate::{self, KeyPair};
use crate::issue_plan::IssuePlan;
use crate::secret_data::{NEXT_CA_CERTIFICATE, NEXT_CA_KEY, text};

/// Annotation of the CA's Secret: the time from which the next CA signs.
pub(crate) const NEXT_CA_SIGNS_FROM: &str = "berth.dev/next-ca-signs-from";
/// Annotation of the CA's Secret: the request to renew that was answered last.
pub(crate) const RENEWAL_ANSWERED: &str = "berth.dev/ca-renewal-answered";
/// How long clients know a next CA before it has to sign.
const ANNOUNCED: SignedDuration = SignedDuration::from_hours(720);
/// The same when a person asks for a new CA: every Ingress controller and every Pod with the bundle has read it.
const ANNOUNCED_ON_REQUEST: SignedDuration = SignedDuration::from_mins(10);

/// The CAs of one Registry.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CaSet {
    /// It signs certificates.
    pub current: KeyPair,
    /// It will sign; clients trust it already.
    pub next: Option<NextCa>,
    /// The request to renew that was answered.
    pub answered: Option<String>,
}

/// A CA that does not sign yet.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NextCa {
    /// Its certificate and key.
    pub pair: KeyPair,
    /// The time from which it signs.
    pub signs_from: Timestamp,
}

impl CaSet {
    /// The stored CAs as they are; `None` when there are none that can be used.
    pub(super) fn stored(secret: &Secret) -> Option<Self> {
        let annotation = |key: &str| secret.metadata.annotations.as_ref()?.get(key);
        let next = || {
            let certificate = text(Some(secret), NEXT_CA_CERTIFICATE)?;
            let key = text(Some(secret), NEXT_CA_KEY)?;
            Some(NextCa {
                signs_from: annotation(NEXT_CA_SIGNS_FROM)?.parse().ok()?,
                pair: certificate::signer(&certificate, &key).ok()?,
            })
        };
        Some(Self {
            current: certificate::ca(secret).ok()?,
            next: next(),
            answered: annotation(RENEWAL_ANSWERED).cloned(),
        })
    }

    /// When something has to be done about the CAs. `leaf` is how long certificates are valid.
    pub(super) fn due(&self, leaf: SignedDuration) -> Timestamp {
        match &self.next {
            Some(next) => next.signs_from,
            None => self.current.not_after - leaf - ANNOUNCED,
        }
    }
}

/// The CAs at `now`. `leaf` is how long certificates are valid.
///
/// # Errors
/// A CA could not be made.
pub(super) fn cas(
    plan: &IssuePlan,
    stored: Option<CaSet>,
    leaf: SignedDuration,
    now: Timestamp,
) -> Result<CaSet, rcgen::Error> {
    let Some(mut cas) = stored else {
        return Ok(CaSet {
            current: Ca::make(&plan.ca_name, now)?.into_pair(),
            next: None,
            answered: plan.renew_ca.clone(),
        });
    };
    if let Some(next) = cas.next.take_if(|next| next.signs_from <= now) {
        cas.current = next.pair;
    }
    let requested = plan.renew_ca.is_some() && plan.renew_ca != cas.answered;
    if cas.next.is_none() && (requested || cas.due(leaf) <= now) {
        let signs_from = if requested {
            now + ANNOUNCED_ON_REQUEST
        } else {
            (cas.current.not_after - leaf).max(now + ANNOUNCED_ON_REQUEST)
        };
        cas.next = Some(NextCa {
            pair: Ca::make(&plan.ca_name, now)?.into_pair(),
            // The annotation has whole seconds.
            signs_from: Timestamp::from_second(signs_from.as_second()).unwrap_or(signs_from),
        });
        if requested {
            cas.answered.clone_from(&plan.renew_ca);
        }
    }
    Ok(cas)
}
