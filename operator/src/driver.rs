//! The controller: what starts a reconcile, its eight steps in order, and when the next one comes.
//!
//! A reconcile starts when the Registry, one of its children, or a Secret, ConfigMap or claim that it names changes;
//! when a probe is answered otherwise than before; when a certificate has to be renewed; and every ten minutes, in case a watch lost something. Two reconciles of one
//! Registry never run at the same time; one that takes too long or fails holds up no other Registry. Must not: decide
//! anything that a step decides.
//! Start at [`reconcile`]; [`run`] connects it to the watches.

mod optional;
mod registries;
mod requeue;
mod upgrades;
mod watch;

use std::sync::Arc;

use std::time::Duration;

use futures_util::{FutureExt as _, StreamExt as _};
use kube::Client;
use kube::core::PartialObjectMeta;
use kube::runtime::applier;
use kube::runtime::controller::{Action, Config, Error as ControllerError};
use kube::runtime::events::{Recorder, Reporter};
use kube::runtime::reflector::ObjectRef;
use operator_api::Registry;
use tokio::task::AbortHandle;
use tracing::Instrument as _;

use crate::cache::Cache;
use crate::conditions::READY;
use crate::error::{Error, Problems};
use crate::fault::{Fault, chain};
use crate::health::Health;
use crate::issue::StoredSecrets;
use crate::probe::Prober;
use crate::report::Outcome;
use crate::settings::Settings;
use crate::subject::Subject;
use crate::telemetry::Telemetry;
use crate::work_queue::WorkQueue;
use crate::{apply, build, client, issue, json_depth, observe, probe, read, report, validate};
use optional::OptionalResources;
use registries::Registries;
use requeue::{Polls, Retries};
use upgrades::Upgrades;

/// Reconciles that run at the same time, over all Registries.
const CONCURRENCY: u16 = 8;
/// Events within this time start one reconcile.
const DEBOUNCE: Duration = Duration::from_millis(100);

/// The longest time for one reconcile. Every request has a limit of its own, so only many slow ones come to this.
const DEADLINE: Duration = Duration::from_secs(60);
/// The longest time at the start in which reconciles wait for the watches. What is not listed by then is asked for.
const LISTS: Duration = Duration::from_secs(20);

/// The note of a Registry that waits.
const WAITING_FOR_UPGRADE: &str = "The Pods stay as they are until fewer other Registries are being moved to this version \
                                   of the operator";

struct Context {
    client: Client,
    health: Health,
    settings: Settings,
    recorder: Recorder,
    cache: Cache,
    retries: Retries,
    polls: Polls,
    prober: Prober,
    registries: Arc<Registries>,
    telemetry: Telemetry,
    optional: OptionalResources,
    upgrades: Upgrades,
}

/// The end of a reconcile.
struct Ended {
    /// The reason of Ready.
    reason: String,
    /// The delay until the next one, when not only a change starts one.
    next: Option<Duration>,
}

impl Ended {
    /// Only a change starts another one.
    fn until_changed(reason: &str) -> Self {
        Self {
            reason: reason.to_owned(),
            next: None,
        }
    }
}

/// A reconcile that failed, and the delay until it is retried. Without one only a change of the Registry starts another.
#[derive(Debug, thiserror::Error)]
#[error("a reconcile failed")]
struct Failed {
    #[source]
    failure: Failure,
    retry_in: Option<Duration>,
}

/// The cause of a reconcile's failure.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// A step before the report failed.
    #[error(transparent)]
    Reconcile(#[from] Error),
    /// The status could not be written.
    #[error("cannot write the status")]
    Report(#[from] report::Error),
    /// The reconcile was given up, so that its worker is free for other Registries.
    #[error("the reconcile did not end within {} s", DEADLINE.as_secs())]
    Deadline,
    /// A bug. It must not end the process, which other Registries need.
    #[error("the reconcile panicked; please report this")]
    Panicked,
}

impl Failure {
    fn fault(&self) -> Fault {
        match self {
            Self::Reconcile(error) => error.fault(),
            Self::Report(error) => error.fault(),
            Self::Deadline => Fault::Transient { retry_after: None },
            Self::Panicked => Fault::Permanent,
        }
    }

    /// The reason in metrics and in the list of recent reconciles.
    fn reason(&self) -> &'static str {
        match self {
            Self::Reconcile(error) => report::reason::of(error),
            Self::Report(_) => "StatusNotWritten",
            Self::Deadline => "DeadlineExceeded",
            Self::Panicked => report::reason::INTERNAL_ERROR,
        }
    }
}

/// Brings one Registry up to date, within [`DEADLINE`]. Giving up half-way is safe: each write stands alone, and the
/// next reconcile compares again.
async fn reconcile_in_time(
    registry: Arc<PartialObjectMeta<Registry>>,
    context: Arc<Context>,
) -> Result<Action, Failed> {
    let subject = Subject::of(&registry.metadata);
    let running = context.telemetry.begin(&subject);
    let span = running.span.clone();
    let task = {
        let (subject, context) = (subject.clone(), Arc::clone(&context));
        async move {
            // Ends with the task: one that blocks its thread counts as running, although its time is up.
            let _running = context.health.reconciling();
            reconcile(subject, &context).await
        }
    };
    // A task of its own uses another core, and keeps a panic to itself.
    let task = tokio::spawn(task.instrument(span.clone()));
    let _abort = AbortOnDrop(task.abort_handle());
    let ended = match tokio::time::timeout(DEADLINE, task).await {
        Ok(Ok(ended)) => ended,
        Ok(Err(_)) => Err(Failure::Panicked),
        Err(_) => Err(Failure::Deadline),
    };
    match ended {
        Ok(Ended { reason, next }) => {
            running.end(true, &reason, next);
            Ok(next.map_or_else(Action::await_change, Action::requeue))
        }
        Err(failure) => {
            let retry_in = span.in_scope(|| retry_delay(&subject, &failure, &context));
            running.end(false, failure.reason(), retry_in);
            Err(Failed { failure, retry_in })
        }
    }
}

/// Ends a task with its owner.
struct AbortOnDrop(AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Takes the Registries out of the metrics with its owner.
struct ForgetOnDrop(Telemetry);

impl Drop for ForgetOnDrop {
    fn drop(&mut self) {
        self.0.metrics.forget_all();
    }
}

/// Brings one Registry up to date.
async fn reconcile(subject: Subject, context: &Context) -> Result<Ended, Failure> {
    let Context {
        client,
        recorder,
        cache,
        retries,
        polls,
        prober,
        registries,
        optional,
        upgrades,
        ..
    } = context;
    let source = read::Source { client, cache };
    let registry = match read::registry(source, &subject).await {
        Ok(Some(registry)) => registry,
        Ok(None) => {
            context.forget(&subject);
            return Ok(Ended::until_changed("Deleted"));
        }
        Err(read::Error::Unparsable { .. }) => {
            report::unparsable(client, recorder, &subject).await?;
            return Ok(Ended::until_changed(report::reason::UNPARSABLE));
        }
        Err(error) => return Err(Error::from(error).into()),
    };
    let subject = Subject::of(&registry.metadata);

    // 1. Read: the objects that exist under the children's names, and those that the Registry names.
    let found = optional.objects(&subject);
    let (facts, unread) = read::facts(source, &registry, &subject, found).await;
    // 2. Validate (pure): the exact wishes of the spec, and everything that is wrong.
    let (mut validated, invalid) = validate::registry(&registry, &subject, &facts, &context.settings);
    let shared_hosts = registries.notes_about_hosts(&subject);
    validated.shares_a_host = !shared_hosts.is_empty();
    validated.notes.extend(shared_hosts);
    let mut problems = Problems::default();
    problems.extend(unread);
    problems.extend(invalid);
    // 3. Issue (pure, but for random numbers): secrets and certificates that are missing or due.
    // None is made in the place of a stored one that cannot be read: it may be good.
    let stored = StoredSecrets::of(&facts.existing);
    let issued = problems.collect(issue::secrets(&validated.issue, stored, facts.now));
    // 4. Build (pure): the objects of all parts that are right.
    let desired = build::children(&validated, issued.as_ref());
    let optional_objects = build::optional(&validated);
    let deployment = facts.existing.deployment.ours();
    let desired = match desired.deployment.object() {
        Some(_) if !upgrades.may_start(&subject, deployment) => {
            validated.notes.push(WAITING_FOR_UPGRADE.to_owned());
            desired.keep_deployment()
        }
        _ => desired,
    };
    // A child may be missing because the Registry is gone and the watch has not told yet. An object that is made then
    // would stay for ever where the definition is gone too: the garbage collector no longer finds its owner.
    let makes_objects =
        desired.makes_objects(&facts.existing) || facts.optional.lacks_any(optional_objects.as_deref());
    if makes_objects && read::is_gone(client, &subject).await.map_err(Error::from)? {
        return Ok(Ended::until_changed("Deleted"));
    }
    // 5. Apply: writes the differences.
    let applied = apply::children(client, &subject, desired, &facts).await;
    problems.extend(applied.problems);
    if let Some(wanted) = optional_objects {
        problems.extend(apply::optional(client, &subject, wanted, &facts.optional).await);
    }
    // Nothing is reported about a Registry that goes with its namespace.
    if problems.namespace_is_ending() {
        return Ok(Ended::until_changed("NamespaceEnding"));
    }
    // 6. Observe (pure): reads the state of the registry off the live objects.
    let mut findings = observe::findings(&applied.children, &facts);
    if let Some(issued) = issued
        .as_ref()
        .filter(|_| validated.paused && problems.first().is_none())
    {
        let children = build::children_of_the_spec(&validated, issued);
        let optional = build::optional_of_the_spec(&validated);
        findings.as_asked = apply::is_applied(&children, &optional, &facts);
    }
    upgrades.observed(&subject, &findings.rollout);
    // 7. Probe: what the registry and its addresses answered in the background.
    let findings = probe::findings(prober, &registry, &validated, &applied.children, &facts, findings);
    // 8. Report: the status and an event. What passes by itself is only reported when it lasts.
    if problems.all_transient()
        && !retries.persistent(&subject)
        && let Some(error) = problems.take_transient()
    {
        return Err(error.into());
    }
    let outcome = Outcome {
        registry: &validated,
        issued: issued.as_ref(),
        findings: &findings,
        problems: &problems,
    };
    let status = report::outcome(client, recorder, &registry, &subject, &outcome, facts.now).await?;

    context.telemetry.metrics.set_status(&subject.key(), &status);
    let next_renewal = issued.as_ref().and_then(|issued| issued.next_renewal);
    if !requeue::is_polled(&outcome) {
        polls.end(&subject);
    }
    let next = requeue::next(&outcome, next_renewal, &status, facts.now, || {
        polls.next(&subject)
    });
    if let Some(error) = problems.take_transient() {
        return Err(error.into());
    }
    retries.succeeded(&subject);
    let mut conditions = status.conditions.into_iter();
    let ready = conditions.find(|condition| condition.type_ == READY);
    Ok(Ended {
        reason: ready.map(|ready| ready.reason).unwrap_or_default(),
        next,
    })
}

/// Logs a failure and decides when the reconcile is retried; `None` when the Registry has to change first.
fn retry_delay(subject: &Subject, failure: &Failure, context: &Context) -> Option<Duration> {
    let fault = failure.fault();
    if fault == Fault::Caller {
        tracing::warn!(error = %chain(failure), "a reconcile failed and is retried when the Registry changes");
        return None;
    }
    let delay = context.retries.next(subject, fault);
    tracing::warn!(error = %chain(failure), retry_in_seconds = delay.as_secs_f32(), "a reconcile failed");
    Some(delay)
}

impl Context {
    /// Forgets what is remembered of a Registry that is gone.
    fn forget(&self, subject: &Subject) {
        self.retries.succeeded(subject);
        self.polls.end(subject);
        self.prober.forget(subject);
        self.telemetry.metrics.forget(&subject.key());
        self.upgrades.ended(subject);
    }
}

/// Runs the controller until `stop` is done. While the API server cannot be reached, the definition is not installed or
/// a right is missing, it waits for that.
///
/// # Errors
/// None at present.
pub async fn run(
    client: Client,
    settings: Settings,
    health: Health,
    telemetry: Telemetry,
    stop: impl Future<Output = ()> + Send + Sync + 'static,
) -> anyhow::Result<()> {
    let cache = Cache::default();
    // One object that is nested too deeply must not make the list of all unreadable.
    let client = json_depth::with_limited_nesting(&client);
    let client = client::for_the_operator(&client, &health, &cache);
    let asking = tokio::spawn(client::ask_when_quiet(client.clone(), health.clone()));
    let _asking = AbortOnDrop(asking.abort_handle());
    let (queue, items) = WorkQueue::new();
    let (registries, store) = Registries::new();
    let registries = Arc::new(registries);
    let prober = Prober::new(client.clone(), queue.clone());
    let sinks = watch::Sinks {
        cache: cache.clone(),
        registries: Arc::clone(&registries),
        queue,
        health: health.clone(),
    };
    let _watches = watch::start(&client, std::slice::from_ref(&settings.namespace), &sinks);
    let (optional, _optional) = OptionalResources::follow(&client, settings.namespace.as_deref(), &sinks);
    let upgrades = Upgrades::new(settings.max_concurrent_upgrades, sinks.queue.clone());
    let reporter = Reporter {
        controller: apply::FIELD_MANAGER.to_owned(),
        instance: None,
    };
    let context = Arc::new(Context {
        recorder: Recorder::new(client.clone(), reporter),
        client,
        health,
        settings,
        cache: cache.clone(),
        retries: Retries::default(),
        polls: Polls::default(),
        prober,
        registries,
        telemetry: telemetry.clone(),
        optional,
        upgrades,
    });
    // Another replica tells about the Registries from then on.
    let _forget = ForgetOnDrop(telemetry.clone());
    // Without this, each object that the watches are about to list would be asked for.
    let items = async move {
        let _ = tokio::time::timeout(LISTS, cache.started()).await;
        items
    };
    let requests = items.flatten_stream().take_until(stop).map(move |item| {
        telemetry.metrics.queued(&item.namespace, &item.name);
        let registry = ObjectRef::<PartialObjectMeta<Registry>>::new(&item.name);
        Ok::<_, std::convert::Infallible>(registry.within(&item.namespace))
    });
    let config = Config::default().debounce(DEBOUNCE).concurrency(CONCURRENCY);
    let reconcile = |registry, context| Box::pin(reconcile_in_time(registry, context));
    let retry = |_: Arc<PartialObjectMeta<Registry>>, failed: &Failed, _: Arc<Context>| {
        failed.retry_in.map_or_else(Action::await_change, Action::requeue)
    };
    applier(reconcile, retry, Arc::clone(&context), store, requests, config)
        .for_each(|result| {
            match result {
                Err(ControllerError::ObjectNotFound(gone)) => context.forget(&Subject {
                    namespace: gone.namespace.clone().unwrap_or_default(),
                    name: gone.name.clone(),
                    ..Default::default()
                }),
                Err(error) => tracing::debug!(error = %chain(&error), "a reconcile did not end"),
                Ok(_) => {}
            }
            std::future::ready(())
        })
        .await;
    Ok(())
}
