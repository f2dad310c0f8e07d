//! Single writes, each only when it is needed.

use kube::api::{DeleteParams, ObjectMeta, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, Client, ResourceExt as _};
use operator_api::REGISTRY_NAME_ANNOTATION;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::clashes::taken_over;
use super::compare::{difference, satisfies};
use super::error::Error;
use crate::children::{ChildObject, ForeignObject, Found, Want};
use crate::names::{Names, hex};
use crate::ownership::{FIELD_MANAGER, Lifetime, is_controlled_by, is_registry};
use crate::references::Named;
use crate::secret_data::{NEXT_CA_CERTIFICATE, NEXT_CA_KEY};
use crate::subject::Subject;

/// Field manager of a Deployment's replicas while an autoscaler sets them.
const REPLICAS_MANAGER: &str = "berth-operator-replicas";
/// Annotation with a hash of what was last applied. Comparing fields alone would not notice a field that is no longer
/// asked for.
const INTENT_ANNOTATION: &str = "berth.dev/intent";
/// Version that no object has: etcd counts from 2. The API server creates an object that is applied with it, and
/// answers 409 when there is one.
pub(super) const NO_VERSION: &str = "1";

/// Writes the children of one Registry.
pub(super) struct Writer<'a> {
    pub(super) client: &'a Client,
    pub(super) subject: &'a Subject,
}

impl Writer<'_> {
    /// Makes a child what it should be. Gives the object when the API server has answered with a newer one.
    pub(super) async fn apply<K: ChildObject>(
        &self,
        lifetime: Lifetime,
        want: Want<K>,
        found: &Found<K>,
    ) -> Result<Option<K>, Error> {
        let (mut want, may_change) = match want {
            Want::Present(object) => (object, lifetime != Lifetime::CreatedOnce),
            Want::IfMissing(object) => (object, false),
            Want::Absent | Want::Unchanged => return Ok(None),
        };
        if let Some(whole) = Names::of(&self.subject.name).whole() {
            let annotations = want.annotations_mut();
            annotations.insert(REGISTRY_NAME_ANNOTATION.to_owned(), whole.to_owned());
        }
        if lifetime == Lifetime::Immutable {
            return self.apply_immutable(want, found).await;
        }
        match found {
            Found::Foreign | Found::Unreadable => Ok(None),
            Found::Ours(_) if !may_change => Ok(None),
            Found::Ours(found) if lifetime == Lifetime::Renewed => self.renew(want, found).await,
            Found::Ours(found) => self.update(want, found).await,
            Found::Absent if matches!(lifetime, Lifetime::CreatedOnce | Lifetime::Renewed) => {
                self.create(lifetime, want).await.map(Some)
            }
            Found::Absent => self.apply_new(lifetime, want, may_change).await.map(Some),
        }
    }

    /// Makes sure that there is an object with this name, and so with this content.
    async fn apply_immutable<K: ChildObject>(&self, want: K, found: &Found<K>) -> Result<Option<K>, Error> {
        match found.ours().filter(|found| found.name_any() == want.name_any()) {
            Some(found) => self.keep_immutable(want, found).await,
            None => self.apply_new(Lifetime::Immutable, want, true).await.map(Some),
        }
    }

    /// Puts back the metadata of an immutable object. One with other content was not made by the operator, and is replaced.
    async fn keep_immutable<K: ChildObject>(&self, want: K, found: &K) -> Result<Option<K>, Error> {
        let name = want.name_any();
        let (wanted, live) = (as_json(&want, &name)?, as_json(found, &name)?);
        if ["data", "immutable", "type"]
            .iter()
            .all(|field| wanted[field] == live[field])
        {
            return self.update(want, found).await;
        }
        tracing::info!(kind = %K::kind(&()), name, "replacing other content");
        self.delete(found).await?;
        let body = intent(&want, &name)?;
        let created = self
            .patch(&name, &PatchParams::apply(FIELD_MANAGER).force(), &body)
            .await;
        created.map(Some)
    }

    /// Creates the object. Unlike with apply, only one of two operators that find none can win, and the other one starts
    /// again from what the first has stored.
    async fn create<K: ChildObject>(&self, lifetime: Lifetime, want: K) -> Result<K, Error> {
        let params = PostParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..Default::default()
        };
        let name = want.name_any();
        match self.api::<K>().create(&params, &want).await {
            Ok(created) => Ok(created),
            Err(source) if is_conflict(&source) => match self.look::<K>(lifetime, &name).await? {
                Found::Foreign => Err(ForeignObject::new::<K>(name).into()),
                Found::Ours(_) | Found::Absent | Found::Unreadable => {
                    Err(failed::<K>("create", &name, source))
                }
            },
            Err(source) => Err(failed::<K>("create", &name, source)),
        }
    }

    /// Applies an object that does not exist. When one has appeared meanwhile, it is not merged into that one.
    async fn apply_new<K: ChildObject>(
        &self,
        lifetime: Lifetime,
        want: K,
        may_change: bool,
    ) -> Result<K, Error> {
        let name = want.name_any();
        tracing::info!(kind = %K::kind(&()), name, "creating");
        let mut body = intent(&want, &name)?;
        body["metadata"]["resourceVersion"] = Value::String(NO_VERSION.to_owned());
        let params = PatchParams::apply(FIELD_MANAGER).force();
        let source = match self.api::<K>().patch(&name, &params, &Patch::Apply(&body)).await {
            Ok(created) => return Ok(created),
            Err(source) if is_conflict(&source) => source,
            Err(source) => return Err(failed::<K>("create", &name, source)),
        };
        match self.look::<K>(lifetime, &name).await? {
            Found::Foreign => Err(ForeignObject::new::<K>(name).into()),
            Found::Absent | Found::Unreadable => Err(failed::<K>("create", &name, source)),
            Found::Ours(found) if !may_change => Ok(found),
            Found::Ours(found) if lifetime == Lifetime::Immutable => {
                let kept = self.keep_immutable(want, &found).await?;
                Ok(kept.unwrap_or(found))
            }
            Found::Ours(found) => Ok(self.update(want, &found).await?.unwrap_or(found)),
        }
    }

    /// The object that the API server has under this name now.
    async fn look<K: ChildObject>(&self, lifetime: Lifetime, name: &str) -> Result<Found<K>, Error> {
        let found = self.api::<K>().get_opt(name).await;
        let found = found.map_err(|source| failed::<K>("get", name, source))?;
        Ok(Found::of(found, lifetime, self.subject))
    }

    /// Applies an object with other content than it has, as it was read: of two operators that renew it, one starts again.
    async fn renew<K: ChildObject>(&self, want: K, found: &K) -> Result<Option<K>, Error> {
        let name = want.name_any();
        let mut body = as_json(&want, &name)?;
        let live = as_json(found, &name)?;
        let has_too_much = [NEXT_CA_CERTIFICATE, NEXT_CA_KEY]
            .iter()
            .any(|key| live["data"].get(key).is_some() && body["data"].get(key).is_none());
        if !has_too_much && satisfies(&body["data"], &live["data"]) {
            return Ok(None);
        }
        tracing::info!(kind = %K::kind(&()), name, "renewing");
        body["metadata"]["uid"] = json!(found.meta().uid);
        body["metadata"]["resourceVersion"] = json!(found.meta().resource_version);
        let params = PatchParams::apply(FIELD_MANAGER).force();
        self.patch(&name, &params, &body).await.map(Some)
    }

    /// Applies the object unless the API server has it already. A Secret or ConfigMap that the API server lets nobody
    /// change is replaced.
    async fn update<K: ChildObject>(&self, want: K, found: &K) -> Result<Option<K>, Error> {
        let name = want.name_any();
        let mut body = intent(&want, &name)?;
        let live = as_json(found, &name)?;
        if satisfies(&body, &live) {
            return Ok(None);
        }
        if is_fixed(&body, &live) {
            tracing::info!(kind = %K::kind(&()), name, "replacing what cannot be changed");
            self.delete(found).await?;
            let params = PatchParams::apply(FIELD_MANAGER).force();
            return self.patch(&name, &params, &body).await.map(Some);
        }
        tracing::info!(kind = %K::kind(&()), name, differs = %difference(&body, &live), "applying");
        self.keep_replicas::<K>(&body, &live, &name).await?;
        // With the UID, an object that has replaced the one that was read is not overwritten.
        if let Some(uid) = &found.meta().uid {
            body["metadata"]["uid"] = Value::String(uid.clone());
        }
        let params = PatchParams::apply(FIELD_MANAGER).force();
        match self.patch(&name, &params, &body).await {
            Err(Error::Write { source, .. }) if self.take_over::<K>(&name, &body, &source).await? => {
                self.patch(&name, &params, &body).await.map(Some)
            }
            answered => answered.map(Some),
        }
    }

    /// After the API server has refused an object: takes over the fields of others that exclude ours. Says whether there
    /// were any, so that it can be applied once more.
    async fn take_over<K: ChildObject>(
        &self,
        name: &str,
        body: &Value,
        refusal: &kube::Error,
    ) -> Result<bool, Error> {
        let kube::Error::Api(status) = refusal else {
            return Ok(false);
        };
        if status.code != 422 {
            return Ok(false);
        }
        // The cache has no `managedFields`.
        let found = self.api::<K>().get(name).await;
        let found = found.map_err(|source| failed::<K>("get", name, source))?;
        let meta = found.meta();
        if meta.uid.as_deref() != body["metadata"]["uid"].as_str() {
            return Ok(false);
        }
        let Some(managers) = taken_over(body, &as_json(&found, name)?, status) else {
            return Ok(false);
        };
        tracing::info!(kind = %K::kind(&()), name, "taking over fields that exclude ours");
        let change = json!({ "metadata": {
            "uid": meta.uid,
            "resourceVersion": meta.resource_version,
            "managedFields": managers,
        } });
        let params = PatchParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..Default::default()
        };
        let changed = self.api::<K>().patch(name, &params, &Patch::Merge(&change)).await;
        changed
            .map(|_| true)
            .map_err(|source| failed::<K>("apply", name, source))
    }

    /// Keeps the number of Pods when the operator no longer sets it. Applying without a field that only the operator
    /// owns would set it to its default, one Pod, until the autoscaler looks again. So another field manager takes
    /// it over first, as Kubernetes' documentation of server-side apply advises.
    async fn keep_replicas<K: ChildObject>(
        &self,
        body: &Value,
        live: &Value,
        name: &str,
    ) -> Result<(), Error> {
        let replicas = &live["spec"]["replicas"];
        if K::kind(&()) != "Deployment" || !body["spec"]["replicas"].is_null() || replicas.is_null() {
            return Ok(());
        }
        let keep = serde_json::json!({
            "apiVersion": body["apiVersion"],
            "kind": body["kind"],
            // Not when the autoscaler has set another number meanwhile.
            "metadata": { "name": name, "resourceVersion": live["metadata"]["resourceVersion"] },
            "spec": { "replicas": replicas },
        });
        let params = PatchParams::apply(REPLICAS_MANAGER).force();
        self.patch::<K>(name, &params, &keep).await.map(drop)
    }

    async fn patch<K: ChildObject>(
        &self,
        name: &str,
        params: &PatchParams,
        body: &Value,
    ) -> Result<K, Error> {
        let applied = self.api::<K>().patch(name, params, &Patch::Apply(body)).await;
        applied.map_err(|source| failed::<K>("apply", name, source))
    }

    /// Deletes a child that is no longer wanted, when its lifetime allows it. One that belongs to people is released
    /// instead.
    pub(super) async fn remove<K: ChildObject>(
        &self,
        lifetime: Lifetime,
        rolled_out: bool,
        found: Option<&K>,
        kept: &Named,
    ) -> Result<(), Error> {
        let Some(found) = found.filter(|found| found.meta().deletion_timestamp.is_none()) else {
            return Ok(());
        };
        if kept.holds::<K>(&found.name_any()) {
            return self.release(lifetime, found).await;
        }
        let allowed = match lifetime {
            Lifetime::CreatedOnce | Lifetime::Renewed | Lifetime::Lasting | Lifetime::Immutable => false,
            Lifetime::UntilRolledOut => rolled_out,
            Lifetime::UntilUnwanted => true,
        };
        // The garbage collector deletes the objects of an earlier Registry of this name.
        if !allowed || !is_controlled_by(found.meta(), &self.subject.uid) {
            return Ok(());
        }
        tracing::info!(kind = %K::kind(&()), name = found.name_any(), "deleting what is no longer asked for");
        self.delete(found).await
    }

    async fn delete<K: ChildObject>(&self, found: &K) -> Result<(), Error> {
        self.delete_object::<K>(found.meta()).await
    }

    /// Deletes an object as it was read. One that has changed or was replaced meanwhile stays.
    pub(super) async fn delete_object<K: ChildObject>(&self, meta: &ObjectMeta) -> Result<(), Error> {
        let name = meta.name.clone().unwrap_or_default();
        let same_object = Preconditions {
            uid: meta.uid.clone(),
            resource_version: meta.resource_version.clone(),
        };
        let params = DeleteParams::background().preconditions(same_object);
        match self.api::<K>().delete(&name, &params).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
            Err(source) => Err(failed::<K>("delete", &name, source)),
        }
    }

    /// Makes an object of ours one of its author's: without the Registry as owner it is not deleted with it. A lasting
    /// one keeps its labels, by which a later spec finds it.
    async fn release<K: ChildObject>(&self, lifetime: Lifetime, found: &K) -> Result<(), Error> {
        let meta = found.meta();
        let owners = meta.owner_references.clone().unwrap_or_default();
        let (ours, others): (Vec<_>, Vec<_>) = owners
            .into_iter()
            .partition(|owner| owner.uid == self.subject.uid || is_registry(owner, self.subject));
        let keeps_labels = lifetime.outlives_the_registry();
        if ours.is_empty() && keeps_labels {
            return Ok(());
        }
        let name = found.name_any();
        tracing::info!(kind = %K::kind(&()), name, "releasing what the Registry names");
        let mut body = json!({ "metadata": {
            "uid": meta.uid,
            "resourceVersion": meta.resource_version,
            "ownerReferences": others,
        } });
        if !keeps_labels {
            let labels = Names::of(&self.subject.name).labels();
            let nulls = labels.into_keys().map(|key| (key, Value::Null));
            body["metadata"]["labels"] = Value::Object(nulls.collect());
            body["metadata"]["annotations"] =
                json!({ INTENT_ANNOTATION: null, REGISTRY_NAME_ANNOTATION: null });
        }
        let params = PatchParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..Default::default()
        };
        match self.api::<K>().patch(&name, &params, &Patch::Merge(&body)).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
            Err(source) => Err(failed::<K>("release", &name, source)),
        }
    }

    fn api<K: ChildObject>(&self) -> Api<K> {
        Api::namespaced(self.client.clone(), &self.subject.namespace)
    }
}

/// Whether the API server has another object than the request expects.
pub(super) fn is_conflict(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 409)
}

/// Whether somebody has made a Secret or ConfigMap anew in a form that the API server lets nobody change.
fn is_fixed(want: &Value, live: &Value) -> bool {
    let type_differs = want["type"].is_string() && want["type"] != live["type"];
    let immutable = live["immutable"] == true && want["immutable"] != true;
    // Only these kinds have both members at their root.
    type_differs || immutable
}

fn failed<K: ChildObject>(verb: &'static str, name: &str, source: kube::Error) -> Error {
    Error::Write {
        verb,
        kind: K::kind(&()).into_owned(),
        name: name.to_owned(),
        source: Box::new(source),
    }
}

/// The body to apply, with its hash in an annotation.
pub(super) fn intent<K: ChildObject>(want: &K, name: &str) -> Result<Value, Error> {
    let mut body = as_json(want, name)?;
    // When `Recreate` replaces `RollingUpdate`, server-side apply leaves the default `rollingUpdate`, and the API
    // server refuses the two together. An explicit null removes it.
    if body["spec"]["strategy"]["type"] == "Recreate" {
        body["spec"]["strategy"]["rollingUpdate"] = Value::Null;
    }
    add_hash(&mut body);
    Ok(body)
}

/// Adds the hash of a body to its annotations.
pub(super) fn add_hash(body: &mut Value) {
    let mut hashed = body.clone();
    // Of the contents of Secrets and ConfigMaps only the keys: a hash of a password would help to guess it.
    if let Some(data) = hashed.get_mut("data").and_then(Value::as_object_mut) {
        data.values_mut().for_each(|value| *value = Value::Null);
    }
    let hash = hex(&Sha256::digest(hashed.to_string().as_bytes())[..16]);
    body["metadata"]["annotations"][INTENT_ANNOTATION] = Value::String(hash);
}

pub(super) fn as_json<K: ChildObject>(object: &K, name: &str) -> Result<Value, Error> {
    serde_json::to_value(object).map_err(|source| Error::Bug {
        kind: K::kind(&()).into_owned(),
        name: name.to_owned(),
        source,
    })
}
