//! The addresses at which clients look for the registry, and what answers there. Start at [`first_failure`].

use http::StatusCode;
use http::header::HOST;
use k8s_openapi::api::networking::v1::Ingress;
use tokio::net::lookup_host;

use super::request::{TIMEOUT, client};
use crate::children::{Children, Live};
use crate::findings::ProbeFailure;
use crate::validate::ValidatedRegistry;
use crate::validate::registry::Scheme;

/// Header by which every registry is recognised.
const API_VERSION: &str = "docker-distribution-api-version";

/// An address at which clients look.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Address {
    /// The component at the address, as the subject of a sentence.
    subject: String,
    /// IP address or host name to connect to.
    connect_to: String,
    port: u16,
    /// Host of the request and of the TLS handshake.
    host: String,
    scheme: Scheme,
}

/// The failure of the first address at which the registry does not answer.
pub(super) async fn first_failure(
    registry: &ValidatedRegistry,
    children: &Children<Live>,
) -> Option<ProbeFailure> {
    for address in addresses(registry, children) {
        if let Err(failure) = address.probe().await {
            return Some(failure);
        }
    }
    None
}

/// The Service's address, and each address that the Ingress controller has published.
fn addresses(registry: &ValidatedRegistry, children: &Children<Live>) -> Vec<Address> {
    let mut addresses = Vec::new();
    let service = children.service.as_ref();
    let cluster_ip = service.and_then(|service| service.spec.as_ref()?.cluster_ip.clone());
    if let (Some(connect_to), Ok(port)) = (
        cluster_ip.filter(|address| address != "None"),
        u16::try_from(registry.service.port),
    ) {
        addresses.push(Address {
            subject: format!("Service `{}`", registry.names.service()),
            connect_to,
            port,
            host: registry.service_host(),
            scheme: registry.scheme,
        });
    }
    let ingress = registry.ingress.right();
    let host = ingress.and_then(|ingress| ingress.spec.hosts.first());
    if let (Some(host), Some(ingress)) = (host, &children.ingress) {
        addresses.extend(published(ingress).into_iter().map(|connect_to| Address {
            subject: format!("The Ingress controller at {connect_to}"),
            connect_to,
            port: 443,
            host: host.clone(),
            scheme: Scheme::Https,
        }));
    }
    addresses
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

impl Address {
    async fn probe(&self) -> Result<(), ProbeFailure> {
        let unreachable = || ProbeFailure::Unreachable(format!("{} does not answer yet", self.subject));
        let answer = tokio::time::timeout(TIMEOUT, self.request()).await;
        let answer = answer.ok().flatten().ok_or_else(unreachable)?;
        let is_registry = answer.headers().contains_key(API_VERSION);
        if is_registry && [StatusCode::OK, StatusCode::UNAUTHORIZED].contains(&answer.status()) {
            return Ok(());
        }
        Err(ProbeFailure::WrongAnswer(format!(
            "{} answers {} for `{}` instead of the registry",
            self.subject,
            answer.status().as_u16(),
            self.host
        )))
    }

    /// The answer to a request for `/v2/`; `None` when there is none.
    async fn request(&self) -> Option<reqwest::Response> {
        let mut resolved = lookup_host((self.connect_to.as_str(), self.port)).await.ok()?;
        let client = client(Some((&self.host, resolved.next()?))).ok()?;
        let url = format!("{}://{}:{}/v2/", self.scheme.as_str(), self.host, self.port);
        client.get(url).header(HOST, &self.host).send().await.ok()
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;
    use crate::children::{Existing, Want};
    use crate::fixtures::{answer_once, least};

    async fn answering(answer: &'static str) -> Address {
        let request = "GET /v2/ HTTP/1.1\r\nhost: harbour.example\r\n";
        let port = answer_once(request, answer.to_owned()).await;
        Address {
            subject: "The proxy".to_owned(),
            connect_to: "127.0.0.1".to_owned(),
            port,
            host: "harbour.example".to_owned(),
            scheme: Scheme::Http,
        }
    }

    #[tokio::test]
    async fn a_challenge_of_the_registry_is_an_answer() {
        let address = answering(
            "HTTP/1.1 401 Unauthorized\r\ndocker-distribution-api-version: registry/2.0\r\ncontent-length: 0\r\n\r\n",
        );
        assert_eq!(address.await.probe().await, Ok(()));
    }

    #[tokio::test]
    async fn a_proxy_that_does_not_know_the_registry_is_something_else() {
        let address = answering("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n");
        let sentence = "The proxy answers 404 for `harbour.example` instead of the registry";
        assert_eq!(
            address.await.probe().await,
            Err(ProbeFailure::WrongAnswer(sentence.to_owned()))
        );
        let login = answering("HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n");
        assert!(matches!(
            login.await.probe().await,
            Err(ProbeFailure::WrongAnswer(_))
        ));
    }

    #[tokio::test]
    async fn a_closed_port_is_unreachable() {
        let mut address = answering("").await;
        address.port = TcpListener::bind("127.0.0.1:0")
            .await
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let sentence = "The proxy does not answer yet";
        assert_eq!(
            address.probe().await,
            Err(ProbeFailure::Unreachable(sentence.to_owned()))
        );
    }

    #[test]
    fn the_service_and_every_published_address_of_the_ingress_are_asked() {
        let yaml = least("  ingress: {hosts: [harbour.example, pier.example]}\n");
        let (registry, issued) = crate::fixtures::Fixture::parse(&yaml).issued();
        let desired = crate::build::children(&registry, Some(&issued));
        let Want::Present(service) = desired.service else {
            panic!("no Service")
        };
        let Want::Present(ingress) = desired.ingress else {
            panic!("no Ingress")
        };
        let mut service = serde_json::json!(service);
        service["spec"]["clusterIP"] = "10.96.0.9".into();
        let mut ingress = serde_json::json!(ingress);
        ingress["status"]["loadBalancer"]["ingress"] =
            serde_json::json!([{"ip": "192.0.2.1"}, {"hostname": "lb.example"}]);
        let mut children = Children::<Existing>::default().live();
        children.service = serde_json::from_value(service).unwrap();
        children.ingress = serde_json::from_value(ingress).unwrap();
        let asked: Vec<_> = addresses(&registry, &children)
            .into_iter()
            .map(|address| {
                let scheme = address.scheme.as_str();
                format!(
                    "{}:{} {} {scheme}",
                    address.connect_to, address.port, address.host
                )
            })
            .collect();
        assert_eq!(
            asked,
            [
                "10.96.0.9:5000 harbour.quay.svc https",
                "192.0.2.1:443 harbour.example https",
                "lb.example:443 harbour.example https",
            ]
        );
    }
}
