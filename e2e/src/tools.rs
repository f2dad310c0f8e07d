//! Programs that the suite compiles from Go modules, because no image can be assumed to be downloadable.
//!
//! Guarantees: versions are those of the committed `go.mod` and `go.sum` (`-mod=readonly`). A program is built once
//! for the same files, compiler and flags, by one run at a time, and appears only when it is complete. Must not:
//! change a file of the checkout. Start at [`Tool::path`]; the modules are in `e2e/tools/`.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use sha2::{Digest as _, Sha256};

use crate::cache::Cache;
use crate::exec::Exec;

/// Time for a cold build of all of Kubernetes on two busy cores.
const BUILD_DEADLINE: Duration = Duration::from_secs(45 * 60);

/// A program built from `e2e/tools/<name>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tool {
    /// The OCI distribution-spec's conformance program.
    Conformance,
    /// The cluster's DNS server.
    CoreDns,
    /// A registry client that shows digests as they are, which docker does not.
    Crane,
    /// registry:3 itself in its newest release, to compare ours with.
    Distribution,
    /// A server of Google Cloud Storage's API over a folder.
    FakeGcsServer,
    /// Helm of the line before the newest, which most people still have.
    Helm3,
    /// Helm of the newest line.
    Helm4,
    /// The command that makes clusters of containers.
    Kind,
    /// etcd, the five Kubernetes components and kubectl in one program.
    Kubernetes,
    /// kustomize, for the manifest of a release.
    Kustomize,
    /// The provisioner that makes volumes from folders of the node.
    LocalPathProvisioner,
    /// The checks of bundles for OLM.
    OperatorVerify,
    /// A client of artifacts and their referrers.
    Oras,
    /// A registry client that uses more of the specification than any other.
    Regctl,
    /// Health of objects as Flux and Argo CD see it.
    ResourceHealth,
    /// The Ingress controller.
    Traefik,
    /// An S3 server over a folder that checks signatures.
    VersityGw,
}

impl Tool {
    /// All tools. Those that most cases wait for come first.
    pub const ALL: [Tool; 17] = [
        Tool::Distribution,
        Tool::Crane,
        Tool::Regctl,
        Tool::Oras,
        Tool::Conformance,
        Tool::VersityGw,
        Tool::FakeGcsServer,
        Tool::Kubernetes,
        Tool::CoreDns,
        Tool::LocalPathProvisioner,
        Tool::Traefik,
        Tool::Helm3,
        Tool::Helm4,
        Tool::Kustomize,
        Tool::OperatorVerify,
        Tool::ResourceHealth,
        Tool::Kind,
    ];

    /// The programs a local cluster needs before it can start.
    pub const CLUSTER: [Tool; 5] = [
        Tool::Kubernetes,
        Tool::CoreDns,
        Tool::LocalPathProvisioner,
        Tool::Traefik,
        Tool::Crane,
    ];

    /// The folder under `e2e/tools/` and the program's file name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Tool::Conformance => "conformance",
            Tool::CoreDns => "coredns",
            Tool::Crane => "crane",
            Tool::Distribution => "distribution",
            Tool::FakeGcsServer => "fake-gcs-server",
            Tool::Helm3 => "helm3",
            Tool::Helm4 => "helm4",
            Tool::Kind => "kind",
            Tool::Kubernetes => "kubernetes",
            Tool::Kustomize => "kustomize",
            Tool::LocalPathProvisioner => "local-path-provisioner",
            Tool::OperatorVerify => "operator-verify",
            Tool::Oras => "oras",
            Tool::Regctl => "regctl",
            Tool::ResourceHealth => "resource-health",
            Tool::Traefik => "traefik",
            Tool::VersityGw => "versitygw",
        }
    }

    /// The Go package that is built.
    fn package(self) -> &'static str {
        match self {
            Tool::Conformance => "github.com/opencontainers/distribution-spec/conformance",
            Tool::CoreDns => "github.com/coredns/coredns",
            Tool::Crane => "github.com/google/go-containerregistry/cmd/crane",
            Tool::Distribution => "github.com/distribution/distribution/v3/cmd/registry",
            Tool::FakeGcsServer => "github.com/fsouza/fake-gcs-server",
            Tool::Helm3 => "helm.sh/helm/v3/cmd/helm",
            Tool::Helm4 => "helm.sh/helm/v4/cmd/helm",
            Tool::Kind => "sigs.k8s.io/kind",
            Tool::Kubernetes | Tool::ResourceHealth => ".",
            Tool::Kustomize => "sigs.k8s.io/kustomize/kustomize/v5",
            Tool::LocalPathProvisioner => "github.com/rancher/local-path-provisioner",
            Tool::OperatorVerify => "github.com/operator-framework/api/cmd/operator-verify",
            Tool::Oras => "oras.land/oras/cmd/oras",
            Tool::Regctl => "github.com/regclient/regclient/cmd/regctl",
            Tool::Traefik => "github.com/traefik/traefik/v3/cmd/traefik",
            Tool::VersityGw => "github.com/versity/versitygw/cmd/versitygw",
        }
    }

    /// Minutes of a cold build on two cores, for the sentence printed before it starts.
    fn cold_minutes(self) -> u32 {
        match self {
            Tool::Conformance
            | Tool::Crane
            | Tool::Kind
            | Tool::Kustomize
            | Tool::OperatorVerify
            | Tool::Oras
            | Tool::Regctl
            | Tool::ResourceHealth => 1,
            Tool::CoreDns => 4,
            Tool::Distribution | Tool::Helm3 | Tool::Helm4 | Tool::LocalPathProvisioner | Tool::VersityGw => {
                2
            }
            Tool::FakeGcsServer => 3,
            Tool::Kubernetes => 8,
            Tool::Traefik => 10,
        }
    }

    fn linker_flags(self) -> &'static str {
        match self {
            // Without these flags the components refuse their own version as unparsable. The figure is that of
            // go.mod.
            Tool::Kubernetes => {
                "-s -w -X k8s.io/component-base/version.gitVersion=v1.34.4 \
                 -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=34"
            }
            // As Helm's releases are built: without them it takes every cluster that it does not ask for version 1.20.
            Tool::Helm3 => {
                "-s -w -X helm.sh/helm/v3/internal/version.version=v3.22.0 \
                 -X helm.sh/helm/v3/pkg/chartutil.k8sVersionMajor=1 -X helm.sh/helm/v3/pkg/chartutil.k8sVersionMinor=37 \
                 -X helm.sh/helm/v3/pkg/lint/rules.k8sVersionMajor=1 -X helm.sh/helm/v3/pkg/lint/rules.k8sVersionMinor=37"
            }
            Tool::Conformance
            | Tool::CoreDns
            | Tool::Crane
            | Tool::Distribution
            | Tool::FakeGcsServer
            | Tool::Helm4
            | Tool::Kind
            | Tool::Kustomize
            | Tool::LocalPathProvisioner
            | Tool::OperatorVerify
            | Tool::Oras
            | Tool::Regctl
            | Tool::ResourceHealth
            | Tool::Traefik
            | Tool::VersityGw => "-s -w",
        }
    }

    /// The program's path. It is built first when the cache does not have it; `say` is told before.
    ///
    /// # Errors
    /// Go is missing, or the build fails. The error holds the compiler's output.
    pub async fn path(self, cache: &Cache, say: impl FnOnce(&str)) -> Result<PathBuf> {
        let module = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tools")
            .join(self.name());
        let program = cache
            .folder("tools")?
            .join(format!("{}-{}", self.name(), self.key(&module).await?));
        if program.exists() {
            return Ok(program);
        }
        // Another run may have built it while this one waited for the lock.
        let name = self.name();
        let _lock = {
            let cache = cache.clone();
            tokio::task::spawn_blocking(move || cache.lock(&format!("tool-{name}")))
                .await
                .context("the wait for a lock was cut off")??
        };
        if program.exists() {
            return Ok(program);
        }
        say(&format!(
            "building {name} from source, about {} min when cold",
            self.cold_minutes()
        ));
        let fresh = program.with_extension("partial");
        Exec::new("go")
            .args(["build", "-mod=readonly", "-ldflags", self.linker_flags(), "-o"])
            .arg(&fresh)
            .arg(self.package())
            .dir(&module)
            .env("CGO_ENABLED", "0")
            .env("GOFLAGS", "")
            .deadline(BUILD_DEADLINE)
            .success()
            .await
            .with_context(|| format!("cannot build {name}"))?;
        fs::rename(&fresh, &program)
            .with_context(|| format!("cannot move {name} to `{}`", program.display()))?;
        Ok(program)
    }

    /// Twelve hex digits that change with anything the program is made from.
    async fn key(self, module: &Path) -> Result<String> {
        let compiler = Exec::new("go")
            .arg("version")
            .dir(module)
            .success()
            .await
            .context("Go 1.26 or newer is needed to build the cluster's programs")?;
        let mut hash = Sha256::new();
        for file in ["go.mod", "go.sum", "main.go"] {
            let path = module.join(file);
            if file != "main.go" || path.exists() {
                let text = fs::read(&path).with_context(|| format!("cannot read `{}`", path.display()))?;
                hash.update((text.len() as u64).to_be_bytes());
                hash.update(text);
            }
        }
        for text in [compiler.as_str(), self.package(), self.linker_flags()] {
            hash.update((text.len() as u64).to_be_bytes());
            hash.update(text);
        }
        Ok(short(hash))
    }
}

/// Twelve hex digits of a hash: enough to tell versions of one tool apart.
pub(crate) fn short(hash: Sha256) -> String {
    let digits = hash.finalize();
    digits.iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tool_has_its_module_and_every_module_its_tool() {
        let mut names = Tool::ALL.map(Tool::name);
        names.sort_unstable();
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tools");
        let mut modules: Vec<String> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap())
            .filter(|entry| entry.path().join("go.mod").exists())
            .map(|entry| entry.file_name().into_string().unwrap())
            .collect();
        modules.sort_unstable();
        assert_eq!(modules, names);
    }
}
