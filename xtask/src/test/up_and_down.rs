//! `cargo xtask up` and `down` themselves, run as a person runs them, on a cluster of the test's own.
//!
//! Guarantees: the cluster is taken down whatever happened. Start at [`up_twice_then_down`].

use anyhow::{Context as _, Result, ensure};
use e2e::cache::Cache;
use e2e::demo::HOSTING;
use e2e::exec::Exec;
use e2e::footprint::Snapshot;
use e2e::local::{DOMAIN, Local, Programs};
use e2e::output::{Output, Step};
use e2e::provider::{OPERATOR_IMAGE, REGISTRY_IMAGE};

/// The cluster of this test; people have theirs, the suite has another.
const NAME: &str = "berth-twice";

/// The resources compared for changes: everything that `up` applies, and everything made from it.
const RESOURCES: &str = "registries,secrets,configmaps,persistentvolumeclaims,serviceaccounts,deployments,services,ingresses,pods";

/// `up` works, a second `up` changes nothing, `down` leaves no trace on the machine.
pub(super) async fn up_twice_then_down(out: &Output) -> Result<()> {
    let cache = Cache::open()?;
    // An interrupted run may have left a cluster, which would be in the snapshot.
    Local::stop(&cache, NAME).await?;
    let before = snapshot(&cache).await?;
    let result = up_twice(out).await;
    let down = xtask(&["down", "--name", NAME])?.output().await;
    // Whatever `down` did: nothing of it may outlive the test.
    Local::stop(&cache, NAME).await?;
    result?;
    let down = down?;
    ensure!(
        down.status.success(),
        "`down` ended with {}:\n{}",
        down.status,
        down.all()
    );
    ensure!(
        down.all().contains("containerd"),
        "`down` does not name the packages that stay:\n{}",
        down.all()
    );
    let diff = before.diff(&snapshot(&cache).await?);
    ensure!(
        diff.is_empty(),
        "the machine is not as it was:\n{}",
        diff.join("\n")
    );
    Ok(())
}

/// The machine as it is, without other local clusters.
async fn snapshot(cache: &Cache) -> Result<Snapshot> {
    Snapshot::take_excluding(&Local::others(cache, NAME)?).await
}

async fn up_twice(out: &Output) -> Result<()> {
    let first = out
        .step("Running", "`cargo xtask up`", async |_| {
            xtask(&["up", "--cluster", "local", "--name", NAME])?
                .success()
                .await
        })
        .await?;
    for word in ["URL ", "User ", "Password ", "pushed ", "pulled ", "Try next"] {
        ensure!(first.contains(word), "`up` printed no {word:?}:\n{first}");
    }
    let announced = xtask(&["kubectl", "--name", NAME, "--", "get", "configmap", HOSTING])?
        .args(["--namespace=kube-public", "--output=yaml"])
        .success()
        .await?;
    ensure!(
        announced.contains(&format!("registry.{DOMAIN}")),
        "the ConfigMap of KEP-1755 does not name the registry:\n{announced}"
    );
    let objects = objects().await?;
    let second = out
        .step("Running", "`cargo xtask up` again", async |_| {
            xtask(&["up", "--cluster", "local", "--name", NAME])?
                .success()
                .await
        })
        .await?;
    ensure!(second == first, "`up` printed\n{first}\nthen\n{second}");
    let now = self::objects().await?;
    let changed: Vec<&str> = now.lines().filter(|line| !objects.contains(line)).collect();
    ensure!(now == objects, "`up`, run again, changed\n{}", changed.join("\n"));
    out.step(
        "Running",
        "a case against it as an existing cluster",
        async |_| existing().await,
    )
    .await
}

/// The suite's other provider: this cluster as one that somebody else runs, named on the command line and by nothing else.
async fn existing() -> Result<()> {
    let cache = Cache::open()?;
    let programs = Programs::provide(&cache, &Step::default()).await?;
    let local = Local::find(&cache, NAME, programs)?.context("the cluster is gone")?;
    let (kubeconfig, address) = (
        local.kubeconfig().display().to_string(),
        local.address().to_string(),
    );
    // Inside its namespaces, where its docker is; that has no network, and needs none.
    let suite = [
        "exec",
        "--name",
        NAME,
        "--",
        "cargo",
        "run",
        "--quiet",
        "--offline",
        "--package",
        "e2e",
        "--",
    ];
    let refused = xtask(&suite)?
        .args(["--kubeconfig", &kubeconfig])
        .env("KUBECONFIG", &kubeconfig)
        .output()
        .await?;
    ensure!(
        refused.status.code() == Some(2),
        "without --context it ended with {}:\n{}",
        refused.status,
        refused.all()
    );
    let ran = xtask(&suite)?
        .args(["--kubeconfig", &kubeconfig, "--context", e2e::kubeconfig::CONTEXT])
        .args([
            "--operator-image",
            OPERATOR_IMAGE,
            "--registry-image",
            REGISTRY_IMAGE,
        ])
        .args([
            "--ingress-address",
            &address,
            "--domain",
            DOMAIN,
            "--only",
            "docker pushes",
        ])
        .output()
        .await?;
    ensure!(
        ran.status.success() && ran.stdout.contains("1 passed, 0 failed"),
        "it ended with {}:\n{}",
        ran.status,
        ran.all()
    );
    Ok(())
}

/// Each object with its resource version, a line each.
async fn objects() -> Result<String> {
    let columns = "-o=custom-columns=:kind,:metadata.namespace,:metadata.name,:metadata.resourceVersion";
    xtask(&[
        "kubectl",
        "--name",
        NAME,
        "--",
        "get",
        RESOURCES,
        "--all-namespaces",
        "--no-headers",
        columns,
    ])?
    .success()
    .await
}

fn xtask(args: &[&str]) -> Result<Exec> {
    Ok(Exec::new(std::env::current_exe()?)
        .args(args)
        .dir(e2e::images::checkout()))
}
