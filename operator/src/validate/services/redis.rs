//! `redis` of `config.yml`, which holds the descriptor cache.

use operator_api::{Redis, RedisMode};
use serde_json::{Value, json};

use super::needs::ServiceNeeds;
use crate::secret_data::{TLS_CERTIFICATE, TLS_KEY};
use crate::validate::error::Error;
use crate::validate::lookup;

/// The well-known CAs in the server's image. The server speaks TLS to Redis when it is told which CAs to trust.
const SYSTEM_CAS: &str = "/etc/ssl/certs/ca-certificates.crt";
const CERTIFICATE_FILE: &str = "redis.crt";
const KEY_FILE: &str = "redis.key";

pub(super) fn section(redis: &Redis, needs: &mut ServiceNeeds<'_>) -> Result<Value, Error> {
    // Several addresses without a master's name mean a cluster, as in distribution.
    let mut section = json!({ "addrs": redis.addresses });
    if let (RedisMode::Sentinel, Some(sentinel)) = (redis.mode, &redis.sentinel) {
        section["mastername"] = sentinel.master_name.as_str().into();
    }
    if let Some(credentials) = &redis.credentials {
        let login = &credentials.secret;
        let field = "spec.cache.redis.credentials.secret";
        if let Some(user) = &login.username_key {
            needs.variable("REGISTRY_REDIS_USERNAME", &login.name, user, field)?;
        }
        needs.variable("REGISTRY_REDIS_PASSWORD", &login.name, &login.password_key, field)?;
    }
    let Some(tls) = &redis.tls else {
        return Ok(section);
    };
    let cas = match &tls.ca_bundle {
        Some(bundle) => needs.ca_bundle("redis-ca.crt", bundle, "spec.cache.redis.tls.caBundle")?,
        None => SYSTEM_CAS.to_owned(),
    };
    section["tls"] = json!({ "rootcas": [cas] });
    if let Some(secret) = &tls.client_certificate {
        let field = "spec.cache.redis.tls.clientCertificate";
        lookup::tls_secret(&secret.name, field, needs.facts)?;
        for (member, file, key) in [
            ("certificate", CERTIFICATE_FILE, TLS_CERTIFICATE),
            ("key", KEY_FILE, TLS_KEY),
        ] {
            let bytes = lookup::value(&secret.name, key, field, needs.facts)?;
            section["tls"][member] = needs.input_file(file, bytes.to_vec()).into();
        }
    }
    Ok(section)
}
