//! Leader election: of several replicas of the operator one works, the one that holds a Lease.
//!
//! Guarantees: no replica writes after its time has gone ([`Fence`]), even when it was paused or cut off, because its
//! writes end before another replica may take the Lease; a replica that is asked to stop gives the Lease back, so that the
//! next one starts at once; clocks that differ or jump change nothing; a deleted Lease stays with its holder. Must not:
//! know what the leader does.
//! Start at [`run`].

mod fence;
mod record;

use std::time::Duration;

use futures_util::{Stream, StreamExt as _};
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{ObjectMeta, PostParams};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until, timeout};

use crate::fault::chain;
use fence::Moment;
pub use fence::{Fence, FenceLayer, LeasePath, NotLeader};
use record::Observation;

/// The time that running reconciles have to end when the leader is asked to stop.
const GRACE: Duration = Duration::from_secs(1);
/// Time limit for giving the Lease back.
const RELEASE: Duration = Duration::from_secs(3);

/// The times of an election.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// How long other replicas wait after the last renewal that they saw. Written into the Lease in whole seconds.
    pub lease: Duration,
    /// How long the leader works after the last renewal that succeeded, counted from before it was sent. Shorter than
    /// `lease`: a write that was sent at its end still has the difference to arrive.
    pub deadline: Duration,
    /// The time between two renewals, and between two looks at a Lease whose watch is silent.
    pub retry: Duration,
}

impl Default for Timing {
    /// The values of Kubernetes' own controllers.
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(15),
            deadline: Duration::from_secs(10),
            retry: Duration::from_secs(2),
        }
    }
}

/// The Lease, and who wants it.
#[derive(Clone, Debug)]
pub struct Election {
    /// The Lease's namespace.
    pub namespace: String,
    /// The Lease's name.
    pub name: String,
    /// This replica's name in the Lease: never the same for two processes.
    pub identity: String,
    /// The times.
    pub timing: Timing,
}

impl Election {
    /// The Lease's paths of the API, for the [`Fence`]'s layer.
    pub fn path(&self) -> LeasePath {
        LeasePath::new(&self.namespace, &self.name)
    }
}

/// Waits for the Lease and leads while it is held, until `stop` is done. `lead` starts the work; it is asked to stop by the
/// future that it gets, and is dropped when the Lease is lost. After a loss the replica waits for the Lease again.
/// `observed` is called when the API server has answered for the first time.
///
/// # Errors
/// `lead` failed.
pub async fn run<F>(
    client: Client,
    election: Election,
    fence: Fence,
    observed: impl FnOnce(),
    stop: impl Future<Output = ()>,
    lead: impl Fn(oneshot::Receiver<()>) -> F,
) -> anyhow::Result<()>
where
    F: Future<Output = anyhow::Result<()>>,
{
    let mut stop = std::pin::pin!(stop);
    let mut candidate = Candidate::new(client, election, fence.clone());
    tokio::select! {
        () = candidate.observe() => observed(),
        () = &mut stop => return Ok(()),
    }
    loop {
        tokio::select! {
            () = candidate.acquire() => {}
            () = &mut stop => return Ok(()),
        }
        tracing::info!(
            lease = candidate.election.name,
            identity = candidate.election.identity,
            "leading"
        );
        let (stop_leading, stopped) = oneshot::channel();
        let mut leading = Box::pin(lead(stopped));
        let lost = tokio::select! {
            lost = candidate.hold() => lost,
            ended = &mut leading => {
                candidate.release().await;
                return ended;
            }
            () = &mut stop => {
                drop(stop_leading);
                let ended = timeout(GRACE, &mut leading).await;
                drop(leading);
                candidate.release().await;
                return ended.unwrap_or(Ok(()));
            }
        };
        // The writes end first, then everything else of the leader.
        fence.close();
        drop(leading);
        tracing::warn!(
            lease = candidate.election.name,
            identity = candidate.election.identity,
            "the Lease is lost: {lost}; nothing is reconciled here until this replica has it again"
        );
    }
}

/// Why the Lease is no longer held.
#[derive(Debug, thiserror::Error)]
enum Lost {
    #[error("`{0}` holds it")]
    Taken(String),
    #[error("somebody has cleared its holder")]
    Cleared,
    #[error("it could not be renewed within {} s", .0.as_secs_f32())]
    NotRenewed(Duration),
}

type Changes = std::pin::Pin<Box<dyn Stream<Item = watcher::Result<Option<Lease>>> + Send>>;

/// One replica in the election.
struct Candidate {
    leases: Api<Lease>,
    election: Election,
    fence: Fence,
    seen: Observation,
    changes: Changes,
    last_warning: String,
}

impl Candidate {
    fn new(client: Client, election: Election, fence: Fence) -> Self {
        let leases = Api::<Lease>::namespaced(client, &election.namespace);
        Self {
            changes: Box::pin(watcher::watch_object(leases.clone(), &election.name).default_backoff()),
            leases,
            election,
            fence,
            seen: Observation::default(),
            last_warning: String::new(),
        }
    }

    /// Reads the Lease until the API server answers.
    async fn observe(&mut self) {
        while let Err(error) = self.look().await {
            self.warn("read", &error);
            tokio::time::sleep(self.election.timing.retry).await;
        }
    }

    /// Takes the Lease as soon as nobody holds it.
    async fn acquire(&mut self) {
        // The leader renews once per `retry`: a watch that tells nothing for longer may be broken.
        let quiet = 2 * self.election.timing.retry;
        loop {
            let now = Instant::now();
            let free_at = self.seen.free_at(&self.election.identity).unwrap_or(now);
            if free_at <= now {
                match self.take_if_free().await {
                    Ok(true) => return,
                    Ok(false) => {}
                    Err(error) => self.warn("take", &error),
                }
            }
            let wake = match free_at > now {
                true => free_at.min(now + quiet),
                false => Instant::now() + self.election.timing.retry,
            };
            if !self.changed_or(wake).await
                && let Err(error) = self.look().await
            {
                self.warn("read", &error);
            }
        }
    }

    /// Renews the Lease until it is lost.
    async fn hold(&mut self) -> Lost {
        let Timing { deadline, retry, .. } = self.election.timing;
        let mut next = Instant::now() + retry;
        loop {
            let fence = self.fence.clone();
            tokio::select! {
                () = fence.wait_until_closed() => return Lost::NotRenewed(deadline),
                _ = self.changed_or(next) => {}
            }
            if let Some(lost) = self.lost_to() {
                return lost;
            }
            let deleted = self.seen.lease().is_none();
            if deleted || Instant::now() >= next {
                next = Instant::now() + retry;
                tokio::select! {
                    () = fence.wait_until_closed() => return Lost::NotRenewed(deadline),
                    renewed = self.take() => if let Err(error) = renewed {
                        self.warn("renew", &error);
                    },
                }
                if let Some(lost) = self.lost_to() {
                    return lost;
                }
            }
        }
    }

    /// The reason why this replica no longer has the Lease, if so. A deleted one is written again.
    fn lost_to(&self) -> Option<Lost> {
        self.seen.lease()?;
        match self.seen.holder() {
            Some(holder) if holder == self.election.identity => None,
            Some(holder) => Some(Lost::Taken(holder.to_owned())),
            None => Some(Lost::Cleared),
        }
    }

    /// Waits for an event of the Lease's watch, or until `wake`. Says whether there was an event.
    async fn changed_or(&mut self, wake: Instant) -> bool {
        loop {
            tokio::select! {
                Some(change) = self.changes.next() => match change {
                    Ok(lease) => {
                        self.note(lease);
                        return true;
                    }
                    // The watch is opened again by itself, and the Lease is read from time to time without it.
                    Err(error) => tracing::debug!(%error, "the watch on the Lease broke"),
                },
                () = sleep_until(wake) => return false,
            }
        }
    }

    fn note(&mut self, lease: Option<Lease>) {
        // An event that is older than what was written here would look like a loss.
        let version = |lease: &Lease| lease.metadata.resource_version.as_ref()?.parse::<u64>().ok();
        let known = self.seen.lease().and_then(version);
        if let (Some(known), Some(new)) = (known, lease.as_ref().and_then(version))
            && new < known
        {
            return;
        }
        self.seen.see(lease, self.election.timing.lease, Instant::now());
    }

    async fn look(&mut self) -> kube::Result<()> {
        let lease = limited(self.election.timing, self.leases.get_opt(&self.election.name)).await?;
        self.seen.see(lease, self.election.timing.lease, Instant::now());
        Ok(())
    }

    /// Takes the Lease if a fresh look says that it is free. Says whether it is held now.
    async fn take_if_free(&mut self) -> kube::Result<bool> {
        self.look().await?;
        let free_at = self.seen.free_at(&self.election.identity);
        if free_at.is_some_and(|free_at| free_at > Instant::now()) {
            return Ok(false);
        }
        self.take().await?;
        Ok(self.fence.is_open())
    }

    /// Writes this replica into the Lease, if nobody has written it since it was seen last. If somebody has, reads it.
    async fn take(&mut self) -> kube::Result<()> {
        let Election {
            name,
            identity,
            timing,
            ..
        } = &self.election;
        let metadata = ObjectMeta {
            name: Some(name.clone()),
            ..Default::default()
        };
        let current = self.seen.lease();
        let wanted = record::held(current, metadata, identity, timing.lease, Timestamp::now());
        let sent = Moment::now();
        let params = PostParams::default();
        let written = match current {
            Some(_) => limited(*timing, self.leases.replace(name, &params, &wanted)).await,
            None => limited(*timing, self.leases.create(&params, &wanted)).await,
        };
        match written {
            Ok(lease) => {
                self.last_warning.clear();
                self.seen.see(Some(lease), timing.lease, Instant::now());
                self.fence.open(sent, timing.deadline);
                Ok(())
            }
            Err(kube::Error::Api(answer))
                if answer.is_conflict() || answer.is_already_exists() || answer.is_not_found() =>
            {
                self.look().await
            }
            Err(error) => Err(error),
        }
    }

    /// Closes the fence and gives the Lease back, if it is still held.
    async fn release(&mut self) {
        self.fence.close();
        match timeout(RELEASE, self.write_released()).await {
            Ok(Ok(())) => tracing::info!("the Lease is given back"),
            Ok(Err(error)) => self.warn("give back", &error),
            Err(_) => tracing::warn!("cannot give the Lease back: the API server does not answer"),
        }
    }

    async fn write_released(&mut self) -> kube::Result<()> {
        loop {
            let Some(current) = self.seen.lease().filter(|_| self.lost_to().is_none()) else {
                return Ok(());
            };
            let released = record::released(current, Timestamp::now());
            let params = PostParams::default();
            match self.leases.replace(&self.election.name, &params, &released).await {
                // Somebody has written a label, say.
                Err(kube::Error::Api(answer)) if answer.is_conflict() => self.look().await?,
                other => return other.map(drop),
            }
        }
    }

    /// Logs what cannot be done, once for as long as it is the same.
    fn warn(&mut self, verb: &str, error: &kube::Error) {
        let text = format!("cannot {verb} the Lease: {}", chain(error));
        if text != self.last_warning {
            tracing::warn!(lease = self.election.name, "{text}");
            self.last_warning = text;
        }
    }
}

/// A request with a time limit that leaves time for another one before the deadline.
async fn limited<T>(timing: Timing, request: impl Future<Output = kube::Result<T>>) -> kube::Result<T> {
    let limit = timing.deadline / 2;
    timeout(limit, request).await.unwrap_or_else(|_| {
        let error = std::io::Error::new(std::io::ErrorKind::TimedOut, "the API server does not answer");
        Err(kube::Error::Service(error.into()))
    })
}
