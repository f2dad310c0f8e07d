//! A cluster made by kind, where docker can pull images: minutes, instead of compiling all of Kubernetes.
//!
//! The node is a container of this machine's docker. Names under [`Kind::domain`] are resolved by a public DNS service
//! that answers with the address in the name, because a person's machine, the node and its Pods must all reach the
//! Ingress by one name. Guarantees: the reader's kubeconfig is not changed; everything is in one state folder and one
//! container, and [`Kind::stop`] removes both. Must not: decide what is tested. Start at [`Kind::start`].

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use anyhow::{Context as _, Result};

use crate::cache::Cache;
use crate::client_programs::ClientPrograms;
use crate::control_plane::AUDIT_POLICY;
use crate::exec::Exec;
use crate::local::ingress_controller_args;
use crate::output::{Output, Step};
use crate::tools::Tool;

/// The configuration of the cluster, with a place for the state folder.
const CLUSTER: &str = include_str!("kind/cluster.yaml");
/// The Ingress controller, with places for its version and its arguments.
const INGRESS_CONTROLLER: &str = include_str!("kind/traefik.yaml");
/// The same version as the local cluster's, which `e2e/tools/traefik/go.mod` names.
const INGRESS_CONTROLLER_VERSION: &str = "v3.6.12";
/// Answers `192-0-2-1.sslip.io` with 192.0.2.1.
const DNS_SUFFIX: &str = "sslip.io";

/// A running kind cluster.
#[derive(Debug)]
pub struct Kind {
    name: String,
    state: PathBuf,
    kubeconfig: PathBuf,
    context: String,
    program: PathBuf,
    programs: ClientPrograms,
    address: IpAddr,
    domain: String,
    trusted: Mutex<Vec<PathBuf>>,
}

impl Kind {
    /// Whether docker runs here and can pull the node's image. Nothing is pulled.
    pub async fn is_possible() -> bool {
        let server = Exec::new("docker").args(["version", "--format={{.Server.Version}}"]);
        if !server.output().await.is_ok_and(|done| done.status.success()) {
            return false;
        }
        let look = Exec::new("docker").args(["manifest", "inspect", node_image()]);
        look.output().await.is_ok_and(|done| done.status.success())
    }

    /// Whether `start` was called for that name, and `stop` was not.
    #[must_use]
    pub fn was_started(cache: &Cache, name: &str) -> bool {
        state_folder(cache, name).exists()
    }

    /// The cluster of that name, made if there is none, with an Ingress controller.
    ///
    /// # Errors
    /// docker or kind refuses, or the Ingress controller does not start.
    pub async fn start(cache: &Cache, name: &str, out: &Output) -> Result<Self> {
        let state = state_folder(cache, name);
        let program = out
            .step("Building", "kind", async |step| {
                Tool::Kind.path(cache, |what| step.note(what)).await
            })
            .await?;
        if !exists(&program, name).await? {
            let create = async |step: Step| {
                prepare(&state)?;
                step.note("kind create cluster");
                create_command(&program, name, &state).success().await
            };
            out.step("Starting", &format!("kind cluster `{name}`"), create)
                .await?;
        }
        let kind = out
            .step("Installing", "the Ingress controller", async |step| {
                let kind = Self::of(cache, name, program, &step).await?;
                kind.install_ingress_controller().await?;
                anyhow::Ok(kind)
            })
            .await?;
        Ok(kind)
    }

    /// The running cluster of that name, if `start` made one.
    ///
    /// # Errors
    /// docker or kind refuses.
    pub async fn find(cache: &Cache, name: &str) -> Result<Option<Self>> {
        if !Self::was_started(cache, name) {
            return Ok(None);
        }
        let program = Tool::Kind.path(cache, |_| ()).await?;
        if !exists(&program, name).await? {
            return Ok(None);
        }
        Self::of(cache, name, program, &Step::default()).await.map(Some)
    }

    /// Removes the cluster of that name and its state. Gives whether there was one.
    ///
    /// # Errors
    /// kind refuses, or the state folder cannot be removed.
    pub async fn stop(cache: &Cache, name: &str) -> Result<bool> {
        let state = state_folder(cache, name);
        if !state.exists() {
            return Ok(false);
        }
        let program = Tool::Kind.path(cache, |_| ()).await?;
        Exec::new(program)
            .args(["delete", "cluster", "--name", name, "--kubeconfig"])
            .arg(state.join("kubeconfig"))
            .success()
            .await?;
        fs::remove_dir_all(&state).with_context(|| format!("cannot remove `{}`", state.display()))?;
        Ok(true)
    }

    async fn of(cache: &Cache, name: &str, program: PathBuf, step: &Step) -> Result<Self> {
        let state = state_folder(cache, name);
        let format = "--format={{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}";
        let inspect = Exec::new("docker").args(["inspect", format, &node_of(name)]);
        let addresses = inspect.success().await?;
        let address: IpAddr = addresses
            .split_whitespace()
            .next()
            .context("the node has no address")?
            .parse()
            .context("docker tells no address of the node")?;
        Ok(Self {
            name: name.to_owned(),
            kubeconfig: state.join("kubeconfig"),
            context: format!("kind-{name}"),
            state,
            program,
            programs: ClientPrograms::of_this_machine(cache, step).await?,
            address,
            domain: domain_of(address),
            trusted: Mutex::default(),
        })
    }

    async fn install_ingress_controller(&self) -> Result<()> {
        let kubectl = || self.programs.kubectl(&self.kubeconfig, &self.context);
        kubectl()
            .args(["apply", "--server-side", "--filename", "-"])
            .stdin(ingress_controller(self.address))
            .success()
            .await
            .context("cannot install the Ingress controller")?;
        kubectl()
            .args(["--namespace=traefik", "rollout", "status", "daemonset/traefik"])
            .arg("--timeout=180s")
            .success()
            .await
            .map(drop)
            .context("the Ingress controller does not start")
    }

    /// The administrator's kubeconfig.
    #[must_use]
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// The context in it.
    #[must_use]
    pub fn context(&self) -> &str {
        &self.context
    }

    /// kubectl and crane.
    #[must_use]
    pub fn programs(&self) -> &ClientPrograms {
        &self.programs
    }

    /// The node's address, where the Ingress controller listens.
    #[must_use]
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// A domain under which every name resolves to that address, for Pods and the node too.
    #[must_use]
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// The folder from which the node's containerd reads whom to trust.
    #[must_use]
    pub fn trust_folder(&self) -> PathBuf {
        self.state.join("certs.d")
    }

    /// The folders that were made on this machine so that docker trusts a CA.
    #[must_use]
    pub fn trusted(&self) -> &Mutex<Vec<PathBuf>> {
        &self.trusted
    }

    /// The API server's audit log.
    #[must_use]
    pub fn audit_log(&self) -> PathBuf {
        self.state.join("audit/audit.log")
    }

    /// A folder for logins and certificates that exists as long as the cluster.
    ///
    /// # Errors
    /// It cannot be created.
    pub fn home(&self) -> Result<PathBuf> {
        let home = self.state.join("home");
        fs::create_dir_all(&home).with_context(|| format!("cannot create `{}`", home.display()))?;
        Ok(home)
    }

    /// The command, run inside the node.
    #[must_use]
    pub fn inside_node(&self, command: Exec) -> Exec {
        command.within(Exec::new("docker").args(["exec", "--interactive", &node_of(&self.name)]))
    }

    /// Copies a program into the node and gives its path there.
    ///
    /// # Errors
    /// docker refuses.
    pub async fn copy_to_node(&self, program: &Path) -> Result<PathBuf> {
        let name = program.file_name().context("a program has a name")?;
        let inside = Path::new("/usr/local/bin").join(name);
        let place = format!("{}:{}", node_of(&self.name), inside.display());
        Exec::new("docker")
            .arg("cp")
            .arg(program)
            .arg(place)
            .success()
            .await?;
        Ok(inside)
    }

    /// Copies an image from docker to the node's containerd.
    ///
    /// # Errors
    /// docker does not have it.
    pub async fn load_image(&self, image: &str) -> Result<()> {
        load_command(&self.program, &self.name, image)
            .success()
            .await
            .map(drop)
    }
}

/// The state of kind clusters is beside that of local ones, under a name that no local one can have.
fn state_folder(cache: &Cache, name: &str) -> PathBuf {
    cache.root().join("kind").join(name)
}

fn node_of(name: &str) -> String {
    format!("{name}-control-plane")
}

fn domain_of(address: IpAddr) -> String {
    let dashes = address.to_string().replace(['.', ':'], "-");
    format!("{dashes}.{DNS_SUFFIX}")
}

fn ingress_controller(address: IpAddr) -> String {
    let arguments = ingress_controller_args(&address.to_string());
    INGRESS_CONTROLLER
        .replace("VERSION", INGRESS_CONTROLLER_VERSION)
        .replace("ARGUMENTS", &serde_json::json!(arguments).to_string())
}

/// The files that the node mounts.
fn prepare(state: &Path) -> Result<()> {
    for folder in ["certs.d", "audit"] {
        let folder = state.join(folder);
        fs::create_dir_all(&folder).with_context(|| format!("cannot create `{}`", folder.display()))?;
    }
    let config = CLUSTER.replace("STATE", &state.display().to_string());
    for (name, text) in [("audit-policy.yaml", AUDIT_POLICY), ("cluster.yaml", &config)] {
        let file = state.join(name);
        fs::write(&file, text).with_context(|| format!("cannot write `{}`", file.display()))?;
    }
    Ok(())
}

async fn exists(program: &Path, name: &str) -> Result<bool> {
    let all = Exec::new(program).args(["get", "clusters"]).success().await?;
    Ok(all.lines().any(|line| line == name))
}

fn create_command(program: &Path, name: &str, state: &Path) -> Exec {
    Exec::new(program)
        .args(["create", "cluster", "--name", name, "--wait=180s", "--config"])
        .arg(state.join("cluster.yaml"))
        .arg("--kubeconfig")
        .arg(state.join("kubeconfig"))
}

fn load_command(program: &Path, name: &str, image: &str) -> Exec {
    Exec::new(program).args(["load", "docker-image", "--name", name, image])
}

/// The image of the node.
fn node_image() -> &'static str {
    CLUSTER
        .lines()
        .find_map(|line| line.trim().strip_prefix("image: "))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests;
