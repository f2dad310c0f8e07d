//! The plan of a local cluster: the file from which its first process starts everything.
//!
//! Guarantees: all choices (addresses, flags, files) are made here before anything runs, and [`super::init`] only
//! carries them out. Must not: start anything. Start at [`Plan::draw`].

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use super::Programs;
use crate::control_plane::{ControlPlane, FEATURE, SERVICE_RANGE};
use crate::pki::write_secret;

/// The node's name.
pub(crate) const NODE: &str = "node1";
/// The API server's port on the cluster's address.
const API_PORT: u16 = 6443;
/// The addresses of Pods.
const POD_RANGE: &str = "10.244.0.0/24";
/// Any host name under this domain is the cluster's address, for Pods and for the node.
pub const DOMAIN: &str = "berth.test";
/// The image every Pod's first container runs.
pub(crate) const PAUSE_IMAGE: &str = "berth.test/pause:1";
/// A shell for helper Pods.
pub const BUSYBOX_IMAGE: &str = "berth.test/busybox:1";

/// The folder of the state with links to programs that others look up by their names.
const PROGRAMS: &str = "bin";

/// The folders of programs inside a cluster's namespaces.
pub(super) fn search_path(state: &Path) -> String {
    let inherited = std::env::var("PATH").unwrap_or_default();
    format!("{}:{inherited}", state.join(PROGRAMS).display())
}

/// All that the first process has to know.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Plan {
    pub(crate) name: String,
    pub(crate) state: PathBuf,
    /// The node's address, at the inner end of the veth pair.
    pub(crate) address: Ipv4Addr,
    /// The host's address, at its outer end.
    pub(crate) gateway: Ipv4Addr,
    pub(crate) kubeconfig: PathBuf,
    pub(crate) audit_log: PathBuf,
    pub(crate) service_range: String,
    /// Private files, by their path inside the cluster's mount namespace.
    pub(crate) files: Vec<(PathBuf, String)>,
    /// The components, in the order in which they are started.
    pub(crate) components: Vec<Component>,
}

/// One process of the cluster.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Component {
    pub(crate) name: String,
    pub(crate) program: PathBuf,
    pub(crate) args: Vec<String>,
    pub(crate) env: Vec<(String, String)>,
    /// The condition for starting the next component.
    pub(crate) ready: Ready,
}

/// How the first process sees that a component is ready.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) enum Ready {
    /// It is started; the next component does not depend on it.
    Started,
    /// Its unix socket accepts connections.
    Socket(PathBuf),
    /// Its TCP port accepts connections.
    Port(u16),
    /// `/readyz` says ok.
    ApiServer,
}

impl Plan {
    /// Decides everything, and writes the files of the state folder.
    pub(crate) fn draw(name: &str, state: &Path, subnet: u8, programs: &Programs) -> Result<Self> {
        let address = Ipv4Addr::new(10, 213, subnet, 2);
        let plane = ControlPlane::prepare(state, IpAddr::V4(address), [API_PORT, 2379, 2380], Some(NODE))?;
        let draft = Draft {
            name,
            state,
            address,
            programs,
            plane: &plane,
        };
        Ok(Self {
            name: name.to_owned(),
            state: state.to_owned(),
            address,
            gateway: Ipv4Addr::new(10, 213, subnet, 1),
            kubeconfig: plane.kubeconfig(),
            audit_log: plane.audit_log(),
            service_range: SERVICE_RANGE.to_owned(),
            files: draft.files(),
            components: draft.components()?,
        })
    }

    /// Reads the plan of a cluster that was started earlier.
    pub(crate) fn read(state: &Path) -> Result<Self> {
        let path = state.join("plan.json");
        let text = fs::read(&path).with_context(|| format!("cannot read `{}`", path.display()))?;
        serde_json::from_slice(&text).with_context(|| format!("`{}` is no plan", path.display()))
    }

    pub(crate) fn write(&self) -> Result<()> {
        let text = serde_json::to_string_pretty(self).context("a plan is always JSON")?;
        write_secret(&self.state.join("plan.json"), &text)
    }
}

/// The values from which the components' arguments are made.
struct Draft<'a> {
    name: &'a str,
    state: &'a Path,
    address: Ipv4Addr,
    programs: &'a Programs,
    plane: &'a ControlPlane,
}

impl Draft<'_> {
    fn in_state(&self, name: &str) -> String {
        self.state.join(name).display().to_string()
    }

    fn files(&self) -> Vec<(PathBuf, String)> {
        let address = self.address;
        vec![
            (
                "/etc/hosts".into(),
                format!("127.0.0.1 localhost\n{address} {NODE}\n"),
            ),
            // The node resolves names as a Pod does, so that docker and containerd find Services and Ingress hosts.
            (
                "/etc/resolv.conf".into(),
                format!("nameserver {address}\nsearch cluster.local\n"),
            ),
            ("/etc/cni/net.d/10-berth.conflist".into(), cni()),
        ]
    }

    fn components(&self) -> Result<Vec<Component>> {
        let admin = self.plane.kubeconfig().display().to_string();
        let kubernetes = |name: &str, args: Vec<String>, ready: Ready| Component {
            name: name.to_owned(),
            program: self.programs.kubernetes.clone(),
            args,
            env: Vec::new(),
            ready,
        };
        let other = |name: &str, program: &Path, args: Vec<String>, ready: Ready| Component {
            name: name.to_owned(),
            program: program.to_owned(),
            args,
            env: vec![("KUBECONFIG".to_owned(), admin.clone())],
            ready,
        };
        self.link_programs()?;
        write_secret(&self.state.join("containerd.toml"), &self.containerd())?;
        write_secret(&self.state.join("kubelet.yaml"), &self.kubelet())?;
        write_secret(&self.state.join("kube-proxy.yaml"), &kube_proxy(&admin))?;
        write_secret(&self.state.join("Corefile"), &self.corefile(&admin))?;
        write_secret(&self.state.join("docker.json"), "{}")?;
        write_secret(&self.state.join("local-path.json"), &self.local_path())?;
        write_secret(&self.state.join("helper-pod.yaml"), HELPER_POD)?;
        let mut components = vec![
            kubernetes("etcd", self.plane.etcd(), Ready::Port(2379)),
            Component {
                // It looks for its shim in the folders of PATH.
                env: vec![("PATH".to_owned(), search_path(self.state))],
                ..other(
                    "containerd",
                    &self.programs.containerd,
                    vec!["--config".into(), self.in_state("containerd.toml")],
                    Ready::Socket(CONTAINERD_SOCKET.into()),
                )
            },
            kubernetes("kube-apiserver", self.plane.apiserver(), Ready::ApiServer),
            kubernetes(
                "kube-controller-manager",
                self.controller_manager(&admin),
                Ready::Started,
            ),
            kubernetes(
                "kube-scheduler",
                vec![
                    "kube-scheduler".into(),
                    format!("--kubeconfig={admin}"),
                    "--leader-elect=false".into(),
                ],
                Ready::Started,
            ),
            kubernetes("kubelet", self.kubelet_args(), Ready::Started),
            kubernetes(
                "kube-proxy",
                vec![
                    "kube-proxy".into(),
                    format!("--config={}", self.in_state("kube-proxy.yaml")),
                ],
                Ready::Started,
            ),
        ];
        // Before the other engine: this one has no network, and removes the other's bridge when it starts.
        if let Some(docker) = &self.programs.current_docker {
            let ready = Ready::Socket(CURRENT_DOCKER_SOCKET.into());
            components.push(other(
                "dockerd-current",
                &docker.engine,
                self.current_dockerd(),
                ready,
            ));
        }
        components.extend([
            other(
                "dockerd",
                Path::new("dockerd"),
                self.dockerd(),
                Ready::Socket("/run/docker.sock".into()),
            ),
            other(
                "coredns",
                &self.programs.coredns,
                vec!["-conf".into(), self.in_state("Corefile")],
                Ready::Port(53),
            ),
            other(
                "traefik",
                &self.programs.traefik,
                ingress_controller_args(&self.address.to_string()),
                Ready::Port(443),
            ),
            other(
                "local-path-provisioner",
                &self.programs.local_path_provisioner,
                self.local_path_args(&admin),
                Ready::Started,
            ),
        ]);
        Ok(components)
    }

    /// Links to the programs that others look up by their names.
    fn link_programs(&self) -> Result<()> {
        let folder = self.state.join(PROGRAMS);
        fs::create_dir_all(&folder).with_context(|| format!("cannot create `{}`", folder.display()))?;
        for (name, program) in [
            ("containerd-shim-runc-v2", &self.programs.containerd_shim),
            ("ctr", &self.programs.ctr),
        ] {
            let link = folder.join(name);
            match fs::remove_file(&link) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
                Ok(()) | Err(_) => symlink(program, &link),
            }
            .with_context(|| format!("cannot link `{}`", link.display()))?;
        }
        Ok(())
    }

    fn controller_manager(&self, admin: &str) -> Vec<String> {
        vec![
            "kube-controller-manager".into(),
            format!("--kubeconfig={admin}"),
            format!("--service-account-private-key-file={}", self.plane.file("sa.key")),
            format!("--root-ca-file={}", self.plane.file("ca.crt")),
            format!("--cluster-signing-cert-file={}", self.plane.file("ca.crt")),
            format!("--cluster-signing-key-file={}", self.plane.file("ca.key")),
            format!("--cert-dir={}", self.in_state("pki")),
            "--use-service-account-credentials".into(),
            "--leader-elect=false".into(),
        ]
    }

    fn kubelet_args(&self) -> Vec<String> {
        vec![
            "kubelet".into(),
            format!("--config={}", self.in_state("kubelet.yaml")),
            format!("--kubeconfig={}", self.in_state("kubelet.kubeconfig")),
            format!("--hostname-override={NODE}"),
            format!("--node-ip={}", self.address),
            format!("--root-dir={}", self.in_state("kubelet")),
            format!("--cert-dir={}", self.in_state("pki")),
        ]
    }

    /// `oomScoreAdj` and `localStorageCapacityIsolation` are set because containers of CI machines lack
    /// `CAP_SYS_RESOURCE`, and the kubelet often cannot measure the file system of the state folder.
    fn kubelet(&self) -> String {
        format!(
            "apiVersion: kubelet.config.k8s.io/v1beta1\n\
             kind: KubeletConfiguration\n\
             authentication: {{x509: {{clientCAFile: {ca}}}, webhook: {{enabled: true}}, anonymous: {{enabled: false}}}}\n\
             authorization: {{mode: Webhook}}\n\
             tlsCertFile: {certificate}\n\
             tlsPrivateKeyFile: {key}\n\
             cgroupDriver: cgroupfs\n\
             cgroupRoot: {cgroup}\n\
             failCgroupV1: false\n\
             featureGates: {{{FEATURE}: true}}\n\
             containerRuntimeEndpoint: unix://{CONTAINERD_SOCKET}\n\
             clusterDNS: [{address}]\n\
             clusterDomain: cluster.local\n\
             resolvConf: /etc/resolv.conf\n\
             volumePluginDir: {plugins}\n\
             failSwapOn: false\n\
             oomScoreAdj: 0\n\
             localStorageCapacityIsolation: false\n\
             enforceNodeAllocatable: []\n\
             evictionHard: {{memory.available: \"0%\", nodefs.available: \"0%\", nodefs.inodesFree: \"0%\", imagefs.available: \"0%\"}}\n\
             imageGCHighThresholdPercent: 100\n\
             serializeImagePulls: false\n\
             nodeStatusUpdateFrequency: 4s\n",
            ca = self.plane.file("ca.crt"),
            certificate = self.plane.file("kubelet.crt"),
            key = self.plane.file("kubelet.key"),
            cgroup = cgroup(self.name),
            address = self.address,
            plugins = self.in_state("kubelet/volume-plugins"),
        )
    }

    fn containerd(&self) -> String {
        format!(
            "version = 3\n\
             root = \"{root}\"\n\
             state = \"/run/containerd\"\n\
             [grpc]\n\
             address = \"{CONTAINERD_SOCKET}\"\n\
             [plugins.\"io.containerd.cri.v1.images\".pinned_images]\n\
             sandbox = \"{PAUSE_IMAGE}\"\n\
             [plugins.\"io.containerd.cri.v1.runtime\"]\n\
             restrict_oom_score_adj = true\n\
             [plugins.\"io.containerd.cri.v1.runtime\".cni]\n\
             bin_dirs = [\"/usr/lib/cni\"]\n\
             conf_dir = \"/etc/cni/net.d\"\n\
             [plugins.\"io.containerd.cri.v1.images\".registry]\n\
             config_path = \"/etc/containerd/certs.d\"\n",
            root = self.in_state("containerd"),
        )
    }

    fn dockerd(&self) -> Vec<String> {
        vec![
            format!("--config-file={}", self.in_state("docker.json")),
            format!("--data-root={}", self.in_state("docker")),
            "--exec-root=/run/docker".into(),
            "--host=unix:///run/docker.sock".into(),
            format!("--containerd={CONTAINERD_SOCKET}"),
            format!("--cgroup-parent={}/docker", cgroup(self.name)),
        ]
    }

    /// The engine of today keeps its images in the kubelet's containerd, under a name of its own. It has no network, because
    /// only one engine can own docker's rules for packets.
    fn current_dockerd(&self) -> Vec<String> {
        let mut args = vec![
            format!("--config-file={}", self.in_state("docker.json")),
            format!("--data-root={}", self.in_state("docker-current")),
            "--exec-root=/run/docker-current".into(),
            "--pidfile=/run/docker-current.pid".into(),
            format!("--host=unix://{CURRENT_DOCKER_SOCKET}"),
            format!("--containerd={CONTAINERD_SOCKET}"),
            format!("--cgroup-parent={}/docker-current", cgroup(self.name)),
        ];
        let fixed = [
            "--containerd-namespace=docker-current",
            "--containerd-plugins-namespace=docker-current-plugins",
            "--bridge=none",
            "--iptables=false",
            "--ip6tables=false",
            "--ip-forward=false",
            "--ip-masq=false",
        ];
        args.extend(fixed.map(str::to_owned));
        args
    }

    /// Three zones: Services, the test domain, and the names of the private hosts file. Nothing is forwarded, so an
    /// unknown name fails at once.
    fn corefile(&self, admin: &str) -> String {
        format!(
            "cluster.local in-addr.arpa ip6.arpa {{\n\
             \x20 bind {address}\n\
             \x20 errors\n\
             \x20 kubernetes {{\n    kubeconfig {admin}\n    pods insecure\n    ttl 5\n  }}\n\
             }}\n\
             {DOMAIN} {{\n\
             \x20 bind {address}\n\
             \x20 errors\n\
             \x20 template IN A {{\n    answer \"{{{{ .Name }}}} 30 IN A {address}\"\n  }}\n\
             \x20 template IN ANY {{\n    rcode NOERROR\n  }}\n\
             }}\n\
             . {{\n\
             \x20 bind {address}\n\
             \x20 errors\n\
             \x20 hosts /etc/hosts {{\n    reload 1s\n    ttl 1\n  }}\n\
             }}\n",
            address = self.address,
        )
    }

    fn local_path(&self) -> String {
        format!(
            "{{\"nodePathMap\": [{{\"node\": \"DEFAULT_PATH_FOR_NON_LISTED_NODES\", \"paths\": [\"{}\"]}}]}}",
            self.in_state("volumes")
        )
    }

    fn local_path_args(&self, admin: &str) -> Vec<String> {
        vec![
            "start".into(),
            format!("--config={}", self.in_state("local-path.json")),
            format!("--kubeconfig={admin}"),
            format!("--namespace={STORAGE_NAMESPACE}"),
            format!("--helper-pod-file={}", self.in_state("helper-pod.yaml")),
            format!("--helper-image={BUSYBOX_IMAGE}"),
            "--service-account-name=default".into(),
        ]
    }
}

const CONTAINERD_SOCKET: &str = "/run/containerd/containerd.sock";

/// The socket of docker's engine of today.
pub(super) const CURRENT_DOCKER_SOCKET: &str = "/run/docker-current.sock";

/// The namespace of the provisioner's helper Pods.
const STORAGE_NAMESPACE: &str = "local-path-storage";

/// The cgroup, below every controller's root, that holds all Pods and containers of a cluster.
pub(crate) fn cgroup(name: &str) -> String {
    format!("/{name}")
}

/// The Pod network routes and does not bridge. A reply from one Pod to another then goes through the node's
/// connection tracking, even where the kernel does not show bridged packets to it, and Services work between Pods.
fn cni() -> String {
    format!(
        "{{\"cniVersion\": \"1.0.0\", \"name\": \"berth\", \"plugins\": [\
         {{\"type\": \"ptp\", \"ipMasq\": true, \"ipam\": {{\"type\": \"host-local\", \
         \"dataDir\": \"/run/cni\", \"ranges\": [[{{\"subnet\": \"{POD_RANGE}\"}}]], \
         \"routes\": [{{\"dst\": \"0.0.0.0/0\"}}]}}}}, \
         {{\"type\": \"portmap\", \"capabilities\": {{\"portMappings\": true}}}}]}}\n"
    )
}

/// `maxPerCore: 0` leaves the size of the connection table to the host.
fn kube_proxy(admin: &str) -> String {
    format!(
        "apiVersion: kubeproxy.config.k8s.io/v1alpha1\n\
         kind: KubeProxyConfiguration\n\
         clientConnection: {{kubeconfig: {admin}}}\n\
         clusterCIDR: {POD_RANGE}\n\
         mode: iptables\n\
         hostnameOverride: {NODE}\n\
         oomScoreAdj: 0\n\
         conntrack: {{maxPerCore: 0}}\n"
    )
}

const HELPER_POD: &str = "\
apiVersion: v1
kind: Pod
metadata:
  name: helper-pod
spec:
  priorityClassName: system-node-critical
  containers:
  - name: helper-pod
    image: berth.test/busybox:1
    imagePullPolicy: IfNotPresent
";

/// Objects every cluster starts with. The helper makes a volume's folder writable for everybody, because the
/// kubelet does not apply `fsGroup` to hostPath volumes.
pub(crate) const OBJECTS: &str = "\
apiVersion: v1
kind: Namespace
metadata: {name: local-path-storage}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: local-path-config, namespace: local-path-storage}
data:
  setup: |
    #!/bin/sh
    set -eu
    mkdir -m 0777 -p \"$VOL_DIR\"
    chmod 0777 \"$VOL_DIR\"
  teardown: |
    #!/bin/sh
    set -eu
    rm -rf \"$VOL_DIR\"
---
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata:
  name: local-path
  annotations: {storageclass.kubernetes.io/is-default-class: \"true\"}
provisioner: rancher.io/local-path
volumeBindingMode: WaitForFirstConsumer
reclaimPolicy: Delete
---
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {name: nginx}
spec: {controller: k8s.io/ingress-nginx}
";

/// The arguments of Traefik. `readTimeout=0`: the default of 60 s covers a whole request body, so one slow layer would
/// be cut off.
pub(crate) fn ingress_controller_args(address: &str) -> Vec<String> {
    [
        "--entryPoints.web.address=:80",
        "--entryPoints.web.transport.respondingTimeouts.readTimeout=0",
        "--entryPoints.websecure.address=:443",
        "--entryPoints.websecure.http.tls=true",
        "--entryPoints.websecure.transport.respondingTimeouts.readTimeout=0",
        "--experimental.kubernetesIngressNGINX=true",
        "--providers.kubernetesIngressNGINX=true",
        // By default two seconds pass between two changes. In that time a new Registry's host would be unknown.
        "--providers.providersThrottleDuration=50ms",
        "--accessLog=true",
        "--log.level=INFO",
        "--global.checkNewVersion=false",
        "--global.sendAnonymousUsage=false",
    ]
    .into_iter()
    .map(str::to_owned)
    .chain([format!(
        "--providers.kubernetesIngressNGINX.publishStatusAddress={address}"
    )])
    .collect()
}
