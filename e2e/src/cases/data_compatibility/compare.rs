//! Asks two servers on one tree for everything in it, and compares the answers.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use reqwest::header::{ACCEPT, IF_NONE_MATCH, RANGE};
use reqwest::{Method, StatusCode};
use serde_json::Value;

use super::shared_store::SharedStore;
use crate::peers::ServerKind;
use crate::server::Server;

/// All media types that today's clients read, so that neither server has to convert or refuse.
const ALL_TYPES: &str = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, \
    application/vnd.docker.distribution.manifest.v2+json, application/vnd.docker.distribution.manifest.list.v2+json, \
    application/vnd.docker.distribution.manifest.v1+prettyjws";

/// The headers that describe content.
const HEADERS: [&str; 11] = [
    "accept-ranges",
    "cache-control",
    "content-length",
    "content-range",
    "content-type",
    "docker-content-digest",
    "docker-distribution-api-version",
    "etag",
    "link",
    "location",
    "www-authenticate",
];

/// A difference of ours that is intended, for any tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum KnownDifference {
    /// A peer answers `If-None-Match` before it checks whether the manifest still exists; ours answers that it is
    /// gone.
    Gone,
    /// A repository without tags has an empty list: neither `null` nor an unknown repository.
    NoTags,
    /// Content requested by sha512 is named by sha512, where peers name a sha256 the client did not ask for.
    OtherName,
}

impl KnownDifference {
    /// All known differences.
    pub(super) const ALL: [Self; 3] = [Self::Gone, Self::NoTags, Self::OtherName];

    fn of(question: &Question, theirs: &Answer, mine: &Answer) -> Option<Self> {
        let statuses = (theirs.status.as_u16(), mine.status.as_u16());
        if statuses == (304, 404) && question.path.contains("/manifests/") {
            return Some(Self::Gone);
        }
        let none = serde_json::from_slice::<Value>(&mine.body)
            .is_ok_and(|list| list["tags"] == Value::Array(vec![]));
        if question.path.ends_with("/tags/list") && none && matches!(statuses, (200 | 404, 200)) {
            return Some(Self::NoTags);
        }
        let (_, asked) = question.path.split_once("/blobs/")?;
        let named = |answer: &Answer| {
            answer
                .headers
                .get("docker-content-digest")
                .is_some_and(|name| name == asked)
        };
        let is_same = theirs.body == mine.body || statuses == (200, 304);
        (asked.starts_with("sha512:") && !named(theirs) && named(mine) && is_same).then_some(Self::OtherName)
    }
}

/// The result of a comparison.
#[derive(Debug)]
pub(super) struct Compared {
    /// The number of equal answers.
    pub(super) same: usize,
    /// The number of intended differences, by kind.
    pub(super) wanted: BTreeMap<KnownDifference, usize>,
}

/// Asks both servers for everything in the tree and for some things that are not. Manifests are requested by sha256
/// only, because distribution refuses other digests whatever is stored.
///
/// # Errors
/// An answer differs without a known reason.
pub(super) async fn answers(
    store: &SharedStore<'_>,
    kind: ServerKind,
    peer: &Server,
    ours: &Server,
) -> Result<Compared> {
    let asked = questions(&store.tree())?;
    ensure!(
        asked.len() > 100,
        "only {} questions: the tree is nearly empty",
        asked.len()
    );
    let mut different = Vec::new();
    let mut wanted = BTreeMap::<KnownDifference, usize>::new();
    for question in &asked {
        let (theirs, mine) = tokio::try_join!(question.ask(store, peer), question.ask(store, ours))?;
        if theirs.normal()? == mine.normal()? {
            continue;
        }
        if let Some(reason) = KnownDifference::of(question, &theirs, &mine) {
            *wanted.entry(reason).or_default() += 1;
            continue;
        }
        different.push(format!(
            "{question:?}\n  {}: {:?}\n  ours: {:?}",
            kind.name(),
            theirs.normal()?,
            mine.normal()?
        ));
    }
    ensure!(
        different.is_empty(),
        "{} of {} answers differ:\n{}",
        different.len(),
        asked.len(),
        different.join("\n")
    );
    let same = asked.len() - wanted.values().sum::<usize>() + catalog(store, kind, peer, ours).await?;
    Ok(Compared { same, wanted })
}

/// Compares the catalog in pages of every size. A repository in it has layers for 2.8, and manifests for 3.1 and
/// ours.
async fn catalog(store: &SharedStore<'_>, kind: ServerKind, peer: &Server, ours: &Server) -> Result<usize> {
    let mut count = 0;
    for size in ["", "?n=1", "?n=2", "?n=5"] {
        let path = format!("_catalog{size}");
        let theirs = pages(store, peer, &path).await?;
        let mut mine = pages(store, ours, &path).await?;
        if kind == ServerKind::V2 {
            let tree = store.tree().join("repositories");
            let has = |name: &String, folder: &str| tree.join(name).join(folder).is_dir();
            let layers_only: Vec<&String> = theirs.iter().filter(|name| !has(name, "_manifests")).collect();
            ensure!(
                !layers_only.is_empty(),
                "no repository without manifests was written"
            );
            mine.extend(layers_only.into_iter().cloned());
            mine.sort_by(|a, b| a.split('/').cmp(b.split('/')));
        }
        ensure!(
            theirs == mine,
            "{path}: {} says {theirs:?}, ours {mine:?}",
            kind.name()
        );
        count += theirs.len();
    }
    Ok(count)
}

async fn pages(store: &SharedStore<'_>, server: &Server, first: &str) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let mut next = Some(server.base().join(&format!("v2/{first}"))?);
    while let Some(url) = next {
        let answer = store.http.get(url.clone()).send().await?.error_for_status()?;
        next = match answer.headers().get("link") {
            Some(link) => {
                let link = link.to_str()?;
                let (target, _) = link
                    .trim_start_matches('<')
                    .split_once('>')
                    .context("a broken `Link`")?;
                Some(url.join(target)?)
            }
            None => None,
        };
        let page: Value = answer.json().await?;
        let names = page["repositories"]
            .as_array()
            .with_context(|| format!("{page}"))?;
        found.extend(names.iter().filter_map(Value::as_str).map(str::to_owned));
    }
    Ok(found)
}

/// One request.
#[derive(Debug, Clone)]
struct Question {
    method: Method,
    path: String,
    headers: Vec<(&'static str, String)>,
}

/// The relevant parts of an answer.
#[derive(Debug)]
struct Answer {
    status: StatusCode,
    headers: BTreeMap<&'static str, String>,
    body: Bytes,
}

/// An answer in the form that is compared.
#[derive(Debug, PartialEq)]
struct Normal {
    status: StatusCode,
    headers: BTreeMap<&'static str, String>,
    body: Body,
}

#[derive(Debug, PartialEq)]
enum Body {
    Bytes(Bytes),
    Json(Value),
}

impl Question {
    fn new(method: Method, path: impl Into<String>) -> Self {
        Self {
            method,
            path: path.into(),
            headers: Vec::new(),
        }
    }

    fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    async fn ask(&self, store: &SharedStore<'_>, server: &Server) -> Result<Answer> {
        let url = server.base().join(&format!("v2/{}", self.path))?;
        let mut request = store
            .http
            .request(self.method.clone(), url)
            .header(ACCEPT, ALL_TYPES);
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        let answer = request.send().await?;
        let headers = HEADERS
            .into_iter()
            .filter_map(|name| {
                let value = answer.headers().get(name)?;
                Some((name, String::from_utf8_lossy(value.as_bytes()).into_owned()))
            })
            .collect();
        Ok(Answer {
            status: answer.status(),
            headers,
            body: answer.bytes().await?,
        })
    }
}

impl Answer {
    /// Leaves out what servers word differently and what does not describe content: the text of an error, the headers
    /// of a 304, the spelling of a list, and the order of 2.8's tags.
    fn normal(&self) -> Result<Normal> {
        let mut headers = self.headers.clone();
        let is_list = headers
            .get("content-type")
            .is_some_and(|media_type| media_type.starts_with("application/json"));
        let body = if self.status.is_client_error() {
            headers.retain(|name, _| *name == "docker-distribution-api-version");
            let error: Value = serde_json::from_slice(&self.body).unwrap_or_default();
            Body::Json(error["errors"][0]["code"].clone())
        } else if self.status == StatusCode::NOT_MODIFIED {
            headers.clear();
            Body::Bytes(self.body.clone())
        } else if is_list && !self.body.is_empty() {
            headers.remove("content-type");
            headers.remove("content-length");
            let mut list: Value = serde_json::from_slice(&self.body)?;
            if let Some(tags) = list["tags"].as_array_mut() {
                tags.sort_by_key(Value::to_string);
            }
            Body::Json(list)
        } else {
            Body::Bytes(self.body.clone())
        };
        Ok(Normal {
            status: self.status,
            headers,
            body,
        })
    }
}

/// Questions for a whole tree: each tag, manifest and layer of each repository, read in every way, and each digest in
/// a repository that does not have it.
fn questions(tree: &Path) -> Result<Vec<Question>> {
    let mut asked = vec![Question::new(Method::GET, "")];
    let mut repositories = Vec::new();
    find_repositories(&tree.join("repositories"), "", &mut repositories)?;
    for name in &repositories {
        let home = tree.join("repositories").join(name);
        asked.push(Question::new(Method::GET, format!("{name}/tags/list")));
        for tag in children(&home.join("_manifests/tags"))? {
            for method in [Method::GET, Method::HEAD] {
                asked.push(Question::new(method, format!("{name}/manifests/{tag}")));
            }
        }
        for hex in children(&home.join("_manifests/revisions/sha256"))? {
            let path = format!("{name}/manifests/sha256:{hex}");
            asked.push(Question::new(Method::GET, &path));
            asked.push(Question::new(Method::HEAD, &path));
            asked.push(
                Question::new(Method::GET, &path).with(IF_NONE_MATCH.as_str(), format!("\"sha256:{hex}\"")),
            );
            asked.push(Question::new(
                Method::HEAD,
                format!("hand/nowhere/manifests/sha256:{hex}"),
            ));
            // A manifest is not a blob of the repository, unless it was pushed as one.
            asked.push(Question::new(Method::HEAD, format!("{name}/blobs/sha256:{hex}")));
        }
        for algorithm in ["sha256", "sha512"] {
            for hex in children(&home.join("_layers").join(algorithm))? {
                let path = format!("{name}/blobs/{algorithm}:{hex}");
                asked.push(Question::new(Method::GET, &path));
                asked.push(Question::new(Method::HEAD, &path));
                asked.push(Question::new(Method::GET, &path).with(RANGE.as_str(), "bytes=1-4"));
                asked.push(Question::new(Method::GET, &path).with(RANGE.as_str(), "bytes=-3"));
                asked.push(
                    Question::new(Method::GET, &path)
                        .with(IF_NONE_MATCH.as_str(), format!("\"{algorithm}:{hex}\"")),
                );
                asked.push(Question::new(
                    Method::HEAD,
                    format!("hand/nowhere/blobs/{algorithm}:{hex}"),
                ));
            }
        }
    }
    Ok(asked)
}

fn find_repositories(folder: &Path, name: &str, found: &mut Vec<String>) -> Result<()> {
    let children = children(folder)?;
    if children.iter().any(|child| child.starts_with('_')) {
        found.push(name.to_owned());
    }
    for child in children.iter().filter(|child| !child.starts_with('_')) {
        let deeper = if name.is_empty() {
            child.clone()
        } else {
            format!("{name}/{child}")
        };
        find_repositories(&folder.join(child), &deeper, found)?;
    }
    Ok(())
}

/// The sorted names in a folder; none when it is missing.
fn children(folder: &Path) -> Result<Vec<String>> {
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort_unstable();
    Ok(names)
}
