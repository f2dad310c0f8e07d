//! Which volume or object store, how many replicas it allows, and whether it may be another one than before.

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use operator_api::{
    AccessMode, CHANGE_STORAGE_ANNOTATION, ClaimTemplate, EmptyDir, Registry, RetentionPolicy, Storage,
};

use super::Error;
use crate::names::Names;
use crate::quantity::millis;
use crate::read::Facts;

/// Where the content is.
#[derive(Clone, Debug, PartialEq)]
pub enum Backend {
    /// A claim of somebody else's.
    Claim {
        /// Its name.
        name: String,
        /// Whether more than one Pod can use it.
        shared: bool,
    },
    /// A claim made from the template.
    MadeClaim(MadeClaim),
    /// A bucket or a container.
    ObjectStore(ObjectStore),
    /// A folder of the Pod.
    EmptyDir(EmptyDir),
}

/// A place in an object store. How it is reached is the configuration's and the Pods' matter.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ObjectStore {
    /// Its member of `spec.storage`.
    pub kind: &'static str,
    /// Host of a named endpoint, account, bucket or container, and folder, as far as there are such.
    pub location: String,
}

/// A claim to make, or that was made and is kept as it is but for its size.
#[derive(Clone, Debug, PartialEq)]
pub struct MadeClaim {
    /// Its name.
    pub name: String,
    /// Size to ask for, never less than what it has.
    pub size: String,
    /// Its storage class.
    pub storage_class_name: Option<String>,
    /// How Pods may share it.
    pub access_modes: Vec<String>,
    /// Whether it goes with the Registry.
    pub retention_policy: RetentionPolicy,
}

impl Backend {
    /// Name in the status.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Claim { .. } | Self::MadeClaim(_) => "persistentVolumeClaim",
            Self::ObjectStore(store) => store.kind,
            Self::EmptyDir(_) => "emptyDir",
        }
    }

    /// The claim in use.
    pub fn claim_name(&self) -> Option<&str> {
        match self {
            Self::Claim { name, .. } => Some(name),
            Self::MadeClaim(claim) => Some(&claim.name),
            Self::ObjectStore(_) | Self::EmptyDir(_) => None,
        }
    }

    /// Where in an object store the content is.
    pub fn location(&self) -> Option<&str> {
        match self {
            Self::ObjectStore(store) => Some(&store.location),
            Self::Claim { .. } | Self::MadeClaim(_) | Self::EmptyDir(_) => None,
        }
    }

    /// Whether more than one Pod can use it.
    pub fn shared(&self) -> bool {
        match self {
            Self::Claim { shared, .. } => *shared,
            Self::MadeClaim(claim) => claim
                .access_modes
                .iter()
                .any(|m| m == AccessMode::ReadWriteMany.as_str()),
            Self::ObjectStore(_) => true,
            Self::EmptyDir(_) => false,
        }
    }
}

pub(super) fn backend(
    registry: &Registry,
    names: &Names,
    facts: &Facts,
    notes: &mut Vec<String>,
) -> Result<Backend, Error> {
    let storage = &registry.spec.storage;
    let claim = storage.persistent_volume_claim.as_ref();
    let backend = if let Some(name) = claim.and_then(|claim| claim.claim_name.as_ref()) {
        Backend::Claim {
            name: name.clone(),
            shared: false,
        }
    } else if let Some(template) = claim.and_then(|claim| claim.template.as_ref()) {
        Backend::MadeClaim(made_claim(names.claim(), template, facts, notes)?)
    } else if let Some(store) = object_store(storage) {
        Backend::ObjectStore(store)
    } else {
        Backend::EmptyDir(storage.empty_dir.clone().unwrap_or_default())
    };
    unchanged(registry, &backend)?;
    let Backend::Claim { name, .. } = backend else {
        return Ok(backend);
    };
    let Some(found) = &facts.named_claim else {
        return Err(Error::ClaimMissing { name });
    };
    not_terminating(found, &name)?;
    let shared = access_modes(found)
        .iter()
        .any(|mode| mode == AccessMode::ReadWriteMany.as_str());
    Ok(Backend::Claim { name, shared })
}

/// The object store, when it is one. Two spellings of one place have one location: it is compared.
fn object_store(storage: &Storage) -> Option<ObjectStore> {
    let place = |kind, endpoint: Option<&String>, parts: &[Option<&String>]| {
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
        return Some(place("s3", s3.endpoint.as_ref(), &parts));
    }
    if let Some(azure) = &storage.azure {
        let parts = [
            Some(&azure.account_name),
            Some(&azure.container),
            azure.prefix.as_ref(),
        ];
        return Some(place("azure", azure.endpoint.as_ref(), &parts));
    }
    let gcs = storage.gcs.as_ref()?;
    Some(place("gcs", None, &[Some(&gcs.bucket), gcs.prefix.as_ref()]))
}

/// Host and port of a URL, without the port its scheme means anyway.
fn host_and_port(url: &str) -> &str {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let host = rest.split('/').next().unwrap_or_default();
    let usual = if scheme == "https" { ":443" } else { ":80" };
    host.strip_suffix(usual).unwrap_or(host)
}

/// How many replicas the storage lets run.
pub(super) fn replicas(asked: i32, storage: &Backend, notes: &mut Vec<String>) -> i32 {
    if asked <= 1 || storage.shared() {
        return asked;
    }
    let claim = storage.claim_name().unwrap_or_default();
    notes.push(format!(
        "One replica runs instead of {asked}, because PersistentVolumeClaim `{claim}` is not ReadWriteMany"
    ));
    1
}

/// Refuses other storage than that of the last pass, unless the annotation names it.
fn unchanged(registry: &Registry, backend: &Backend) -> Result<(), Error> {
    let Some(known) = registry
        .status
        .as_ref()
        .and_then(|status| status.storage.as_ref())
    else {
        return Ok(());
    };
    let identity = |kind: &str, place: Option<&str>| match place {
        Some(place) => format!("{kind}/{place}"),
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
    let Some(found) = &facts.found.claim else {
        return Ok(claim);
    };
    not_terminating(found, &claim.name)?;
    let name = &claim.name;
    let class = found
        .spec
        .as_ref()
        .and_then(|spec| spec.storage_class_name.clone());
    // Class and modes are immutable, and what is there has the content. A class that was not asked for stays unasked.
    if claim.storage_class_name.is_some() && claim.storage_class_name != class {
        notes.push(format!(
            "PersistentVolumeClaim `{name}` was there before and keeps its storage class `{}`",
            class.as_deref().unwrap_or_default()
        ));
        claim.storage_class_name = class;
    }
    claim.access_modes = access_modes(found);
    if let Some(has) = requested(found) {
        let (asked, held) = (millis(&claim.size), millis(&has));
        if asked > held && facts.claim_can_grow == Some(false) {
            notes.push(format!(
                "PersistentVolumeClaim `{name}` stays at {has} instead of {}, because its storage class does not allow \
                 volumes to grow",
                claim.size
            ));
            claim.size = has;
        } else if asked < held {
            claim.size = has;
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

fn requested(claim: &PersistentVolumeClaim) -> Option<String> {
    Some(
        claim
            .spec
            .as_ref()?
            .resources
            .as_ref()?
            .requests
            .as_ref()?
            .get("storage")?
            .0
            .clone(),
    )
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
