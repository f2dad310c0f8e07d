//! Single writes, each only when it is needed.

use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, Client, ResourceExt as _};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::compare::{difference, satisfies};
use super::error::Error;
use crate::children::{ChildObject, Found, Want};
use crate::names::hex;
use crate::ownership::{Lifetime, is_controlled_by};
use crate::subject::Subject;

/// Field manager of everything but the status.
pub const FIELD_MANAGER: &str = "berth-operator";
/// Annotation with a hash of what was last applied. Comparing fields alone would not notice a field that is no longer
/// asked for.
const INTENT_ANNOTATION: &str = "berth.dev/intent";

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
        let (want, may_change) = match want {
            Want::Present(object) => (object, lifetime != Lifetime::CreatedOnce),
            Want::IfMissing(object) => (object, false),
            Want::Absent | Want::Unchanged => return Ok(None),
        };
        match found {
            Found::Foreign => Ok(None),
            Found::Ours(_) if !may_change => Ok(None),
            Found::Ours(found) => self.update(want, found).await,
            Found::Absent if lifetime == Lifetime::CreatedOnce => self.create(want).await.map(Some),
            Found::Absent => self.apply_new(want).await.map(Some),
        }
    }

    /// Creates the object. Unlike with apply, only one of two operators that find none can win.
    async fn create<K: ChildObject>(&self, want: K) -> Result<K, Error> {
        let params = PostParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..Default::default()
        };
        let created = self.api::<K>().create(&params, &want).await;
        created.map_err(|source| failed::<K>("create", &want.name_any(), source))
    }

    /// Applies an object that does not exist. Without force: when one has appeared meanwhile, its fields are a
    /// conflict, and the next reconcile reads it.
    async fn apply_new<K: ChildObject>(&self, want: K) -> Result<K, Error> {
        let name = want.name_any();
        tracing::info!(kind = %K::kind(&()), name, "creating");
        let body = intent(&want, &name)?;
        self.patch(&name, &PatchParams::apply(FIELD_MANAGER), &body).await
    }

    /// Applies the object unless the API server has it already.
    async fn update<K: ChildObject>(&self, want: K, found: &K) -> Result<Option<K>, Error> {
        let name = want.name_any();
        let mut body = intent(&want, &name)?;
        let live = json(found, &name)?;
        if satisfies(&body, &live) {
            return Ok(None);
        }
        tracing::info!(kind = %K::kind(&()), name, differs = %difference(&body, &live), "applying");
        // With the UID, an object that has replaced the one that was read is not overwritten.
        if let Some(uid) = &found.meta().uid {
            body["metadata"]["uid"] = Value::String(uid.clone());
        }
        let params = PatchParams::apply(FIELD_MANAGER).force();
        self.patch(&name, &params, &body).await.map(Some)
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

    /// Deletes a child that is no longer wanted, when its lifetime allows it.
    pub(super) async fn prune<K: ChildObject>(
        &self,
        lifetime: Lifetime,
        rolled_out: bool,
        found: Option<&K>,
    ) -> Result<(), Error> {
        let allowed = match lifetime {
            Lifetime::CreatedOnce | Lifetime::Lasting => false,
            Lifetime::UntilRolledOut => rolled_out,
            Lifetime::UntilUnwanted => true,
        };
        let Some(found) = found.filter(|found| {
            allowed
                && found.meta().deletion_timestamp.is_none()
                // The garbage collector deletes the objects of an earlier Registry of this name.
                && is_controlled_by(found.meta(), &self.subject.uid)
        }) else {
            return Ok(());
        };
        let name = found.name_any();
        tracing::info!(kind = %K::kind(&()), name, "deleting what is no longer asked for");
        let same_object = Preconditions {
            uid: found.meta().uid.clone(),
            resource_version: None,
        };
        let params = DeleteParams::background().preconditions(same_object);
        match self.api::<K>().delete(&name, &params).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
            Err(source) => Err(failed::<K>("delete", &name, source)),
        }
    }

    fn api<K: ChildObject>(&self) -> Api<K> {
        Api::namespaced(self.client.clone(), &self.subject.namespace)
    }
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
fn intent<K: ChildObject>(want: &K, name: &str) -> Result<Value, Error> {
    let mut body = json(want, name)?;
    // When `Recreate` replaces `RollingUpdate`, server-side apply leaves the default `rollingUpdate`, and the API
    // server refuses the two together. An explicit null removes it.
    if body["spec"]["strategy"]["type"] == "Recreate" {
        body["spec"]["strategy"]["rollingUpdate"] = Value::Null;
    }
    let mut hashed = body.clone();
    // Contents of Secrets and ConfigMaps are compared directly: a hash of a password would help to guess it.
    if let Some(members) = hashed.as_object_mut() {
        members.remove("data");
    }
    let hash = hex(&Sha256::digest(hashed.to_string().as_bytes())[..16]);
    body["metadata"]["annotations"][INTENT_ANNOTATION] = Value::String(hash);
    Ok(body)
}

fn json<K: ChildObject>(object: &K, name: &str) -> Result<Value, Error> {
    serde_json::to_value(object).map_err(|source| Error::Bug {
        kind: K::kind(&()).into_owned(),
        name: name.to_owned(),
        source,
    })
}
