//! Content that the server reads again while it runs: the users and the certificate. Only what was checked is in it.

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;

use super::metadata::owned;
use crate::children::Want;
use crate::input_keys::USERS;
use crate::issue::Issued;
use crate::secret_data::{TLS_CERTIFICATE, TLS_KEY};
use crate::validate::ValidatedRegistry;
use crate::validate::registry::ServerTls;

/// The Secret. A part that is wrong stays as it was, and one that is no longer asked for stays while Pods may read it.
pub(super) fn live(registry: &ValidatedRegistry, issued: &Issued) -> Want<Secret> {
    let files = &registry.live;
    let mut data = files.kept.clone();
    if let Some(users) = &files.users {
        data.insert(USERS.to_owned(), users.clone());
    }
    let issued = issued.server.as_ref().map(|pair| (&pair.certificate, &pair.key));
    let certificate = match &registry.tls {
        Some(ServerTls::Issued) => issued.map(|(certificate, key)| (certificate.as_bytes(), key.as_bytes())),
        Some(ServerTls::Provided { .. }) => {
            let provided = files.certificate.as_ref();
            provided.map(|(certificate, key)| (certificate.as_slice(), key.as_slice()))
        }
        Some(ServerTls::Disabled) | None => None,
    };
    if let Some((certificate, key)) = certificate {
        data.insert(TLS_CERTIFICATE.to_owned(), certificate.to_vec());
        data.insert(TLS_KEY.to_owned(), key.to_vec());
    }
    if data.is_empty() {
        return Want::Absent;
    }
    let data = data.into_iter().map(|(key, bytes)| (key, ByteString(bytes)));
    Want::Present(Secret {
        metadata: owned(registry, registry.names.live()),
        type_: Some("Opaque".to_owned()),
        data: Some(data.collect()),
        ..Default::default()
    })
}
