use std::sync::Arc;

use rcgen::{CertificateParams, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use time::{Duration, OffsetDateTime};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;
use crate::fixtures::answer_once;

const OURS: &str = "HTTP/1.1 401 Unauthorized\r\ndocker-distribution-api-version: registry/2.0\r\n\
                    berth-registry-id: 4711\r\ncontent-length: 0\r\n\r\n";

fn at(type_: EndpointType, host: &str, port: u16, scheme: &str) -> Address {
    Address {
        type_,
        url: format!("{scheme}://{host}:{port}"),
        subject: "The proxy".to_owned(),
        targets: vec!["127.0.0.1".to_owned()],
        unpublished: None,
        identity: "4711".to_owned(),
    }
}

/// The result for an address that gives this answer.
async fn asked(type_: EndpointType, answer: &str) -> Result<(), Failure> {
    let port = answer_once("GET /v2/ HTTP/1.1\r\n", answer.to_owned()).await;
    ask(&at(type_, "harbour.example", port, "http"), Timestamp::now()).await
}

fn reason(result: Result<(), Failure>) -> Option<(&'static str, String)> {
    result.err().map(|failure| (failure.reason, failure.message))
}

#[tokio::test]
async fn a_challenge_of_this_registry_is_an_answer() {
    assert_eq!(asked(EndpointType::Ingress, OURS).await, Ok(()));
}

#[tokio::test]
async fn an_answer_of_another_registry_is_none() {
    let expected = (
        why::OTHER_REGISTRY,
        "The proxy at 127.0.0.1 leads to another registry for `harbour.example`".to_owned(),
    );
    let theirs = OURS.replace("4711", "4712");
    assert_eq!(
        reason(asked(EndpointType::Ingress, &theirs).await),
        Some(expected.clone())
    );
    let nameless = OURS.replace("berth-registry-id: 4711\r\n", "");
    assert_eq!(
        reason(asked(EndpointType::Ingress, &nameless).await),
        Some(expected)
    );
    // Only this Registry's Pods are behind its Service, and those of an earlier version do not name themselves.
    assert_eq!(asked(EndpointType::Service, &nameless).await, Ok(()));
}

#[tokio::test]
async fn a_proxy_that_does_not_know_the_registry_is_something_else() {
    for (status, code) in [("404 Not Found", 404), ("403 Forbidden", 403), ("302 Found", 302)] {
        let answer =
            format!("HTTP/1.1 {status}\r\nlocation: https://login.example/\r\ncontent-length: 0\r\n\r\n");
        let message =
            format!("The proxy at 127.0.0.1 answers {code} for `harbour.example` instead of the registry");
        assert_eq!(
            reason(asked(EndpointType::Ingress, &answer).await),
            Some((why::WRONG_ANSWER, message))
        );
    }
}

#[tokio::test]
async fn a_closed_port_is_unreachable() {
    let free = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let address = at(EndpointType::Public, "harbour.example", free.port(), "http");
    let failure = ask(&address, Timestamp::now()).await.unwrap_err();
    assert_eq!(failure.state, EndpointState::Unreachable);
}

#[tokio::test]
async fn an_ingress_that_nobody_took_is_named_where_dns_does_not_know_the_host() {
    let address = Address {
        targets: Vec::new(),
        unpublished: Some("Ingress `harbour` of class `ngnix`".to_owned()),
        ..at(EndpointType::Ingress, "harbour.invalid", 443, "https")
    };
    let (reason, message) = reason(ask(&address, Timestamp::now()).await).unwrap();
    assert_eq!(reason, why::NOT_PUBLISHED);
    assert!(
        message.contains("Ingress `harbour` of class `ngnix`"),
        "{message}"
    );
}

#[tokio::test]
async fn an_ingress_that_nobody_took_is_named_where_another_controller_answers_for_the_host() {
    let answer = "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n".to_owned();
    let port = answer_once("GET /v2/ HTTP/1.1\r\n", answer).await;
    let address = Address {
        targets: Vec::new(),
        unpublished: Some("Ingress `harbour` of class `ngnix`".to_owned()),
        ..at(EndpointType::Ingress, "127.0.0.1", port, "http")
    };
    let expected = "The proxy answers 404 for `127.0.0.1` instead of the registry: none has published an address for Ingress \
                    `harbour` of class `ngnix`";
    assert_eq!(
        reason(ask(&address, Timestamp::now()).await),
        Some((why::NOT_PUBLISHED, expected.to_owned()))
    );
}

#[tokio::test]
async fn an_ipv6_address_is_in_brackets_in_the_host_header() {
    let listener = TcpListener::bind("[::1]:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let received = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = vec![0; 1024];
        let count = stream.read(&mut head).await.unwrap();
        stream.write_all(OURS.as_bytes()).await.unwrap();
        String::from_utf8_lossy(&head[..count]).into_owned()
    });
    let address = Address {
        targets: Vec::new(),
        ..at(EndpointType::LoadBalancer, "[::1]", port, "http")
    };
    assert_eq!(ask(&address, Timestamp::now()).await, Ok(()));
    let head = received.await.unwrap();
    assert!(head.contains(&format!("host: [::1]:{port}\r\n")), "{head}");
}

/// A server that shows a certificate for `name`, valid until so many days from now. Gives its port and the certificate.
pub(crate) async fn tls_server(name: &str, days: i64) -> (u16, String) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.not_before = OffsetDateTime::now_utc() - Duration::days(90);
    params.not_after = OffsetDateTime::now_utc() + Duration::days(days);
    let certificate = params.self_signed(&key).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        )
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        // A client that does not trust the certificate sends nothing.
        let Ok(mut stream) = acceptor.accept(stream).await else {
            return;
        };
        let mut head = vec![0; 1024];
        let _ = stream.read(&mut head).await.unwrap();
        stream.write_all(OURS.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
    });
    (port, certificate.pem())
}

#[tokio::test]
async fn a_certificate_counts_for_the_host_and_while_it_is_valid_whatever_its_ca() {
    let rows = [
        ("harbour.example", 30, None),
        ("*.example", 30, None),
        ("pier.example", 30, Some(why::HOST_NOT_COVERED)),
        ("harbour.example", -1, Some(why::CERTIFICATE_EXPIRED)),
    ];
    for (name, days, expected) in rows {
        let address = at(
            EndpointType::Ingress,
            "harbour.example",
            tls_server(name, days).await.0,
            "https",
        );
        let result = ask(&address, Timestamp::now()).await;
        assert_eq!(
            reason(result).map(|(reason, _)| reason),
            expected,
            "{name} for {days} days"
        );
    }
}
