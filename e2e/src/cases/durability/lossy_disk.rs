//! A disk that forgets: what may be on it after a loss of power, given the calls that were made before.
//!
//! Stricter than any file system people use. A file keeps what it held when it was synced last, and of what was
//! written since any part. A folder keeps the names it had when it was synced last, and each name that changed since
//! is as it was at any moment since then, whatever became of the others: so a rename may have happened in one of its
//! two folders only. A file that was synced is not thereby a name, and a folder that was synced is not thereby
//! reachable.
//!
//! Start at [`LossyDisk::apply`]; [`LossyDisk::unsynced`] are the questions whose answers make a state, [`LossyDisk::state`] is one.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use anyhow::{Context as _, Result, bail, ensure};

use crate::protocol::digest;
use crate::strace::Syscall;

type Id = usize;

/// What is on it, and what was.
#[derive(Debug)]
pub(super) struct LossyDisk {
    /// A folder that was always there.
    root: PathBuf,
    /// The first one is the root.
    nodes: Vec<Node>,
}

#[derive(Debug)]
enum Node {
    File(File),
    Folder(Folder),
}

#[derive(Debug, Default)]
struct File {
    synced: Vec<u8>,
    live: Vec<u8>,
    /// What was written since the last sync.
    written: Vec<(usize, Vec<u8>)>,
    /// What may be left of it.
    kept: Vec<Rc<Kept>>,
}

#[derive(Debug, Default)]
struct Folder {
    synced: BTreeMap<String, Id>,
    live: BTreeMap<String, Id>,
    /// What each name was since the last sync.
    changed: BTreeMap<String, Vec<Option<Id>>>,
}

/// A question that a loss of power answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unsynced {
    node: Id,
    /// Which name of a folder; none for what a file holds.
    name: Option<String>,
    /// How many answers there are. The first is that everything since the last sync is lost, the last that nothing is.
    pub(super) outcomes: usize,
}

/// What is left of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Kept {
    /// The bytes' digest: they are compared very often.
    digest: String,
    pub(super) bytes: Vec<u8>,
}

impl Hash for Kept {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.digest.hash(state);
    }
}

/// What is on it after a loss of power: each folder, and each file with its number and its bytes.
pub(super) type State = BTreeMap<PathBuf, Option<(Id, Rc<Kept>)>>;

impl LossyDisk {
    /// An empty one.
    pub(super) fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            nodes: vec![Node::Folder(Folder::default())],
        }
    }

    /// Makes a call that went well.
    ///
    /// # Errors
    /// It is of a kind this disk does not know, or cannot have gone well.
    pub(super) fn apply(&mut self, call: &Syscall) -> Result<()> {
        match call.name.as_str() {
            "mkdir" => self.make(&call.path(0)?, Node::Folder(Folder::default())),
            "mkdirat" => self.make(&call.path_below(0, 1)?, Node::Folder(Folder::default())),
            "openat" => {
                ensure!(!call.arg(2)?.contains("O_TRUNC"), "a file is cut in place");
                let path = call.path_below(0, 1)?;
                match self.find(&path) {
                    Ok(_) => Ok(()),
                    Err(_) => self.make(&path, Node::File(File::default())),
                }
            }
            // Only ever into files that were made just now, from their beginning.
            "write" => self.write(call, None),
            "pwrite64" => self.write(call, Some(call.arg(3)?.parse()?)),
            "rename" => self.rename(&call.path(0)?, &call.path(1)?),
            "renameat" | "renameat2" => self.rename(&call.path_below(0, 1)?, &call.path_below(2, 3)?),
            "link" => self.link(&call.path(0)?, &call.path(1)?),
            "linkat" => self.link(&call.path_below(0, 1)?, &call.path_below(2, 3)?),
            "unlink" | "rmdir" => self.enter(&call.path(0)?, None),
            "unlinkat" => self.enter(&call.path_below(0, 1)?, None),
            "fsync" | "fdatasync" => match call.descriptor(0)? {
                Some(path) => self.sync(&path),
                None => Ok(()),
            },
            // Times are nobody's promise.
            "utimensat" => Ok(()),
            other => bail!("`{other}` changed the store, and this disk does not know it"),
        }
        .with_context(|| format!("{call:.300?}"))
    }

    fn find(&self, path: &Path) -> Result<Id> {
        let below = path.strip_prefix(&self.root).context("not below the root")?;
        let mut id = 0;
        for name in below {
            let Node::Folder(folder) = &self.nodes[id] else {
                bail!("`{}` goes through a file", path.display());
            };
            let name = name.to_str().context("a name that is no text")?;
            id = *folder
                .live
                .get(name)
                .with_context(|| format!("`{}` is not there", path.display()))?;
        }
        Ok(id)
    }

    /// Gives a name to something, or to nothing.
    fn enter(&mut self, path: &Path, id: Option<Id>) -> Result<()> {
        let parent = self.find(path.parent().context("no folder")?)?;
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .context("no name")?
            .to_owned();
        let Node::Folder(folder) = &mut self.nodes[parent] else {
            bail!("`{}` is in a file", path.display());
        };
        let before = match id {
            Some(id) => folder.live.insert(name.clone(), id),
            None => folder.live.remove(&name),
        };
        ensure!(
            id.is_some() || before.is_some(),
            "`{}` is not there",
            path.display()
        );
        folder.changed.entry(name).or_default().push(id);
        Ok(())
    }

    fn make(&mut self, path: &Path, node: Node) -> Result<()> {
        self.nodes.push(node);
        self.enter(path, Some(self.nodes.len() - 1))?;
        if let Some(Node::File(file)) = self.nodes.last_mut() {
            file.settle();
        }
        Ok(())
    }

    fn link(&mut self, from: &Path, to: &Path) -> Result<()> {
        let id = self.find(from)?;
        self.enter(to, Some(id))
    }

    fn rename(&mut self, from: &Path, to: &Path) -> Result<()> {
        let id = self.find(from)?;
        ensure!(matches!(self.nodes[id], Node::File(_)), "a folder is renamed");
        self.enter(from, None)?;
        self.enter(to, Some(id))
    }

    fn write(&mut self, call: &Syscall, offset: Option<usize>) -> Result<()> {
        let Some(path) = call.descriptor(0)? else {
            return Ok(());
        };
        let id = self.find(&path)?;
        let Node::File(file) = &mut self.nodes[id] else {
            bail!("a folder is written to");
        };
        let mut bytes = call.bytes(1)?;
        bytes.truncate(call.result.unwrap_or(0).try_into()?);
        let offset = offset.unwrap_or(file.live.len());
        put(&mut file.live, offset, &bytes);
        file.written.push((offset, bytes));
        file.settle();
        Ok(())
    }

    fn sync(&mut self, path: &Path) -> Result<()> {
        let id = self.find(path)?;
        match &mut self.nodes[id] {
            Node::File(file) => {
                file.synced.clone_from(&file.live);
                file.written.clear();
                file.settle();
            }
            Node::Folder(folder) => {
                folder.synced.clone_from(&folder.live);
                folder.changed.clear();
            }
        }
        Ok(())
    }

    /// Everything that is not certain.
    pub(super) fn unsynced(&self) -> Vec<Unsynced> {
        let mut unsynced = Vec::new();
        for (node, what) in self.nodes.iter().enumerate() {
            match what {
                Node::File(file) if file.kept.len() > 1 => unsynced.push(Unsynced {
                    node,
                    name: None,
                    outcomes: file.kept.len(),
                }),
                Node::File(_) => {}
                Node::Folder(folder) => {
                    unsynced.extend(folder.changed.iter().map(|(name, since)| Unsynced {
                        node,
                        name: Some(name.clone()),
                        outcomes: since.len() + 1,
                    }))
                }
            }
        }
        unsynced
    }

    /// What is there when each item is answered so.
    pub(super) fn state(&self, unsynced: &[Unsynced], outcomes: &[usize]) -> State {
        let chosen: BTreeMap<(Id, Option<&str>), usize> = unsynced
            .iter()
            .zip(outcomes)
            .map(|(item, outcome)| ((item.node, item.name.as_deref()), *outcome))
            .collect();
        let mut state = State::new();
        let mut pending = vec![(0, PathBuf::new())];
        while let Some((id, path)) = pending.pop() {
            match &self.nodes[id] {
                Node::File(file) => {
                    let outcome = chosen.get(&(id, None)).copied().unwrap_or(0);
                    state.insert(path, Some((id, Rc::clone(&file.kept[outcome]))));
                }
                Node::Folder(folder) => {
                    let mut names = folder.synced.clone();
                    for (name, since) in &folder.changed {
                        let outcome = chosen.get(&(id, Some(name.as_str()))).copied().unwrap_or(0);
                        match outcome.checked_sub(1).map(|since_then| since[since_then]) {
                            None => {}
                            Some(Some(id)) => drop(names.insert(name.clone(), id)),
                            Some(None) => drop(names.remove(name)),
                        }
                    }
                    pending.extend(names.into_iter().map(|(name, id)| (id, path.join(name))));
                    state.insert(path, None);
                }
            }
        }
        state
    }
}

impl File {
    /// What may be left: what was synced first, everything last. Between them: the length without the bytes, without
    /// the last write, with the last one alone, and with half of it.
    fn settle(&mut self) {
        let mut between = Vec::new();
        if let Some(((offset, last), before)) = self.written.split_last() {
            let mut most = self.synced.clone();
            for (offset, bytes) in before {
                put(&mut most, *offset, bytes);
            }
            let mut long = self.synced.clone();
            long.resize(self.live.len(), 0);
            let mut alone = self.synced.clone();
            put(&mut alone, *offset, last);
            let mut half = most.clone();
            put(&mut half, *offset, &last[..last.len() / 2]);
            between.extend([long, most, alone, half]);
        }
        let mut kept = vec![self.synced.clone()];
        for bytes in between {
            if bytes != self.live && !kept.contains(&bytes) {
                kept.push(bytes);
            }
        }
        if self.live != self.synced {
            kept.push(self.live.clone());
        }
        let kept = kept.into_iter().map(|bytes| Kept {
            digest: digest(&bytes),
            bytes,
        });
        self.kept = kept.map(Rc::new).collect();
    }
}

fn put(into: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    let end = offset + bytes.len();
    if into.len() < end {
        into.resize(end, 0);
    }
    into[offset..end].copy_from_slice(bytes);
}
