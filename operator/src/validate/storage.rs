//! The volume or object store of a Registry, how many replicas it allows, and whether it may differ from the last one.

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use operator_api::{
    ACCEPT_EMPTY_STORAGE_ANNOTATION, AccessMode, CHANGE_STORAGE_ANNOTATION, ClaimTemplate, Registry,
    RegistrySpec, Storage,
};

use super::backend::{Backend, MadeClaim, ObjectStore};
use super::error::{Collector, Error};
use super::lookup;
use super::registry::Replicas;
use crate::children::Found;
use crate::names::Names;
use crate::quantity::{millis, requested_storage};
use crate::read::Facts;

/// The storage; `None` when it is missing or must not be used.
pub(super) fn backend(
    registry: &Registry,
    names: &Names,
    facts: &Facts,
    found: &mut Collector,
) -> Option<Backend> {
    let storage = &registry.spec.storage;
    let claim = storage.persistent_volume_claim.as_ref();
    let backend = if let Some(name) = claim.and_then(|claim| claim.claim_name.as_ref()) {
        Backend::Claim {
            name: name.clone(),
            shared: false,
        }
    } else if let Some(template) = claim.and_then(|claim| claim.template.as_ref()) {
        let mut notes = Vec::new();
        let there = facts.existing.claim.ours();
        // Of a claim that could not be read nothing is known.
        if !matches!(facts.existing.claim, Found::Foreign | Found::Unreadable) {
            found.collect(content_is_there(registry, &names.claim(), there))?;
        }
        let claim = found.collect(made_claim(names.claim(), template, facts, &mut notes))?;
        found.notes.extend(notes);
        Backend::MadeClaim(claim)
    } else if let Some(store) = object_store(storage) {
        Backend::ObjectStore(store)
    } else {
        Backend::EmptyDir(storage.empty_dir.clone().unwrap_or_default())
    };
    found.collect(unchanged(registry, &backend))?;
    let Backend::Claim { name, .. } = backend else {
        return Some(backend);
    };
    let field = "spec.storage.persistentVolumeClaim.claimName";
    found.collect(lookup::readable("PersistentVolumeClaim", &name, field, facts))?;
    found.collect(content_is_there(registry, &name, facts.named_claim.as_ref()))?;
    found.collect(named_claim(name, facts))
}

/// Refuses to go on with an empty claim in the place of one that had content, unless the annotation names that one.
fn content_is_there(
    registry: &Registry,
    name: &str,
    there: Option<&PersistentVolumeClaim>,
) -> Result<(), Error> {
    let known = registry
        .status
        .as_ref()
        .and_then(|status| status.storage.as_ref());
    let Some(storage) = known.filter(|storage| storage.claim_name.as_deref() == Some(name)) else {
        return Ok(());
    };
    let Some(lost) = &storage.claim_uid else {
        return Ok(());
    };
    let uid = there.and_then(|claim| claim.metadata.uid.as_ref());
    let annotations = registry.metadata.annotations.as_ref();
    let accepted = annotations.and_then(|all| all.get(ACCEPT_EMPTY_STORAGE_ANNOTATION));
    if uid == Some(lost) || accepted == Some(lost) {
        return Ok(());
    }
    Err(Error::StorageLost {
        name: name.to_owned(),
        uid: lost.clone(),
        replaced: uid.is_some(),
    })
}

/// A claim that the Registry names. It must exist and must not be being deleted.
fn named_claim(name: String, facts: &Facts) -> Result<Backend, Error> {
    let field = "spec.storage.persistentVolumeClaim.claimName";
    lookup::check_name("PersistentVolumeClaim", &name, field)?;
    let Some(claim) = &facts.named_claim else {
        return Err(Error::ClaimMissing { name });
    };
    not_terminating(claim, &name)?;
    let shared = access_modes(claim)
        .iter()
        .any(|mode| mode == AccessMode::ReadWriteMany.as_str());
    Ok(Backend::Claim { name, shared })
}

/// The object store. Two spellings of one folder give one location, because locations are compared.
fn object_store(storage: &Storage) -> Option<ObjectStore> {
    let store = |kind, endpoint: Option<&String>, parts: &[Option<&String>]| {
        let host = endpoint.map(|url| host_and_port(url).to_ascii_lowercase());
        let location = host
            .iter()
            .chain(parts.iter().copied().flatten())
            .map(String::as_str)
            .collect::<Vec<_>>()
            .join("/");
        ObjectStore { kind, location }
    };
    if let Some(s3) = &storage.s3 {
        let parts = [Some(&s3.bucket), s3.prefix.as_ref()];
        return Some(store("s3", s3.endpoint.as_ref(), &parts));
    }
    if let Some(azure) = &storage.azure {
        let parts = [
            Some(&azure.account_name),
            Some(&azure.container),
            azure.prefix.as_ref(),
        ];
        return Some(store("azure", azure.endpoint.as_ref(), &parts));
    }
    let gcs = storage.gcs.as_ref()?;
    Some(store("gcs", None, &[Some(&gcs.bucket), gcs.prefix.as_ref()]))
}

/// Host and port of a URL, without the default port of its scheme.
fn host_and_port(url: &str) -> &str {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let host = rest.split('/').next().unwrap_or_default();
    let usual = if scheme == "https" { ":443" } else { ":80" };
    host.strip_suffix(usual).unwrap_or(host)
}

/// The number of replicas that the storage allows. `0` stops the registry also with an autoscaler.
pub(super) fn replicas(
    spec: &RegistrySpec,
    storage: &Backend,
    facts: &Facts,
    found: &mut Collector,
) -> Replicas {
    let asked = match &spec.autoscaling {
        Some(autoscaling) if spec.replicas > 0 && storage.shared() => {
            let deployment = facts.existing.deployment.ours();
            let current = deployment.and_then(|deployment| deployment.spec.as_ref()?.replicas);
            return Replicas::Scaled {
                started: current.is_some_and(|current| current > 0),
                autoscaling: autoscaling.clone(),
            };
        }
        Some(autoscaling) if spec.replicas > 0 => autoscaling.max_replicas,
        _ => spec.replicas,
    };
    if asked <= 1 || storage.shared() {
        return Replicas::Fixed(asked);
    }
    let claim = storage.claim_name().unwrap_or_default();
    found.note(format!(
        "One replica runs instead of {asked}, because PersistentVolumeClaim `{claim}` is not ReadWriteMany"
    ));
    Replicas::Fixed(1)
}

/// Refuses other storage than the status has, unless the annotation names it.
fn unchanged(registry: &Registry, backend: &Backend) -> Result<(), Error> {
    let Some(known) = registry
        .status
        .as_ref()
        .and_then(|status| status.storage.as_ref())
    else {
        return Ok(());
    };
    let identity = |kind: &str, location: Option<&str>| match location {
        Some(location) => format!("{kind}/{location}"),
        None => kind.to_owned(),
    };
    let Some(kind) = &known.backend else { return Ok(()) };
    let from = identity(kind, known.claim_name.as_deref().or(known.location.as_deref()));
    let to = identity(backend.kind(), backend.claim_name().or(backend.location()));
    let confirmed = registry
        .metadata
        .annotations
        .as_ref()
        .and_then(|all| all.get(CHANGE_STORAGE_ANNOTATION));
    if from == to || confirmed == Some(&to) {
        return Ok(());
    }
    Err(Error::StorageChanged { from, to })
}

fn made_claim(
    name: String,
    template: &ClaimTemplate,
    facts: &Facts,
    notes: &mut Vec<String>,
) -> Result<MadeClaim, Error> {
    let mut claim = MadeClaim {
        name,
        size: template.size.clone(),
        storage_class_name: template.storage_class_name.clone(),
        access_modes: template
            .access_modes
            .iter()
            .map(|mode| mode.as_str().to_owned())
            .collect(),
        retention_policy: template.retention_policy,
    };
    let Some(found) = facts.existing.claim.ours() else {
        return Ok(claim);
    };
    not_terminating(found, &claim.name)?;
    let name = &claim.name;
    let class = found
        .spec
        .as_ref()
        .and_then(|spec| spec.storage_class_name.clone());
    // Class and modes are immutable, and the existing claim has the content. Without a class in the spec none is
    // written.
    if claim.storage_class_name.is_some() && claim.storage_class_name != class {
        notes.push(format!(
            "PersistentVolumeClaim `{name}` was there before and keeps its storage class `{}`",
            class.as_deref().unwrap_or_default()
        ));
        claim.storage_class_name = class;
    }
    claim.access_modes = access_modes(found);
    if let Some(has) = requested_storage(found) {
        let (asked, held) = (millis(&claim.size), millis(has));
        if asked > held && facts.claim_can_grow == Some(false) {
            notes.push(format!(
                "PersistentVolumeClaim `{name}` stays at {has} instead of {}, because its storage class does not allow \
                 volumes to grow",
                claim.size
            ));
            claim.size = has.to_owned();
        } else if asked < held {
            claim.size = has.to_owned();
        }
    }
    Ok(claim)
}

fn not_terminating(claim: &PersistentVolumeClaim, name: &str) -> Result<(), Error> {
    match claim.metadata.deletion_timestamp {
        Some(_) => Err(Error::ClaimTerminating {
            name: name.to_owned(),
        }),
        None => Ok(()),
    }
}

fn access_modes(claim: &PersistentVolumeClaim) -> Vec<String> {
    claim
        .spec
        .as_ref()
        .and_then(|spec| spec.access_modes.clone())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{Fixture, least};

    #[track_caller]
    fn check_location(storage: &str, kind: &str, location: &str) {
        let claim = "{persistentVolumeClaim: {template: {size: 5Gi}}}";
        let fixture = Fixture::parse(&least("").replace(claim, storage));
        let found = object_store(&fixture.registry.spec.storage).unwrap();
        assert_eq!(
            (found.kind, found.location.as_str()),
            (kind, location),
            "{storage}"
        );
    }

    #[test]
    fn a_store_is_known_by_its_place_however_that_is_written() {
        let s3 =
            |more: &str| format!("{{s3: {{bucket: cargo, credentials: {{workloadIdentity: {{}}}}{more}}}}}");
        check_location(&s3(", region: a"), "s3", "cargo");
        check_location(&s3(", region: b, prefix: deck/two"), "s3", "cargo/deck/two");
        check_location(
            &s3(", endpoint: 'https://Hold.example:9000/'"),
            "s3",
            "hold.example:9000/cargo",
        );
        for same in [
            "https://hold.example",
            "https://hold.example:443/",
            "http://hold.example:80",
        ] {
            check_location(&s3(&format!(", endpoint: '{same}'")), "s3", "hold.example/cargo");
        }
        let azure = "accountName: hold, container: cargo, credentials: {workloadIdentity: {}}";
        check_location(&format!("{{azure: {{{azure}}}}}"), "azure", "hold/cargo");
        let emulator = format!("{{azure: {{{azure}, endpoint: 'http://a:10000/hold', prefix: deck}}}}");
        check_location(&emulator, "azure", "a:10000/hold/cargo/deck");
        let gcs = "{gcs: {bucket: cargo, prefix: deck, credentials: {workloadIdentity: {}}}}";
        check_location(gcs, "gcs", "cargo/deck");
    }

    #[test]
    fn another_bucket_or_folder_is_only_taken_when_the_annotation_names_it() {
        let backend = |location: &str| {
            Backend::ObjectStore(ObjectStore {
                kind: "s3",
                location: location.to_owned(),
            })
        };
        let mut registry = Fixture::parse(&least("")).registry;
        let status = serde_json::json!({ "storage": { "backend": "s3", "location": "cargo/deck" } });
        registry.status = serde_json::from_value(status).unwrap();
        assert_eq!(unchanged(&registry, &backend("cargo/deck")), Ok(()));
        let (from, to) = ("s3/cargo/deck".to_owned(), "s3/cargo".to_owned());
        assert_eq!(
            unchanged(&registry, &backend("cargo")),
            Err(Error::StorageChanged { from, to })
        );
        let annotation = (CHANGE_STORAGE_ANNOTATION.to_owned(), "s3/cargo".to_owned());
        registry.metadata.annotations = Some([annotation].into());
        assert_eq!(unchanged(&registry, &backend("cargo")), Ok(()));
        assert!(unchanged(&registry, &backend("freight")).is_err());
    }
}
