//! Everyday tasks: `up` and `down`, the suite, object stores, commands inside the local cluster, the programs for the images.
//!
//! Exit codes: 0 done, 1 failed, 2 wrong arguments, 130 interrupted. `exec` and `kubectl` pass on the exit code of
//! their command. Must not: hold logic that a test would need; that belongs to the `e2e` crate. Start at [`run`].

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};
use e2e::cache::Cache;
use e2e::exec::Exec;
use e2e::kind::Kind;
use e2e::local::{Local, Programs, serve_if_asked};
use e2e::output::{Hint, Output, Step};
use e2e::packaging::{self, Image, Images};

use provider::Provider;

#[cfg(test)]
mod advisories;
mod down;
mod features;
mod provider;
mod soak;
mod stores;
mod test;
mod tidy;
mod up;

/// The name of the local cluster when none is given.
const NAME: &str = "berth";

#[derive(Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    about = "Everyday tasks of Berth"
)]
struct Args {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Starts a cluster with a working registry and shows that it works; run again, it changes nothing.
    Up(Up),
    /// Ends that cluster and removes all of it.
    Down(Named),
    /// Runs the whole test suite.
    Test {
        /// Only end-to-end cases whose name contains this text, or one of several between bars (`|`), and no other tests.
        #[arg(long)]
        only: Option<String>,
        /// Only the cases that need a cluster, on one that is made like this.
        #[arg(long)]
        cluster: Option<Provider>,
        /// Check formatting and lints as well.
        #[arg(long, conflicts_with_all = ["only", "cluster"])]
        lints: bool,
        /// Stop at the first part that fails instead of running all parts.
        #[arg(long)]
        fail_fast: bool,
    },
    /// The tests that can be given more to do, with hours of it.
    Soak,
    /// Object stores for the driver suite, until interrupted; prints how to reach them as lines for a shell.
    Stores,
    /// Runs a command inside the cluster's namespaces, in this folder: `cargo xtask exec -- docker images`.
    Exec(Inside),
    /// Runs kubectl against the cluster: `cargo xtask kubectl -- get registry -A`.
    Kubectl(Inside),
    /// The rules of the house: circles between files, arrows that run up, names and comments.
    Tidy,
    /// Compiles the server with each of its features alone, and with none.
    Features,
    /// Compiles both programs statically into `dist/`, for the Dockerfiles.
    Dist,
    /// Writes what a release is installed with: `install.yaml`, the Helm chart as an archive, the bundle for OLM.
    Package(Package),
}

#[derive(clap::Args)]
struct Package {
    /// The operator's image: `repository@sha256:…`, or `repository:tag`.
    #[arg(long)]
    operator_image: Image,
    /// The server's image, for Registries that name none.
    #[arg(long)]
    registry_image: Image,
    /// The folder to write into.
    #[arg(long, default_value = "dist/release")]
    output: PathBuf,
}

#[derive(clap::Args)]
struct Named {
    /// The cluster's name: `berth`, or `berth-` and something short.
    #[arg(long, default_value = NAME)]
    name: String,
}

#[derive(clap::Args)]
struct Up {
    #[command(flatten)]
    cluster: Named,
    /// How the cluster is made. By default kind makes it where docker can pull images, and it is compiled elsewhere.
    #[arg(long = "cluster")]
    provider: Option<Provider>,
}

#[derive(clap::Args)]
struct Inside {
    #[command(flatten)]
    cluster: Named,
    /// The command and its arguments.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
    command: Vec<String>,
}

fn main() -> ExitCode {
    serve_if_asked();
    let args = Args::parse();
    let out = Output::new();
    let runtime = tokio::runtime::Runtime::new()
        .expect("threads and timers can be had on any machine that builds this");
    match runtime.block_on(run(args.task, &out)) {
        Ok(code) => code,
        Err(error) => {
            out.error(&error);
            ExitCode::FAILURE
        }
    }
}

async fn run(task: Task, out: &Output) -> Result<ExitCode> {
    match task {
        Task::Up(Up { cluster, provider }) => {
            up::up(&cluster.name, provider, out).await?;
            Ok(ExitCode::SUCCESS)
        }
        Task::Down(Named { name }) => down::down(&name, out).await.map(|()| ExitCode::SUCCESS),
        Task::Test {
            only,
            cluster,
            lints,
            fail_fast,
        } => {
            let selection = test::Selection {
                only,
                cluster,
                lints,
                fail_fast,
            };
            test::test(&selection, out).await
        }
        Task::Soak => soak::soak(out).await,
        Task::Stores => stores::stores(out).await,
        Task::Features => features::features(out).await.map(|()| ExitCode::SUCCESS),
        Task::Exec(Inside { cluster, command }) => {
            let (program, args) = command.split_first().context("clap requires a command")?;
            attached(&running(&cluster.name).await?.shell(program, args)?).await
        }
        Task::Kubectl(Inside { cluster, command }) => {
            if let Some(kind) = Kind::find(&Cache::open()?, &cluster.name).await? {
                let kubectl = kind.programs().kubectl(kind.kubeconfig(), kind.context());
                return attached(&kubectl.args(command)).await;
            }
            attached(&running(&cluster.name).await?.kubectl().args(command)).await
        }
        Task::Tidy => tidy::tidy(),
        Task::Dist => {
            let fill = async |step: Step| e2e::dist::fill(&step).await;
            out.step("Building", "the operator and the server into dist/", fill)
                .await?;
            Ok(ExitCode::SUCCESS)
        }
        Task::Package(package) => packages(package, out).await.map(|()| ExitCode::SUCCESS),
    }
}

async fn packages(asked: Package, out: &Output) -> Result<()> {
    let images = Images {
        operator: asked.operator_image,
        registry: asked.registry_image,
    };
    let cache = Cache::open()?;
    let write = async |step: Step| packaging::package(&images, &asked.output, &cache, &step).await;
    let written = out
        .step("Writing", "the manifest, the chart and the bundle", write)
        .await?;
    for path in [written.manifest, written.chart, written.bundle] {
        out.say("Wrote", &path.display().to_string());
    }
    Ok(())
}

/// The cluster of that name, or what to do when there is none.
async fn running(name: &str) -> Result<Local> {
    let cache = Cache::open()?;
    let programs = Programs::provide(&cache, &Step::default()).await?;
    Local::find(&cache, name, programs)?.ok_or_else(|| {
        let way_out = if name == NAME {
            "start it with `cargo xtask up`".to_owned()
        } else {
            format!("start it with `cargo xtask up --name {name}`")
        };
        Hint::on(anyhow::anyhow!("no local cluster `{name}` runs"), way_out)
    })
}

async fn attached(command: &Exec) -> Result<ExitCode> {
    let code = command.attached().await?;
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(1)))
}
