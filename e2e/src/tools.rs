//! Programs that the suite compiles from Go modules, because no image can be assumed to be downloadable.
//!
//! Guarantees: versions are those of the committed `go.mod` and `go.sum` (`-mod=readonly`). A program is built once
//! for the same files, compiler and flags, by one run at a time, and appears only when it is complete. Must not:
//! change a file of the checkout. Start at [`Tool::path`]; the modules are in `e2e/tools/`.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use sha2::{Digest as _, Sha256};

use crate::cache::Cache;
use crate::exec::Exec;

/// Time for a cold build of all of Kubernetes on two busy cores.
const BUILD_DEADLINE: Duration = Duration::from_secs(45 * 60);

/// The variable that chooses the release of Kubernetes: `newest`, the default, or `oldest`.
pub const KUBERNETES: &str = "BERTH_KUBERNETES";

/// A program built from a module of `e2e/tools/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tool {
    /// The OCI distribution-spec's conformance program.
    Conformance,
    /// containerd, which runs the Pods.
    Containerd,
    /// The program between containerd and runc.
    ContainerdShim,
    /// The cluster's DNS server.
    CoreDns,
    /// A CSI driver whose volumes are folders of one node.
    CsiFolder,
    /// The CSI sidecar that makes volumes.
    CsiProvisioner,
    /// The CSI sidecar that takes snapshots.
    CsiSnapshotter,
    /// A registry client that shows digests as they are, which docker does not.
    Crane,
    /// containerd's own client.
    Ctr,
    /// registry:3 itself in its newest release, to compare ours with.
    Distribution,
    /// docker's command of today; Debian's is years older.
    Docker,
    /// docker's engine of today.
    Dockerd,
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
    /// The same of the oldest release that is tested; only long runs build it.
    KubernetesOldest,
    /// kustomize, for the manifest of a release.
    Kustomize,
    /// Flux's controller that applies what a source holds.
    KustomizeController,
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
    /// The controller of VolumeSnapshots.
    SnapshotController,
    /// Flux's controller that fetches sources.
    SourceController,
    /// The Ingress controller.
    Traefik,
    /// An S3 server over a folder that checks signatures.
    VersityGw,
}

impl Tool {
    /// All tools of an ordinary run. Those that most cases wait for come first.
    pub const ALL: [Tool; 28] = [
        Tool::Distribution,
        Tool::Crane,
        Tool::Regctl,
        Tool::Oras,
        Tool::Conformance,
        Tool::VersityGw,
        Tool::FakeGcsServer,
        Tool::Kubernetes,
        Tool::Containerd,
        Tool::ContainerdShim,
        Tool::Ctr,
        Tool::Docker,
        Tool::Dockerd,
        Tool::CoreDns,
        Tool::LocalPathProvisioner,
        Tool::Traefik,
        Tool::Helm3,
        Tool::Helm4,
        Tool::Kustomize,
        Tool::OperatorVerify,
        Tool::ResourceHealth,
        Tool::Kind,
        Tool::KustomizeController,
        Tool::SourceController,
        Tool::SnapshotController,
        Tool::CsiFolder,
        Tool::CsiProvisioner,
        Tool::CsiSnapshotter,
    ];

    /// Kubernetes in the release that [`KUBERNETES`] names.
    ///
    /// # Errors
    /// The variable has another value than its two.
    pub fn kubernetes() -> Result<Self> {
        match std::env::var(KUBERNETES).as_deref() {
            Err(_) | Ok("" | "newest") => Ok(Self::Kubernetes),
            Ok("oldest") => Ok(Self::KubernetesOldest),
            Ok(other) => bail!("`{KUBERNETES}` is `{other}`; it can be `newest` or `oldest`"),
        }
    }

    /// The program's file name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Tool::Conformance => "conformance",
            Tool::Containerd => "containerd",
            Tool::ContainerdShim => "containerd-shim-runc-v2",
            Tool::CoreDns => "coredns",
            Tool::Crane => "crane",
            Tool::CsiFolder => "csi-folder",
            Tool::CsiProvisioner => "csi-provisioner",
            Tool::CsiSnapshotter => "csi-snapshotter",
            Tool::Ctr => "ctr",
            Tool::Distribution => "distribution",
            Tool::Docker => "docker",
            Tool::Dockerd => "dockerd",
            Tool::FakeGcsServer => "fake-gcs-server",
            Tool::Helm3 => "helm3",
            Tool::Helm4 => "helm4",
            Tool::Kind => "kind",
            Tool::Kubernetes => "kubernetes",
            Tool::KubernetesOldest => "kubernetes-oldest",
            Tool::Kustomize => "kustomize",
            Tool::KustomizeController => "kustomize-controller",
            Tool::LocalPathProvisioner => "local-path-provisioner",
            Tool::OperatorVerify => "operator-verify",
            Tool::Oras => "oras",
            Tool::Regctl => "regctl",
            Tool::ResourceHealth => "resource-health",
            Tool::SnapshotController => "snapshot-controller",
            Tool::SourceController => "source-controller",
            Tool::Traefik => "traefik",
            Tool::VersityGw => "versitygw",
        }
    }

    /// The folder under `e2e/tools/` with its `go.mod`.
    fn module(self) -> &'static str {
        match self {
            // One module: they have most of their packages in common, which are compiled once.
            Tool::Containerd | Tool::ContainerdShim | Tool::Ctr | Tool::Docker | Tool::Dockerd => {
                "containers"
            }
            other => other.name(),
        }
    }

    /// The Go package that is built.
    fn package(self) -> &'static str {
        match self {
            Tool::Conformance => "github.com/opencontainers/distribution-spec/conformance",
            Tool::Containerd => "github.com/containerd/containerd/v2/cmd/containerd",
            Tool::ContainerdShim => "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2",
            Tool::CoreDns => "github.com/coredns/coredns",
            Tool::Crane => "github.com/google/go-containerregistry/cmd/crane",
            Tool::CsiProvisioner => "github.com/kubernetes-csi/external-provisioner/v6/cmd/csi-provisioner",
            Tool::CsiSnapshotter => "github.com/kubernetes-csi/external-snapshotter/v8/cmd/csi-snapshotter",
            Tool::Ctr => "github.com/containerd/containerd/v2/cmd/ctr",
            Tool::Distribution => "github.com/distribution/distribution/v3/cmd/registry",
            Tool::Docker => "github.com/docker/cli/cmd/docker",
            Tool::Dockerd => "github.com/moby/moby/v2/cmd/dockerd",
            Tool::FakeGcsServer => "github.com/fsouza/fake-gcs-server",
            Tool::Helm3 => "helm.sh/helm/v3/cmd/helm",
            Tool::Helm4 => "helm.sh/helm/v4/cmd/helm",
            Tool::Kind => "sigs.k8s.io/kind",
            Tool::CsiFolder | Tool::Kubernetes | Tool::KubernetesOldest | Tool::ResourceHealth => ".",
            Tool::Kustomize => "sigs.k8s.io/kustomize/kustomize/v5",
            Tool::KustomizeController => "github.com/fluxcd/kustomize-controller",
            Tool::LocalPathProvisioner => "github.com/rancher/local-path-provisioner",
            Tool::OperatorVerify => "github.com/operator-framework/api/cmd/operator-verify",
            Tool::Oras => "oras.land/oras/cmd/oras",
            Tool::Regctl => "github.com/regclient/regclient/cmd/regctl",
            Tool::SnapshotController => {
                "github.com/kubernetes-csi/external-snapshotter/v8/cmd/snapshot-controller"
            }
            Tool::SourceController => "github.com/fluxcd/source-controller",
            Tool::Traefik => "github.com/traefik/traefik/v3/cmd/traefik",
            Tool::VersityGw => "github.com/versity/versitygw/cmd/versitygw",
        }
    }

    /// Minutes of a cold build on two cores, for the sentence printed before it starts.
    fn cold_minutes(self) -> u32 {
        match self {
            Tool::Conformance
            | Tool::ContainerdShim
            | Tool::Crane
            | Tool::CsiFolder
            | Tool::Ctr
            | Tool::Docker
            | Tool::Kind
            | Tool::Kustomize
            | Tool::OperatorVerify
            | Tool::Oras
            | Tool::Regctl
            | Tool::ResourceHealth => 1,
            Tool::CoreDns | Tool::CsiProvisioner | Tool::CsiSnapshotter | Tool::SnapshotController => 4,
            Tool::Containerd
            | Tool::Distribution
            | Tool::Dockerd
            | Tool::Helm3
            | Tool::Helm4
            | Tool::LocalPathProvisioner
            | Tool::VersityGw => 2,
            Tool::FakeGcsServer => 3,
            Tool::Kubernetes | Tool::KubernetesOldest | Tool::KustomizeController => 8,
            Tool::SourceController | Tool::Traefik => 10,
        }
    }

    /// The module that counts as the program's release, where its package does not say it.
    fn release_module(self) -> &'static str {
        match self {
            Tool::Kubernetes | Tool::KubernetesOldest => "k8s.io/kubernetes",
            other => other.package(),
        }
    }

    /// The release that `go.mod` names, such as `v1.37.2`; nothing for a program that is written here.
    ///
    /// # Errors
    /// `go.mod` is unreadable.
    pub fn release(self) -> Result<Option<String>> {
        let path = self.module_folder().join("go.mod");
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read `{}`", path.display()))?;
        Ok(release(&text, self.release_module()))
    }

    fn linker_flags(self) -> Result<String> {
        let release = || -> Result<String> {
            let release = self.release()?;
            let release = release.with_context(|| format!("`{}` is not in its own go.mod", self.name()))?;
            Ok(release.trim_start_matches('v').to_owned())
        };
        Ok(match self {
            // Without these flags the components refuse their own version as unparsable.
            Tool::Kubernetes | Tool::KubernetesOldest => {
                let release = release()?;
                let mut numbers = release.split('.');
                let (major, minor) = (numbers.next().unwrap_or(""), numbers.next().unwrap_or(""));
                let version = "-X k8s.io/component-base/version";
                format!("-s -w {version}.gitVersion=v{release} {version}.gitMajor={major} {version}.gitMinor={minor}")
            }
            Tool::Docker => format!("-s -w -X github.com/docker/cli/cli/version.Version={}", release()?),
            Tool::Dockerd => format!("-s -w -X github.com/moby/moby/v2/dockerversion.Version={}", release()?),
            // As Helm's releases are built: without them it takes every cluster that it does not ask for version 1.20.
            Tool::Helm3 => {
                "-s -w -X helm.sh/helm/v3/internal/version.version=v3.22.0 \
                 -X helm.sh/helm/v3/pkg/chartutil.k8sVersionMajor=1 -X helm.sh/helm/v3/pkg/chartutil.k8sVersionMinor=37 \
                 -X helm.sh/helm/v3/pkg/lint/rules.k8sVersionMajor=1 -X helm.sh/helm/v3/pkg/lint/rules.k8sVersionMinor=37"
                    .to_owned()
            }
            _ => "-s -w".to_owned(),
        })
    }

    /// Parts that are left out: containerd's drivers for file systems that need a kernel module.
    fn build_tags(self) -> &'static str {
        match self.module() {
            "containers" => "no_btrfs,no_zfs,no_devmapper",
            _ => "",
        }
    }

    /// docker's command has no `go.mod`, which to the compiler means a language of long ago.
    fn compiler_flags(self) -> &'static str {
        match self {
            Tool::Docker => "github.com/docker/cli/...=-lang=go1.26",
            _ => "",
        }
    }

    fn module_folder(self) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tools")
            .join(self.module())
    }

    /// The folder of a Go module that this program is made from, downloaded when it is not there yet: for the definitions
    /// of the objects that the program works with.
    ///
    /// # Errors
    /// Go is missing, or the module cannot be downloaded.
    pub async fn dependency_folder(self, module: &str) -> Result<PathBuf> {
        let told = Exec::new("go")
            .args(["mod", "download", "-json", module])
            .dir(self.module_folder())
            .env("GOFLAGS", "")
            .success()
            .await
            .with_context(|| format!("cannot download `{module}`"))?;
        let told: serde_json::Value = serde_json::from_str(&told).context("go tells no JSON")?;
        let folder = told["Dir"].as_str().context("go tells no folder")?;
        Ok(PathBuf::from(folder))
    }

    /// Whether the cache has it.
    ///
    /// # Errors
    /// Go is missing, or its module is unreadable.
    pub async fn is_built(self, cache: &Cache) -> Result<bool> {
        Ok(self.place(cache).await?.exists())
    }

    /// The file in the cache, whether it is there or not.
    async fn place(self, cache: &Cache) -> Result<PathBuf> {
        let key = self.key(&self.module_folder()).await?;
        Ok(cache.folder("tools")?.join(format!("{}-{key}", self.name())))
    }

    /// The program's path. It is built first when the cache does not have it; `say` is told before.
    ///
    /// # Errors
    /// Go is missing, or the build fails. The error holds the compiler's output.
    pub async fn path(self, cache: &Cache, say: impl FnOnce(&str)) -> Result<PathBuf> {
        let module = self.module_folder();
        let program = self.place(cache).await?;
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
            .args(["build", "-mod=readonly", "-tags", self.build_tags()])
            .args(["-gcflags", self.compiler_flags()])
            .args(["-ldflags", &self.linker_flags()?, "-o"])
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
        for file in ["go.mod", "go.sum", "main.go", "rosetta/rosetta.go"] {
            let path = module.join(file);
            if !file.ends_with(".go") || path.exists() {
                let text = fs::read(&path).with_context(|| format!("cannot read `{}`", path.display()))?;
                hash.update((text.len() as u64).to_be_bytes());
                hash.update(text);
            }
        }
        let flags = self.linker_flags()?;
        let some = [self.build_tags(), self.compiler_flags()];
        let some = some.into_iter().filter(|flags| !flags.is_empty());
        for text in [compiler.as_str(), self.package(), &flags]
            .into_iter()
            .chain(some)
        {
            hash.update((text.len() as u64).to_be_bytes());
            hash.update(text);
        }
        Ok(short(hash))
    }
}

/// The version of the module that a package is in, by the `require` lines of a `go.mod`.
fn release(go_mod: &str, package: &str) -> Option<String> {
    let required = go_mod.lines().filter_map(|line| {
        let mut words = line.trim().trim_start_matches("require ").split_whitespace();
        let (module, version) = (words.next()?, words.next()?);
        let holds = package
            .strip_prefix(module)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        (holds && version.starts_with('v')).then_some((module.len(), version))
    });
    let (_, version) = required.max_by_key(|(length, _)| *length)?;
    Some(version.trim_end_matches("+incompatible").to_owned())
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
        let mut names = Tool::ALL.map(Tool::module).to_vec();
        names.push(Tool::KubernetesOldest.module());
        names.sort_unstable();
        names.dedup();
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

    #[test]
    fn the_release_of_a_program_is_that_of_its_own_module() {
        let text = "go 1.26.0\n\nrequire k8s.io/kubernetes v1.37.2\n\nrequire (\n\tgithub.com/a/b v0.1.0 // indirect\n\t\
            github.com/a/b/v2 v2.4.2 // indirect\n\tgithub.com/docker/cli v29.9.3+incompatible // indirect\n)\n";
        for (package, expected) in [
            ("k8s.io/kubernetes", Some("v1.37.2")),
            ("github.com/a/b/v2/cmd/it", Some("v2.4.2")),
            ("github.com/a/bcd", None),
            ("github.com/docker/cli/cmd/docker", Some("v29.9.3")),
        ] {
            assert_eq!(release(text, package).as_deref(), expected, "{package}");
        }
    }

    #[test]
    fn every_program_that_is_not_written_here_has_a_release() {
        for tool in Tool::ALL.into_iter().chain([Tool::KubernetesOldest]) {
            let own = [Tool::CsiFolder, Tool::ResourceHealth].contains(&tool);
            assert_eq!(tool.release().unwrap().is_none(), own, "{}", tool.name());
        }
    }
}
