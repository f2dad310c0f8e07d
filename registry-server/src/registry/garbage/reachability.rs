//! Finds what can be reached from the roots, when neither the references nor the result fit into memory.
//!
//! Keys are divided into partitions. A partition with new arrivals is loaded with its references and what was reached
//! in it so far, and is followed as far as it leads within the partition. References that lead out arrive in another
//! partition. A store that fits into memory is one partition and is done in one go.

use std::collections::HashSet;
use std::io;

use super::spill::{Key, Partitions, Scratch, Spill};

/// How many records are read at a time. A record takes more memory than what is kept of it.
const BATCH: usize = 1024;

/// The bytes that a key takes in a hash set, and a reference in a sorted list.
const KEY_BYTES: u64 = 64;
const EDGE_BYTES: u64 = 64;

/// References, and the roots from which they are followed.
pub(super) struct Edges {
    /// From a key to the key in the payload.
    edges: Spill,
    roots: Spill,
}

impl Edges {
    pub(super) fn new(scratch: &Scratch) -> Self {
        Self {
            edges: scratch.new_spill("edges"),
            roots: scratch.new_spill("roots"),
        }
    }

    /// Adds a reference: whatever reaches `from` reaches `to`.
    pub(super) fn add_reference(&mut self, from: &Key, to: &Key) {
        self.edges.push(from, to);
    }

    /// Adds a root.
    pub(super) fn add_root(&mut self, key: &Key) {
        self.roots.push(key, &[]);
    }

    pub(super) fn is_full(&self) -> bool {
        self.edges.is_full() || self.roots.is_full()
    }

    pub(super) fn spill_if_full(&mut self) -> io::Result<()> {
        self.edges.spill_if_full()?;
        self.roots.spill_if_full()
    }

    /// Follows every reference.
    pub(super) fn follow(self, scratch: &Scratch) -> io::Result<Reached> {
        let Self {
            edges,
            roots: mut arrived,
        } = self;
        let partitions =
            scratch.partitions(edges.records() * (EDGE_BYTES + KEY_BYTES) + arrived.records() * KEY_BYTES);
        let mut reached = scratch.new_spill("reached");
        loop {
            let mut moved = false;
            for partition in partitions.all() {
                let mut work = arrived.drain(partitions, partition)?;
                if work.is_empty() {
                    continue;
                }
                moved = true;
                let mut known = load(&reached, partitions, partition)?;
                work.retain(|key| known.insert(*key));
                let leads = sorted(&edges, partitions, partition)?;
                while let Some(from) = work.pop() {
                    reached.push(&from, &[]);
                    reached.spill_if_full()?;
                    let first = leads.partition_point(|(key, _)| *key < from);
                    for (_, to) in leads[first..].iter().take_while(|(key, _)| *key == from) {
                        if partitions.of(to) != partition {
                            arrived.push(to, &[]);
                            arrived.spill_if_full()?;
                        } else if known.insert(*to) {
                            work.push(*to);
                        }
                    }
                }
            }
            if !moved {
                let partitions = scratch.partitions(reached.records() * KEY_BYTES);
                return Ok(Reached { reached, partitions });
            }
        }
    }
}

fn load(spill: &Spill, partitions: Partitions, partition: usize) -> io::Result<HashSet<Key>> {
    let mut keys = HashSet::new();
    let mut cursor = Spill::cursor(partitions, partition);
    loop {
        let records = spill.read(&mut cursor, BATCH)?;
        if records.is_empty() {
            return Ok(keys);
        }
        keys.extend(records.into_iter().map(|(key, _)| key));
    }
}

fn sorted(edges: &Spill, partitions: Partitions, partition: usize) -> io::Result<Vec<(Key, Key)>> {
    let mut found = Vec::new();
    let mut cursor = Spill::cursor(partitions, partition);
    loop {
        let records = edges.read(&mut cursor, BATCH)?;
        if records.is_empty() {
            break;
        }
        for (from, to) in records {
            let to = Key::try_from(to).map_err(|_| io::Error::other("a temporary file is damaged"))?;
            found.push((from, to));
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// All keys that are reached.
pub(super) struct Reached {
    reached: Spill,
    /// The partitions by which it is loaded.
    pub(super) partitions: Partitions,
}

impl Reached {
    /// The keys that are reached in a partition.
    pub(super) fn load(&self, partition: usize) -> io::Result<HashSet<Key>> {
        load(&self.reached, self.partitions, partition)
    }

    /// Adds keys that count as reached.
    pub(super) fn with(mut self, more: &[Key]) -> io::Result<Self> {
        for key in more {
            self.reached.push(key, &[]);
        }
        self.reached.spill_if_full()?;
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeSet, HashMap};

    use proptest::prelude::*;
    use registry_oci::Digest;

    use super::*;

    fn key(number: u8) -> Key {
        let mut key = Key::default();
        key.copy_from_slice(Digest::sha256(&[number]).hash());
        key
    }

    proptest! {
        #[test]
        fn any_graph_is_followed_as_in_memory_with_any_budget(
            edges in proptest::collection::vec((0u8..60, 0u8..60), 0..120),
            roots in proptest::collection::vec(0u8..60, 0..6),
            memory in prop_oneof![Just(1usize), Just(700), Just(1 << 20)],
        ) {
            let mut expected: BTreeSet<u8> = BTreeSet::new();
            let mut work = roots.clone();
            let mut leads: HashMap<u8, Vec<u8>> = HashMap::new();
            edges.iter().for_each(|(from, to)| leads.entry(*from).or_default().push(*to));
            while let Some(node) = work.pop() {
                if expected.insert(node) {
                    work.extend(leads.get(&node).into_iter().flatten());
                }
            }
            let scratch = Scratch::new(memory).unwrap();
            let mut graph = Edges::new(&scratch);
            for (from, to) in &edges {
                graph.add_reference(&key(*from), &key(*to));
                graph.spill_if_full().unwrap();
            }
            roots.iter().for_each(|root| graph.add_root(&key(*root)));
            let reached = graph.follow(&scratch).unwrap();
            let mut found = Vec::new();
            for partition in reached.partitions.all() {
                found.extend(reached.load(partition).unwrap());
            }
            found.sort_unstable();
            let mut keys: Vec<Key> = expected.into_iter().map(key).collect();
            keys.sort_unstable();
            prop_assert_eq!(found, keys);
        }
    }
}
