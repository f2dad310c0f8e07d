//! Commands that the suite runs: one description, and several ways to run it.
//!
//! Guarantees: an error names the command line, the exit status and the end of the output. Input such as a password
//! goes through standard input and never appears in an error. Must not: know clusters;
//! [`crate::provider::Cluster::node`] wraps a command so that it runs inside one. Start at [`Exec::new`].

use std::cell::RefCell;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, Command};

/// The number of output lines that an error quotes.
const QUOTED_LINES: usize = 25;

/// A command to be run.
#[derive(Clone, Debug)]
pub struct Exec {
    program: OsString,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    removed: Vec<OsString>,
    dir: Option<PathBuf>,
    stdin: Option<Vec<u8>>,
    deadline: Duration,
}

/// The result of a command.
#[derive(Clone, Debug)]
pub struct Finished {
    /// Its exit status.
    pub status: ExitStatus,
    /// Standard output, invalid UTF-8 replaced.
    pub stdout: String,
    /// Standard error, invalid UTF-8 replaced.
    pub stderr: String,
}

/// One of a command's two streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pipe {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Finished {
    /// Both streams, for tests that look for a text in either.
    #[must_use]
    pub fn all(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }
}

impl Exec {
    /// A command without arguments and with a deadline of ten minutes.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        Self {
            program: program.as_ref().to_owned(),
            args: Vec::new(),
            env: Vec::new(),
            removed: Vec::new(),
            dir: None,
            stdin: None,
            deadline: Duration::from_secs(600),
        }
    }

    /// Adds one argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<I: IntoIterator<Item: AsRef<OsStr>>>(mut self, args: I) -> Self {
        self.args
            .extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env
            .push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Removes a variable from the inherited environment.
    #[must_use]
    pub fn env_remove(mut self, name: impl AsRef<OsStr>) -> Self {
        self.removed.push(name.as_ref().to_owned());
        self
    }

    /// Runs in that folder.
    #[must_use]
    pub fn dir(mut self, dir: impl AsRef<Path>) -> Self {
        self.dir = Some(dir.as_ref().to_owned());
        self
    }

    /// Feeds these bytes to standard input; without it, standard input is empty.
    #[must_use]
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = Some(bytes.into());
        self
    }

    /// Sets the time limit. The command is killed when it is over.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// The same command as the last arguments of `outer`. `outer` keeps neither folder nor environment, so both are
    /// passed through `env`.
    #[must_use]
    pub fn within(self, outer: Exec) -> Exec {
        let mut wrapped = outer.arg("env");
        if let Some(dir) = &self.dir {
            wrapped = wrapped.arg("-C").arg(dir);
        }
        for name in &self.removed {
            wrapped = wrapped.arg("-u").arg(name);
        }
        for (name, value) in &self.env {
            let mut pair = name.clone();
            pair.push("=");
            pair.push(value);
            wrapped = wrapped.arg(pair);
        }
        wrapped = wrapped.arg(&self.program).args(&self.args);
        wrapped.stdin = self.stdin;
        wrapped.deadline = self.deadline;
        wrapped
    }

    /// The command line as a person would type it.
    #[must_use]
    pub fn line(&self) -> String {
        std::iter::once(&self.program)
            .chain(&self.args)
            .map(|word| quote(&word.to_string_lossy()))
            .collect::<Vec<_>>()
            .join(" ")
    }

    /// Runs it to its end. Any exit status is a result.
    ///
    /// # Errors
    /// It cannot be started, or does not end within its deadline.
    pub async fn output(&self) -> Result<Finished> {
        let mut command = self.command();
        command.stdin(if self.stdin.is_some() {
            Stdio::piped()
        } else {
            Stdio::null()
        });
        command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command
            .spawn()
            .with_context(|| format!("cannot start `{}`", self.line()))?;
        let feed = child.stdin.take().zip(self.stdin.clone());
        let feeding = async {
            if let Some((mut pipe, bytes)) = feed {
                // A command that ends without reading its input closes the pipe. Its exit status tells the reason.
                let _ = pipe.write_all(&bytes).await;
            }
        };
        let ending = async { tokio::join!(feeding, child.wait_with_output()).1 };
        let output = self.until_deadline(ending).await?;
        Ok(Finished {
            status: output.status,
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// Runs it and gives its standard output.
    ///
    /// # Errors
    /// As [`Exec::output`], or the exit status is not 0.
    pub async fn success(&self) -> Result<String> {
        let finished = self.output().await?;
        if !finished.status.success() {
            bail!(
                "`{}` ended with {}:\n{}",
                self.line(),
                finished.status,
                tail(&finished.all(), QUOTED_LINES)
            );
        }
        Ok(finished.stdout)
    }

    /// Runs it and passes every line of its standard error to `watch` as it comes.
    ///
    /// # Errors
    /// As [`Exec::success`].
    pub async fn watched(&self, watch: impl Fn(&str)) -> Result<()> {
        let finished = self
            .streamed(|pipe, line| {
                if matches!(pipe, Pipe::Stderr) {
                    watch(line);
                }
            })
            .await?;
        if !finished.status.success() {
            bail!(
                "`{}` ended with {}:\n{}",
                self.line(),
                finished.status,
                tail(&finished.stderr, 2 * QUOTED_LINES)
            );
        }
        Ok(())
    }

    /// Runs it to its end, whatever the exit status, and shows every line to `watch` as it comes.
    ///
    /// # Errors
    /// As [`Exec::output`].
    pub async fn streamed(&self, watch: impl FnMut(Pipe, &str)) -> Result<Finished> {
        let mut command = self.command();
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command
            .spawn()
            .with_context(|| format!("cannot start `{}`", self.line()))?;
        let stdout = child.stdout.take().context("standard output is a pipe")?;
        let stderr = child.stderr.take().context("standard error is a pipe")?;
        let watch = RefCell::new(watch);
        let ending = async {
            let (stdout, stderr) = tokio::try_join!(
                lines(stdout, |line| (watch.borrow_mut())(Pipe::Stdout, line)),
                lines(stderr, |line| (watch.borrow_mut())(Pipe::Stderr, line)),
            )?;
            let status = child.wait().await?;
            std::io::Result::Ok(Finished {
                status,
                stdout,
                stderr,
            })
        };
        self.until_deadline(ending).await
    }

    /// Runs it with the terminal's own streams and gives its exit code, or 128 plus the number of the signal that
    /// ended it.
    ///
    /// # Errors
    /// It cannot be started.
    pub async fn attached(&self) -> Result<i32> {
        use std::os::unix::process::ExitStatusExt as _;
        let status = self
            .command()
            .status()
            .await
            .with_context(|| format!("cannot start `{}`", self.line()))?;
        Ok(status
            .code()
            .unwrap_or_else(|| 128 + status.signal().unwrap_or(0)))
    }

    /// Starts it with both streams appended to a file. Its standard input is open until the child is dropped, which kills it.
    ///
    /// # Errors
    /// It cannot be started, or the file cannot be opened.
    pub fn started(&self, log: &Path) -> Result<Child> {
        let output = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(log)
            .with_context(|| format!("cannot open `{}`", log.display()))?;
        let errors = output.try_clone().context("cannot share a log file")?;
        self.command()
            .stdin(Stdio::piped())
            .stdout(output)
            .stderr(errors)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start `{}`", self.line()))
    }

    /// Waits for the end of the command, at most until the deadline.
    async fn until_deadline<T>(&self, ending: impl Future<Output = std::io::Result<T>>) -> Result<T> {
        tokio::time::timeout(self.deadline, ending)
            .await
            .with_context(|| {
                format!(
                    "`{}` did not end within {} s",
                    self.line(),
                    self.deadline.as_secs()
                )
            })?
            .with_context(|| format!("cannot wait for `{}`", self.line()))
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(&self.args)
            .envs(self.env.iter().map(|(name, value)| (name, value)));
        for name in &self.removed {
            command.env_remove(name);
        }
        if let Some(dir) = &self.dir {
            command.current_dir(dir);
        }
        command
    }
}

/// Reads a pipe to its end and shows each line to `watch`; invalid UTF-8 is replaced.
async fn lines(pipe: impl AsyncRead + Unpin, mut watch: impl FnMut(&str)) -> std::io::Result<String> {
    let mut reader = BufReader::new(pipe);
    let mut all = String::new();
    let mut bytes = Vec::new();
    while reader.read_until(b'\n', &mut bytes).await? > 0 {
        let line = String::from_utf8_lossy(&bytes);
        watch(line.trim_end_matches('\n'));
        all.push_str(&line);
        bytes.clear();
    }
    Ok(all)
}

/// The last `lines` lines of a text, indented for quoting.
#[must_use]
pub fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..]
        .iter()
        .map(|line| format!("    {line}"))
        .collect::<Vec<_>>()
        .join("\n")
}

fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{word}'")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_failed_command_is_told_with_its_line_its_status_and_the_end_of_its_output() {
        let error = Exec::new("sh")
            .args(["-c", "echo no such thing >&2; exit 3"])
            .success()
            .await
            .unwrap_err();
        let text = format!("{error:#}");
        assert!(
            text.contains("exit status: 3") && text.contains("no such thing"),
            "{text}"
        );
        assert!(text.contains("sh -c 'echo no such thing"), "{text}");
    }

    #[tokio::test]
    async fn input_reaches_the_command_and_stays_out_of_its_line() {
        let cat = Exec::new("cat").stdin("hidden");
        assert_eq!(cat.success().await.unwrap(), "hidden");
        assert_eq!(cat.line(), "cat");
    }

    #[tokio::test]
    async fn a_wrapped_command_keeps_folder_environment_and_input() {
        let inner = Exec::new("sh")
            .args(["-c", "pwd; echo $WORD; cat"])
            .dir("/usr")
            .env("WORD", "kept")
            .stdin("in");
        let wrapped = inner.within(Exec::new("nice").arg("--"));
        assert_eq!(wrapped.success().await.unwrap(), "/usr\nkept\nin");
    }

    #[tokio::test]
    async fn every_line_of_both_streams_is_shown_as_it_comes() {
        let mut seen = Vec::new();
        let finished = Exec::new("sh")
            .args(["-c", "echo one; printf '\\377\\ntwo'; echo three >&2; exit 3"])
            .streamed(|pipe, line| seen.push((pipe, line.to_owned())))
            .await
            .unwrap();
        seen.sort_by_key(|(pipe, _)| *pipe == Pipe::Stderr);
        let expected = [
            (Pipe::Stdout, "one"),
            (Pipe::Stdout, "\u{fffd}"),
            (Pipe::Stdout, "two"),
            (Pipe::Stderr, "three"),
        ];
        assert_eq!(seen, expected.map(|(pipe, line)| (pipe, line.to_owned())));
        assert_eq!(finished.stdout, "one\n\u{fffd}\ntwo");
        assert_eq!(finished.status.code(), Some(3));
    }

    #[tokio::test]
    async fn a_command_that_never_ends_is_killed_at_its_deadline() {
        let error = Exec::new("sleep")
            .arg("60")
            .deadline(Duration::from_millis(50))
            .output()
            .await
            .unwrap_err();
        assert!(error.to_string().contains("did not end"), "{error:#}");
    }
}
