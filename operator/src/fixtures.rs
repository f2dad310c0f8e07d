//! Test fixtures: Registries and the objects around them, from short YAML, sent through the real validation.
//!
//! A fixture is a Registry and the objects it names, separated by `---`. The names of namespace, object and app all
//! differ, so that swapped arguments show.

use jiff::Timestamp;
use operator_api::Registry;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::issue::{self, Issued, StoredSecrets};
use crate::read::Facts;
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
    Facts::of_empty_namespace(Named::default(), NOW.parse::<Timestamp>().unwrap())
}

impl Fixture {
    /// Reads a fixture; what an API server would set is set.
    #[track_caller]
    pub(crate) fn parse(yaml: &str) -> Self {
        let mut registry = None;
        let mut others = Vec::new();
        for document in yaml.split("\n---\n") {
            let object: Value = serde_saphyr::from_str(document).unwrap();
            match object["kind"].as_str().unwrap() {
                "Registry" => registry = Some(serde_json::from_value::<Registry>(object).unwrap()),
                _ => others.push(object),
            }
        }
        let mut registry = registry.expect("a fixture holds a Registry");
        registry.metadata.namespace = Some(NAMESPACE.to_owned());
        registry.metadata.uid = Some("11111111-2222-3333-4444-555555555555".to_owned());
        registry.metadata.generation = Some(3);
        let mut facts = no_facts();
        facts.named = Named::of(&registry.spec);
        for object in others {
            facts.add(object).unwrap();
        }
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
