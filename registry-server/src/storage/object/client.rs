//! What every kind of object store needs to be spoken to: deadlines, certificates, and words for what is wrong with its
//! options.

use std::path::{Path as FilePath, PathBuf};
use std::time::Duration;

use http::HeaderValue;
use object_store::client::ClientOptions;
use object_store::{BackoffConfig, Certificate, RetryConfig};

use crate::fault::Fault;

/// How long a store may take. A request that fails in a way that may pass is tried again, with growing pauses, as long
/// as there is time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// To be connected.
    pub(super) connect: Duration,
    /// For the next byte of an answer.
    pub(super) silence: Duration,
    /// For all tries together.
    pub(super) all: Duration,
    /// How often it is tried again.
    pub(super) retries: usize,
    /// The first pause between two tries.
    pub(super) pause: Duration,
}

/// For looks, small objects and lists.
pub(super) const QUICK: Patience = Patience {
    connect: Duration::from_secs(5),
    silence: Duration::from_secs(10),
    all: Duration::from_secs(20),
    retries: 5,
    pause: Duration::from_millis(100),
};

/// For what moves a part, or copies a large object.
pub(super) const LONG: Patience = Patience {
    silence: Duration::from_secs(60),
    all: Duration::from_secs(90),
    ..QUICK
};

impl Patience {
    pub(super) fn client(self, skip_verify: bool) -> ClientOptions {
        ClientOptions::new()
            .with_allow_http(true)
            // A blob may take hours to read; what counts is that something comes.
            .with_timeout_disabled()
            .with_connect_timeout(self.connect)
            .with_read_timeout(self.silence)
            .with_default_content_type("application/octet-stream")
            .with_allow_invalid_certificates(skip_verify)
    }

    pub(super) fn retry(self) -> RetryConfig {
        RetryConfig {
            backoff: BackoffConfig {
                init_backoff: self.pause,
                ..BackoffConfig::default()
            },
            max_retries: self.retries,
            retry_timeout: self.all,
        }
    }
}

/// Why a store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The library takes the options for wrong.
    #[error("cannot use `{section}`")]
    Options {
        /// Where they stand.
        section: &'static str,
        /// Why.
        #[source]
        source: object_store::Error,
    },
    /// A value is no HTTP header.
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
    /// The key file is no service account's. What the parser says is not told: it may quote the key.
    #[error("`storage.gcs.keyfile`, `{}`, is not a service account's key: {lacks}", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// What is missing.
        lacks: &'static str,
    },
    /// The client for the calls the library lacks cannot be made.
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

    /// Who must act.
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

/// Certificates that are believed beside the system's.
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

    pub(super) fn believed_by(
        &self,
        mut client: ClientOptions,
    ) -> Result<ClientOptions, object_store::Error> {
        for certificate in &self.0 {
            client = client.with_root_certificate(Certificate::from_der(certificate)?);
        }
        Ok(client)
    }
}

pub(super) fn header(key: &'static str, value: &str) -> Result<HeaderValue, StoreError> {
    HeaderValue::from_str(value).map_err(|_| StoreError::Header { key })
}

/// A root as what stands before every key.
pub(super) fn prefix(root: &str) -> String {
    match root.trim_matches('/') {
        "" => String::new(),
        root => format!("{root}/"),
    }
}
