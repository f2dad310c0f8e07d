//! Keys of the Secrets and ConfigMaps that hold certificates and generated secrets.

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;

/// Key of the generated HTTP secret in its Secret.
pub const HTTP_SECRET_KEY: &str = "secret";
/// Key of a CA's certificate in Secrets and ConfigMaps.
pub const CA_CERTIFICATE: &str = "ca.crt";
/// Key of the certificate of the CA that will sign next.
pub const NEXT_CA_CERTIFICATE: &str = "next.crt";
/// Key of the private key of the CA that will sign next.
pub const NEXT_CA_KEY: &str = "next.key";
/// Key of a certificate in a `kubernetes.io/tls` Secret.
pub const TLS_CERTIFICATE: &str = "tls.crt";
/// Key of a private key in a `kubernetes.io/tls` Secret.
pub const TLS_KEY: &str = "tls.key";
/// The fewest bytes of an HTTP secret. A shorter one could be guessed.
pub const HTTP_SECRET_MIN: usize = 16;

/// The text under one key of a Secret; `None` when there is none or it is not UTF-8.
pub(crate) fn text(secret: Option<&Secret>, key: &str) -> Option<String> {
    let ByteString(bytes) = secret?.data.as_ref()?.get(key)?;
    String::from_utf8(bytes.clone()).ok()
}
