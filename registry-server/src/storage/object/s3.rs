//! S3 and stores with its protocol: the options of `storage.s3`, and the clients that they make.

mod calls;
mod identity;

use std::path::PathBuf;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};
use object_store::aws::{AmazonS3, AmazonS3Builder, AwsCredentialProvider};
use object_store::client::ClientOptions;

pub(super) use calls::S3Calls;
use identity::Identity;

use super::classify::ErrorClassifier;
use super::client::{Certificates, LONG, QUICK, StoreError, Timeouts, header, prefix};
use super::conditional_writes::ConditionalWrites;
use super::last_seen::LastSeen;
use super::part_size;
use super::store::{Clients, Object, Store, Vendor};
use crate::storage::StoreHealth;

/// The options of `storage.s3`.
#[derive(Debug, Clone, Default)]
pub struct S3Options {
    /// The bucket.
    pub bucket: String,
    /// Its region; `us-east-1` when unset, which most stores other than Amazon's take.
    pub region: Option<String>,
    /// The store's address when it is not Amazon's, with or without its scheme.
    pub endpoint: Option<String>,
    /// Whether the bucket stands in the path rather than in the host's name.
    pub path_style: Option<bool>,
    /// Whether an endpoint without a scheme uses TLS; yes when unset.
    pub secure: Option<bool>,
    /// Whether server certificates are not verified.
    pub skip_verify: bool,
    /// A PEM file of CA certificates that are trusted in addition to the system's.
    pub ca_file: Option<PathBuf>,
    /// The credentials; when unset, those of the environment, a web identity or the machine's metadata.
    pub credentials: Option<S3Credentials>,
    /// Prefix of all object names.
    pub root: String,
    /// Size of the first parts of an upload, in bytes.
    pub part_size: Option<u64>,
    /// Objects up to this many bytes are copied by one request.
    pub copy_whole_up_to: Option<u64>,
    /// Size of the pieces in which larger ones are copied.
    pub copy_piece: Option<u64>,
    /// How many pieces are copied at once.
    pub copy_at_once: Option<usize>,
    /// The encryption of objects by the store.
    pub encryption: S3Encryption,
    /// The class of new objects, when it is not the store's default.
    pub storage_class: Option<String>,
    /// The canned access control list of new objects, when it is not `private`.
    pub acl: Option<String>,
    /// The `User-Agent` of requests to the store.
    pub user_agent: Option<String>,
    /// Amazon's addresses for both internet protocols.
    pub dual_stack: bool,
    /// Amazon's accelerated addresses.
    pub accelerate: bool,
    /// Amazon's addresses with validated cryptography.
    pub fips: bool,
    /// Whether clients are redirected to the store for blobs.
    pub redirect: bool,
    /// The store's address in redirects, when clients need another one than the server.
    pub redirect_endpoint: Option<String>,
}

/// Credentials of the configuration. `Debug` does not print them.
#[derive(Clone)]
pub struct S3Credentials {
    /// The access key's id.
    pub access_key: String,
    /// The access key.
    pub secret_key: String,
    /// The session the keys belong to.
    pub session_token: Option<String>,
}

impl std::fmt::Debug for S3Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("S3Credentials(..)")
    }
}

/// The encryption of objects by the store.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum S3Encryption {
    /// The default of the bucket.
    #[default]
    Bucket,
    /// With keys of the store.
    Managed,
    /// With a key of the key management service.
    Kms(String),
}

/// Larger objects are copied in pieces, which run in parallel and end within the timeouts.
const COPY_WHOLE_UP_TO: u64 = 128 << 20;
const COPY_PIECE: u64 = 128 << 20;
const COPY_AT_ONCE: usize = 8;

/// The largest size that one request can copy.
const COPY_MAX: u64 = 5 << 30;

impl Object {
    /// The store in a bucket. No request is sent yet. Failures are reported to `store_health`.
    ///
    /// # Errors
    /// The options are invalid, or the certificates cannot be read.
    pub fn s3(options: &S3Options, store_health: StoreHealth) -> Result<Self, StoreError> {
        let classifier = ErrorClassifier {
            store: format!("s3 {}", options.bucket).into(),
            store_health,
            seen: LastSeen::default(),
        };
        let certificates = Certificates::read("storage.s3.cacert", options.ca_file.as_deref())?;
        let identity = options.identity(&certificates)?;
        let client = |timeouts: Timeouts, headers: HeaderMap, endpoint: Option<&str>| {
            options.client(timeouts, headers, endpoint, &certificates, &identity)
        };
        let quick = client(QUICK, HeaderMap::new(), None)?;
        let long = Arc::new(client(LONG, HeaderMap::new(), None)?);
        let write = Arc::new(client(LONG, options.written_with()?, None)?);
        let redirects = match (&options.redirect_endpoint, options.redirect) {
            (_, false) => None,
            (Some(endpoint), true) => Some(Arc::new(client(QUICK, HeaderMap::new(), Some(endpoint))?)),
            (None, true) => Some(Arc::new(quick.clone())),
        };
        let calls = S3Calls {
            store: Arc::clone(&long),
            write: Arc::clone(&write),
            http: options.http(&certificates)?,
            bucket: options.bucket.clone(),
            whole_up_to: options.copy_whole_up_to.unwrap_or(COPY_WHOLE_UP_TO).min(COPY_MAX),
            piece: options.copy_piece.unwrap_or(COPY_PIECE).min(COPY_MAX),
            at_once: options.copy_at_once.unwrap_or(COPY_AT_ONCE).max(1),
            classifier: classifier.clone(),
        };
        Ok(Self {
            name: "s3",
            clients: Clients {
                quick: Arc::new(quick),
                long,
                write,
                small_write: Arc::new(client(QUICK, options.written_with()?, None)?),
            },
            prefix: prefix(&options.root),
            classifier,
            part: options.part_size.unwrap_or(part_size::PART),
            conditional_writes: ConditionalWrites::default(),
            vendor: Vendor::S3(calls),
            redirects: redirects.map(|store| store as Arc<dyn Store>),
        })
    }
}

impl S3Options {
    /// The credentials that all clients share.
    fn identity(&self, certificates: &Certificates) -> Result<AwsCredentialProvider, StoreError> {
        let builder = match &self.credentials {
            Some(keys) => {
                let builder = AmazonS3Builder::new()
                    .with_access_key_id(&keys.access_key)
                    .with_secret_access_key(&keys.secret_key);
                match &keys.session_token {
                    Some(token) => builder.with_token(token),
                    None => builder,
                }
            }
            None => identity::of_environment(self.region(), |name| std::env::var(name).ok()),
        };
        let builder = builder
            .with_bucket_name(&self.bucket)
            .with_region(self.region())
            .with_retry(QUICK.retry())
            .with_client_options(self.options(QUICK, certificates)?);
        let known = builder.build().map_err(failed)?;
        Ok(Identity::new(known.credentials()))
    }

    /// A client that sends `headers` with every request.
    fn client(
        &self,
        timeouts: Timeouts,
        headers: HeaderMap,
        endpoint: Option<&str>,
        certificates: &Certificates,
        identity: &AwsCredentialProvider,
    ) -> Result<AmazonS3, StoreError> {
        let (endpoint, path_style) = self.address(endpoint);
        let options = self.options(timeouts, certificates)?;
        let builder = AmazonS3Builder::new()
            .with_credentials(Arc::clone(identity))
            .with_bucket_name(&self.bucket)
            .with_region(self.region())
            .with_virtual_hosted_style_request(!path_style)
            .with_retry(timeouts.retry())
            .with_client_options(options.with_default_headers(headers))
            .with_endpoint(endpoint);
        builder.build().map_err(failed)
    }

    fn options(&self, timeouts: Timeouts, certificates: &Certificates) -> Result<ClientOptions, StoreError> {
        let options = certificates
            .trusted_by(timeouts.client(self.skip_verify))
            .map_err(failed)?;
        Ok(match &self.user_agent {
            Some(agent) => options.with_user_agent(header("storage.s3.useragent", agent)?),
            None => options,
        })
    }

    fn region(&self) -> &str {
        self.region
            .as_deref()
            .filter(|region| !region.is_empty())
            .unwrap_or("us-east-1")
    }

    /// The store's address, with the bucket in the host's name if it belongs there, and whether the bucket is in the path.
    fn address(&self, other: Option<&str>) -> (String, bool) {
        let region = self.region();
        let (scheme, host, path_style) = match other.or(self.endpoint.as_deref()) {
            Some(endpoint) => {
                let (scheme, host) = match endpoint.split_once("://") {
                    Some((scheme, host)) => (scheme, host),
                    None if self.secure == Some(false) => ("http", endpoint),
                    None => ("https", endpoint),
                };
                // As in distribution 2: other stores than Amazon's seldom have a host name for each bucket. Version 3 needs
                // `forcepathstyle` for that; here it selects the other form.
                let amazons = host.trim_end_matches('/').ends_with(".amazonaws.com");
                (
                    scheme,
                    host.trim_end_matches('/').to_owned(),
                    self.path_style.unwrap_or(!amazons),
                )
            }
            None => {
                let service = match (self.accelerate, self.fips, self.dual_stack) {
                    (true, _, true) => "s3-accelerate.dualstack".to_owned(),
                    (true, _, false) => "s3-accelerate".to_owned(),
                    (false, true, true) => format!("s3-fips.dualstack.{region}"),
                    (false, true, false) => format!("s3-fips.{region}"),
                    (false, false, true) => format!("s3.dualstack.{region}"),
                    (false, false, false) => format!("s3.{region}"),
                };
                let domain = if region.starts_with("cn-") {
                    "amazonaws.com.cn"
                } else {
                    "amazonaws.com"
                };
                let scheme = if self.secure == Some(false) {
                    "http"
                } else {
                    "https"
                };
                // Amazon's wildcard certificate does not cover bucket names with dots.
                let path_style = self
                    .path_style
                    .unwrap_or(self.bucket.contains('.') && !self.accelerate);
                (scheme, format!("{service}.{domain}"), path_style)
            }
        };
        let bucket = &self.bucket;
        if path_style {
            (format!("{scheme}://{host}"), true)
        } else {
            (format!("{scheme}://{bucket}.{host}"), false)
        }
    }

    /// The headers of requests that make a new object: a put, the begin of a multipart upload, a copy. Requests for parts do
    /// not have them, since S3 refuses some of them there.
    fn written_with(&self) -> Result<HeaderMap, StoreError> {
        let mut headers = HeaderMap::new();
        let mut say = |name: &'static str, value: HeaderValue| {
            headers.insert(HeaderName::from_static(name), value);
        };
        const ENCRYPTION: &str = "x-amz-server-side-encryption";
        match &self.encryption {
            S3Encryption::Bucket => {}
            S3Encryption::Managed => say(ENCRYPTION, HeaderValue::from_static("AES256")),
            S3Encryption::Kms(key) => {
                say(ENCRYPTION, HeaderValue::from_static("aws:kms"));
                say(
                    "x-amz-server-side-encryption-aws-kms-key-id",
                    header("storage.s3.keyid", key)?,
                );
            }
        }
        if let Some(class) = &self.storage_class {
            say("x-amz-storage-class", header("storage.s3.storageclass", class)?);
        }
        if let Some(acl) = &self.acl {
            say("x-amz-acl", header("storage.s3.objectacl", acl)?);
        }
        Ok(headers)
    }

    fn http(&self, certificates: &Certificates) -> Result<reqwest::Client, StoreError> {
        let section = "storage.s3";
        let client = LONG.http(section, self.skip_verify, certificates)?;
        client
            .build()
            .map_err(|source| StoreError::Tls { section, source })
    }
}

fn failed(source: object_store::Error) -> StoreError {
    StoreError::Options {
        section: "storage.s3",
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_stands_in_the_path_or_in_the_name() {
        let of = |options: S3Options| {
            S3Options {
                bucket: "images".to_owned(),
                ..options
            }
            .address(None)
        };
        let endpoint = |text: &str| Some(text.to_owned());
        let table = [
            (
                S3Options::default(),
                "https://images.s3.us-east-1.amazonaws.com",
                false,
            ),
            (
                S3Options {
                    region: endpoint("cn-north-1"),
                    ..S3Options::default()
                },
                "https://images.s3.cn-north-1.amazonaws.com.cn",
                false,
            ),
            (
                S3Options {
                    path_style: Some(true),
                    ..S3Options::default()
                },
                "https://s3.us-east-1.amazonaws.com",
                true,
            ),
            (
                S3Options {
                    dual_stack: true,
                    fips: true,
                    ..S3Options::default()
                },
                "https://images.s3-fips.dualstack.us-east-1.amazonaws.com",
                false,
            ),
            (
                S3Options {
                    accelerate: true,
                    ..S3Options::default()
                },
                "https://images.s3-accelerate.amazonaws.com",
                false,
            ),
            (
                S3Options {
                    endpoint: endpoint("http://minio:9000/"),
                    ..S3Options::default()
                },
                "http://minio:9000",
                true,
            ),
            (
                S3Options {
                    endpoint: endpoint("minio:9000"),
                    ..S3Options::default()
                },
                "https://minio:9000",
                true,
            ),
            (
                S3Options {
                    endpoint: endpoint("minio"),
                    secure: Some(false),
                    ..S3Options::default()
                },
                "http://minio",
                true,
            ),
            (
                S3Options {
                    endpoint: endpoint("https://objects.example"),
                    path_style: Some(false),
                    ..S3Options::default()
                },
                "https://images.objects.example",
                false,
            ),
        ];
        for (options, address, path_style) in table {
            let shown = format!("{options:?}");
            assert_eq!(of(options), (address.to_owned(), path_style), "{shown}");
        }
        let dotted = S3Options {
            bucket: "a.b".to_owned(),
            ..S3Options::default()
        };
        assert_eq!(
            dotted.address(None),
            ("https://s3.us-east-1.amazonaws.com".to_owned(), true)
        );
    }

    #[test]
    fn credentials_do_not_print_themselves() {
        let options = S3Options {
            credentials: Some(S3Credentials {
                access_key: "id".to_owned(),
                secret_key: "swordfish".to_owned(),
                session_token: Some("swordfish".to_owned()),
            }),
            ..S3Options::default()
        };
        let driver = Object::s3(
            &S3Options {
                bucket: "b".to_owned(),
                ..options.clone()
            },
            StoreHealth::default(),
        )
        .unwrap();
        assert!(!format!("{options:?}{driver:?}").contains("swordfish"));
    }
}
