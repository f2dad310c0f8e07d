//! Records the system calls of a server with Debian's strace, and kills the server at one of them.
//!
//! strace counts calls per thread (`when=`). A server with file calls on several threads could only be killed at the
//! n-th call of one thread. [`Strace`] therefore leaves the server a single thread for file calls: it runs as a user
//! of its own that may have no more threads. The calls then have one order.
//!
//! Start at [`Strace`] for running a server, at [`read`] for the record.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};

/// A user that no other process has, not even in another run of the suite. The kernel counts threads by user, and
/// root has no limit.
#[must_use]
pub fn user() -> u32 {
    64_000 + std::process::id() % 1000
}

/// Threads: the first one, two that write the log, one of the runtime, one for file calls. The runtime goes on with
/// the threads it has when it gets no more.
const THREADS: &str = "--nproc=5";

/// The calls that change a file system, and those that answer requests.
const CALLS: &str = "openat,mkdir,mkdirat,write,pwrite64,pwritev,pwritev2,writev,rename,renameat,renameat2,link,linkat,\
                     symlink,symlinkat,unlink,unlinkat,rmdir,fsync,fdatasync,sync_file_range,truncate,ftruncate,fallocate,\
                     utimensat,copy_file_range,sendfile,splice,sendto,sendmsg";

/// How a server is run under strace.
#[derive(Debug, Clone)]
pub struct Strace {
    /// The file of the record.
    pub record: PathBuf,
    /// Whether written bytes are recorded whole.
    pub with_data: bool,
    /// The name and number of the call at which the server is killed. The number counts per thread.
    pub kill_at: Option<(String, usize)>,
}

impl Strace {
    /// The part of the command before the server's own command.
    #[must_use]
    pub fn command_prefix(&self) -> Vec<String> {
        // Strings are written in hexadecimal, so that none has a quote or a comma, and descriptors with their paths.
        // There is no filter for signals and none by seccomp: with either one strace 6.1 does not inject signals.
        let mut command = ["/usr/bin/strace", "-f", "-y", "-xx"].map(str::to_owned).to_vec();
        command.extend(["-o".to_owned(), self.record.display().to_string()]);
        command.extend([
            "-s".to_owned(),
            if self.with_data { "4000000" } else { "32" }.to_owned(),
        ]);
        command.extend(["-e".to_owned(), format!("trace={CALLS}")]);
        if let Some((name, number)) = &self.kill_at {
            command.extend([
                "-e".to_owned(),
                format!("inject={name}:signal=KILL:when={number}"),
            ]);
        }
        // A failing test kills strace, and the server must not outlive it.
        let user = user().to_string();
        command.extend(
            [
                "/usr/bin/setpriv",
                "--reuid",
                &user,
                "--regid",
                &user,
                "--clear-groups",
            ]
            .map(str::to_owned),
        );
        command.extend(["--pdeathsig", "KILL", "/usr/bin/prlimit", THREADS, "--"].map(str::to_owned));
        command
    }
}

/// One system call.
#[derive(Debug, Clone)]
pub struct Syscall {
    /// The thread that made it.
    pub thread: u32,
    /// Its name.
    pub name: String,
    /// Its arguments, as strace writes them.
    args: Vec<String>,
    /// Its result; `None` when it did not return.
    pub result: Option<i64>,
    /// The position in the record where it began.
    pub begun: usize,
    /// The position where it returned. For a call that did not return, the end of the record.
    pub ended: usize,
}

impl Syscall {
    /// One of the arguments.
    ///
    /// # Errors
    /// There is no such argument.
    pub fn arg(&self, index: usize) -> Result<&str> {
        self.args
            .get(index)
            .map(String::as_str)
            .with_context(|| format!("`{}` has no argument {index}: {:?}", self.name, self.args))
    }

    /// The bytes of an argument that is a string.
    ///
    /// # Errors
    /// It is no string, or was not recorded whole.
    pub fn bytes(&self, index: usize) -> Result<Vec<u8>> {
        let text = self.arg(index)?;
        let inner = text
            .strip_prefix('"')
            .and_then(|text| text.strip_suffix('"'))
            .with_context(|| format!("not a whole string: {:.80}", text))?;
        unescape(inner)
    }

    /// The path of a descriptor, `/a/b` of `7</a/b>`; `None` when it has none.
    ///
    /// # Errors
    /// The descriptor cannot be read.
    pub fn descriptor(&self, index: usize) -> Result<Option<PathBuf>> {
        path_of_descriptor(self.arg(index)?)
    }

    /// A path that may be relative to a descriptor.
    ///
    /// # Errors
    /// There is no such argument.
    pub fn path_below(&self, folder: usize, path: usize) -> Result<PathBuf> {
        let path = PathBuf::from(String::from_utf8(self.bytes(path)?)?);
        if path.is_absolute() {
            return Ok(path);
        }
        let folder = self
            .descriptor(folder)?
            .context("a relative path below nothing")?;
        Ok(folder.join(path))
    }

    /// A path that stands alone.
    ///
    /// # Errors
    /// There is no such argument.
    pub fn path(&self, index: usize) -> Result<PathBuf> {
        Ok(PathBuf::from(String::from_utf8(self.bytes(index)?)?))
    }

    /// Whether it succeeded.
    #[must_use]
    pub fn succeeded(&self) -> bool {
        self.result.is_some_and(|result| result >= 0)
    }

    /// Whether the first of its paths is below `root`, for calls that have paths.
    ///
    /// # Errors
    /// A path cannot be read.
    pub fn touches(&self, root: &Path) -> Result<bool> {
        for arg in &self.args {
            let path = if arg.starts_with('"') && arg.ends_with('"') {
                match unescape(&arg[1..arg.len() - 1]).map(String::from_utf8) {
                    Ok(Ok(text)) => Some(PathBuf::from(text)),
                    Ok(Err(_)) | Err(_) => None,
                }
            } else {
                path_of_descriptor(arg)?
            };
            if path.is_some_and(|path| path.starts_with(root)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether it changes files. Opening does so only with `O_CREAT` or `O_TRUNC`.
    #[must_use]
    pub fn changes(&self) -> bool {
        match self.name.as_str() {
            "openat" => self
                .args
                .get(2)
                .is_some_and(|flags| flags.contains("O_CREAT") || flags.contains("O_TRUNC")),
            "sendto" | "sendmsg" => false,
            _ => true,
        }
    }

    /// Whether it begins an answer to a request.
    ///
    /// # Errors
    /// Its arguments cannot be read.
    pub fn answers(&self) -> Result<bool> {
        // `HTTP/1.1 ` in hexadecimal, alone or in the first piece of a list.
        const HEAD: &str = r#""\x48\x54\x54\x50\x2f\x31\x2e\x31\x20"#;
        let said = self.args.get(1);
        Ok(
            matches!(self.name.as_str(), "write" | "writev" | "sendto" | "sendmsg")
                && said.is_some_and(|said| said.contains(HEAD)),
        )
    }
}

/// Reads a record.
///
/// # Errors
/// The record does not exist, or has lines that strace does not write.
pub fn read(record: &Path) -> Result<Vec<Syscall>> {
    let text = std::fs::read_to_string(record)
        .with_context(|| format!("strace left no record at `{}`", record.display()))?;
    let mut calls: Vec<Syscall> = Vec::new();
    let mut open: HashMap<u32, (usize, String)> = HashMap::new();
    for (number, line) in text.lines().enumerate() {
        let broken = || format!("line {} of the record: {line:.120}", number + 1);
        let (thread, rest) = line.split_once(' ').with_context(broken)?;
        let thread: u32 = thread.parse().with_context(broken)?;
        let rest = rest.trim_start();
        if rest.starts_with("+++") || rest.starts_with("---") {
            continue;
        }
        if let Some(begun) = rest.strip_suffix(" <unfinished ...>") {
            open.insert(thread, (number, begun.trim_end().to_owned()));
            continue;
        }
        let (begun, whole) = match rest.strip_prefix("<... ") {
            None => (number, rest.to_owned()),
            Some(resumed) => {
                let (_, end) = resumed.split_once(" resumed>").with_context(broken)?;
                let (begun, start) = open.remove(&thread).with_context(broken)?;
                (begun, format!("{start}{end}"))
            }
        };
        // The last ` = ` separates the result, because a result contains none.
        let (call, result) = whole.rsplit_once(" = ").with_context(broken)?;
        let result = result
            .split(|c: char| !c.is_ascii_digit() && c != '-')
            .next()
            .and_then(|number| number.parse().ok());
        calls.push(parse(thread, call.trim_end(), result, begun, number).with_context(broken)?);
    }
    let end = text.lines().count();
    for (thread, (begun, start)) in open {
        calls.push(parse(thread, &start, None, begun, end)?);
    }
    calls.sort_by_key(|call| call.ended);
    Ok(calls)
}

fn parse(thread: u32, text: &str, result: Option<i64>, begun: usize, ended: usize) -> Result<Syscall> {
    let (name, args) = text.split_once('(').context("no call")?;
    Ok(Syscall {
        thread,
        name: name.to_owned(),
        args: split(args.strip_suffix(')').unwrap_or(args)),
        result,
        begun,
        ended,
    })
}

/// The arguments between top-level commas. Strings hold no commas, because they are in hexadecimal.
fn split(text: &str) -> Vec<String> {
    let (mut args, mut depth, mut start) = (Vec::new(), 0_usize, 0);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            b',' if depth == 0 => {
                args.push(text[start..at].trim().to_owned());
                start = at + 1;
            }
            _ => {}
        }
    }
    args.push(text[start..].trim().to_owned());
    args
}

fn path_of_descriptor(text: &str) -> Result<Option<PathBuf>> {
    let Some((_, rest)) = text.split_once('<') else {
        return Ok(None);
    };
    let Some((path, gone)) = rest.rsplit_once('>') else {
        bail!("not a descriptor: {text:.80}");
    };
    let path = String::from_utf8(unescape(path)?)?;
    // A deleted file has no path.
    Ok((path.starts_with('/') && !gone.contains("deleted")).then(|| PathBuf::from(path)))
}

fn unescape(text: &str) -> Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4);
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        if *first == b'\\' {
            let [b'x', high, low, tail @ ..] = tail else {
                bail!("not in hexadecimal: {text:.80}");
            };
            let digit = |digit: &u8| char::from(*digit).to_digit(16).context("not a hexadecimal digit");
            bytes.push((digit(high)? * 16 + digit(low)?) as u8);
            rest = tail;
        } else {
            ensure!(first.is_ascii(), "not in hexadecimal: {text:.80}");
            bytes.push(*first);
            rest = tail;
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_as_strace_writes_it() {
        let folder = tempfile::tempdir().unwrap();
        let record = folder.path().join("record");
        let text = r#"7 mkdir("\x2f\x61\x2f\x62", 0777) = 0
8 pwrite64(11<\x2f\x61\x2f\x62\x2f\x63>, "\x3d\x2c\x22", 3, 5 <unfinished ...>
7 writev(9<\x73\x6f\x63\x6b\x65\x74\x3a\x5b\x31\x5d>, [{iov_base="\x48\x54\x54\x50\x2f\x31\x2e\x31\x20\x32", iov_len=10}], 1) = 10
8 <... pwrite64 resumed>)              = 3
8 unlinkat(4<\x2f\x61\x2f\x62>, "\x63", 0) = -1 ENOENT (No such file or directory)
8 fsync(5<\x2f\x61\x2f\x62\x2f\x63>(deleted) <unfinished ...>
8 +++ killed by SIGKILL +++
"#;
        std::fs::write(&record, text).unwrap();
        let calls = read(&record).unwrap();
        let names: Vec<&str> = calls.iter().map(|call| call.name.as_str()).collect();
        assert_eq!(names, ["mkdir", "writev", "pwrite64", "unlinkat", "fsync"]);
        assert_eq!(calls[0].path(0).unwrap(), Path::new("/a/b"));
        assert!(calls[1].answers().unwrap() && !calls[2].answers().unwrap());
        let write = &calls[2];
        assert_eq!((write.thread, write.begun, write.ended), (8, 1, 3));
        assert_eq!(write.descriptor(0).unwrap().unwrap(), Path::new("/a/b/c"));
        assert_eq!(
            (write.bytes(1).unwrap(), write.arg(3).unwrap()),
            (b"=,\"".to_vec(), "5")
        );
        assert!(write.touches(Path::new("/a")).unwrap() && !write.touches(Path::new("/b")).unwrap());
        assert_eq!(calls[3].path_below(0, 1).unwrap(), Path::new("/a/b/c"));
        assert!(!calls[3].succeeded() && calls[4].result.is_none());
        assert_eq!(calls[4].descriptor(0).unwrap(), None);
    }
}
