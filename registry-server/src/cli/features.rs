//! The features that this binary was built without. A configuration that needs one of them is refused at the start.
//!
//! Guarantees: no driver that the configuration names is left out or replaced without an error. Start at [`missing`].

use registry_config::model::{CacheKind, Config};

/// The configuration uses something that this binary was built without.
#[derive(Debug, thiserror::Error)]
#[error("`{key}` needs the feature `{feature}`, and this program was built without it")]
pub(super) struct NotBuilt {
    /// The configuration key that needs the feature.
    pub(super) key: &'static str,
    /// The feature of the crate `registry-server`.
    feature: &'static str,
}

impl NotBuilt {
    /// The way out.
    pub(super) fn hint(&self) -> String {
        format!(
            "build it with `--features {}`; the default features, and the image, have all of them",
            self.feature
        )
    }
}

/// The first feature that the configuration needs and this binary lacks.
pub(super) fn missing(config: &Config) -> Option<NotBuilt> {
    missing_of(config, |feature| match feature {
        "azure" => cfg!(feature = "azure"),
        "gcs" => cfg!(feature = "gcs"),
        "mail" => cfg!(feature = "mail"),
        "redis" => cfg!(feature = "redis"),
        "s3" => cfg!(feature = "s3"),
        _ => unreachable!("`missing_of` asks for no other feature"),
    })
}

fn missing_of(config: &Config, built: impl Fn(&str) -> bool) -> Option<NotBuilt> {
    let storage = &config.storage;
    let needs = [
        ("storage.s3", "s3", storage.s3.is_some()),
        ("storage.azure", "azure", storage.azure.is_some()),
        ("storage.gcs", "gcs", storage.gcs.is_some()),
        (
            "storage.cache",
            "redis",
            storage.cache.kind() == Some(CacheKind::Redis),
        ),
        (
            "log.hooks",
            "mail",
            config.log.hooks.iter().any(|hook| hook.is_on()),
        ),
    ];
    let mut lacking = needs
        .into_iter()
        .filter(|(_, feature, needed)| *needed && !built(feature));
    let (key, feature, _) = lacking.next()?;
    Some(NotBuilt { key, feature })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(yaml: &str, expected: Option<&str>) {
        let text = format!("version: 0.1\n{yaml}");
        let config = registry_config::load(&text, []).unwrap().config;
        let bare = missing_of(&config, |_| false).map(|lacking| lacking.to_string());
        assert_eq!(bare.as_deref(), expected, "{yaml}");
        assert!(missing_of(&config, |_| true).is_none(), "{yaml}");
    }

    #[test]
    fn a_driver_that_was_not_built_is_refused_by_its_key_and_feature() {
        check(
            "storage: {s3: {bucket: b, region: r}}",
            Some("`storage.s3` needs the feature `s3`, and this program was built without it"),
        );
        check(
            "storage: {azure: {accountname: a, accountkey: a2V5, container: c}}",
            Some("`storage.azure` needs the feature `azure`, and this program was built without it"),
        );
        check(
            "storage: {gcs: {bucket: b}}",
            Some("`storage.gcs` needs the feature `gcs`, and this program was built without it"),
        );
        check(
            "storage: {inmemory: {}, cache: {blobdescriptor: redis}}\nredis: {addr: 'a:1'}",
            Some("`storage.cache` needs the feature `redis`, and this program was built without it"),
        );
        check(
            "storage: {inmemory: {}}\nlog: {hooks: [{type: mail, levels: [error]}]}",
            Some("`log.hooks` needs the feature `mail`, and this program was built without it"),
        );
    }

    #[test]
    fn what_needs_no_feature_is_never_refused() {
        check("storage: {inmemory: {}, cache: {blobdescriptor: inmemory}}", None);
        check("storage: {filesystem: {}}", None);
        // As in distribution's own example: a hook that is switched off.
        check(
            "storage: {inmemory: {}}\nlog: {hooks: [{type: mail, disabled: true, levels: [panic]}]}",
            None,
        );
    }
}
