//! The tasks that push and pull in the background, one for each Registry that is being verified.
//!
//! Guarantees: a reconcile never waits for a result; a new result starts a reconcile; a verification that fails is
//! repeated with growing pauses, and one that succeeds is not repeated. A failure counts from the third attempt on, because
//! proxies learn of new Pods a moment later. Results are lost when the operator ends, which costs time and never
//! correctness. Start at [`Verifier::ask`].

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use super::push::{Question, push_and_pull};
use crate::subject::Subject;
use crate::verify_plan::Hindrance;
use crate::work_queue::WorkQueue;

/// Registries that are verified at the same time.
const CONCURRENCY: usize = 4;
/// Time limit of one attempt.
const LIMIT: Duration = Duration::from_secs(60);
/// The pause after the first failure. Each one is twice as long as the one before.
const FIRST_PAUSE: Duration = Duration::from_secs(2);
/// The longest pause.
const LAST_PAUSE: Duration = Duration::from_secs(900);
/// The attempt from which on a failure counts.
const COUNTING_ATTEMPT: u32 = 3;

/// Namespace and name of a Registry.
type Key = (String, String);

/// The time at which a push and a pull worked, or why they did not.
pub(super) type Attempt = Result<Timestamp, Hindrance>;

/// Verifies Registries. Dropping it ends the tasks.
#[derive(Debug)]
pub(super) struct Verifier {
    shared: Arc<Shared>,
}

struct Shared {
    queue: WorkQueue,
    slots: Semaphore,
    all: Mutex<HashMap<Key, Verifying>>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

/// A Registry that is being verified, and the latest result.
struct Verifying {
    uid: String,
    question: Question,
    result: Option<Attempt>,
    task: JoinHandle<()>,
}

impl Drop for Verifying {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Drop for Verifier {
    fn drop(&mut self) {
        // The tasks hold `shared` too, so they would outlive this.
        self.shared.all().clear();
    }
}

impl Verifier {
    pub(super) fn new(queue: WorkQueue) -> Self {
        Self {
            shared: Arc::new(Shared {
                queue,
                slots: Semaphore::new(CONCURRENCY),
                all: Mutex::default(),
            }),
        }
    }

    /// Nothing is to be verified any more.
    pub(super) fn end(&self, subject: &Subject) {
        self.shared.all().remove(&subject.key());
    }

    /// The latest result for `question`, which is asked from now on instead of an earlier one. `None` while there is none.
    pub(super) fn ask(&self, subject: &Subject, question: &Question) -> Option<Attempt> {
        let mut all = self.shared.all();
        let known = all.get(&subject.key());
        let known = known.filter(|known| known.uid == subject.uid && known.question == *question);
        if let Some(known) = known {
            return known.result.clone();
        }
        let task = tokio::spawn(Arc::clone(&self.shared).verify(subject.key(), question.clone()));
        let verifying = Verifying {
            uid: subject.uid.clone(),
            question: question.clone(),
            result: None,
            task,
        };
        all.insert(subject.key(), verifying);
        None
    }
}

impl Shared {
    fn all(&self) -> MutexGuard<'_, HashMap<Key, Verifying>> {
        // Each holder leaves a whole value behind, even one that panics.
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Pushes and pulls until that works.
    async fn verify(self: Arc<Self>, key: Key, question: Question) {
        for attempt in 1.. {
            let result = self.attempt(&question).await;
            let works = result.is_ok();
            if works || attempt >= COUNTING_ATTEMPT {
                self.take(&key, &question, result);
            }
            if works {
                return;
            }
            tokio::time::sleep(pause(attempt)).await;
        }
    }

    async fn attempt(&self, question: &Question) -> Attempt {
        // The semaphore is never closed.
        let _slot = self.slots.acquire().await;
        match tokio::time::timeout(LIMIT, push_and_pull(question)).await {
            Ok(result) => result.map(|()| Timestamp::now()),
            Err(_) => Err(Hindrance {
                reason: "NoAnswer",
                message: format!(
                    "A push to `{}` and a pull did not end within {} s",
                    question.address.url,
                    LIMIT.as_secs()
                ),
            }),
        }
    }

    /// Keeps a result, and starts a reconcile when it is new.
    fn take(&self, key: &Key, question: &Question, result: Attempt) {
        let mut all = self.all();
        // The question may be another one meanwhile.
        let Some(known) = all.get_mut(key).filter(|known| known.question == *question) else {
            return;
        };
        if known.result.as_ref() != Some(&result) {
            known.result = Some(result);
            self.queue.add(&key.0, &key.1);
        }
    }
}

/// The pause after an attempt that failed, up to a tenth longer, so that not all come at the same time.
fn pause(attempt: u32) -> Duration {
    let pause = FIRST_PAUSE
        .saturating_mul(1 << (attempt - 1).min(20))
        .min(LAST_PAUSE);
    pause.mul_f32(1.0 + rand::random::<f32>() / 10.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_repeated_ever_more_rarely() {
        assert!(pause(1) >= FIRST_PAUSE && pause(1) < FIRST_PAUSE * 2);
        assert!(pause(5) > pause(3));
        assert!(pause(u32::MAX) >= LAST_PAUSE && pause(u32::MAX) < LAST_PAUSE * 2);
        // A failure counts within half a minute.
        assert!(pause(1) + pause(2) < Duration::from_secs(30));
    }
}
