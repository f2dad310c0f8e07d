//! Single writes, each only when it is needed.

use std::fmt::Debug;

use kube::api::{DeleteParams, ObjectMeta, Patch, PatchParams, PostParams, Preconditions};
use kube::core::NamespaceResourceScope;
use kube::{Api, Client, Resource, ResourceExt as _};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::compare::satisfies;
use super::{Error, FIELD_MANAGER};
use crate::names::hex;

/// What was last applied, as a hash: comparing fields alone would not notice one that is no longer asked for.
const INTENT_ANNOTATION: &str = "berth.dev/intent";

/// A kind in a namespace.
pub(super) trait Object:
    Clone + Debug + DeserializeOwned + Resource<DynamicType = (), Scope = NamespaceResourceScope> + Serialize
{
}

impl<K> Object for K where
    K: Clone
        + Debug
        + DeserializeOwned
        + Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Serialize
{
}

/// Writes to one namespace.
pub struct Writer<'a> {
    /// The API server.
    pub client: &'a Client,
    /// The namespace.
    pub namespace: &'a str,
    /// UID of the Registry: what it does not control is not deleted.
    pub owner: &'a str,
}

impl Writer<'_> {
    /// Creates the object when there is none, and otherwise leaves it as it is.
    pub(super) async fn keep<K: Object>(
        &self,
        want: Option<K>,
        found: Option<&K>,
    ) -> Result<Option<K>, Error> {
        let Some(want) = want else { return Ok(None) };
        if let Some(found) = found {
            return Ok(Some(found.clone()));
        }
        let params = PostParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..Default::default()
        };
        // Not apply: of two operators that think there is none, only one may win.
        let created = self.api::<K>().create(&params, &want).await;
        created
            .map(Some)
            .map_err(|source| failed::<K>("create", &want.name_any(), source))
    }

    pub(super) async fn converge_if<K: Object>(
        &self,
        want: Option<K>,
        found: Option<&K>,
    ) -> Result<Option<K>, Error> {
        match want {
            Some(want) => self.converge(want, found).await.map(Some),
            None => Ok(None),
        }
    }

    /// Applies the object unless the API server has it already.
    pub(super) async fn converge<K: Object>(&self, want: K, found: Option<&K>) -> Result<K, Error> {
        let name = want.name_any();
        let intent = intent(&want, &name)?;
        let mut params = PatchParams::apply(FIELD_MANAGER);
        let mut body = intent;
        if let Some(found) = found {
            let live = json(found, &name)?;
            if satisfies(&body, &live) {
                return Ok(found.clone());
            }
            tracing::info!(kind = %K::kind(&()), name, differs = %super::compare::difference(&body, &live), "applying");
            // A stranger that took the place of the object we read must not be overwritten.
            if let Some(uid) = &found.meta().uid {
                body["metadata"]["uid"] = Value::String(uid.clone());
            }
            params = params.force();
        } else {
            // Without force: fields of an object that appeared after we looked are a conflict, and the next pass sees it.
            tracing::info!(kind = %K::kind(&()), name, "creating");
        }
        let applied = self.api::<K>().patch(&name, &params, &Patch::Apply(&body)).await;
        applied.map_err(|source| failed::<K>("apply", &name, source))
    }

    /// Deletes what was found unless it is wanted, or not this Registry's.
    pub(super) async fn remove_unless<K: Object>(
        &self,
        wanted: bool,
        found: Option<&K>,
    ) -> Result<(), Error> {
        let Some(found) = found.filter(|found| {
            !wanted && found.meta().deletion_timestamp.is_none() && is_controlled_by(found.meta(), self.owner)
        }) else {
            return Ok(());
        };
        let name = found.name_any();
        tracing::info!(kind = %K::kind(&()), name, "deleting what is no longer asked for");
        let this_one = Preconditions {
            uid: found.meta().uid.clone(),
            resource_version: None,
        };
        let params = DeleteParams::background().preconditions(this_one);
        match self.api::<K>().delete(&name, &params).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
            Err(source) => Err(failed::<K>("delete", &name, source)),
        }
    }

    fn api<K: Object>(&self) -> Api<K> {
        Api::namespaced(self.client.clone(), self.namespace)
    }
}

/// A user's object may have a name that another Registry's object would have.
fn is_controlled_by(meta: &ObjectMeta, uid: &str) -> bool {
    let mut owners = meta.owner_references.iter().flatten();
    owners.any(|owner| owner.controller == Some(true) && owner.uid == uid)
}

fn failed<K: Object>(verb: &'static str, name: &str, source: kube::Error) -> Error {
    Error::Write {
        verb,
        kind: K::kind(&()).into_owned(),
        name: name.to_owned(),
        source: Box::new(source),
    }
}

/// The body to apply, with its hash in it.
fn intent<K: Object>(want: &K, name: &str) -> Result<Value, Error> {
    let mut body = json(want, name)?;
    // Server-side apply leaves the default `rollingUpdate` beside a Recreate that replaces it, and the API server then
    // refuses the pair; an explicit null takes it away.
    if body["spec"]["strategy"]["type"] == "Recreate" {
        body["spec"]["strategy"]["rollingUpdate"] = Value::Null;
    }
    let mut hashed = body.clone();
    // The contents of Secrets and ConfigMaps are compared as they are; a hash of a password would help to guess it.
    if let Some(members) = hashed.as_object_mut() {
        members.remove("data");
    }
    let hash = hex(&Sha256::digest(hashed.to_string().as_bytes())[..16]);
    body["metadata"]["annotations"][INTENT_ANNOTATION] = Value::String(hash);
    Ok(body)
}

fn json<K: Object>(object: &K, name: &str) -> Result<Value, Error> {
    serde_json::to_value(object).map_err(|source| Error::Bug {
        kind: K::kind(&()).into_owned(),
        name: name.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_this_registry_controls_is_deleted() {
        let meta = |owner: serde_json::Value| -> ObjectMeta {
            serde_json::from_value(serde_json::json!({ "ownerReferences": owner })).unwrap()
        };
        let owner = |uid: &str, controller: bool| serde_json::json!([{ "apiVersion": "v1", "kind": "Registry", "name": "harbour", "uid": uid, "controller": controller }]);
        assert!(is_controlled_by(&meta(owner("ours", true)), "ours"));
        assert!(!is_controlled_by(&meta(owner("another", true)), "ours"));
        assert!(!is_controlled_by(&meta(owner("ours", false)), "ours"));
        assert!(!is_controlled_by(&ObjectMeta::default(), "ours"), "a user's");
    }
}
