//! The server's `config.yml`: the typed fields, the services, then the keys of `spec.config` and `spec.configFrom`. The
//! server's own parser checks the result. Start at [`file`].

use std::time::Duration;

use operator_api::{
    AccessLog, AnonymousAccess, ConfigFrom, Deletion, LogFormat, LogLevel, Mode, RegistrySpec,
};
use registry_config::keys::{KEYS, Shape};
use registry_config::{Config, GoDuration, Tree, Warning, model};
use serde_json::Value;

use super::backend::Backend;
use super::error::{Collector, Error};
use super::lookup;
use super::registry::{ConfigFile, ConfigHome, Supplies};
use super::services::Services;
use crate::pod_layout::{
    DATA_FOLDER, DRAIN_DELAY_SECONDS, HTPASSWD_FILE, HTPASSWD_FOLDER, IDENTITY_HEADER, PROBE_PORT,
    SERVER_PORT, TLS_FOLDER,
};
use crate::read::Facts;
use crate::subject::Subject;

/// Drain timeout of a Registry that names none.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(60);
/// The deepest `spec.config`. The deepest key of the server has seven levels, and the API server's answers are shortened
/// far below this (`json_depth`).
const DEPTH_MAX: usize = 32;
/// Stands for a value that an environment variable brings. It is Base64, as the keys of Azure are.
const PLACEHOLDER: &str = "provided when the server starts";

/// The file, for a server that answers plain HTTP and TLS when `both` is set; `None` when a key is refused or the storage or a service is wrong.
pub(super) fn file(
    spec: &RegistrySpec,
    subject: &Subject,
    both: bool,
    storage: Option<&Backend>,
    services: Option<&Services>,
    facts: &Facts,
    found: &mut Collector,
) -> Option<ConfigFile> {
    let known = found.problems.len();
    let overlay = spec.config.clone().map(Value::Object);
    if overlay.as_ref().is_some_and(|overlay| depth(overlay) > DEPTH_MAX) {
        let problem = format!("it is nested more than {DEPTH_MAX} levels deep");
        found.problems.push(Error::ConfigInvalid { problem });
        return None;
    }
    for path in overlay.iter().flat_map(leaves) {
        if found.collect(allowed(&path, spec)).is_some() && is_secret(&path) {
            found.problems.push(Error::ConfigKeySecret { path });
        }
    }
    for from in &spec.config_from {
        found.collect(allowed(&from.path, spec));
    }
    let (storage, services) = (storage?, services?);
    if found.problems.len() > known {
        return None;
    }
    let mut tree = typed(spec, subject, both, storage).to_tree();
    tree.merge(&found.collect(parsed(&services.config))?);
    if let Some(overlay) = &overlay {
        tree.merge(&found.collect(parsed(overlay))?);
    }
    for warning in found.collect(check(&tree, &services.supplies))? {
        found.note(format!("In `spec.config`, {warning}"));
    }
    for from in &spec.config_from {
        found.collect(set_secret(&mut tree, from, &services.supplies, facts));
    }
    (found.problems.len() == known).then(|| ConfigFile {
        yaml: tree.to_yaml(),
        home: match spec.config_from.is_empty() {
            true => ConfigHome::ConfigMap,
            false => ConfigHome::Secret,
        },
    })
}

/// The number of levels of a value; a scalar has one.
fn depth(value: &Value) -> usize {
    let inner = match value {
        Value::Object(members) => members.values().map(depth).max(),
        Value::Array(items) => items.iter().map(depth).max(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    };
    1 + inner.unwrap_or(0)
}

/// The sections that typed fields set.
fn typed(spec: &RegistrySpec, subject: &Subject, both: bool, storage: &Backend) -> Config {
    let log = spec.log.clone().unwrap_or_default();
    let mut config = Config::default();
    config.log.level = Some(match log.level {
        LogLevel::Error => model::Level::Error,
        LogLevel::Warn => model::Level::Warn,
        LogLevel::Info => model::Level::Info,
        LogLevel::Debug => model::Level::Debug,
    });
    config.log.formatter = Some(match log.format {
        LogFormat::Text => model::Formatter::Text,
        LogFormat::JSON => model::Formatter::Json,
        LogFormat::Logstash => model::Formatter::Logstash,
    });
    config.log.accesslog.disabled = Some(log.access_log == AccessLog::Disabled);
    config.storage.filesystem = storage.location().is_none().then(|| model::Filesystem {
        rootdirectory: Some(DATA_FOLDER.to_owned()),
        ..Default::default()
    });
    config.storage.delete.enabled = Some(spec.storage.deletion == Deletion::Enabled);
    config.storage.maintenance.readonly.enabled = Some(read_only(spec));
    // Without the UID: a Registry that is deleted and applied again must be allowed to use its own storage.
    config.storage.maintenance.owner = Some(format!("{}/{}", subject.namespace, subject.name));
    config.auth.htpasswd = spec.auth.htpasswd.as_ref().map(|htpasswd| model::Htpasswd {
        realm: htpasswd.realm.clone().unwrap_or_else(|| subject.name.clone()),
        path: format!("{HTPASSWD_FOLDER}/{HTPASSWD_FILE}"),
    });
    config.http.addr = Some(format!(":{SERVER_PORT}"));
    config.http.host = spec
        .public_url
        .as_ref()
        .map(|url| url.trim_end_matches('/').to_owned());
    config.http.draintimeout = GoDuration::try_from(drain_timeout(spec)).ok();
    // One Pod alone has nobody to take over: a delay would only make the outage longer.
    config.http.draindelay = storage
        .shared()
        .then_some(GoDuration::from_secs(DRAIN_DELAY_SECONDS));
    config.http.headers = [
        ("X-Content-Type-Options".to_owned(), vec!["nosniff".to_owned()]),
        (IDENTITY_HEADER.to_owned(), vec![subject.identity()]),
    ]
    .into_iter()
    .collect();
    let proxies = spec
        .http
        .iter()
        .flat_map(|http| http.trusted_proxies.iter().cloned())
        .collect::<Vec<_>>();
    config.http.trustedproxies = (!proxies.is_empty()).then_some(proxies);
    if both {
        config.http.tls.allowplaintext = Some(true);
    }
    if both || spec.tls.as_ref().is_none_or(|tls| tls.disabled.is_none()) {
        config.http.tls.certificate = Some(format!("{TLS_FOLDER}/tls.crt"));
        config.http.tls.key = Some(format!("{TLS_FOLDER}/tls.key"));
    }
    config.http.debug.addr = Some(format!(":{PROBE_PORT}"));
    config.http.debug.prometheus.enabled = spec.metrics.as_ref().map(|_| true);
    config.health.storagedriver.enabled = Some(true);
    config.health.storagedriver.threshold = Some(3);
    config
}

/// Writes the value of a Secret into the file.
fn set_secret(tree: &mut Tree, from: &ConfigFrom, supplies: &Supplies, facts: &Facts) -> Result<(), Error> {
    let (reference, field) = (&from.secret_key_ref, "spec.configFrom");
    let invalid = |problem| Error::secret_invalid(&reference.name, &reference.key, field, problem);
    let bytes = lookup::value(&reference.name, &reference.key, field, facts)?;
    let text = std::str::from_utf8(bytes).map_err(|_| invalid("is not text"))?;
    let mut with_value = tree.clone();
    with_value.set(&from.path, text.trim_end_matches('\n'));
    // The parser's message may quote the value, so it is left out.
    check(&with_value, supplies)
        .map_err(|_| invalid("is refused by the server at its path in `config.yml`"))?;
    *tree = with_value;
    Ok(())
}

/// Whether the server refuses every change.
pub(super) fn read_only(spec: &RegistrySpec) -> bool {
    let anonymous = spec.auth.anonymous.as_ref();
    spec.mode == Mode::ReadOnly || anonymous.is_some_and(|a| a.access == AnonymousAccess::Pull)
}

/// How long running requests may go on when a Pod is stopped.
pub(super) fn drain_timeout(spec: &RegistrySpec) -> Duration {
    let http = spec.http.as_ref();
    http.and_then(|http| http.drain_timeout)
        .map_or(DRAIN_TIMEOUT, Duration::from)
}

/// Parses sections in JSON, which is YAML. The tree keeps the text of every scalar.
fn parsed(sections: &Value) -> Result<Tree, Error> {
    Tree::parse(&sections.to_string()).map_err(|problem| Error::ConfigInvalid {
        problem: problem.to_string(),
    })
}

/// Asks the server's own parser. Values that environment variables bring are replaced by a placeholder.
fn check(tree: &Tree, supplies: &Supplies) -> Result<Vec<Warning>, Error> {
    let variables = supplies.secret_variables.iter();
    let variables = variables.map(|variable| ((*variable).to_owned(), PLACEHOLDER.to_owned()));
    match registry_config::load(&tree.to_yaml(), variables) {
        Ok(loaded) => Ok(loaded.warnings),
        Err(errors) => {
            let problem = errors
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join("; ");
            Err(Error::ConfigInvalid { problem })
        }
    }
}

/// Paths of all scalars and empty sections, as `spec.configFrom` takes them: an item of a list has its index.
fn leaves(value: &Value) -> Vec<String> {
    fn walk(value: &Value, path: String, found: &mut Vec<String>) {
        match value {
            Value::Object(members) if !members.is_empty() => {
                for (key, member) in members {
                    let key = key.to_ascii_lowercase();
                    walk(
                        member,
                        if path.is_empty() {
                            key
                        } else {
                            format!("{path}.{key}")
                        },
                        found,
                    );
                }
            }
            Value::Array(items) if !items.is_empty() => {
                for (index, item) in items.iter().enumerate() {
                    walk(item, format!("{path}[{index}]"), found);
                }
            }
            _ => found.push(path),
        }
    }
    let mut found = Vec::new();
    walk(value, String::new(), &mut found);
    found.sort();
    found.dedup();
    found
}

/// Keys that only the operator may set, with the field to use instead.
const OWNED: [(&str, &str); 26] = [
    ("version", "no field: there is only one version"),
    ("log.level", "`spec.log.level`"),
    ("loglevel", "`spec.log.level`"),
    ("log.formatter", "`spec.log.format`"),
    ("log.accesslog", "`spec.log.accessLog`"),
    ("storage.delete", "`spec.storage.deletion`"),
    ("storage.redirect", "`spec.storage.redirect`"),
    ("redis.addr", "`spec.cache.redis.addresses`"),
    ("redis.addrs", "`spec.cache.redis.addresses`"),
    ("redis.mastername", "`spec.cache.redis.sentinel.masterName`"),
    ("redis.username", "`spec.cache.redis.credentials`"),
    ("redis.password", "`spec.cache.redis.credentials`"),
    ("redis.tls", "`spec.cache.redis.tls`"),
    ("storage.maintenance.readonly", "`spec.mode`"),
    (
        "storage.maintenance.owner",
        "no field: it marks the storage as this Registry's",
    ),
    ("auth", "`spec.auth`"),
    (
        "http.addr",
        "no field: the Service leads to the port the operator sets",
    ),
    (
        "http.net",
        "no field: the Service leads to the port the operator sets",
    ),
    ("http.host", "`spec.publicURL`"),
    (
        "http.prefix",
        "no field: clients look for the registry at the host's root",
    ),
    ("http.secret", "`spec.http.secretKeyRef`"),
    ("http.previoussecrets", "`spec.http.previousSecretKeyRefs`"),
    ("http.draintimeout", "`spec.http.drainTimeout`"),
    ("http.trustedproxies", "`spec.http.trustedProxies`"),
    ("http.debug.addr", "no field: the probes use it"),
    (
        "http.headers.berth-registry-id",
        "no field: the operator recognises the Registry by it",
    ),
];
/// The part of `http.tls` that only the operator may set. Authors may set the rest, such as the lowest version.
const OWNED_TLS: [&str; 4] = [
    "http.tls.allowplaintext",
    "http.tls.certificate",
    "http.tls.key",
    "http.tls.letsencrypt",
];
/// Members of `storage`, other than the driver, that authors may set.
const STORAGE_FREE: [&str; 3] = ["cache", "maintenance", "tag"];
/// Keys of the driver in use that authors may set: they say how it works, not where the content is or who may see it.
const TUNING: [&str; 15] = [
    "storage.s3.accelerate",
    "storage.s3.chunksize",
    "storage.s3.loglevel",
    "storage.s3.multipartcopychunksize",
    "storage.s3.multipartcopymaxconcurrency",
    "storage.s3.multipartcopythresholdsize",
    "storage.s3.objectacl",
    "storage.s3.redirectendpoint",
    "storage.s3.usedualstack",
    "storage.s3.usefipsendpoint",
    "storage.s3.useragent",
    "storage.azure.max_retries",
    "storage.azure.retry_delay",
    "storage.gcs.chunksize",
    "storage.gcs.useragent",
];

/// Refuses a key that only the operator may set.
fn allowed(path: &str, spec: &RegistrySpec) -> Result<(), Error> {
    let path = path.to_ascii_lowercase();
    let under = |key: &str| {
        path.strip_prefix(key).is_some_and(|rest| rest.is_empty() || rest.starts_with('.') || rest.starts_with('['))
            // A section that is replaced as a whole loses its members.
            || key.strip_prefix(path.as_str()).is_some_and(|rest| rest.starts_with('.'))
    };
    if let Some((_, instead)) = OWNED.iter().find(|(key, _)| under(key)) {
        return Err(Error::ConfigKeyOwned { path, instead });
    }
    // Without Redis this key is the only way to choose the descriptor cache. With Redis it would switch Redis off.
    if spec.cache.is_some() && under("storage.cache.blobdescriptor") {
        return Err(Error::ConfigKeyOwned {
            path,
            instead: "`spec.cache`",
        });
    }
    if OWNED_TLS.iter().any(|key| under(key)) {
        return Err(Error::ConfigKeyOwned {
            path,
            instead: "`spec.tls`",
        });
    }
    let driver = path
        .strip_prefix("storage.")
        .map(|rest| rest.split(['.', '[']).next().unwrap_or_default());
    let in_use = match driver {
        Some("s3") => spec.storage.s3.is_some(),
        Some("azure") => spec.storage.azure.is_some(),
        Some("gcs") => spec.storage.gcs.is_some(),
        _ => false,
    };
    if in_use && TUNING.contains(&path.as_str()) {
        return Ok(());
    }
    if path == "storage" || driver.is_some_and(|driver| !STORAGE_FREE.contains(&driver)) {
        return Err(Error::ConfigKeyOwned {
            path,
            instead: "`spec.storage`",
        });
    }
    Ok(())
}

/// Whether the value of this key is a secret, by the server's table of keys.
fn is_secret(path: &str) -> bool {
    let steps = |path: &str| path.split('.').map(str::to_owned).collect::<Vec<_>>();
    let path = steps(path);
    KEYS.iter().filter(|key| key.shape == Shape::Secret).any(|key| {
        let pattern = steps(key.path);
        // A path below a secret is part of the secret.
        pattern.len() <= path.len()
            && pattern.iter().zip(&path).all(|(pattern, step)| {
                let (name, list) = (pattern.trim_end_matches("[]"), pattern.ends_with("[]"));
                let (step_name, item) = step
                    .split_once('[')
                    .map_or((step.as_str(), false), |(key, _)| (key, true));
                (name == "*" || name == step_name) && (!list || item || name == "*")
            })
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn owned_keys_and_whole_sections_above_them_are_refused() {
        let mut spec = crate::fixtures::Fixture::parse(&crate::fixtures::least(""))
            .registry
            .spec;
        let check = |path: &str, expected: bool| {
            assert_eq!(allowed(path, &spec).is_ok(), expected, "{path}");
        };
        for path in [
            "http.secret",
            "http.secret.x",
            "http.headers.Berth-Registry-ID",
            "http",
            "auth.token.realm",
            "log",
            "storage",
            "storage.s3.bucket",
            "storage.s3.chunksize",
            "storage.redirect.disable",
            "storage.maintenance.owner",
            "storage.maintenance.Owner",
            "http.debug",
            "http.debug.addr",
            "http.tls.allowplaintext",
            "redis",
            "redis.addrs[0]",
            "redis.tls.rootcas[0]",
        ] {
            check(path, false);
        }
        for path in ["HTTP.Secret", "http.tls", "storage.maintenance"] {
            check(path, false);
        }
        for path in [
            "catalog.maxentries",
            "log.fields.team",
            "http.headers.x",
            "storage.cache.blobdescriptor",
            "storage.maintenance.uploadpurging.age",
            "http.tls.minimumtls",
            "http.debug.prometheus.enabled",
            "redis.db",
        ] {
            check(path, true);
        }
        spec.cache = serde_json::from_value(json!({ "redis": { "addresses": ["a:1"] } })).unwrap();
        for path in ["storage.cache.blobdescriptor", "storage.cache"] {
            assert!(allowed(path, &spec).is_err(), "{path}");
        }
        assert!(allowed("storage.cache.blobdescriptorsize", &spec).is_ok());
        let bucket = crate::fixtures::Fixture::parse(include_str!("../fixtures/s3.yaml"));
        spec.storage = bucket.registry.spec.storage;
        for (path, expected) in [
            ("storage.s3.ChunkSize", true),
            ("storage.s3.bucket", false),
            ("storage.s3.skipverify", false),
            ("storage.s3", false),
            ("storage.gcs.chunksize", false),
        ] {
            assert_eq!(allowed(path, &spec).is_ok(), expected, "{path}");
        }
    }

    #[test]
    fn secrets_are_known_by_the_table_of_keys_in_lists_and_maps_too() {
        for path in [
            "proxy.password",
            "redis.sentinelpassword",
            "notifications.endpoints[0].headers.authorization[0]",
            "http.previoussecrets[12]",
        ] {
            assert!(is_secret(path), "{path}");
        }
        for path in [
            "proxy.username",
            "catalog.maxentries",
            "notifications.endpoints[0].url",
        ] {
            assert!(!is_secret(path), "{path}");
        }
    }

    /// The path that the hint of a secret key names, and whether it is one that `spec.configFrom` takes.
    fn hinted(path: &str) -> (String, bool) {
        let hint = Error::ConfigKeySecret {
            path: path.to_owned(),
        }
        .hint()
        .unwrap();
        let path = hint.split('`').rfind(|part| !part.is_empty()).unwrap().to_owned();
        let schema = serde_json::to_value(operator_api::crd()).unwrap().to_string();
        assert!(schema.contains("spec.configFrom.path must be keys"));
        let steps = path.split('.').all(|step| {
            let key = step.split_once('[').map_or(step, |(key, index)| {
                let digits = index.strip_suffix(']').unwrap_or("x");
                assert!(digits.len() <= 2 && digits.parse::<u8>().is_ok(), "{path}");
                key
            });
            !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c))
        });
        (path, steps)
    }

    #[test]
    fn the_path_in_every_hint_about_a_secret_is_one_that_config_from_takes_and_sets() {
        let mut tried = 0;
        for key in KEYS.iter().filter(|key| key.shape == Shape::Secret) {
            // An overlay with this key, as an author would write it.
            let written = key.path.replace('*', "name");
            let mut tree = parsed(&json!({})).unwrap();
            tree.set(&written.replace("[]", "[0]"), "hunter2");
            let overlay: Value = serde_saphyr::from_str(&tree.to_yaml()).unwrap();
            let spec = crate::fixtures::Fixture::parse(&crate::fixtures::least(""))
                .registry
                .spec;
            for path in leaves(&overlay) {
                if allowed(&path, &spec).is_err() {
                    continue;
                }
                assert!(is_secret(&path), "{path}");
                let (hint, taken) = hinted(&path);
                assert!(taken, "the schema refuses {hint}");
                let mut set = parsed(&json!({})).unwrap();
                set.set(&hint, "hunter2");
                let set: Value = serde_saphyr::from_str(&set.to_yaml()).unwrap();
                assert_eq!(set, overlay, "{hint} sets another key");
                tried += 1;
            }
        }
        assert!(tried > 3, "only {tried} hints were tried");
    }

    #[test]
    fn leaves_are_the_paths_of_scalars_and_empty_sections() {
        let overlay = json!({"A": {"b": [{"c": 1}, {"c": 2, "d": []}]}, "e": {}});
        assert_eq!(leaves(&overlay), ["a.b[0].c", "a.b[1].c", "a.b[1].d", "e"]);
    }
}
