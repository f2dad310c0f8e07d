//! Rules of a configuration that need more than one key, or more than the shape of a value.
//!
//! Start at [`check`]; there is one function per section and kind of rule.

use crate::check::value_error;
use crate::model::{self, CacheKind, Net};
use crate::tree::Tree;
use crate::{Config, Error, GoDuration, Secret};

/// Finds every broken rule: first missing keys, then values of a wrong form.
pub(crate) fn check(config: &Config, tree: &Tree, errors: &mut Vec<Error>) {
    let mut rules = Rules { tree, errors };
    rules.auth(config);
    rules.cache(config);
    rules.s3(config);
    rules.azure(config);
    rules.gcs(config);
    rules.health(config);
    rules.tls(config);
    rules.trusted_proxies(config);
    rules.s3_sizes(config);
    rules.gcs_sizes(config);
    rules.redis_addresses(config);
    rules.limits(config);
    rules.addresses(config);
    rules.headers(config);
}

struct Rules<'a> {
    tree: &'a Tree,
    errors: &'a mut Vec<Error>,
}

impl Rules<'_> {
    /// Reports a key that must not be empty.
    fn required(&mut self, path: &str, value: &str, allowed: &str) {
        if value.is_empty() {
            self.errors.push(Error::Missing {
                path: path.to_owned(),
                allowed: allowed.to_owned(),
            });
        }
    }

    /// Reports a text of a wrong form.
    fn formed(&mut self, path: &str, text: Option<&str>, good: impl Fn(&str) -> bool, allowed: &str) {
        if let Some(text) = text
            && !good(text)
        {
            self.errors.push(value_error(self.tree, path, text, allowed));
        }
    }

    /// Keys of the chosen way to authenticate.
    fn auth(&mut self, config: &Config) {
        if let Some(htpasswd) = &config.auth.htpasswd {
            self.required(
                "auth.htpasswd.realm",
                &htpasswd.realm,
                "a name that clients show when they ask for a password",
            );
            self.required(
                "auth.htpasswd.path",
                &htpasswd.path,
                "the path of a file made by `htpasswd -B`",
            );
        }
        if let Some(silly) = &config.auth.silly {
            self.required("auth.silly.realm", &silly.realm, "any text");
            self.required("auth.silly.service", &silly.service, "any text");
        }
    }

    /// Redis addresses, if the cache is in Redis.
    fn cache(&mut self, config: &Config) {
        if config.storage.cache.kind() == Some(CacheKind::Redis) {
            self.required(
                "redis.addrs",
                config.redis.addresses().first().copied().unwrap_or_default(),
                "at least one `host:port` for `storage.cache.blobdescriptor: redis`",
            );
        }
    }

    /// Keys of `storage.s3`.
    fn s3(&mut self, config: &Config) {
        if let Some(s3) = &config.storage.s3 {
            self.required("storage.s3.bucket", &s3.bucket, "the name of a bucket");
            if s3.regionendpoint.is_none() {
                let region = s3.region.as_deref().unwrap_or_default();
                self.required(
                    "storage.s3.region",
                    region,
                    "the bucket's region, or `regionendpoint`",
                );
            }
            let set = |secret: &Option<Secret>| secret.as_ref().is_some_and(|secret| !secret.is_empty());
            if set(&s3.accesskey) != set(&s3.secretkey) {
                let missing = match set(&s3.accesskey) {
                    true => "storage.s3.secretkey",
                    false => "storage.s3.accesskey",
                };
                self.required(missing, "", "both keys, or neither");
            } else if set(&s3.sessiontoken) && !set(&s3.accesskey) {
                self.required("storage.s3.accesskey", "", "both keys beside `sessiontoken`");
            }
            if s3.keyid.as_ref().is_some_and(|key| !key.is_empty()) && s3.encrypt != Some(true) {
                self.required("storage.s3.encrypt", "", "`true` beside `keyid`");
            }
        }
    }

    /// Keys of `storage.azure`.
    fn azure(&mut self, config: &Config) {
        if let Some(azure) = &config.storage.azure {
            self.required(
                "storage.azure.accountname",
                &azure.account(),
                "the name of an account",
            );
            self.required(
                "storage.azure.container",
                &azure.container,
                "the name of a container",
            );
            let credentials = &azure.credentials;
            let text = |text: &Option<String>| text.clone().unwrap_or_default();
            match credentials.kind {
                Some(model::AzureCredentialsKind::ClientSecret) => {
                    self.required(
                        "storage.azure.credentials.clientid",
                        &text(&credentials.clientid),
                        "an application's id",
                    );
                    self.required(
                        "storage.azure.credentials.tenantid",
                        &text(&credentials.tenantid),
                        "a tenant",
                    );
                    let secret = credentials.secret.as_ref().map_or("", Secret::expose);
                    self.required(
                        "storage.azure.credentials.secret",
                        secret,
                        "the application's secret",
                    );
                }
                Some(model::AzureCredentialsKind::DefaultCredentials) => {}
                // Version 2 knows nothing but the key.
                Some(model::AzureCredentialsKind::SharedKey) | None => {
                    let key = azure
                        .key()
                        .map_or_else(String::new, |key| key.expose().to_owned());
                    self.required(
                        "storage.azure.accountkey",
                        &key,
                        "the account's key, or `credentials`",
                    );
                }
            }
        }
    }

    /// Keys of `storage.gcs`.
    fn gcs(&mut self, config: &Config) {
        if let Some(gcs) = &config.storage.gcs {
            self.required("storage.gcs.bucket", &gcs.bucket, "the name of a bucket");
            if let Some(credentials) = gcs.credentials() {
                self.required(
                    "storage.gcs.credentials.client_email",
                    credentials.client_email.as_deref().unwrap_or_default(),
                    "the service account",
                );
                self.required(
                    "storage.gcs.credentials.private_key",
                    credentials.private_key.as_ref().map_or("", Secret::expose),
                    "the service account's key",
                );
            }
        }
    }

    /// Subjects of the health checks.
    fn health(&mut self, config: &Config) {
        let health = &config.health;
        for (index, check) in health.file.iter().enumerate() {
            self.required(
                &format!("health.file[{index}].file"),
                &check.file,
                "the path of a file",
            );
        }
        for (index, check) in health.http.iter().enumerate() {
            self.required(&format!("health.http[{index}].uri"), &check.uri, "a URL");
        }
        for (index, check) in health.tcp.iter().enumerate() {
            self.required(&format!("health.tcp[{index}].addr"), &check.addr, "`host:port`");
        }
    }

    /// Keys of `http.tls`.
    fn tls(&mut self, config: &Config) {
        let tls = &config.http.tls;
        if tls.certificate.is_some() || !tls.clientcas.is_empty() {
            self.required(
                "http.tls.key",
                tls.key.as_deref().unwrap_or_default(),
                "the path of a PEM file with a private key",
            );
        }
        if tls.key.is_some() || !tls.clientcas.is_empty() {
            let allowed = "the path of a PEM file with a certificate";
            self.required(
                "http.tls.certificate",
                tls.certificate.as_deref().unwrap_or_default(),
                allowed,
            );
        }
        if tls.clientauth.is_some() && tls.clientcas.is_empty() {
            // Distribution reads `clientauth` only together with `clientcas`, and asks for no client certificate otherwise.
            self.required(
                "http.tls.clientcas",
                "",
                "at least one PEM file with the CAs of client certificates, beside `clientauth`",
            );
        }
        // A client over plain HTTP shows no certificate.
        let plaintext = tls.allowplaintext.filter(|_| !tls.clientcas.is_empty());
        self.formed(
            "http.tls.allowplaintext",
            plaintext.map(|allowed| allowed.to_string()).as_deref(),
            |allowed| allowed == "false",
            "`false`, because `http.tls.clientcas` asks every client for a certificate",
        );
    }

    /// Networks of `http.trustedproxies`.
    fn trusted_proxies(&mut self, config: &Config) {
        if config.http.trustedproxies.as_ref().is_some_and(Vec::is_empty) {
            // An empty list can be read as "trust nobody" and as "no restriction", so it is refused.
            self.required(
                "http.trustedproxies",
                "",
                "at least one network, or no such key, which trusts everybody",
            );
        }
    }

    /// Sizes of parts and copies of `storage.s3`.
    fn s3_sizes(&mut self, config: &Config) {
        if let Some(s3) = &config.storage.s3 {
            let part = |text: &str| {
                text.parse()
                    .is_ok_and(|size| (model::S3::PART_MIN..=model::S3::PART_MAX).contains(&size))
            };
            let sizes = [
                ("storage.s3.chunksize", s3.chunksize),
                ("storage.s3.multipartcopychunksize", s3.multipartcopychunksize),
            ];
            for (path, size) in sizes {
                let text = size.map(|size| size.to_string());
                self.formed(
                    path,
                    text.as_deref(),
                    part,
                    "5242880 (5 MiB) to 5368709120 (5 GiB)",
                );
            }
        }
    }

    /// Size of parts of `storage.gcs`.
    fn gcs_sizes(&mut self, config: &Config) {
        let chunksize = config.storage.gcs.as_ref().and_then(|gcs| gcs.chunksize);
        self.formed(
            "storage.gcs.chunksize",
            chunksize.map(|size| size.to_string()).as_deref(),
            |text| {
                text.parse().is_ok_and(|size: u64| {
                    size.is_multiple_of(model::Gcs::GRAIN)
                        && (model::Gcs::GRAIN..=model::Gcs::PART_MAX).contains(&size)
                })
            },
            "a multiple of 262144 (256 KiB) up to 5368709120 (5 GiB)",
        );
    }

    /// Addresses of `redis`.
    fn redis_addresses(&mut self, config: &Config) {
        for (index, address) in config.redis.addrs.iter().enumerate() {
            let path = format!("redis.addrs[{index}]");
            self.formed(&path, Some(address), is_redis_address, REDIS_ADDRESS);
        }
        let addr = config.redis.addr.as_deref().filter(|addr| !addr.is_empty());
        self.formed("redis.addr", addr, is_redis_address, REDIS_ADDRESS);
    }

    /// Values of `http.limits`.
    fn limits(&mut self, config: &Config) {
        let limits = &config.http.limits;
        let sizes = [
            ("http.limits.requestmemory", limits.requestmemory),
            ("http.limits.responsememory", limits.responsememory),
        ];
        for (path, size) in sizes {
            self.formed(
                path,
                size.map(|size| size.to_string()).as_deref(),
                |text| {
                    text.parse()
                        .is_ok_and(|size: u64| size >= model::Limits::MEMORY_MIN)
                },
                "8388608 (8 MiB) or more",
            );
        }
        let timeouts = [
            ("http.limits.bodytimeout", limits.bodytimeout),
            ("http.limits.writetimeout", limits.writetimeout),
        ];
        for (path, span) in timeouts {
            let long_enough = |text: &str| {
                let span = GoDuration::parse(text).ok().and_then(GoDuration::positive);
                span.is_some_and(|span| span >= model::Limits::TIMEOUT_MIN)
            };
            self.formed(
                path,
                span.map(|span| span.to_string()).as_deref(),
                long_enough,
                "a second or more, such as `90s`",
            );
        }
    }

    /// Addresses, prefix and host of `http`.
    fn addresses(&mut self, config: &Config) {
        let http = &config.http;
        if http.net != Some(Net::Unix) {
            self.formed("http.addr", http.addr.as_deref(), is_address, ADDRESS);
        }
        if http.debug.net() != Net::Unix {
            self.formed(
                "http.debug.addr",
                http.debug.addr.as_deref(),
                is_address,
                "`:port`, `host:port` or the absolute path of a unix socket",
            );
        }
        self.formed(
            "http.prefix",
            http.prefix.as_deref(),
            |prefix| prefix.starts_with('/') && prefix.ends_with('/') && !prefix.contains(['?', '#', ' ']),
            "a path with a slash at both ends, such as `/registry/`",
        );
        self.formed(
            "http.host",
            http.host.as_deref(),
            is_base_url,
            "a URL such as `https://registry.example.com`",
        );
    }

    /// Names and values of `http.headers`.
    fn headers(&mut self, config: &Config) {
        let http = &config.http;
        for name in http.headers.keys() {
            self.formed(
                &format!("http.headers.{name}"),
                Some(name),
                is_header_name,
                "a header's name",
            );
        }
        for (name, values) in &http.headers {
            for value in values {
                let good = |value: &str| {
                    value
                        .bytes()
                        .all(|byte| byte == b'\t' || (byte >= 32 && byte != 127))
                };
                self.formed(
                    &format!("http.headers.{name}"),
                    Some(value),
                    good,
                    "a text on one line",
                );
            }
        }
    }
}

const REDIS_ADDRESS: &str = "`host:port` or the absolute path of a unix socket";

/// Whether a text is an address as Redis's library for Go reads it; a path is a unix socket.
fn is_redis_address(text: &str) -> bool {
    text.starts_with('/') || is_address(text)
}

const ADDRESS: &str = "`:port` or `host:port`";

fn is_address(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else {
        return false;
    };
    let bracketed = host.starts_with('[') && host.ends_with(']');
    let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    digits && port.parse::<u16>().is_ok() && (bracketed || !host.contains([':', '/', ' ']))
}

fn is_base_url(text: &str) -> bool {
    let rest = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"));
    rest.is_some_and(|rest| {
        !rest.is_empty()
            && !rest.starts_with('/')
            && rest.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"')
    })
}

/// RFC 9110, section 5.6.2, token.
fn is_header_name(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}
