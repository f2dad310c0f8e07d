use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::BodyExt as _;
use registry_config::{Config, GoDuration, Secret, model};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::{Check, Health, Probes};
use crate::storage::{self, Driver, Filesystem, FilesystemOptions, InMemory, StoreHealth};

const LOCAL: Option<SocketAddr> = Some(SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 40000));
const STRANGER: Option<SocketAddr> = Some(SocketAddr::new(
    std::net::IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7)),
    40000,
));

/// The one check of a configuration without the storage's.
fn check(change: impl FnOnce(&mut model::Health)) -> Check {
    let mut config = Config::default().health;
    config.storagedriver.enabled = Some(false);
    change(&mut config);
    let driver: Arc<dyn Driver> = Arc::new(InMemory::default());
    let mut checks = Check::all(&config, &driver).unwrap();
    assert_eq!(checks.len(), 1);
    checks.remove(0)
}

/// Status and body of a probe.
async fn ask(health: &Health, method: Method, path: &str, peer: Option<SocketAddr>) -> (u16, String) {
    let request = Request::builder().method(method).uri(path).body(()).unwrap();
    let response = Probes::new(health.clone()).respond(request, peer).await;
    let status = response.status().as_u16();
    let body: Bytes = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn a_file_takes_the_server_out_of_service_while_it_exists_and_its_threshold_counts() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("maintenance");
    let mut check = check(|config| {
        config.file.push(model::FileCheck {
            file: path.display().to_string(),
            threshold: Some(2),
            ..Default::default()
        });
    });
    let health = Health::default();
    let mut failures = 0;
    let mut look = async || {
        let seen = check.look().await;
        health.note(&check, &mut failures, seen);
        health.is_out_of_service()
    };
    assert!(!look().await);
    std::fs::write(&path, "").unwrap();
    assert!(!look().await, "the first of two");
    assert!(look().await);
    assert!(look().await, "counted once only");
    let told = ask(&health, Method::GET, "/debug/health", STRANGER).await;
    assert_eq!(told, (503, format!("{{\"{}\":\"file exists\"}}", path.display())));
    assert_eq!(
        ask(&health, Method::GET, "/readyz", STRANGER).await,
        (503, format!("{}: file exists\n", path.display()))
    );
    assert_eq!(ask(&health, Method::GET, "/livez", STRANGER).await.0, 200);
    std::fs::remove_file(&path).unwrap();
    assert!(!look().await, "one success is enough");
    assert_eq!(
        ask(&health, Method::GET, "/debug/health", STRANGER).await,
        (200, "{}".to_owned())
    );
}

#[tokio::test]
async fn a_storage_that_takes_no_writes_is_told_and_refuses_no_request() {
    let (health, store_health) = (Health::default(), StoreHealth::default());
    health.watch_writes("filesystem", store_health.clone());
    assert_eq!(ask(&health, Method::GET, "/readyz", STRANGER).await.0, 200);
    let error = storage::Error::Full {
        action: "write",
        key: storage::StorageKey::parse("secret/path").unwrap(),
        source: std::io::ErrorKind::StorageFull.into(),
    };
    store_health.note_failure("filesystem /var/lib/registry", &error);
    assert_eq!(
        ask(&health, Method::GET, "/readyz", STRANGER).await,
        (503, "storagedriver_filesystem: storage full\n".to_owned())
    );
    assert_eq!(ask(&health, Method::GET, "/livez", STRANGER).await.0, 200);
    assert!(!health.is_out_of_service());
}

#[tokio::test]
async fn an_address_is_good_while_it_takes_connections() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let mut check = check(|config| {
        config.tcp.push(model::TcpCheck {
            addr: address.clone(),
            ..Default::default()
        });
    });
    assert_eq!(check.look().await, Ok(()));
    drop(listener);
    // Another test may have been given the port in this moment: it is not for long.
    let deadline = Instant::now() + Duration::from_secs(60);
    let trouble = loop {
        match check.look().await {
            Err(trouble) => break trouble,
            Ok(()) => assert!(Instant::now() < deadline, "somebody else listens on {address}"),
        }
    };
    assert!(
        trouble.starts_with(&format!("{address}: connection failed: ")),
        "{trouble}"
    );
}

/// Answers every request with that status and gives the first head it reads.
async fn answering(status: u16) -> (String, tokio::task::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let seen = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let byte = stream.read_u8().await.unwrap();
            head.push(byte);
        }
        let answer = format!("HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
        stream.write_all(answer.as_bytes()).await.unwrap();
        String::from_utf8(head).unwrap()
    });
    (address, seen)
}

fn url(address: &str) -> String {
    format!("http://ann:hunter2@{address}/healthz")
}

#[tokio::test]
async fn a_url_is_asked_with_the_headers_and_must_answer_the_status() {
    for (status, expected, good) in [(200, None, true), (204, Some(204), true), (500, None, false)] {
        let (address, seen) = answering(status).await;
        let mut check = check(|config| {
            config.http.push(model::HttpCheck {
                uri: url(&address),
                headers: [("X-Check".to_owned(), vec![Secret::new("s3cret")])].into(),
                statuscode: expected,
                ..Default::default()
            });
        });
        let result = check.look().await;
        let head = seen.await.unwrap();
        assert!(head.starts_with("HEAD /healthz HTTP/1.1\r\n"), "{head}");
        assert!(head.contains("x-check: s3cret\r\n"), "{head}");
        // Neither the URL's password nor a header is told to those who read the probes.
        let shown = format!("http://ann:xxxxx@{address}/healthz");
        assert_eq!(
            result,
            match good {
                true => Ok(()),
                false => Err(format!(
                    "{shown}: downstream service returned unexpected status: {status}"
                )),
            }
        );
        let debug = format!("{check:?}");
        assert!(!debug.contains("s3cret") && !debug.contains("hunter2"), "{debug}");
        let gone = check.look().await.unwrap_err();
        assert!(
            gone.starts_with(&format!("{shown}: error while checking: ")),
            "{gone}"
        );
        assert!(!gone.contains("hunter2"), "{gone}");
    }
}

#[tokio::test]
async fn who_never_answers_has_failed_after_the_timeout() {
    // Connected by the kernel, answered by nobody.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let timeout = GoDuration::try_from(Duration::from_millis(50)).unwrap();
    let mut check = check(|config| {
        config.http.push(model::HttpCheck {
            uri: url(&address),
            timeout: Some(timeout),
            ..Default::default()
        });
    });
    assert_eq!(check.look().await, Err("no answer within 50ms".to_owned()));
}

#[tokio::test]
async fn what_changes_the_server_or_shows_its_inside_is_for_this_machine() {
    let health = Health::default();
    for (method, path) in [
        (Method::POST, "/debug/health/down"),
        (Method::POST, "/debug/health/up"),
        (Method::GET, "/debug/vars"),
    ] {
        let (status, text) = ask(&health, method, path, STRANGER).await;
        assert_eq!(
            (status, text),
            (
                403,
                format!("{path} is answered to this machine only: over loopback or a unix socket\n")
            )
        );
    }
    assert!(!health.is_out_of_service());
    assert_eq!(
        ask(&health, Method::GET, "/debug/health/down", LOCAL).await.0,
        405
    );
    assert!(!health.is_out_of_service());
    for peer in [LOCAL, None] {
        assert_eq!(
            ask(&health, Method::POST, "/debug/health/down", peer).await.0,
            200
        );
        assert!(health.is_out_of_service());
        assert_eq!(
            ask(&health, Method::GET, "/debug/health", STRANGER).await,
            (503, "{\"manual_http_status\":\"manual Check\"}".to_owned())
        );
        assert_eq!(ask(&health, Method::POST, "/debug/health/up", peer).await.0, 200);
        assert!(!health.is_out_of_service());
    }
    let (status, vars) = ask(&health, Method::GET, "/debug/vars", LOCAL).await;
    let vars: serde_json::Value = serde_json::from_str(&vars).unwrap();
    assert_eq!((status, vars["cmdline"].is_array()), (200, true));
    assert_eq!(ask(&health, Method::POST, "/readyz", LOCAL).await.0, 405);
}

#[test]
fn two_checks_of_one_thing_are_told_apart() {
    let mut config = Config::default().health;
    for threshold in [1, 3, 5] {
        config.tcp.push(model::TcpCheck {
            addr: "db:5432".to_owned(),
            threshold: Some(threshold),
            ..Default::default()
        });
    }
    let driver: Arc<dyn Driver> = Arc::new(InMemory::default());
    let names: Vec<String> = Check::all(&config, &driver)
        .unwrap()
        .into_iter()
        .map(|check| check.name)
        .collect();
    assert_eq!(
        names,
        ["storagedriver_inmemory", "db:5432", "db:5432 (2)", "db:5432 (3)"]
    );
}

#[tokio::test]
async fn a_page_of_a_browser_cannot_take_the_server_down() {
    let down = async |headers: &[(&str, &str)], peer: Option<SocketAddr>| {
        let health = Health::default();
        let mut request = Request::post("/debug/health/down");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let probes = Probes::new(health.clone());
        let response = probes.respond(request.body(()).unwrap(), peer).await;
        let status = response.status().as_u16();
        assert_eq!(health.is_out_of_service(), status == 200, "{headers:?}");
        status
    };
    for host in [
        "localhost",
        "LOCALHOST:5001",
        "localhost.",
        "debug.localhost:5001",
        "127.0.0.1:5001",
        "127.1.2.3",
        "[::1]:5001",
    ] {
        assert_eq!(down(&[("host", host)], LOCAL).await, 200, "{host}");
        let origin = format!("http://{host}");
        assert_eq!(
            down(&[("host", host), ("origin", &origin)], LOCAL).await,
            200,
            "{host}"
        );
    }
    for host in [
        "attacker.example:5001",
        "localhost.attacker.example",
        "127.0.0.1.attacker.example",
        "192.0.2.7",
        "[::ffff:192.0.2.7]",
        "local host",
        "",
    ] {
        assert_eq!(down(&[("host", host)], LOCAL).await, 403, "{host}");
    }
    let host = ("host", "localhost:5001");
    for origin in [
        "https://attacker.example",
        "http://localhost:3000",
        "http://localhost",
        "null",
        "",
    ] {
        assert_eq!(down(&[host, ("origin", origin)], LOCAL).await, 403, "{origin}");
        assert_eq!(down(&[host, ("origin", origin)], None).await, 403, "{origin}");
    }
    assert_eq!(down(&[("host", "anything")], None).await, 200);
    assert_eq!(down(&[("host", "localhost")], STRANGER).await, 403);
}

#[tokio::test]
async fn the_size_of_the_file_system_is_told_where_the_store_has_one() {
    let folder = tempfile::tempdir().unwrap();
    let options = FilesystemOptions::default();
    let stores: [Arc<dyn Driver>; 2] = [
        Arc::new(Filesystem::new(folder.path(), &options).unwrap()),
        Arc::new(InMemory::default()),
    ];
    for store in stores {
        let probes = Probes::new(Health::default()).with_storage(Arc::clone(&store));
        let request = Request::get("/debug/storage").body(()).unwrap();
        let response = probes.respond(request, STRANGER).await;
        assert_eq!(response.status(), 200);
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let told: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(told["driver"], store.name());
        match store.name() {
            "filesystem" => {
                let (all, free) = (told["capacityBytes"].as_u64(), told["availableBytes"].as_u64());
                assert!(all > Some(0) && free <= all, "{told}");
            }
            _ => assert!(told.get("capacityBytes").is_none(), "{told}"),
        }
    }
}
