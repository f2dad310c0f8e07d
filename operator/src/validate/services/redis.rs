//! `redis` of `config.yml`, and with it the descriptor cache.

use operator_api::{Redis, RedisMode};
use serde_json::{Value, json};

use super::{CREDENTIALS_FOLDER, Gather, Source, key_ref};
use crate::issue::{TLS_CERTIFICATE, TLS_KEY};
use crate::validate::{Error, secrets};

/// The well-known CAs in the server's image. The server speaks TLS to Redis when it is told whom to trust.
const SYSTEM_CAS: &str = "/etc/ssl/certs/ca-certificates.crt";
const CERTIFICATE_FILE: &str = "redis.crt";
const KEY_FILE: &str = "redis.key";

pub(super) fn section(redis: &Redis, services: &mut Gather<'_>) -> Result<Value, Error> {
    // Several addresses without a master's name are a cluster, to distribution as to us.
    let mut section = json!({ "addrs": redis.addresses });
    if let (RedisMode::Sentinel, Some(sentinel)) = (redis.mode, &redis.sentinel) {
        section["mastername"] = sentinel.master_name.as_str().into();
    }
    if let Some(credentials) = &redis.credentials {
        let login = &credentials.secret;
        let field = "spec.cache.redis.credentials.secret";
        if let Some(user) = &login.username_key {
            services.variable("REGISTRY_REDIS_USERNAME", &login.name, user, field)?;
        }
        services.variable("REGISTRY_REDIS_PASSWORD", &login.name, &login.password_key, field)?;
    }
    let Some(tls) = &redis.tls else {
        return Ok(section);
    };
    let cas = match &tls.ca_bundle {
        Some(bundle) => services.ca_bundle("redis-ca.crt", bundle, "spec.cache.redis.tls.caBundle")?,
        None => SYSTEM_CAS.to_owned(),
    };
    section["tls"] = json!({ "rootcas": [cas] });
    if let Some(secret) = &tls.client_certificate {
        let field = "spec.cache.redis.tls.clientCertificate";
        secrets::tls_secret(&secret.name, field, services.facts)?;
        for (member, file, key) in [
            ("certificate", CERTIFICATE_FILE, TLS_CERTIFICATE),
            ("key", KEY_FILE, TLS_KEY),
        ] {
            let bytes = secrets::value(&secret.name, key, field, services.facts)?;
            let input = format!("service/secret/{}/{key}", secret.name);
            services.found.inputs.insert(input, bytes.to_vec());
            let source = Source::Secret(key_ref(&secret.name, key));
            services.found.supplies.files.push((file, source));
            section["tls"][member] = format!("{CREDENTIALS_FOLDER}/{file}").into();
        }
    }
    Ok(section)
}
