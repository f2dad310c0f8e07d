//! How many Registries move to a new version of the operator at the same time.
//!
//! A new operator may describe the Pods in another way, and run another image. Without a limit it would restart every
//! Registry of the cluster at once. Guarantees: at most so many rollouts run that an upgrade started; one that is stuck
//! makes room, because its Registry says so itself. Which rollouts run is not known after a restart of the operator.
//! Must not: hold up a change that a person made to a Registry of the present version.
//! Start at [`Upgrades::may_start`].

use std::collections::{BTreeSet, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use k8s_openapi::api::apps::v1::Deployment;
use operator_api::OPERATOR_VERSION_ANNOTATION;

use crate::findings::Rollout;
use crate::settings::VERSION;
use crate::subject::Subject;
use crate::work_queue::WorkQueue;

/// Namespace and name.
type Key = (String, String);

/// The upgrades that run now, and the Registries that wait for one to end.
pub(super) struct Upgrades {
    limit: usize,
    queue: WorkQueue,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    running: HashSet<Key>,
    waiting: BTreeSet<Key>,
}

impl Upgrades {
    pub(super) fn new(limit: usize, queue: WorkQueue) -> Self {
        Self {
            limit,
            queue,
            state: Mutex::default(),
        }
    }

    /// Whether the Registry's Deployment may be changed now: it is new or of this version, or there is room. A Registry
    /// that waits is reconciled when there is.
    pub(super) fn may_start(&self, subject: &Subject, deployment: Option<&Deployment>) -> bool {
        let Some(deployment) = deployment else { return true };
        let annotations = deployment.metadata.annotations.as_ref();
        let version = annotations.and_then(|all| all.get(OPERATOR_VERSION_ANNOTATION));
        if version.is_some_and(|version| version == VERSION) {
            return true;
        }
        let key = subject.key();
        let mut state = self.lock();
        if state.running.contains(&key) {
            return true;
        }
        if state.running.len() < self.limit {
            state.running.insert(key);
            return true;
        }
        state.waiting.insert(key);
        false
    }

    /// Makes room when the Registry's rollout has ended.
    pub(super) fn observed(&self, subject: &Subject, rollout: &Rollout) {
        match rollout {
            Rollout::Progressing => {}
            Rollout::Absent | Rollout::Stuck | Rollout::Complete => self.ended(subject),
        }
    }

    /// Makes room: the rollout has ended, or the Registry is gone.
    pub(super) fn ended(&self, subject: &Subject) {
        let mut state = self.lock();
        state.running.remove(&subject.key());
        if state.running.len() < self.limit
            && let Some((namespace, name)) = state.waiting.pop_first()
        {
            self.queue.add(&namespace, &name);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Each holder leaves a whole value behind, even one that panics.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt as _;

    use super::*;

    fn registry(name: &str) -> Subject {
        Subject {
            name: name.to_owned(),
            ..Subject::default()
        }
    }

    fn of_version(version: &str) -> Deployment {
        let mut deployment = Deployment::default();
        let annotation = (OPERATOR_VERSION_ANNOTATION.to_owned(), version.to_owned());
        deployment.metadata.annotations = Some([annotation].into());
        deployment
    }

    #[tokio::test]
    async fn only_so_many_upgrades_run_and_the_next_starts_when_one_has_ended() {
        let (queue, mut items) = WorkQueue::new();
        let upgrades = Upgrades::new(1, queue);
        let old = of_version("0.0.1");
        assert!(upgrades.may_start(&registry("a"), Some(&old)));
        assert!(!upgrades.may_start(&registry("b"), Some(&old)));
        upgrades.observed(&registry("a"), &Rollout::Progressing);
        assert!(upgrades.may_start(&registry("a"), Some(&old)), "it runs already");
        assert!(!upgrades.may_start(&registry("b"), Some(&Deployment::default())));
        upgrades.observed(&registry("a"), &Rollout::Complete);
        assert_eq!(items.next().await.map(|item| item.name).as_deref(), Some("b"));
        assert!(upgrades.may_start(&registry("b"), Some(&old)));
    }

    #[test]
    fn a_registry_that_is_new_or_of_this_version_never_waits() {
        let upgrades = Upgrades::new(0, WorkQueue::new().0);
        assert!(upgrades.may_start(&registry("a"), None));
        assert!(upgrades.may_start(&registry("a"), Some(&of_version(VERSION))));
        assert!(!upgrades.may_start(&registry("a"), Some(&of_version("0.0.1"))));
    }
}
