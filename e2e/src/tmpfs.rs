//! A small disk for a case: a tmpfs in a mount namespace of its own.
//!
//! Guarantees: the mount is not visible to other processes, and nothing stays mounted. The namespace ends with the
//! process that holds it, and that process ends with its [`Tmpfs`] or with the suite. Start at [`Tmpfs::new`].

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, Result, bail};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::exec::Exec;

/// Mounts `$1` with `$2` bytes, says so, and stays until standard input ends.
const HOLD: &str = r#"mount -t tmpfs -o size="$2",mode=0777 tmpfs "$1" && echo mounted && exec cat"#;

/// A mounted disk.
#[derive(Debug)]
pub struct Tmpfs {
    holder: Child,
    process: u32,
    folder: PathBuf,
}

impl Tmpfs {
    /// A disk of `size` bytes at `folder`, which must exist. Mounting needs root.
    ///
    /// # Errors
    /// It cannot be mounted.
    pub async fn new(folder: &Path, size: u64) -> Result<Self> {
        let mut holder = Command::new("/usr/bin/unshare")
            .args(["--mount", "--propagation", "private", "sh", "-c", HOLD, "sh"])
            .arg(folder)
            .arg(size.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("cannot start `unshare`")?;
        let output = holder.stdout.take().context("no standard output")?;
        let mut said = String::new();
        BufReader::new(output).read_line(&mut said).await?;
        if said.trim() != "mounted" {
            let status = holder.wait().await?;
            bail!(
                "cannot mount a tmpfs on `{}` ({status}): are you root?",
                folder.display()
            );
        }
        Ok(Self {
            process: holder.id().context("the holder of a tmpfs has ended")?,
            holder,
            folder: folder.to_owned(),
        })
    }

    /// The part of a command before a command that sees the disk at its folder. The command starts in `/`.
    #[must_use]
    pub fn command_prefix(&self) -> Vec<String> {
        let target = format!("--target={}", self.process);
        vec!["/usr/bin/nsenter".to_owned(), target, "--mount".to_owned()]
    }

    /// The path to the disk's content for processes outside the namespace.
    #[must_use]
    pub fn host_path(&self) -> PathBuf {
        let below = self.folder.strip_prefix("/").unwrap_or(&self.folder);
        PathBuf::from(format!("/proc/{}/root", self.process)).join(below)
    }

    /// Mounts it again with other options, such as `ro` or `size=`, while it is used.
    ///
    /// # Errors
    /// `mount` fails. It cannot take write access from a process that is writing at that moment.
    pub async fn remount(&self, options: &str) -> Result<()> {
        let [program, rest @ ..] = &self.command_prefix()[..] else {
            bail!("nothing stands before a command");
        };
        Exec::new(program)
            .args(rest)
            .args(["mount", "-o", &format!("remount,{options}")])
            .arg(&self.folder)
            .success()
            .await
            .map(drop)
    }

    /// Unmounts the disk and ends its namespace.
    ///
    /// # Errors
    /// Its process cannot be waited for.
    pub async fn end(mut self) -> Result<()> {
        self.holder
            .kill()
            .await
            .context("cannot end the holder of a tmpfs")
    }
}
