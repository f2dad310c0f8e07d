//! Which volume, how many replicas it allows, and whether it may be another one than before.

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use operator_api::{
    AccessMode, CHANGE_STORAGE_ANNOTATION, ClaimTemplate, EmptyDir, Registry, RetentionPolicy,
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
    /// A folder of the Pod.
    EmptyDir(EmptyDir),
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
            Self::EmptyDir(_) => "emptyDir",
        }
    }

    /// The claim in use.
    pub fn claim_name(&self) -> Option<&str> {
        match self {
            Self::Claim { name, .. } => Some(name),
            Self::MadeClaim(claim) => Some(&claim.name),
            Self::EmptyDir(_) => None,
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
    let identity = |kind: &str, claim: Option<&str>| match claim {
        Some(claim) => format!("{kind}/{claim}"),
        None => kind.to_owned(),
    };
    let Some(kind) = &known.backend else { return Ok(()) };
    let from = identity(kind, known.claim_name.as_deref());
    let to = identity(backend.kind(), backend.claim_name());
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
