//! Debian packages the local cluster and the suite use.
//!
//! Guarantees: only missing packages are installed, and their names and purposes are printed first. Must not: remove
//! or upgrade anything; installed packages stay.

use std::path::Path;

use anyhow::{Context as _, Result, bail};

use crate::exec::Exec;
use crate::output::{Hint, Output};

/// A package, a file that shows it is installed, and its purpose.
#[derive(Clone, Copy, Debug)]
pub struct Package {
    /// Debian's name.
    pub name: &'static str,
    /// The suite's use of it.
    pub purpose: &'static str,
    file: &'static str,
}

/// All packages, in the order in which they are printed.
pub const PACKAGES: [Package; 23] = [
    Package {
        name: "containerd",
        purpose: "runs containers for Debian's docker",
        file: "/usr/bin/containerd",
    },
    Package {
        name: "runc",
        purpose: "starts containers for containerd and docker",
        file: "/usr/sbin/runc",
    },
    Package {
        name: "containernetworking-plugins",
        purpose: "Pod networks",
        file: "/usr/lib/cni/ptp",
    },
    Package {
        name: "docker.io",
        purpose: "builds and pushes images as people do",
        file: "/usr/sbin/dockerd",
    },
    Package {
        name: "iptables",
        purpose: "Service addresses",
        file: "/usr/sbin/iptables",
    },
    Package {
        name: "conntrack",
        purpose: "Service addresses",
        file: "/usr/sbin/conntrack",
    },
    Package {
        name: "iproute2",
        purpose: "the cluster's network interface",
        file: "/usr/sbin/ip",
    },
    Package {
        name: "util-linux",
        purpose: "namespaces",
        file: "/usr/bin/nsenter",
    },
    Package {
        name: "busybox-static",
        purpose: "the content of small images",
        file: "/bin/busybox",
    },
    Package {
        name: "ca-certificates",
        purpose: "root certificates of the images",
        file: "/etc/ssl/certs/ca-certificates.crt",
    },
    Package {
        name: "curl",
        purpose: "plain HTTP requests of the suite",
        file: "/usr/bin/curl",
    },
    Package {
        name: "apache2-utils",
        purpose: "Apache's htpasswd, to compare with ours",
        file: "/usr/bin/htpasswd",
    },
    Package {
        name: "python3-aiosmtpd",
        purpose: "a mail server, for the server's log by mail",
        file: "/usr/bin/aiosmtpd",
    },
    Package {
        name: "skopeo",
        purpose: "a registry client of the suite",
        file: "/usr/bin/skopeo",
    },
    Package {
        name: "nginx-light",
        purpose: "a proxy in front of the registry, for body sizes",
        file: "/usr/sbin/nginx",
    },
    Package {
        name: "docker-registry",
        purpose: "registry:2 itself, to compare answers and data with ours",
        file: "/usr/bin/docker-registry",
    },
    Package {
        name: "haproxy",
        purpose: "another proxy in front of the registry",
        file: "/usr/sbin/haproxy",
    },
    Package {
        name: "redis-server",
        purpose: "a Redis, for the cache of links",
        file: "/usr/bin/redis-server",
    },
    Package {
        name: "nodejs",
        purpose: "runs Azurite, Azure's blob storage on this machine",
        file: "/usr/bin/node",
    },
    Package {
        name: "npm",
        purpose: "installs Azurite",
        file: "/usr/bin/npm",
    },
    Package {
        name: "python3-venv",
        purpose: "installs and runs moto, Amazon's services on this machine",
        file: "/usr/lib/python3.11/ensurepip/__init__.py",
    },
    Package {
        name: "mmdebstrap",
        purpose: "a Debian image to push",
        file: "/usr/bin/mmdebstrap",
    },
    Package {
        name: "strace",
        purpose: "ends a server at any of its system calls",
        file: "/usr/bin/strace",
    },
];

impl Package {
    /// Whether only a local cluster needs it. With kind the machine has a docker of its own, from whatever source.
    fn is_for_local_cluster(&self) -> bool {
        let names = [
            "containerd",
            "runc",
            "containernetworking-plugins",
            "docker.io",
            "iptables",
            "conntrack",
        ];
        names.contains(&self.name)
    }
}

/// Installs the missing packages and gives them.
///
/// # Errors
/// A package is missing and there is no apt-get or no root, or apt-get fails.
pub async fn install(out: &Output) -> Result<Vec<Package>> {
    install_those(|_| true, out).await
}

/// Installs the missing packages that the suite needs with a kind cluster, and gives them.
///
/// # Errors
/// As [`install`].
pub async fn install_for_kind(out: &Output) -> Result<Vec<Package>> {
    install_those(|package| !package.is_for_local_cluster(), out).await
}

async fn install_those(wanted: impl Fn(&Package) -> bool, out: &Output) -> Result<Vec<Package>> {
    let missing: Vec<Package> = PACKAGES
        .into_iter()
        .filter(|package| wanted(package) && !Path::new(package.file).exists())
        .collect();
    if missing.is_empty() {
        return Ok(missing);
    }
    let names: Vec<&str> = missing.iter().map(|package| package.name).collect();
    if !Path::new("/usr/bin/apt-get").exists() || !rustix::process::geteuid().is_root() {
        let error = anyhow::anyhow!("these packages are missing: {}", names.join(", "));
        return Err(Hint::on(
            error,
            "on Debian, run this as root and they are installed by apt-get",
        ));
    }
    for package in &missing {
        out.say(
            "Install",
            &format!("Debian package {} ({})", package.name, package.purpose),
        );
    }
    out.step(
        "Installing",
        &format!("{} Debian packages", names.len()),
        async |_| {
            let apt = || Exec::new("apt-get").env("DEBIAN_FRONTEND", "noninteractive");
            apt()
                .args(["update", "-q"])
                .success()
                .await
                .context("cannot update the list of packages")?;
            apt()
                .args(["install", "-q", "-y", "--no-install-recommends"])
                .args(&names)
                .success()
                .await
                .context("cannot install packages")?;
            Ok(())
        },
    )
    .await?;
    for package in &missing {
        if !Path::new(package.file).exists() {
            bail!(
                "package {} is installed but `{}` is not there",
                package.name,
                package.file
            );
        }
    }
    Ok(missing)
}
