//! The steps in order, what starts a pass, and when the next one comes.
//!
//! A pass starts when the Registry, one of its objects, or a Secret, ConfigMap or claim it names changes; when a
//! certificate is due; and every ten minutes in case a watch lost something. Two passes for one Registry never run at
//! once. Must not: decide anything the steps decide. Start at [`pass`]; [`run`] wires it to the watches.

mod requeue;
mod watch;

use std::sync::Arc;
use std::time::Instant;

use futures_util::StreamExt as _;
use jiff::Timestamp;
use kube::runtime::Controller;
use kube::runtime::controller::{Action, Config};
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::runtime::reflector::ObjectRef;
use kube::runtime::watcher;
use kube::{Client, Resource as _};
use operator_api::{Registry, RegistryStatus};

use crate::apply::Writer;
use crate::error::{Error, chain};
use crate::health::Health;
use crate::names::Names;
use crate::observe::{Findings, look};
use crate::probe::ProbeFailure;
use crate::read::Facts;
use crate::report::{Outcome, reason};
use crate::{Settings, apply, build, issue, observe, probe, read, report, validate};
use requeue::Retries;

/// Passes at the same time, over all Registries.
const CONCURRENCY: u16 = 8;
/// Events that come together start one pass.
const DEBOUNCE: std::time::Duration = std::time::Duration::from_millis(100);

struct Context {
    client: Client,
    settings: Settings,
    retries: Retries,
    recorder: Recorder,
}

/// Runs the controller until a signal to stop, or until `stop` is done.
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
    let registries = scope.api::<Registry>();
    watch::definition_is_installed(&registries).await?;
    // Not `Store::wait_until_ready`: of two tasks that wait there only the last is woken, and the controller is one.
    health.set_ready();
    let reporter = Reporter {
        controller: apply::FIELD_MANAGER.to_owned(),
        instance: None,
    };
    let context = Arc::new(Context {
        recorder: Recorder::new(client.clone(), reporter),
        client: client.clone(),
        settings,
        retries: Retries::default(),
    });
    let controller = Controller::new(registries, watcher::Config::default())
        .with_config(Config::default().debounce(DEBOUNCE).concurrency(CONCURRENCY));
    watch::children(controller, &scope)
        .graceful_shutdown_on(stop)
        .run(reconcile, after_failure, context)
        .for_each(|result| {
            if let Err(error) = result {
                tracing::debug!(error = %chain(&error), "a pass did not end");
            }
            async {}
        })
        .await;
    Ok(())
}

async fn reconcile(registry: Arc<Registry>, context: Arc<Context>) -> Result<Action, Error> {
    let (Some(name), Some(namespace)) = (&registry.metadata.name, &registry.metadata.namespace) else {
        return Ok(Action::await_change());
    };
    // The watch may lag behind our own last write; conditions computed from an old status would be written again.
    let registry = read::registry(&context.client, namespace, name).await?;
    let Some(registry) = registry.filter(|registry| registry.metadata.deletion_timestamp.is_none()) else {
        context.retries.forget_all(namespace, name);
        return Ok(Action::await_change());
    };
    let action = pass(&context, &registry, namespace, name).await?;
    context.retries.forget(namespace, name);
    Ok(action)
}

/// One pass over one Registry.
async fn pass(context: &Context, registry: &Registry, namespace: &str, name: &str) -> Result<Action, Error> {
    let names = Names::of(name);
    let facts = read::facts(&context.client, registry, namespace, &names).await?;
    if registry.spec.paused {
        let findings = earlier(&facts);
        tell(
            context,
            registry,
            namespace,
            &Outcome::Paused { findings: &findings },
            facts.now,
        )
        .await?;
        return Ok(Action::await_change());
    }
    match bring_up(context, registry, namespace, &facts).await {
        Ok((validated, issued, findings)) => {
            let outcome = Outcome::Applied {
                registry: &validated,
                issued: &issued,
                findings: &findings,
            };
            tell(context, registry, namespace, &outcome, facts.now).await?;
            let renewal = issue::next_renewal(&validated.plan, &issued);
            Ok(requeue::after_success(&findings, renewal, facts.now))
        }
        Err(error) => {
            // A conflict or a slow API server passes; it is reported when it does not.
            if matches!(error.fault(), crate::Fault::Transient { .. })
                && !context.retries.persistent(namespace, name)
            {
                return Err(error);
            }
            let findings = earlier(&facts);
            let outcome = Outcome::Failed {
                error: &error,
                findings: &findings,
            };
            let status = tell(context, registry, namespace, &outcome, facts.now).await?;
            match requeue::after_report(&error, &status) {
                Some(action) => Ok(action),
                None => Err(error),
            }
        }
    }
}

/// Steps two to five.
async fn bring_up(
    context: &Context,
    registry: &Registry,
    namespace: &str,
    facts: &Facts,
) -> Result<(validate::ValidatedRegistry, issue::Issued, Findings), Error> {
    let validated = validate::registry(registry, namespace, facts, &context.settings)?; // pure
    let issued = issue::secrets(&validated.plan, &facts.found, facts.now)?; // pure but for its random numbers
    let children = build::children(&validated, &issued); // pure
    let writer = Writer {
        client: &context.client,
        namespace,
        owner: &validated.uid,
    };
    let children = apply::children(&writer, children, &facts.found).await?; // writes
    let mut findings = observe::findings(&children, facts); // pure
    if findings.up() && !said_ready(registry) {
        (findings.probe_failure, findings.probe_failing_for_long) =
            probe_failure(context, registry, namespace, &validated, &children).await;
    } else {
        context.retries.probe_succeeded(namespace, &validated.name);
        if !findings.up() && findings.pod_problem.is_none() {
            findings.pod_problem = probe::why_unready(&facts.pods).await;
        }
    }
    Ok((validated, issued, findings))
}

/// Whether Ready stands in the status for what is asked for now.
fn said_ready(registry: &Registry) -> bool {
    let known = registry.status.as_ref().and_then(ready);
    known.is_some_and(|c| c.status == "True" && c.observed_generation == registry.metadata.generation)
}

/// What keeps clients from the registry although Kubernetes calls it ready, and whether it has for long.
///
/// A place that cannot be reached from here at all (a network policy, an operator outside the cluster) must not keep
/// Ready away for ever, so for that patience ends; a proxy that answers something else is seen by clients, too.
async fn probe_failure(
    context: &Context,
    registry: &Registry,
    namespace: &str,
    validated: &validate::ValidatedRegistry,
    children: &build::Children<build::Live>,
) -> (Option<ProbeFailure>, bool) {
    let (retries, name, generation) = (&context.retries, &validated.name, registry.metadata.generation);
    let Some(failure) = probe::first_failure(validated, children).await else {
        retries.probe_succeeded(namespace, name);
        return (None, false);
    };
    let for_long = retries.out_of_patience(namespace, name, generation, Instant::now());
    match failure {
        ProbeFailure::Unreachable(_) if for_long => (None, for_long),
        failure => (Some(failure), for_long),
    }
}

/// What is to be seen of earlier passes.
fn earlier(facts: &Facts) -> Findings {
    let claim = facts.found.claim.as_ref().or(facts.named_claim.as_ref());
    look(
        facts.found.deployment.as_ref(),
        claim,
        &facts.endpoints,
        &facts.pods,
    )
}

/// Last step: the status, and one event when its reason is a new one.
async fn tell(
    context: &Context,
    registry: &Registry,
    namespace: &str,
    outcome: &Outcome<'_>,
    now: Timestamp,
) -> Result<RegistryStatus, Error> {
    let status = report::status(registry, outcome, now);
    let written = report::write(&context.client, registry, namespace, &status).await?;
    let (Some(ready), true) = (ready(&status), written) else {
        return Ok(status);
    };
    let known = registry.status.as_ref().and_then(|known| self::ready(known));
    if known.is_some_and(|known| known.reason == ready.reason) {
        return Ok(status);
    }
    let served = known.is_some_and(|known| known.status == "True");
    tracing::info!(
        namespace,
        registry = registry.metadata.name,
        ready = ready.status,
        reason = ready.reason,
        "{}",
        ready.message
    );
    let expected = ready.status == "True"
        || [reason::ROLLING_OUT, reason::VOLUME_PENDING, reason::NOT_ANSWERING]
            .contains(&ready.reason.as_str())
        // Before the first Pod is ready none is; afterwards it is news.
        || (ready.reason == reason::NO_READY_REPLICA && !served);
    let event = Event {
        type_: if expected {
            EventType::Normal
        } else {
            EventType::Warning
        },
        reason: ready.reason.clone(),
        // The API's limit is 1 KiB.
        note: Some(ready.message.chars().take(1000).collect()),
        action: "Reconcile".to_owned(),
        secondary: None,
    };
    // The status says the same: an event that cannot be written must not fail a pass.
    if let Err(error) = context.recorder.publish(&event, &registry.object_ref(&())).await {
        tracing::warn!(error = %chain(&error), "cannot publish an event");
    }
    Ok(status)
}

fn ready(status: &RegistryStatus) -> Option<&k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition> {
    status
        .conditions
        .iter()
        .find(|condition| condition.type_ == reason::READY)
}

/// A pass that failed: the next one comes later each time.
fn after_failure(registry: Arc<Registry>, error: &Error, context: Arc<Context>) -> Action {
    let registry = ObjectRef::from_obj(&*registry);
    let namespace = registry.namespace.clone().unwrap_or_default();
    let pause = context.retries.next(&namespace, &registry.name, error.fault());
    tracing::warn!(%registry, error = %chain(error), retry_in_seconds = pause.as_secs_f32(), "a pass failed");
    Action::requeue(pause)
}

/// Ends at the first of SIGTERM and SIGINT.
///
/// # Errors
/// The signals cannot be watched for.
pub fn stop_signal() -> anyhow::Result<impl Future<Output = ()> + Send + Sync + 'static> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (sender, receiver) = tokio::sync::watch::channel(());
    tokio::spawn(async move {
        tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
        drop(sender);
    });
    Ok(wait_for_close(receiver))
}

async fn wait_for_close(mut receiver: tokio::sync::watch::Receiver<()>) {
    // Nothing is ever sent: an error means that the sender is gone.
    while receiver.changed().await.is_ok() {}
}
