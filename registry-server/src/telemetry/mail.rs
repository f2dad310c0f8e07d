//! Log lines by mail (`log.hooks`).
//!
//! Guarantees: whoever logs never waits; a thread of its own sends one mail after the other, and a mail server that
//! is dead or slow costs the lines that find no room in its queue, which are counted and told in one log line;
//! nothing said while mailing is mailed; a password goes nowhere in the clear but to this machine, unless
//! `insecure` says so.
//! Must not: keep the process alive longer than [`Hook::stop`] waits.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, SyncSender};
use std::time::{Duration, Instant};

use lettre::message::{Mailbox, header::ContentType};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Tls, TlsParameters};
use lettre::{Message, SmtpTransport, Transport as _};
use registry_config::model::{self, HookLevel};
use serde_json::Value;

use super::record::{LogRecord, Severity};
use crate::fault::chain;

/// How many lines may wait to be sent.
const QUEUE: usize = 100;
/// How long one step of a conversation with the server may take.
const STEP: Duration = Duration::from_secs(10);
/// Failures are told at once, and then at most this often.
const TELL_EVERY: Duration = Duration::from_secs(60);
/// Mail at once in TLS (RFC 8314, section 3.3).
const SUBMISSIONS: u16 = 465;

thread_local! {
    /// Set on the threads that send: what is logged there is about mailing.
    static MAILING: Cell<bool> = const { Cell::new(false) };
}

/// Why a hook cannot work.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// It is not an address of a server.
    #[error("`{0}` is not `host:port`")]
    Server(String),
    /// It is not an address of a person.
    #[error("`{address}` is not a mail address")]
    Address {
        /// What was configured.
        address: String,
        /// Why.
        #[source]
        source: lettre::address::AddressError,
    },
    /// TLS cannot be set up.
    #[error("TLS cannot be set up")]
    Tls(#[source] lettre::transport::smtp::Error),
    /// No thread.
    #[error("cannot start")]
    Thread(#[source] std::io::Error),
}

/// A configured hook at work.
#[derive(Debug)]
pub(super) struct Hook {
    levels: Vec<HookLevel>,
    queue: SyncSender<Task>,
    dropped: Arc<AtomicU64>,
}

enum Task {
    Send(LogRecord),
    Stop(SyncSender<()>),
}

impl Hook {
    /// Starts sending.
    pub(super) fn start(hook: &model::Hook) -> Result<Self, Error> {
        let sender = Sender::new(&hook.options)?;
        let (queue, tasks) = mpsc::sync_channel(QUEUE);
        let dropped = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&dropped);
        let thread = std::thread::Builder::new().name("send mail".to_owned());
        let work = move || {
            MAILING.set(true);
            sender.run(&tasks, &counter);
        };
        thread.spawn(work).map_err(Error::Thread)?;
        Ok(Self {
            levels: hook.levels.clone(),
            queue,
            dropped,
        })
    }

    /// Takes a line if it is of one of the hook's levels.
    pub(super) fn offer(&self, record: &LogRecord) {
        let wanted = match record.severity() {
            Severity::Panic => HookLevel::Panic,
            Severity::Error => HookLevel::Error,
            Severity::Warning => HookLevel::Warn,
            Severity::Info => HookLevel::Info,
            Severity::Debug => HookLevel::Debug,
        };
        if self.levels.contains(&wanted)
            && !MAILING.get()
            && self.queue.try_send(Task::Send(record.clone())).is_err()
        {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits until what is queued has been sent, but not longer than this.
    pub(super) fn stop(&self, limit: Duration) {
        let (done, waiting) = mpsc::sync_channel(1);
        if self.queue.try_send(Task::Stop(done)).is_ok() {
            // Sent, gone, or too late: there is nothing more to do about it.
            let _ = waiting.recv_timeout(limit);
        }
    }
}

/// Who sends what to whom.
struct Sender {
    transport: SmtpTransport,
    /// The server's name, as distribution has it in every subject.
    host: String,
    from: Mailbox,
    to: Vec<Mailbox>,
}

/// What went wrong since it was told last.
#[derive(Default)]
struct Trouble {
    failed: u64,
    last: Option<String>,
    told: Option<Instant>,
}

impl Sender {
    fn new(options: &model::MailOptions) -> Result<Self, Error> {
        let server = options.smtp.addr.as_deref().unwrap_or_default();
        let (host, port) = server
            .rsplit_once(':')
            .and_then(|(host, port)| Some((host.trim_matches(['[', ']']), port.parse().ok()?)))
            .filter(|(host, _)| !host.is_empty())
            .ok_or_else(|| Error::Server(server.to_owned()))?;
        let mailbox = |address: &str| {
            address.parse::<Mailbox>().map_err(|source| Error::Address {
                address: address.to_owned(),
                source,
            })
        };
        let insecure = options.smtp.insecure == Some(true);
        let local = ["localhost", "127.0.0.1", "::1"].contains(&host);
        let user = options.smtp.username.as_deref().filter(|user| !user.is_empty());
        let parameters = TlsParameters::builder(host.to_owned())
            .dangerous_accept_invalid_certs(insecure)
            .build_rustls()
            .map_err(Error::Tls)?;
        let tls = match user {
            _ if port == SUBMISSIONS => Tls::Wrapper(parameters),
            // As in distribution, a password needs encryption, unless it stays on the machine.
            Some(_) if !local && !insecure => Tls::Required(parameters),
            Some(_) | None => Tls::Opportunistic(parameters),
        };
        let mut transport = SmtpTransport::builder_dangerous(host)
            .port(port)
            .tls(tls)
            .timeout(Some(STEP));
        if let Some(user) = user {
            let password = options.smtp.password.as_ref();
            let password = password.map(|password| password.expose().to_owned());
            transport =
                transport.credentials(Credentials::new(user.to_owned(), password.unwrap_or_default()));
        }
        Ok(Self {
            transport: transport.build(),
            host: host.to_owned(),
            from: mailbox(options.from.as_deref().unwrap_or_default())?,
            to: options
                .to
                .iter()
                .map(|to| mailbox(to))
                .collect::<Result<_, _>>()?,
        })
    }

    fn run(&self, tasks: &mpsc::Receiver<Task>, dropped: &AtomicU64) {
        let mut trouble = Trouble::default();
        loop {
            match tasks.recv_timeout(TELL_EVERY) {
                Ok(Task::Send(record)) => {
                    if let Err(error) = self.send(&record) {
                        trouble.failed += 1;
                        trouble.last = Some(error);
                    }
                }
                Ok(Task::Stop(done)) => {
                    trouble.tell(dropped);
                    // Whoever asked may have stopped waiting.
                    let _ = done.try_send(());
                    continue;
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if trouble.told.is_none_or(|told| told.elapsed() >= TELL_EVERY) {
                trouble.tell(dropped);
            }
        }
    }

    fn send(&self, record: &LogRecord) -> Result<(), String> {
        let severity = record.severity().name();
        // Nothing of what a client sent may become a line of its own in a header.
        let message: String = record
            .text()
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect();
        let mut mail = Message::builder()
            .from(self.from.clone())
            .subject(format!("[{severity}] {}: {message}", self.host))
            .header(ContentType::TEXT_PLAIN);
        for to in &self.to {
            mail = mail.to(to.clone());
        }
        let mut body = format!("{}\n\n", record.text());
        for (name, value) in record.fields() {
            match value {
                Value::String(text) => body.push_str(&format!("{name}: {text}\n")),
                other => body.push_str(&format!("{name}: {other}\n")),
            }
        }
        let mail = mail.body(body).map_err(|error| chain(&error))?;
        self.transport
            .send(&mail)
            .map(drop)
            .map_err(|error| chain(&error))
    }
}

impl Trouble {
    /// Says what went wrong, if something did.
    fn tell(&mut self, dropped: &AtomicU64) {
        let dropped = dropped.swap(0, Ordering::Relaxed);
        if self.failed == 0 && dropped == 0 {
            return;
        }
        tracing::warn!(
            failed = self.failed,
            dropped,
            error = self.last.take().unwrap_or_default(),
            "log lines could not be sent by mail"
        );
        self.failed = 0;
        self.told = Some(Instant::now());
    }
}
