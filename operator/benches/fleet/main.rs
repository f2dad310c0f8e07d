//! Many Registries at once: time against a bare loop of the same writes, memory, requests, restart and hand-over.
//!
//! `cargo bench -p operator --bench fleet -- 1000 5000` measures at 0, 1,000 and 5,000 Registries; the first number is
//! the one that everything else is measured with. It prints a table for docs/operator-benchmarks.md. The API server and
//! etcd are real and of its own; no Pod runs. Start at [`measure`].

mod bare;
mod program;

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use e2e::apiserver::ApiServer;
use e2e::audit::{Marker, Request};
use e2e::wait::{Seen, wait_for};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::core::v1::{Namespace, Service};
use k8s_openapi::api::networking::v1::Ingress;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DeleteParams, ListParams, ObjectMeta, PostParams};
use kube::core::PartialObjectMeta;
use kube::runtime::wait::{await_condition, conditions::is_crd_established};
use kube::{Api, Client};
use operator_api::Registry;
use serde_json::json;

use program::{Program, USER};

/// The Registries of the operator.
const FLEET: &str = "fleet";
/// The objects of the bare loop.
const BARE: &str = "bare";
/// Requests that the bench and the loop have under way at a time, as many as the operator has workers.
const AT_ONCE: usize = 8;
/// For the longest step on a slow machine.
const DEADLINE: Duration = Duration::from_secs(3600);
/// Without a request for so long, but for the Lease, the operator is idle.
const IDLE: Duration = Duration::from_secs(5);

#[tokio::main]
async fn main() -> Result<()> {
    let mut numbers = std::env::args()
        .skip(1)
        .filter_map(|text| text.parse::<usize>().ok());
    let registries = numbers.next().unwrap_or(1000);
    measure(registries, numbers.next()).await
}

/// One row of the table.
fn row(what: &str, figure: &str) {
    println!("| {what} | {figure} |");
}

/// A running API server with the definition and both namespaces.
struct Bench {
    server: ApiServer,
    client: Client,
}

async fn measure(registries: usize, most: Option<usize>) -> Result<()> {
    let bench = Bench::start().await?;
    println!("| Measured | Figure |\n|---|---|");
    let first = Program::start(&bench.server, "first")?;
    bench.idle(&Marker::now(&bench.server.audit_log())?).await?;
    row("Resident memory without a Registry", &mib(first.memory()?));

    // One Registry shows which objects the loop has to write.
    bench.create("r0").await?;
    bench.all_there(1).await?;
    bench.idle(&Marker::now(&bench.server.audit_log())?).await?;
    let template = bare::Template::of(&bench.client, FLEET).await?;
    let start = Instant::now();
    let names = (1..registries).map(|number| format!("r{number}"));
    stream::iter(names.map(anyhow::Ok))
        .try_for_each_concurrent(AT_ONCE, async |name| {
            template.write(&bench.client, BARE, &name).await
        })
        .await?;
    let bare = start.elapsed();
    row(
        &format!("{registries} Registries, bare loop of the same writes"),
        &seconds(bare),
    );

    let before = Marker::now(&bench.server.audit_log())?;
    let start = Instant::now();
    let (created, there) = tokio::join!(bench.create_range(1..registries), bench.all_there(registries));
    created.and(there)?;
    let ours = start.elapsed();
    row(
        &format!("{registries} Registries, from apply to all children"),
        &seconds(ours),
    );
    row(
        "Ratio",
        &format!("{:.2}", ours.as_secs_f64() / bare.as_secs_f64()),
    );
    bench.idle(&before).await?;
    let requests = bench.requests(&before)?;
    let writes = requests.iter().filter(|request| request.is_write()).count();
    let per_registry = |count: usize| format!("{:.1}", count as f64 / (registries - 1) as f64);
    row(
        "Requests per Registry until nothing is left to do",
        &per_registry(requests.len()),
    );
    row("Writes among them", &per_registry(writes));
    row(
        &format!("Resident memory with {registries}"),
        &mib(first.memory()?),
    );

    restart_and_hand_over(&bench, first, registries).await?;
    if let Some(most) = most {
        let program = Program::start(&bench.server, "third")?;
        let before = Marker::now(&bench.server.audit_log())?;
        let (created, there) = tokio::join!(bench.create_range(registries..most), bench.all_there(most));
        created.and(there)?;
        bench.idle(&before).await?;
        row(&format!("Resident memory with {most}"), &mib(program.memory()?));
    }
    Ok(())
}

async fn restart_and_hand_over(bench: &Bench, first: Program, registries: usize) -> Result<()> {
    first.terminate().await?;
    let before = Marker::now(&bench.server.audit_log())?;
    let start = Instant::now();
    let again = Program::start(&bench.server, "again")?;
    bench.leader("again").await?;
    row(
        &format!("Restart with {registries}: until leader"),
        &seconds(start.elapsed()),
    );
    bench.idle(&before).await?;
    row(
        "Restart: until idle",
        &seconds(start.elapsed().saturating_sub(IDLE)),
    );
    let requests = bench.requests(&before)?;
    let writes = requests.iter().filter(|request| request.is_write()).count();
    row("Restart: requests", &requests.len().to_string());
    row("Restart: writes", &writes.to_string());
    row("Restart: resident memory", &mib(again.memory()?));

    let other = Program::start(&bench.server, "other")?;
    bench.idle(&Marker::now(&bench.server.audit_log())?).await?;
    let services = Api::<Service>::namespaced(bench.client.clone(), FLEET);
    let start = Instant::now();
    let (ended, led) = tokio::join!(again.terminate(), bench.leader("other"));
    ended.and(led)?;
    row(
        "Hand-over on SIGTERM: until the other is leader",
        &seconds(start.elapsed()),
    );
    services.delete("r0", &DeleteParams::default()).await?;
    wait_for("the Service to be back", DEADLINE, async || {
        Ok(match services.get_opt("r0").await? {
            Some(_) => Seen::Done(()),
            None => Seen::NotYet("it is not there".to_owned()),
        })
    })
    .await?;
    row(
        "Hand-over: until a deleted Service is back",
        &seconds(start.elapsed()),
    );
    other.terminate().await
}

impl Bench {
    async fn start() -> Result<Self> {
        let server = ApiServer::start().await?;
        let client = server.client();
        let definitions = Api::<CustomResourceDefinition>::all(client.clone());
        definitions
            .create(&PostParams::default(), &operator_api::crd())
            .await?;
        await_condition(definitions, "registries.berth.dev", is_crd_established()).await?;
        for name in [FLEET, BARE] {
            let namespace = Namespace {
                metadata: ObjectMeta {
                    name: Some(name.to_owned()),
                    ..Default::default()
                },
                ..Default::default()
            };
            let namespaces = Api::<Namespace>::all(client.clone());
            namespaces.create(&PostParams::default(), &namespace).await?;
        }
        Ok(Self { server, client })
    }

    async fn create(&self, name: &str) -> Result<()> {
        let api = Api::<Registry>::namespaced(self.client.clone(), FLEET);
        api.create(&PostParams::default(), &registry(name)?).await?;
        Ok(())
    }

    async fn create_range(&self, numbers: std::ops::Range<usize>) -> Result<()> {
        stream::iter(numbers)
            .map(async |number| self.create(&format!("r{number}")).await)
            .buffer_unordered(AT_ONCE)
            .try_collect()
            .await
    }

    /// Waits until so many Ingresses are there, which the operator makes last.
    async fn all_there(&self, wanted: usize) -> Result<()> {
        let api = Api::<PartialObjectMeta<Ingress>>::namespaced(self.client.clone(), FLEET);
        wait_for("all children", DEADLINE, async || {
            let page = api.list_metadata(&ListParams::default().limit(1)).await?;
            let rest = page.metadata.remaining_item_count.unwrap_or(0);
            let count = page.items.len() + usize::try_from(rest)?;
            Ok(if count >= wanted {
                Seen::Done(())
            } else {
                Seen::NotYet(format!("{count} of {wanted}"))
            })
        })
        .await
    }

    /// Waits until the operator has sent no request for a while.
    async fn idle(&self, since: &Marker) -> Result<()> {
        let mut last = (usize::MAX, Instant::now());
        wait_for("the operator to be idle", DEADLINE, async || {
            let count = self.requests(since)?.len();
            if count != last.0 {
                last = (count, Instant::now());
            }
            Ok(if last.1.elapsed() > IDLE {
                Seen::Done(())
            } else {
                Seen::NotYet(format!("{count} requests"))
            })
        })
        .await
    }

    /// The requests of the operator that have ended, without those for the Lease.
    fn requests(&self, since: &Marker) -> Result<Vec<Request>> {
        let mut requests = since.requests()?;
        requests.retain(|request| {
            let by_operator = request
                .impersonated_user
                .as_ref()
                .is_some_and(|user| user.username == USER);
            by_operator && !request.is_about_lease() && request.verb != "watch"
        });
        Ok(requests)
    }

    async fn leader(&self, pod: &str) -> Result<()> {
        use k8s_openapi::api::coordination::v1::Lease;
        let leases = Api::<Lease>::namespaced(self.client.clone(), FLEET);
        wait_for(&format!("`{pod}` to be leader"), DEADLINE, async || {
            let lease = leases.get_opt("berth-operator").await?;
            let holder = lease
                .and_then(|lease| lease.spec?.holder_identity)
                .unwrap_or_default();
            Ok(if holder.starts_with(pod) {
                Seen::Done(())
            } else {
                Seen::NotYet(format!("`{holder}` is"))
            })
        })
        .await
    }
}

/// A Registry with every kind of child.
pub(crate) fn registry(name: &str) -> Result<Registry> {
    serde_json::from_value(json!({
        "apiVersion": "berth.dev/v1alpha1",
        "kind": "Registry",
        "metadata": { "name": name },
        "spec": {
            "storage": { "persistentVolumeClaim": { "template": { "size": "5Gi" } } },
            "auth": { "anonymous": { "access": "PullPush" } },
            "ingress": { "hosts": [format!("{name}.example")] },
        },
    }))
    .context("a Registry as the API server takes it")
}

fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / 1024.0 / 1024.0)
}

fn seconds(time: Duration) -> String {
    format!("{:.2} s", time.as_secs_f64())
}
