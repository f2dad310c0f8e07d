//! Files and arguments of etcd and the API server, shared by [`crate::apiserver`] (no nodes, loopback) and
//! [`crate::local`] (a whole cluster in namespaces).
//!
//! Guarantees: every request is in the audit log at Metadata level, so that a test can count writes.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::pki::{Ca, write_secret};
use crate::{kubeconfig, pki};

/// The first address of [`SERVICE_RANGE`]: the Service `kubernetes`.
const SERVICE_ADDRESS: &str = "10.96.0.1";
/// The addresses of Services.
pub(crate) const SERVICE_RANGE: &str = "10.96.0.0/16";

/// Images as volumes, which the oldest release has and does not switch on.
pub(crate) const FEATURE: &str = "ImageVolume";

/// One line for each request, without bodies.
pub(crate) const AUDIT_POLICY: &str = "\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules: [{level: Metadata}]
";

/// One control plane: its folder, its address and its certificates.
pub(crate) struct ControlPlane {
    dir: PathBuf,
    address: IpAddr,
    port: u16,
    etcd_port: u16,
    etcd_peer_port: u16,
}

impl ControlPlane {
    /// Makes the folder's certificates, keys, policy and the administrator's kubeconfig.
    pub(crate) fn prepare(
        dir: &Path,
        address: IpAddr,
        [port, etcd_port, etcd_peer_port]: [u16; 3],
        node: Option<&str>,
    ) -> Result<Self> {
        let plane = Self {
            dir: dir.to_owned(),
            address,
            port,
            etcd_port,
            etcd_peer_port,
        };
        for folder in ["pki", "etcd"] {
            let path = dir.join(folder);
            fs::create_dir_all(&path).with_context(|| format!("cannot create `{}`", path.display()))?;
        }
        let ca = Ca::new("berth-e2e")?;
        write_secret(&plane.pki("ca.crt"), &ca.certificate())?;
        write_secret(&plane.pki("ca.key"), &ca.key())?;
        let address = address.to_string();
        let names = [
            "localhost",
            "127.0.0.1",
            &address,
            SERVICE_ADDRESS,
            "kubernetes",
            "kubernetes.default",
            "kubernetes.default.svc",
            "kubernetes.default.svc.cluster.local",
        ];
        plane.write_leaf("apiserver", &ca.issue("kube-apiserver", "kubernetes", &names)?)?;
        let admin = ca.issue("admin", "system:masters", &[])?;
        plane.write_leaf("admin", &admin)?;
        write_secret(
            &plane.kubeconfig(),
            &kubeconfig::text(&plane.url(), &ca.certificate(), &admin),
        )?;
        if let Some(node) = node {
            let kubelet = ca.issue(&format!("system:node:{node}"), "system:nodes", &[node, &address])?;
            plane.write_leaf("kubelet", &kubelet)?;
            let text = kubeconfig::text(&plane.url(), &ca.certificate(), &kubelet);
            write_secret(&plane.dir.join("kubelet.kubeconfig"), &text)?;
        }
        let service_accounts =
            rcgen::KeyPair::generate().context("cannot generate the service account key")?;
        write_secret(&plane.pki("sa.key"), &service_accounts.serialize_pem())?;
        write_secret(&plane.pki("sa.pub"), &service_accounts.public_key_pem())?;
        write_secret(&plane.dir.join("audit-policy.yaml"), AUDIT_POLICY)?;
        Ok(plane)
    }

    pub(crate) fn url(&self) -> String {
        format!("https://{}:{}", self.address, self.port)
    }

    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.dir.join("admin.kubeconfig")
    }

    pub(crate) fn audit_log(&self) -> PathBuf {
        self.dir.join("audit.log")
    }

    /// A file of the certificates folder, as text for an argument.
    pub(crate) fn file(&self, name: &str) -> String {
        self.pki(name).display().to_string()
    }

    pub(crate) fn etcd(&self) -> Vec<String> {
        let client = format!("http://127.0.0.1:{}", self.etcd_port);
        let peer = format!("http://127.0.0.1:{}", self.etcd_peer_port);
        vec![
            "etcd".into(),
            format!("--data-dir={}", self.dir.join("etcd").display()),
            format!("--listen-client-urls={client}"),
            format!("--advertise-client-urls={client}"),
            format!("--listen-peer-urls={peer}"),
            format!("--initial-advertise-peer-urls={peer}"),
            format!("--initial-cluster=default={peer}"),
            // The data is needed only as long as the process runs.
            "--unsafe-no-fsync".into(),
        ]
    }

    pub(crate) fn apiserver(&self) -> Vec<String> {
        let mut args = vec![
            "kube-apiserver".into(),
            format!("--etcd-servers=http://127.0.0.1:{}", self.etcd_port),
            format!("--bind-address={}", self.address),
            format!("--advertise-address={}", self.address),
            format!("--secure-port={}", self.port),
            format!("--service-cluster-ip-range={SERVICE_RANGE}"),
            format!("--cert-dir={}", self.dir.join("pki").display()),
            format!("--tls-cert-file={}", self.file("apiserver.crt")),
            format!("--tls-private-key-file={}", self.file("apiserver.key")),
            format!("--client-ca-file={}", self.file("ca.crt")),
            format!("--service-account-key-file={}", self.file("sa.pub")),
            format!("--service-account-signing-key-file={}", self.file("sa.key")),
            "--service-account-issuer=https://kubernetes.default.svc".into(),
            "--authorization-mode=Node,RBAC".into(),
            "--enable-admission-plugins=NodeRestriction".into(),
            "--allow-privileged=true".into(),
            format!("--feature-gates={FEATURE}=true"),
            // No DNS server knows the node's name.
            "--kubelet-preferred-address-types=InternalIP".into(),
            format!("--kubelet-client-certificate={}", self.file("admin.crt")),
            format!("--kubelet-client-key={}", self.file("admin.key")),
            format!(
                "--audit-policy-file={}",
                self.dir.join("audit-policy.yaml").display()
            ),
            format!("--audit-log-path={}", self.audit_log().display()),
            // A single log file without rotation, because a reader remembers its position in it.
            "--audit-log-maxsize=4096".into(),
        ];
        if self.address.is_loopback() {
            // The endpoint of the Service `kubernetes` may not be on loopback; no Pod asks for it.
            args.push("--endpoint-reconciler-type=none".into());
        }
        args
    }

    fn pki(&self, name: &str) -> PathBuf {
        self.dir.join("pki").join(name)
    }

    fn write_leaf(&self, name: &str, leaf: &pki::Leaf) -> Result<()> {
        write_secret(&self.pki(&format!("{name}.crt")), &leaf.certificate)?;
        write_secret(&self.pki(&format!("{name}.key")), &leaf.key)
    }
}
