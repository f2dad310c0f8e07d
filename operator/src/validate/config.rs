//! The server's `config.yml`: the typed fields, the services, the raw overlay over them, and the server's own parser as
//! the judge.

use operator_api::{AccessLog, Deletion, LogFormat, LogLevel, Registry, RegistrySpec};
use registry_config::keys::{KEYS, Shape};
use registry_config::{Config, GoDuration, Tree, Warning, model};
use serde_json::Value;

use super::services::{Services, Supplies};
use super::{Error, PROBE_PORT, SERVER_PORT, ServerTls, drain_timeout, log, read_only, secrets};
use crate::read::Facts;
use crate::validate::Backend;

/// Folder with the content in the Pod.
pub(crate) const DATA_FOLDER: &str = "/var/lib/registry";
/// Folder with `config.yml`.
pub(crate) const CONFIG_FOLDER: &str = "/etc/berth/config";
/// Name of the file.
pub(crate) const CONFIG_FILE: &str = "config.yml";
/// Folder with the server's certificate.
pub(crate) const TLS_FOLDER: &str = "/etc/berth/tls";
/// Folder with the users.
pub(crate) const HTPASSWD_FOLDER: &str = "/etc/berth/htpasswd";
/// File with the users.
pub(crate) const HTPASSWD_FILE: &str = "htpasswd";

/// How long a Pod that is to end is served by where others take over. Ingress controllers go by readiness: two probes
/// two seconds apart must fail (`build::pod`), and the news has to travel.
pub(crate) const TAKE_OVER: GoDuration = GoDuration::from_secs(8);
/// Stands for a value that a variable brings; Base64, as keys of Azure are.
const PROVIDED: &str = "provided when the server starts";

/// The file, and whether it holds secrets.
#[derive(Clone, Eq, PartialEq)]
pub struct ConfigFile {
    /// YAML.
    pub yaml: String,
    /// Whether it must live in a Secret.
    pub secret: bool,
}

/// Deliberately without contents: they may hold secrets.
impl std::fmt::Debug for ConfigFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ConfigFile({} bytes)", self.yaml.len())
    }
}

/// What of the server is decided elsewhere.
pub(super) struct Server<'a> {
    spec: &'a RegistrySpec,
    tls: bool,
    /// Whether the content is in a folder.
    folder: bool,
    /// Whether several Pods can serve at the same time.
    shared: bool,
    services: &'a Services,
}

impl<'a> Server<'a> {
    pub(super) fn of(
        spec: &'a RegistrySpec,
        storage: &Backend,
        tls: Option<&ServerTls>,
        services: &'a Services,
    ) -> Self {
        Self {
            spec,
            tls: tls.is_some(),
            folder: storage.location().is_none(),
            shared: storage.shared(),
            services,
        }
    }

    fn config(&self, namespace: &str, registry: &str) -> Config {
        let spec = self.spec;
        let log = log(spec);
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
        config.storage.filesystem = self.folder.then(|| model::Filesystem {
            rootdirectory: Some(DATA_FOLDER.to_owned()),
            ..Default::default()
        });
        config.storage.delete.enabled = Some(spec.storage.deletion == Deletion::Enabled);
        config.storage.maintenance.readonly.enabled = Some(read_only(spec));
        // No UID in it: a Registry that is deleted and applied again must be let into its own storage.
        config.storage.maintenance.owner = Some(format!("{namespace}/{registry}"));
        config.auth.htpasswd = spec.auth.htpasswd.as_ref().map(|htpasswd| model::Htpasswd {
            realm: htpasswd.realm.clone().unwrap_or_else(|| registry.to_owned()),
            path: format!("{HTPASSWD_FOLDER}/{HTPASSWD_FILE}"),
        });
        config.http.addr = Some(format!(":{SERVER_PORT}"));
        config.http.host = spec
            .public_url
            .as_ref()
            .map(|url| url.trim_end_matches('/').to_owned());
        config.http.draintimeout = GoDuration::try_from(drain_timeout(spec)).ok();
        // Without others there is nobody to take over, and waiting would only be longer without a registry.
        config.http.draindelay = self.shared.then_some(TAKE_OVER);
        config.http.headers = [("X-Content-Type-Options".to_owned(), vec!["nosniff".to_owned()])]
            .into_iter()
            .collect();
        let proxies = spec
            .http
            .iter()
            .flat_map(|http| http.trusted_proxies.iter().cloned())
            .collect::<Vec<_>>();
        config.http.trustedproxies = (!proxies.is_empty()).then_some(proxies);
        if self.tls {
            config.http.tls.certificate = Some(format!("{TLS_FOLDER}/tls.crt"));
            config.http.tls.key = Some(format!("{TLS_FOLDER}/tls.key"));
        }
        config.http.debug.addr = Some(format!(":{PROBE_PORT}"));
        config.health.storagedriver.enabled = Some(true);
        config.health.storagedriver.threshold = Some(3);
        config
    }
}

/// The whole file.
pub(super) fn file(
    registry: &Registry,
    server: &Server<'_>,
    facts: &Facts,
    notes: &mut Vec<String>,
) -> Result<ConfigFile, Error> {
    let name = registry.metadata.name.as_deref().unwrap_or_default();
    let spec = server.spec;
    let supplies = &server.services.supplies;
    let namespace = registry.metadata.namespace.as_deref().unwrap_or_default();
    let mut tree = Tree::of(&server.config(namespace, name));
    tree.merge(&parsed(&server.services.config)?);
    if let Some(overlay) = &spec.config {
        let overlay = Value::Object(overlay.clone());
        for path in leaves(&overlay) {
            allowed(&path, spec)?;
            if is_secret(&path) {
                return Err(Error::ConfigKeySecret { path });
            }
        }
        tree.merge(&parsed(&overlay)?);
    }
    let warnings = judge(&tree, supplies)?;
    notes.extend(
        warnings
            .into_iter()
            .map(|warning| format!("In `spec.config`, {warning}")),
    );
    for from in &spec.config_from {
        allowed(&from.path, spec)?;
        let (reference, field) = (&from.secret_key_ref, "spec.configFrom");
        let invalid = |problem| Error::SecretInvalid {
            name: reference.name.clone(),
            key: reference.key.clone(),
            field,
            problem,
        };
        let bytes = secrets::value(&reference.name, &reference.key, field, facts)?;
        let text = std::str::from_utf8(bytes).map_err(|_| invalid("is not text"))?;
        tree.set(&from.path, text.trim_end_matches('\n'));
        // The server's words may quote the value, so they are not passed on.
        judge(&tree, supplies)
            .map_err(|_| invalid("is refused by the server at its path in `config.yml`"))?;
    }
    Ok(ConfigFile {
        yaml: tree.to_yaml(),
        secret: !spec.config_from.is_empty(),
    })
}

/// JSON is YAML, and the tree keeps every scalar's text.
fn parsed(sections: &Value) -> Result<Tree, Error> {
    Tree::parse(&sections.to_string()).map_err(|problem| Error::ConfigInvalid {
        problem: problem.to_string(),
    })
}

/// Asks the server's own parser. It must know of the values that come by variables, but not what they are.
fn judge(tree: &Tree, supplies: &Supplies) -> Result<Vec<Warning>, Error> {
    let variables = supplies.secrets.iter();
    let variables = variables.map(|(variable, _)| ((*variable).to_owned(), PROVIDED.to_owned()));
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

/// Paths of everything that has no members, lists written as `[]`.
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
                items
                    .iter()
                    .for_each(|item| walk(item, format!("{path}[]"), found));
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

/// Keys the operator owns, with the field that sets them.
const OWNED: [(&str, &str); 24] = [
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
    ("http.debug", "no field: the probes use it"),
];
/// The part of `http.tls` that stays with the operator; the rest (lowest version, client CAs) is free.
const OWNED_TLS: [&str; 3] = ["http.tls.certificate", "http.tls.key", "http.tls.letsencrypt"];
/// What `storage` may hold beside the driver.
const STORAGE_FREE: [&str; 3] = ["cache", "maintenance", "tag"];
/// Of the driver in use, what has no field: how it works, not where the content is or who may see it.
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

fn allowed(path: &str, spec: &RegistrySpec) -> Result<(), Error> {
    let path = path.to_ascii_lowercase();
    let under = |key: &str| {
        path.strip_prefix(key).is_some_and(|rest| rest.is_empty() || rest.starts_with('.') || rest.starts_with('['))
            // A section replaced as a whole takes its members with it.
            || key.strip_prefix(path.as_str()).is_some_and(|rest| rest.starts_with('.'))
    };
    if let Some((_, instead)) = OWNED.iter().find(|(key, _)| under(key)) {
        return Err(Error::ConfigKeyOwned { path, instead });
    }
    // Without Redis the key is the only way to say how descriptors are remembered; beside it, it would undo it.
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

/// Whether the table of keys calls it a secret.
fn is_secret(path: &str) -> bool {
    let steps = |path: &str| path.split('.').map(str::to_owned).collect::<Vec<_>>();
    let path = steps(path);
    KEYS.iter().filter(|key| key.shape == Shape::Secret).any(|key| {
        let pattern = steps(key.path);
        // What lies below a secret is part of it.
        pattern.len() <= path.len()
            && pattern.iter().zip(&path).all(|(pattern, step)| {
                let (name, list) = (pattern.trim_end_matches("[]"), pattern.ends_with("[]"));
                let step_name = step.trim_end_matches("[]");
                (name == "*" || name == step_name) && (!list || step.ends_with("[]") || name == "*")
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
            "http",
            "auth.token.realm",
            "log",
            "storage",
            "storage.s3.bucket",
            "storage.s3.chunksize",
            "storage.redirect.disable",
            "redis",
            "redis.addrs[]",
            "redis.tls.rootcas[]",
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
            "notifications.endpoints[].headers.authorization[]",
            "http.previoussecrets[]",
        ] {
            assert!(is_secret(path), "{path}");
        }
        for path in [
            "proxy.username",
            "catalog.maxentries",
            "notifications.endpoints[].url",
        ] {
            assert!(!is_secret(path), "{path}");
        }
    }

    #[test]
    fn leaves_are_the_paths_of_scalars_and_empty_sections() {
        let overlay = json!({"A": {"b": [{"c": 1}, {"c": 2, "d": []}]}, "e": {}});
        assert_eq!(leaves(&overlay), ["a.b[].c", "a.b[].d", "e"]);
    }
}
