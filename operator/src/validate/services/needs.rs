//! Environment variables, files and tokens that the Pods need for a service behind the server.

use std::collections::BTreeMap;

use operator_api::{CaBundle, KeyRef};
use serde_json::Value;

use crate::certificate::Certificate;
use crate::input_keys;
use crate::pod_layout::{CREDENTIALS_FOLDER, TOKEN_FILE};
use crate::read::Facts;
use crate::validate::error::Error;
use crate::validate::lookup;
use crate::validate::registry::{FileSource, Supplies};

/// Looks up keys and certificates in Secrets and ConfigMaps, and collects the Pods' variables and files.
pub(super) struct ServiceNeeds<'a> {
    pub(super) facts: &'a Facts,
    pub(super) supplies: Supplies,
    /// Contents that the server does not read again by itself, by their keys in the Secret with the inputs.
    pub(super) inputs: BTreeMap<String, Vec<u8>>,
}

impl ServiceNeeds<'_> {
    /// An environment variable whose value is one line of a Secret.
    pub(super) fn variable(
        &mut self,
        variable: &'static str,
        name: &str,
        key: &str,
        field: &'static str,
    ) -> Result<(), Error> {
        let bytes = self.secret(name, key, field, one_line)?;
        self.inputs.insert(input_keys::variable(variable), bytes);
        self.supplies.secret_variables.push(variable);
        Ok(())
    }

    /// An environment variable with a plain value.
    pub(super) fn open_variable(&mut self, variable: &'static str, value: impl Into<String>) {
        self.supplies.variables.push((variable, value.into()));
    }

    /// A file from a Secret. Gives its path.
    pub(super) fn file(
        &mut self,
        file: &'static str,
        name: &str,
        key: &str,
        field: &'static str,
        check: fn(&[u8]) -> Result<(), &'static str>,
    ) -> Result<String, Error> {
        let bytes = self.secret(name, key, field, check)?;
        Ok(self.input_file(file, bytes))
    }

    /// A file with CAs to trust. Gives its path.
    pub(super) fn ca_bundle(
        &mut self,
        file: &'static str,
        bundle: &CaBundle,
        field: &'static str,
    ) -> Result<String, Error> {
        if let Some(reference) = &bundle.secret_key_ref {
            return self.file(file, &reference.name, &reference.key, field, certificates);
        }
        // The API server's rules require one of the two.
        let Some(KeyRef { name, key }) = &bundle.config_map_key_ref else {
            return Ok(String::new());
        };
        let bytes = lookup::config_value(name, key, field, self.facts)?;
        certificates(&bytes).map_err(|problem| Error::ConfigMapInvalid {
            name: name.clone(),
            key: key.clone(),
            field,
            problem,
            kept: false,
        })?;
        Ok(self.input_file(file, bytes))
    }

    /// A file with this content. Gives its path.
    pub(super) fn input_file(&mut self, file: &'static str, bytes: Vec<u8>) -> String {
        self.inputs.insert(input_keys::file(file), bytes);
        self.supply(file, FileSource::Input)
    }

    /// A file with a token. Gives its path.
    pub(super) fn token(&mut self, audience: &str) -> String {
        let audience = audience.to_owned();
        self.supply(TOKEN_FILE, FileSource::Token { audience })
    }

    fn supply(&mut self, file: &'static str, source: FileSource) -> String {
        self.supplies.files.push((file, source));
        format!("{CREDENTIALS_FOLDER}/{file}")
    }

    fn secret(
        &self,
        name: &str,
        key: &str,
        field: &'static str,
        check: fn(&[u8]) -> Result<(), &'static str>,
    ) -> Result<Vec<u8>, Error> {
        let bytes = lookup::value(name, key, field, self.facts)?;
        check(bytes).map_err(|problem| Error::secret_invalid(name, key, field, problem))?;
        Ok(bytes.to_vec())
    }
}

/// Checks for one line of text. A key that ends with a line feed, as `echo` writes it, makes every signature wrong, and
/// no store says why.
fn one_line(bytes: &[u8]) -> Result<(), &'static str> {
    let text = lookup::one_line(bytes)?;
    if text.is_empty() {
        return Err("is empty");
    }
    Ok(())
}

fn certificates(bytes: &[u8]) -> Result<(), &'static str> {
    Certificate::check_bundle(bytes).map_err(|_| "is not a PEM certificate, or not only such")
}

/// Sets a member of a section, where there is a value.
pub(super) fn set(section: &mut Value, member: &str, value: Option<impl Into<Value>>) {
    if let Some(value) = value {
        section[member] = value.into();
    }
}
