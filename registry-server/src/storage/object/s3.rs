//! S3 and what speaks its protocol: the options of `storage.s3`, and the calls the library lacks.

mod calls;
mod identity;

use std::path::PathBuf;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};
use object_store::aws::{AmazonS3, AmazonS3Builder, AwsCredentialProvider};
use object_store::client::ClientOptions;

pub(super) use calls::Calls;
use identity::Identity;
pub(super) use identity::NoCredentials;

use super::bucket::Seen;
use super::classify::ErrorClassifier;
use super::{
    Certificates, Clients, Conditions, LONG, Object, Patience, QUICK, StoreError, Vendor, header, prefix,
    schedule,
};
use crate::storage::StoreHealth;

/// How a bucket is reached and what is written into it (`storage.s3`).
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
    /// Whether an endpoint without a scheme is spoken to over TLS; yes when unset.
    pub secure: Option<bool>,
    /// Whether any certificate is believed.
    pub skip_verify: bool,
    /// A file of certificates that are believed beside the system's.
    pub ca_file: Option<PathBuf>,
    /// Who we are; when unset, as the environment, a web identity or the machine's metadata say.
    pub credentials: Option<S3Credentials>,
    /// What every key begins with.
    pub root: String,
    /// Size of the first parts of an upload, in bytes.
    pub part_size: Option<u64>,
    /// Objects up to this many bytes are copied by one request.
    pub copy_whole_up_to: Option<u64>,
    /// Size of the pieces in which larger ones are copied.
    pub copy_piece: Option<u64>,
    /// How many pieces are copied at once.
    pub copy_at_once: Option<usize>,
    /// How objects are encrypted by the store.
    pub encryption: S3Encryption,
    /// The class of new objects, when it is not the store's default.
    pub storage_class: Option<String>,
    /// The canned access control list of new objects, when it is not `private`.
    pub acl: Option<String>,
    /// What we call ourselves.
    pub user_agent: Option<String>,
    /// Amazon's addresses for both internet protocols.
    pub dual_stack: bool,
    /// Amazon's accelerated addresses.
    pub accelerate: bool,
    /// Amazon's addresses with validated cryptography.
    pub fips: bool,
    /// Whether clients are sent to the store for blobs.
    pub redirect: bool,
    /// The address clients are sent to, when they reach the store by another one.
    pub redirect_endpoint: Option<String>,
}

/// Keys that stand in the configuration. Prints nothing of itself.
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

/// How objects are encrypted by the store.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum S3Encryption {
    /// As the bucket says.
    #[default]
    Bucket,
    /// With keys of the store.
    Managed,
    /// With a key of the key management service.
    Kms(String),
}

/// Objects above this size are copied in pieces, which go in parallel and each end within the deadline.
const COPY_WHOLE_UP_TO: u64 = 128 << 20;
const COPY_PIECE: u64 = 128 << 20;
const COPY_AT_ONCE: usize = 8;

/// What no key may be above: one request copies no more.
const COPY_MAX: u64 = 5 << 30;

impl Object {
    /// The store in a bucket. Nothing is sent yet. What keeps it from answering is noted in `trouble`.
    ///
    /// # Errors
    /// When the options make no sense, or the certificates cannot be read.
    pub fn s3(options: &S3Options, store_health: StoreHealth) -> Result<Self, StoreError> {
        let classifier = ErrorClassifier {
            store: format!("s3 {}", options.bucket).into(),
            store_health,
            seen: Seen::default(),
        };
        let certificates = Certificates::read("storage.s3.cacert", options.ca_file.as_deref())?;
        let identity = options.identity(&certificates)?;
        let client = |patience: Patience, headers: HeaderMap, endpoint: Option<&str>| {
            options.client(patience, headers, endpoint, &certificates, &identity)
        };
        let quick = client(QUICK, HeaderMap::new(), None)?;
        let long = Arc::new(client(LONG, HeaderMap::new(), None)?);
        let write = Arc::new(client(LONG, options.written_with()?, None)?);
        let redirects = match (&options.redirect_endpoint, options.redirect) {
            (_, false) => None,
            (Some(endpoint), true) => Some(Arc::new(client(QUICK, HeaderMap::new(), Some(endpoint))?)),
            (None, true) => Some(Arc::new(quick.clone())),
        };
        let calls = Calls {
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
                jot: Arc::new(client(QUICK, options.written_with()?, None)?),
            },
            prefix: prefix(&options.root),
            classifier,
            part: options.part_size.unwrap_or(schedule::PART),
            conditions: Conditions::default(),
            vendor: Vendor::S3(calls),
            redirects: redirects.map(|store| store as Arc<dyn super::Store>),
        })
    }
}

impl S3Options {
    /// Who we are, to be shared by all clients.
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

    /// A client that says `headers` with every request.
    fn client(
        &self,
        patience: Patience,
        headers: HeaderMap,
        endpoint: Option<&str>,
        certificates: &Certificates,
        identity: &AwsCredentialProvider,
    ) -> Result<AmazonS3, StoreError> {
        let (endpoint, path_style) = self.address(endpoint);
        let options = self.options(patience, certificates)?;
        let builder = AmazonS3Builder::new()
            .with_credentials(Arc::clone(identity))
            .with_bucket_name(&self.bucket)
            .with_region(self.region())
            .with_virtual_hosted_style_request(!path_style)
            .with_retry(patience.retry())
            .with_client_options(options.with_default_headers(headers))
            .with_endpoint(endpoint);
        builder.build().map_err(failed)
    }

    fn options(&self, patience: Patience, certificates: &Certificates) -> Result<ClientOptions, StoreError> {
        let options = certificates
            .believed_by(patience.client(self.skip_verify))
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

    /// Where the store is, with the bucket where it stands in the host's name, and whether it stands in the path.
    fn address(&self, other: Option<&str>) -> (String, bool) {
        let region = self.region();
        let (scheme, host, path_style) = match other.or(self.endpoint.as_deref()) {
            Some(endpoint) => {
                let (scheme, host) = match endpoint.split_once("://") {
                    Some((scheme, host)) => (scheme, host),
                    None if self.secure == Some(false) => ("http", endpoint),
                    None => ("https", endpoint),
                };
                // As distribution 2 has it; stores of one's own seldom have a name for each bucket. Version 3 asks for
                // `forcepathstyle`, and whoever wants the other form says so.
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
                // A certificate for all buckets does not cover names with dots.
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

    /// What is said of a new object by the request that makes it: a put, the beginning of an upload in parts, a copy.
    /// Requests for parts do not say it, since S3 refuses some of it there.
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
