//! TLS of the main address: rustls with the one crypto provider of the workspace.
//!
//! Guarantees: a handshake uses the files as they were at the last poll, a few seconds ago at most; a new pair that
//! cannot be used is logged once, and the old pair stays in use; certificate and key always belong together.
//! Must not: log the content of a key. `main` installs the crypto provider before anything else.
//! Start at [`Tls::load`].

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use registry_config::model::{ClientAuth, Tls as Settings, TlsVersion};
use rustls::crypto::CryptoProvider;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};
use rustls_pki_types::CertificateDer;
use tokio::sync::Notify;
use tokio_rustls::TlsAcceptor;

use crate::fault::Fault;
use crate::files::{FileVersion, pem};

/// How often the files are checked for a change. A changed Secret takes about a minute to reach the volume anyway.
const POLL_INTERVAL: Duration = Duration::from_secs(5);

static MODERN: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13, &rustls::version::TLS12];
static NEWEST: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13];

/// Errors of setting TLS up. A running server only logs them and keeps the last good files.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read, or has the wrong content.
    #[error("`{key}`, `{}`, cannot be read", path.display())]
    Read {
        /// The configuration key that names the file.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// Certificate and key do not belong together, or are of a kind that cannot be used.
    #[error("`http.tls.key`, `{}`, does not fit `http.tls.certificate`, `{}`", key.display(), certificate.display())]
    Pair {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// The cause.
        #[source]
        source: rustls::Error,
    },
    /// The CAs of client certificates cannot be used.
    #[error("`http.tls.clientcas` cannot be used: {problem}")]
    ClientCas {
        /// The problem that rustls reports.
        problem: String,
    },
    /// The crypto provider has none of the TLS versions. This is not expected to happen.
    #[error("TLS cannot be set up; please report this")]
    Bug(#[source] rustls::Error),
}

impl Error {
    /// The configuration key with the wrong value.
    pub fn key(&self) -> &'static str {
        match self {
            Self::Read { key, .. } => key,
            Self::Pair { .. } => "http.tls.key",
            Self::ClientCas { .. } => "http.tls.clientcas",
            Self::Bug(_) => "http.tls",
        }
    }

    /// The party that must act.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Read { .. } | Self::Pair { .. } | Self::ClientCas { .. } => Fault::Caller,
            Self::Bug(_) => Fault::Permanent,
        }
    }
}

/// The files and the current configuration of rustls. Cheap to clone: clones share everything.
#[derive(Clone)]
pub struct Tls(Arc<Inner>);

struct Inner {
    files: Files,
    current: ArcSwap<ServerConfig>,
    /// Notified when a reload is requested.
    reload: Notify,
}

struct Files {
    certificate: PathBuf,
    key: PathBuf,
    client_cas: Vec<PathBuf>,
    client_auth: ClientAuth,
    versions: &'static [&'static SupportedProtocolVersion],
    protocols: Vec<Vec<u8>>,
}

impl Tls {
    /// Reads the files of `http.tls`. Returns `None` when TLS is not configured. With `http2` the handshake offers
    /// HTTP/2.
    ///
    /// # Errors
    /// A file is missing or has the wrong content, or the key does not belong to the certificate.
    pub fn load(settings: &Settings, http2: bool) -> Result<Option<Self>, Error> {
        let (Some(certificate), Some(key)) = (&settings.certificate, &settings.key) else {
            return Ok(None);
        };
        let files = Files {
            certificate: certificate.into(),
            key: key.into(),
            client_cas: settings.clientcas.iter().map(PathBuf::from).collect(),
            client_auth: settings.clientauth.unwrap_or_default(),
            versions: match settings.minimumtls.unwrap_or_default() {
                TlsVersion::Tls12 => MODERN,
                TlsVersion::Tls13 => NEWEST,
            },
            protocols: match http2 {
                true => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
                false => vec![b"http/1.1".to_vec()],
            },
        };
        let current = ArcSwap::from(files.read()?);
        Ok(Some(Self(Arc::new(Inner {
            files,
            current,
            reload: Notify::new(),
        }))))
    }

    /// The acceptor for the next handshake.
    pub fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.0.current.load_full())
    }

    /// Requests a reload of the files now, changed or not.
    pub fn reload(&self) {
        self.0.reload.notify_one();
    }

    /// Polls the files for ever and uses new ones that are good. Dropping the future stops only the polling.
    pub async fn watch_files(self) -> std::convert::Infallible {
        // The versions that `load` read are not known here, so the first poll reads the files once more.
        let mut last: Option<Vec<Option<FileVersion>>> = None;
        let mut error_logged = false;
        let mut tick = tokio::time::interval(POLL_INTERVAL);
        loop {
            let forced = tokio::select! {
                _ = tick.tick() => false,
                () = self.0.reload.notified() => true,
            };
            let inner = Arc::clone(&self.0);
            // On a blocking thread, because the files may be on a network.
            let now = tokio::task::spawn_blocking(move || inner.files.versions_on_disk())
                .await
                .unwrap_or_default();
            if last.as_ref() == Some(&now) && !forced {
                continue;
            }
            let inner = Arc::clone(&self.0);
            let read = tokio::task::spawn_blocking(move || inner.files.read()).await;
            let certificate = self.0.files.certificate.display();
            match read {
                Ok(Ok(config)) => {
                    self.0.current.store(config);
                    if forced {
                        tracing::info!(%certificate, "certificate read again");
                    } else if last.is_some() {
                        tracing::info!(%certificate, "certificate changed: the new one is served");
                    }
                    last = Some(now);
                    error_logged = false;
                }
                // Certificate and key may arrive one after the other, so this can be one half of a good pair.
                Ok(Err(error)) => {
                    if !error_logged || forced {
                        let error = crate::fault::chain(&error);
                        tracing::error!(
                            error,
                            "certificate changed and cannot be used; the old one is served"
                        );
                    }
                    error_logged = true;
                    // Forces a reload at the next poll. Otherwise, a clock too coarse to distinguish two writes would
                    // leave the old pair in use until the next rotation.
                    last = Some(Vec::new());
                }
                Err(_) => {}
            }
        }
    }
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls")
            .field("certificate", &self.0.files.certificate)
            .finish_non_exhaustive()
    }
}

impl Files {
    fn versions_on_disk(&self) -> Vec<Option<FileVersion>> {
        let files = [&self.certificate, &self.key].into_iter().chain(&self.client_cas);
        files.map(|path| FileVersion::of(path).ok()).collect()
    }

    fn read(&self) -> Result<Arc<ServerConfig>, Error> {
        let provider = CryptoProvider::get_default()
            .cloned()
            .unwrap_or_else(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
        let chain = certificates("http.tls.certificate", &self.certificate)?;
        let key = pem::key(&self.key).map_err(|source| Error::Read {
            key: "http.tls.key",
            path: self.key.clone(),
            source,
        })?;
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(self.versions)
            .map_err(Error::Bug)?;
        let builder = match self.client_cas.is_empty() {
            true => builder.with_no_client_auth(),
            false => {
                let mut roots = RootCertStore::empty();
                for path in &self.client_cas {
                    for certificate in certificates("http.tls.clientcas", path)? {
                        roots.add(certificate).map_err(|error| Error::ClientCas {
                            problem: format!("`{}`: {error}", path.display()),
                        })?;
                    }
                }
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                let verifier = match self.client_auth {
                    ClientAuth::RequireAndVerify => verifier,
                    ClientAuth::VerifyIfGiven => verifier.allow_unauthenticated(),
                };
                let verifier = verifier.build().map_err(|error| Error::ClientCas {
                    problem: error.to_string(),
                })?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        // This checks that the key belongs to the certificate.
        let mut config = builder
            .with_single_cert(chain, key)
            .map_err(|source| Error::Pair {
                certificate: self.certificate.clone(),
                key: self.key.clone(),
                source,
            })?;
        config.alpn_protocols.clone_from(&self.protocols);
        Ok(Arc::new(config))
    }
}

fn certificates(key: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    pem::certificates(path).map_err(|source| Error::Read {
        key,
        path: path.to_owned(),
        source,
    })
}
