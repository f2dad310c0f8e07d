//! The configurations that other registries ship. Each has to work unchanged, so that a user only replaces the image.

use crate::program::{Server, command};

/// Configurations with the keys and values of the shipped files, each with the keys that the server warns about.
const FILES: [(&str, &str, &[&str]); 6] = [
    (
        "the image of registry:2",
        "version: 0.1
log: {fields: {service: registry}}
storage: {cache: {blobdescriptor: inmemory}, filesystem: {rootdirectory: /var/lib/registry}}
http: {addr: ':5000', headers: {X-Content-Type-Options: [nosniff]}}
health: {storagedriver: {enabled: true, interval: 10s, threshold: 3}}
",
        &[],
    ),
    (
        "the example of 2.8",
        "version: 0.1
log: {fields: {service: registry}}
storage: {cache: {blobdescriptor: inmemory}, filesystem: {rootdirectory: /var/lib/registry}}
http: {addr: ':5000', headers: {X-Content-Type-Options: [nosniff]}}
auth: {htpasswd: {realm: basic-realm, path: /etc/registry}}
health: {storagedriver: {enabled: true, interval: 10s, threshold: 3}}
",
        &[],
    ),
    (
        "the development file of 2.8",
        "version: 0.1
log:
  level: debug
  fields: {service: registry, environment: development}
  hooks:
    - type: mail
      disabled: true
      levels: [panic]
      options:
        smtp: {addr: 'mail.example.com:25', username: mailuser, password: password, insecure: true}
        from: sender@example.com
        to: [errors@example.com]
storage:
  delete: {enabled: true}
  cache: {blobdescriptor: redis}
  filesystem: {rootdirectory: /var/lib/registry}
  maintenance: {uploadpurging: {enabled: false}}
http:
  addr: :5000
  debug: {addr: ':5001', prometheus: {enabled: true, path: /metrics}}
  headers: {X-Content-Type-Options: [nosniff]}
redis:
  addr: localhost:6379
  pool: {maxidle: 16, maxactive: 64, idletimeout: 300s}
  dialtimeout: 10ms
  readtimeout: 10ms
  writetimeout: 10ms
notifications:
  events: {includereferences: true}
  endpoints:
    - {name: local-5003, url: 'http://localhost:5003/callback', headers: {Authorization: [Bearer x]}, timeout: 1s,
       threshold: 10, backoff: 1s, disabled: true}
    - {name: local-8083, url: 'http://localhost:8083/callback', timeout: 1s, threshold: 10, backoff: 1s, disabled: true}
health: {storagedriver: {enabled: true, interval: 10s, threshold: 3}}
",
        &[
            "redis.pool.maxidle",
            "notifications.events.includereferences",
        ],
    ),
    (
        "the image of registry:3, which is its development file",
        "version: 0.1
log: {level: debug, fields: {service: registry, environment: development}}
storage:
  delete: {enabled: true}
  cache: {blobdescriptor: inmemory}
  filesystem: {rootdirectory: /var/lib/registry}
  maintenance: {uploadpurging: {enabled: false}}
  tag: {concurrencylimit: 8}
http:
  addr: :5000
  debug: {addr: ':5001', prometheus: {enabled: true, path: /metrics}}
  headers: {X-Content-Type-Options: [nosniff]}
health: {storagedriver: {enabled: true, interval: 10s, threshold: 3}}
",
        &["storage.tag.concurrencylimit"],
    ),
    (
        "the example of 3.1",
        "version: 0.1
log: {fields: {service: registry}}
storage:
  cache: {blobdescriptor: inmemory}
  filesystem: {rootdirectory: /var/lib/registry}
  tag: {concurrencylimit: 8}
http: {addr: ':5000', headers: {X-Content-Type-Options: [nosniff]}}
auth: {htpasswd: {realm: basic-realm, path: /etc/registry}}
health: {storagedriver: {enabled: true, interval: 10s, threshold: 3}}
",
        &["storage.tag.concurrencylimit"],
    ),
    (
        "Debian's docker-registry",
        "version: 0.1
log: {fields: {service: registry}}
storage: {cache: {blobdescriptor: inmemory}, filesystem: {rootdirectory: /var/lib/docker-registry}, delete: {enabled: true}}
http: {addr: ':5000', headers: {X-Content-Type-Options: [nosniff]}}
auth: {htpasswd: {realm: basic-realm, path: /etc/docker/registry}}
health: {storagedriver: {enabled: true, interval: 10s, threshold: 3}}
",
        &[],
    ),
];

#[test]
fn each_starts_serves_and_warns_once_of_what_has_no_effect() {
    for (name, text, expected) in FILES {
        let folder = tempfile::tempdir().unwrap();
        let path = |name| folder.path().join(name);
        std::fs::write(path("config.yml"), text).unwrap();
        let mut serve = command(env!("CARGO_BIN_EXE_registry-server"));
        serve.arg("serve").arg(path("config.yml"));
        // Only folders and ports are replaced, because tests share this machine.
        serve
            .env("REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY", path("data"))
            .env("REGISTRY_HTTP_ADDR", "127.0.0.1:0")
            .env("REGISTRY_LOG_FORMATTER", "json");
        if text.contains("debug: {addr") {
            serve.env("REGISTRY_HTTP_DEBUG_ADDR", "127.0.0.1:0");
        }
        if text.contains("htpasswd") {
            serve.env("REGISTRY_AUTH_HTPASSWD_PATH", path("users"));
        }
        let server = Server::spawn(folder, serve);
        let answer = server.ask("GET /v2/ HTTP/1.1\r\n");
        let status = if text.contains("htpasswd") { 401 } else { 200 };
        assert_eq!(
            (answer.status, answer.header("x-content-type-options")),
            (status, Some("nosniff")),
            "{name}"
        );
        if text.contains("prometheus") {
            assert_eq!(server.probe("/metrics").status, 200, "{name}");
        }
        let warned: Vec<String> = server
            .log()
            .all()
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
            .filter_map(|line| {
                let (key, _) = line["msg"].as_str()?.split_once("` ")?;
                let (_, key) = key.split_once(": `")?;
                Some(key.to_owned())
            })
            .collect();
        assert_eq!(warned, expected, "{name}: {}", server.log().all());
    }
}
