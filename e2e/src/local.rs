//! A real single-node Kubernetes on one Debian machine that cannot pull images.
//!
//! etcd, the control plane, kubelet, kube-proxy, containerd, dockerd (for the suite also that of today), CoreDNS, Traefik
//! and local-path-provisioner run as processes in their own mount, network and PID namespaces, joined to the host by one veth pair. All their data
//! is in `<cache>/clusters/<name>/`. CoreDNS, Traefik and the provisioner are processes and not Pods: no image has to
//! be pulled for them, and the cluster is usable seconds earlier.
//!
//! Guarantees: [`Local::stop`] kills the first process, which ends every process, mount and interface, and removes
//! what outlives it: empty cgroups and the state folder. Two clusters of different names do not affect each other.
//! Must not: touch any other file, rule or setting of the host. Start at [`Local::start`].

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use k8s_openapi::api::core::v1::{Node, ServiceAccount};
use kube::Api;
use rustix::process::{Pid, Signal, kill_process};

use crate::cache::Cache;
use crate::client_programs::ClientPrograms;
use crate::exec::{Exec, tail};
use crate::footprint::MARK;
use crate::kubeconfig;
use crate::output::{Hint, Output, Step};
use crate::wait::{Seen, wait_for};
use init::{Identity, Progress};
use plan::Plan;

mod images;
mod init;
mod plan;
mod programs;

pub(crate) use plan::ingress_controller_args;
pub use plan::{BUSYBOX_IMAGE, DOMAIN};
pub use programs::Programs;

/// The hidden first argument that turns our own programs into a cluster's first process.
const INIT: &str = "cluster-init";
/// Time from the first process to all components, on a busy machine.
const START_DEADLINE: Duration = Duration::from_secs(240);
const NODE_DEADLINE: Duration = Duration::from_secs(120);
/// Time the kernel may take to remove what a killed namespace held.
const STOP_DEADLINE: Duration = Duration::from_secs(60);

/// A running local cluster.
#[derive(Debug)]
pub struct Local {
    plan: Plan,
    identity: Identity,
    programs: Programs,
    clients: ClientPrograms,
}

/// Becomes the first process of a cluster if the program was started as one. Call it first in `main`, before any
/// thread exists.
pub fn serve_if_asked() {
    let mut args = std::env::args_os().skip(1);
    if args.next().is_some_and(|first| first == INIT) {
        let state = PathBuf::from(args.next().unwrap_or_default());
        let error = init::run(&state);
        Output::new().error(&error);
        std::process::exit(1);
    }
}

impl Local {
    /// The cluster of that name, started if it does not run. A cluster that has lost a component is ended first. The
    /// calling program must begin with [`serve_if_asked`].
    ///
    /// # Errors
    /// The name is unusable, the caller is not root, or a component does not come up: the error quotes its log.
    pub async fn start(cache: &Cache, name: &str, programs: Programs, out: &Output) -> Result<Self> {
        check_name(name)?;
        if !rustix::process::geteuid().is_root() {
            bail!("a local cluster needs namespaces and cgroups, which only root can make");
        }
        let _lock = cache.lock(&format!("cluster-{name}"))?;
        if let Some(running) = Self::find(cache, name, programs.clone())?
            && running
                .progress()
                .is_some_and(|progress| progress.complete && progress.ended.is_empty())
        {
            out.say("Running", &format!("local cluster `{name}`"));
            return Ok(running);
        }
        Self::remove(cache, name).await?;
        let state = cache.folder("clusters")?.join(name);
        fs::create_dir_all(state.join("logs"))
            .with_context(|| format!("cannot create `{}`", state.display()))?;
        let plan = Plan::draw(name, &state, free_subnet(name).await?, &programs)?;
        plan.write()?;
        let way_out = format!(
            "the logs of all components are in `{}`",
            state.join("logs").display()
        );
        out.step("Starting", &format!("local cluster `{name}`"), async |step| {
            Self::bring_up(plan, programs, &step).await
        })
        .await
        .map_err(|error| Hint::on(error, way_out))
    }

    async fn bring_up(plan: Plan, programs: Programs, step: &Step) -> Result<Self> {
        step.note("namespaces");
        spawn_init(&plan.name, &plan.state)?;
        let identity = wait_for("the first process of the cluster", START_DEADLINE, async || {
            let path = plan.state.join("init.json");
            match fs::read(&path) {
                Ok(text) => Ok(Seen::Done(
                    serde_json::from_slice(&text).context("init.json is unreadable")?,
                )),
                Err(error) => Ok(Seen::NotYet(format!("no `{}`: {error}", path.display()))),
            }
        })
        .await
        .with_context(|| log_tail(&plan.state, "init"))?;
        let local = Self {
            plan,
            identity,
            clients: programs.clients(),
            programs,
        };
        local.connect_to_host().await?;
        wait_for("the cluster's components", START_DEADLINE, async || {
            local.components(step)
        })
        .await?;
        step.note("waiting for the node");
        local.node_is_ready().await?;
        step.note("first images and objects");
        local
            .load_archive(images::archive(images::Reader::Kubelet)?)
            .await
            .context("cannot load the first images")?;
        local
            .kubectl()
            .args(["apply", "--server-side", "-f", "-"])
            .stdin(plan::OBJECTS)
            .success()
            .await
            .context("cannot create the cluster's first objects")?;
        let accounts: Api<ServiceAccount> = Api::default_namespaced(local.client().await?);
        wait_for("the first service account", NODE_DEADLINE, async || {
            Ok(Seen::Done(accounts.get("default").await?))
        })
        .await?;
        for port in [53, 443] {
            TcpStream::connect((local.address(), port))
                .with_context(|| format!("the cluster's port {port} does not answer from the host"))?;
        }
        Ok(local)
    }

    /// Whether `start` was called for that name, and `stop` was not.
    #[must_use]
    pub fn was_started(cache: &Cache, name: &str) -> bool {
        cache.root().join("clusters").join(name).exists()
    }

    /// The running cluster of that name, if there is one.
    ///
    /// # Errors
    /// Its files are unreadable.
    pub fn find(cache: &Cache, name: &str, programs: Programs) -> Result<Option<Self>> {
        check_name(name)?;
        let state = cache.root().join("clusters").join(name);
        let Some(identity) = living(&state)? else {
            return Ok(None);
        };
        Ok(Some(Self {
            plan: Plan::read(&state)?,
            identity,
            clients: programs.clients(),
            programs,
        }))
    }

    /// The names of all other local clusters that have a state folder.
    ///
    /// # Errors
    /// The cache cannot be read.
    pub fn others(cache: &Cache, name: &str) -> Result<Vec<String>> {
        let folder = cache.folder("clusters")?;
        let list = || format!("cannot list `{}`", folder.display());
        let mut others = Vec::new();
        for entry in fs::read_dir(&folder).with_context(list)? {
            let other = entry
                .with_context(list)?
                .file_name()
                .to_string_lossy()
                .into_owned();
            if other != name {
                others.push(other);
            }
        }
        Ok(others)
    }

    /// Ends the cluster of that name and removes everything it left. Gives whether there was anything.
    ///
    /// # Errors
    /// A process cannot be ended, or a file cannot be removed.
    pub async fn stop(cache: &Cache, name: &str) -> Result<bool> {
        check_name(name)?;
        let _lock = cache.lock(&format!("cluster-{name}"))?;
        Self::remove(cache, name).await
    }

    async fn remove(cache: &Cache, name: &str) -> Result<bool> {
        let state = cache.root().join("clusters").join(name);
        let existed = state.exists();
        if let Some(identity) = living(&state)? {
            let pid = Pid::from_raw(identity.pid).context("a process number is positive")?;
            // SIGKILL: the first process of a PID namespace ignores every signal it has no handler for.
            kill_process(pid, Signal::KILL).context("cannot end the cluster's first process")?;
            wait_for("the cluster's processes to end", STOP_DEADLINE, async || {
                Ok(match living(&state)? {
                    None => Seen::Done(()),
                    Some(identity) => Seen::NotYet(format!("process {} is still there", identity.pid)),
                })
            })
            .await?;
        }
        // The kernel removes the veth pair too, but later. A new cluster of that name must not find it.
        let link = interface(name);
        if Path::new("/sys/class/net").join(&link).exists() {
            let _ = Exec::new("ip").args(["link", "delete", &link]).output().await?;
        }
        wait_for(
            "the cluster's interface and cgroups to go",
            STOP_DEADLINE,
            async || {
                if Path::new("/sys/class/net").join(&link).exists() {
                    return Ok(Seen::NotYet(format!("interface {link} is still there")));
                }
                for root in init::cgroup_roots()? {
                    remove_cgroup(&root.join(plan::cgroup(name).trim_start_matches('/')))?;
                }
                Ok(Seen::Done(()))
            },
        )
        .await?;
        if existed {
            fs::remove_dir_all(&state).with_context(|| format!("cannot remove `{}`", state.display()))?;
        }
        Ok(existed)
    }

    /// The cluster's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.plan.name
    }

    /// The address of the API server, the Ingress controller and every NodePort, from the host and from inside.
    #[must_use]
    pub fn address(&self) -> Ipv4Addr {
        self.plan.address
    }

    /// The administrator's kubeconfig; its one context is `berth`.
    #[must_use]
    pub fn kubeconfig(&self) -> &Path {
        &self.plan.kubeconfig
    }

    /// The kubelet's folder.
    #[must_use]
    pub fn kubelet_folder(&self) -> PathBuf {
        self.plan.state.join("kubelet")
    }

    /// A client with administrator rights.
    ///
    /// # Errors
    /// The kubeconfig is unreadable.
    pub async fn client(&self) -> Result<kube::Client> {
        kubeconfig::client(&self.plan.kubeconfig, kubeconfig::CONTEXT).await
    }

    /// kubectl with the administrator's credentials, run on the host.
    #[must_use]
    pub fn kubectl(&self) -> Exec {
        self.clients.kubectl(&self.plan.kubeconfig, kubeconfig::CONTEXT)
    }

    /// kubectl and crane.
    #[must_use]
    pub fn clients(&self) -> &ClientPrograms {
        &self.clients
    }

    /// The API server's audit log ([`crate::audit`]).
    #[must_use]
    pub fn audit_log(&self) -> &Path {
        &self.plan.audit_log
    }

    /// The folder with one log per component.
    #[must_use]
    pub fn logs(&self) -> PathBuf {
        self.plan.state.join("logs")
    }

    /// A folder for logins and certificates that exists as long as the cluster and is visible from inside.
    ///
    /// # Errors
    /// It cannot be created.
    pub fn home(&self) -> Result<PathBuf> {
        let home = self.plan.state.join("home");
        fs::create_dir_all(&home).with_context(|| format!("cannot create `{}`", home.display()))?;
        Ok(home)
    }

    /// A command for a person, run inside the cluster's namespaces in the current folder. The cluster's own `docker`,
    /// `kubectl` and `crane` come first in the search path, logged in as by `up`.
    ///
    /// # Errors
    /// The search path cannot be made.
    pub fn shell(&self, program: &str, args: &[String]) -> Result<Exec> {
        let home = self.home()?;
        let tools = home.join("bin");
        fs::create_dir_all(&tools).with_context(|| format!("cannot create `{}`", tools.display()))?;
        let kubernetes = self.programs.kubernetes.display();
        for (name, line) in [
            (
                "kubectl",
                format!(
                    "{kubernetes} kubectl --kubeconfig={}",
                    self.plan.kubeconfig.display()
                ),
            ),
            ("crane", self.programs.crane.display().to_string()),
            ("docker", "/usr/bin/docker".to_owned()),
        ] {
            let path = tools.join(name);
            fs::write(&path, format!("#!/bin/sh\nexec {line} \"$@\"\n"))
                .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(0o755)))
                .with_context(|| format!("cannot write `{}`", path.display()))?;
        }
        let path = format!("{}:{}", tools.display(), plan::search_path(&self.plan.state));
        let here = std::env::current_dir().context("the present folder is gone")?;
        let command = Exec::new(program)
            .args(args)
            .dir(here)
            .env("PATH", path)
            .env("DOCKER_CONFIG", &home)
            .env("SSL_CERT_FILE", home.join("ca.crt"));
        Ok(self.exec(command))
    }

    /// docker's command of today, for the engine of today, with its logins in `home`; nothing if the cluster has none.
    #[must_use]
    pub fn current_docker(&self, home: &Path) -> Option<Exec> {
        let docker = self.programs.current_docker.as_ref()?;
        let docker = Exec::new(&docker.command)
            .env("DOCKER_HOST", format!("unix://{}", plan::CURRENT_DOCKER_SOCKET))
            .env("DOCKER_CONFIG", home);
        Some(self.exec(docker))
    }

    /// The path of a file of the cluster's namespaces, for reading and writing from the host.
    #[must_use]
    pub fn inside(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{path}", self.identity.pid))
    }

    /// The command, run inside the namespaces: with docker and `ctr`, and with the cluster's hosts, names and routes.
    /// Folders outside `/etc`, `/run`, `/var/lib` and `/var/log` are the host's own.
    #[must_use]
    pub fn exec(&self, command: Exec) -> Exec {
        let enter = [
            "--target",
            &self.identity.pid.to_string(),
            "--mount",
            "--net",
            "--pid",
            "--",
        ]
        .map(str::to_owned);
        let nsenter = Exec::new("nsenter").args(enter);
        command.within(nsenter.env("PATH", plan::search_path(&self.plan.state)))
    }

    /// Imports an image archive (`docker save`, OCI layout) into the kubelet's containerd.
    ///
    /// # Errors
    /// The archive is unreadable.
    pub async fn load_archive(&self, archive: Vec<u8>) -> Result<()> {
        let import = Exec::new("ctr")
            .args(["--namespace=k8s.io", "images", "import", "-"])
            .stdin(archive);
        self.exec(import).success().await.map(drop)
    }

    /// Copies an image from the cluster's dockerd to the kubelet's containerd, without a registry.
    ///
    /// # Errors
    /// docker does not have the image.
    pub async fn load_image(&self, image: &str) -> Result<()> {
        let pipe = format!("set -e; /usr/bin/docker save '{image}' | ctr --namespace=k8s.io images import -");
        self.exec(Exec::new("sh").args(["-c", &pipe]))
            .success()
            .await
            .map(drop)
    }

    fn progress(&self) -> Option<Progress> {
        let text = fs::read(self.plan.state.join("components.json")).ok()?;
        serde_json::from_slice(&text).ok()
    }

    fn components(&self, step: &Step) -> Result<Seen<()>> {
        if living(&self.plan.state)?.is_none() {
            return Ok(Seen::Never(anyhow::anyhow!(
                "the cluster's first process ended\n{}",
                log_tail(&self.plan.state, "init")
            )));
        }
        let Some(progress) = self.progress() else {
            return Ok(Seen::NotYet("no component ended".into()));
        };
        if let Some((name, status)) = progress.ended.iter().next() {
            let log = log_tail(&self.plan.state, name);
            return Ok(Seen::Never(anyhow::anyhow!("{name} ended with {status}\n{log}")));
        }
        if let Some(failure) = progress.failure {
            return Ok(Seen::Never(anyhow::anyhow!("{failure}")));
        }
        if progress.complete {
            return Ok(Seen::Done(()));
        }
        step.note("components");
        Ok(Seen::NotYet("not all components are started".into()))
    }

    /// Makes the veth pair, with its inner end in the cluster's network namespace.
    async fn connect_to_host(&self) -> Result<()> {
        let link = interface(&self.plan.name);
        let ip = |line: String| async move {
            Exec::new("ip")
                .args(line.split(' '))
                .success()
                .await
                .context("cannot join the cluster to the host")
        };
        ip(format!(
            "link add {link} type veth peer name eth0 netns {}",
            self.identity.pid
        ))
        .await?;
        ip(format!("address add {}/30 dev {link}", self.plan.gateway)).await?;
        ip(format!("link set {link} up")).await?;
        Ok(())
    }

    async fn node_is_ready(&self) -> Result<()> {
        let nodes: Api<Node> = Api::all(self.client().await?);
        wait_for("the node to be ready", NODE_DEADLINE, async || {
            let node = nodes.get(plan::NODE).await?;
            let conditions = node
                .status
                .and_then(|status| status.conditions)
                .unwrap_or_default();
            Ok(
                match conditions.iter().find(|condition| condition.type_ == "Ready") {
                    Some(ready) if ready.status == "True" => Seen::Done(()),
                    Some(ready) => Seen::NotYet(ready.message.clone().unwrap_or_default()),
                    None => Seen::NotYet("no condition Ready yet".into()),
                },
            )
        })
        .await
        .with_context(|| log_tail(&self.plan.state, "kubelet"))
    }
}

/// Copies the logs of all components of a cluster, running or half started, before [`Local::stop`] removes them.
///
/// # Errors
/// They cannot be copied. A cluster that never had logs is no error.
pub fn save_logs(cache: &Cache, name: &str, folder: &Path) -> Result<()> {
    let logs = cache.root().join("clusters").join(name).join("logs");
    let Ok(entries) = fs::read_dir(&logs) else {
        return Ok(());
    };
    fs::create_dir_all(folder).with_context(|| format!("cannot create `{}`", folder.display()))?;
    for entry in entries {
        let entry = entry.with_context(|| format!("cannot list `{}`", logs.display()))?;
        let copy = folder.join(entry.file_name());
        fs::copy(entry.path(), &copy).with_context(|| format!("cannot write `{}`", copy.display()))?;
    }
    Ok(())
}

/// An archive that holds [`BUSYBOX_IMAGE`], for docker. Its bytes are always the same.
///
/// # Errors
/// busybox is not installed.
pub fn first_images() -> Result<Vec<u8>> {
    images::archive(images::Reader::Docker)
}

/// Starts the first process, which outlives this one.
fn spawn_init(name: &str, state: &Path) -> Result<()> {
    let program = std::env::current_exe().context("cannot find this program's own file")?;
    let path = state.join("logs/init.log");
    let log = File::create(&path).with_context(|| format!("cannot create `{}`", path.display()))?;
    let errors = log.try_clone().context("cannot share a log file")?;
    // unshare of util-linux does what would need unsafe code here. It stays as one small process that waits for the
    // first one.
    Command::new("unshare")
        .args(["--mount", "--net", "--pid", "--fork", "--"])
        .arg(program)
        .arg(INIT)
        .arg(state)
        .env(MARK, name)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(errors)
        // Its own process group: Ctrl-C at the terminal must end the command, not the cluster.
        .process_group(0)
        .spawn()
        .context("cannot start `unshare`")?;
    Ok(())
}

/// The cluster's first process, if the recorded one still runs.
fn living(state: &Path) -> Result<Option<Identity>> {
    let Ok(text) = fs::read(state.join("init.json")) else {
        return Ok(None);
    };
    let known: Identity = serde_json::from_slice(&text).context("init.json is unreadable")?;
    let folder = PathBuf::from(format!("/proc/{}", known.pid));
    // A process that ends between these two lines counts as gone.
    Ok(init::identity(&folder)
        .ok()
        .filter(|now| now.started == known.started))
}

fn remove_cgroup(group: &Path) -> Result<()> {
    let Ok(entries) = fs::read_dir(group) else {
        return Ok(());
    };
    for entry in entries {
        let entry = entry.with_context(|| format!("cannot list `{}`", group.display()))?;
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_cgroup(&entry.path())?;
        }
    }
    fs::remove_dir(group).with_context(|| format!("cannot remove `{}`", group.display()))
}

/// The name of the host's end of the veth pair.
fn interface(name: &str) -> String {
    name.to_owned()
}

/// The name becomes part of folder, interface and cgroup names. Interface names allow the fewest characters.
fn check_name(name: &str) -> Result<()> {
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if name.is_empty() || name.len() > 15 || !name.starts_with("berth") || !name.chars().all(good) {
        bail!(
            "`{name}` cannot name a local cluster: `berth`, then small letters, digits and dashes, 15 at most"
        );
    }
    Ok(())
}

/// A third byte of `10.213.x.0/30` that no interface of the host uses. The byte derived from the name is preferred.
async fn free_subnet(name: &str) -> Result<u8> {
    let used = Exec::new("ip")
        .args(["-4", "-o", "address"])
        .success()
        .await
        .context("cannot list addresses")?;
    let first = name
        .bytes()
        .fold(0_u8, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte));
    (0..=u8::MAX)
        .map(|step| first.wrapping_add(step))
        .find(|subnet| !used.contains(&format!(" 10.213.{subnet}.")))
        .context("all of 10.213.0.0/16 is in use")
}

fn log_tail(state: &Path, component: &str) -> String {
    let path = state.join("logs").join(format!("{component}.log"));
    let text = fs::read_to_string(&path).unwrap_or_default();
    format!("`{}` ends with:\n{}", path.display(), tail(&text, 15))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_could_not_be_an_interface_is_refused() {
        for (name, good) in [
            ("berth", true),
            ("berth-e2e", true),
            ("", false),
            ("eth0", false),
            ("berth-with-a-long-name", false),
            ("berth/../x", false),
        ] {
            assert_eq!(check_name(name).is_ok(), good, "{name}");
        }
    }

    #[test]
    fn a_process_is_known_by_number_and_start() {
        let me = init::identity(Path::new("/proc/self")).unwrap();
        assert_eq!(u32::try_from(me.pid).unwrap(), std::process::id());
        assert!(me.started > 0);
    }
}
