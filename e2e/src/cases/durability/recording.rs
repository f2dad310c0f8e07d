//! Records an undisturbed push to a server under strace: the calls below its folder, and the moments of its answers.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use reqwest::Url;

use super::client::{ScenarioClient, Sent};
use super::scenario::Scenario;
use crate::images;
use crate::server::ServerSetup;
use crate::strace::{self, Strace, Syscall};

/// Time limit for strace to write its record after the server's end.
pub(super) const END_LIMIT: Duration = Duration::from_secs(60);

/// The number of requests before the push, each of which opens a file. It is larger than the number of files that the
/// first thread opens before other threads exist. So the n-th call of a push is not the n-th call of the first
/// thread, which would end the server early.
const WARM_UP: usize = 80;

const NOTHING: Sent = Sent {
    done: 0,
    underway: false,
};

/// A recorded push.
pub(super) struct Recorded {
    /// The calls that changed something below the folder, in their order.
    pub(super) changes: Vec<Syscall>,
    /// All calls of the thread that made them.
    pub(super) of_thread: Vec<Syscall>,
    /// The number of changes before the push.
    pub(super) before: usize,
    /// The position in the record where each answer of the push began.
    pub(super) answers: Vec<usize>,
    /// How much of the scenario was sent.
    pub(super) sent: Sent,
    /// The client that sent it.
    pub(super) client: ScenarioClient,
}

/// Sends the scenario to a server under strace, and ends both.
///
/// # Errors
/// A step gets an unexpected answer, or the server's file calls do not have one order.
pub(super) async fn record(
    setup: &ServerSetup,
    strace: &Strace,
    data: &Path,
    scenario: &Scenario,
) -> Result<Recorded> {
    let setup = setup
        .clone()
        .wrapped_in(strace.command_prefix())
        .with("TOKIO_WORKER_THREADS", "1");
    let server = match setup.start().await {
        Ok(server) => server,
        // The server was killed before it could answer.
        Err(_) if strace.kill_at.is_some() && strace.record.exists() => {
            let client = ScenarioClient::new(&Url::parse("http://127.0.0.1:9/")?)?;
            return seen(&strace.record, data, NOTHING, client);
        }
        Err(error) => return Err(error),
    };
    let mut client = ScenarioClient::new(server.base())?;
    let sent = match client.warm_up(WARM_UP).await {
        Ok(()) => client.send_all(scenario).await?,
        Err(_) if strace.kill_at.is_some() => NOTHING,
        Err(error) => return Err(error),
    };
    if !sent.underway {
        end(&strace.record)?;
    }
    server.ended(END_LIMIT).await?;
    seen(&strace.record, data, sent, client)
}

/// Kills the server itself: strace would leave it running, and ends when the server is gone.
fn end(record: &Path) -> Result<()> {
    let text = std::fs::read_to_string(record).context("strace left no record")?;
    let first = text.split(' ').next().and_then(|id| id.parse().ok());
    let id = first
        .and_then(rustix::process::Pid::from_raw)
        .context("no process in the record")?;
    match rustix::process::kill_process(id, rustix::process::Signal::KILL) {
        // A call after the last answer killed it.
        Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(error) => Err(error).context("cannot end the server"),
    }
}

fn seen(record: &Path, data: &Path, sent: Sent, client: ScenarioClient) -> Result<Recorded> {
    let calls = strace::read(record)?;
    // Calls on the folder itself count too.
    let above = data.parent().context("a store is in a folder")?;
    let main = calls.first().map(|call| call.thread);
    let mut changes = Vec::new();
    for call in &calls {
        if call.succeeded() && call.changes() && call.touches(above)? {
            changes.push(call.clone());
        }
    }
    // The first thread makes the folder itself, before other threads exist.
    let threads: Vec<u32> = changes
        .iter()
        .map(|call| call.thread)
        .filter(|thread| Some(*thread) != main)
        .collect();
    let thread = threads.first().copied();
    ensure!(
        threads.iter().all(|other| Some(*other) == thread),
        "file calls were made by more than one thread: the limit of threads is not what it was"
    );
    let mut answers = Vec::new();
    for call in &calls {
        if call.answers()? {
            answers.push(call.begun);
        }
    }
    answers.sort_unstable();
    // The first answer is that to the probe whether the server runs.
    let begun = answers.get(WARM_UP).copied().unwrap_or(usize::MAX);
    let answers = answers.split_off(answers.len().min(1 + WARM_UP));
    let before = changes.iter().take_while(|call| call.ended < begun);
    Ok(Recorded {
        before: before.count(),
        of_thread: calls
            .into_iter()
            .filter(|call| Some(call.thread) == thread)
            .collect(),
        changes,
        answers,
        sent,
        client,
    })
}

/// Makes a folder for a traced server, which runs as an unprivileged user: a folder where everybody may write, and a
/// copy of the server's program that everybody can read.
pub(super) fn prepare(dir: &Path) -> Result<PathBuf> {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o777))?;
    let program = dir.join("registry-server");
    std::fs::copy(images::server_program(), &program).context("cannot copy the server's program")?;
    Ok(program)
}
