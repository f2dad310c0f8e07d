//! A Debian image of several layers, made from Debian packages when it is needed.
//!
//! The suite runs where no public image can be pulled. An image of random bytes would not exercise what real images
//! do: tens of thousands of small files, hard links, device-like modes, layers that compress. Start at [`context`].

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

use crate::cache::Cache;
use crate::exec::Exec;

/// The packages of each further layer, unpacked over the base system.
const LAYERS: [&[&str]; 2] = [
    &["gcc-12", "cpp-12", "libgcc-12-dev"],
    &[
        "git",
        "perl-modules-5.36",
        "libpython3.11-stdlib",
        "python3.11-minimal",
    ],
];

/// The text the image prints when it is run. The last layer holds the script.
pub const GREETING: &str = "berth: pulled, unpacked and running";

/// A build context for `docker build`: a base system, the packages of [`LAYERS`], a script.
///
/// It is made once and kept in the cache, because it depends only on this file.
///
/// # Errors
/// When a package cannot be fetched.
pub async fn context(cache: &Cache) -> Result<PathBuf> {
    let folder = cache.folder("debian-image")?;
    let _lock = cache.lock("debian-image")?;
    let done = folder.join("Dockerfile");
    if done.exists() {
        return Ok(folder);
    }
    // `apt-get download` below needs package lists, and a fresh machine may have none.
    Exec::new("apt-get").args(["update", "--quiet"]).success().await?;
    // With `-` mmdebstrap reads the package sources from its input; these are the machine's own.
    Exec::new("sh")
        .args(["-c", "cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources 2>/dev/null | \
            mmdebstrap --quiet --variant=minbase --format=tar \"$(. /etc/os-release; echo $VERSION_CODENAME)\" base.tar -"])
        .dir(&folder)
        .success()
        .await?;
    let mut recipe = vec!["FROM scratch".to_owned(), "ADD base.tar /".to_owned()];
    for (number, packages) in LAYERS.iter().enumerate() {
        let archive = format!("layer{number}.tar");
        unpack(packages, &folder, &archive).await?;
        recipe.push(format!("ADD {archive} /"));
    }
    std::fs::write(
        folder.join("greet"),
        format!("#!/bin/sh\n. /etc/os-release\necho \"$ID: $(git --version)\"\necho '{GREETING}'\n"),
    )?;
    recipe.push("COPY --chmod=755 greet /usr/local/bin/greet".to_owned());
    recipe.push("CMD [\"/usr/local/bin/greet\"]".to_owned());
    // This file is written last: when it exists, everything above is complete.
    std::fs::write(&done, recipe.join("\n") + "\n").context("cannot write the image's recipe")?;
    Ok(folder)
}

/// Downloads `packages` and unpacks them, without their dependencies' scripts, into one archive.
async fn unpack(packages: &[&str], folder: &Path, archive: &str) -> Result<()> {
    let work = tempfile::tempdir()?;
    // apt drops to its own user for downloads, and that user must be able to write here.
    Exec::new("chmod").arg("0777").arg(work.path()).success().await?;
    Exec::new("apt-get")
        .args(["download", "--quiet"])
        .args(packages)
        .dir(work.path())
        .success()
        .await?;
    let root = work.path().join("root");
    let mut unpacked = 0;
    for entry in std::fs::read_dir(work.path())? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "deb") {
            Exec::new("dpkg-deb")
                .arg("--extract")
                .arg(&path)
                .arg(&root)
                .success()
                .await?;
            unpacked += 1;
        }
    }
    ensure!(
        unpacked == packages.len(),
        "{unpacked} of {} packages were downloaded",
        packages.len()
    );
    Exec::new("tar")
        .arg("--create")
        .arg("--file")
        .arg(folder.join(archive))
        .arg("--directory")
        .arg(&root)
        .arg(".")
        .success()
        .await?;
    Ok(())
}
