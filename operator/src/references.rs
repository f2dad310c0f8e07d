//! The Secrets and ConfigMaps that a Registry names: `read` fetches them, and the watches look them up.

use std::collections::BTreeSet;

use kube::Resource;
use operator_api::{AzureCredentials, CaBundle, Cache, RegistrySpec, is_object_name};

/// Names of Secrets and ConfigMaps in the Registry's namespace.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct References {
    pub(crate) secrets: BTreeSet<String>,
    pub(crate) config_maps: BTreeSet<String>,
}

/// Names of objects that belong to people: the operator never deletes one of them, whoever made it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Named {
    secrets: BTreeSet<String>,
    config_maps: BTreeSet<String>,
    claims: BTreeSet<String>,
}

impl Named {
    /// Every object that `spec` names.
    pub(crate) fn of(spec: &RegistrySpec) -> Self {
        let References {
            mut secrets,
            config_maps,
        } = references(spec);
        let pull_secrets = spec.image.iter().flat_map(|image| &image.pull_secrets);
        secrets.extend(pull_secrets.map(|secret| secret.name.clone()));
        let claim = spec.storage.persistent_volume_claim.as_ref();
        Self {
            secrets,
            config_maps,
            claims: claim
                .and_then(|claim| claim.claim_name.clone())
                .into_iter()
                .collect(),
        }
    }

    /// Adds a Secret.
    pub(crate) fn add_secret(&mut self, name: String) {
        self.secrets.insert(name);
    }

    /// Whether an object of kind `K` with this name is among them.
    pub(crate) fn holds<K: Resource<DynamicType = ()>>(&self, name: &str) -> bool {
        match K::kind(&()).as_ref() {
            "Secret" => self.secrets.contains(name),
            "ConfigMap" => self.config_maps.contains(name),
            "PersistentVolumeClaim" => self.claims.contains(name),
            _ => false,
        }
    }
}

/// All names in `spec` that an object can have. No request is made for others: such a name would be another request.
/// `validate` tells them.
pub(crate) fn references(spec: &RegistrySpec) -> References {
    let References {
        mut secrets,
        mut config_maps,
    } = all(spec);
    secrets.retain(|name| is_object_name(name));
    config_maps.retain(|name| is_object_name(name));
    References { secrets, config_maps }
}

fn all(spec: &RegistrySpec) -> References {
    let mut found = References::default();
    let mut secret = |name: &str| {
        found.secrets.insert(name.to_owned());
    };
    if let Some(htpasswd) = &spec.auth.htpasswd {
        secret(&htpasswd.secret_key_ref.name);
    }
    if let Some(tls) = spec.tls.as_ref().and_then(|tls| tls.secret.as_ref()) {
        secret(&tls.name);
    }
    let self_signed = spec.tls.as_ref().and_then(|tls| tls.self_signed.as_ref());
    if let Some(ca) = self_signed.and_then(|wishes| wishes.ca_secret.as_ref()) {
        secret(&ca.name);
    }
    if let Some(login) = spec.verify.as_ref().and_then(|verify| verify.secret.as_ref()) {
        secret(&login.name);
    }
    if let Some(http) = &spec.http {
        for reference in http.secret_key_ref.iter().chain(&http.previous_secret_key_refs) {
            secret(&reference.name);
        }
    }
    if let Some(name) = spec
        .ingress
        .as_ref()
        .and_then(|ingress| ingress.tls.as_ref()?.secret_name.as_ref())
    {
        secret(name);
    }
    for from in &spec.config_from {
        secret(&from.secret_key_ref.name);
    }
    let storage = &spec.storage;
    let mut bundles: Vec<&CaBundle> = Vec::new();
    if let Some(s3) = &storage.s3 {
        s3.credentials.secret.iter().for_each(|keys| secret(&keys.name));
        bundles.extend(&s3.ca_bundle);
    }
    if let Some(azure) = &storage.azure {
        let AzureCredentials {
            secret: shared,
            client_secret,
            workload_identity: _,
        } = &azure.credentials;
        shared.iter().for_each(|shared| secret(&shared.name));
        client_secret
            .iter()
            .for_each(|application| secret(&application.secret_key_ref.name));
        bundles.extend(&azure.ca_bundle);
    }
    if let Some(gcs) = &storage.gcs {
        gcs.credentials.secret.iter().for_each(|file| secret(&file.name));
    }
    if let Some(Cache { redis }) = &spec.cache {
        redis
            .credentials
            .iter()
            .for_each(|login| secret(&login.secret.name));
        if let Some(tls) = &redis.tls {
            tls.client_certificate
                .iter()
                .for_each(|certificate| secret(&certificate.name));
            bundles.extend(&tls.ca_bundle);
        }
    }
    for bundle in bundles {
        bundle.secret_key_ref.iter().for_each(|reference| {
            found.secrets.insert(reference.name.clone());
        });
        bundle.config_map_key_ref.iter().for_each(|reference| {
            found.config_maps.insert(reference.name.clone());
        });
    }
    let Some(pod) = &spec.pod else { return found };
    for source in pod.env.iter().filter_map(|variable| variable.value_from.as_ref()) {
        if let Some(reference) = &source.secret_key_ref {
            found.secrets.insert(reference.name.clone());
        }
        if let Some(reference) = &source.config_map_key_ref {
            found.config_maps.insert(reference.name.clone());
        }
    }
    for volume in &pod.volumes {
        if let Some(reference) = &volume.secret {
            found.secrets.insert(reference.name.clone());
        }
        if let Some(reference) = &volume.config_map {
            found.config_maps.insert(reference.name.clone());
        }
    }
    found
}
