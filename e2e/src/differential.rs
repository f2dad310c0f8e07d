//! Sends the same requests to registry:2, registry:3 and ours, and compares the answers.
//!
//! Guarantees: requests go to the three servers in lockstep, on stores that began empty, under equal configuration. A
//! difference that is not on the reviewed list fails, and so does an entry of the list that no request showed. Must
//! not: list a wanted difference anywhere but in `differential/differences.txt`, or make answers equal anywhere but
//! in `differential/normalize.rs`. Start at [`run`]; requests are added in `differential/corpus/`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use futures_util::future::try_join_all;

use self::compare::{Fields, differences};
use self::corpus::Series;
use self::difference_list::{DifferenceList, Entry, Verdict};
use self::normalize::{AnswerContext, RULES};
use self::request::Request;
use self::route::Parts;
use crate::cache::Cache;
use crate::peers::ServerKind;
use crate::raw_http::{self, Connection, Outcome};
use crate::server::{Server, Settings};

mod compare;
mod corpus;
mod difference_list;
mod normalize;
mod request;
mod route;

/// The number of unlisted differences that are printed. The file has all.
const PRINTED: usize = 25;

/// The number of requests the file names for one unlisted difference.
const PLACES: usize = 200;

/// Runs every series below `dir` and compares the observed differences with the list. Gives the figures to print.
///
/// # Errors
/// A server cannot be started or asked, or the observed differences and the list are not the same. The lines to add
/// are in `unlisted.log`.
pub async fn run(dir: &Path) -> Result<Vec<String>> {
    let list =
        DifferenceList::parse(difference_list::TEXT).context("the list of differences cannot be read")?;
    let cache = Cache::open()?;
    let mut seen = Observed::default();
    for series in corpus::series(dir)? {
        seen.series(&cache, dir, &series)
            .await
            .with_context(|| format!("in the series `{}`", series.name))?;
    }
    let verdict = list.judge(&seen.counts());
    if !verdict.holds() {
        let mut lines = String::new();
        for entry in &verdict.unlisted {
            for place in seen.places(entry).iter().take(PLACES) {
                writeln!(lines, "# {place}")?;
            }
            writeln!(lines, "{entry} | ?")?;
        }
        for entry in &verdict.unused {
            writeln!(lines, "# unused: {entry}")?;
        }
        std::fs::write(dir.join("unlisted.log"), lines).context("cannot write `unlisted.log`")?;
        bail!("{}", seen.complaint(&verdict));
    }
    let reasons: Vec<String> = verdict
        .by_reason
        .iter()
        .map(|(reason, count)| format!("{reason} {count}"))
        .collect();
    Ok(vec![
        format!(
            "{} requests to each of three servers, {} fields compared; generator's seed {:#x}",
            seen.requests,
            seen.compared,
            corpus::generated::SEED
        ),
        format!(
            "{} differences by {} entries of the list, 0 unlisted, 0 unused",
            verdict.by_reason.values().sum::<usize>(),
            list.len()
        ),
        format!("by reason: {}", reasons.join(", ")),
    ])
}

/// Differences, each with the requests that showed it.
#[derive(Default)]
struct Observed {
    requests: usize,
    compared: usize,
    differences: BTreeMap<Entry, Vec<String>>,
}

impl Observed {
    async fn series(&mut self, cache: &Cache, dir: &Path, series: &Series) -> Result<()> {
        for phase in &series.phases {
            let root = dir.join(series.name);
            let start =
                async |kind: ServerKind| AskedServer::start(kind, cache, &root, &phase.settings).await;
            let mut servers = [
                start(ServerKind::V2).await?,
                start(ServerKind::V3).await?,
                start(ServerKind::Ours).await?,
            ];
            for (number, request) in phase.script.requests.iter().enumerate() {
                let place = format!(
                    "{}, {}, request {}: {}",
                    series.name,
                    request.scenario,
                    number + 1,
                    request.describe()
                );
                // The three servers get the request at the same time, and the next one only when all have answered.
                let asked = servers
                    .iter_mut()
                    .zip(ServerKind::ALL)
                    .map(async |(server, kind)| {
                        let answer = server.ask(request).await;
                        answer.with_context(|| format!("{place} of {}", kind.name()))
                    });
                let answers = try_join_all(asked).await?;
                if let [v2, v3, ours] = answers.as_slice() {
                    self.note(request, &place, [v2, v3], ours);
                }
            }
        }
        Ok(())
    }

    fn note(&mut self, request: &Request, place: &str, [v2, v3]: [&Fields; 2], ours: &Fields) {
        self.requests += 1;
        let (mut old, compared) = differences(v2, ours);
        self.compared += compared;
        let (new, compared) = differences(v3, ours);
        self.compared += compared;
        let mut add = |peer, found: compare::Difference| {
            let entry = Entry {
                class: route::class(request),
                field: found.field,
                peer,
                theirs: found.theirs,
                ours: found.ours,
            };
            self.differences.entry(entry).or_default().push(place.to_owned());
        };
        for found in new {
            let both = old.iter().position(|other| *other == found);
            if let Some(both) = both {
                old.remove(both);
            }
            add(if both.is_some() { "both" } else { "3.1" }, found);
        }
        for found in old {
            add("2.8", found);
        }
    }

    fn counts(&self) -> BTreeMap<Entry, usize> {
        let counted = self.differences.iter();
        counted
            .map(|(entry, places)| (entry.clone(), places.len()))
            .collect()
    }

    fn places(&self, entry: &Entry) -> &[String] {
        self.differences.get(entry).map_or(&[], Vec::as_slice)
    }

    /// The errors, as lines a person can act on.
    fn complaint(&self, verdict: &Verdict) -> String {
        let mut text = format!(
            "{} differences are not listed, {} entries and {} reasons of the list are unused\n",
            verdict.unlisted.len(),
            verdict.unused.len(),
            verdict.unused_reasons.len()
        );
        for entry in verdict.unlisted.iter().take(PRINTED) {
            let places = self.places(entry);
            let first = places.first().map_or("", String::as_str);
            text += &format!(
                "\n{first} ({} requests)\n  {}\n  {:<4} {}\n  ours {}\n  add  {entry} | <reason>\n",
                places.len(),
                entry.field,
                entry.peer,
                entry.theirs,
                entry.ours
            );
        }
        for entry in verdict.unused.iter().take(PRINTED) {
            text += &format!("\nunused: {entry}\n");
        }
        for reason in &verdict.unused_reasons {
            text += &format!("\nunused reason: {reason}\n");
        }
        text += "\nmade equal before the comparison:\n";
        for rule in RULES {
            let field = if rule.field.is_empty() {
                "every field"
            } else {
                rule.field
            };
            text += &format!("  {field}: {}\n", rule.reason);
        }
        text
    }
}

/// One server, with the locations it has given so far.
struct AskedServer {
    /// The process, killed when this is dropped.
    _server: Server,
    host: String,
    folder: String,
    connection: Connection,
    kept: BTreeMap<&'static str, String>,
}

impl AskedServer {
    async fn start(kind: ServerKind, cache: &Cache, root: &Path, settings: &Settings) -> Result<Self> {
        let folder = root.join(kind.name());
        let server = kind.start(cache, &folder, settings).await?;
        let base = server.base();
        let host = base.host_str().context("no host")?;
        let host = format!("{host}:{}", base.port().context("no port")?);
        let address: SocketAddr = host.parse().context("no address")?;
        Ok(Self {
            _server: server,
            host,
            folder: folder.display().to_string(),
            connection: Connection::new(address),
            kept: BTreeMap::new(),
        })
    }

    async fn ask(&mut self, request: &Request) -> Result<Fields> {
        let target = request.target(&self.host, &self.kept);
        let outcome = self
            .connection
            .ask(&request.message(&self.host, &self.kept))
            .await?;
        if let (Some(slot), Outcome::Answer(answer)) = (request.keep, &outcome)
            && let Some(location) = answer.header("location")
        {
            // A location may name any host; the next request goes to this server all the same.
            let path = match location.split_once("://") {
                Some((_, rest)) => rest.find('/').map_or("/", |at| &rest[at..]),
                None => location,
            };
            self.kept.insert(slot, path.to_owned());
        }
        let empty = raw_http::Answer::default();
        let answer = match &outcome {
            Outcome::Answer(answer) => answer,
            Outcome::Closed => &empty,
        };
        let context = AnswerContext {
            host: &self.host,
            folder: &self.folder,
            answer,
            is_head: request.method == "HEAD",
            parts: Parts::of(&target),
        };
        Ok(Fields::of(&outcome, &context))
    }
}

#[cfg(test)]
mod tests;
