//! TLS of the main address: rustls with the one crypto provider of the workspace.
//!
//! Guarantees: a handshake uses the files as they were at the last look, a few seconds ago at most; a new pair that
//! cannot be used leaves the old one in place and is logged once; certificate and key always belong together.
//! Must not: log what is in a key. The provider is installed by `main` before anything else.
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
use crate::files::{Version, pem};

/// How often the files are looked at. A mounted Secret takes a minute to arrive; this adds nothing to speak of.
const POLL_INTERVAL: Duration = Duration::from_secs(5);

static MODERN: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13, &rustls::version::TLS12];
static NEWEST: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13];

/// Why TLS cannot be set up. Once it runs, trouble with a file keeps what was good before.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read, or is not what it should be.
    #[error("`{key}`, `{}`, cannot be read", path.display())]
    Read {
        /// The configuration's key that names it.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Certificate and key are no pair, or of a kind that cannot be used.
    #[error("`http.tls.key`, `{}`, does not fit `http.tls.certificate`, `{}`", key.display(), certificate.display())]
    Pair {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// Why.
        #[source]
        source: rustls::Error,
    },
    /// The authorities of client certificates cannot be used.
    #[error("`http.tls.clientcas` cannot be used: {problem}")]
    ClientCas {
        /// What rustls says.
        problem: String,
    },
    /// The provider knows none of the versions, which it does.
    #[error("TLS cannot be set up; please report this")]
    Bug(#[source] rustls::Error),
}

impl Error {
    /// The configuration's key whose value is to blame.
    pub fn key(&self) -> &'static str {
        match self {
            Self::Read { key, .. } => key,
            Self::Pair { .. } => "http.tls.key",
            Self::ClientCas { .. } => "http.tls.clientcas",
            Self::Bug(_) => "http.tls",
        }
    }

    /// Who must act.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Read { .. } | Self::Pair { .. } | Self::ClientCas { .. } => Fault::Caller,
            Self::Bug(_) => Fault::Permanent,
        }
    }
}

/// The files and what was made of them. Cheap to clone; clones share everything.
#[derive(Clone)]
pub struct Tls(Arc<Inner>);

struct Inner {
    files: Files,
    current: ArcSwap<ServerConfig>,
    /// A reload was asked for.
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
    /// Reads the files of `http.tls`; nothing when TLS is not asked for. `http2` offers HTTP/2 in the handshake.
    ///
    /// # Errors
    /// A file is missing or is not what it should be, or the key does not fit the certificate.
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

    /// For one handshake: with the files as they were last seen.
    pub fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.0.current.load_full())
    }

    /// Has the files read again now, changed or not.
    pub fn reload(&self) {
        self.0.reload.notify_one();
    }

    /// Looks at the files for ever and takes what is new and good. Dropping it stops the looking, no more.
    pub async fn watch_files(self) -> std::convert::Infallible {
        // Nothing is remembered of the files that `load` read: a change since then shows as a first look.
        let mut seen: Option<Vec<Option<Version>>> = None;
        let mut error_logged = false;
        let mut tick = tokio::time::interval(POLL_INTERVAL);
        loop {
            let forced = tokio::select! {
                _ = tick.tick() => false,
                () = self.0.reload.notified() => true,
            };
            let inner = Arc::clone(&self.0);
            // Off the async threads: the files may lie on a network.
            let now = tokio::task::spawn_blocking(move || inner.files.versions_on_disk())
                .await
                .unwrap_or_default();
            if seen.as_ref() == Some(&now) && !forced {
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
                    } else if seen.is_some() {
                        tracing::info!(%certificate, "certificate changed: the new one is served");
                    }
                    seen = Some(now);
                    error_logged = false;
                }
                // Certificate and key arrive one after the other, so this may be half of a good pair.
                Ok(Err(error)) => {
                    if !error_logged || forced {
                        let error = crate::fault::chain(&error);
                        tracing::error!(
                            error,
                            "certificate changed and cannot be used; the old one is served"
                        );
                    }
                    error_logged = true;
                    // Forgotten, so that it is read again at the next look: a clock too coarse to tell two
                    // writes apart must not leave the old pair until the next rotation.
                    seen = Some(Vec::new());
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
    fn versions_on_disk(&self) -> Vec<Option<Version>> {
        let files = [&self.certificate, &self.key].into_iter().chain(&self.client_cas);
        files.map(|path| Version::of(path).ok()).collect()
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
        // Checks that the key is the certificate's.
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
