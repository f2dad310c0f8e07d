//! Builds the settings of a Redis connection from the section `redis` of a configuration.

use std::path::PathBuf;

use registry_config::model::Redis;

use crate::cache::{Servers, Settings, Tls};

/// The settings of the connection. One server, a cluster and sentinels are told apart as in Redis's library for Go.
pub(super) fn settings(redis: &Redis) -> Settings {
    let addresses: Vec<String> = redis.addresses().into_iter().map(str::to_owned).collect();
    let text = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let servers = match (text(&redis.mastername), addresses.len()) {
        (Some(master), _) => Servers::Sentinels {
            addresses,
            master,
            username: text(&redis.sentinelusername),
            password: redis.sentinelpassword.clone().filter(|secret| !secret.is_empty()),
        },
        // The check of the configuration made sure that there is one.
        (None, 0 | 1) => Servers::One(addresses.into_iter().next().unwrap_or_default()),
        (None, _) => Servers::Cluster(addresses),
    };
    Settings {
        servers,
        database: redis.db.unwrap_or_default(),
        username: text(&redis.username),
        password: redis.password.clone().filter(|secret| !secret.is_empty()),
        resp3: redis.protocol == Some(3),
        client_name: text(&redis.clientname),
        identity: redis.disableidentity != Some(true),
        identity_suffix: text(&redis.identitysuffix),
        tls: redis.tls.is_on().then(|| tls(redis)),
        dial: redis.dial(),
        patience: redis.patience(),
    }
}

fn tls(redis: &Redis) -> Tls {
    let tls = &redis.tls;
    let identity = match (&tls.certificate, &tls.key) {
        (Some(certificate), Some(key)) => Some((PathBuf::from(certificate), PathBuf::from(key))),
        (None, None) => None,
        // As in distribution.
        (Some(_), None) | (None, Some(_)) => {
            tracing::warn!(
                "`redis.tls` shows no certificate: `redis.tls.certificate` and `redis.tls.key` belong together"
            );
            None
        }
    };
    Tls {
        identity,
        ca_files: tls.rootcas.iter().map(PathBuf::from).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_server_a_cluster_and_sentinels_are_told_apart_as_in_distribution() {
        let describe = |yaml: &str| {
            let text = format!(
                "version: 0.1\nstorage: {{inmemory: {{}}, cache: {{blobdescriptor: redis}}}}\nredis: {yaml}"
            );
            let config = registry_config::load(&text, []).unwrap().config;
            match settings(&config.redis).servers {
                Servers::One(address) => format!("one {address}"),
                Servers::Cluster(addresses) => format!("cluster {addresses:?}"),
                Servers::Sentinels {
                    addresses, master, ..
                } => format!("sentinels {addresses:?} {master}"),
            }
        };
        assert_eq!(describe("{addr: 'a:1'}"), "one a:1");
        assert_eq!(describe("{addrs: [a:1]}"), "one a:1");
        assert_eq!(describe("{addrs: [a:1, b:2]}"), r#"cluster ["a:1", "b:2"]"#);
        assert_eq!(
            describe("{addrs: [a:1], mastername: main}"),
            r#"sentinels ["a:1"] main"#
        );
        assert_eq!(describe("{addrs: [a:1], mastername: ''}"), "one a:1");
    }

    #[test]
    fn no_password_is_printed() {
        let redis = "{addrs: ['a:1', 'b:2'], mastername: main, username: user, password: hunter2, sentinelpassword: hunter3}";
        let text = format!(
            "version: 0.1\nstorage: {{inmemory: {{}}, cache: {{blobdescriptor: redis}}}}\nredis: {redis}"
        );
        let config = registry_config::load(&text, []).unwrap().config;
        let settings = settings(&config.redis);
        assert_eq!(
            settings.password.as_ref().map(|secret| secret.expose()),
            Some("hunter2")
        );
        assert!(!format!("{settings:?}").contains("hunter"), "{settings:?}");
    }
}
