//! Test fixtures: Registries and the objects around them, from short YAML, sent through the real validation.
//!
//! A fixture is a Registry and the objects it names, separated by `---`. The names of namespace, object and app all
//! differ, so that swapped arguments show.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Secret};
use operator_api::Registry;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::children::{Children, Existing};
use crate::issue::{self, Issued, StoredSecrets};
use crate::read::{Facts, Obsolete};
use crate::references::Named;
use crate::settings::Settings;
use crate::subject::Subject;
use crate::validate::{self, ValidatedRegistry};

/// The moment of every test.
pub(crate) const NOW: &str = "2026-03-01T12:00:00Z";
/// The namespace of every test.
pub(crate) const NAMESPACE: &str = "quay";

/// A Registry and the facts around it.
pub(crate) struct Fixture {
    pub(crate) registry: Registry,
    pub(crate) facts: Facts,
}

/// Facts about an empty namespace.
pub(crate) fn no_facts() -> Facts {
    Facts {
        now: NOW.parse::<Timestamp>().unwrap(),
        named: Named::default(),
        secrets: BTreeMap::new(),
        config_maps: BTreeMap::new(),
        named_claim: None,
        claim_can_grow: None,
        optional: crate::optional::OptionalObjects::default(),
        existing: Children::<Existing>::default(),
        endpoints: Vec::new(),
        pods: Vec::new(),
        unreadable: BTreeMap::new(),
        obsolete: Obsolete::default(),
    }
}

impl Fixture {
    /// Reads a fixture; what an API server would set is set.
    #[track_caller]
    pub(crate) fn parse(yaml: &str) -> Self {
        let mut registry = None;
        let mut facts = no_facts();
        for document in yaml.split("\n---\n") {
            let object: Value = serde_saphyr::from_str(document).unwrap();
            match object["kind"].as_str().unwrap() {
                "Registry" => registry = Some(serde_json::from_value::<Registry>(object).unwrap()),
                "Secret" => {
                    let secret = with_string_data(object);
                    facts
                        .secrets
                        .insert(secret.metadata.name.clone().unwrap(), Some(secret));
                }
                "ConfigMap" => {
                    let map: ConfigMap = serde_json::from_value(object).unwrap();
                    facts
                        .config_maps
                        .insert(map.metadata.name.clone().unwrap(), Some(map));
                }
                "PersistentVolumeClaim" => {
                    facts.named_claim =
                        Some(serde_json::from_value::<PersistentVolumeClaim>(object).unwrap());
                }
                other => panic!("a fixture holds no {other}"),
            }
        }
        let mut registry = registry.expect("a fixture holds a Registry");
        registry.metadata.namespace = Some(NAMESPACE.to_owned());
        registry.metadata.uid = Some("11111111-2222-3333-4444-555555555555".to_owned());
        registry.metadata.generation = Some(3);
        facts.named = Named::of(&registry.spec);
        Self { registry, facts }
    }

    pub(crate) fn subject(&self) -> Subject {
        Subject::of(&self.registry.metadata)
    }

    /// The parts that are right, and everything that is wrong.
    pub(crate) fn parts(&self) -> (ValidatedRegistry, Vec<validate::Error>) {
        let settings = Settings {
            registry_image: "images.invalid:5000/berth/registry:9.9".to_owned(),
            ..Settings::default()
        };
        validate::registry(&self.registry, &self.subject(), &self.facts, &settings)
    }

    /// The whole Registry, or the first thing that is wrong.
    pub(crate) fn validate(&self) -> Result<ValidatedRegistry, validate::Error> {
        let (validated, problems) = self.parts();
        match problems.into_iter().next() {
            Some(first) => Err(first),
            None => Ok(validated),
        }
    }

    /// Validated, with its secrets issued.
    #[track_caller]
    pub(crate) fn issued(&self) -> (ValidatedRegistry, Issued) {
        let validated = self.validate().unwrap();
        let stored = StoredSecrets::of(&self.facts.existing);
        let issued = issue::secrets(&validated.issue, stored, self.facts.now).unwrap();
        (validated, issued)
    }
}

/// A Secret whose `stringData` is stored, as the API server does it.
fn with_string_data(object: Value) -> Secret {
    let mut secret: Secret = serde_json::from_value(object).unwrap();
    let text = secret.string_data.take().unwrap_or_default();
    let data = text
        .into_iter()
        .map(|(key, text)| (key, k8s_openapi::ByteString(text.into_bytes())));
    secret.data = Some(data.collect());
    secret
}

/// The smallest Registry, with further lines of its spec.
pub(crate) fn least(spec: &str) -> String {
    format!(
        "apiVersion: berth.dev/v1alpha1\n\
         kind: Registry\n\
         metadata: {{name: harbour}}\n\
         spec:\n  \
           storage: {{persistentVolumeClaim: {{template: {{size: 5Gi}}}}}}\n  \
           auth: {{anonymous: {{access: PullPush}}}}\n{spec}"
    )
}

/// Serves one connection on the loopback address: expects a request that begins with `request`, and sends `answer`. Gives
/// the port.
pub(crate) async fn answer_once(request: &'static str, answer: String) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut received = vec![0; 1024];
        let count = stream.read(&mut received).await.unwrap();
        assert!(received[..count].starts_with(request.as_bytes()));
        stream.write_all(answer.as_bytes()).await.unwrap();
    });
    port
}
