//! `operator run`: its arguments, and the controller with everything around it.
//!
//! Start at [`serve`].

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::{ArgAction, Args};
use futures_util::future::try_join_all;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Request, StatusCode};
use hyper::body::Incoming;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use tokio::sync::{oneshot, watch};
use tower::Layer as _;

use super::values::{ListenAddress, Namespaces, namespace_name, object_name};
use crate::cache::Cache;
use crate::client::{DEFAULT_LOG, for_the_operator, with_connection_limits};
use crate::health::Health;
use crate::leader::{self, Election, Fence};
use crate::metrics::{self, Metrics};
use crate::settings::{MAX_CONCURRENT_UPGRADES, Settings, VERSION};
use crate::telemetry::Telemetry;
use crate::{debug, driver, http_server, log};

/// Arguments of `operator run`.
#[derive(Debug, Args)]
pub(super) struct Run {
    /// The server's image for Registries that name none.
    #[arg(long, env = "BERTH_REGISTRY_IMAGE", default_value_t = Settings::default().registry_image)]
    registry_image: String,
    /// Registries whose Pods may be replaced at the same time because the operator has another version: in the cluster, or in
    /// each namespace that is named.
    #[arg(long, env = "BERTH_MAX_CONCURRENT_UPGRADES", default_value_t = MAX_CONCURRENT_UPGRADES)]
    max_concurrent_upgrades: usize,
    /// The namespaces to watch, separated by commas, for which RoleBindings are enough; all namespaces when absent.
    /// BERTH_NAMESPACE is read as well.
    #[arg(long = "namespace", env = "BERTH_NAMESPACES", value_name = "NAMES")]
    namespaces: Option<Namespaces>,
    /// Address at which the operator answers the kubelet's probes; `[::]` takes IPv4 too.
    #[arg(long, env = "BERTH_HEALTH_ADDRESS", default_value = "[::]:8081")]
    health_address: SocketAddr,
    /// Address of the metrics, at `/metrics`; `off` for none.
    #[arg(long, env = "BERTH_METRICS_ADDRESS", default_value = "[::]:8080")]
    metrics_address: ListenAddress,
    /// Loopback address of `/debug/reconciles` and `/debug/log`; `off` for none.
    #[arg(long, env = "BERTH_DEBUG_ADDRESS", default_value = "127.0.0.1:8082")]
    debug_address: ListenAddress,
    /// A kubeconfig; the Pod's service account when absent. KUBECONFIG and `~/.kube/config` are not read.
    #[arg(long)]
    kubeconfig: Option<PathBuf>,
    /// Log filter, such as `debug` or `operator=debug,kube=info`.
    #[arg(long, env = "BERTH_LOG", default_value = DEFAULT_LOG)]
    log: String,
    /// Form of the log's lines.
    #[arg(long, env = "BERTH_LOG_FORMAT", value_enum, default_value_t = log::Format::Json)]
    log_format: log::Format,
    #[command(flatten)]
    election: ElectionArguments,
}

/// Which replica works.
#[derive(Debug, Args)]
struct ElectionArguments {
    /// Work only while this process holds a Lease, so that several replicas can run. `--leader-elect=false` is for a
    /// single process that nothing else runs beside.
    #[arg(
        long,
        env = "BERTH_LEADER_ELECT",
        default_value_t = true,
        action = ArgAction::Set,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true"
    )]
    leader_elect: bool,
    /// Name of the Lease.
    #[arg(long, env = "BERTH_LEADER_ELECT_RESOURCE_NAME", default_value = "berth-operator", value_parser = object_name)]
    leader_elect_resource_name: String,
    /// Namespace of the Lease; the Pod's, or that of the kubeconfig's context, when absent.
    #[arg(long, env = "BERTH_LEADER_ELECT_RESOURCE_NAMESPACE", value_parser = namespace_name)]
    leader_elect_resource_namespace: Option<String>,
}

impl ElectionArguments {
    /// The election, `None` when there is to be none.
    fn election(self, config: &Config) -> Option<Election> {
        let namespace = self.leader_elect_resource_namespace;
        self.leader_elect.then(|| Election {
            namespace: namespace.unwrap_or_else(|| config.default_namespace.clone()),
            name: self.leader_elect_resource_name,
            identity: identity(),
            timing: leader::Timing::default(),
        })
    }
}

/// A name for this process in the Lease. The Pod's name says where it runs; a restarted container has the same one, so
/// random digits are added.
fn identity() -> String {
    let pod = std::env::var("POD_NAME").or_else(|_| std::env::var("HOSTNAME"));
    format!(
        "{}_{:016x}",
        pod.as_deref().unwrap_or("operator"),
        rand::random::<u64>()
    )
}

/// Runs the controller until SIGTERM or SIGINT.
pub(super) async fn serve(arguments: Run) -> anyhow::Result<()> {
    let filter = log::start(arguments.log_format, &arguments.log)?;
    let config = config(arguments.kubeconfig).await?;
    let election = arguments.election.election(&config);
    let fence = election
        .as_ref()
        .map_or_else(Fence::always_open, |_| Fence::closed());
    let telemetry = Telemetry::default();
    let client = client(config, election.as_ref(), &fence, &telemetry.metrics)?;
    if let Some(address) = arguments.metrics_address.0 {
        serve_metrics(address, telemetry.metrics.clone(), fence.clone())?;
    }
    if let Some(address) = arguments.debug_address.0 {
        debug::serve(address, telemetry.recent.clone(), filter)?;
    }
    let health = Health::default();
    health.serve(arguments.health_address)?;
    let namespaces = Namespaces::or_from_environment(arguments.namespaces)?;
    let settings = Settings {
        registry_image: arguments.registry_image,
        namespace: None,
        max_concurrent_upgrades: arguments.max_concurrent_upgrades,
    };
    tracing::info!(
        version = VERSION,
        registry_image = settings.registry_image,
        namespaces = ?namespaces.0,
        "starting"
    );
    let stop = stop_signal()?;
    let Some(election) = election else {
        return controllers(client, settings, namespaces, health, telemetry, stop).await;
    };
    let waiting = health.clone();
    let reconcile = |stop: oneshot::Receiver<()>| {
        let stopped = async {
            let _ = stop.await;
        };
        controllers(
            client.clone(),
            settings.clone(),
            namespaces.clone(),
            health.clone(),
            telemetry.clone(),
            stopped,
        )
    };
    // A replica that waits is ready: a rolling update of the operator goes on after it.
    let observed = move || waiting.set_ready();
    // The requests about the Lease show that the API server answers a replica that waits.
    let electing = for_the_operator(&client, &health, &Cache::default());
    leader::run(electing, election, fence, observed, stop, reconcile).await
}

async fn config(kubeconfig: Option<PathBuf>) -> anyhow::Result<Config> {
    let Some(path) = kubeconfig else {
        return Config::incluster().context("not in a Pod; name a kubeconfig with --kubeconfig");
    };
    let kubeconfig = Kubeconfig::read_from(&path)
        .with_context(|| format!("cannot read the kubeconfig `{}`", path.display()))?;
    Ok(Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?)
}

/// A client whose requests are counted, behind the fence if there is an election.
fn client(
    config: Config,
    election: Option<&Election>,
    fence: &Fence,
    metrics: &Metrics,
) -> anyhow::Result<Client> {
    let client = Client::try_from(with_connection_limits(config))
        .context("cannot make a client for the API server")?;
    let namespace = client.default_namespace().to_owned();
    let send = tower::service_fn(move |request| {
        let client = client.clone();
        async move { client.send(request).await }
    });
    let count = metrics.request_layer();
    Ok(match election {
        Some(election) => Client::new(count.layer(fence.layer(election.path()).layer(send)), namespace),
        None => Client::new(count.layer(send), namespace),
    })
}

/// Answers scrapes in the background.
fn serve_metrics(address: SocketAddr, metrics: Metrics, fence: Fence) -> anyhow::Result<()> {
    let answer = move |request: Request<Incoming>| {
        let is_metrics = request.uri().path() == "/metrics";
        let text = is_metrics.then(|| metrics.text(fence.is_open()));
        async move {
            let Some(text) = text else {
                return http_server::answer(StatusCode::NOT_FOUND, "only /metrics is here");
            };
            let mut answer = http_server::answer(StatusCode::OK, text);
            let type_ = HeaderValue::from_static(metrics::CONTENT_TYPE);
            answer.headers_mut().insert(CONTENT_TYPE, type_);
            answer
        }
    };
    http_server::serve(address, "metrics", answer).map(drop)
}

/// Runs one controller for all namespaces, or one for each that is named.
async fn controllers(
    client: Client,
    settings: Settings,
    namespaces: Namespaces,
    health: Health,
    telemetry: Telemetry,
    stop: impl Future<Output = ()> + Send + Sync + 'static,
) -> anyhow::Result<()> {
    if namespaces.0.is_empty() {
        return driver::run(client, settings, health, telemetry, stop).await;
    }
    let (stopping, stopped) = watch::channel(());
    let running = namespaces.0.into_iter().map(|namespace| {
        let settings = Settings {
            namespace: Some(namespace),
            ..settings.clone()
        };
        driver::run(
            client.clone(),
            settings,
            health.clone(),
            telemetry.clone(),
            wait_for_close(stopped.clone()),
        )
    });
    let forward = async {
        stop.await;
        drop(stopping);
        Ok(())
    };
    tokio::try_join!(try_join_all(running), forward).map(drop)
}

/// Ends at the first SIGTERM or SIGINT.
///
/// # Errors
/// The signals cannot be watched.
fn stop_signal() -> anyhow::Result<impl Future<Output = ()> + Send + Sync + 'static> {
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
    // No value is ever sent: an error means that the sender was dropped.
    while receiver.changed().await.is_ok() {}
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use clap::Parser as _;

    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Program {
        #[command(flatten)]
        run: Run,
    }

    #[track_caller]
    fn run(arguments: &[&str]) -> Result<Run, String> {
        let all = ["operator"].iter().chain(arguments);
        let parsed = Program::try_parse_from(all).map_err(|error| error.to_string())?;
        Ok(parsed.run)
    }

    #[test]
    fn namespaces_are_a_list_and_nothing_is_all_of_them() {
        let names = |text: &str| run(&["--namespace", text]).map(|run| run.namespaces.unwrap().0);
        let set = |names: &[&str]| {
            names
                .iter()
                .map(|name| (*name).to_owned())
                .collect::<BTreeSet<_>>()
        };
        assert_eq!(names("quay").unwrap(), set(&["quay"]));
        assert_eq!(names("quay, pier,quay,").unwrap(), set(&["pier", "quay"]));
        assert_eq!(names("").unwrap(), set(&[]));
        for wrong in ["Quay", "a.b", "../secrets", "quay?x=1", "a-", "a b"] {
            let error = names(wrong).unwrap_err();
            assert!(error.contains(&format!("`{wrong}` is no namespace")), "{error}");
        }
    }

    #[test]
    fn an_election_is_held_unless_it_is_switched_off() {
        let elects = |arguments: &[&str]| run(arguments).unwrap().election.leader_elect;
        assert!(elects(&[]));
        assert!(elects(&["--leader-elect"]));
        assert!(elects(&["--leader-elect=true"]));
        assert!(!elects(&["--leader-elect=false"]));
        let error = run(&["--leader-elect-resource-name", "a/b"]).unwrap_err();
        assert!(error.contains("`a/b` is no name"), "{error}");
    }

    #[test]
    fn two_processes_never_have_the_same_name_in_the_lease() {
        assert_ne!(identity(), identity());
    }
}
