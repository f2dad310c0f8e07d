//! From text and variables to a configuration that can be served: parse, overlay, check, decode, rules.

use crate::check::{self, value_error};
use crate::decode::decode;
use crate::model::{self, CacheKind, Net};
use crate::tree::{Node, Origin, Tree, Value};
use crate::{Config, Error, GoDuration, Secret, Warning, overlay, spans};

/// A configuration that passed every check.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The typed keys.
    pub config: Config,
    /// All keys, the variables laid over the file: what `config check` prints, masked.
    pub tree: Tree,
    /// What has no effect. Each is worth one line at start.
    pub warnings: Vec<Warning>,
}

/// Reads a file's text and lays the variables over it.
///
/// # Errors
/// Everything that is wrong, each error one line. All of it is the caller's to mend.
pub fn load(text: &str, variables: impl IntoIterator<Item = (String, String)>) -> Result<Loaded, Vec<Error>> {
    let mut tree = Tree::parse(text).map_err(|error| vec![error])?;
    let mut warnings = Vec::new();
    overlay::apply(&mut tree, variables, &mut warnings)?;
    let mut errors = check::check(&mut tree, &mut warnings);
    unions(&tree, &mut errors);
    if tree.text("version").is_none() {
        errors.push(Error::Missing {
            path: "version".to_owned(),
            allowed: "`0.1`".to_owned(),
        });
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    let config: Config = decode(&tree.root).map_err(|mismatch| {
        let path = mismatch.path.join(".");
        let origin = tree
            .root
            .find(path.split('.'))
            .map_or(Origin::Program, |node| node.origin.clone());
        vec![Error::Value {
            path,
            origin,
            value: "its value".to_owned(),
            allowed: mismatch.problem,
        }]
    })?;
    rules(&config, &tree, &mut errors);
    spans::check(&config, &tree, &mut errors);
    secrets(&config, &tree, &mut errors, &mut warnings);
    for (index, hook) in config.log.hooks.iter().enumerate() {
        // No reason not to serve: nobody got mails before either.
        if let (true, Some(missing)) = (hook.is_on(), hook.missing()) {
            warnings.push(Warning::Incomplete {
                path: format!("log.hooks[{index}]"),
                missing,
            });
        }
    }
    // Anything but nothing was meant to have an effect.
    let asked = tree.root.find(["http", "tls"]).is_some_and(|tls| !tls.is_off());
    if asked && config.http.tls.certificate.is_none() {
        warnings.push(Warning::Incomplete {
            path: "http.tls".to_owned(),
            missing: "http.tls.certificate",
        });
    }
    let debug = &config.http.debug;
    if debug.prometheus.enabled == Some(true) && debug.addr.is_none() {
        warnings.push(Warning::Incomplete {
            path: "http.debug.prometheus".to_owned(),
            missing: "http.debug.addr",
        });
    }
    if errors.is_empty() {
        Ok(Loaded {
            config,
            tree,
            warnings,
        })
    } else {
        Err(errors)
    }
}

/// Exactly one storage driver, at most one way to authenticate.
fn unions(tree: &Tree, errors: &mut Vec<Error>) {
    let members = |section: &str| -> Vec<(String, Node)> {
        match tree.root.get(section).map(|node| &node.value) {
            Some(Value::Map(entries)) => entries.clone(),
            Some(Value::Null | Value::Scalar { .. } | Value::List(_)) | None => Vec::new(),
        }
    };
    let mut drivers = members("storage");
    drivers.retain(|(name, _)| check::is_driver(name));
    if drivers.is_empty() {
        let names: Vec<String> = check::drivers().map(|name| format!("`{name}`")).collect();
        let allowed = format!("exactly one driver of {}", names.join(", "));
        errors.push(Error::Missing {
            path: "storage".to_owned(),
            allowed,
        });
    }
    let mut kinds = members("auth");
    kinds.retain(|(name, _)| ["silly", "htpasswd", "token"].contains(&name.as_str()));
    let unknown = members("auth")
        .into_iter()
        .find(|(name, _)| !["silly", "htpasswd", "token"].contains(&name.as_str()));
    if let Some((name, node)) = unknown {
        // Ignoring it with a warning, as with other unknown keys, would open the registry to everybody.
        errors.push(Error::Value {
            path: "auth".to_owned(),
            origin: node.origin,
            value: crate::tree::shown(&name),
            allowed: "`htpasswd`, `silly`, `token`, or `none`".to_owned(),
        });
    }
    for (section, found) in [("storage", drivers), ("auth", kinds)] {
        if let [(first, _), (second, node), ..] = found.as_slice() {
            errors.push(Error::Conflict {
                path: format!("{section}.{second}"),
                origin: node.origin.clone(),
                other: format!("{section}.{first}"),
                allowed: "one of them".to_owned(),
            });
        }
    }
}

/// What signs the state of uploads must be something, and should not be guessed.
fn secrets(config: &Config, tree: &Tree, errors: &mut Vec<Error>, warnings: &mut Vec<Warning>) {
    /// As many bytes as a key of 128 bits has.
    const LEAST: usize = 16;
    let http = &config.http;
    let current = http
        .secret
        .iter()
        .map(|secret| ("http.secret".to_owned(), secret));
    let previous = http.previoussecrets.iter().enumerate();
    let previous = previous.map(|(index, secret)| (format!("http.previoussecrets[{index}]"), secret));
    for (path, secret) in current.chain(previous) {
        if secret.is_empty() {
            let allowed = "a secret that was used before, or no such item".to_owned();
            errors.push(Error::Missing { path, allowed });
        } else if secret.expose().len() < LEAST {
            let origin = tree.origin(&path);
            warnings.push(Warning::Guessable {
                path,
                origin,
                least: LEAST,
            });
        }
    }
}

/// What one key alone cannot show.
fn rules(config: &Config, tree: &Tree, errors: &mut Vec<Error>) {
    let mut required = |path: &str, value: &str, allowed: &str| {
        if value.is_empty() {
            errors.push(Error::Missing {
                path: path.to_owned(),
                allowed: allowed.to_owned(),
            });
        }
    };
    if let Some(htpasswd) = &config.auth.htpasswd {
        required(
            "auth.htpasswd.realm",
            &htpasswd.realm,
            "a name that clients show when they ask for a password",
        );
        required(
            "auth.htpasswd.path",
            &htpasswd.path,
            "the path of a file made by `htpasswd -B`",
        );
    }
    if let Some(silly) = &config.auth.silly {
        required("auth.silly.realm", &silly.realm, "any text");
        required("auth.silly.service", &silly.service, "any text");
    }
    if config.storage.cache.kind() == Some(CacheKind::Redis) {
        required(
            "redis.addrs",
            config.redis.addresses().first().copied().unwrap_or_default(),
            "at least one `host:port` for `storage.cache.blobdescriptor: redis`",
        );
    }
    if let Some(s3) = &config.storage.s3 {
        required("storage.s3.bucket", &s3.bucket, "the name of a bucket");
        if s3.regionendpoint.is_none() {
            let region = s3.region.as_deref().unwrap_or_default();
            required(
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
            required(missing, "", "both keys, or neither");
        } else if set(&s3.sessiontoken) && !set(&s3.accesskey) {
            required("storage.s3.accesskey", "", "both keys beside `sessiontoken`");
        }
        if s3.keyid.as_ref().is_some_and(|key| !key.is_empty()) && s3.encrypt != Some(true) {
            required("storage.s3.encrypt", "", "`true` beside `keyid`");
        }
    }
    if let Some(azure) = &config.storage.azure {
        required(
            "storage.azure.accountname",
            &azure.account(),
            "the name of an account",
        );
        required(
            "storage.azure.container",
            &azure.container,
            "the name of a container",
        );
        let credentials = &azure.credentials;
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        match credentials.kind {
            Some(model::AzureCredentialsKind::ClientSecret) => {
                required(
                    "storage.azure.credentials.clientid",
                    &text(&credentials.clientid),
                    "an application's id",
                );
                required(
                    "storage.azure.credentials.tenantid",
                    &text(&credentials.tenantid),
                    "a tenant",
                );
                let secret = credentials.secret.as_ref().map_or("", Secret::expose);
                required(
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
                required(
                    "storage.azure.accountkey",
                    &key,
                    "the account's key, or `credentials`",
                );
            }
        }
    }
    if let Some(gcs) = &config.storage.gcs {
        required("storage.gcs.bucket", &gcs.bucket, "the name of a bucket");
        if let Some(credentials) = gcs.credentials() {
            required(
                "storage.gcs.credentials.client_email",
                credentials.client_email.as_deref().unwrap_or_default(),
                "the service account",
            );
            required(
                "storage.gcs.credentials.private_key",
                credentials.private_key.as_ref().map_or("", Secret::expose),
                "the service account's key",
            );
        }
    }
    let health = &config.health;
    for (index, check) in health.file.iter().enumerate() {
        required(
            &format!("health.file[{index}].file"),
            &check.file,
            "the path of a file",
        );
    }
    for (index, check) in health.http.iter().enumerate() {
        required(&format!("health.http[{index}].uri"), &check.uri, "a URL");
    }
    for (index, check) in health.tcp.iter().enumerate() {
        required(&format!("health.tcp[{index}].addr"), &check.addr, "`host:port`");
    }
    let tls = &config.http.tls;
    if tls.certificate.is_some() || !tls.clientcas.is_empty() {
        required(
            "http.tls.key",
            tls.key.as_deref().unwrap_or_default(),
            "the path of a PEM file with a private key",
        );
    }
    if tls.key.is_some() || !tls.clientcas.is_empty() {
        let allowed = "the path of a PEM file with a certificate";
        required(
            "http.tls.certificate",
            tls.certificate.as_deref().unwrap_or_default(),
            allowed,
        );
    }
    if tls.clientauth.is_some() && tls.clientcas.is_empty() {
        // Distribution reads it only beside authorities, and asks nobody for a certificate then.
        required(
            "http.tls.clientcas",
            "",
            "at least one PEM file with the authorities of client certificates, beside `clientauth`",
        );
    }
    if config.http.trustedproxies.as_ref().is_some_and(Vec::is_empty) {
        // Read as "believe nobody" by one and as "no restriction" by the next: it has to be said.
        required(
            "http.trustedproxies",
            "",
            "at least one network, or no such key, which believes everybody",
        );
    }

    let mut formed = |path: &str, text: Option<&str>, good: fn(&str) -> bool, allowed: &str| {
        if let Some(text) = text
            && !good(text)
        {
            errors.push(value_error(tree, path, text, allowed));
        }
    };
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
            formed(
                path,
                text.as_deref(),
                part,
                "5242880 (5 MiB) to 5368709120 (5 GiB)",
            );
        }
    }
    let chunksize = config.storage.gcs.as_ref().and_then(|gcs| gcs.chunksize);
    formed(
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
    for (index, address) in config.redis.addrs.iter().enumerate() {
        let path = format!("redis.addrs[{index}]");
        formed(&path, Some(address), is_redis_address, REDIS_ADDRESS);
    }
    let addr = config.redis.addr.as_deref().filter(|addr| !addr.is_empty());
    formed("redis.addr", addr, is_redis_address, REDIS_ADDRESS);
    let limits = &config.http.limits;
    let sizes = [
        ("http.limits.requestmemory", limits.requestmemory),
        ("http.limits.responsememory", limits.responsememory),
    ];
    for (path, size) in sizes {
        formed(
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
        formed(
            path,
            span.map(|span| span.to_string()).as_deref(),
            long_enough,
            "a second or more, such as `90s`",
        );
    }
    let http = &config.http;
    if http.net != Some(Net::Unix) {
        formed("http.addr", http.addr.as_deref(), is_address, ADDRESS);
    }
    if http.debug.net() != Net::Unix {
        formed(
            "http.debug.addr",
            http.debug.addr.as_deref(),
            is_address,
            "`:port`, `host:port` or the absolute path of a unix socket",
        );
    }
    formed(
        "http.prefix",
        http.prefix.as_deref(),
        |prefix| prefix.starts_with('/') && prefix.ends_with('/') && !prefix.contains(['?', '#', ' ']),
        "a path with a slash at both ends, such as `/registry/`",
    );
    formed(
        "http.host",
        http.host.as_deref(),
        is_base_url,
        "a URL such as `https://registry.example.com`",
    );
    for name in http.headers.keys() {
        formed(
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
            formed(
                &format!("http.headers.{name}"),
                Some(value),
                good,
                "a text on one line",
            );
        }
    }
}

const REDIS_ADDRESS: &str = "`host:port` or the absolute path of a unix socket";

/// As Redis's library for Go reads it: a path is a unix socket.
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

#[cfg(test)]
mod tests;
