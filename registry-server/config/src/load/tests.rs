mod bounds;

use crate::model::{CacheKind, Config, Filesystem, Formatter, Htpasswd, Level, Tls, TlsVersion};
use crate::{GoDuration, Secret, Tree, load};

fn lines(text: &str) -> Result<Vec<String>, Vec<String>> {
    match load(text, []) {
        Ok(loaded) => Ok(loaded.warnings.iter().map(ToString::to_string).collect()),
        Err(errors) => Err(errors.iter().map(ToString::to_string).collect()),
    }
}

const GOOD: &str = "version: 0.1\nstorage: {inmemory: {}}\n";

#[track_caller]
fn refuses(yaml: &str, expected: &[&str]) {
    let got = lines(&format!("{GOOD}{yaml}")).err();
    assert_eq!(
        got,
        Some(expected.iter().map(|line| (*line).to_owned()).collect()),
        "input:\n{yaml}"
    );
}

#[track_caller]
fn warns(yaml: &str, expected: &[&str]) {
    assert_eq!(
        lines(&format!("{GOOD}{yaml}")),
        Ok(expected.iter().map(|line| (*line).to_owned()).collect()),
        "{yaml}"
    );
}

/// The configuration that registry:2 ships.
const V2: &str = "version: 0.1
log:
  fields:
    service: registry
storage:
  cache:
    blobdescriptor: inmemory
  filesystem:
    rootdirectory: /var/lib/registry
http:
  addr: :5000
  headers:
    X-Content-Type-Options: [nosniff]
health:
  storagedriver:
    enabled: true
    interval: 10s
    threshold: 3
";

/// The configuration that registry:3 ships.
const V3: &str = "version: 0.1
log:
  level: debug
  fields:
    service: registry
    environment: development
storage:
    delete:
      enabled: true
    cache:
        blobdescriptor: inmemory
    filesystem:
        rootdirectory: /var/lib/registry
    maintenance:
        uploadpurging:
            enabled: false
    tag:
      concurrencylimit: 8
http:
    addr: :5000
    debug:
        addr: :5001
        prometheus:
            enabled: true
            path: /metrics
    headers:
        X-Content-Type-Options: [nosniff]
health:
  storagedriver:
    enabled: true
    interval: 10s
    threshold: 3
";

#[test]
fn the_files_that_distribution_ships_are_accepted() {
    assert_eq!(lines(V2).unwrap(), [""; 0]);
    let cache = load(V2, []).unwrap().config.storage.cache;
    assert_eq!(
        (cache.kind(), cache.limit()),
        (Some(CacheKind::Inmemory), Some(10_000))
    );
    let loaded = load(V3, []).unwrap();
    assert_eq!(loaded.config.log.level, Some(Level::Debug));
    assert_eq!(loaded.config.log.fields["environment"], "development");
    assert_eq!(
        loaded.config.storage.filesystem.as_ref().unwrap().root(),
        "/var/lib/registry"
    );
    assert_eq!(loaded.config.storage.delete.enabled, Some(true));
    assert_eq!(loaded.config.http.headers["X-Content-Type-Options"], ["nosniff"]);
    assert_eq!(loaded.config.http.debug.addr.as_deref(), Some(":5001"));
    assert_eq!(loaded.config.health.storagedriver.threshold, Some(3));
}

#[test]
fn a_cache_in_redis_has_an_address_in_the_words_of_either_line() {
    let redis = |yaml: &str| {
        let cache = "storage: {filesystem: {}, cache: {layerinfo: redis, blobdescriptorsize: 0}}";
        load(&format!("version: 0.1\n{cache}\n{yaml}\n"), []).map(|loaded| loaded.config)
    };
    for (yaml, expected) in [
        ("redis: {addr: 'localhost:6379'}", vec!["localhost:6379"]),
        ("redis: {addrs: [a:1, b:2]}", vec!["a:1", "b:2"]),
        ("redis: {addr: 'old:1', addrs: [new:2]}", vec!["new:2"]),
        ("redis: {addrs: /run/redis.sock}", vec!["/run/redis.sock"]),
    ] {
        let config = redis(yaml).unwrap();
        assert_eq!(config.redis.addresses(), expected, "{yaml}");
        assert_eq!(config.storage.cache.kind(), Some(CacheKind::Redis));
        assert_eq!(config.storage.cache.limit(), None);
    }
    for (yaml, expected) in [
        ("", "`redis.addrs` is missing"),
        ("redis: {addr: ''}", "`redis.addrs` is missing"),
        (
            "redis: {addrs: [localhost]}",
            "`redis.addrs[0]` (line 3): `localhost` is not allowed",
        ),
        (
            "redis: {addr: localhost}",
            "`redis.addr` (line 3): `localhost` is not allowed",
        ),
        (
            "redis: {addr: 'a:1', db: -1}",
            "`redis.db` (line 3): `-1` is not allowed",
        ),
    ] {
        let errors = redis(yaml).unwrap_err();
        let [error] = errors.as_slice() else {
            panic!("{yaml}: {errors:?}")
        };
        assert!(error.to_string().starts_with(expected), "{yaml}: {error}");
    }
    let redis = |yaml: &str| redis(&format!("redis: {{addr: 'a:1', {yaml}}}")).unwrap().redis;
    let spans = |yaml: &str| {
        let redis = redis(yaml);
        (redis.dial().as_millis(), redis.patience().as_millis())
    };
    assert_eq!(spans(""), (5_000, 500));
    assert_eq!(
        spans("readtimeout: 10ms, writetimeout: 20ms, dialtimeout: 30ms"),
        (30, 30)
    );
    // No limit, in Redis's library for Go.
    assert_eq!(spans("readtimeout: -1, dialtimeout: 0"), (5_000, 500));
    assert_eq!(spans("readtimeout: -2, dialtimeout: -1"), (5_000, 500));
    assert!(!redis("").tls.is_on());
    assert!(redis("tls: {rootcas: ca.crt}").tls.is_on());
}

#[test]
fn uploads_are_purged_as_distribution_does_unless_told_otherwise() {
    let purging = |yaml: &str| {
        let text =
            format!("version: 0.1\nstorage: {{inmemory: {{}}, maintenance: {{uploadpurging: {yaml}}}}}");
        let lines = lines(&text);
        let purging = load(&text, []).map(|loaded| loaded.config.storage.maintenance.uploadpurging);
        let hours =
            purging.map(|purging| [purging.age(), purging.interval()].map(|span| span.as_secs() / 3600));
        (lines, hours.ok())
    };
    assert_eq!(purging("{dryrun: false}"), (Ok(vec![]), Some([168, 24])));
    assert_eq!(
        purging("{enabled: true, age: 2h, interval: 1h, dryrun: false}"),
        (Ok(vec![]), Some([2, 1]))
    );
    assert_eq!(
        purging("{age: -1h, interval: 0}").0.unwrap_err(),
        [
            "`storage.maintenance.uploadpurging.age` (line 2): `-1h` is not allowed; \
             allowed: a duration of 1m or more",
            "`storage.maintenance.uploadpurging.interval` (line 2): `0s` is not allowed; \
             allowed: a duration of 1s or more",
        ]
    );
}

#[test]
fn every_error_is_one_line_with_path_value_and_what_is_allowed() {
    refuses(
        "http: {draintimeout: soon}",
        &["`http.draintimeout` (line 3): `soon` is not allowed; allowed: \
           a duration such as `30s`, `1m30s` or `168h`"],
    );
    refuses(
        "log: {level: loud}",
        &["`log.level` (line 3): `loud` is not allowed; allowed: `error`, `warn`, `info`, `debug`"],
    );
    refuses(
        "http: {relativeurls: maybe}",
        &["`http.relativeurls` (line 3): `maybe` is not allowed; allowed: `true` or `false`"],
    );
    refuses(
        "tags: {maxtags: -1}",
        &["`tags.maxtags` (line 3): `-1` is not allowed; allowed: a whole number, 0 or more"],
    );
    refuses(
        "catalog: {maxentries: many}",
        &["`catalog.maxentries` (line 3): `many` is not allowed; allowed: a whole number"],
    );
    refuses(
        "http: {addr: \"5000\"}",
        &["`http.addr` (line 3): `5000` is not allowed; allowed: `:port` or `host:port`"],
    );
    refuses(
        "http: {addr: \":99999\"}",
        &["`http.addr` (line 3): `:99999` is not allowed; allowed: `:port` or `host:port`"],
    );
    refuses(
        "http: {prefix: registry}",
        &["`http.prefix` (line 3): `registry` is not allowed; \
         allowed: a path with a slash at both ends, such as `/registry/`"],
    );
    refuses(
        "http: {host: registry.example.com}",
        &["`http.host` (line 3): `registry.example.com` is not allowed; \
         allowed: a URL such as `https://registry.example.com`"],
    );
    refuses(
        "http: {trustedproxies: [10.0.0.0/33]}",
        &[
            "`http.trustedproxies[0]` (line 3): `10.0.0.0/33` is not allowed; \
         allowed: a network such as `10.0.0.0/8` or `fd00::/8`, or one address",
        ],
    );
    refuses(
        "http: {tls: {certificate: c, key: k, clientcas: [a], allowplaintext: true}}",
        &[
            "`http.tls.allowplaintext` (line 3): `true` is not allowed; allowed: `false`, because `http.tls.clientcas` asks \
             every client for a certificate",
        ],
    );
    refuses(
        "http: {tls: {minimumtls: tls1.0}}",
        &["`http.tls.minimumtls` (line 3): `tls1.0` is not allowed; allowed: `tls1.2`, `tls1.3`"],
    );
    refuses(
        "http: {tls: {certificate: /c.pem}}",
        &["`http.tls.key` is missing; allowed: the path of a PEM file with a private key"],
    );
    refuses(
        "http: {tls: {key: /k.pem}}",
        &["`http.tls.certificate` is missing; allowed: the path of a PEM file with a certificate"],
    );
    refuses(
        "http: {headers: {\"a b\": [c]}}",
        &["`http.headers.a b` (line 3): `a b` is not allowed; allowed: a header's name"],
    );
    refuses(
        "http: 5000",
        &[
            "`http` (line 3): `5000` is not allowed; allowed: a section with `addr`, `debug`, `draindelay`, \
         `draintimeout`, `h2c`, `headers`, `host`, `http2`, `limits`, `net`, `prefix`, `previoussecrets`, `relativeurls`, `secret`, `tls`, \
         `trustedproxies`",
        ],
    );
    refuses(
        "auth: {htpasswd: {realm: r}}",
        &["`auth.htpasswd.path` is missing; allowed: the path of a file made by `htpasswd -B`"],
    );
    refuses(
        "auth: htpaswd",
        &["`auth` (line 3): `htpaswd` is not allowed; allowed: `htpasswd`, `silly`, `token`, or `none`"],
    );
    refuses(
        "auth: {htpasswd: {realm: r, path: p}, silly: {realm: r, service: s}}",
        &["`auth.silly` (line 3) cannot stand beside `auth.htpasswd`; allowed: one of them"],
    );
}

#[test]
fn every_error_of_a_file_is_told_at_once() {
    refuses(
        "log: {level: loud}\nhttp: {relativeurls: maybe}",
        &[
            "`log.level` (line 3): `loud` is not allowed; allowed: `error`, `warn`, `info`, `debug`",
            "`http.relativeurls` (line 4): `maybe` is not allowed; allowed: `true` or `false`",
        ],
    );
}

#[test]
fn storage_must_be_one_driver() {
    let drivers = "`azure`, `filesystem`, `gcs`, `inmemory`, `oss`, `s3`, `s3aws`, `swift`";
    let missing = format!("`storage` is missing; allowed: exactly one driver of {drivers}");
    assert_eq!(lines("version: 0.1\n"), Err(vec![missing.clone()]));
    assert_eq!(
        lines("version: 0.1\nstorage: {delete: {enabled: true}}\n"),
        Err(vec![missing])
    );
    assert_eq!(
        lines("version: 0.1\nstorage:\n  inmemory:\n  filesystem:\n"),
        Err(vec![
            "`storage.filesystem` (line 4) cannot stand beside `storage.inmemory`; allowed: one of them"
                .into()
        ])
    );
    assert_eq!(
        lines("version: 0.1\nstorage: inmemory\nauth:\n  token: {realm: r}\n"),
        Err(vec![
            "`auth.token` (line 4) is not supported yet: tokens are not checked".into()
        ])
    );
    assert_eq!(lines("version: 0.1\nstorage: inmemory\n"), Ok(vec![]));
    assert_eq!(lines("version: 0.1\nstorage:\n  filesystem:\n"), Ok(vec![]));
}

#[test]
fn a_bucket_needs_what_names_it_and_both_keys_or_none() {
    let of = |keys: &str| lines(&format!("version: 0.1\nstorage:\n  s3: {{{keys}}}\n"));
    let missing = |path: &str, allowed: &str| {
        Err(vec![format!(
            "`storage.s3.{path}` is missing; allowed: {allowed}"
        )])
    };
    assert_eq!(of("bucket: b, region: eu-central-1"), Ok(vec![]));
    assert_eq!(of("bucket: b, regionendpoint: 'http://minio:9000'"), Ok(vec![]));
    assert_eq!(
        of("region: eu-central-1"),
        missing("bucket", "the name of a bucket")
    );
    assert_eq!(
        of("bucket: b"),
        missing("region", "the bucket's region, or `regionendpoint`")
    );
    assert_eq!(
        of("bucket: b, region: r, accesskey: a"),
        missing("secretkey", "both keys, or neither")
    );
    assert_eq!(
        of("bucket: b, region: r, keyid: k"),
        missing("encrypt", "`true` beside `keyid`")
    );
    assert_eq!(
        of("bucket: b, region: r, sessiontoken: t"),
        missing("accesskey", "both keys beside `sessiontoken`")
    );
    assert_eq!(of("bucket: b, region: r, storageclass: standard_ia"), Ok(vec![]));
    // Objects of that class cannot be read without a restore.
    assert_eq!(
        of("bucket: b, region: r, storageclass: GLACIER"),
        Err(vec![
            "`storage.s3.storageclass` (line 3): `GLACIER` is not allowed; allowed: `NONE`, `STANDARD`, \
             `REDUCED_REDUNDANCY`, `STANDARD_IA`, `ONEZONE_IA`, `INTELLIGENT_TIERING`, `OUTPOSTS`, `GLACIER_IR`, \
             `EXPRESS_ONEZONE`"
                .into()
        ])
    );
    assert_eq!(
        of("bucket: b, region: r, chunksize: 1000"),
        Err(vec![
            "`storage.s3.chunksize` (line 3): `1000` is not allowed; allowed: 5242880 (5 MiB) to 5368709120 (5 GiB)"
                .into()
        ])
    );
}

#[test]
fn a_bucket_of_googles_needs_its_name_and_whole_credentials_or_none() {
    let of = |keys: &str| lines(&format!("version: 0.1\nstorage:\n  gcs: {{{keys}}}\n"));
    let missing = |path: &str, allowed: &str| format!("`storage.gcs.{path}` is missing; allowed: {allowed}");
    assert_eq!(of("bucket: b"), Ok(vec![]));
    assert_eq!(
        of("bucket: b, keyfile: /key.json, credentials: {client_email: e}"),
        Ok(vec![])
    );
    assert_eq!(
        of("keyfile: /key.json"),
        Err(vec![missing("bucket", "the name of a bucket")])
    );
    assert_eq!(
        of("bucket: b, credentials: {type: service_account}"),
        Err(vec![
            missing("credentials.client_email", "the service account"),
            missing("credentials.private_key", "the service account's key"),
        ])
    );
    assert_eq!(
        of("bucket: b, credentials: {type: authorized_user, client_email: e, private_key: k}"),
        Err(vec![
            "`storage.gcs.credentials.type` (line 3): `authorized_user` is not allowed; allowed: `service_account`"
                .into()
        ])
    );
    for size in ["0", "262143", "300000", "5368971264"] {
        assert_eq!(
            of(&format!("bucket: b, chunksize: {size}")),
            Err(vec![format!(
                "`storage.gcs.chunksize` (line 3): `{size}` is not allowed; \
                 allowed: a multiple of 262144 (256 KiB) up to 5368709120 (5 GiB)"
            )])
        );
    }
    assert_eq!(of("bucket: b, chunksize: 524288"), Ok(vec![]));
}

#[test]
fn the_other_name_of_s3_is_read_as_it() {
    let loaded = load("version: 0.1\nstorage:\n  s3aws: {bucket: b, region: r}\n", []).unwrap();
    assert_eq!(loaded.config.storage.s3.unwrap().bucket, "b");
}

#[test]
fn the_version_is_required_and_is_0_1() {
    assert_eq!(
        lines("storage: inmemory\n"),
        Err(vec!["`version` is missing; allowed: `0.1`".into()])
    );
    assert_eq!(
        lines("version: 0.2\nstorage: inmemory\n"),
        Err(vec![
            "`version` (line 1): `0.2` is not allowed; allowed: `0.1`".into()
        ])
    );
}

#[test]
fn a_secret_is_never_quoted() {
    refuses(
        "http: {secret: {a: hunter2}}",
        &["`http.secret` (line 3): its value is not allowed; allowed: one value"],
    );
    refuses(
        "http: {secret: <masked>}",
        &["`http.secret` (line 3): its value is not allowed; \
         allowed: the secret itself, not the mask that is printed for it"],
    );
    let loaded = load(
        &format!("{GOOD}http: {{secret: hunter2, previoussecrets: [hunter3]}}"),
        [],
    )
    .unwrap();
    assert_eq!(loaded.config.http.secret.as_ref().unwrap().expose(), "hunter2");
    assert_eq!(loaded.config.http.previoussecrets[0].expose(), "hunter3");
    assert!(!format!("{loaded:?}").contains("hunter"), "{loaded:?}");
    assert!(!serde_json::to_string(&loaded.config).unwrap().contains("hunter"));
}

#[test]
fn unknown_keys_warn_with_their_path() {
    warns(
        "htpp: {}\nhttp: {tsl: {}, relativurls: true}\n",
        &[
            "`htpp` (line 3) is not a known key and is ignored",
            "`http.tsl` (line 4) is not a known key and is ignored",
            "`http.relativurls` (line 4) is not a known key and is ignored",
        ],
    );
}

#[test]
fn what_does_nothing_for_want_of_something_else_is_warned_about() {
    warns(
        "http: {debug: {prometheus: {enabled: true}}}\nlog: {hooks: [{type: mail, levels: [error]}]}\n",
        &[
            "`log.hooks[0]` does nothing: `options.smtp.addr` is not set",
            "`http.debug.prometheus` does nothing: `http.debug.addr` is not set",
        ],
    );
}

#[test]
fn what_is_switched_off_is_neither_refused_nor_warned_about() {
    warns(
        "notifications: {endpoints: [{name: n, url: u, disabled: true}]}",
        &[],
    );
    warns("log: {hooks: [{type: mail, disabled: yes}]}", &[]);
    warns("proxy: {remoteurl: \"\"}", &[]);
    warns(
        "http: {debug: {prometheus: {enabled: false, path: /metrics}}}",
        &[],
    );
    warns("auth: none", &[]);
    warns("auth: {none: {}}", &[]);
    warns("http:\nlog:\nhealth: {file: []}\n", &[]);
}

#[test]
fn what_would_be_lost_is_refused_with_a_sentence() {
    refuses(
        "notifications: {endpoints: [{name: n, url: u}]}",
        &["`notifications.endpoints[0]` (line 3) is not supported yet: events would be lost"],
    );
    refuses(
        "proxy: {remoteurl: \"https://registry-1.docker.io\"}",
        &["`proxy.remoteurl` (line 3) is not supported yet: images of the upstream would not be found"],
    );
    refuses(
        "auth: {token: {realm: r}}",
        &["`auth.token` (line 3) is not supported yet: tokens are not checked"],
    );
}

#[test]
fn spellings_of_yaml_1_1_and_of_old_files_are_understood() {
    let text = "version: \"0.1\"\nloglevel: WARN\nlog: {formatter: Json, accesslog: {disabled: On}}\n\
        storage: inmemory\nhttp: {draintimeout: 5s, headers: {A: b}, trustedproxies: [\"::1\", 10.0.0.0/8]}\n";
    let config = load(text, []).unwrap().config;
    assert_eq!(config.log.level, Some(Level::Warn));
    assert_eq!(config.log.formatter, Some(Formatter::Json));
    assert_eq!(config.log.accesslog.disabled, Some(true));
    assert_eq!(config.http.drain(), std::time::Duration::from_secs(5));
    assert_eq!(config.http.headers["A"], ["b"]);
    assert_eq!(
        config.http.trustedproxies.as_deref(),
        Some(&["::1".to_owned(), "10.0.0.0/8".to_owned()][..])
    );
}

/// As in the operator: types to a file, a secret put in, and the file back to types.
#[test]
fn a_rendered_configuration_is_read_back_as_it_was_meant() {
    let mut config = Config::default();
    config.storage.filesystem = Some(Filesystem {
        rootdirectory: Some("/var/lib/registry".into()),
        maxthreads: None,
    });
    config.storage.delete.enabled = Some(true);
    config.auth.htpasswd = Some(Htpasswd {
        realm: "berth".into(),
        path: "/auth/htpasswd".into(),
    });
    config.http.addr = Some(":5000".into());
    config.http.draintimeout = Some(GoDuration::from_secs(60));
    config.http.trustedproxies = Some(vec!["10.0.0.0/8".into()]);
    config.http.tls = Tls {
        certificate: Some("/tls/tls.crt".into()),
        key: Some("/tls/tls.key".into()),
        minimumtls: Some(TlsVersion::Tls13),
        ..Tls::default()
    };
    let yaml = config.to_tree().to_yaml();
    assert_eq!(
        yaml,
        "version: \"0.1\"\nstorage:\n  filesystem:\n    rootdirectory: /var/lib/registry\n  delete:\n    enabled: true\n\
         auth:\n  htpasswd:\n    realm: berth\n    path: /auth/htpasswd\nhttp:\n  addr: :5000\n  draintimeout: \"1m\"\n  \
         trustedproxies:\n    - \"10.0.0.0/8\"\n  tls:\n    certificate: /tls/tls.crt\n    key: /tls/tls.key\n    \
         minimumtls: tls1.3\n"
    );
    assert_eq!(load(&yaml, []).unwrap().config, config);

    config.http.secret = Some(Secret::new("0123456"));
    let mut tree = config.to_tree();
    assert!(
        load(&tree.to_yaml(), []).is_err(),
        "a mask must not start as a secret"
    );
    tree.set("http.secret", "0123456");
    assert_eq!(load(&tree.to_yaml(), []).unwrap().config, config);
}

proptest::proptest! {
    #[test]
    fn no_file_panics(text in "(version: 0.1\n)?((http|log|storage|auth|tls|health|notifications|[a-z]{1,6}|\\PC): ?[{\\[\\]},a-z0-9\\PC]{0,12}\n[ ]{0,4}){0,8}") {
        let _ = load(&text, []);
    }

    #[test]
    fn no_mutated_file_panics(text in registry_mutation::mutated_text(&[V2, V3])) {
        if let Ok(loaded) = load(&text, []) {
            // A configuration that is accepted can be printed, and the printed one is accepted.
            let printed = loaded.tree.to_yaml();
            proptest::prop_assert!(load(&printed, []).is_ok(), "printed:\n{}", printed);
        }
    }

    #[test]
    fn no_value_of_any_key_panics(at in 0..crate::keys::KEYS.len(), value in "\\PC{0,30}") {
        let mut tree = Tree::parse(GOOD).unwrap();
        tree.set(&crate::keys::KEYS[at].path.replace("[]", ""), &value);
        let _ = load(&tree.to_yaml(), []);
    }
}

#[test]
fn a_pattern_that_is_none_is_refused_with_its_place() {
    refuses(
        "validation: {manifests: {urls: {allow: ['^https://', '(']}}}",
        &["`validation.manifests.urls.allow[1]` (line 3): `(` is not allowed; allowed: a regular expression"],
    );
}
