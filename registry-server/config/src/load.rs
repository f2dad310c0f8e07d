//! Loads a configuration from text and variables: parse, overlay, check, decode, rules.

use crate::check;
use crate::decode::decode;
use crate::tree::{Node, Origin, Tree, Value};
use crate::{Config, Error, Warning, overlay, rules, spans};

/// A configuration that passed every check.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The typed keys.
    pub config: Config,
    /// All keys of the file with the variables laid over them. `config check` prints it, masked.
    pub tree: Tree,
    /// Parts without effect. Each is logged once at the start.
    pub warnings: Vec<Warning>,
}

/// Reads a file's text and lays the variables over it.
///
/// # Errors
/// All errors of the configuration, each one line. All of them are the caller's fault.
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
    rules::check(&config, &tree, &mut errors);
    spans::check(&config, &tree, &mut errors);
    secrets(&config, &tree, &mut errors, &mut warnings);
    for (index, hook) in config.log.hooks.iter().enumerate() {
        // A hook that cannot send mail is no reason to refuse the start.
        if let (true, Some(missing)) = (hook.is_on(), hook.missing()) {
            warnings.push(Warning::Incomplete {
                path: format!("log.hooks[{index}]"),
                missing,
            });
        }
    }
    // A `tls` section that is not empty was meant to have an effect.
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

/// The secrets that sign the state of uploads must not be empty, and should not be easy to guess.
fn secrets(config: &Config, tree: &Tree, errors: &mut Vec<Error>, warnings: &mut Vec<Warning>) {
    /// The length of a key of 128 bits.
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

#[cfg(test)]
mod tests;
