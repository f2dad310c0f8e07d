//! Random repositories, and a model of them that is as simple as possible.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use registry_oci::Algorithm;

use super::*;
use crate::registry::{ReferencePolicy, Validation};

/// A push. Its numbers name earlier pushes, modulo how many there are.
#[derive(Debug, Clone)]
pub(super) struct Push {
    repository: usize,
    tag: Option<u8>,
    /// Whether it and its blobs are pushed by SHA-512 too.
    sha512: bool,
    content: Content,
    subject: Option<u8>,
    deleted: bool,
}

#[derive(Debug, Clone)]
enum Content {
    Image { layers: Vec<u8> },
    Index { children: Vec<u8> },
}

const REPOSITORIES: [&str; 2] = ["team/app", "tool"];

pub(super) fn pushes() -> impl Strategy<Value = Vec<Push>> {
    let image = proptest::collection::vec(0u8..8, 0..4).prop_map(|layers| Content::Image { layers });
    let index = proptest::collection::vec(any::<u8>(), 0..3).prop_map(|children| Content::Index { children });
    let push = (
        0..REPOSITORIES.len(),
        proptest::option::of(0u8..4),
        any::<bool>(),
        prop_oneof![image, index],
        proptest::option::weighted(0.3, any::<u8>()),
        proptest::bool::weighted(0.15),
    );
    let push = push.prop_map(|(repository, tag, sha512, content, subject, deleted)| Push {
        repository,
        tag,
        sha512,
        content,
        subject,
        deleted,
    });
    proptest::collection::vec(push, 0..14)
}

/// A manifest in the model.
#[derive(Debug)]
struct Known {
    repository: usize,
    /// Its canonical digest.
    digest: Digest,
    /// The digest by which others refer to it.
    named: Digest,
    /// The payloads to which it refers.
    content: BTreeSet<Digest>,
    /// Numbers of manifests of the same repository.
    children: Vec<usize>,
    subject: Option<usize>,
    deleted: bool,
}

/// Everything that was pushed, and what a collection must keep.
#[derive(Debug, Default)]
pub(super) struct Model {
    known: Vec<Known>,
    /// The number of the manifest, by repository and tag.
    tags: BTreeMap<(usize, u8), usize>,
}

fn tag_of(number: u8) -> Tag {
    Tag::parse(&format!("v{number}")).unwrap()
}

impl Model {
    /// Makes all pushes, and then all deletions.
    pub(super) async fn of(registry: &Registry, pushes: &[Push]) -> Self {
        let mut model = Self::default();
        for push in pushes {
            model.push(registry, push).await;
        }
        for (number, known) in model.known.iter_mut().enumerate() {
            if pushes[number].deleted {
                known.deleted = true;
                let repository = name(REPOSITORIES[known.repository]);
                registry
                    .delete_manifest(&repository, &known.digest)
                    .await
                    .unwrap();
                model.tags.retain(|_, target| *target != number);
            }
        }
        model
    }

    async fn push(&mut self, registry: &Registry, push: &Push) {
        let repository = name(REPOSITORIES[push.repository]);
        let algorithm = if push.sha512 {
            Algorithm::Sha512
        } else {
            Algorithm::Sha256
        };
        let number = self.known.len();
        let mine: Vec<usize> = (0..number)
            .filter(|number| self.known[*number].repository == push.repository)
            .collect();
        let pick = |number: u8| (!mine.is_empty()).then(|| mine[usize::from(number) % mine.len()]);
        let (mut content, mut children, mut descriptors) = (BTreeSet::new(), Vec::new(), Vec::new());
        match &push.content {
            Content::Image { layers } => {
                for layer in layers.iter().copied().chain([255]) {
                    let bytes = Bytes::from(format!("blob {layer}"));
                    let digest = Digest::of(algorithm, &bytes);
                    push_blob(registry, &repository, &digest, &bytes).await;
                    content.insert(Digest::sha256(&bytes));
                    descriptors.push(descriptor(&digest, bytes.len()));
                }
            }
            Content::Index { children: picked } => {
                for child in picked.iter().filter_map(|child| pick(*child)) {
                    children.push(child);
                    descriptors.push(descriptor(&self.known[child].named, 1));
                }
            }
        }
        let subject = push.subject.and_then(pick);
        let subject_field = subject.map_or(String::new(), |subject| {
            format!(r#","subject":{}"#, descriptor(&self.known[subject].named, 1))
        });
        let rest = format!(r#""annotations":{{"number":"{number}"}}{subject_field}}}"#);
        let (media_type, text) = match &push.content {
            Content::Image { .. } => {
                let config = descriptors.pop().unwrap();
                let layers = descriptors.join(",");
                (
                    MediaType::OCI_MANIFEST,
                    format!(r#"{{"schemaVersion":2,"config":{config},"layers":[{layers}],{rest}"#),
                )
            }
            Content::Index { .. } => (
                MediaType::OCI_INDEX,
                format!(
                    r#"{{"schemaVersion":2,"manifests":[{}],{rest}"#,
                    descriptors.join(",")
                ),
            ),
        };
        let named = Digest::of(algorithm, text.as_bytes());
        let digest = Digest::sha256(text.as_bytes());
        let tags: Vec<Tag> = push.tag.map(tag_of).into_iter().collect();
        registry
            .put_manifest(
                &repository,
                &Reference::Digest(named),
                &media_type,
                text.into(),
                &tags,
            )
            .await
            .unwrap();
        self.known.push(Known {
            repository: push.repository,
            digest,
            named,
            content,
            children,
            subject,
            deleted: false,
        });
        if let Some(tag) = push.tag {
            self.tags.insert((push.repository, tag), number);
        }
    }

    /// The manifests that are kept.
    pub(super) fn kept(&self, untagged: Untagged) -> BTreeSet<usize> {
        let mut kept = self.named(untagged);
        kept.retain(|number| !self.known[*number].deleted);
        kept
    }

    /// The kept manifests, and the deleted ones that a kept index still lists: a manifest that refers to one of them is
    /// kept.
    fn named(&self, untagged: Untagged) -> BTreeSet<usize> {
        let mut alive: BTreeSet<usize> = match untagged {
            Untagged::Keep => (0..self.known.len()).collect(),
            Untagged::Delete => self.tags.values().copied().collect(),
        };
        alive.retain(|number| !self.known[*number].deleted);
        loop {
            let before = alive.len();
            for (number, known) in self.known.iter().enumerate() {
                let listed = alive.iter().any(|parent| {
                    !self.known[*parent].deleted && self.known[*parent].children.contains(&number)
                });
                let refers = !known.deleted && known.subject.is_some_and(|subject| alive.contains(&subject));
                if listed || refers {
                    alive.insert(number);
                }
            }
            if alive.len() == before {
                return alive;
            }
        }
    }

    /// The digests of all payloads that are kept.
    fn payloads(&self, kept: &BTreeSet<usize>) -> BTreeSet<Digest> {
        let mut payloads = BTreeSet::new();
        for number in kept {
            let known = &self.known[*number];
            payloads.insert(known.digest);
            payloads.extend(&known.content);
            for child in known.children.iter().map(|child| &self.known[*child]) {
                // The payload of a child that was deleted by itself is kept, if the index names its canonical digest.
                if !child.deleted || child.named == child.digest {
                    payloads.insert(child.digest);
                }
            }
        }
        payloads
    }

    /// Checks that everything that is kept can be pulled.
    pub(super) async fn check_whole(&self, registry: &Registry, kept: &BTreeSet<usize>) {
        for number in kept {
            let known = &self.known[*number];
            let repository = name(REPOSITORIES[known.repository]);
            for digest in [&known.digest, &known.named] {
                let loaded = registry.load_manifest(&repository, digest).await.unwrap();
                let (_, manifest) = loaded.unwrap_or_else(|| panic!("manifest {number} is gone: {known:?}"));
                for blob in manifest.config.iter().chain(&manifest.layers) {
                    let held = registry.linked_blob(&repository, &blob.digest).await.unwrap();
                    assert!(
                        held.is_some(),
                        "blob {} of manifest {number} is gone",
                        blob.digest
                    );
                }
            }
        }
        for ((repository, tag), number) in &self.tags {
            let repository = name(REPOSITORIES[*repository]);
            let target = registry.tag_target(&repository, &tag_of(*tag)).await.unwrap();
            assert_eq!(target, Some(self.known[*number].named));
        }
    }

    /// Checks that the store holds what is kept, and nothing else.
    async fn check_exactly(&self, registry: &Registry, untagged: Untagged) {
        let kept = self.kept(untagged);
        let payloads = self.payloads(&kept);
        let is_of = |numbers: &BTreeSet<usize>, repository: &RepositoryName, digest: &Digest| {
            numbers.iter().map(|number| &self.known[*number]).any(|known| {
                [known.digest, known.named].contains(digest)
                    && REPOSITORIES[known.repository] == repository.to_string()
            })
        };
        for key in keys(registry.driver()).await {
            let place = ObjectPath::parse(&StorageKey::parse(&key).unwrap()).expect(&key);
            let expected = match &place {
                ObjectPath::BlobData { digest } => payloads.contains(digest),
                ObjectPath::LayerLink { .. } | ObjectPath::BlobAlias { .. } => {
                    let canonical = registry.read_link(&place).await.unwrap().unwrap();
                    payloads.contains(&canonical)
                }
                ObjectPath::RevisionLink { repository, digest } => is_of(&kept, repository, digest),
                // The history of tags is only read where it matters.
                ObjectPath::TagIndex { .. } if untagged == Untagged::Keep => true,
                ObjectPath::TagIndex {
                    repository, digest, ..
                }
                | ObjectPath::ReferrerKnown { repository, digest }
                | ObjectPath::ReferrerEntry {
                    repository,
                    referrer: digest,
                    ..
                } => is_of(&self.named(untagged), repository, digest),
                ObjectPath::TagCurrent { .. } => true,
                ObjectPath::LastDeletion { .. } => false,
                other => panic!("{other:?}"),
            };
            assert!(expected, "{key} should have gone");
        }
        for payload in payloads {
            let there = registry
                .driver()
                .stat(&ObjectPath::BlobData { digest: payload }.key())
                .await;
            assert!(there.is_ok(), "{payload} is gone");
        }
    }
}

/// A registry that accepts references to missing content, so that a push can name deleted manifests.
pub(super) fn lenient(driver: Arc<dyn Driver>) -> Registry {
    Registry::new(
        driver,
        Settings {
            validation: Validation {
                references: ReferencePolicy::Unchecked,
                ..Validation::default()
            },
            ..Settings::default()
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn what_is_reached_stays_and_everything_else_goes(
        pushes in pushes(),
        untagged in prop_oneof![Just(Untagged::Keep), Just(Untagged::Delete)],
        memory in prop_oneof![Just(1usize), Just(2000), Just(64 << 20)],
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let registry = lenient(Arc::new(InMemory::new()));
            let model = Model::of(&registry, &pushes).await;
            let kept = model.kept(untagged);
            let collecting = CollectionOptions { memory, ..at_once(untagged) };
            collect(&registry, &collecting).await;
            model.check_whole(&registry, &kept).await;
            model.check_exactly(&registry, untagged).await;
            let again = collect(&registry, &collecting).await;
            assert_eq!((again.blobs_removed, again.manifests_removed, again.layers_removed), (0, 0, 0));
        });
    }
}
