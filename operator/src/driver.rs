//! The controller: what starts a reconcile, its eight steps in order, and when the next one comes.
//!
//! A reconcile starts when the Registry, one of its children, or a Secret, ConfigMap or claim that it names changes;
//! when a certificate has to be renewed; and every ten minutes, in case a watch lost something. Two reconciles of one
//! Registry never run at the same time. Must not: decide anything that a step decides.
//! Start at [`reconcile`]; [`run`] connects it to the watches.

mod requeue;
mod watch;

use std::sync::Arc;

use futures_util::StreamExt as _;
use kube::core::DeserializeGuard;
use kube::runtime::Controller;
use kube::runtime::controller::{Action, Config};
use kube::runtime::events::{Recorder, Reporter};
use kube::runtime::watcher;
use kube::{Client, Resource as _};
use operator_api::Registry;

use crate::error::{Error, Problems};
use crate::fault::{Fault, chain};
use crate::health::Health;
use crate::issue::StoredSecrets;
use crate::probe::FailingProbes;
use crate::report::Outcome;
use crate::settings::Settings;
use crate::subject::Subject;
use crate::{apply, build, issue, observe, probe, read, report, validate};
use requeue::Retries;

/// Reconciles that run at the same time, over all Registries.
const CONCURRENCY: u16 = 8;
/// Events within this time start one reconcile.
const DEBOUNCE: std::time::Duration = std::time::Duration::from_millis(100);

struct Context {
    client: Client,
    settings: Settings,
    recorder: Recorder,
    retries: Retries,
    failing_probes: FailingProbes,
}

/// A reconcile that is retried.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// A step before the report failed.
    #[error(transparent)]
    Reconcile(#[from] Error),
    /// The status could not be written.
    #[error("cannot write the status")]
    Report(#[from] report::Error),
}

impl Failure {
    fn fault(&self) -> Fault {
        match self {
            Self::Reconcile(error) => error.fault(),
            Self::Report(error) => error.fault(),
        }
    }
}

/// Brings one Registry up to date.
async fn reconcile(
    registry: Arc<DeserializeGuard<Registry>>,
    context: Arc<Context>,
) -> Result<Action, Failure> {
    let Context {
        client,
        recorder,
        retries,
        failing_probes,
        ..
    } = &*context;
    let subject = Subject::of(registry.meta());
    let Some(registry) = read::registry(client, &subject).await.map_err(Error::from)? else {
        retries.succeeded(&subject);
        failing_probes.succeeded(&subject);
        return Ok(Action::await_change());
    };
    let subject = Subject::of(&registry.metadata);

    // 1. Read: the objects that exist under the children's names, and those that the Registry names.
    let facts = read::facts(client, &registry, &subject)
        .await
        .map_err(Error::from)?;
    // 2. Validate (pure): the exact wishes of the spec, and everything that is wrong.
    let (validated, invalid) = validate::registry(&registry, &subject, &facts, &context.settings);
    let mut problems = Problems::default();
    problems.extend(invalid);
    // 3. Issue (pure, but for random numbers): secrets and certificates that are missing or due.
    let stored = StoredSecrets::of(&facts.existing);
    let issued = problems.collect(issue::secrets(&validated.issue, stored, facts.now));
    // 4. Build (pure): the objects of all parts that are right.
    let desired = build::children(&validated, issued.as_ref());
    // 5. Apply: writes the differences.
    let applied = apply::children(client, &subject, desired, &facts).await;
    problems.extend(applied.problems);
    // 6. Observe (pure): reads the state of the registry off the live objects.
    let findings = observe::findings(&applied.children, &facts);
    // 7. Probe: asks the registry itself, until it is reported as Ready.
    let findings = probe::findings(
        failing_probes,
        &registry,
        &validated,
        &applied.children,
        &facts,
        findings,
    )
    .await;
    // 8. Report: the status and an event. What passes by itself is only reported when it lasts.
    if problems.all_transient()
        && !retries.persistent(&subject)
        && let Some(error) = problems.take_transient()
    {
        return Err(error.into());
    }
    let outcome = Outcome::of(&validated, issued.as_ref(), &findings, &problems);
    let status = report::outcome(client, recorder, &registry, &subject, &outcome, facts.now).await?;

    let next_renewal = issued.as_ref().and_then(|issued| issued.next_renewal);
    let next = requeue::next(&outcome, next_renewal, &status, facts.now);
    if let Some(error) = problems.take_transient() {
        return Err(error.into());
    }
    retries.succeeded(&subject);
    Ok(next)
}

/// Decides when a reconcile that failed is retried.
fn retry(registry: Arc<DeserializeGuard<Registry>>, failure: &Failure, context: Arc<Context>) -> Action {
    let subject = Subject::of(registry.meta());
    let fault = failure.fault();
    let registry = format!("{}/{}", subject.namespace, subject.name);
    if fault == Fault::Caller {
        tracing::warn!(registry, error = %chain(failure), "a reconcile failed and is retried when the Registry changes");
        return Action::await_change();
    }
    let delay = context.retries.next(&subject, fault);
    tracing::warn!(registry, error = %chain(failure), retry_in_seconds = delay.as_secs_f32(), "a reconcile failed");
    Action::requeue(delay)
}

/// Runs the controller until `stop` is done.
///
/// # Errors
/// The definition is not installed, or the API server cannot be reached at all.
pub async fn run(
    client: Client,
    settings: Settings,
    health: Health,
    stop: impl Future<Output = ()> + Send + Sync + 'static,
) -> anyhow::Result<()> {
    let scope = watch::Scope::new(&client, settings.namespace.as_deref());
    // One stored Registry that cannot be parsed must not hold up the others.
    let registries = scope.api::<DeserializeGuard<Registry>>();
    watch::definition_is_installed(&registries).await?;
    // Not `Store::wait_until_ready`: it wakes only the last of two tasks that wait, and the controller is one of them.
    health.set_ready();
    let reporter = Reporter {
        controller: apply::FIELD_MANAGER.to_owned(),
        instance: None,
    };
    let context = Arc::new(Context {
        recorder: Recorder::new(client.clone(), reporter),
        client,
        settings,
        retries: Retries::default(),
        failing_probes: FailingProbes::default(),
    });
    let controller = Controller::new(registries, watcher::Config::default())
        .with_config(Config::default().debounce(DEBOUNCE).concurrency(CONCURRENCY));
    watch::children(controller, &scope)
        .graceful_shutdown_on(stop)
        .run(reconcile, retry, context)
        .for_each(|result| {
            if let Err(error) = result {
                tracing::debug!(error = %chain(&error), "a reconcile did not end");
            }
            async {}
        })
        .await;
    Ok(())
}
