//! All objects of a namespace in a form in which two namespaces can be compared.
//!
//! Guarantees: every kind that the API server can list is in it, but events and Leases. UIDs, versions, times, addresses
//! and generated secrets are replaced by what they are; nothing else is left out. Start at [`Snapshot::of`].

use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::Duration;

use anyhow::Result;
use e2e::wait::{Seen, wait_for};
use futures_util::future::try_join_all;
use kube::api::{DynamicObject, ListParams};
use kube::core::ApiResource;
use kube::discovery::{Discovery, Scope, verbs};
use kube::{Api, ResourceExt as _};
use regex::{Captures, Regex};
use serde_json::Value;

use crate::cluster::Cluster;

/// Generous: a watch whose events do not come is noticed after a minute.
const DEADLINE: Duration = Duration::from_secs(180);

/// Kinds that say something about the moment and not about the Registry.
const PASSING: [&str; 4] = ["Event", "Lease", "Endpoints", "EndpointSlice"];

/// The kinds of a namespace.
pub(crate) struct ApiResources(Vec<ApiResource>);

impl ApiResources {
    /// Asks the API server.
    pub(crate) async fn of(cluster: &Cluster) -> Result<Self> {
        let discovery = Discovery::new(cluster.client.clone()).run().await?;
        let all = discovery.groups().flat_map(|group| group.recommended_resources());
        let kinds = all.filter(|(kind, can)| {
            can.scope == Scope::Namespaced
                && can.supports_operation(verbs::LIST)
                && !PASSING.contains(&kind.kind.as_str())
        });
        Ok(Self(kinds.map(|(kind, _)| kind).collect()))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &ApiResource> {
        self.0.iter()
    }
}

/// The objects by kind and name.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Snapshot(BTreeMap<String, Value>);

impl Snapshot {
    /// All objects of the cluster's namespace.
    pub(crate) async fn of(cluster: &Cluster, kinds: &ApiResources) -> Result<Self> {
        let lists = kinds.0.iter().map(async |kind| {
            let api: Api<DynamicObject> =
                Api::namespaced_with(cluster.client.clone(), &cluster.namespace, kind);
            Ok::<_, kube::Error>((kind, api.list(&ListParams::default()).await?))
        });
        let mut objects = Vec::new();
        for (kind, list) in try_join_all(lists).await? {
            objects.extend(list.items.into_iter().map(|object| (kind.kind.clone(), object)));
        }
        let random = random_texts(&objects);
        let mut alike: BTreeMap<String, BTreeMap<String, Value>> = BTreeMap::new();
        for (kind, object) in objects {
            let text = serde_json::to_string(&object)?;
            let mut value: Value = serde_json::from_str(&normal(&text, &cluster.namespace, &random))?;
            forget(&mut value);
            let name = normal(&object.name_any(), &cluster.namespace, &random);
            let versions = alike.entry(format!("{kind}/{name}")).or_default();
            versions.insert(value.to_string(), value);
        }
        // Several versions of an object with a hash in its name, in the order of their texts.
        let numbered = alike.into_iter().flat_map(|(key, versions)| {
            let values = versions.into_values().enumerate();
            values.map(move |(at, value)| (format!("{key} {}", at + 1), value))
        });
        let all = numbered.collect();
        Ok(Self(all))
    }

    /// The children alone, without what counts how often they were changed.
    pub(crate) fn of_children(mut self) -> Self {
        self.0.retain(|key, _| !key.starts_with("Registry/"));
        for object in self.0.values_mut() {
            for (part, counter) in [("metadata", "generation"), ("status", "observedGeneration")] {
                if let Some(members) = object.get_mut(part).and_then(Value::as_object_mut) {
                    members.remove(counter);
                }
            }
        }
        self
    }

    /// Waits until the namespace has the same objects.
    pub(crate) async fn reached(&self, cluster: &Cluster, kinds: &ApiResources) -> Result<()> {
        let what = format!("the objects of an undisturbed run in `{}`", cluster.namespace);
        wait_for(&what, DEADLINE, async || {
            let now = Self::of(cluster, kinds).await?;
            Ok(match self.difference(&now) {
                None => Seen::Done(()),
                Some(difference) => Seen::NotYet(difference),
            })
        })
        .await
    }

    /// The lines that only one of both has.
    pub(crate) fn difference(&self, other: &Self) -> Option<String> {
        if self == other {
            return None;
        }
        let mut text = String::new();
        let keys: std::collections::BTreeSet<_> = self.0.keys().chain(other.0.keys()).collect();
        for key in keys {
            let lines = |snapshot: &Self| -> Vec<String> {
                let pretty = snapshot.0.get(key).map(|value| format!("{value:#}"));
                pretty
                    .iter()
                    .flat_map(|text| text.lines())
                    .map(str::to_owned)
                    .collect()
            };
            let (expected, got) = (lines(self), lines(other));
            if expected == got {
                continue;
            }
            text.push_str(&format!("\n{key}:\n"));
            for (sign, some, rest) in [("expected", &expected, &got), ("got", &got, &expected)] {
                let only = some.iter().filter(|line| !rest.contains(line)).take(12);
                for line in only {
                    text.push_str(&format!("  {sign}: {}\n", line.trim()));
                }
                if some.is_empty() {
                    text.push_str(&format!("  {sign}: no such object\n"));
                }
            }
        }
        Some(text)
    }

    /// Kinds and names.
    pub(crate) fn names(&self) -> Vec<&str> {
        self.0.keys().map(String::as_str).collect()
    }
}

/// The values of generated secrets as they stand in Secrets, which other objects repeat. An immutable copy may hold an
/// earlier one.
fn random_texts(objects: &[(String, DynamicObject)]) -> Vec<String> {
    let secrets = objects.iter().filter(|(kind, _)| kind == "Secret");
    let values = secrets.flat_map(|(_, secret)| {
        let generated = secret.name_any().ends_with("-http");
        let data = secret.data["data"].as_object().cloned().unwrap_or_default();
        data.into_iter()
            .filter(move |(key, _)| generated || key.contains("REGISTRY_HTTP_SECRET"))
    });
    values
        .filter_map(|(_, value)| Some(value.as_str()?.to_owned()))
        .collect()
}

/// Texts that differ between any two runs, and their replacements.
static PATTERNS: LazyLock<[(Regex, &str); 5]> = LazyLock::new(|| {
    [
        (r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "<uid>"),
        (r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+Z", "<time>"),
        (r"\b10\.96\.[0-9]+\.[0-9]+", "<address>"),
        // Base64 of `-----BEGIN`, and the PEM text itself.
        (r#"LS0tLS1CRUdJTi[A-Za-z0-9+/=]*"#, "<pem>"),
        (r#"-----BEGIN [^"]*-----END [A-Z ]*-----(\\n)?"#, "<pem>"),
    ]
    .map(|(pattern, replacement)| (Regex::new(pattern).expect("the pattern is right"), replacement))
});

/// Hashes, which have letters and digits; a number or a word is none.
static HASH: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"\b[0-9a-f]{10,64}\b").expect("the pattern is right"));

fn normal(text: &str, namespace: &str, random: &[String]) -> String {
    let mut text = text.replace(namespace, "<namespace>");
    for value in random {
        text = text.replace(value, "<random>");
    }
    for (pattern, replacement) in PATTERNS.iter() {
        text = pattern.replace_all(&text, *replacement).into_owned();
    }
    let replaced = HASH.replace_all(&text, |found: &Captures<'_>| {
        let digits = found[0].bytes().any(|byte| byte.is_ascii_digit());
        if digits {
            "<hash>".to_owned()
        } else {
            found[0].to_owned()
        }
    });
    replaced.into_owned()
}

/// Removes what differs between any two objects.
fn forget(object: &mut Value) {
    let Some(meta) = object["metadata"].as_object_mut() else {
        return;
    };
    for member in ["resourceVersion", "uid", "creationTimestamp", "deletionTimestamp"] {
        meta.remove(member);
    }
    if let Some(managers) = meta.get_mut("managedFields").and_then(Value::as_array_mut) {
        for manager in managers.iter_mut() {
            if let Some(members) = manager.as_object_mut() {
                members.remove("time");
            }
        }
        // The API server orders them by time.
        managers.sort_by_key(Value::to_string);
    }
    for port in object["spec"]["ports"].as_array_mut().into_iter().flatten() {
        if let Some(port) = port.as_object_mut() {
            port.remove("nodePort");
        }
    }
    // Kubernetes chooses it, and the status repeats it.
    if let Some(status) = object.get_mut("status").and_then(Value::as_object_mut) {
        status.remove("nodePort");
    }
}
