//! Writes the objects of kinds that a cluster may not have.
//!
//! Guarantees: as for the children: compared first, created without merging into a stranger's object, deleted only when
//! they are this Registry's. Nothing is done for a kind that the cluster does not have.
//! Start at [`optional`].

use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams, Preconditions};
use kube::{Api, Client};
use serde_json::Value;

use super::compare::satisfies;
use super::error::Error;
use super::write::{NO_VERSION, add_hash, is_conflict};
use crate::children::ForeignObject;
use crate::optional::{OptionalKind, OptionalObjects};
use crate::ownership::FIELD_MANAGER;
use crate::ownership::{Lifetime, is_controlled_by, is_ours};
use crate::subject::Subject;

/// Makes the optional objects what they should be. One that fails holds up no other.
pub async fn optional(
    client: &Client,
    subject: &Subject,
    wanted: Vec<(OptionalKind, DynamicObject)>,
    existing: &OptionalObjects,
) -> Vec<Error> {
    let mut problems = Vec::new();
    for (kind, found) in &existing.0 {
        let want = wanted
            .iter()
            .find(|(wanted, _)| wanted == kind)
            .map(|(_, object)| object);
        let api = Api::namespaced_with(client.clone(), &subject.namespace, &kind.resource());
        let done = match (want, found) {
            (Some(want), None) => create(&api, *kind, want, subject).await,
            (Some(want), Some(found)) => update(&api, *kind, want, found, subject).await,
            (None, Some(found)) => prune(&api, *kind, found, subject).await,
            (None, None) => Ok(()),
        };
        problems.extend(done.err());
    }
    problems
}

/// Whether applying these objects would change nothing.
pub(super) fn is_applied(wanted: &[(OptionalKind, DynamicObject)], existing: &OptionalObjects) -> bool {
    existing.0.iter().all(|(kind, found)| {
        let want = wanted.iter().find(|(wanted, _)| wanted == kind);
        match (want, found) {
            (None, None) => true,
            (Some((_, want)), Some(found)) => match (intent(*kind, want), json(*kind, found)) {
                (Ok(want), Ok(live)) => satisfies(&want, &live),
                _ => false,
            },
            (Some(_), None) | (None, Some(_)) => false,
        }
    })
}

async fn create(
    api: &Api<DynamicObject>,
    kind: OptionalKind,
    want: &DynamicObject,
    subject: &Subject,
) -> Result<(), Error> {
    let mut body = intent(kind, want)?;
    body["metadata"]["resourceVersion"] = Value::String(NO_VERSION.to_owned());
    let name = want.metadata.name.clone().unwrap_or_default();
    let params = PatchParams::apply(FIELD_MANAGER).force();
    let source = match api.patch(&name, &params, &Patch::Apply(&body)).await {
        Ok(_) => return Ok(()),
        Err(source) => source,
    };
    if !is_conflict(&source) {
        return Err(failed("create", kind, want, source));
    }
    // Somebody's object without the operator's label, or an object of the operator's of which the watch has not told yet.
    match api.get_opt(&name).await {
        Ok(Some(found)) => update(api, kind, want, &found, subject).await,
        Ok(None) => Err(failed("create", kind, want, source)),
        Err(source) => Err(failed("get", kind, want, source)),
    }
}

async fn update(
    api: &Api<DynamicObject>,
    kind: OptionalKind,
    want: &DynamicObject,
    found: &DynamicObject,
    subject: &Subject,
) -> Result<(), Error> {
    if !is_ours(&found.metadata, Lifetime::UntilUnwanted, subject) {
        return Err(foreign(kind, want));
    }
    let (mut body, live) = (intent(kind, want)?, json(kind, found)?);
    if satisfies(&body, &live) {
        return Ok(());
    }
    // With the UID, an object that has replaced the one that was read is not overwritten.
    body["metadata"]["uid"] = live["metadata"]["uid"].clone();
    let name = want.metadata.name.clone().unwrap_or_default();
    let params = PatchParams::apply(FIELD_MANAGER).force();
    match api.patch(&name, &params, &Patch::Apply(&body)).await {
        Ok(_) => Ok(()),
        Err(source) => Err(failed("apply", kind, want, source)),
    }
}

async fn prune(
    api: &Api<DynamicObject>,
    kind: OptionalKind,
    found: &DynamicObject,
    subject: &Subject,
) -> Result<(), Error> {
    let ours = is_controlled_by(&found.metadata, &subject.uid);
    if !ours || found.metadata.deletion_timestamp.is_some() {
        return Ok(());
    }
    let same_object = Preconditions {
        uid: found.metadata.uid.clone(),
        resource_version: None,
    };
    let name = found.metadata.name.clone().unwrap_or_default();
    let params = DeleteParams::background().preconditions(same_object);
    match api.delete(&name, &params).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        Err(source) => Err(failed("delete", kind, found, source)),
    }
}

fn foreign(kind: OptionalKind, object: &DynamicObject) -> Error {
    Error::Foreign(ForeignObject {
        kind: kind.resource().kind,
        name: object.metadata.name.clone().unwrap_or_default(),
    })
}

fn failed(verb: &'static str, kind: OptionalKind, object: &DynamicObject, source: kube::Error) -> Error {
    Error::Write {
        verb,
        kind: kind.resource().kind,
        name: object.metadata.name.clone().unwrap_or_default(),
        source: Box::new(source),
    }
}

/// The body to apply, with its hash: a field that is no longer asked for would not be noticed otherwise.
fn intent(kind: OptionalKind, want: &DynamicObject) -> Result<Value, Error> {
    let mut body = json(kind, want)?;
    add_hash(&mut body);
    Ok(body)
}

fn json(kind: OptionalKind, object: &DynamicObject) -> Result<Value, Error> {
    serde_json::to_value(object).map_err(|source| Error::Bug {
        kind: kind.resource().kind,
        name: object.metadata.name.clone().unwrap_or_default(),
        source,
    })
}
