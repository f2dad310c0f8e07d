//! A real API server without nodes, on loopback, for tests that need the real admission, validation and watches.
//!
//! Guarantees: each server has its own ports, certificates and data in a temporary folder. All processes end, with
//! their process groups, when the value is dropped. Every request is in the audit log. Must not: be used where a Pod
//! has to run, because nothing schedules or starts Pods. Start at [`ApiServer::start`].

use std::fs::{self, File};
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process_group};

use crate::cache::Cache;
use crate::control_plane::ControlPlane;
use crate::exec::tail;
use crate::tools::Tool;
use crate::wait::{Seen, wait_for};
use crate::{kubeconfig, ports};

/// Time from the start of etcd to `/readyz`, on a machine that is busy compiling.
const READY_DEADLINE: Duration = Duration::from_secs(120);

/// etcd and kube-apiserver, and controllers where they were asked for; all end when this is dropped.
pub struct ApiServer {
    // Each is dropped before the one it talks to, so that none logs a lost connection. The folder is dropped last.
    controllers: Option<Group>,
    _apiserver: Group,
    _etcd: Group,
    plane: ControlPlane,
    client: kube::Client,
    dir: tempfile::TempDir,
}

impl ApiServer {
    /// Starts etcd and the API server and waits for `/readyz`. Builds the program first when the cache does not have
    /// it.
    ///
    /// # Errors
    /// The program cannot be built, or a process ends early or is not ready in time; the error quotes its log.
    pub async fn start() -> Result<Self> {
        let program = Tool::kubernetes()?
            .path(&Cache::open()?, |what| eprintln!("{what}"))
            .await?;
        let dir = tempfile::Builder::new()
            .prefix("berth-apiserver-")
            .tempdir()
            .context("cannot make a temporary folder")?;
        let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let ports = [
            ports::free()?.port(),
            ports::free()?.port(),
            ports::free()?.port(),
        ];
        let plane = ControlPlane::prepare(dir.path(), loopback, ports, None)?;
        let mut etcd = Group::start(&program, &plane.etcd(), dir.path().join("etcd.log"))?;
        let mut apiserver = Group::start(&program, &plane.apiserver(), dir.path().join("apiserver.log"))?;
        let client = kubeconfig::client(&plane.kubeconfig(), kubeconfig::CONTEXT).await?;
        wait_for("the API server", READY_DEADLINE, async || {
            for group in [&mut etcd, &mut apiserver] {
                if let Err(ended) = group.check() {
                    return Ok(Seen::Never(ended));
                }
            }
            ready(&client).await
        })
        .await
        .with_context(|| format!("the API server's log ends with:\n{}", apiserver.log_tail()))?;
        Ok(Self {
            controllers: None,
            _apiserver: apiserver,
            _etcd: etcd,
            plane,
            client,
            dir,
        })
    }

    /// Starts some controllers of kube-controller-manager, such as `garbage-collector-controller`.
    ///
    /// # Errors
    /// The program cannot be started.
    pub async fn start_controllers(&mut self, names: &[&str]) -> Result<()> {
        let program = Tool::kubernetes()?
            .path(&Cache::open()?, |what| eprintln!("{what}"))
            .await?;
        let kubeconfig = self.kubeconfig();
        let args = vec![
            "kube-controller-manager".to_owned(),
            format!("--kubeconfig={}", kubeconfig.display()),
            format!("--controllers={}", names.join(",")),
            format!("--service-account-private-key-file={}", self.plane.file("sa.key")),
            format!("--root-ca-file={}", self.plane.file("ca.crt")),
            format!("--cert-dir={}", self.dir.path().join("pki").display()),
            "--bind-address=127.0.0.1".to_owned(),
            format!("--secure-port={}", ports::free()?.port()),
            "--leader-elect=false".to_owned(),
        ];
        let log = self.dir.path().join("controllers.log");
        self.controllers = Some(Group::start(&program, &args, log)?);
        Ok(())
    }

    /// A client with administrator rights.
    #[must_use]
    pub fn client(&self) -> kube::Client {
        self.client.clone()
    }

    /// The URL of the API server.
    #[must_use]
    pub fn url(&self) -> String {
        self.plane.url()
    }

    /// The administrator's kubeconfig; its one context is `berth`.
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        self.plane.kubeconfig()
    }

    /// The audit log, one JSON document per finished request ([`crate::audit`] reads it).
    #[must_use]
    pub fn audit_log(&self) -> PathBuf {
        self.plane.audit_log()
    }
}

/// Asks `/readyz` once; used for every kind of cluster.
pub(crate) async fn ready(client: &kube::Client) -> Result<Seen<()>> {
    let request = http::Request::get("/readyz")
        .body(Vec::new())
        .context("the request for /readyz is invalid")?;
    let answer = client
        .request_text(request)
        .await
        .context("`/readyz` does not answer")?;
    Ok(if answer.trim() == "ok" {
        Seen::Done(())
    } else {
        Seen::NotYet(answer)
    })
}

/// A process that leads a group; the whole group is killed on drop.
struct Group {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Group {
    fn start(program: &Path, args: &[String], log: PathBuf) -> Result<Self> {
        let name = args.first().cloned().unwrap_or_default();
        let output = File::create(&log).with_context(|| format!("cannot create `{}`", log.display()))?;
        let errors = output.try_clone().context("cannot share a log file")?;
        let child = Command::new(program)
            .args(args)
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        Ok(Self { name, child, log })
    }

    fn check(&mut self) -> Result<()> {
        match self
            .child
            .try_wait()
            .with_context(|| format!("cannot wait for {}", self.name))?
        {
            None => Ok(()),
            Some(status) => bail!("{} ended with {status}:\n{}", self.name, self.log_tail()),
        }
    }

    fn log_tail(&self) -> String {
        tail(&fs::read_to_string(&self.log).unwrap_or_default(), 12)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // A process that is already gone is fine, and no caller could handle another error here.
        let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Namespace;
    use kube::Api;

    use super::*;

    #[tokio::test]
    async fn an_api_server_of_its_own_answers_logs_every_request_and_ends_when_dropped() {
        let server = ApiServer::start().await.unwrap();
        let namespaces: Api<Namespace> = Api::all(server.client());
        let default = wait_for("the default namespace", Duration::from_secs(30), async || {
            Ok(Seen::Done(namespaces.get("default").await?))
        });
        assert_eq!(default.await.unwrap().metadata.name.as_deref(), Some("default"));
        assert!(
            fs::read_to_string(server.audit_log())
                .unwrap()
                .contains("/api/v1/namespaces/default")
        );
        let groups = [&server._apiserver, &server._etcd].map(|group| Pid::from_child(&group.child));
        drop(server);
        for group in groups {
            assert_eq!(
                rustix::process::test_kill_process_group(group),
                Err(rustix::io::Errno::SRCH)
            );
        }
    }
}
