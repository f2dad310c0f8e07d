//! One request to one address, and what its answer means. Start at [`ask`].

use std::net::{IpAddr, SocketAddr};

use http::StatusCode;
use jiff::Timestamp;
use operator_api::{EndpointState, EndpointType};
use reqwest::tls::TlsInfo;
use reqwest::{Response, Url};
use tokio::net::lookup_host;

use super::address::{Address, host_and_port};
use super::record::Failure;
use super::request::{TIMEOUT, client};
use crate::certificate::Certificate;
use crate::findings::endpoint_reason as why;
use crate::pod_layout::IDENTITY_HEADER;

/// Header by which every registry is recognised.
const API_VERSION: &str = "docker-distribution-api-version";

/// Asks an address at all its targets. The first failure counts.
pub(super) async fn ask(address: &Address, now: Timestamp) -> Result<(), Failure> {
    let request = Request::of(address).ok_or_else(|| unreachable(&address.subject))?;
    if address.targets.is_empty() {
        let resolved = request.resolve(&request.host).await;
        return match (resolved, &address.unpublished) {
            (Some(target), None) => request.ask(target, &address.subject, now).await,
            (Some(target), Some(ingress)) => {
                let asked = request.ask(target, &address.subject, now).await;
                asked.map_err(|failure| with_unpublished(failure, ingress))
            }
            (None, Some(ingress)) => Err(Failure {
                state: EndpointState::Failed,
                reason: why::NOT_PUBLISHED,
                message: format!(
                    "No Ingress controller has published an address for {ingress}, and DNS has none for `{}`",
                    request.host
                ),
            }),
            (None, None) => Err(unreachable(&address.subject)),
        };
    }
    for target in &address.targets {
        let subject = match address.type_ {
            EndpointType::Service => address.subject.clone(),
            _ => format!("{} at {target}", address.subject),
        };
        let resolved = request
            .resolve(target)
            .await
            .ok_or_else(|| unreachable(&subject))?;
        request.ask(resolved, &subject, now).await?;
    }
    Ok(())
}

/// A controller that does not have the Ingress answers with an error of its own, where DNS leads every host to it.
fn with_unpublished(failure: Failure, ingress: &str) -> Failure {
    match failure.reason {
        why::WRONG_ANSWER => Failure {
            reason: why::NOT_PUBLISHED,
            message: format!("{}: none has published an address for {ingress}", failure.message),
            ..failure
        },
        _ => failure,
    }
}

fn unreachable(subject: &str) -> Failure {
    Failure {
        state: EndpointState::Unreachable,
        reason: why::NO_ANSWER,
        message: format!("{subject} does not answer the operator"),
    }
}

/// A request for `/v2/`.
struct Request<'a> {
    url: Url,
    host: String,
    port: u16,
    address: &'a Address,
}

impl<'a> Request<'a> {
    fn of(address: &'a Address) -> Option<Self> {
        let url = Url::parse(&address.url).ok()?.join("/v2/").ok()?;
        let (host, port) = host_and_port(&url)?;
        Some(Self {
            url,
            host,
            port,
            address,
        })
    }

    async fn resolve(&self, target: &str) -> Option<SocketAddr> {
        let lookup = tokio::time::timeout(TIMEOUT, lookup_host((target, self.port)));
        lookup.await.ok()?.ok()?.next()
    }

    async fn ask(&self, target: SocketAddr, subject: &str, now: Timestamp) -> Result<(), Failure> {
        let client = client(Some((&self.host, target))).map_err(|_| unreachable(subject))?;
        // reqwest writes the Host header from the URL, as other clients do.
        let answer = client.get(self.url.clone()).send().await;
        let answer = answer.map_err(|_| unreachable(subject))?;
        recognise(&answer, self.address, subject, &self.host)?;
        self.check_certificate(&answer, subject, now)
    }

    /// Whether clients that trust the CA accept the certificate.
    fn check_certificate(&self, answer: &Response, subject: &str, now: Timestamp) -> Result<(), Failure> {
        let info = answer.extensions().get::<TlsInfo>();
        let der = info.and_then(TlsInfo::peer_certificate);
        // One that cannot be parsed here is left to the clients.
        let Some(certificate) = der.and_then(|der| Certificate::from_der(der).ok()) else {
            return Ok(());
        };
        let failed = |reason, problem: String| {
            Err(Failure {
                state: EndpointState::Failed,
                reason,
                message: format!("{subject} shows a certificate that {problem}"),
            })
        };
        if certificate.not_after <= now {
            return failed(
                why::CERTIFICATE_EXPIRED,
                format!("expired at {}", certificate.not_after),
            );
        }
        if certificate.not_before > now {
            return failed(
                why::CERTIFICATE_EXPIRED,
                format!("is not valid before {}", certificate.not_before),
            );
        }
        let covers = match self.host.parse::<IpAddr>() {
            Ok(address) => certificate.ip_addresses.contains(&address),
            Err(_) => certificate.covers(&self.host),
        };
        match covers {
            true => Ok(()),
            false => failed(why::HOST_NOT_COVERED, format!("does not name `{}`", self.host)),
        }
    }
}

/// Whether this Registry answered a request for `/v2/`.
pub(super) fn recognise(
    answer: &Response,
    address: &Address,
    subject: &str,
    host: &str,
) -> Result<(), Failure> {
    let failed = |reason, message| {
        Err(Failure {
            state: EndpointState::Failed,
            reason,
            message,
        })
    };
    let is_registry = answer.headers().contains_key(API_VERSION);
    if !is_registry || ![StatusCode::OK, StatusCode::UNAUTHORIZED].contains(&answer.status()) {
        let message = format!(
            "{subject} answers {} for `{}` instead of the registry",
            answer.status().as_u16(),
            host
        );
        return failed(why::WRONG_ANSWER, message);
    }
    let identity = answer.headers().get(IDENTITY_HEADER);
    let is_this = match identity {
        Some(identity) => identity.as_bytes() == address.identity.as_bytes(),
        // The Service leads to no other Pods. Those of an earlier version do not send the header.
        None => address.type_ == EndpointType::Service,
    };
    match is_this {
        true => Ok(()),
        false => failed(
            why::OTHER_REGISTRY,
            format!("{subject} leads to another registry for `{}`", host),
        ),
    }
}

#[cfg(test)]
pub(super) mod tests;
