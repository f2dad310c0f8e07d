//! Log lines by mail (`log.hooks`).
//!
//! Guarantees: logging never waits. Each hook has a thread that sends one mail after the other. With a dead or slow mail
//! server, lines that find no room in the queue are dropped, counted and reported in one log line. Lines that are logged
//! while a mail is sent are not mailed. A password is sent without encryption only to this machine, unless `insecure` is
//! set.
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

/// The number of lines that may wait to be sent.
const QUEUE: usize = 100;
/// The limit for each step of the conversation with the mail server.
const SMTP_TIMEOUT: Duration = Duration::from_secs(10);
/// The first failure is reported at once, later failures at most this often.
const REPORT_EVERY: Duration = Duration::from_secs(60);
/// The port for mail submission over TLS from the first byte (RFC 8314, section 3.3).
const SUBMISSIONS: u16 = 465;

thread_local! {
    /// Whether this thread sends mails. Its log lines are about mailing, and are not mailed.
    static MAILING: Cell<bool> = const { Cell::new(false) };
}

/// Why a hook cannot be started.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// The address of the mail server is not one.
    #[error("`{0}` is not `host:port`")]
    Server(String),
    /// A sender or recipient is not a mail address.
    #[error("`{address}` is not a mail address")]
    Address {
        /// The configured text.
        address: String,
        /// The cause.
        #[source]
        source: lettre::address::AddressError,
    },
    /// TLS cannot be set up.
    #[error("TLS cannot be set up")]
    Tls(#[source] lettre::transport::smtp::Error),
    /// The operating system refuses a thread.
    #[error("cannot start a thread")]
    Thread(#[source] std::io::Error),
}

/// A running hook.
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
    /// Starts the thread that sends.
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

    /// Queues a record for mailing, if it has one of the levels of the hook. Never waits.
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

    /// Waits until the queue is sent, at most for `limit`.
    pub(super) fn stop(&self, limit: Duration) {
        let (done, waiting) = mpsc::sync_channel(1);
        if self.queue.try_send(Task::Stop(done)).is_ok() {
            // An error means that the thread is gone or that time is up. Neither can be helped.
            let _ = waiting.recv_timeout(limit);
        }
    }
}

/// The mail server, with the sender and the recipients of every mail.
struct Sender {
    transport: SmtpTransport,
    /// The name of the mail server, which distribution puts into every subject.
    host: String,
    from: Mailbox,
    to: Vec<Mailbox>,
}

/// The failures since the last report.
#[derive(Default)]
struct Failures {
    count: u64,
    last_error: Option<String>,
    last_report: Option<Instant>,
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
            .timeout(Some(SMTP_TIMEOUT));
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
        let mut failures = Failures::default();
        loop {
            match tasks.recv_timeout(REPORT_EVERY) {
                Ok(Task::Send(record)) => {
                    if let Err(error) = self.send(&record) {
                        failures.count += 1;
                        failures.last_error = Some(error);
                    }
                }
                Ok(Task::Stop(done)) => {
                    failures.report(dropped);
                    // The caller of `stop` may have given up by now.
                    let _ = done.try_send(());
                    continue;
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if failures
                .last_report
                .is_none_or(|reported| reported.elapsed() >= REPORT_EVERY)
            {
                failures.report(dropped);
            }
        }
    }

    fn send(&self, record: &LogRecord) -> Result<(), String> {
        let severity = record.severity().name();
        // A client's text must not begin a new line in a mail header.
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

impl Failures {
    /// Logs the failures and dropped lines since the last report, if there are any.
    fn report(&mut self, dropped: &AtomicU64) {
        let dropped = dropped.swap(0, Ordering::Relaxed);
        if self.count == 0 && dropped == 0 {
            return;
        }
        tracing::warn!(
            failed = self.count,
            dropped,
            error = self.last_error.take().unwrap_or_default(),
            "log lines could not be sent by mail"
        );
        self.count = 0;
        self.last_report = Some(Instant::now());
    }
}
