//! The addresses at which clients look for the registry, as the live objects publish them. Start at [`addresses`].

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::networking::v1::Ingress;
use operator_api::{Endpoint, EndpointState, EndpointType};
use reqwest::Url;

use super::record::Failure;
use crate::children::{Children, Live};
use crate::validate::ValidatedRegistry;

/// Addresses of a load balancer or an Ingress that are asked. The others belong to the same proxies.
const TARGETS_MAX: usize = 4;

/// An address at which clients look.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) struct Address {
    pub(super) type_: EndpointType,
    /// The address as clients write it.
    pub(super) url: String,
    /// The component at the address, as the subject of a sentence.
    pub(super) subject: String,
    /// IP addresses or host names to connect to. Without one, the host's own name is looked up.
    pub(super) targets: Vec<String>,
    /// The object that should publish targets and does not.
    pub(super) unpublished: Option<String>,
    /// The value of the identity header in this Registry's answers.
    pub(super) identity: String,
}

impl Address {
    /// The status about the address.
    pub(super) fn endpoint(&self, state: EndpointState, failure: Option<&Failure>) -> Endpoint {
        Endpoint {
            type_: self.type_,
            url: self.url.clone(),
            state,
            reason: failure.map(|failure| failure.reason.to_owned()),
            message: failure.map(|failure| failure.message.clone()),
        }
    }
}

/// Every address, the preferred one first. Each URL stands there once, because the API server refuses a status that
/// names an address twice.
pub(super) fn addresses(registry: &ValidatedRegistry, children: &Children<Live>) -> Vec<Address> {
    let publishers = Publishers { registry, children };
    let mut all = Vec::new();
    all.extend(registry.public_url.as_deref().map(|url| publishers.public(url)));
    all.extend(publishers.ingress());
    all.extend(publishers.load_balancer());
    all.extend(publishers.service());
    let mut seen = BTreeSet::new();
    all.retain(|address| seen.insert(address.url.clone()));
    all
}

/// The objects that publish the registry.
struct Publishers<'a> {
    registry: &'a ValidatedRegistry,
    children: &'a Children<Live>,
}

impl Publishers<'_> {
    fn address(&self, type_: EndpointType, url: String, subject: String, targets: Vec<String>) -> Address {
        Address {
            type_,
            url,
            subject,
            targets,
            unpublished: None,
            identity: self.registry.subject.identity(),
        }
    }

    /// The address in `spec.publicURL`. Where it is also that of the Ingress or the Service, it is asked there: clients
    /// may know its name from another DNS than the operator's.
    fn public(&self, url: &str) -> Address {
        let others = self.ingress().into_iter().chain(self.service());
        let same = others.into_iter().find(|other| other.url == url);
        match same {
            Some(other) => Address {
                type_: EndpointType::Public,
                ..other
            },
            None => self.address(
                EndpointType::Public,
                url.to_owned(),
                format!("`{url}` of `spec.publicURL`"),
                Vec::new(),
            ),
        }
    }

    fn ingress(&self) -> Vec<Address> {
        let Some(ingress) = &self.children.ingress else {
            return Vec::new();
        };
        let rules = ingress.spec.iter().flat_map(|spec| spec.rules.iter().flatten());
        let hosts = rules.filter_map(|rule| rule.host.clone());
        let targets = published_by_ingress(ingress);
        let class = ingress
            .spec
            .as_ref()
            .and_then(|spec| spec.ingress_class_name.clone());
        let unpublished = targets.is_empty().then(|| {
            let name = self.registry.names.ingress();
            match class {
                Some(class) => format!("Ingress `{name}` of class `{class}`"),
                None => format!("Ingress `{name}` of the cluster's default class"),
            }
        });
        let address = |host: String| Address {
            unpublished: unpublished.clone(),
            ..self.address(
                EndpointType::Ingress,
                format!("https://{host}"),
                "The Ingress controller".to_owned(),
                targets.clone(),
            )
        };
        hosts.map(address).collect()
    }

    fn load_balancer(&self) -> Vec<Address> {
        let Some(service) = &self.children.service else {
            return Vec::new();
        };
        let status = service
            .status
            .as_ref()
            .and_then(|status| status.load_balancer.as_ref());
        let entries = status
            .and_then(|balancer| balancer.ingress.as_ref())
            .into_iter()
            .flatten();
        let hosts = entries.filter_map(|entry| entry.ip.clone().or_else(|| entry.hostname.clone()));
        let subject = format!("The load balancer of Service `{}`", self.registry.names.service());
        let address = |host: String| {
            let url = self.url(&host, service);
            self.address(EndpointType::LoadBalancer, url, subject.clone(), Vec::new())
        };
        hosts.take(TARGETS_MAX).map(address).collect()
    }

    fn service(&self) -> Option<Address> {
        let service = self.children.service.as_ref()?;
        let cluster_ip = service.spec.as_ref()?.cluster_ip.clone();
        Some(
            self.address(
                EndpointType::Service,
                self.url(&self.registry.service_host(), service),
                format!("Service `{}`", self.registry.names.service()),
                cluster_ip
                    .into_iter()
                    .filter(|address| address != "None")
                    .collect(),
            ),
        )
    }

    /// The URL of a host that leads to the Service's port.
    fn url(&self, host: &str, service: &Service) -> String {
        let ports = service.spec.as_ref().and_then(|spec| spec.ports.as_ref());
        let live = ports.into_iter().flatten().find(|port| {
            let protocol = port.app_protocol.as_deref();
            protocol == Some("http") || protocol == Some("https")
        });
        let scheme = live.and_then(|port| port.app_protocol.as_deref());
        let scheme = scheme.unwrap_or(self.registry.scheme.as_str());
        let port = live.map_or(self.registry.service.port, |port| port.port);
        match host.contains(':') {
            true => format!("{scheme}://[{host}]:{port}"),
            false => format!("{scheme}://{host}:{port}"),
        }
    }
}

fn published_by_ingress(ingress: &Ingress) -> Vec<String> {
    let status = ingress
        .status
        .as_ref()
        .and_then(|status| status.load_balancer.as_ref());
    let entries = status
        .and_then(|balancer| balancer.ingress.as_ref())
        .into_iter()
        .flatten();
    let addresses = entries.filter_map(|entry| entry.ip.clone().or_else(|| entry.hostname.clone()));
    addresses.take(TARGETS_MAX).collect()
}

/// Host without brackets, and port of an address.
pub(super) fn host_and_port(url: &Url) -> Option<(String, u16)> {
    let host = url.host_str()?.trim_start_matches('[').trim_end_matches(']');
    Some((host.to_owned(), url.port_or_known_default()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::children::{Existing, Want};
    use crate::fixtures::{Fixture, least};

    /// The live objects of a Registry, with what other controllers write into their status.
    fn live(registry: &ValidatedRegistry, issued: &crate::issue::Issued, ingress: &str) -> Children<Live> {
        let desired = crate::build::children(registry, Some(issued));
        let (Want::Present(service), Want::Present(found)) = (desired.service, desired.ingress) else {
            panic!("no Service or no Ingress")
        };
        let mut service = serde_json::json!(service);
        service["spec"]["clusterIP"] = "10.96.0.9".into();
        service["status"]["loadBalancer"]["ingress"] = serde_json::json!([{"ip": "2001:db8::5"}]);
        let mut found = serde_json::json!(found);
        found["status"]["loadBalancer"]["ingress"] = serde_json::from_str(ingress).unwrap();
        let mut children = Children::<Existing>::default().live();
        children.service = serde_json::from_value(service).unwrap();
        children.ingress = serde_json::from_value(found).unwrap();
        children
    }

    #[track_caller]
    fn check(spec: &str, ingress: &str, expected: &[&str]) {
        let (registry, issued) = Fixture::parse(&least(spec)).issued();
        let shown: Vec<_> = addresses(&registry, &live(&registry, &issued, ingress))
            .into_iter()
            .map(|address| {
                format!(
                    "{:?} {} at {}",
                    address.type_,
                    address.url,
                    address.targets.join(" and ")
                )
            })
            .collect();
        assert_eq!(shown, expected);
    }

    #[test]
    fn every_host_is_asked_at_every_address_that_the_ingress_controller_has_published() {
        check(
            "  ingress: {hosts: [harbour.example, pier.example]}\n",
            r#"[{"ip": "192.0.2.1"}, {"hostname": "lb.example"}]"#,
            &[
                "Ingress https://harbour.example at 192.0.2.1 and lb.example",
                "Ingress https://pier.example at 192.0.2.1 and lb.example",
                "LoadBalancer https://[2001:db8::5]:5000 at ",
                "Service https://harbour.quay.svc:5000 at 10.96.0.9",
            ],
        );
    }

    #[test]
    fn a_public_address_that_is_also_another_stands_there_once_and_is_asked_where_that_one_is() {
        check(
            "  publicURL: https://pier.example\n  ingress: {hosts: [harbour.example, pier.example]}\n",
            r#"[{"ip": "192.0.2.1"}]"#,
            &[
                "Public https://pier.example at 192.0.2.1",
                "Ingress https://harbour.example at 192.0.2.1",
                "LoadBalancer https://[2001:db8::5]:5000 at ",
                "Service https://harbour.quay.svc:5000 at 10.96.0.9",
            ],
        );
    }

    #[test]
    fn an_ingress_that_no_controller_has_taken_is_named_with_its_class() {
        let (registry, issued) = Fixture::parse(&least(
            "  ingress: {hosts: [harbour.example], className: ngnix}\n",
        ))
        .issued();
        let all = addresses(&registry, &live(&registry, &issued, "[]"));
        assert_eq!(
            all[0].unpublished.as_deref(),
            Some("Ingress `harbour` of class `ngnix`")
        );
    }
}
