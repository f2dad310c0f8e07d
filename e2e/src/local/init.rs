//! The first process of a local cluster's namespaces. It makes the private file systems and the private network,
//! starts the components of a [`Plan`] and reaps ended processes.
//!
//! Guarantees: everything it starts is in its PID namespace, so its death ends all. Its mounts and settings are not
//! visible outside. When a component ends, `components.json` says so, with its log in the same folder. Must not:
//! restart a component, because a test has to see that it died; or write to the terminal. Start at [`run`], which is
//! entered through [`super::serve_if_asked`].

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::Write as _;
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::mount::{MountFlags, mount, mount_bind, mount_bind_recursive, mount_move};
use rustix::process::{Pid, WaitOptions, wait};
use serde::{Deserialize, Serialize};

use super::plan::{Component, Plan, Ready, cgroup};
use crate::apiserver::ready;
use crate::kubeconfig;
use crate::wait::Seen;

/// Time limit for one component to become ready.
const COMPONENT_DEADLINE: Duration = Duration::from_secs(120);
/// Time limit for the host to move its end of the veth pair here.
const LINK_DEADLINE: Duration = Duration::from_secs(30);

/// The process number, outside, of the first process of the namespaces.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(crate) struct Identity {
    pub(crate) pid: i32,
    /// Start time in clock ticks since boot. A later process with the same number has another one.
    pub(crate) started: u64,
}

/// The state of the components, for readers outside.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct Progress {
    /// Whether every component was started and became ready.
    pub(crate) complete: bool,
    /// The failure of the first process, if there was one.
    pub(crate) failure: Option<String>,
    /// How components ended, by name. A running one is not in here.
    pub(crate) ended: BTreeMap<String, String>,
}

/// Runs until it is killed. Returns only when it cannot go on, with the reason.
pub(crate) fn run(state: &Path) -> anyhow::Error {
    let error = match start(state) {
        Ok(never) => match never {},
        Err(error) => error,
    };
    let failed = Progress {
        failure: Some(format!("{error:#}")),
        ..Progress::default()
    };
    match write_json(&state.join("components.json"), &failed) {
        Ok(()) => error,
        Err(other) => error.context(format!("{other:#}")),
    }
}

enum Never {}

fn start(state: &Path) -> Result<Never> {
    let plan = Plan::read(state)?;
    // The host's /proc is still mounted here, and it has this process's number outside.
    write_json(&state.join("init.json"), &identity(Path::new("/proc/self"))?)?;
    mounts(state).context("cannot make the private file systems")?;
    fixed_sysctls()?;
    control_groups(&cgroup(&plan.name))?;
    for (path, text) in &plan.files {
        write_private(path, text)?;
    }
    network(&plan).context("cannot make the private network")?;
    let shared = Arc::new(Shared {
        state: state.to_owned(),
        inner: Mutex::default(),
    });
    let starter = Arc::clone(&shared);
    thread::Builder::new()
        .name("starter".into())
        .spawn(move || {
            if let Err(error) = start_components(&plan, &starter) {
                starter.change(|progress| progress.failure = Some(format!("{error:#}")));
            }
        })
        .context("cannot start a thread")?;
    loop {
        match wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) => shared.ended(pid, ExitStatus::from_raw(status.as_raw())),
            // There is no child at this moment; the starter is about to start one.
            Ok(None) | Err(_) => thread::sleep(Duration::from_millis(50)),
        }
    }
}

/// The number and start time of a process, by its folder in `/proc`.
pub(crate) fn identity(folder: &Path) -> Result<Identity> {
    let text = fs::read_to_string(folder.join("stat"))
        .with_context(|| format!("cannot read `{}/stat`", folder.display()))?;
    // The command's name is in parentheses and may contain any character. Fields are counted after it.
    let (head, rest) = text.rsplit_once(')').context("a process's stat has no name")?;
    let pid = head.split_whitespace().next().and_then(|pid| pid.parse().ok());
    let started = rest
        .split_whitespace()
        .nth(19)
        .and_then(|ticks| ticks.parse().ok());
    Ok(Identity {
        pid: pid.context("no pid in stat")?,
        started: started.context("no start time in stat")?,
    })
}

/// Folders whose path is fixed in components that write to them. Changes go to the state folder.
const OVERLAID: [&str; 3] = ["/etc", "/var/lib", "/var/log"];

fn mounts(state: &Path) -> Result<()> {
    let none = MountFlags::empty();
    mount("proc", "/proc", "proc", none, None).context("cannot mount /proc")?;
    mount("tmpfs", "/run", "tmpfs", none, None).context("cannot mount /run")?;
    let (cgroups, kept) = (Path::new("/run/.cgroup"), Path::new("/run/.state"));
    for folder in [cgroups, kept] {
        fs::create_dir(folder).with_context(|| format!("cannot create `{}`", folder.display()))?;
    }
    // A sysfs of this network namespace, because the inherited one shows the host's interfaces.
    mount_bind_recursive("/sys/fs/cgroup", cgroups).context("cannot keep the cgroup file systems")?;
    mount("sysfs", "/sys", "sysfs", none, None).context("cannot mount /sys")?;
    mount_move(cgroups, "/sys/fs/cgroup").context("cannot put the cgroup file systems back")?;
    // An overlay must not hide the state folder, wherever the cache is.
    mount_bind(state, kept).context("cannot keep the state folder")?;
    for folder in OVERLAID {
        let layer = state
            .join("overlay")
            .join(folder.trim_start_matches('/').replace('/', "-"));
        let (upper, work) = (layer.join("upper"), layer.join("work"));
        for folder in [&upper, &work] {
            fs::create_dir_all(folder).with_context(|| format!("cannot create `{}`", folder.display()))?;
        }
        let options = format!(
            "lowerdir={folder},upperdir={},workdir={}",
            upper.display(),
            work.display()
        );
        let options = std::ffi::CString::new(options).context("a path of the state folder holds a NUL")?;
        mount("overlay", folder, "overlay", none, Some(options.as_c_str()))
            .with_context(|| format!("cannot lay a private layer over {folder}"))?;
    }
    mount_bind(kept, state).context("cannot put the state folder back")?;
    // The cluster must not use the host's registries, networks and daemons.
    for folder in ["/etc/docker", "/etc/containerd", "/etc/cni"] {
        if Path::new(folder).exists() {
            fs::remove_dir_all(folder).with_context(|| format!("cannot hide {folder}"))?;
        }
    }
    for folder in ["/etc/docker/certs.d", "/etc/containerd/certs.d", "/etc/cni/net.d"] {
        fs::create_dir_all(folder).with_context(|| format!("cannot create {folder}"))?;
    }
    Ok(())
}

/// Settings of the whole machine for which the kubelet wants another value. It reads the wanted value from a private
/// file and leaves the real setting alone.
const WANTED_SYSCTLS: [(&str, &str); 6] = [
    ("vm/overcommit_memory", "1"),
    ("vm/panic_on_oom", "0"),
    ("kernel/panic", "10"),
    ("kernel/panic_on_oops", "1"),
    ("kernel/keys/root_maxkeys", "1000000"),
    ("kernel/keys/root_maxbytes", "25000000"),
];

fn fixed_sysctls() -> Result<()> {
    for (name, value) in WANTED_SYSCTLS {
        let file = Path::new("/run/.sysctl").join(name);
        write_private(&file, &format!("{value}\n"))?;
        mount_bind(&file, Path::new("/proc/sys").join(name))
            .with_context(|| format!("cannot cover {name}"))?;
    }
    // This setting belongs to the network namespace only.
    fs::write("/proc/sys/net/ipv4/ip_forward", "1").context("cannot switch forwarding on")
}

/// Makes the cluster's cgroup in every controller.
fn control_groups(name: &str) -> Result<()> {
    for root in cgroup_roots()? {
        let group = root.join(name.trim_start_matches('/'));
        fs::create_dir_all(&group).with_context(|| format!("cannot create `{}`", group.display()))?;
        // A new cpuset is empty, and nothing can run in an empty one.
        for file in ["cpuset.cpus", "cpuset.mems"] {
            if let Ok(value) = fs::read_to_string(root.join(file)) {
                fs::write(group.join(file), value.trim())
                    .with_context(|| format!("cannot set {file} of `{}`", group.display()))?;
            }
        }
    }
    Ok(())
}

/// Every mounted cgroup hierarchy: one per controller in version 1, the only one in version 2.
pub(crate) fn cgroup_roots() -> Result<Vec<PathBuf>> {
    let top = Path::new("/sys/fs/cgroup");
    if top.join("cgroup.procs").exists() {
        return Ok(vec![top.to_owned()]);
    }
    let mut roots = Vec::new();
    for entry in fs::read_dir(top).context("cannot list /sys/fs/cgroup")? {
        let entry = entry.context("cannot list /sys/fs/cgroup")?;
        // `cpu,cpuacct` also has symbolic links to it.
        if entry.file_type().context("cannot look at a cgroup")?.is_dir()
            && entry.path().join("cgroup.procs").exists()
        {
            roots.push(entry.path());
        }
    }
    Ok(roots)
}

fn network(plan: &Plan) -> Result<()> {
    let start = Instant::now();
    while !fs::read_to_string("/proc/net/dev")
        .context("cannot list interfaces")?
        .contains("eth0:")
    {
        if start.elapsed() > LINK_DEADLINE {
            bail!("no interface eth0 came within {} s", LINK_DEADLINE.as_secs());
        }
        thread::sleep(Duration::from_millis(20));
    }
    let address = plan.address.to_string();
    ip(&["link", "set", "lo", "up"])?;
    ip(&["address", "add", &format!("{address}/30"), "dev", "eth0"])?;
    ip(&["link", "set", "eth0", "up"])?;
    // A packet for a Service is routed before its address is translated. There is deliberately no default route: a
    // packet to an unknown address fails at once instead of after a timeout.
    ip(&[
        "route",
        "add",
        &plan.service_range,
        "dev",
        "eth0",
        "src",
        &address,
    ])
}

fn ip(args: &[&str]) -> Result<()> {
    let output = Command::new("ip")
        .args(args)
        .output()
        .context("cannot start `ip`")?;
    if !output.status.success() {
        bail!(
            "`ip {}` failed: {}",
            args.join(" "),
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}

/// The state that the starter and the reaper share.
struct Shared {
    state: PathBuf,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    names: HashMap<Pid, String>,
    progress: Progress,
}

impl Shared {
    fn change(&self, change: impl FnOnce(&mut Progress)) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut inner.progress);
        if let Err(error) = write_json(&self.state.join("components.json"), &inner.progress) {
            // This process's own log is the only place left for the error.
            let _ = writeln!(std::io::stderr(), "{error:#}");
        }
    }

    fn ended(&self, pid: Pid, status: ExitStatus) {
        let name = self
            .inner
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .names
            .remove(&pid);
        // Other processes are orphans of components, adopted by the first process.
        if let Some(name) = name {
            self.change(|progress| {
                progress.ended.insert(name, status.to_string());
            });
        }
    }

    fn has_ended(&self, name: &str) -> bool {
        self.inner
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .progress
            .ended
            .contains_key(name)
    }

    fn spawn(&self, component: &Component) -> Result<()> {
        let path = self.state.join("logs").join(format!("{}.log", component.name));
        let log = File::create(&path).with_context(|| format!("cannot create `{}`", path.display()))?;
        let errors = log.try_clone().context("cannot share a log file")?;
        // Locked during the start, so that the reaper never finds a process without a name.
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let child = Command::new(&component.program)
            .args(&component.args)
            .envs(component.env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {}", component.name))?;
        inner
            .names
            .insert(Pid::from_child(&child), component.name.clone());
        Ok(())
    }
}

fn start_components(plan: &Plan, shared: &Shared) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the asynchronous runtime")?;
    runtime.block_on(async {
        let client = kubeconfig::client(&plan.kubeconfig, kubeconfig::CONTEXT).await?;
        for component in &plan.components {
            shared.spawn(component)?;
            let start = Instant::now();
            while !is_ready(plan, component, &client).await {
                if shared.has_ended(&component.name) {
                    return Ok(());
                }
                if start.elapsed() > COMPONENT_DEADLINE {
                    bail!(
                        "{} was not ready within {} s",
                        component.name,
                        COMPONENT_DEADLINE.as_secs()
                    );
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        shared.change(|progress| progress.complete = true);
        Ok(())
    })
}

async fn is_ready(plan: &Plan, component: &Component, client: &kube::Client) -> bool {
    match &component.ready {
        Ready::Started => true,
        Ready::Socket(path) => UnixStream::connect(path).is_ok(),
        Ready::Port(port) => {
            // Some components listen on the loopback address only, others only on the cluster's.
            [Ipv4Addr::LOCALHOST, plan.address]
                .iter()
                .any(|address| TcpStream::connect((*address, *port)).is_ok())
        }
        Ready::ApiServer => matches!(ready(client).await, Ok(Seen::Done(()))),
    }
}

fn write_private(path: &Path, text: &str) -> Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(|| format!("cannot create `{}`", folder.display()))?;
    }
    // The file is not written through a link: `/etc/resolv.conf` often links into a folder that is empty here.
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("cannot replace `{}`", path.display()));
        }
        Ok(()) | Err(_) => {}
    }
    fs::write(path, text).with_context(|| format!("cannot write `{}`", path.display()))
}

/// Writes a temporary file and renames it, so that a reader never sees a partial file.
fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let text = serde_json::to_vec(value).context("progress is always JSON")?;
    let fresh = path.with_extension("partial");
    fs::write(&fresh, text).with_context(|| format!("cannot write `{}`", fresh.display()))?;
    fs::rename(&fresh, path).with_context(|| format!("cannot rename `{}`", fresh.display()))
}
