use crate::{Error, load};

const FILE: &str = "version: 0.1\nstorage: {filesystem: {rootdirectory: /old}, delete: {enabled: true}}\n\
    http: {headers: {X-Content-Type-Options: [nosniff]}}\n";

fn loaded(variables: &[(&str, &str)]) -> Result<crate::Loaded, Vec<Error>> {
    load(
        FILE,
        variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
    )
}

/// The effective configuration holds these lines, and there are no warnings.
#[track_caller]
fn sets(variables: &[(&str, &str)], expected: &str) {
    let loaded = loaded(variables).unwrap_or_else(|errors| panic!("{variables:?}: {errors:?}"));
    let yaml = loaded.tree.to_yaml();
    assert!(
        yaml.contains(expected),
        "{variables:?}\nexpected to contain:\n{expected}\ngot:\n{yaml}"
    );
    assert_eq!(loaded.warnings, [], "{variables:?}");
}

#[track_caller]
fn warns(variables: &[(&str, &str)], expected: &[&str]) -> crate::Loaded {
    let loaded = loaded(variables).unwrap_or_else(|errors| panic!("{variables:?}: {errors:?}"));
    let warnings: Vec<String> = loaded.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(warnings, expected, "{variables:?}");
    loaded
}

#[track_caller]
fn fails(variables: &[(&str, &str)], expected: &[&str]) {
    let errors: Vec<String> = match loaded(variables) {
        Ok(loaded) => panic!("{variables:?} was accepted:\n{}", loaded.tree.to_yaml()),
        Err(errors) => errors.iter().map(ToString::to_string).collect(),
    };
    assert_eq!(errors, expected, "{variables:?}");
}

#[test]
fn names_of_the_file_lead_to_keys_however_deep() {
    sets(&[("REGISTRY_HTTP_ADDR", ":6000")], "  addr: :6000\n");
    sets(
        &[("REGISTRY_LOG_ACCESSLOG_DISABLED", "true")],
        "log:\n  accesslog:\n    disabled: true\n",
    );
    sets(
        &[("REGISTRY_STORAGE_DELETE_ENABLED", "no")],
        "  delete:\n    enabled: no\n",
    );
    sets(
        &[("REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY", "/new")],
        "    rootdirectory: /new\n",
    );
}

#[test]
fn nested_maps_that_stop_distribution_are_reached() {
    sets(
        &[("REGISTRY_STORAGE_MAINTENANCE_READONLY_ENABLED", "true")],
        "  maintenance:\n    readonly:\n      enabled: true\n",
    );
    sets(
        &[("REGISTRY_STORAGE_MAINTENANCE_READONLY", "{\"enabled\":true}")],
        "  maintenance:\n    readonly:\n      enabled: true\n",
    );
}

#[test]
fn go_field_names_lead_to_the_same_keys() {
    for (go, yaml, expected) in [
        (
            "HEALTH_FILECHECKERS_0_FILE",
            "HEALTH_FILE_0_FILE",
            "  file:\n    - file: x:1\n",
        ),
        (
            "HEALTH_HTTPCHECKERS_0_URI",
            "HEALTH_HTTP_0_URI",
            "  http:\n    - uri: x:1\n",
        ),
        (
            "HEALTH_TCPCHECKERS_0_ADDR",
            "HEALTH_TCP_0_ADDR",
            "  tcp:\n    - addr: x:1\n",
        ),
    ] {
        for name in [go, yaml] {
            let loaded = warns(&[(&format!("REGISTRY_{name}"), "x:1")], &[]);
            let health = format!("health:\n{expected}");
            assert!(
                loaded.tree.to_yaml().contains(&health),
                "{name}: {:?}",
                loaded.tree
            );
        }
    }
    for name in [
        "LOG_HOOKS_0_MAILOPTIONS_SMTP_ADDR",
        "LOG_HOOKS_0_OPTIONS_SMTP_ADDR",
    ] {
        let loaded = warns(&[(&format!("REGISTRY_{name}"), "x:1")], &[]);
        let hook = &loaded.config.log.hooks[0];
        assert_eq!(hook.options.smtp.addr.as_deref(), Some("x:1"), "{name}");
    }
    for (name, path, reason) in [
        (
            "NOTIFICATIONS_EVENTCONFIG_INCLUDEREFERENCES",
            "notifications.events.includereferences",
            "there are no events yet",
        ),
        (
            "COMPATIBILITY_SCHEMA1_TRUSTKEY",
            "compatibility.schema1.signingkeyfile",
            "schema1 manifests are not made or converted, as in distribution 3",
        ),
    ] {
        let warning = format!("`{path}` (variable REGISTRY_{name}) has no effect: {reason}");
        warns(&[(&format!("REGISTRY_{name}"), "true")], &[&warning]);
    }
    let loaded = warns(&[("REGISTRY_REDIS_OPTIONS_ADDRS", "[a:1]")], &[]);
    assert!(
        loaded.tree.to_yaml().contains("redis:\n  addrs:\n    - a:1\n"),
        "{:?}",
        loaded.tree
    );
}

#[test]
fn a_key_with_an_underscore_is_reached() {
    let loaded = loaded(&[
        ("REGISTRY_STORAGE_AZURE_ACCOUNTNAME", "images"),
        ("REGISTRY_STORAGE_AZURE_ACCOUNTKEY", "key"),
        ("REGISTRY_STORAGE_AZURE_CONTAINER", "c"),
        ("REGISTRY_STORAGE_AZURE_MAX_RETRIES", "3"),
    ]);
    assert_eq!(loaded.unwrap().config.storage.azure.unwrap().max_retries, Some(3));
}

#[test]
fn lists_take_indexes_whole_lists_and_single_texts() {
    let two = "  tls:\n    clientcas:\n      - /a.pem\n      - /b.pem\n";
    let tls = [
        ("REGISTRY_HTTP_TLS_CERTIFICATE", "/c.pem"),
        ("REGISTRY_HTTP_TLS_KEY", "/k.pem"),
    ];
    let with = |more: &[(&'static str, &'static str)]| [&tls[..], more].concat();
    for variables in [
        with(&[
            ("REGISTRY_HTTP_TLS_CLIENTCAS_0", "/a.pem"),
            ("REGISTRY_HTTP_TLS_CLIENTCAS_1", "/b.pem"),
        ]),
        with(&[("REGISTRY_HTTP_TLS_CLIENTCAS", "[/a.pem, /b.pem]")]),
        with(&[
            ("REGISTRY_HTTP_TLS_CLIENTCAS", "/a.pem"),
            ("REGISTRY_HTTP_TLS_CLIENTCAS_0", "/a.pem"),
            ("REGISTRY_HTTP_TLS_CLIENTCAS_1", "/b.pem"),
        ]),
    ] {
        let loaded = loaded(&variables).unwrap();
        assert_eq!(
            loaded.config.http.tls.clientcas,
            ["/a.pem", "/b.pem"],
            "{variables:?}, wanted {two}"
        );
    }
    fails(
        &[("REGISTRY_HTTP_TLS_CLIENTCAS_3", "/a.pem")],
        &[
            "variable REGISTRY_HTTP_TLS_CLIENTCAS_3: the index `3` is not allowed for `http.tls.clientcas`; \
           allowed: 0, as the list is empty",
        ],
    );
    fails(
        &[("REGISTRY_HTTP_TLS_CLIENTCAS_X", "/a.pem")],
        &[
            "variable REGISTRY_HTTP_TLS_CLIENTCAS_X: the index `x` is not allowed for `http.tls.clientcas`; \
           allowed: 0, as the list is empty",
        ],
    );
}

/// Where distribution 2 ignores the variable and distribution 3 keeps the old element or appends an empty one.
#[test]
fn an_item_of_a_list_is_changed_in_its_place_and_the_others_stay() {
    let hooks = (
        "REGISTRY_LOG_HOOKS",
        "[{type: mail, levels: [error, panic]}, {type: mail}]",
    );
    let loaded = loaded(&[
        hooks,
        ("REGISTRY_LOG_HOOKS_0_LEVELS_1", "warn"),
        ("REGISTRY_LOG_HOOKS_0_LEVELS_2", "debug"),
        ("REGISTRY_LOG_HOOKS_1_DISABLED", "true"),
        ("REGISTRY_LOG_HOOKS_2_OPTIONS_TO_0", "ann@example.com"),
    ])
    .unwrap();
    let hooks = &loaded.config.log.hooks;
    use crate::model::HookLevel::{Debug, Error, Warn};
    assert_eq!(hooks[0].levels, [Error, Warn, Debug]);
    assert_eq!((hooks[1].kind.is_some(), hooks[1].disabled), (true, Some(true)));
    assert_eq!(
        (hooks.len(), hooks[2].options.to.as_slice()),
        (3, &["ann@example.com".to_owned()][..])
    );
}

#[test]
fn a_header_is_replaced_whatever_its_case() {
    sets(
        &[("REGISTRY_HTTP_HEADERS_X-CONTENT-TYPE-OPTIONS", "[other]")],
        "http:\n  headers:\n    X-Content-Type-Options:\n      - other\n",
    );
    sets(
        &[("REGISTRY_HTTP_HEADERS_X-Content-Type-Options_1", "second")],
        "      - nosniff\n      - second\n",
    );
    sets(
        &[("REGISTRY_HTTP_HEADERS", "{A: [b]}")],
        "http:\n  headers:\n    A:\n      - b\n",
    );
}

#[test]
fn fields_of_the_log_are_free() {
    sets(
        &[("REGISTRY_LOG_FIELDS_MY_KEY", "x")],
        "log:\n  fields:\n    my_key: x\n",
    );
}

#[test]
fn a_section_can_be_replaced_by_one_value() {
    sets(
        &[("REGISTRY_LOG", "{level: warn, formatter: json}")],
        "log:\n  level: warn\n  formatter: json\n",
    );
}

#[test]
fn a_driver_alone_resets_the_section_and_the_next_variables_fill_it() {
    let loaded = loaded(&[
        ("REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY", "/new"),
        ("REGISTRY_STORAGE", "filesystem"),
    ])
    .unwrap();
    assert_eq!(loaded.config.storage.filesystem.unwrap().root(), "/new");
    assert_eq!(loaded.config.storage.delete.enabled, None);
    assert_eq!(
        self::loaded(&[("REGISTRY_STORAGE", "inmemory")])
            .unwrap()
            .config
            .storage
            .filesystem,
        None
    );
}

#[test]
fn another_driver_by_variable_replaces_the_one_of_the_file_and_keeps_the_rest() {
    let loaded = warns(
        &[("REGISTRY_STORAGE_INMEMORY", "")],
        &["`storage.filesystem` of the file is left out: REGISTRY_STORAGE_INMEMORY names `storage.inmemory`"],
    );
    assert_eq!(loaded.config.storage.delete.enabled, Some(true));
    assert!(loaded.config.storage.inmemory.is_some());
    fails(
        &[("REGISTRY_AUTH_TOKEN_REALM", "photos")],
        &["`auth.token` (variable REGISTRY_AUTH_TOKEN_REALM) is not supported yet: tokens are not checked"],
    );
}

#[test]
fn authentication_by_variables_as_the_documentation_shows_it() {
    let loaded = loaded(&[
        ("REGISTRY_AUTH", "htpasswd"),
        ("REGISTRY_AUTH_HTPASSWD_PATH", "/auth/htpasswd"),
        ("REGISTRY_AUTH_HTPASSWD_REALM", "Registry Realm"),
    ])
    .unwrap();
    let htpasswd = loaded.config.auth.htpasswd.unwrap();
    assert_eq!(
        (htpasswd.path.as_str(), htpasswd.realm.as_str()),
        ("/auth/htpasswd", "Registry Realm")
    );
}

#[test]
fn a_secret_that_is_yaml_but_no_text_is_taken_as_written() {
    for secret in ["*abc", "a: b", "{", "[x", "@x", "0123456", "%s"] {
        let loaded = loaded(&[("REGISTRY_HTTP_SECRET", secret)]).unwrap();
        assert_eq!(loaded.config.http.secret.unwrap().expose(), secret);
    }
}

#[test]
fn broken_yaml_in_a_variable_names_the_variable_and_not_its_text() {
    fails(
        &[("REGISTRY_LOG", "{level: 'hunter2")],
        &[
            "variable REGISTRY_LOG: its text is not allowed for `log`; allowed: YAML; it is wrong at line 1, column 9",
        ],
    );
}

#[test]
fn what_kubernetes_injects_for_services_is_passed_over() {
    warns(
        &[
            ("REGISTRY_PORT", "tcp://10.0.0.1:5000"),
            ("REGISTRY_PORT_5000_TCP", "tcp://10.0.0.1:5000"),
            ("REGISTRY_PORT_5000_TCP_ADDR", "10.0.0.1"),
            ("REGISTRY_PORT_5000_TCP_PORT", "5000"),
            ("REGISTRY_PORT_5000_TCP_PROTO", "tcp"),
            ("REGISTRY_SERVICE_HOST", "10.0.0.1"),
            ("REGISTRY_SERVICE_PORT", "5000"),
            ("REGISTRY_SERVICE_PORT_HTTPS", "443"),
            ("REGISTRY_AUTH_PORT", "tcp://10.0.0.2:5001"),
            ("REGISTRY_HTTP_SERVICE_HOST", "10.0.0.2"),
            ("REGISTRY_STORAGE_PORT_80_UDP", "udp://10.0.0.2:80"),
            ("REGISTRY_CONFIGURATION_PATH", "/etc/config.yml"),
            ("PATH", "/bin"),
        ],
        &[],
    );
    // A key of ours ends in `_SERVICE` too.
    sets(
        &[
            ("REGISTRY_AUTH_SILLY_SERVICE", "s"),
            ("REGISTRY_AUTH_SILLY_REALM", "r"),
        ],
        "auth:\n  silly:\n    realm: r\n    service: s\n",
    );
}

#[test]
fn a_variable_that_names_no_key_is_warned_about_and_changes_nothing() {
    let plain = loaded(&[]).unwrap().tree.to_yaml();
    for name in [
        "REGISTRY_STORAGEPATH",
        "REGISTRY_HTTP_TLS_NOPE",
        "REGISTRY_LOG_NOPE_DEEP",
        "REGISTRY_VERSION",
        "REGISTRY_",
    ] {
        let loaded = warns(
            &[(name, "x")],
            &[&format!("variable {name} names no known key and is ignored")],
        );
        assert_eq!(loaded.tree.to_yaml(), plain, "{name}");
    }
}

#[test]
fn an_empty_variable_unsets_its_key() {
    let loaded = loaded(&[("REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY", "")]).unwrap();
    assert_eq!(
        loaded.config.storage.filesystem.unwrap().root(),
        "/var/lib/registry"
    );
}

/// docker-registry-ui#306 and many more: as people write it, without quotes of YAML's.
#[test]
fn a_header_that_is_no_yaml_is_taken_as_one_value() {
    let headers = |value: &str| {
        let name = "REGISTRY_HTTP_HEADERS_Access-Control-Allow-Origin";
        loaded(&[(name, value)])
            .map(|loaded| loaded.config.http.headers["access-control-allow-origin"].clone())
    };
    for value in ["*", "GET, HEAD: all", "%x", "https://a.example", "@x", "*, b"] {
        assert_eq!(headers(value).unwrap(), [value], "{value}");
    }
    assert_eq!(headers("['*']").unwrap(), ["*"]);
    assert_eq!(headers("[a, 'b c']").unwrap(), ["a", "b c"]);
    fails(
        &[("REGISTRY_HTTP_HEADERS_Access-Control-Allow-Origin", "[*]")],
        &[
            "variable REGISTRY_HTTP_HEADERS_Access-Control-Allow-Origin: its text is not allowed for \
           `http.headers.access-control-allow-origin`; allowed: one text, or a list of texts in quotes such as `['*', 'a b']`",
        ],
    );
}

proptest::proptest! {
    #[test]
    fn no_mutated_variable_panics(
        name in registry_mutation::mutated_text(&["REGISTRY_HTTP_TLS_CLIENTCAS_0", "REGISTRY_LOG_HOOKS_0_OPTIONS_SMTP_ADDR", "REGISTRY_STORAGE", "REGISTRY_AUTH_PORT_5000_TCP_ADDR"]),
        value in registry_mutation::mutated_text(&["tcp://10.0.0.1:5000", "{enabled: true, a: [b, c]}", "[a, b]", "30s", "&a [*a]"]),
    ) {
        let _ = load(FILE, [(name, value)]);
    }

    #[test]
    fn no_variable_panics(name in "REGISTRY_[A-Z0-9_]{0,40}", path in 0..crate::keys::KEYS.len(), value in "\\PC{0,40}") {
        let known = format!("REGISTRY_{}", crate::keys::KEYS[path].path.replace(['.', '['], "_").replace(']', "0").to_uppercase());
        let _ = load(FILE, [(name, value.clone()), (known, value)]);
    }
}
