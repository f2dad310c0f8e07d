//! The end-to-end suite as a program. It runs on a local cluster of its own, or on an existing cluster that is named
//! in full.

use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;

use anyhow::Result;
use clap::Parser;
use e2e::cache::Cache;
use e2e::client_programs::ClientPrograms;
use e2e::local::serve_if_asked;
use e2e::output::Output;
use e2e::provider::Existing;
use e2e::runner::{Group, Summary};
use e2e::{packages, suite};

/// Runs the end-to-end cases. Exit codes: 0 all passed, 1 something failed, 2 wrong arguments.
#[derive(Parser)]
struct Args {
    /// Only cases whose name contains this text.
    #[arg(long)]
    only: Option<String>,
    #[command(flatten)]
    existing: Option<ExistingArgs>,
}

/// All of these options, or none: the suite guesses nothing about an existing cluster.
#[derive(clap::Args)]
#[group(multiple = true, requires_all = ["kubeconfig", "context", "operator_image", "registry_image", "ingress_address", "domain"])]
struct ExistingArgs {
    /// Use an existing cluster: its kubeconfig. KUBECONFIG and ~/.kube/config are never read.
    #[arg(long, required = false)]
    kubeconfig: PathBuf,
    /// The context in that file.
    #[arg(long, required = false)]
    context: String,
    /// The operator's image, at a place the cluster can pull from.
    #[arg(long, required = false)]
    operator_image: String,
    /// The server's image, at a place the cluster can pull from.
    #[arg(long, required = false)]
    registry_image: String,
    /// Address of the Ingress controller of class `nginx`.
    #[arg(long, required = false)]
    ingress_address: IpAddr,
    /// A domain under which every name resolves to that address.
    #[arg(long, required = false)]
    domain: String,
}

fn main() -> ExitCode {
    serve_if_asked();
    let args = Args::parse();
    let out = Output::new();
    let runtime = tokio::runtime::Runtime::new()
        .expect("threads and timers can be had on any machine that builds this");
    match runtime.block_on(run(args, &out)) {
        Ok(summary) => {
            for group in Group::ALL {
                println!("{group} {}", summary.passed[group as usize]);
            }
            println!("deselected {}", summary.deselected);
            for failure in &summary.failures {
                println!("failed: {failure}");
            }
            println!("{} passed, {} failed", summary.total(), summary.failures.len());
            if summary.failures.is_empty() {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            }
        }
        Err(error) => {
            out.error(&error);
            println!("0 passed, 1 failed");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: Args, out: &Output) -> Result<Summary> {
    let only = args.only.as_deref();
    let Some(existing) = args.existing else {
        packages::install(out).await?;
        suite::build(out).await?;
        return suite::local(only, out).await;
    };
    let cache = Cache::open()?;
    let programs = out
        .step("Building", "the suite's programs", async |step| {
            ClientPrograms::compiled(&cache, &step).await
        })
        .await?;
    let existing = Existing {
        kubeconfig: existing.kubeconfig,
        context: existing.context,
        operator_image: existing.operator_image,
        registry_image: existing.registry_image,
        ingress_address: existing.ingress_address,
        domain: existing.domain,
        programs,
        trusted: Mutex::default(),
    };
    suite::existing(existing, only, out).await
}
