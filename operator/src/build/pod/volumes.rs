//! The volumes of the Pods and where they are mounted.

use k8s_openapi::api::core::v1::{
    ConfigMapVolumeSource, EmptyDirVolumeSource, KeyToPath, PersistentVolumeClaimVolumeSource,
    ProjectedVolumeSource, SecretProjection, SecretVolumeSource, ServiceAccountTokenProjection, Volume,
    VolumeMount, VolumeProjection,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use operator_api::Medium;

use crate::build::sources::Sources;
use crate::input_keys::{self, USERS};
use crate::pod_layout::{
    CONFIG_FILE, CONFIG_FOLDER, CREDENTIALS_FOLDER, DATA_FOLDER, HTPASSWD_FILE, HTPASSWD_FOLDER,
    HTPASSWD_VOLUME, TLS_FOLDER, TLS_VOLUME,
};
use crate::secret_data::{TLS_CERTIFICATE, TLS_KEY};
use crate::validate::backend::Backend;
use crate::validate::registry::{FileSource, VolumeSource, Workload};

/// Lifetime of a token. The kubelet renews it after four fifths of this.
const TOKEN_SECONDS: i64 = 3600;

/// The volumes.
pub(super) fn volumes(workload: &Workload, sources: &Sources) -> Vec<Volume> {
    let volume = |name: &str| Volume {
        name: name.to_owned(),
        ..Default::default()
    };
    let secret = |name: &str, items: Option<Vec<KeyToPath>>| {
        Some(SecretVolumeSource {
            secret_name: Some(name.to_owned()),
            items,
            ..Default::default()
        })
    };
    let config_map = |name: &str| {
        Some(ConfigMapVolumeSource {
            name: name.to_owned(),
            ..Default::default()
        })
    };
    let mut volumes = vec![match &sources.config {
        Some(config) => Volume {
            config_map: config_map(config),
            ..volume("config")
        },
        None => Volume {
            secret: secret(&sources.inputs, Some(vec![item(CONFIG_FILE, CONFIG_FILE)])),
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
    if workload.has_certificate() {
        let items = [TLS_CERTIFICATE, TLS_KEY].map(|key| item(key, key));
        volumes.push(Volume {
            secret: secret(&sources.live, Some(items.into())),
            ..volume(TLS_VOLUME)
        });
    }
    if workload.htpasswd {
        volumes.push(Volume {
            secret: secret(&sources.live, Some(vec![item(USERS, HTPASSWD_FILE)])),
            ..volume(HTPASSWD_VOLUME)
        });
    }
    if !workload.supplies.files.is_empty() {
        let files = workload.supplies.files.iter();
        volumes.push(Volume {
            projected: Some(ProjectedVolumeSource {
                sources: Some(
                    files
                        .map(|(file, source)| projection(file, source, &sources.inputs))
                        .collect(),
                ),
                default_mode: None,
            }),
            ..volume("credentials")
        });
    }
    for wish in &workload.volumes {
        volumes.push(match &wish.source {
            VolumeSource::Inputs(files) => Volume {
                secret: secret(
                    &sources.inputs,
                    Some(files.iter().map(|(key, file)| item(key, file)).collect()),
                ),
                ..volume(&wish.name)
            },
            VolumeSource::Secret(name) => Volume {
                secret: secret(name, None),
                ..volume(&wish.name)
            },
            VolumeSource::ConfigMap(name) => Volume {
                config_map: config_map(name),
                ..volume(&wish.name)
            },
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
    if workload.has_certificate() {
        // Without subPath, because a file mounted by subPath never changes.
        mounts.push(read_only(TLS_VOLUME, TLS_FOLDER));
    }
    if workload.htpasswd {
        mounts.push(read_only(HTPASSWD_VOLUME, HTPASSWD_FOLDER));
    }
    if !workload.supplies.files.is_empty() {
        mounts.push(read_only("credentials", CREDENTIALS_FOLDER));
    }
    mounts.extend(
        workload
            .volumes
            .iter()
            .map(|volume| read_only(&volume.name, &volume.mount_path)),
    );
    mounts
}

/// One file in the folder of credentials.
fn projection(file: &str, source: &FileSource, inputs: &str) -> VolumeProjection {
    match source {
        FileSource::Input => VolumeProjection {
            secret: Some(SecretProjection {
                name: inputs.to_owned(),
                items: Some(vec![item(&input_keys::file(file), file)]),
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

/// A key of a Secret as a file.
fn item(key: &str, file: &str) -> KeyToPath {
    KeyToPath {
        key: key.to_owned(),
        path: file.to_owned(),
        mode: None,
    }
}
