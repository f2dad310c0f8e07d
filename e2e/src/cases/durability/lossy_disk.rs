//! A model of a disk that loses unsynced data: its possible states after a loss of power, given the calls before.
//!
//! The model is stricter than any file system in use. A file keeps its content of the last sync, and any part of the
//! later writes. A folder keeps its names of the last sync; each name that changed later has any of its later values,
//! independently of other names, so a rename may have happened in only one of its two folders. Syncing a file does
//! not keep its name, and syncing a folder does not keep the path to it.
//!
//! Start at [`LossyDisk::apply`]. [`LossyDisk::unsynced`] lists what a loss of power may change, and
//! [`LossyDisk::state`] gives one possible state.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use anyhow::{Context as _, Result, bail, ensure};

use crate::protocol::digest;
use crate::strace::Syscall;

type Id = usize;

/// The present content, and the unsynced changes.
#[derive(Debug)]
pub(super) struct LossyDisk {
    /// The path of the disk's root, which always exists.
    root: PathBuf,
    /// All files and folders. The first one is the root.
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
    /// The writes since the last sync.
    written: Vec<(usize, Vec<u8>)>,
    /// The possible contents after a loss of power.
    kept: Vec<Rc<Kept>>,
}

#[derive(Debug, Default)]
struct Folder {
    synced: BTreeMap<String, Id>,
    live: BTreeMap<String, Id>,
    /// The values of each name since the last sync.
    changed: BTreeMap<String, Vec<Option<Id>>>,
}

/// A name or a file whose state after a loss of power is not certain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unsynced {
    node: Id,
    /// The name in a folder; `None` for the content of a file.
    name: Option<String>,
    /// The number of possible outcomes. In the first all changes since the last sync are lost, in the last none are.
    pub(super) outcomes: usize,
}

/// A possible content of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Kept {
    /// The digest of the bytes, because contents are compared very often.
    digest: String,
    pub(super) bytes: Vec<u8>,
}

impl Hash for Kept {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.digest.hash(state);
    }
}

/// A state after a loss of power: each folder, and each file with its number and its bytes.
pub(super) type State = BTreeMap<PathBuf, Option<(Id, Rc<Kept>)>>;

impl LossyDisk {
    /// An empty disk.
    pub(super) fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            nodes: vec![Node::Folder(Folder::default())],
        }
    }

    /// Applies a successful call.
    ///
    /// # Errors
    /// The model does not know the call, or the call cannot have succeeded.
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
            // The server writes only into new files, from their beginning.
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
            // File times are never promised.
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

    /// Binds a name to a file or folder, or removes it.
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

    /// All names and files whose state is not certain.
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

    /// The state with these outcomes.
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
    /// Computes the possible contents, from the synced one to the present one. Between them are: the full length
    /// without the bytes, all but the last write, only the last write, and half of the last write.
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
