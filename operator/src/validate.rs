//! Second step: which parts of a Registry can be brought up, and what exactly they ask for.
//!
//! Guarantees: pure; every problem is collected, and a wrong part does not hold up the others; the Pods are only
//! described when each Secret and ConfigMap they need exists and holds what it must, so no Pod starts that could not
//! run; nothing of a Secret is in an error. The API server's own rules are not checked again. Must not: talk to the API
//! server or make anything random. Start at [`registry()`].

pub mod backend;
mod config;
mod error;
mod ingress;
mod lookup;
mod overlap;
mod plan;
mod provided;
pub mod registry;
mod services;
mod storage;
mod verify;

use std::collections::BTreeMap;

use operator_api::{Monitor, PullPolicy, RENEW_CA_ANNOTATION, Registry, RegistrySpec, UpgradePolicy};

pub use error::Error;
pub use registry::ValidatedRegistry;

use crate::input_keys::MAX_BYTES;
use crate::names::Names;
use crate::optional::OptionalKind;
use crate::pod_layout::CONTAINER;
use crate::read::Facts;
use crate::settings::{Settings, VERSION};
use crate::subject::Subject;
use error::Collector;
use provided::Provided;
use registry::{ConfigFile, Inputs, Scheme, ServerTls, Workload};

/// Checks `registry` against the `facts`. Gives the parts that are right, and everything that is wrong.
pub fn registry(
    registry: &Registry,
    subject: &Subject,
    facts: &Facts,
    settings: &Settings,
) -> (ValidatedRegistry, Vec<Error>) {
    let spec = &registry.spec;
    let names = Names::of(&subject.name);
    let mut found = Collector::default();

    let storage = storage::backend(registry, &names, facts, &mut found);
    let users = provided::users(spec, facts, &mut found);
    let provided = Provided::check(spec, facts, &mut found);
    let services = services::check(spec, facts, &mut found);
    let service_host = names.service_host(&subject.namespace);
    let tls = provided::server_tls(spec, facts, &service_host, &mut found);
    let ingress = ingress::ingress(spec, &names, facts, &mut found);
    let users_are_wrong = users.is_none() && spec.auth.htpasswd.is_some();
    let live = provided::live(spec, users, tls.as_ref(), facts);
    ingress::note_unverified(spec, tls.as_ref(), &ingress, facts, &service_host, &mut found);
    let annotations = registry.metadata.annotations.as_ref();
    let annotation = annotations.and_then(|all| all.get(RENEW_CA_ANNOTATION));
    let (mut issue, unusable) = plan::issue(spec, subject, &names, annotation, facts, &mut found);
    let overlap = overlap::overlap(spec, storage.as_ref(), facts);
    issue.next_change = overlap.and_then(|overlap| overlap.ends);
    let config = config::file(
        spec,
        subject,
        overlap.is_some(),
        storage.as_ref(),
        services.as_ref(),
        facts,
        &mut found,
    );

    note_absent_resources(spec, facts, &mut found);
    ingress::note_unverified_route(spec, tls.as_ref(), facts, &service_host, &mut found);
    // Pods have their own copy of the certificate.
    let certificate_is_missing =
        (unusable.ca || unusable.server) && tls == Some(ServerTls::Issued) && !live.has_certificate();
    let workload = match (&storage, provided, services, &tls, config) {
        (Some(storage), Some(provided), Some(services), Some(tls), Some(config))
            if !unusable.http_secret && !certificate_is_missing && !users_are_wrong =>
        {
            let mut inputs = provided.inputs;
            inputs.extend(services.inputs);
            found.collect(sizes(&inputs, &config)).map(|()| Workload {
                image: image(spec, settings, running_image(facts)),
                pull_policy: spec
                    .image
                    .as_ref()
                    .and_then(|image| image.pull_policy)
                    .unwrap_or(PullPolicy::IfNotPresent),
                pull_secrets: spec
                    .image
                    .iter()
                    .flat_map(|image| &image.pull_secrets)
                    .map(|secret| secret.name.clone())
                    .collect(),
                replicas: storage::replicas(spec, storage, facts, &mut found),
                storage: storage.clone(),
                tls: tls.clone(),
                config,
                both: overlap.is_some(),
                htpasswd: spec.auth.htpasswd.is_some(),
                previous_http_secrets: spec
                    .http
                    .as_ref()
                    .map_or(0, |http| http.previous_secret_key_refs.len()),
                drain_timeout: config::drain_timeout(spec),
                pod: spec.pod.clone().unwrap_or_default(),
                volumes: provided.volumes,
                supplies: services.supplies,
                inputs: Inputs(inputs),
            })
        }
        _ => None,
    };
    let Collector { notes, mut problems } = found;
    if facts.existing.inputs.ours().is_some() {
        problems.iter_mut().for_each(Error::keeps_what_was_good);
    }
    let validated = ValidatedRegistry {
        subject: subject.clone(),
        names,
        paused: spec.paused,
        scheme: overlap.map_or(Scheme::of(spec), |overlap| overlap.published),
        overlap,
        service: spec.service.clone().unwrap_or_default(),
        metrics: spec.metrics.clone(),
        http_route: spec.http_route.clone(),
        tls_route: spec.tls_route.clone(),
        network_policy: spec.network_policy.clone(),
        service_account_annotations: spec
            .pod
            .as_ref()
            .map(|pod| pod.service_account_annotations.clone())
            .unwrap_or_default(),
        public_url: spec
            .public_url
            .as_ref()
            .map(|url| url.trim_end_matches('/').to_owned()),
        issue,
        unusable,
        provided_ca: provided::ca(spec, facts),
        tls,
        live,
        storage,
        ingress,
        workload,
        notes,
        verify: verify::plan(spec, annotations, facts),
        shares_a_host: false,
    };
    (validated, problems)
}

/// Refuses more than the objects with the configuration and the inputs can hold.
fn sizes(inputs: &BTreeMap<String, Vec<u8>>, config: &ConfigFile) -> Result<(), Error> {
    let bytes = inputs.values().map(Vec::len).sum::<usize>() + config.yaml.len();
    match bytes > MAX_BYTES {
        true => Err(Error::InputsTooLarge { bytes }),
        false => Ok(()),
    }
}

/// Notes which objects are asked for and cannot be made, because the cluster does not have their kinds.
fn note_absent_resources(spec: &RegistrySpec, facts: &Facts, found: &mut Collector) {
    let monitor = spec
        .metrics
        .as_ref()
        .is_some_and(|metrics| metrics.pod_monitor == Monitor::Enabled);
    let route = spec.http_route.is_some();
    let verified = route && Scheme::of(spec) == Scheme::Https;
    for (asked, field, kind) in [
        (monitor, "spec.metrics.podMonitor", OptionalKind::PodMonitor),
        (route, "spec.httpRoute", OptionalKind::HttpRoute),
        (verified, "spec.httpRoute", OptionalKind::BackendTlsPolicy),
        (spec.tls_route.is_some(), "spec.tlsRoute", OptionalKind::TlsRoute),
    ] {
        if asked && !facts.optional.has_kind(kind) {
            let resource = kind.resource();
            found.note(format!(
                "The cluster does not have the kind {} ({}) that `{field}` needs, or the operator no right to it; the object is \
                 made as soon as that changes",
                resource.kind, resource.api_version
            ));
        }
    }
}

/// The image that the Deployment runs.
fn running_image(facts: &Facts) -> Option<&str> {
    let pod = facts
        .existing
        .deployment
        .ours()?
        .spec
        .as_ref()?
        .template
        .spec
        .as_ref()?;
    let mut containers = pod.containers.iter();
    containers
        .find(|container| container.name == CONTAINER)?
        .image
        .as_deref()
}

/// The image to run: the spec's, else the operator's. With the policy Manual, a tag that comes from the operator is only
/// used for the first Pods.
fn image(spec: &RegistrySpec, settings: &Settings, running: Option<&str>) -> String {
    let image = spec.image.clone().unwrap_or_default();
    let (default, suffix) = split_image(&settings.registry_image);
    if spec.upgrade_policy == UpgradePolicy::Manual
        && image.tag.is_none()
        && image.digest.is_none()
        && let Some(running) = running
        && image
            .repository
            .as_deref()
            .is_none_or(|repository| split_image(running).0 == repository)
    {
        return running.to_owned();
    }
    if spec.image.is_none() {
        return settings.registry_image.clone();
    }
    let repository = image.repository.as_deref().unwrap_or(default);
    match (&image.digest, &image.tag) {
        (Some(digest), _) => format!("{repository}@{digest}"),
        (None, Some(tag)) => format!("{repository}:{tag}"),
        (None, None) => format!("{repository}{suffix}"),
    }
}

/// The repository, and the tag or digest with its sign. A colon before the last slash belongs to a port.
fn split_image(image: &str) -> (&str, String) {
    let (name, digest) = match image.split_once('@') {
        Some((name, digest)) => (name, Some(format!("@{digest}"))),
        None => (image, None),
    };
    let (repository, tag) = match name.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => (repository, tag),
        _ => (name, VERSION),
    };
    (repository, digest.unwrap_or_else(|| format!(":{tag}")))
}

#[cfg(test)]
mod tests;
