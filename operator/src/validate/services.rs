//! The services behind the server: an object store with the content, Redis with descriptors.
//!
//! Each becomes a part of `config.yml` and what the Pods are given so that they may use it: variables and files from
//! Secrets, and tokens. Guarantees: what is named is there and holds what it must; nothing of a Secret is in the part
//! of `config.yml`, which may live in a ConfigMap. Must not: ask a service anything.
//! Start at [`Services::check`]; each service is in a file of its own.

mod azure;
mod gcs;
mod redis;
mod s3;

use std::collections::BTreeMap;

use operator_api::{CaBundle, KeyRef, Redirect, RegistrySpec, SecretKeyRef, Storage};
use serde_json::{Value, json};

use super::{Error, secrets};
use crate::issue::Certificate;
use crate::read::Facts;

/// Folder in the Pod with the files of [`Supplies`].
pub(crate) const CREDENTIALS_FOLDER: &str = "/etc/berth/credentials";
/// File in it with a token of the Pods' ServiceAccount.
const TOKEN_FILE: &str = "token";

/// What the services become.
#[derive(Default)]
pub(super) struct Services {
    /// Sections of `config.yml`.
    pub(super) config: Value,
    /// What the Pods are given.
    pub(super) supplies: Supplies,
    /// Contents the Pods do not follow by themselves, as [`super::Inputs`].
    pub(super) inputs: BTreeMap<String, Vec<u8>>,
}

/// What the Pods are given beside `config.yml`. Names of Secrets, never their contents.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Supplies {
    /// Variables whose values are in Secrets.
    pub secrets: Vec<(&'static str, SecretKeyRef)>,
    /// Variables in the open.
    pub variables: Vec<(&'static str, String)>,
    /// Files, by their name.
    pub files: Vec<(&'static str, Source)>,
    /// Labels that a cloud's webhook looks for.
    pub labels: Vec<(&'static str, &'static str)>,
}

/// Where a file comes from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Source {
    /// A key of a Secret.
    Secret(KeyRef),
    /// A key of a ConfigMap.
    ConfigMap(KeyRef),
    /// A token of the Pods' ServiceAccount, for somebody; the kubelet renews it.
    Token {
        /// Whom it is for.
        audience: String,
    },
}

impl Services {
    pub(super) fn check(spec: &RegistrySpec, facts: &Facts) -> Result<Self, Error> {
        let mut services = Gather {
            facts,
            found: Self::default(),
        };
        let storage = &spec.storage;
        let store = if let Some(store) = &storage.s3 {
            Some(("s3", s3::section(store, &mut services)?))
        } else if let Some(store) = &storage.azure {
            Some(("azure", azure::section(store, &mut services)?))
        } else if let Some(store) = &storage.gcs {
            Some(("gcs", gcs::section(store, &mut services)?))
        } else {
            None
        };
        let redis = spec.cache.as_ref().map(|cache| &cache.redis);
        let mut config = json!({});
        if let Some((driver, section)) = store {
            config["storage"][driver] = section;
            config["storage"]["redirect"]["disable"] = json!(storage.redirect == Redirect::Disabled);
            // Each descriptor would otherwise be a request to the store, for every pull again.
            config["storage"]["cache"]["blobdescriptor"] = json!("inmemory");
        }
        if let Some(redis) = redis {
            config["redis"] = redis::section(redis, &mut services)?;
            config["storage"]["cache"]["blobdescriptor"] = json!("redis");
        }
        let Gather { mut found, .. } = services;
        found.config = config;
        if uses_workload_identity(storage) {
            // A cloud's webhook looks at the ServiceAccount when a Pod is made, and never again.
            let annotations = spec.pod.as_ref().map(|pod| &pod.service_account_annotations);
            let text = json!(annotations).to_string();
            found
                .inputs
                .insert("service/serviceaccount".to_owned(), text.into_bytes());
        }
        Ok(found)
    }
}

fn uses_workload_identity(storage: &Storage) -> bool {
    let s3 = storage
        .s3
        .iter()
        .any(|s| s.credentials.workload_identity.is_some());
    let azure = storage
        .azure
        .iter()
        .any(|s| s.credentials.workload_identity.is_some());
    let gcs = storage
        .gcs
        .iter()
        .any(|s| s.credentials.workload_identity.is_some());
    s3 || azure || gcs
}

/// Takes from Secrets and ConfigMaps, and keeps what was taken.
struct Gather<'a> {
    facts: &'a Facts,
    found: Services,
}

impl Gather<'_> {
    /// A variable with one line of a Secret.
    fn variable(
        &mut self,
        variable: &'static str,
        name: &str,
        key: &str,
        field: &'static str,
    ) -> Result<(), Error> {
        self.secret(name, key, field, one_line)?;
        let reference = SecretKeyRef {
            name: name.to_owned(),
            key: key.to_owned(),
        };
        self.found.supplies.secrets.push((variable, reference));
        Ok(())
    }

    /// A variable in the open.
    fn open_variable(&mut self, variable: &'static str, value: impl Into<String>) {
        self.found.supplies.variables.push((variable, value.into()));
    }

    /// A file from a Secret; gives its path.
    fn file(
        &mut self,
        file: &'static str,
        name: &str,
        key: &str,
        field: &'static str,
        check: fn(&[u8]) -> Result<(), &'static str>,
    ) -> Result<String, Error> {
        self.secret(name, key, field, check)?;
        let source = Source::Secret(key_ref(name, key));
        Ok(self.supply(file, source))
    }

    /// A file with certificates to trust; gives its path.
    fn ca_bundle(
        &mut self,
        file: &'static str,
        bundle: &CaBundle,
        field: &'static str,
    ) -> Result<String, Error> {
        if let Some(reference) = &bundle.secret_key_ref {
            return self.file(file, &reference.name, &reference.key, field, certificates);
        }
        // The API server's rules have seen to it that there is one of the two.
        let Some(KeyRef { name, key }) = &bundle.config_map_key_ref else {
            return Ok(String::new());
        };
        let bytes = secrets::config_value(name, key, field, self.facts)?;
        certificates(&bytes).map_err(|problem| Error::ConfigMapInvalid {
            name: name.clone(),
            key: key.clone(),
            field,
            problem,
        })?;
        self.found
            .inputs
            .insert(format!("service/configmap/{name}/{key}"), bytes);
        Ok(self.supply(file, Source::ConfigMap(key_ref(name, key))))
    }

    /// A file with a token; gives its path.
    fn token(&mut self, audience: &str) -> String {
        let audience = audience.to_owned();
        self.supply(TOKEN_FILE, Source::Token { audience })
    }

    fn supply(&mut self, file: &'static str, source: Source) -> String {
        self.found.supplies.files.push((file, source));
        format!("{CREDENTIALS_FOLDER}/{file}")
    }

    fn secret(
        &mut self,
        name: &str,
        key: &str,
        field: &'static str,
        check: fn(&[u8]) -> Result<(), &'static str>,
    ) -> Result<(), Error> {
        let bytes = secrets::value(name, key, field, self.facts)?;
        check(bytes).map_err(|problem| Error::SecretInvalid {
            name: name.to_owned(),
            key: key.to_owned(),
            field,
            problem,
        })?;
        self.found
            .inputs
            .insert(format!("service/secret/{name}/{key}"), bytes.to_vec());
        Ok(())
    }
}

fn key_ref(name: &str, key: &str) -> KeyRef {
    KeyRef {
        name: name.to_owned(),
        key: key.to_owned(),
    }
}

/// A key with a line feed behind it, as `echo` writes one, signs everything wrongly, and no store says why.
fn one_line(bytes: &[u8]) -> Result<(), &'static str> {
    let text = secrets::one_line(bytes)?;
    if text.is_empty() {
        return Err("is empty");
    }
    Ok(())
}

fn certificates(bytes: &[u8]) -> Result<(), &'static str> {
    Certificate::check_bundle(bytes).map_err(|_| "is not a PEM certificate, or not only such")
}

/// A section's member, where it is set.
fn set(section: &mut Value, member: &str, value: Option<impl Into<Value>>) {
    if let Some(value) = value {
        section[member] = value.into();
    }
}

#[cfg(test)]
mod tests;
