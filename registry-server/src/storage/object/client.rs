//! Timeouts, certificates and errors of options, for the clients of all vendors.

use std::path::{Path as FilePath, PathBuf};
use std::time::Duration;

use object_store::client::ClientOptions;
use object_store::{BackoffConfig, Certificate, RetryConfig};

use crate::fault::Fault;

/// How long a request to a store may take. A request that fails for a temporary reason is tried again, with growing pauses,
/// within the total time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Timeouts {
    /// For a connection.
    pub(super) connect: Duration,
    /// For the next byte of an answer.
    pub(super) read: Duration,
    /// For all tries together, pauses included.
    pub(super) total: Duration,
    /// The number of retries.
    pub(super) retries: usize,
    /// The pause before the first retry.
    pub(super) backoff: Duration,
}

/// For metadata, small objects and lists.
pub(super) const QUICK: Timeouts = Timeouts {
    connect: Duration::from_secs(5),
    read: Duration::from_secs(10),
    total: Duration::from_secs(20),
    retries: 5,
    backoff: Duration::from_millis(100),
};

/// For parts, and copies of large objects.
pub(super) const LONG: Timeouts = Timeouts {
    read: Duration::from_secs(60),
    total: Duration::from_secs(90),
    ..QUICK
};

impl Timeouts {
    pub(super) fn client(self, skip_verify: bool) -> ClientOptions {
        ClientOptions::new()
            .with_allow_http(true)
            // A blob may take hours to read, so only the time between two reads is limited.
            .with_timeout_disabled()
            .with_connect_timeout(self.connect)
            .with_read_timeout(self.read)
            .with_default_content_type("application/octet-stream")
            .with_allow_invalid_certificates(skip_verify)
    }

    pub(super) fn retry(self) -> RetryConfig {
        RetryConfig {
            backoff: BackoffConfig {
                init_backoff: self.backoff,
                ..BackoffConfig::default()
            },
            max_retries: self.retries,
            retry_timeout: self.total,
        }
    }
}

/// Why a store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The library refuses the options.
    #[error("cannot use `{section}`")]
    Options {
        /// The section of the configuration.
        section: &'static str,
        /// Why.
        #[source]
        source: object_store::Error,
    },
    /// A value cannot be an HTTP header.
    #[error("`{key}` cannot be sent in a header")]
    Header {
        /// The configuration's key.
        key: &'static str,
    },
    /// The certificates cannot be read.
    #[error("cannot read `{key}`, `{}`", path.display())]
    Certificates {
        /// The configuration's key.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The key file cannot be read.
    #[error("cannot read `storage.gcs.keyfile`, `{}`", path.display())]
    KeyFile {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The key file is not that of a service account. The parser's message is left out, since it may quote the key.
    #[error("`storage.gcs.keyfile`, `{}`, is not a service account's key: {lacks}", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// The problem of the file.
        lacks: &'static str,
    },
    /// The HTTP client for calls that the library does not have cannot be made.
    #[error("cannot set up TLS for `{section}`")]
    Tls {
        /// Where its options stand.
        section: &'static str,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
}

impl StoreError {
    /// The configuration's key whose value is to blame.
    pub fn key(&self) -> &'static str {
        match self {
            Self::Options { section, .. } | Self::Tls { section, .. } => section,
            Self::Header { key } | Self::Certificates { key, .. } => key,
            Self::KeyFile { .. } | Self::Key { .. } => "storage.gcs.keyfile",
        }
    }

    /// The fault: who must act.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Options { .. }
            | Self::Header { .. }
            | Self::Certificates { .. }
            | Self::Key { .. }
            | Self::KeyFile { .. }
            | Self::Tls { .. } => Fault::Caller,
        }
    }
}

/// CA certificates that are trusted in addition to the system's.
pub(super) struct Certificates(pub(super) Vec<Vec<u8>>);

impl Certificates {
    pub(super) fn read(key: &'static str, path: Option<&FilePath>) -> Result<Self, StoreError> {
        let Some(path) = path else {
            return Ok(Self(Vec::new()));
        };
        let found = crate::files::pem::certificates(path).map_err(|source| StoreError::Certificates {
            key,
            path: path.to_owned(),
            source,
        })?;
        Ok(Self(
            found
                .into_iter()
                .map(|certificate| certificate.to_vec())
                .collect(),
        ))
    }

    pub(super) fn trusted_by(&self, mut client: ClientOptions) -> Result<ClientOptions, object_store::Error> {
        for certificate in &self.0 {
            client = client.with_root_certificate(Certificate::from_der(certificate)?);
        }
        Ok(client)
    }
}

#[cfg(any(feature = "gcs", feature = "s3"))]
pub(super) fn header(key: &'static str, value: &str) -> Result<http::HeaderValue, StoreError> {
    http::HeaderValue::from_str(value).map_err(|_| StoreError::Header { key })
}

/// The prefix of every key, from `rootdirectory`.
pub(super) fn prefix(root: &str) -> String {
    match root.trim_matches('/') {
        "" => String::new(),
        root => format!("{root}/"),
    }
}
