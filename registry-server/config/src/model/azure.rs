//! `storage.azure`: a container of Azure Blob Storage.

use serde::{Deserialize, Serialize};

use super::unset::unset;
use crate::{GoDuration, Secret};

/// `storage.azure`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Azure {
    /// The account.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub accountname: String,
    /// The account's key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accountkey: Option<Secret>,
    /// The container.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub container: String,
    /// Suffix of Azure's addresses; `core.windows.net` when unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub realm: Option<String>,
    /// Credentials in place of an account key.
    #[serde(skip_serializing_if = "unset")]
    pub credentials: AzureCredentials,
    /// Connection string: account, key and address in one text, as the Azure portal gives it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connectionstring: Option<Secret>,
    /// Prefix of all object names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rootdirectory: Option<String>,
    /// The address of the account's blobs; made of account and realm when unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serviceurl: Option<String>,
    /// Number of retries of a request; 5 when unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_retries: Option<usize>,
    /// Pause before the first retry; 100 ms when unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_delay: Option<GoDuration>,
    /// Server certificates are not verified; off when unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skipverify: Option<bool>,
    /// A PEM file of CA certificates that are trusted in addition to the system's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cacert: Option<String>,
}

/// `storage.azure.credentials`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AzureCredentials {
    /// Type of the credentials.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<AzureCredentialsKind>,
    /// The application's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clientid: Option<String>,
    /// The tenant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenantid: Option<String>,
    /// The application's secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<Secret>,
}

/// `storage.azure.credentials.type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AzureCredentialsKind {
    /// An application's client secret.
    ClientSecret,
    /// The account's key.
    SharedKey,
    /// Credentials from the environment or from the machine's metadata.
    DefaultCredentials,
}

/// A parsed connection string.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ConnectionString {
    /// The account.
    pub account: Option<String>,
    /// Its key.
    pub key: Option<Secret>,
    /// The address of its blobs.
    pub endpoint: Option<String>,
}

impl ConnectionString {
    /// Reads one: names and values with `=` between them and `;` behind them.
    pub fn parse(text: &str) -> Self {
        let value = |name: &str| {
            text.split(';')
                .filter_map(|part| part.trim().split_once('='))
                .find(|(found, _)| found.eq_ignore_ascii_case(name))
                .map(|(_, value)| value.to_owned())
        };
        let account = value("AccountName");
        let made = account.as_ref().map(|account| {
            let scheme = value("DefaultEndpointsProtocol").unwrap_or_else(|| "https".to_owned());
            let suffix = value("EndpointSuffix").unwrap_or_else(|| Azure::REALM.to_owned());
            format!("{scheme}://{account}.blob.{suffix}")
        });
        Self {
            endpoint: value("BlobEndpoint").or(made),
            key: value("AccountKey").map(Secret::new),
            account,
        }
    }
}

impl Azure {
    const REALM: &str = "core.windows.net";

    /// The parsed connection string; empty when there is none.
    pub fn connection(&self) -> ConnectionString {
        let text = self.connectionstring.as_ref().filter(|text| !text.is_empty());
        text.map(|text| ConnectionString::parse(text.expose()))
            .unwrap_or_default()
    }

    /// The account in use.
    pub fn account(&self) -> String {
        match self.accountname.is_empty() {
            true => self.connection().account.unwrap_or_default(),
            false => self.accountname.clone(),
        }
    }

    /// The address of the account's blobs.
    pub fn endpoint(&self) -> String {
        if let Some(url) = self.serviceurl.as_ref().filter(|url| !url.is_empty()) {
            return url.clone();
        }
        if let Some(endpoint) = self.connection().endpoint {
            return endpoint;
        }
        let realm = self.realm.as_deref().filter(|realm| !realm.is_empty());
        format!("https://{}.blob.{}", self.account(), realm.unwrap_or(Self::REALM))
    }

    /// The account's key, if there is one.
    pub fn key(&self) -> Option<Secret> {
        let key = self.accountkey.clone().filter(|key| !key.is_empty());
        key.or_else(|| self.connection().key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_string_says_account_key_and_address() {
        let azures = ConnectionString::parse(
            "DefaultEndpointsProtocol=https;AccountName=images;AccountKey=c2VjcmV0==;EndpointSuffix=core.windows.net",
        );
        assert_eq!(azures.account.as_deref(), Some("images"));
        assert_eq!(azures.key.as_ref().map(Secret::expose), Some("c2VjcmV0=="));
        assert_eq!(
            azures.endpoint.as_deref(),
            Some("https://images.blob.core.windows.net")
        );
        let local = ConnectionString::parse("AccountName=a;BlobEndpoint=http://127.0.0.1:10000/a;");
        assert_eq!(local.endpoint.as_deref(), Some("http://127.0.0.1:10000/a"));
        assert_eq!(local.key, None);
    }

    #[test]
    fn the_address_is_the_given_one_or_made_of_account_and_realm() {
        let mut azure = Azure {
            accountname: "images".to_owned(),
            ..Azure::default()
        };
        assert_eq!(azure.endpoint(), "https://images.blob.core.windows.net");
        azure.realm = Some("core.chinacloudapi.cn".to_owned());
        assert_eq!(azure.endpoint(), "https://images.blob.core.chinacloudapi.cn");
        azure.serviceurl = Some("http://127.0.0.1:10000/images".to_owned());
        assert_eq!(azure.endpoint(), "http://127.0.0.1:10000/images");
    }
}
