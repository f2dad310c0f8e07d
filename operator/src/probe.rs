//! Does the registry answer where clients will look for it? Asked once, before Ready is said.
//!
//! Kubernetes says that a Pod is ready before every proxy knows about it: kube-proxy and Ingress controllers follow a
//! moment later, and a push in that moment fails. So `/v2/` is asked for through the Service's address and through the
//! Ingress's, as a client would. Guarantees: nothing is sent but this one request, without credentials. Must not: be
//! asked again once Ready is said; a proxy that fails later is for monitoring to tell.
//! Start at [`first_failure`]; `readyz` asks a Pod itself why it is not ready.

mod readyz;

use std::sync::Arc;
use std::time::Duration;

use http::header::HOST;
use http::{Request, StatusCode};
use http_body_util::Empty;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::networking::v1::Ingress;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::build::{Children, Live};
use crate::validate::ValidatedRegistry;
pub(crate) use readyz::why_unready;

/// For everything from the connection to the answer's head.
const PATIENCE: Duration = Duration::from_secs(3);

/// Where a client would look.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Place {
    /// What is there, as the subject of a sentence.
    what: String,
    address: String,
    port: u16,
    /// Host of the request, and of the TLS handshake when there is one.
    host: String,
    tls: bool,
}

/// Why a place is not the registry yet.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ProbeFailure {
    /// Nothing is to be had there, or not from where we stand.
    Unreachable(String),
    /// Something answers, but it is not the registry.
    WrongAnswer(String),
}

impl ProbeFailure {
    /// The sentence for people.
    pub fn sentence(&self) -> &str {
        match self {
            Self::Unreachable(sentence) | Self::WrongAnswer(sentence) => sentence,
        }
    }
}

/// The first place that does not answer as the registry.
pub(crate) async fn first_failure(
    registry: &ValidatedRegistry,
    children: &Children<Live>,
) -> Option<ProbeFailure> {
    for place in places(registry, children) {
        if let Err(failure) = place.ask().await {
            return Some(failure);
        }
    }
    None
}

/// The Service's address, and each address the Ingress controller has published. Without one there is nothing to ask.
fn places(registry: &ValidatedRegistry, children: &Children<Live>) -> Vec<Place> {
    let mut places = Vec::new();
    let spec = children.service.spec.as_ref();
    if let (Some(address), Ok(port)) = (
        spec.and_then(|spec| spec.cluster_ip.clone())
            .filter(|address| address != "None"),
        u16::try_from(registry.service.port),
    ) {
        places.push(Place {
            what: format!("Service `{}`", registry.names.service()),
            address,
            port,
            host: format!("{}.{}.svc", registry.names.service(), registry.namespace),
            tls: registry.tls.is_some(),
        });
    }
    let host = registry
        .ingress
        .as_ref()
        .and_then(|ingress| ingress.spec.hosts.first());
    if let (Some(host), Some(ingress)) = (host, &children.ingress) {
        places.extend(published(ingress).into_iter().map(|address| Place {
            what: format!("The Ingress controller at {address}"),
            address,
            port: 443,
            host: host.clone(),
            tls: true,
        }));
    }
    places
}

fn published(ingress: &Ingress) -> Vec<String> {
    let status = ingress
        .status
        .as_ref()
        .and_then(|status| status.load_balancer.as_ref());
    let published = status.and_then(|balancer| balancer.ingress.as_ref());
    published
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ip.clone().or_else(|| entry.hostname.clone()))
        .collect()
}

impl Place {
    async fn ask(&self) -> Result<(), ProbeFailure> {
        let unreachable = || ProbeFailure::Unreachable(format!("{} does not answer yet", self.what));
        let asked = tokio::time::timeout(PATIENCE, self.request()).await;
        let answer = asked.map_err(|_| unreachable())?;
        let (status, is_registry) =
            answer.map_err(|_: Box<dyn std::error::Error + Send + Sync>| unreachable())?;
        if is_registry && [StatusCode::OK, StatusCode::UNAUTHORIZED].contains(&status) {
            return Ok(());
        }
        Err(ProbeFailure::WrongAnswer(format!(
            "{} answers {} for `{}` instead of the registry",
            self.what,
            status.as_u16(),
            self.host
        )))
    }

    async fn request(&self) -> Result<(StatusCode, bool), Box<dyn std::error::Error + Send + Sync>> {
        let stream = TcpStream::connect((self.address.as_str(), self.port)).await?;
        if !self.tls {
            return self.talk(stream).await;
        }
        let name = ServerName::try_from(self.host.clone())?;
        let connector = TlsConnector::from(Arc::new(any_certificate()?));
        self.talk(connector.connect(name, stream).await?).await
    }

    async fn talk(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    ) -> Result<(StatusCode, bool), Box<dyn std::error::Error + Send + Sync>> {
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let connection = tokio::spawn(connection);
        let request = Request::get("/v2/")
            .header(HOST, &self.host)
            .body(Empty::<Bytes>::new())?;
        let response = sender.send_request(request).await;
        connection.abort();
        let response = response?;
        Ok((
            response.status(),
            response.headers().contains_key("docker-distribution-api-version"),
        ))
    }
}

/// Takes any certificate: what is asked is whether there is an answer, nothing confidential is sent, and whether
/// clients trust the certificate is for them to say. An Ingress may show one whose CA we do not know.
fn any_certificate() -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = Arc::new(AnyCertificate(
        provider.signature_verification_algorithms.supported_schemes(),
    ));
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(builder
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth())
}

#[derive(Debug)]
struct AnyCertificate(Vec<SignatureScheme>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.clone()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;
    use crate::fixtures::least;

    async fn answering(answer: &'static str) -> Place {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 1024];
            let read = stream.read(&mut request).await.unwrap();
            assert!(request[..read].starts_with(b"GET /v2/ HTTP/1.1\r\nhost: harbour.example\r\n"));
            stream.write_all(answer.as_bytes()).await.unwrap();
        });
        Place {
            what: "The place".to_owned(),
            address: "127.0.0.1".to_owned(),
            port,
            host: "harbour.example".to_owned(),
            tls: false,
        }
    }

    #[tokio::test]
    async fn a_challenge_of_the_registry_is_an_answer() {
        let place = answering(
            "HTTP/1.1 401 Unauthorized\r\ndocker-distribution-api-version: registry/2.0\r\ncontent-length: 0\r\n\r\n",
        );
        assert_eq!(place.await.ask().await, Ok(()));
    }

    #[tokio::test]
    async fn a_proxy_that_does_not_know_the_registry_is_something_else() {
        let place = answering("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n");
        let sentence = "The place answers 404 for `harbour.example` instead of the registry";
        assert_eq!(
            place.await.ask().await,
            Err(ProbeFailure::WrongAnswer(sentence.to_owned()))
        );
        let login = answering("HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n");
        assert!(matches!(
            login.await.ask().await,
            Err(ProbeFailure::WrongAnswer(_))
        ));
    }

    #[tokio::test]
    async fn a_closed_port_is_unreachable() {
        let mut place = answering("").await;
        place.port = TcpListener::bind("127.0.0.1:0")
            .await
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let sentence = "The place does not answer yet";
        assert_eq!(
            place.ask().await,
            Err(ProbeFailure::Unreachable(sentence.to_owned()))
        );
    }

    #[test]
    fn the_service_and_every_published_address_of_the_ingress_are_asked() {
        let yaml = least("  ingress: {hosts: [harbour.example, pier.example]}\n");
        let (registry, issued) = crate::fixtures::Fixture::parse(&yaml).issued();
        let desired = crate::build::children(&registry, &issued);
        let mut service = serde_json::json!(desired.service);
        service["spec"]["clusterIP"] = "10.96.0.9".into();
        let mut ingress = serde_json::json!(desired.ingress);
        ingress["status"]["loadBalancer"]["ingress"] =
            serde_json::json!([{"ip": "192.0.2.1"}, {"hostname": "lb.example"}]);
        let children = Children {
            service: serde_json::from_value(service).unwrap(),
            ingress: serde_json::from_value(ingress).unwrap(),
            service_account: desired.service_account,
            config_map: desired.config_map,
            config_secret: desired.config_secret,
            http_secret: desired.http_secret,
            ca_key: desired.ca_key,
            ca_bundle: desired.ca_bundle,
            server_certificate: desired.server_certificate,
            edge_certificate: desired.edge_certificate,
            upstream_ca: desired.upstream_ca,
            claim: desired.claim,
            deployment: desired.deployment,
            stage: std::marker::PhantomData,
        };
        let asked: Vec<_> = places(&registry, &children)
            .into_iter()
            .map(|place| format!("{}:{} {} {}", place.address, place.port, place.host, place.tls))
            .collect();
        assert_eq!(
            asked,
            [
                "10.96.0.9:5000 harbour.quay.svc true",
                "192.0.2.1:443 harbour.example true",
                "lb.example:443 harbour.example true",
            ]
        );
    }
}
