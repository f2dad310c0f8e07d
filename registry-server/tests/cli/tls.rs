//! TLS: certificates by file, changed while the server runs.

use std::io::{Read as _, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::program::{Answer, PATIENCE, Server, connect, send};

/// A self-signed certificate and its key.
pub(crate) struct Pair {
    pub(crate) certificate: String,
    key: String,
}

impl Pair {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["registry.test".to_owned()]).unwrap();
        Self {
            certificate: params.self_signed(&key).unwrap().pem(),
            key: key.serialize_pem(),
        }
    }

    pub(crate) fn write(&self, folder: &Path) {
        std::fs::write(folder.join("tls.key"), &self.key).unwrap();
        std::fs::write(folder.join("tls.crt"), &self.certificate).unwrap();
    }
}

pub(crate) fn client(trusted: &str, identity: Option<(&str, &str)>, alpn: &[&str]) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(trusted.as_bytes()).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => builder
            .with_client_auth_cert(
                vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()],
                PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
            )
            .unwrap(),
    };
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    config
}

/// Makes a TLS handshake.
pub(crate) fn handshake(
    address: &str,
    config: ClientConfig,
) -> Result<StreamOwned<ClientConnection, TcpStream>, std::io::Error> {
    let name = ServerName::try_from("registry.test").unwrap();
    let connection = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut stream = StreamOwned::new(connection, connect(address));
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock)?;
    }
    Ok(stream)
}

/// Whether a client that trusts this certificate accepts the server.
fn trusts(server: &Server, pair: &Pair) -> bool {
    handshake(&server.address, client(&pair.certificate, None, &[])).is_ok()
}

pub(crate) fn start(folder: tempfile::TempDir, more: &str) -> Server {
    let tls = "certificate: \"%/tls.crt\", key: \"%/tls.key\"";
    Server::start_in(
        folder,
        &format!("http: {{addr: \"127.0.0.1:0\", tls: {{{tls}{more}}}}}\n"),
    )
}

#[test]
fn a_changed_certificate_is_served_and_a_bad_one_leaves_the_old() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (Pair::new(), Pair::new());
    first.write(folder.path());
    let server = start(folder, "");
    assert!(trusts(&server, &first));
    assert!(!trusts(&server, &second));

    // The new certificate does not fit the old key, so nothing changes, and one line says so.
    std::fs::write(server.folder.path().join("tls.crt"), &second.certificate).unwrap();
    let line = server.log().wait("certificate changed and cannot be used");
    assert!(line.contains("does not fit `http.tls.certificate`"), "{line}");
    assert!(trusts(&server, &first), "the old pair is still served");

    std::fs::write(server.folder.path().join("tls.key"), &second.key).unwrap();
    server.log().wait("certificate changed: the new one is served");
    let deadline = Instant::now() + PATIENCE;
    while !trusts(&server, &second) {
        assert!(Instant::now() < deadline, "the new certificate is not served");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(!trusts(&server, &first));
    let complaints = server.log().all().matches("cannot be used").count();
    assert_eq!(complaints, 1, "{}", server.log().all());
}

#[test]
fn requests_over_tls_are_answered_with_https_locations() {
    let folder = tempfile::tempdir().unwrap();
    let pair = Pair::new();
    pair.write(folder.path());
    let server = start(folder, "");
    let mut stream = handshake(&server.address, client(&pair.certificate, None, &["http/1.1"])).unwrap();
    send(
        &mut stream,
        "POST /v2/a/blobs/uploads/ HTTP/1.1\r\nContent-Length: 0\r\n",
    );
    let answer = Answer::read(stream);
    assert_eq!(answer.status, 202);
    assert!(
        answer
            .header("location")
            .unwrap()
            .starts_with("https://registry.test/v2/a/blobs/uploads/"),
        "{answer:?}"
    );
}

#[test]
fn plain_http_is_answered_on_the_same_address_only_where_it_is_allowed() {
    for (more, allowed) in [
        (", allowplaintext: true", true),
        (", allowplaintext: false", false),
        ("", false),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let pair = Pair::new();
        pair.write(folder.path());
        let server = start(folder, more);
        let upload = "POST /v2/a/blobs/uploads/ HTTP/1.1\r\nContent-Length: 0\r\n";
        let mut stream = handshake(&server.address, client(&pair.certificate, None, &["http/1.1"])).unwrap();
        send(&mut stream, upload);
        let answer = Answer::read(stream).is(202);
        let location = answer.header("location").unwrap();
        assert!(
            location.starts_with("https://registry.test/v2/"),
            "{more}: {location}"
        );
        let mut plain = connect(&server.address);
        send(&mut plain, upload);
        if allowed {
            let answer = Answer::read(plain).is(202);
            let location = answer.header("location").unwrap();
            assert!(location.starts_with("http://registry.test/v2/"), "{location}");
        } else {
            let mut answer = Vec::new();
            let _ = plain.read_to_end(&mut answer);
            assert!(
                !answer.starts_with(b"HTTP/"),
                "{more}: {}",
                String::from_utf8_lossy(&answer)
            );
        }
    }
}

#[test]
fn http2_is_offered_unless_it_is_disabled() {
    for (more, expected) in [("", "h2"), ("}, http2: {disabled: true", "http/1.1")] {
        let folder = tempfile::tempdir().unwrap();
        let pair = Pair::new();
        pair.write(folder.path());
        let server = start(folder, more);
        let stream = handshake(
            &server.address,
            client(&pair.certificate, None, &["h2", "http/1.1"]),
        )
        .unwrap();
        assert_eq!(stream.conn.alpn_protocol(), Some(expected.as_bytes()), "{more}");
    }
}

#[test]
fn the_lowest_version_is_obeyed() {
    let folder = tempfile::tempdir().unwrap();
    let pair = Pair::new();
    pair.write(folder.path());
    let server = start(folder, ", minimumtls: tls1.3");
    let stream = handshake(&server.address, client(&pair.certificate, None, &[])).unwrap();
    assert_eq!(
        stream.conn.protocol_version(),
        Some(rustls::ProtocolVersion::TLSv1_3)
    );
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(pair.certificate.as_bytes()).unwrap())
        .unwrap();
    let old = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    assert!(handshake(&server.address, old).is_err());
}

#[test]
fn clients_must_show_a_certificate_when_cas_are_configured() {
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["client.test".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &ca).unwrap().pem();
    let key = key.serialize_pem();

    for (mode, anonymous) in [("", false), (", clientauth: verify-client-cert-if-given", true)] {
        let folder = tempfile::tempdir().unwrap();
        let pair = Pair::new();
        pair.write(folder.path());
        std::fs::write(folder.path().join("ca.crt"), ca.pem()).unwrap();
        let server = start(folder, &format!(", clientcas: [\"%/ca.crt\"]{mode}"));
        let ask = |identity| {
            let mut stream = handshake(&server.address, client(&pair.certificate, identity, &[])).ok()?;
            // In TLS 1.3 a client learns of a refusal only after it has finished its part of the handshake.
            write!(
                stream,
                "GET /v2/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
            )
            .ok()?;
            let mut text = Vec::new();
            let _ = std::io::Read::read_to_end(&mut stream, &mut text);
            text.starts_with(b"HTTP/1.1 200").then_some(())
        };
        assert!(
            ask(Some((&certificate, &key))).is_some(),
            "a client with a good certificate{mode}"
        );
        assert_eq!(ask(None).is_some(), anonymous, "a client without one{mode}");
        let foreign = Pair::new();
        assert!(
            ask(Some((&foreign.certificate, &foreign.key))).is_none(),
            "a foreign certificate{mode}"
        );
    }
}

#[test]
fn a_plain_request_on_the_tls_port_and_a_silent_client_disturb_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let pair = Pair::new();
    pair.write(folder.path());
    let server = start(folder, "");
    let silent = connect(&server.address);
    let mut plain = connect(&server.address);
    plain.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    assert!(trusts(&server, &pair));
    drop((silent, plain));
}

#[test]
fn sighup_has_certificate_and_users_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (Pair::new(), Pair::new());
    first.write(folder.path());
    // No user yet.
    std::fs::write(folder.path().join("users"), "").unwrap();
    let server = Server::start_in(
        folder,
        "http: {addr: \"127.0.0.1:0\", tls: {certificate: \"%/tls.crt\", key: \"%/tls.key\"}}\n\
         auth: {htpasswd: {realm: r, path: \"%/users\"}}\n",
    );
    assert!(trusts(&server, &first));
    second.write(server.folder.path());
    let user = format!("ann:{}\n", bcrypt::hash("secret", 4).unwrap());
    std::fs::write(server.folder.path().join("users"), user).unwrap();
    server.signal(rustix::process::Signal::HUP);
    server.log().wait("htpasswd changed: users read again");
    // The signal or the regular check of the files has it read, whichever comes first.
    server.log().wait("certificate");
    let deadline = Instant::now() + PATIENCE;
    while !trusts(&server, &second) {
        assert!(Instant::now() < deadline, "{}", server.log().all());
        std::thread::sleep(Duration::from_millis(20));
    }
    // The signal has the files read again even if nothing changed.
    server.signal(rustix::process::Signal::HUP);
    server.log().wait("certificate read again");
}

#[test]
fn certificate_and_key_are_read_whatever_editor_saved_them() {
    let utf16 = |text: &str| -> Vec<u8> {
        format!("\u{feff}{text}")
            .encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect()
    };
    let marked = |text: &str| format!("\u{feff}{}", text.replace('\n', "\r\n")).into_bytes();
    type Save<'a> = &'a dyn Fn(&str) -> Vec<u8>;
    for save in [&utf16 as Save<'_>, &marked] {
        let folder = tempfile::tempdir().unwrap();
        let pair = Pair::new();
        std::fs::write(folder.path().join("tls.crt"), save(&pair.certificate)).unwrap();
        std::fs::write(folder.path().join("tls.key"), save(&pair.key)).unwrap();
        let server = start(folder, "");
        assert!(trusts(&server, &pair));
        let line = server.log().wait("listening on 127.0.0.1:");
        assert!(
            line.contains(&format!("\"msg\":\"listening on {}, tls\"", server.address)),
            "{line}"
        );
    }
}

#[test]
fn an_encrypted_key_is_named_with_its_file_its_line_and_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let pair = Pair::new();
    pair.write(folder.path());
    let path = |name: &str| folder.path().join(name).display().to_string();
    let encrypted = pair.key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    std::fs::write(
        path("tls.key"),
        format!("# the key of registry.test\n{encrypted}"),
    )
    .unwrap();
    let text = format!(
        "version: 0.1\nlog: {{level: error}}\nstorage: inmemory\nhttp:\n  tls:\n    certificate: {}\n    key: {}\n",
        path("tls.crt"),
        path("tls.key")
    );
    std::fs::write(path("config.yml"), text).unwrap();
    let serve = |program: &mut std::process::Command| {
        crate::program::run(program.arg("serve").arg(path("config.yml")))
    };
    let (code, _, stderr) = serve(&mut crate::program::command(env!(
        "CARGO_BIN_EXE_registry-server"
    )));
    let expected = format!(
        "error: {} (line 7): `http.tls.key`, `{}`, cannot be read: line 2: the key is encrypted, and a server cannot ask for \
         its password; write it without one: `openssl pkey -in OLD -out NEW`\n",
        path("config.yml"),
        path("tls.key")
    );
    assert_eq!((code, stderr), (2, expected));
}
