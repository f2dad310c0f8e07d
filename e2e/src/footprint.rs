//! The state of a machine outside a cluster, so that a test can show that a cluster left nothing behind.
//!
//! Guarantees: it only reads. It compares interfaces, addresses, packet filter rules, mounts, cgroups, the files of
//! `/etc`, settings of the whole machine, and processes. A process counts as left behind when it is in namespaces
//! other than this program's, or has the mark that every process of a local cluster inherits; other processes come
//! and go on any machine. The caller names other local clusters, which are left out. Must not: be taken while one of
//! those starts or stops. Start at [`Snapshot::take`].

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use sha2::{Digest as _, Sha256};

use crate::exec::Exec;

/// The environment variable every process of a local cluster inherits; its value is the cluster's name.
pub const MARK: &str = "BERTH_CLUSTER";

/// Settings that a kubelet or a docker daemon changes.
const SETTINGS: [&str; 8] = [
    "kernel/keys/root_maxbytes",
    "kernel/keys/root_maxkeys",
    "kernel/panic",
    "kernel/panic_on_oops",
    "net/ipv4/conf/all/route_localnet",
    "net/ipv4/ip_forward",
    "vm/overcommit_memory",
    "vm/panic_on_oom",
];

/// The machine at one moment: a set of lines, each beginning with its subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    lines: BTreeSet<String>,
}

impl Snapshot {
    /// Takes a snapshot of everything.
    ///
    /// # Errors
    /// Something cannot be read, which would hide a difference.
    pub async fn take() -> Result<Self> {
        Self::take_excluding(&[]).await
    }

    /// Takes a snapshot without the interfaces, cgroups and processes of the local clusters in `others`, which may
    /// come and go meanwhile.
    ///
    /// # Errors
    /// Something cannot be read, which would hide a difference.
    pub async fn take_excluding(others: &[String]) -> Result<Self> {
        let mut lines = BTreeSet::new();
        // Counters and lifetimes change all the time.
        let links = Exec::new("ip")
            .args(["-o", "link"])
            .success()
            .await
            .context("cannot list interfaces")?;
        lines.extend(links.lines().map(|line| {
            format!(
                "ip link: {}",
                line.split_once(": ").map_or(line, |(_, rest)| rest)
            )
        }));
        let addresses = Exec::new("ip")
            .args(["-o", "address"])
            .success()
            .await
            .context("cannot list addresses")?;
        lines.extend(addresses.lines().map(|line| {
            let kept: Vec<&str> = line.split_whitespace().skip(1).take(3).collect();
            format!("ip address: {}", kept.join(" "))
        }));
        for program in ["iptables-save", "ip6tables-save"] {
            let rules = Exec::new(program)
                .success()
                .await
                .context("cannot list packet filter rules")?;
            // Comments hold the time, and chains hold counters.
            lines.extend(
                rules
                    .lines()
                    .filter(|line| !line.starts_with('#'))
                    .map(|line| format!("{program}: {}", line.split(" [").next().unwrap_or(line))),
            );
        }
        let mounts = fs::read_to_string("/proc/self/mounts").context("cannot list mounts")?;
        lines.extend(mounts.lines().map(|line| format!("mount: {line}")));
        for setting in SETTINGS {
            let path = Path::new("/proc/sys").join(setting);
            let value =
                fs::read_to_string(&path).with_context(|| format!("cannot read `{}`", path.display()))?;
            lines.insert(format!("setting: {setting} = {}", value.trim()));
        }
        files(Path::new("/etc"), &mut lines)?;
        folders(Path::new("/sys/fs/cgroup"), 2, &mut lines)?;
        for folder in ["/var/lib", "/var/log", "/run", "/opt", "/usr/libexec"] {
            folders(Path::new(folder), 1, &mut lines)?;
        }
        for (owner, line) in foreign_processes()? {
            if owner.is_none_or(|owner| !others.contains(&owner)) {
                lines.insert(line);
            }
        }
        lines.retain(|line| !others.iter().any(|other| belongs(line, other)));
        Ok(Self { lines })
    }

    /// The differences to `now`, one line each: `+` was added, `-` was removed.
    #[must_use]
    pub fn diff(&self, now: &Snapshot) -> Vec<String> {
        let gone = self.lines.difference(&now.lines).map(|line| format!("- {line}"));
        let new = now.lines.difference(&self.lines).map(|line| format!("+ {line}"));
        gone.chain(new).collect()
    }

    /// The number of things that were compared.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// Whether there was nothing to compare.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }
}

/// Adds a line with path and digest for every file of a tree.
fn files(folder: &Path, lines: &mut BTreeSet<String>) -> Result<()> {
    for path in entries(folder)? {
        let kind =
            fs::symlink_metadata(&path).with_context(|| format!("cannot look at `{}`", path.display()))?;
        let shown = path.display();
        if kind.is_dir() {
            lines.insert(format!("{shown}/"));
            files(&path, lines)?;
        } else if kind.is_symlink() {
            let target = fs::read_link(&path).with_context(|| format!("cannot read `{shown}`"))?;
            lines.insert(format!("{shown} -> {}", target.display()));
        } else if kind.is_file() {
            let bytes = fs::read(&path).with_context(|| format!("cannot read `{shown}`"))?;
            let digest: String = Sha256::digest(bytes)
                .iter()
                .take(8)
                .map(|byte| format!("{byte:02x}"))
                .collect();
            lines.insert(format!("{shown} {digest}"));
        } else {
            lines.insert(format!("{shown} (special)"));
        }
    }
    Ok(())
}

fn folders(folder: &Path, depth: u32, lines: &mut BTreeSet<String>) -> Result<()> {
    if depth == 0 || !folder.exists() {
        return Ok(());
    }
    for path in entries(folder)? {
        if path.is_dir() && !path.is_symlink() {
            lines.insert(format!("{}/", path.display()));
            folders(&path, depth - 1, lines)?;
        }
    }
    Ok(())
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let list = |error| format!("cannot list `{}`: {error}", folder.display());
    fs::read_dir(folder)
        .map_err(|error| anyhow::anyhow!(list(error)))?
        .map(|entry| {
            entry
                .map(|entry| entry.path())
                .map_err(|error| anyhow::anyhow!(list(error)))
        })
        .collect()
}

/// Whether a line belongs to the interface or a cgroup of that cluster.
fn belongs(line: &str, cluster: &str) -> bool {
    line.starts_with(&format!("ip link: {cluster}@"))
        || line.starts_with(&format!("ip address: {cluster} "))
        || (line.starts_with("/sys/fs/cgroup/") && line.split('/').any(|part| part == cluster))
}

/// Processes in other namespaces and processes with the mark, each with its cluster.
fn foreign_processes() -> Result<Vec<(Option<String>, String)>> {
    let namespace = |pid: &str, kind: &str| fs::read_link(format!("/proc/{pid}/ns/{kind}")).ok();
    let ours = ["mnt", "net", "pid"].map(|kind| (kind, namespace("self", kind)));
    let mut lines = Vec::new();
    for path in entries(Path::new("/proc"))? {
        let Some(pid) = path.file_name().and_then(|name| name.to_str()) else {
            continue;
        };
        if !pid.bytes().all(|byte| byte.is_ascii_digit()) {
            continue;
        }
        // A process can end between two reads. Kernel threads have neither namespaces nor environment.
        let foreign = ours
            .iter()
            .any(|(kind, our)| namespace(pid, kind).is_some_and(|theirs| Some(theirs) != *our));
        if foreign || mark(pid).is_some() {
            let name = fs::read_to_string(path.join("comm")).unwrap_or_default();
            lines.push((owner(pid), format!("process: {pid} {}", name.trim())));
        }
    }
    Ok(lines)
}

/// The mark in a process's environment.
fn mark(pid: &str) -> Option<String> {
    let environment = fs::read(format!("/proc/{pid}/environ")).ok()?;
    let start = format!("{MARK}=");
    environment.split(|byte| *byte == 0).find_map(|pair| {
        String::from_utf8_lossy(pair)
            .strip_prefix(&start)
            .map(str::to_owned)
    })
}

/// The mark of the process or of its nearest ancestor that has one. A process in a container has the container's
/// environment.
fn owner(pid: &str) -> Option<String> {
    let mut pid = pid.to_owned();
    while pid != "0" {
        if let Some(mark) = mark(&pid) {
            return Some(mark);
        }
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        pid = status
            .lines()
            .find_map(|line| line.strip_prefix("PPid:"))?
            .trim()
            .to_owned();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_process_in_other_namespaces_and_one_with_the_mark_are_seen_and_their_end_too() {
        let before = Snapshot::take().await.unwrap();
        let mut marked = std::process::Command::new("sleep")
            .arg("60")
            .env(MARK, "x")
            .spawn()
            .unwrap();
        let line = format!("+ process: {} sleep", marked.id());
        let during = crate::wait::wait_for(
            "the process to be seen",
            std::time::Duration::from_secs(10),
            async || {
                let diff = before.diff(&Snapshot::take().await?);
                Ok(if diff.contains(&line) {
                    crate::wait::Seen::Done(())
                } else {
                    crate::wait::Seen::NotYet(diff.join("\n"))
                })
            },
        );
        let during = during.await;
        marked.kill().unwrap();
        marked.wait().unwrap();
        during.unwrap();
        assert!(!before.diff(&Snapshot::take().await.unwrap()).contains(&line));
    }

    #[test]
    fn only_what_is_named_like_a_cluster_belongs_to_it() {
        for (line, expected) in [
            ("ip link: berth@if2: <UP>", true),
            ("ip link: berth-e2e@if2: <UP>", false),
            ("ip address: berth inet 10.213.67.1/30", true),
            ("/sys/fs/cgroup/memory/berth/", true),
            ("/sys/fs/cgroup/memory/berth-e2e/", false),
            ("/etc/berth/ 00", false),
        ] {
            assert_eq!(belongs(line, "berth"), expected, "{line}");
        }
    }

    #[test]
    fn a_process_in_a_marked_ones_care_belongs_to_the_same_cluster() {
        let mut parent = std::process::Command::new("sh")
            .args(["-c", "env -u BERTH_CLUSTER sleep 60 & echo $!; wait"])
            .env(MARK, "berth-x")
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut output = std::io::BufReader::new(parent.stdout.take().unwrap());
        std::io::BufRead::read_line(&mut output, &mut line).unwrap();
        let child = line.trim();
        let found = owner(child);
        let pid = rustix::process::Pid::from_raw(child.parse().unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        parent.wait().unwrap();
        assert_eq!(found.as_deref(), Some("berth-x"));
    }

    #[test]
    fn a_difference_says_what_came_and_what_went() {
        let lines = |list: &[&str]| Snapshot {
            lines: list.iter().map(|&line| line.to_owned()).collect(),
        };
        let diff = lines(&["mount: a", "mount: b"]).diff(&lines(&["mount: b", "mount: c"]));
        assert_eq!(diff, ["- mount: a", "+ mount: c"]);
    }
}
