//! The ways Redis is reached by: passwords, TLS, sentinels, a cluster.

use std::path::PathBuf;
use std::process::Command;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use super::super::super::testing::{connected, free_port, secret, settings};
use super::*;

/// Starts with ports that were free a moment ago, again until nobody was faster.
fn on_ports<const N: usize>(
    start: impl Fn([u16; N]) -> Option<Vec<RedisServer>>,
) -> ([u16; N], Vec<RedisServer>) {
    for _ in 0..20 {
        let ports = [(); N].map(|()| free_port());
        if let Some(servers) = start(ports) {
            return (ports, servers);
        }
    }
    panic!("no free ports in 20 attempts")
}

fn answers(port: u16) -> bool {
    std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
}

fn local(port: u16) -> String {
    format!("127.0.0.1:{port}")
}

#[tokio::test]
async fn a_user_and_a_password_are_sent_and_the_wrong_one_is_printed_nowhere() {
    let server = RedisServer::start(&[
        "--requirepass",
        "hunter2",
        "--user",
        "berth",
        "on",
        ">hunter3",
        "~*",
        "+@all",
    ]);
    let case = Case::blob();
    for (username, password) in [(None, "hunter2"), (Some("berth"), "hunter3")] {
        let settings = Settings {
            username: username.map(str::to_owned),
            password: secret(password),
            client_name: Some("registry".to_owned()),
            database: 3,
            resp3: true,
            ..server.settings()
        };
        let cache = connected(settings).await;
        case.works(&cache).await;
        cache.forget(&case.link()).await.unwrap();
        let clients = server.ask(&["-a", "hunter2", "CLIENT", "LIST"]);
        let ours = clients.lines().find(|line| line.contains(" name=registry "));
        assert!(ours.is_some_and(|line| line.contains(" db=3 ")), "{clients}");
        server.ask(&["-a", "hunter2", "FLUSHALL"]);
    }
    let wrong = Settings {
        password: secret("hunter4"),
        ..server.settings()
    };
    let error = wrong.connect().await.unwrap_err();
    let said = crate::fault::chain(&error);
    assert!(said.contains("Password authentication failed"), "{said}");
    assert!(!said.contains("hunter"), "{said}");
}

#[tokio::test]
async fn tls_shows_a_certificate_and_trusts_only_its_own_ca_files() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let folder = tempfile::tempdir().unwrap();
    let ca = |name: &str| {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
    };
    let write = |name: &str, text: String| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let (ours, other) = (ca("ours"), ca("other"));
    let signed = |name: &str| {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &ours).unwrap();
        (
            write(&format!("{name}.crt"), certificate.pem()),
            write(&format!("{name}.key"), key.serialize_pem()),
        )
    };
    let (ca, other) = (write("ca.crt", ours.pem()), write("other.crt", other.pem()));
    let ((certificate, key), identity) = (signed("server"), signed("client"));
    let path = |path: &PathBuf| path.display().to_string();
    let ([port], servers) = on_ports(|[port]| {
        let server = RedisServer::start(&[
            "--tls-port",
            &port.to_string(),
            "--tls-cert-file",
            &path(&certificate),
            "--tls-key-file",
            &path(&key),
            "--tls-ca-cert-file",
            &path(&ca),
        ]);
        answers(port).then(|| vec![server])
    });
    let [server] = servers.as_slice() else {
        panic!("one server was started")
    };
    let with = |ca: &PathBuf, identity: Option<&(PathBuf, PathBuf)>| Settings {
        tls: Some(Tls {
            identity: identity.cloned(),
            ca_files: vec![ca.clone()],
        }),
        ..settings(Servers::One(format!("localhost:{port}")))
    };
    let cache = connected(with(&ca, Some(&identity))).await;
    let case = Case::blob();
    case.works(&cache).await;
    assert_eq!(server.ask(&["EXISTS", "repository::team/app::blobs"]), "1");

    let error = with(&other, Some(&identity)).connect().await.unwrap_err();
    let said = crate::fault::chain(&error);
    assert!(said.contains("certificate"), "{said}");
    // It wants to see one.
    with(&ca, None).connect().await.unwrap_err();
    // And a file that is missing is the caller's to mend, at the start.
    let missing = with(&folder.path().join("none.crt"), None);
    let error = Cache::in_redis(missing).unwrap_err();
    assert!(error.to_string().contains("none.crt` of `redis.tls`"), "{error}");
}

#[tokio::test]
async fn a_cluster_keeps_each_link_and_what_forgets_it_together() {
    let (ports, _servers) = on_ports(|ports: [u16; 3]| {
        // The bus of a member has a port of its own, ten thousand above unless it is told.
        let servers = ports.map(|port| {
            RedisServer::start(&[
                "--port",
                &port.to_string(),
                "--cluster-enabled",
                "yes",
                "--cluster-port",
                &free_port().to_string(),
            ])
        });
        let all = ports.iter().all(|port| answers(*port));
        all.then(|| servers.into())
    });
    let created = Command::new("redis-cli")
        .args(["--cluster", "create"])
        .args(ports.map(local))
        .args(["--cluster-replicas", "0", "--cluster-yes"])
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&created.stdout);
    assert!(created.status.success(), "{told}");

    // Some of the members are enough.
    let members = ports[..2].iter().copied().map(local).collect();
    let settings = settings(Servers::Cluster(members));
    let (one, two) = (connected(settings.clone()).await, connected(settings).await);
    // On all members.
    for number in 0..20 {
        let case = Case {
            kind: LinkKind::Blob,
            repository: RepositoryName::parse(&format!("team/app{number}")).unwrap(),
            digest: Digest::sha256(&[number]),
        };
        case.works(&one).await;
        assert!(case.knows(&two).await);
        let ticket = {
            two.forget(&case.link()).await.unwrap();
            case.ticket(&one).await
        };
        one.remember(&case.link(), ticket, &case.descriptor()).await;
        assert!(!case.knows(&one).await, "{number}");
    }
    assert_eq!(one.metrics.failures() + two.metrics.failures(), 0);
}

#[tokio::test]
async fn sentinels_are_asked_for_the_master_and_again_when_it_is_another() {
    let ([first, second, watcher], mut servers) = on_ports(|ports: [u16; 3]| {
        let [first, second, watcher] = ports.map(|port| port.to_string());
        let rules = format!(
            "sentinel monitor main 127.0.0.1 {first} 1\nsentinel auth-pass main hunter2\n\
             sentinel down-after-milliseconds main 500\nsentinel failover-timeout main 2000\n"
        );
        let password = ["--requirepass", "hunter2", "--masterauth", "hunter2"];
        let node = |port: &str, more: &[&str]| {
            RedisServer::start(&[&["--port", port][..], &password, more].concat())
        };
        let master = node(&first, &[]);
        let replica = node(
            &second,
            &[
                "--replicaof",
                &format!("127.0.0.1 {first}"),
                "--repl-diskless-sync-delay",
                "0",
            ],
        );
        let sentinel = RedisServer::start_with(
            &rules,
            &["--sentinel", "--port", &watcher, "--requirepass", "hunter3"],
        );
        let all = ports.iter().all(|port| answers(*port));
        all.then(|| vec![master, replica, sentinel])
    });
    let settings = Settings {
        password: secret("hunter2"),
        ..settings(Servers::Sentinels {
            addresses: vec![local(watcher)],
            master: "main".to_owned(),
            username: None,
            password: secret("hunter3"),
        })
    };
    let cache = connected(settings).await;
    let case = Case::blob();
    case.works(&cache).await;
    let port = |server: &RedisServer| server.ask(&["-a", "hunter2", "CONFIG", "GET", "port"]);
    assert!(port(&servers[0]).ends_with(&first.to_string()));
    // The sentinel must know of the replica before the master goes.
    let deadline = Instant::now() + PATIENCE;
    loop {
        let known = servers[2].ask(&["-a", "hunter3", "SENTINEL", "REPLICAS", "main"]);
        if known.contains(&second.to_string()) && known.contains("master-link-status\nok") {
            break;
        }
        assert!(Instant::now() < deadline, "last seen: {known}");
        std::thread::yield_now();
    }
    servers[0].kill();
    case.works(&cache).await;
    cache.forget(&case.link()).await.unwrap();
    assert!(port(&servers[1]).ends_with(&second.to_string()));
    let role = servers[1].ask(&["-a", "hunter2", "ROLE"]);
    assert!(role.starts_with("master"), "{role}");
}
