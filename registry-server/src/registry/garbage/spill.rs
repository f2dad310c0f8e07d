//! Records by key, in as little memory as was asked for. Records that do not fit are written to files in a temporary
//! folder, by the first bits of their key, so that the records of one partition can be read without the others.
//!
//! Keys are hashes, so all buckets have about the same size. All calls here may block.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Read, Seek as _, SeekFrom, Write as _};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use tempfile::TempDir;

/// The key of a record.
pub(super) type Key = [u8; 32];

/// Into how many files the records of a spill are divided.
const BUCKETS: usize = 4096;

/// A temporary folder, and how much memory each spill in it may take.
#[derive(Debug, Clone)]
pub(super) struct Scratch {
    folder: Arc<TempDir>,
    memory: usize,
}

impl Scratch {
    /// A folder for work that may take about `memory` bytes.
    pub(super) fn new(memory: usize) -> io::Result<Self> {
        let folder = tempfile::Builder::new().prefix("registry-garbage-").tempdir()?;
        Ok(Self {
            folder: Arc::new(folder),
            memory,
        })
    }

    /// An empty spill. Each spill needs a name of its own.
    pub(super) fn new_spill(&self, name: &'static str) -> Spill {
        Spill {
            scratch: self.clone(),
            name,
            buckets: vec![Bucket::default(); BUCKETS],
            buffered: 0,
            records: 0,
        }
    }

    /// The partitions for records that take so many bytes in memory. Their number is a power of two, so that a
    /// partition is a row of buckets.
    pub(super) fn partitions(&self, bytes: u64) -> Partitions {
        let wanted = bytes.div_ceil(self.memory.max(1) as u64).max(1);
        Partitions(wanted.min(BUCKETS as u64).next_power_of_two() as usize)
    }
}

/// A division of all keys into partitions of about the same size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Partitions(usize);

impl Partitions {
    pub(super) fn all(self) -> Range<usize> {
        0..self.0
    }

    /// The partition a key is in.
    pub(super) fn of(self, key: &Key) -> usize {
        bucket(key) * self.0 / BUCKETS
    }

    /// The first bytes of the keys in a partition.
    pub(super) fn first_bytes(self, partition: usize) -> std::ops::RangeInclusive<u8> {
        let Range { start, end } = self.buckets(partition);
        let byte = |bucket: usize| (bucket / (BUCKETS / 256)) as u8;
        byte(start)..=byte(end - 1)
    }

    fn buckets(self, partition: usize) -> Range<usize> {
        let each = BUCKETS / self.0;
        partition * each..(partition + 1) * each
    }
}

fn bucket(key: &Key) -> usize {
    usize::from(u16::from_be_bytes([key[0], key[1]])) * BUCKETS / 65536
}

/// Records that are written once and read by partition.
#[derive(Debug)]
pub(super) struct Spill {
    scratch: Scratch,
    name: &'static str,
    buckets: Vec<Bucket>,
    buffered: usize,
    records: u64,
}

#[derive(Debug, Clone, Default)]
struct Bucket {
    /// Records that are not in the file yet.
    buffer: Vec<u8>,
    /// Whether there is a file.
    spilt: bool,
}

impl Spill {
    /// How many records were ever added.
    pub(super) fn records(&self) -> u64 {
        self.records
    }

    /// Adds a record. It stays in memory until [`Spill::spill_if_full`].
    pub(super) fn push(&mut self, key: &Key, payload: &[u8]) {
        let buffer = &mut self.buckets[bucket(key)].buffer;
        let before = buffer.len();
        buffer.extend_from_slice(key);
        // A storage key has a few hundred bytes; no other payload is added.
        buffer.extend_from_slice(&u16::try_from(payload.len()).unwrap_or(u16::MAX).to_be_bytes());
        buffer.extend_from_slice(&payload[..payload.len().min(u16::MAX.into())]);
        self.buffered += buffer.len() - before;
        self.records += 1;
    }

    /// Whether the records take more memory than they should.
    pub(super) fn is_full(&self) -> bool {
        self.buffered > self.scratch.memory / 8
    }

    /// Moves the records in memory to files, if they take too much memory.
    pub(super) fn spill_if_full(&mut self) -> io::Result<()> {
        if !self.is_full() {
            return Ok(());
        }
        for number in 0..BUCKETS {
            if self.buckets[number].buffer.is_empty() {
                continue;
            }
            let path = self.path(number);
            let bucket = &mut self.buckets[number];
            let mut file = OpenOptions::new().create(true).append(true).open(path)?;
            file.write_all(&bucket.buffer)?;
            *bucket = Bucket {
                buffer: Vec::new(),
                spilt: true,
            };
        }
        self.buffered = 0;
        Ok(())
    }

    /// Removes the records of a partition and returns their keys.
    pub(super) fn drain(&mut self, partitions: Partitions, partition: usize) -> io::Result<Vec<Key>> {
        let keys = self.read(&mut Self::cursor(partitions, partition), usize::MAX)?;
        let keys = keys.into_iter().map(|(key, _)| key).collect();
        for number in partitions.buckets(partition) {
            if self.buckets[number].spilt {
                fs::remove_file(self.path(number))?;
            }
            let bucket = std::mem::take(&mut self.buckets[number]);
            self.buffered -= bucket.buffer.len();
        }
        Ok(keys)
    }

    fn path(&self, bucket: usize) -> PathBuf {
        self.scratch
            .folder
            .path()
            .join(format!("{}-{bucket:03x}", self.name))
    }
}

/// A record that was read.
pub(super) type Record = (Key, Vec<u8>);

/// How many records of a partition were read.
#[derive(Debug)]
pub(super) struct Cursor {
    /// The buckets that were not read to their end.
    buckets: Range<usize>,
    /// How many bytes of the first of them were read.
    offset: u64,
}

impl Spill {
    /// A cursor at the beginning of a partition.
    pub(super) fn cursor(partitions: Partitions, partition: usize) -> Cursor {
        Cursor {
            buckets: partitions.buckets(partition),
            offset: 0,
        }
    }

    /// The next records behind a cursor, at most `limit`; none at the end. No record may be added between two calls.
    pub(super) fn read(&self, cursor: &mut Cursor, limit: usize) -> io::Result<Vec<Record>> {
        let mut records = Vec::new();
        while records.len() < limit && !cursor.buckets.is_empty() {
            let mut source = self.source(cursor)?;
            while records.len() < limit
                && let Some(record) = read_record(&mut source)?
            {
                cursor.offset += (record.0.len() + 2 + record.1.len()) as u64;
                records.push(record);
            }
            if records.len() < limit {
                cursor.buckets.start += 1;
                cursor.offset = 0;
            }
        }
        Ok(records)
    }

    fn source(&self, cursor: &Cursor) -> io::Result<Box<dyn Read + '_>> {
        let Bucket { buffer, spilt } = &self.buckets[cursor.buckets.start];
        if !spilt {
            let start = usize::try_from(cursor.offset)
                .unwrap_or(usize::MAX)
                .min(buffer.len());
            return Ok(Box::new(&buffer[start..]));
        }
        let mut file = File::open(self.path(cursor.buckets.start))?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(cursor.offset.min(length)))?;
        let start = cursor.offset.saturating_sub(length);
        let start = usize::try_from(start).unwrap_or(usize::MAX).min(buffer.len());
        Ok(Box::new(BufReader::new(file).chain(&buffer[start..])))
    }
}

fn read_record(source: &mut dyn Read) -> io::Result<Option<Record>> {
    let mut key = Key::default();
    // A bucket ends between two records, because only whole records are written to files.
    if source.read(&mut key[..1])? == 0 {
        return Ok(None);
    }
    source.read_exact(&mut key[1..])?;
    let mut length = [0; 2];
    source.read_exact(&mut length)?;
    let mut payload = vec![0; u16::from_be_bytes(length).into()];
    source.read_exact(&mut payload)?;
    Ok(Some((key, payload)))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use registry_oci::Digest;

    use super::*;

    fn key(number: u32) -> Key {
        let mut key = Key::default();
        key.copy_from_slice(Digest::sha256(&number.to_be_bytes()).hash());
        key
    }

    #[test]
    fn records_come_back_by_slices_whether_they_were_in_memory_or_in_files() {
        for memory in [1, 4096, 64 << 20] {
            let scratch = Scratch::new(memory).unwrap();
            let mut spill = scratch.new_spill("records");
            for number in 0..2000 {
                spill.push(&key(number), number.to_string().as_bytes());
                spill.spill_if_full().unwrap();
                assert!(spill.buffered <= memory / 8, "{} of {memory}", spill.buffered);
            }
            let files = fs::read_dir(scratch.folder.path()).unwrap().count();
            assert_eq!(files > 0, memory < 1 << 20, "{files} files with {memory}");
            for wanted in [1, 7, 300, u64::from(u32::MAX)] {
                let partitions = scratch.partitions(wanted * memory as u64);
                let mut found = BTreeSet::new();
                for partition in partitions.all() {
                    let mut cursor = Spill::cursor(partitions, partition);
                    loop {
                        let records = spill.read(&mut cursor, 7).unwrap();
                        if records.is_empty() {
                            break;
                        }
                        for (key, payload) in records {
                            assert_eq!(partitions.of(&key), partition);
                            assert!(partitions.first_bytes(partition).contains(&key[0]));
                            assert!(found.insert(payload));
                        }
                    }
                }
                let expected: BTreeSet<_> = (0..2000)
                    .map(|number: u32| number.to_string().into_bytes())
                    .collect();
                assert_eq!(found, expected, "{wanted} partitions of {memory}");
            }
        }
    }

    #[test]
    fn what_is_taken_out_is_gone_and_the_rest_stays() {
        let scratch = Scratch::new(64).unwrap();
        let mut spill = scratch.new_spill("records");
        for number in 0..500 {
            spill.push(&key(number), &[]);
            if number == 250 {
                spill.spill_if_full().unwrap();
            }
        }
        let partitions = scratch.partitions(2 * 64);
        let first = spill.drain(partitions, 0).unwrap();
        assert!(first.iter().all(|key| key[0] < 0x80));
        assert!(spill.drain(partitions, 0).unwrap().is_empty());
        spill.push(&first[0], &[]);
        assert_eq!(spill.drain(partitions, 0).unwrap(), [first[0]]);
        assert_eq!(spill.drain(partitions, 1).unwrap().len() + first.len(), 500);
    }
}
