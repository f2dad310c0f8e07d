//! The credentials for a bucket: those of the configuration, or those that the environment names.
//!
//! Guarantees: all clients of a bucket share one identity, so that temporary credentials are requested once, and again before
//! they expire. The environment gives credentials alone, never the place of the bucket or the way of writing to it. Every
//! request for credentials ends within [`LIMIT`]. Missing credentials are told apart from credentials that the store refuses.
//! Must not: print a credential. Start at [`Identity`].

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use object_store::CredentialProvider;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey, AwsCredential, AwsCredentialProvider};

use crate::storage::object::classify::NoCredentials;

/// How long a request for credentials may take. Requests to the store queue for them, and without the limit each would make
/// all its own tries.
const LIMIT: Duration = Duration::from_secs(25);

/// The variables with credentials, as in all of Amazon's SDKs, and the library's keys for them.
const VARIABLES: [(&str, AmazonS3ConfigKey); 11] = [
    ("AWS_ACCESS_KEY_ID", AmazonS3ConfigKey::AccessKeyId),
    ("AWS_SECRET_ACCESS_KEY", AmazonS3ConfigKey::SecretAccessKey),
    ("AWS_SESSION_TOKEN", AmazonS3ConfigKey::Token),
    (
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        AmazonS3ConfigKey::WebIdentityTokenFile,
    ),
    ("AWS_ROLE_ARN", AmazonS3ConfigKey::RoleArn),
    ("AWS_ROLE_SESSION_NAME", AmazonS3ConfigKey::RoleSessionName),
    (STS, AmazonS3ConfigKey::StsEndpoint),
    (
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
        AmazonS3ConfigKey::ContainerCredentialsRelativeUri,
    ),
    (
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        AmazonS3ConfigKey::ContainerCredentialsFullUri,
    ),
    (
        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
        AmazonS3ConfigKey::ContainerAuthorizationTokenFile,
    ),
    (
        "AWS_EC2_METADATA_SERVICE_ENDPOINT",
        AmazonS3ConfigKey::MetadataEndpoint,
    ),
];

/// The variable with the address at which a web identity is exchanged for credentials.
const STS: &str = "AWS_ENDPOINT_URL_STS";

/// A builder with the credentials of the variables. Without these it takes those of the machine's metadata.
pub(super) fn of_environment(region: &str, variable: impl Fn(&str) -> Option<String>) -> AmazonS3Builder {
    let variable = |name: &str| variable(name).filter(|value| !value.is_empty());
    let mut builder = AmazonS3Builder::new();
    for (name, key) in VARIABLES {
        if let Some(value) = variable(name) {
            builder = builder.with_config(key, value.trim_end_matches('/'));
        }
    }
    // The library knows Amazon's international domain alone.
    if region.starts_with("cn-") && variable(STS).is_none() {
        let china = format!("https://sts.{region}.amazonaws.com.cn");
        builder = builder.with_config(AmazonS3ConfigKey::StsEndpoint, china);
    }
    builder
}

/// A provider of credentials.
pub(super) struct Identity(AwsCredentialProvider);

impl Identity {
    /// The credentials of another provider, within [`LIMIT`] and with [`NoCredentials`] as the error.
    pub(super) fn new(credentials: &AwsCredentialProvider) -> Arc<Self> {
        Arc::new(Self(Arc::clone(credentials)))
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Identity(..)")
    }
}

#[async_trait]
impl CredentialProvider for Identity {
    type Credential = AwsCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<AwsCredential>> {
        let given = tokio::time::timeout(LIMIT, self.0.get_credential());
        let why: Box<dyn std::error::Error + Send + Sync> = match given.await {
            Ok(Ok(credential)) => return Ok(credential),
            Ok(Err(error)) => error.into(),
            Err(elapsed) => elapsed.into(),
        };
        Err(object_store::Error::Generic {
            store: "S3",
            source: Box::new(NoCredentials(why)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::Cause;
    use crate::storage::object::classify;

    /// The value of a builder's key.
    fn said(builder: &AmazonS3Builder, key: AmazonS3ConfigKey) -> Option<String> {
        builder.get_config_value(&key)
    }

    #[test]
    fn the_environment_says_who_we_are_and_nothing_else() {
        let variable = |name: &str| {
            let value = match name {
                "AWS_ACCESS_KEY_ID" => "id",
                "AWS_SECRET_ACCESS_KEY" => "key",
                "AWS_EC2_METADATA_SERVICE_ENDPOINT" => "http://[fd00:ec2::254]/",
                "AWS_ROLE_ARN" => "",
                // Everything else is set, also what the library would follow.
                _ => "elsewhere",
            };
            Some(value.to_owned())
        };
        let builder = of_environment("eu-central-1", variable);
        let table = [
            (AmazonS3ConfigKey::AccessKeyId, Some("id")),
            (AmazonS3ConfigKey::SecretAccessKey, Some("key")),
            (AmazonS3ConfigKey::Token, Some("elsewhere")),
            (
                AmazonS3ConfigKey::MetadataEndpoint,
                Some("http://[fd00:ec2::254]"),
            ),
            (AmazonS3ConfigKey::RoleArn, None),
            (AmazonS3ConfigKey::Bucket, None),
            (AmazonS3ConfigKey::Region, None),
            (AmazonS3ConfigKey::Endpoint, None),
            (AmazonS3ConfigKey::S3Endpoint, None),
            (AmazonS3ConfigKey::SkipSignature, Some("false")),
            (AmazonS3ConfigKey::RequestPayer, Some("false")),
        ];
        for (key, expected) in table {
            assert_eq!(said(&builder, key).as_deref(), expected, "{key:?}");
        }
    }

    #[test]
    fn credentials_that_are_refused_need_a_person_and_others_time() {
        let table = [
            ("status code: 403 Forbidden: AccessDenied", Cause::Refused),
            (
                "status code: 400 Bad Request: InvalidIdentityToken",
                Cause::Refused,
            ),
            ("status code: 400 Bad Request: Throttling", Cause::NoCredentials),
            ("status code: 503 Service Unavailable", Cause::NoCredentials),
            ("Failed to read token file", Cause::NoCredentials),
        ];
        for (said, expected) in table {
            let error = object_store::Error::Generic {
                store: "S3",
                source: Box::new(NoCredentials(said.into())),
            };
            assert_eq!(classify::cause(&error), expected, "{said}");
        }
        let told = |text: &str| object_store::Error::Generic {
            store: "S3",
            source: text.to_owned().into(),
        };
        for code in ["ExpiredToken", "InvalidToken"] {
            let error = told(&format!("status code: 400 Bad Request: <Code>{code}</Code>"));
            assert_eq!(classify::cause(&error), Cause::Refused, "{code}");
        }
    }

    #[test]
    fn a_web_identity_is_exchanged_in_the_regions_own_domain() {
        let of = |region: &str, endpoint: Option<&str>| {
            let builder = of_environment(region, |name| endpoint.filter(|_| name == STS).map(str::to_owned));
            said(&builder, AmazonS3ConfigKey::StsEndpoint)
        };
        // The library's own: https://sts.<region>.amazonaws.com
        assert_eq!(of("eu-central-1", None), None);
        let china = "https://sts.cn-north-1.amazonaws.com.cn";
        assert_eq!(of("cn-north-1", None).as_deref(), Some(china));
        let own = "https://sts.example";
        assert_eq!(of("cn-north-1", Some(own)).as_deref(), Some(own));
    }
}
