//! Reads the source in the order in which objects may appear in the target.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures_util::{Stream, StreamExt as _, TryStreamExt as _};
use registry_oci::{Algorithm, Digest, RepositoryName, Tag};

use super::error::CopyError;
use super::objects::{CopyOutcome, ObjectError, StorePair};
use super::report::{CopyEvent, CopyReport};
use crate::registry::check::finding::{Finding, TagHistory};
use crate::registry::ticker::Ticker;
use crate::registry::walk::RepositoryFolder;
use crate::registry::{Error, Registry};
use crate::storage::EntryKind;
use crate::storage::layout::{self, ObjectPath, PathPrefix};

/// How many payloads are copied at once. Small ones are in memory as a whole.
const PAYLOADS: usize = 8;

/// How many links are copied at once.
const LINKS: usize = 16;

/// A copy that is running.
pub(super) struct CopyRun<'a> {
    pair: Arc<StorePair<'a>>,
    copied: &'a mut CopyReport,
    watch: &'a mut (dyn FnMut(CopyEvent<'_>) + Send),
    ticker: Ticker,
}

/// The count to which an object belongs.
#[derive(Clone, Copy)]
enum Counter {
    Payload,
    Link,
    Tag,
}

impl<'a> CopyRun<'a> {
    pub(super) fn new(
        source: &'a Registry,
        target: &'a Registry,
        copied: &'a mut CopyReport,
        watch: &'a mut (dyn FnMut(CopyEvent<'_>) + Send),
    ) -> Self {
        Self {
            pair: Arc::new(StorePair::new(source, target)),
            copied,
            watch,
            ticker: Ticker::new(),
        }
    }

    /// Copies all payloads.
    pub(super) async fn payloads(&mut self) -> Result<(), CopyError> {
        let source = self.pair.source;
        for algorithm in Algorithm::ALL {
            let mut starts = self.required(source.first_bytes(&PathPrefix::BlobStarts(algorithm)).await)?;
            starts.sort_unstable();
            for start in starts {
                let prefix = PathPrefix::Blobs(algorithm, start);
                let digests = self.required(source.list_digests(&prefix, algorithm, "list blobs").await)?;
                let pair = Arc::clone(&self.pair);
                let outcomes = digests
                    // A payload in the folder of another first byte is never read.
                    .try_filter(|digest| std::future::ready(digest.hash().first() == Some(&start)))
                    .map(|digest| {
                        let pair = Arc::clone(&pair);
                        async move { pair.payload(digest.map_err(ObjectError::Read)?).await }
                    })
                    .buffer_unordered(PAYLOADS)
                    .boxed();
                // Digests are spread evenly, so their first bytes tell the progress.
                self.follow(outcomes, Counter::Payload, Some(f64::from(start) / 256.0))
                    .await?;
            }
        }
        Ok(())
    }

    /// Copies all aliases.
    pub(super) async fn aliases(&mut self) -> Result<(), CopyError> {
        let source = self.pair.source;
        for algorithm in Algorithm::ALL {
            for start in self.required(source.first_bytes(&PathPrefix::BlobAliasStarts(algorithm)).await)? {
                let prefix = PathPrefix::BlobAliases(algorithm, start);
                let digests = self.required(
                    source
                        .list_digests(&prefix, algorithm, "list other digests")
                        .await,
                )?;
                self.links(digests, |digest| ObjectPath::blob_alias(&digest))
                    .await?;
            }
        }
        Ok(())
    }

    /// Copies all repositories.
    pub(super) async fn repositories(&mut self) -> Result<(), CopyError> {
        let source = self.pair.source;
        let mut walk = self.required(source.walk(PathPrefix::Repositories).await)?;
        while let Some(folder) = walk.next().await {
            match folder {
                Ok(folder) => self.folder(folder).await?,
                Err(error) => self.unreadable(error)?,
            }
        }
        Ok(())
    }

    async fn folder(&mut self, folder: RepositoryFolder) -> Result<(), CopyError> {
        if !folder.manifests && !folder.layers && !folder.uploads {
            return Ok(());
        }
        let Some(repository) = folder.repository() else {
            self.left_out(&Finding::RepositoryNameInvalid { name: folder.name });
            return Ok(());
        };
        if folder.uploads {
            self.uploads(&repository).await?;
        }
        if !folder.manifests && !folder.layers {
            return Ok(());
        }
        let source = self.pair.source;
        self.copied.repositories += 1;
        for algorithm in Algorithm::ALL {
            let prefix = PathPrefix::LayersOf(&repository, algorithm);
            let doing = "list the blobs of a repository";
            let digests = self.required(source.list_digests(&prefix, algorithm, doing).await)?;
            let layer = |digest| ObjectPath::layer_link(&repository, &digest);
            self.links(digests, layer).await?;
        }
        for algorithm in Algorithm::ALL {
            let prefix = PathPrefix::Revisions(&repository, algorithm);
            let digests = self.required(source.list_digests(&prefix, algorithm, "list manifests").await)?;
            let revision = |digest| ObjectPath::revision_link(&repository, &digest);
            self.links(digests, revision).await?;
        }
        self.referrers(&repository).await?;
        self.tags(&repository).await
    }

    /// Copies our own index. The entries before the marks, because a manifest with a mark is not looked at again.
    async fn referrers(&mut self, repository: &RepositoryName) -> Result<(), CopyError> {
        let source = self.pair.source;
        for algorithm in Algorithm::ALL {
            let prefix = PathPrefix::Subjects(repository, algorithm);
            let mut subjects =
                self.required(source.list_digests(&prefix, algorithm, "list subjects").await)?;
            while let Some(subject) = subjects.next().await {
                let subject = self.required(subject)?;
                let failed = Error::storage("list referrers");
                let prefix = PathPrefix::Subject(repository, &subject).key();
                let listing = self.required(source.driver.list(&prefix).await.map_err(&failed))?;
                let referrers = listing
                    .map_err(failed)
                    .try_filter_map(async |entry| Ok(layout::referrer_name(&entry.name)))
                    .boxed();
                let entry = |referrer| ObjectPath::referrer_entry(repository, &subject, &referrer);
                self.entries(referrers, entry).await?;
            }
        }
        for algorithm in Algorithm::ALL {
            let prefix = PathPrefix::ReferrersKnown(repository, algorithm);
            let marks = self.required(
                source
                    .list_digests(&prefix, algorithm, "list known manifests")
                    .await,
            )?;
            let mark = |digest| ObjectPath::referrer_known(repository, &digest);
            self.entries(marks, mark).await?;
        }
        Ok(())
    }

    async fn tags(&mut self, repository: &RepositoryName) -> Result<(), CopyError> {
        let failed = Error::storage("list tags");
        let prefix = PathPrefix::Tags(repository).key();
        let listing = self.required(self.pair.source.driver.list(&prefix).await.map_err(&failed))?;
        let pair = Arc::clone(&self.pair);
        let outcomes = listing
            .map_err(failed)
            .try_filter_map(async |entry| {
                Ok(Tag::parse(&entry.name)
                    .ok()
                    .filter(|_| entry.kind == EntryKind::Prefix))
            })
            .map(|tag| {
                let pair = &pair;
                async move { pair.tag(repository, tag.map_err(ObjectError::Read)?).await }
            })
            .buffer_unordered(LINKS)
            .boxed();
        self.follow(outcomes, Counter::Tag, None).await
    }

    /// Counts the uploads in progress, which are not copied.
    async fn uploads(&mut self, repository: &RepositoryName) -> Result<(), CopyError> {
        let failed = Error::storage("list the uploads of a repository");
        let prefix = PathPrefix::Uploads(repository).key();
        let mut listing = self.required(self.pair.source.driver.list(&prefix).await.map_err(&failed))?;
        while let Some(entry) = listing.next().await {
            if self.required(entry.map_err(&failed))?.kind == EntryKind::Prefix {
                self.copied.uploads += 1;
            }
        }
        Ok(())
    }

    async fn links(
        &mut self,
        digests: impl Stream<Item = Result<Digest, Error>> + Send,
        path: impl Fn(Digest) -> ObjectPath + Send + Sync,
    ) -> Result<(), CopyError> {
        let pair = Arc::clone(&self.pair);
        let outcomes = digests
            .map(|digest| {
                let (pair, path) = (&pair, &path);
                async move {
                    let digest = digest.map_err(ObjectError::Read)?;
                    pair.link(path(digest), digest).await
                }
            })
            .buffer_unordered(LINKS)
            .boxed();
        self.follow(outcomes, Counter::Link, None).await
    }

    async fn entries(
        &mut self,
        digests: impl Stream<Item = Result<Digest, Error>> + Send,
        path: impl Fn(Digest) -> ObjectPath + Send + Sync,
    ) -> Result<(), CopyError> {
        let pair = Arc::clone(&self.pair);
        let outcomes = digests
            .map(|digest| {
                let (pair, path) = (&pair, &path);
                async move { pair.entry(&path(digest.map_err(ObjectError::Read)?)).await }
            })
            .buffer_unordered(LINKS)
            .boxed();
        self.follow(outcomes, Counter::Link, None).await
    }

    /// Counts and reports the results of a stream.
    async fn follow(
        &mut self,
        mut outcomes: impl Stream<Item = Result<CopyOutcome, ObjectError>> + Unpin,
        counter: Counter,
        part: Option<f64>,
    ) -> Result<(), CopyError> {
        loop {
            let Self {
                pair,
                copied,
                watch,
                ticker,
            } = self;
            let say = || {
                copied.bytes = pair.bytes.load(Ordering::Relaxed);
                watch(match part {
                    Some(part) => CopyEvent::Blobs(copied, part),
                    None => CopyEvent::Repositories(copied),
                });
            };
            let Some(outcome) = ticker.next(&mut outcomes, say).await else {
                copied.bytes = pair.bytes.load(Ordering::Relaxed);
                return Ok(());
            };
            match (outcome, counter) {
                (Ok(CopyOutcome::Copied), Counter::Payload) => self.copied.blobs += 1,
                (Ok(CopyOutcome::AlreadyThere), Counter::Payload) => self.copied.blobs_there += 1,
                (Ok(CopyOutcome::Copied), Counter::Link) => self.copied.links += 1,
                (Ok(CopyOutcome::AlreadyThere), Counter::Link) => self.copied.links_there += 1,
                (Ok(CopyOutcome::Copied), Counter::Tag) => self.copied.tags += 1,
                (Ok(CopyOutcome::AlreadyThere), Counter::Tag) => self.copied.tags_there += 1,
                (Ok(CopyOutcome::Gone), _) => {}
                (Ok(CopyOutcome::LeftOut(finding)), _) => self.left_out(&finding),
                (Err(ObjectError::Read(error)), _) => {
                    self.unreadable(error)?;
                    continue;
                }
                (Err(ObjectError::Write(error)), _) => {
                    return Err(CopyError::Target {
                        source: Box::new(error),
                    });
                }
            }
            self.ticker.succeeded();
        }
    }

    fn left_out(&mut self, finding: &Finding) {
        self.copied.left_out += 1;
        (self.watch)(CopyEvent::LeftOut(finding));
    }

    /// An object that cannot be read is left out. When one object after the other cannot be read, the copy ends.
    fn unreadable(&mut self, error: Error) -> Result<(), CopyError> {
        if let Some(failed) = self.ticker.failed_too_often() {
            return Err(CopyError::Unresponsive {
                failed,
                source: Box::new(error),
            });
        }
        let cause = crate::fault::chain(&error);
        self.left_out(&Finding::Unreadable { cause });
        Ok(())
    }

    /// A listing that fails ends the copy: nobody could tell which objects would be left out.
    fn required<T>(&self, listed: Result<T, Error>) -> Result<T, CopyError> {
        listed.map_err(|error| CopyError::Source {
            source: Box::new(error),
        })
    }
}

impl StorePair<'_> {
    /// Copies a tag with its history, if its manifest is in the target. The link to the manifest is written last.
    async fn tag(&self, repository: &RepositoryName, tag: Tag) -> Result<CopyOutcome, ObjectError> {
        let current = ObjectPath::tag_current(repository, &tag);
        // Read before the history, because a push writes it after the history.
        let Some(link) = self
            .source
            .inspect_link(&current)
            .await
            .map_err(ObjectError::Read)?
        else {
            return Ok(CopyOutcome::Gone);
        };
        let Some(digest) = link.target else {
            return Ok(CopyOutcome::left_out(Finding::TagUnset {
                repository: repository.clone(),
                tag,
                history: TagHistory::Recoverable,
            }));
        };
        if !self
            .has_link(&ObjectPath::revision_link(repository, &digest))
            .await?
        {
            return Ok(CopyOutcome::left_out(Finding::TagDangling {
                repository: repository.clone(),
                tag,
                digest,
            }));
        }
        for algorithm in Algorithm::ALL {
            let prefix = PathPrefix::TagHistory(repository, &tag, algorithm);
            let doing = "list the history of a tag";
            let listed = self.source.list_digests(&prefix, algorithm, doing).await;
            let mut history = listed.map_err(ObjectError::Read)?;
            while let Some(digest) = history.try_next().await.map_err(ObjectError::Read)? {
                let entry = ObjectPath::tag_index(repository, &tag, &digest);
                // The name of an entry says what it holds, even if a crash emptied it.
                self.write_link(&entry, &digest).await?;
            }
        }
        self.write_link(&current, &digest).await
    }
}
