//! The CAs that clients must trust: those that sign, those that will, and for a while those that did.
//!
//! Guarantees: a CA that has signed stays published until clients have seen its successor's certificates; nothing that was
//! not published by the operator stays. Start at [`trust`].

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::ConfigMap;

use crate::certificate::{Certificate, blocks, fingerprint};
use crate::secret_data::CA_CERTIFICATE;

/// Annotation of the published CAs: the fingerprint of each, and until when it stays when it is a former one.
pub(crate) const PUBLISHED_ANNOTATION: &str = "berth.dev/published-cas";
/// How long a former CA stays published. The longest that a client may need to see a new certificate is minutes; people who
/// copy the file by hand need days.
const FORMER_STAYS: SignedDuration = SignedDuration::from_hours(720);

/// The published CAs.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Trust {
    /// PEM; empty when nothing has to be trusted.
    pub certificates: String,
    /// The annotation's text.
    pub published: String,
    /// When the first former CA goes.
    pub next_end: Option<Timestamp>,
}

/// The CAs to publish: `wanted`, and former ones of `stored`.
pub(super) fn trust<'a>(
    wanted: impl IntoIterator<Item = &'a str>,
    stored: Option<&ConfigMap>,
    now: Timestamp,
) -> Trust {
    let mut published: BTreeMap<String, String> = BTreeMap::new();
    let mut certificates = String::new();
    for block in wanted.into_iter().flat_map(blocks) {
        if published.insert(fingerprint(&block), String::new()).is_none() {
            certificates.push_str(&block);
        }
    }
    let mut next_end = None;
    if !certificates.is_empty() {
        for (block, until) in former(stored, now) {
            let print = fingerprint(&block);
            if published.contains_key(&print) {
                continue;
            }
            published.insert(print, until.to_string());
            certificates.push_str(&block);
            next_end = [next_end, Some(until)].into_iter().flatten().min();
        }
    }
    Trust {
        certificates,
        published: serde_json::to_string(&published).unwrap_or_default(),
        next_end,
    }
}

/// The stored CAs that the operator published and that have not ended, with the time until which they stay.
fn former(stored: Option<&ConfigMap>, now: Timestamp) -> Vec<(String, Timestamp)> {
    let Some(stored) = stored else { return Vec::new() };
    let known = stored.metadata.annotations.as_ref();
    let known = known.and_then(|all| all.get(PUBLISHED_ANNOTATION));
    let known: BTreeMap<String, String> = known
        .and_then(|text| serde_json::from_str(text).ok())
        .unwrap_or_default();
    let text = stored.data.as_ref().and_then(|data| data.get(CA_CERTIFICATE));
    let first = Timestamp::from_second((now + FORMER_STAYS).as_second()).unwrap_or(now);
    text.into_iter()
        .flat_map(|text| blocks(text))
        .filter_map(|block| {
            let noted = known.get(&fingerprint(&block))?;
            let until = noted.parse().unwrap_or(first);
            let end = Certificate::parse(block.as_bytes()).ok()?.not_after;
            (until > now && end > now).then_some((block, until))
        })
        .collect()
}
