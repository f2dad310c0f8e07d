//! The ConfigMaps and Secrets that a Pod needs to start.
//!
//! Guarantees: every field of a Pod that can name one is looked at. Start at [`PodReferences::add`].

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{Container, PodSpec, Volume};
use kube::Resource;

use crate::names::is_revision;

/// Names of ConfigMaps and Secrets.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct PodReferences {
    pub(crate) config_maps: BTreeSet<String>,
    pub(crate) secrets: BTreeSet<String>,
}

impl PodReferences {
    /// The names in one Pod.
    pub(crate) fn of(pod: &PodSpec) -> Self {
        let mut found = Self::default();
        found.add(pod);
        found
    }

    /// The object of kind `K` among them that is one of the immutable objects called `name`.
    pub(crate) fn revision<K: Resource<DynamicType = ()>>(&self, name: &str) -> Option<String> {
        let names = match K::kind(&()).as_ref() {
            "ConfigMap" => &self.config_maps,
            _ => &self.secrets,
        };
        names.iter().find(|found| is_revision(name, found)).cloned()
    }

    /// Adds the names in a Pod.
    pub(crate) fn add(&mut self, pod: &PodSpec) {
        let init = pod.init_containers.iter().flatten();
        init.chain(&pod.containers)
            .for_each(|container| self.add_variables(container));
        pod.volumes
            .iter()
            .flatten()
            .for_each(|volume| self.add_volume(volume));
    }

    fn add_variables(&mut self, container: &Container) {
        for variable in container.env.iter().flatten() {
            let Some(source) = &variable.value_from else {
                continue;
            };
            let secret = source.secret_key_ref.as_ref();
            self.secrets
                .extend(secret.map(|reference| reference.name.clone()));
            let config_map = source.config_map_key_ref.as_ref();
            self.config_maps
                .extend(config_map.map(|reference| reference.name.clone()));
        }
        for source in container.env_from.iter().flatten() {
            let secret = source.secret_ref.as_ref();
            self.secrets
                .extend(secret.map(|reference| reference.name.clone()));
            let config_map = source.config_map_ref.as_ref();
            self.config_maps
                .extend(config_map.map(|reference| reference.name.clone()));
        }
    }

    fn add_volume(&mut self, volume: &Volume) {
        let secret = volume.secret.as_ref();
        self.secrets
            .extend(secret.and_then(|source| source.secret_name.clone()));
        let config_map = volume.config_map.as_ref();
        self.config_maps
            .extend(config_map.map(|source| source.name.clone()));
        let projected = volume.projected.as_ref();
        for source in projected
            .iter()
            .flat_map(|projected| projected.sources.iter().flatten())
        {
            let secret = source.secret.as_ref();
            self.secrets.extend(secret.map(|source| source.name.clone()));
            let config_map = source.config_map.as_ref();
            self.config_maps
                .extend(config_map.map(|source| source.name.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_of_a_pod_that_names_an_object_is_found() {
        let pod: PodSpec = serde_json::from_value(serde_json::json!({
            "initContainers": [{ "name": "a", "envFrom": [{ "secretRef": { "name": "s1" } }, { "configMapRef": { "name": "c1" } }] }],
            "containers": [{ "name": "b", "env": [
                { "name": "A", "value": "plain" },
                { "name": "B", "valueFrom": { "secretKeyRef": { "name": "s2", "key": "k" } } },
                { "name": "C", "valueFrom": { "configMapKeyRef": { "name": "c2", "key": "k" } } },
            ] }],
            "volumes": [
                { "name": "v1", "secret": { "secretName": "s3" } },
                { "name": "v2", "configMap": { "name": "c3" } },
                { "name": "v3", "projected": { "sources": [{ "secret": { "name": "s4" } }, { "configMap": { "name": "c4" } }] } },
            ],
        }))
        .unwrap();
        let found = PodReferences::of(&pod);
        let names = |set: &BTreeSet<String>| set.iter().cloned().collect::<Vec<_>>();
        assert_eq!(names(&found.secrets), ["s1", "s2", "s3", "s4"]);
        assert_eq!(names(&found.config_maps), ["c1", "c2", "c3", "c4"]);
    }
}
