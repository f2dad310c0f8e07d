//! The volumes of the Pods and where they are mounted.

use k8s_openapi::api::core::v1::{
    ConfigMapProjection, ConfigMapVolumeSource, EmptyDirVolumeSource, KeyToPath,
    PersistentVolumeClaimVolumeSource, ProjectedVolumeSource, SecretProjection, SecretVolumeSource,
    ServiceAccountTokenProjection, Volume, VolumeMount, VolumeProjection,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use operator_api::{KeyRef, Medium};

use crate::pod_layout::{
    CONFIG_FOLDER, CREDENTIALS_FOLDER, DATA_FOLDER, HTPASSWD_FILE, HTPASSWD_FOLDER, TLS_FOLDER,
};
use crate::validate::ValidatedRegistry;
use crate::validate::backend::Backend;
use crate::validate::registry::{ConfigHome, FileSource, ServerTls, Workload};

/// Lifetime of a token. The kubelet renews it after four fifths of this.
const TOKEN_SECONDS: i64 = 3600;

/// The volumes.
pub(super) fn volumes(registry: &ValidatedRegistry, workload: &Workload) -> Vec<Volume> {
    let volume = |name: &str| Volume {
        name: name.to_owned(),
        ..Default::default()
    };
    let secret = |name: &str| SecretVolumeSource {
        secret_name: Some(name.to_owned()),
        ..Default::default()
    };
    let config_map = |name: &str| ConfigMapVolumeSource {
        name: name.to_owned(),
        ..Default::default()
    };
    let config = registry.names.config();
    let mut volumes = vec![match workload.config.home {
        ConfigHome::Secret => Volume {
            secret: Some(secret(&config)),
            ..volume("config")
        },
        ConfigHome::ConfigMap => Volume {
            config_map: Some(config_map(&config)),
            ..volume("config")
        },
    }];
    match &workload.storage {
        Backend::Claim { .. } | Backend::MadeClaim(_) => volumes.push(Volume {
            persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
                claim_name: workload.storage.claim_name().unwrap_or_default().to_owned(),
                read_only: None,
            }),
            ..volume("data")
        }),
        Backend::EmptyDir(folder) => volumes.push(Volume {
            empty_dir: Some(EmptyDirVolumeSource {
                size_limit: folder.size_limit.clone().map(Quantity),
                medium: folder.medium.map(|medium| match medium {
                    Medium::Memory => "Memory".to_owned(),
                }),
            }),
            ..volume("data")
        }),
        Backend::ObjectStore(_) => {}
    }
    volumes.push(Volume {
        empty_dir: Some(EmptyDirVolumeSource::default()),
        ..volume("tmp")
    });
    if let Some(certificate) = workload.tls.secret(&registry.names) {
        // Only the keys that the server reads: other keys of a provided Secret stay out of the Pod.
        let items = ["tls.crt", "tls.key"].map(|key| KeyToPath {
            key: key.to_owned(),
            path: key.to_owned(),
            mode: None,
        });
        let source = SecretVolumeSource {
            items: Some(items.into()),
            ..secret(&certificate)
        };
        volumes.push(Volume {
            secret: Some(source),
            ..volume("tls")
        });
    }
    if let Some(reference) = &workload.htpasswd {
        let item = KeyToPath {
            key: reference.key.clone(),
            path: HTPASSWD_FILE.to_owned(),
            mode: None,
        };
        let source = SecretVolumeSource {
            items: Some(vec![item]),
            ..secret(&reference.name)
        };
        volumes.push(Volume {
            secret: Some(source),
            ..volume("htpasswd")
        });
    }
    if !workload.supplies.files.is_empty() {
        let sources = workload.supplies.files.iter();
        volumes.push(Volume {
            projected: Some(ProjectedVolumeSource {
                sources: Some(sources.map(|(file, source)| projection(file, source)).collect()),
                default_mode: None,
            }),
            ..volume("credentials")
        });
    }
    for wish in &workload.pod.volumes {
        volumes.push(Volume {
            secret: wish.secret.as_ref().map(|reference| secret(&reference.name)),
            config_map: wish
                .config_map
                .as_ref()
                .map(|reference| config_map(&reference.name)),
            ..volume(&wish.name)
        });
    }
    volumes
}

/// The mounts of the volumes.
pub(super) fn mounts(workload: &Workload) -> Vec<VolumeMount> {
    let mount = |name: &str, path: &str| VolumeMount {
        name: name.to_owned(),
        mount_path: path.to_owned(),
        ..Default::default()
    };
    let read_only = |name: &str, path: &str| VolumeMount {
        read_only: Some(true),
        ..mount(name, path)
    };
    let mut mounts = vec![read_only("config", CONFIG_FOLDER)];
    if workload.storage.location().is_none() {
        mounts.push(mount("data", DATA_FOLDER));
    }
    mounts.push(mount("tmp", "/tmp"));
    if workload.tls != ServerTls::Disabled {
        // Without subPath, because a file mounted by subPath never changes.
        mounts.push(read_only("tls", TLS_FOLDER));
    }
    if workload.htpasswd.is_some() {
        mounts.push(read_only("htpasswd", HTPASSWD_FOLDER));
    }
    if !workload.supplies.files.is_empty() {
        mounts.push(read_only("credentials", CREDENTIALS_FOLDER));
    }
    mounts.extend(
        workload
            .pod
            .volumes
            .iter()
            .map(|volume| read_only(&volume.name, &volume.mount_path)),
    );
    mounts
}

/// One file in the folder of credentials.
fn projection(file: &str, source: &FileSource) -> VolumeProjection {
    let items = |reference: &KeyRef| {
        Some(vec![KeyToPath {
            key: reference.key.clone(),
            path: file.to_owned(),
            mode: None,
        }])
    };
    match source {
        FileSource::Secret(reference) => VolumeProjection {
            secret: Some(SecretProjection {
                name: reference.name.clone(),
                items: items(reference),
                optional: None,
            }),
            ..Default::default()
        },
        FileSource::ConfigMap(reference) => VolumeProjection {
            config_map: Some(ConfigMapProjection {
                name: reference.name.clone(),
                items: items(reference),
                optional: None,
            }),
            ..Default::default()
        },
        FileSource::Token { audience } => VolumeProjection {
            service_account_token: Some(ServiceAccountTokenProjection {
                audience: Some(audience.clone()),
                expiration_seconds: Some(TOKEN_SECONDS),
                path: file.to_owned(),
            }),
            ..Default::default()
        },
    }
}
