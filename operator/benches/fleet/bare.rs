//! The writes of the operator as a loop without any thought: what the API server alone needs.

use anyhow::{Context as _, Result};
use kube::api::{DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::ApiResource;
use kube::discovery::{Discovery, Scope, verbs};
use kube::{Api, Client};
use operator_api::Registry;
use serde_json::Value;

/// The objects of the Registry `r0`, and its status.
pub(crate) struct Template {
    objects: Vec<(ApiResource, Value)>,
    status: Value,
}

impl Template {
    /// Reads them from the API server.
    pub(crate) async fn of(client: &Client, namespace: &str) -> Result<Self> {
        let discovery = Discovery::new(client.clone()).run().await?;
        let kinds = discovery.groups().flat_map(|group| group.recommended_resources());
        let ours = ListParams::default().labels("berth.dev/registry=r0");
        let mut objects = Vec::new();
        for (kind, can) in kinds {
            if can.scope != Scope::Namespaced || !can.supports_operation(verbs::LIST) {
                continue;
            }
            let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &kind);
            for object in api.list(&ours).await? {
                let mut value = serde_json::to_value(object)?;
                value["apiVersion"] = kind.api_version.clone().into();
                value["kind"] = kind.kind.clone().into();
                objects.push((kind.clone(), applied(value)));
            }
        }
        let registry = Api::<Registry>::namespaced(client.clone(), namespace)
            .get("r0")
            .await?;
        Ok(Self {
            objects,
            status: serde_json::to_value(registry.status)?,
        })
    }

    /// Writes a Registry, all of its objects and its status, one after the other.
    pub(crate) async fn write(&self, client: &Client, namespace: &str, name: &str) -> Result<()> {
        let registries = Api::<Registry>::namespaced(client.clone(), namespace);
        registries
            .create(&PostParams::default(), &crate::registry(name)?)
            .await?;
        let manager = PatchParams::apply("bare-loop").force();
        for (kind, object) in &self.objects {
            let text = object.to_string().replace("\"r0", &format!("\"{name}"));
            let object: Value = serde_json::from_str(&text)?;
            let named = object["metadata"]["name"].as_str().context("it has a name")?;
            let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, kind);
            api.patch(named, &manager, &Patch::Apply(&object)).await?;
        }
        let status = serde_json::json!({ "status": self.status });
        registries
            .patch_status(name, &PatchParams::default(), &Patch::Merge(status))
            .await?;
        Ok(())
    }
}

/// The object without what the API server adds.
fn applied(mut object: Value) -> Value {
    if let Some(members) = object.as_object_mut() {
        members.remove("status");
    }
    if let Some(meta) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        for member in [
            "creationTimestamp",
            "finalizers",
            "generation",
            "managedFields",
            "namespace",
            "ownerReferences",
            "resourceVersion",
            "uid",
        ] {
            meta.remove(member);
        }
    }
    if let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) {
        for member in ["clusterIP", "clusterIPs"] {
            spec.remove(member);
        }
    }
    object
}
