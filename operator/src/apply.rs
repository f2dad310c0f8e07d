//! Fifth step: the objects in the API server become those that were built.
//!
//! Guarantees: compares first, so a reconcile that changes nothing writes nothing; a child that cannot be built again
//! is created once and never overwritten; a field that the operator sets is put back when somebody changes it, and
//! every other field is left alone, but for one beside which the API server refuses ours; every write is about the object
//! that was read, by its UID, and a new object is never merged into one that has appeared meanwhile; an object of
//! somebody else is never touched, and one that the spec names is never deleted; a write that fails holds up only what depends on it. Must not: decide what an object should be.
//! Start at [`children`].

mod applied;
mod clashes;
mod compare;
mod error;
mod needs;
mod optional;
mod write;

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::ObjectMeta;
use kube::{Client, ResourceExt};

use crate::certificate::is_issued;
use crate::children::{Children, Desired, Found, Live, Want, for_each_child};
use crate::findings::Rollout;
use crate::names::Names;
pub use crate::ownership::FIELD_MANAGER;
use crate::ownership::Lifetime;
use crate::read::Facts;
use crate::references::Named;
use crate::subject::Subject;
pub use applied::is_applied;
pub use error::Error;
use needs::Failures;
pub use optional::optional;
use write::Writer;

/// The result of applying.
#[derive(Debug)]
pub struct Applied {
    /// The children as the API server has them now.
    pub children: Children<Live>,
    /// Objects of somebody else that are in the way, and the writes that failed.
    pub problems: Vec<Error>,
}

/// Applies and deletes children, in the order of the table. All writes that fail are told at once; the next reconcile
/// goes on from there.
pub async fn children(
    client: &Client,
    subject: &Subject,
    desired: Children<Desired>,
    facts: &Facts,
) -> Applied {
    let existing = &facts.existing;
    let foreign = desired.foreign(existing, &facts.named, &Names::of(&subject.name));
    let mut problems: Vec<Error> = foreign.into_iter().map(Error::Foreign).collect();
    let desired = match problems.is_empty() {
        true => desired,
        // An Ingress would lead clients to somebody else's Service or show somebody else's certificate.
        false => Children {
            ingress: Want::Unchanged,
            ..desired.keep_deployment()
        },
    };
    let mut live = existing.live();
    let writer = Writer { client, subject };
    problems.extend(write_all(&writer, desired, facts, &mut live).await);
    Applied {
        children: live,
        problems,
    }
}

async fn write_all(
    writer: &Writer<'_>,
    desired: Children<Desired>,
    facts: &Facts,
    live: &mut Children<Live>,
) -> Vec<Error> {
    let existing = &facts.existing;
    let kept = owned_by_people(facts);
    let mut failures = Failures::default();
    macro_rules! apply_all {
        ($($(#[$doc:meta])* $field:ident: $kind:ty, $lifetime:ident, $name:ident;)*) => {
            $(let $field = matches!(desired.$field, Want::Absent);
            if $field {
                live.$field = None;
            }
            let wanted = matches!(desired.$field, Want::Present(_) | Want::IfMissing(_));
            if wanted && matches!(existing.$field, Found::Unreadable) {
                failures.hold_up(stringify!($field));
            } else if failures.allow(stringify!($field)) {
                // On the heap: together they are too large for a thread's stack.
                match Box::pin(writer.apply(Lifetime::$lifetime, desired.$field, &existing.$field)).await {
                    Ok(Some(applied)) => live.$field = Some(applied),
                    Ok(None) => {}
                    // The content can be used although its claim could not be changed.
                    Err(error) if Lifetime::$lifetime == Lifetime::Lasting && live.$field.is_some() => {
                        failures.add_harmless(error);
                    }
                    Err(error) => failures.add(stringify!($field), error),
                }
            })*
            let rolled_out = live.deployment.as_ref().map(Rollout::of) == Some(Rollout::Complete);
            $(if $field && failures.may_go_on() {
                let removed = writer.remove(Lifetime::$lifetime, rolled_out, existing.$field.ours(), &kept);
                let removed = Box::pin(removed).await;
                removed.unwrap_or_else(|error| failures.add_harmless(error));
            })*
        };
    }
    for_each_child!(apply_all);
    if failures.errors.is_empty() {
        let removed = remove_obsolete(writer, facts, live).await;
        removed.unwrap_or_else(|error| failures.add_harmless(error));
    }
    failures.errors
}

/// Deletes immutable objects that nothing used when they were read, and that the Deployment does not use now.
async fn remove_obsolete(writer: &Writer<'_>, facts: &Facts, live: &Children<Live>) -> Result<(), Error> {
    let now = [
        live.config.as_ref().map(ResourceExt::name_any),
        live.inputs.as_ref().map(ResourceExt::name_any),
    ];
    let unused = |meta: &&ObjectMeta| !now.contains(&meta.name);
    for meta in facts.obsolete.config_maps.iter().filter(unused) {
        tracing::info!(kind = "ConfigMap", name = meta.name, "deleting what no Pod uses");
        writer.delete_object::<ConfigMap>(meta).await?;
    }
    for meta in facts.obsolete.secrets.iter().filter(unused) {
        tracing::info!(kind = "Secret", name = meta.name, "deleting what no Pod uses");
        writer.delete_object::<Secret>(meta).await?;
    }
    Ok(())
}

/// The objects that the spec names, and certificates that somebody applied over ours.
fn owned_by_people(facts: &Facts) -> Named {
    let mut named = facts.named.clone();
    let existing = &facts.existing;
    let ca = existing.ca_key.ours();
    for secret in [&existing.server_certificate, &existing.edge_certificate] {
        if let Some(secret) = secret.ours().filter(|secret| !is_issued(secret, ca)) {
            named.add_secret(secret.name_any());
        }
    }
    named
}
