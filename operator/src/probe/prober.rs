//! The tasks that ask in the background, one for each Registry that has something to ask.
//!
//! Guarantees: a reconcile never waits for an answer; when an answer changes, the Registry is reconciled; the pauses
//! grow up to five minutes; of all Registries only some are asked at the same time. Answers are lost when the operator
//! ends, which costs time and never correctness. Must not: judge an answer, which `probe.rs` and `report` do.
//! Start at [`Prober::ask`].

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use jiff::Timestamp;
use kube::Client;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use super::address::Address;
use super::ask::ask;
use super::record::{Answer, Failure, Record};
use super::verifier::Verifier;
use super::{claim, readyz, usage};
use crate::findings::PodProblem;
use crate::pod_layout::PROBE_PORT;
use crate::subject::Subject;
use crate::work_queue::WorkQueue;

/// Registries that are asked at the same time.
const CONCURRENCY: usize = 16;
/// The pause after an answer that was new.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// The growth of the pauses.
const GROWTH: f64 = 1.5;
/// The longest pause.
const LAST_PAUSE: Duration = Duration::from_secs(300);
/// The longest pause while Pods are not ready, a claim is not bound, or another Registry claims a host.
const LAST_PAUSE_UNSETTLED: Duration = Duration::from_secs(30);

/// Namespace and name of a Registry.
type Key = (String, String);

/// The questions about one Registry.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Questions {
    pub(super) addresses: Vec<Address>,
    /// Pods that run and are not ready, by name and address.
    pub(super) unready_pods: Vec<(String, String)>,
    /// Whether another Registry claims a host, so that an address may lead there at any time.
    pub(super) shares_a_host: bool,
    /// The claim that is not bound.
    pub(super) unbound_claim: Option<String>,
    /// The address of a ready Pod that has the content on a file system.
    pub(super) file_system_at: Option<String>,
}

impl Questions {
    fn is_empty(&self) -> bool {
        // Another Registry's claim to a host is no question of its own.
        let alone = Self {
            shares_a_host: false,
            ..self.clone()
        };
        alone == Self::default()
    }

    fn longest_pause(&self) -> Duration {
        match self.unready_pods.is_empty() && self.unbound_claim.is_none() && !self.shares_a_host {
            true => LAST_PAUSE,
            false => LAST_PAUSE_UNSETTLED,
        }
    }
}

/// The latest answers about one Registry.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Answers {
    pub(super) addresses: HashMap<Address, Answer>,
    pub(super) pod_problem: Option<PodProblem>,
    pub(super) claim_problem: Option<String>,
    /// The used share of the file system, in whole percent.
    pub(super) used_percent: Option<i32>,
}

impl Answers {
    fn all_verified(&self) -> bool {
        self.addresses.values().all(|answer| *answer == Answer::Verified)
    }
}

/// Asks about every Registry. Dropping it ends the tasks.
#[derive(Debug)]
pub struct Prober {
    shared: Arc<Shared>,
    verifier: Verifier,
}

struct Shared {
    client: Client,
    queue: WorkQueue,
    slots: Semaphore,
    all: Mutex<HashMap<Key, Asked>>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

/// The questions about one Registry and what is known of their answers.
struct Asked {
    uid: String,
    questions: Questions,
    records: HashMap<Address, Record>,
    answers: Answers,
    task: Option<JoinHandle<()>>,
}

impl Drop for Asked {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

impl Drop for Prober {
    fn drop(&mut self) {
        // The tasks hold `shared` too, so they would outlive this.
        self.shared.all().clear();
    }
}

impl Prober {
    /// Nothing is asked yet. `client` reads events.
    pub fn new(client: Client, queue: WorkQueue) -> Self {
        Self {
            verifier: Verifier::new(queue.clone()),
            shared: Arc::new(Shared {
                client,
                queue,
                slots: Semaphore::new(CONCURRENCY),
                all: Mutex::default(),
            }),
        }
    }

    /// The Registry is gone.
    pub fn forget(&self, subject: &Subject) {
        self.shared.all().remove(&subject.key());
        self.verifier.end(subject);
    }

    /// The tasks that push and pull.
    pub(super) fn verifier(&self) -> &Verifier {
        &self.verifier
    }

    /// The latest answers to `questions`, which are asked from now on instead of earlier ones. Answers of an address
    /// that is still asked are kept.
    pub(super) fn ask(&self, subject: &Subject, questions: Questions) -> Answers {
        let mut all = self.shared.all();
        let known = all.get(&subject.key()).filter(|asked| asked.uid == subject.uid);
        if let Some(asked) = known.filter(|asked| asked.questions == questions) {
            return asked.answers.clone();
        }
        let records: HashMap<_, _> = known.map_or_else(HashMap::new, |asked| {
            let still = asked
                .records
                .iter()
                .filter(|(address, _)| questions.addresses.contains(address));
            still
                .map(|(address, record)| (address.clone(), record.clone()))
                .collect()
        });
        let used_before = known
            .filter(|_| questions.file_system_at.is_some())
            .and_then(|asked| asked.answers.used_percent);
        all.remove(&subject.key());
        if questions.is_empty() {
            return Answers::default();
        }
        let answers = Answers {
            addresses: answers_of(&records),
            used_percent: used_before,
            ..Answers::default()
        };
        let task = tokio::spawn(Arc::clone(&self.shared).keep_asking(subject.key(), questions.clone()));
        let asked = Asked {
            uid: subject.uid.clone(),
            questions,
            records,
            answers: answers.clone(),
            task: Some(task),
        };
        all.insert(subject.key(), asked);
        answers
    }
}

fn answers_of(records: &HashMap<Address, Record>) -> HashMap<Address, Answer> {
    let answers = records.iter();
    answers
        .map(|(address, record)| (address.clone(), record.answer().clone()))
        .collect()
}

/// The changes by the answers of one round.
struct Change {
    /// The answers differ from those before.
    is_new: bool,
    /// Every address is verified.
    all_verified: bool,
}

impl Shared {
    fn all(&self) -> MutexGuard<'_, HashMap<Key, Asked>> {
        // Each holder leaves a whole value behind, even one that panics.
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks again and again, until the task is aborted.
    async fn keep_asking(self: Arc<Self>, key: Key, questions: Questions) {
        let (mut round, mut were_verified) = (0, false);
        loop {
            // Boxed, because the requests take much more memory than the pause between them.
            let Some(change) = Box::pin(self.ask_once(&key, &questions)).await else {
                return;
            };
            if change.is_new {
                self.queue.add(&key.0, &key.1);
            }
            // A proxy whose wrong answers differ each time must not be asked twice a second for ever.
            round = match change.all_verified == were_verified {
                true => round + 1,
                false => 0,
            };
            were_verified = change.all_verified;
            let longest = questions.longest_pause();
            let pause = match change.all_verified && longest == LAST_PAUSE {
                true => longest,
                false => pause(round).min(longest),
            };
            tokio::time::sleep(jittered(pause)).await;
        }
    }

    /// Asks everything once. `None` when the questions are others now.
    async fn ask_once(&self, key: &Key, questions: &Questions) -> Option<Change> {
        let _slot = self.slots.acquire().await.ok()?;
        let requests = questions.addresses.iter();
        let requests = requests.map(async |address| (address, ask(address, Timestamp::now()).await));
        let usage = async {
            let pod = questions.file_system_at.as_deref()?;
            usage::used_percent(pod, PROBE_PORT).await
        };
        let (results, used_percent) = futures_util::join!(join_all(requests), usage);
        let pod_problem = readyz::reason(&questions.unready_pods).await;
        let claim_problem = match &questions.unbound_claim {
            Some(claim) => claim::provisioning_failure(&self.client, &key.0, claim).await,
            None => None,
        };
        let mut all = self.all();
        let asked = all.get_mut(key).filter(|asked| asked.questions == *questions)?;
        Some(asked.take(results, pod_problem, claim_problem, used_percent))
    }
}

impl Asked {
    fn take(
        &mut self,
        results: Vec<(&Address, Result<(), Failure>)>,
        pod_problem: Option<PodProblem>,
        claim_problem: Option<String>,
        used_percent: Option<i32>,
    ) -> Change {
        for (address, result) in results {
            self.records
                .entry(address.clone())
                .or_default()
                .add(result, Instant::now());
        }
        let before = self.answers.clone();
        let answers = Answers {
            addresses: answers_of(&self.records),
            // A Pod between two restarts says nothing, and an event ends after an hour. The cause is the same.
            pod_problem: pod_problem.or_else(|| before.pod_problem.clone()),
            claim_problem: claim_problem.or_else(|| before.claim_problem.clone()),
            used_percent: used_percent.or(before.used_percent),
        };
        let is_new = answers != before;
        self.answers = answers;
        Change {
            is_new,
            all_verified: self.answers.all_verified(),
        }
    }
}

/// The pause after a number of rounds without a change.
fn pause(round: u32) -> Duration {
    let factor = GROWTH.powi(i32::try_from(round.min(30)).unwrap_or(30));
    FIRST_PAUSE.mul_f64(factor).min(LAST_PAUSE)
}

/// Up to a tenth more, so that many Registries are not asked at the same time.
fn jittered(pause: Duration) -> Duration {
    pause.mul_f32(1.0 + rand::random::<f32>() / 10.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_another_registry_claims_is_asked_more_often() {
        let alone = Questions::default();
        let shared = Questions {
            shares_a_host: true,
            ..Questions::default()
        };
        assert_eq!(alone.longest_pause(), LAST_PAUSE);
        assert_eq!(shared.longest_pause(), LAST_PAUSE_UNSETTLED);
        assert!(
            shared.is_empty(),
            "a claim of another Registry alone is no question"
        );
        let file_system = Questions {
            file_system_at: Some("10.0.0.1".to_owned()),
            ..shared
        };
        assert!(!file_system.is_empty(), "each of the others is one");
    }

    #[test]
    fn pauses_grow_from_half_a_second_to_five_minutes() {
        let pauses: Vec<_> = (0..40).map(pause).collect();
        assert_eq!(pauses[0], FIRST_PAUSE);
        assert!(pauses.is_sorted());
        assert_eq!(pauses[39], LAST_PAUSE);
        // Half a minute, after which a failure counts, is over within a dozen requests.
        let asked: Duration = pauses[..12].iter().sum();
        assert!(asked > Duration::from_secs(30), "{asked:?}");
    }
}
