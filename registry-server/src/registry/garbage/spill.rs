//! Records by key, in as little memory as asked for: what does not fit goes into files of a temporary folder, by the
//! first bits of the key, so that a part of all records with near keys can be read without the others.
//!
//! Keys are hashes, so parts are of about one size. All calls here may block.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Read, Seek as _, SeekFrom, Write as _};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use tempfile::TempDir;

/// What a record is found by.
pub(super) type Key = [u8; 32];

/// How many files the records of a spill are parted into.
const PARTS: usize = 4096;

/// A temporary folder and how much memory each spill in it may take.
#[derive(Debug, Clone)]
pub(super) struct Scratch {
    folder: Arc<TempDir>,
    memory: usize,
}

impl Scratch {
    /// For a work that may take about `memory` bytes.
    pub(super) fn new(memory: usize) -> io::Result<Self> {
        let folder = tempfile::Builder::new().prefix("registry-garbage-").tempdir()?;
        Ok(Self {
            folder: Arc::new(folder),
            memory,
        })
    }

    /// An empty spill. Names are apart.
    pub(super) fn spill(&self, name: &'static str) -> Spill {
        Spill {
            scratch: self.clone(),
            name,
            parts: vec![Part::default(); PARTS],
            buffered: 0,
            records: 0,
        }
    }

    /// Into how many slices records are cut that take so many bytes in memory: a power of two, so that a slice is a
    /// row of parts.
    pub(super) fn slices(&self, bytes: u64) -> Slices {
        let wanted = bytes.div_ceil(self.memory.max(1) as u64).max(1);
        Slices(wanted.min(PARTS as u64).next_power_of_two() as usize)
    }
}

/// A cut of all keys into slices of about one size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slices(usize);

impl Slices {
    pub(super) fn all(self) -> Range<usize> {
        0..self.0
    }

    /// The slice a key is in.
    pub(super) fn of(self, key: &Key) -> usize {
        part(key) * self.0 / PARTS
    }

    /// The first bytes that keys of a slice have.
    pub(super) fn first_bytes(self, slice: usize) -> std::ops::RangeInclusive<u8> {
        let Range { start, end } = self.parts(slice);
        let byte = |part: usize| (part / (PARTS / 256)) as u8;
        byte(start)..=byte(end - 1)
    }

    fn parts(self, slice: usize) -> Range<usize> {
        let each = PARTS / self.0;
        slice * each..(slice + 1) * each
    }
}

fn part(key: &Key) -> usize {
    usize::from(u16::from_be_bytes([key[0], key[1]])) * PARTS / 65536
}

/// Records that are written once and read by slices.
#[derive(Debug)]
pub(super) struct Spill {
    scratch: Scratch,
    name: &'static str,
    parts: Vec<Part>,
    buffered: usize,
    records: u64,
}

#[derive(Debug, Clone, Default)]
struct Part {
    /// What is not in its file yet.
    buffer: Vec<u8>,
    /// Whether there is a file.
    spilt: bool,
}

impl Spill {
    /// How many records were ever put in.
    pub(super) fn records(&self) -> u64 {
        self.records
    }

    /// Puts a record in. Stays in memory until [`Spill::relieve`].
    pub(super) fn push(&mut self, key: &Key, payload: &[u8]) {
        let buffer = &mut self.parts[part(key)].buffer;
        let before = buffer.len();
        buffer.extend_from_slice(key);
        // A storage key has a few hundred bytes; nothing else is put in here.
        buffer.extend_from_slice(&u16::try_from(payload.len()).unwrap_or(u16::MAX).to_be_bytes());
        buffer.extend_from_slice(&payload[..payload.len().min(u16::MAX.into())]);
        self.buffered += buffer.len() - before;
        self.records += 1;
    }

    /// Whether it takes more memory than it should.
    pub(super) fn is_full(&self) -> bool {
        self.buffered > self.scratch.memory / 8
    }

    /// Moves what is in memory into files, if it is too much.
    pub(super) fn relieve(&mut self) -> io::Result<()> {
        if !self.is_full() {
            return Ok(());
        }
        for number in 0..PARTS {
            if self.parts[number].buffer.is_empty() {
                continue;
            }
            let path = self.path(number);
            let part = &mut self.parts[number];
            let mut file = OpenOptions::new().create(true).append(true).open(path)?;
            file.write_all(&part.buffer)?;
            *part = Part {
                buffer: Vec::new(),
                spilt: true,
            };
        }
        self.buffered = 0;
        Ok(())
    }

    /// Takes the keys of a slice out.
    pub(super) fn drain(&mut self, slices: Slices, slice: usize) -> io::Result<Vec<Key>> {
        let keys = self.read(&mut Self::cursor(slices, slice), usize::MAX)?;
        let keys = keys.into_iter().map(|(key, _)| key).collect();
        for number in slices.parts(slice) {
            if self.parts[number].spilt {
                fs::remove_file(self.path(number))?;
            }
            let part = std::mem::take(&mut self.parts[number]);
            self.buffered -= part.buffer.len();
        }
        Ok(keys)
    }

    fn path(&self, part: usize) -> PathBuf {
        self.scratch
            .folder
            .path()
            .join(format!("{}-{part:03x}", self.name))
    }
}

/// A record taken out.
pub(super) type Record = (Key, Vec<u8>);

/// How far the records of a slice were read.
#[derive(Debug)]
pub(super) struct Cursor {
    /// What was not read to its end.
    parts: Range<usize>,
    /// How much of the first of them was read.
    offset: u64,
}

impl Spill {
    /// For reading a slice from its beginning.
    pub(super) fn cursor(slices: Slices, slice: usize) -> Cursor {
        Cursor {
            parts: slices.parts(slice),
            offset: 0,
        }
    }

    /// The next records behind a cursor, at most `limit`; none at the end. Nothing may be put in between two calls.
    pub(super) fn read(&self, cursor: &mut Cursor, limit: usize) -> io::Result<Vec<Record>> {
        let mut records = Vec::new();
        while records.len() < limit && !cursor.parts.is_empty() {
            let mut source = self.source(cursor)?;
            while records.len() < limit
                && let Some(record) = read_record(&mut source)?
            {
                cursor.offset += (record.0.len() + 2 + record.1.len()) as u64;
                records.push(record);
            }
            if records.len() < limit {
                cursor.parts.start += 1;
                cursor.offset = 0;
            }
        }
        Ok(records)
    }

    fn source(&self, cursor: &Cursor) -> io::Result<Box<dyn Read + '_>> {
        let Part { buffer, spilt } = &self.parts[cursor.parts.start];
        if !spilt {
            let start = usize::try_from(cursor.offset)
                .unwrap_or(usize::MAX)
                .min(buffer.len());
            return Ok(Box::new(&buffer[start..]));
        }
        let mut file = File::open(self.path(cursor.parts.start))?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(cursor.offset.min(length)))?;
        let start = cursor.offset.saturating_sub(length);
        let start = usize::try_from(start).unwrap_or(usize::MAX).min(buffer.len());
        Ok(Box::new(BufReader::new(file).chain(&buffer[start..])))
    }
}

fn read_record(source: &mut dyn Read) -> io::Result<Option<Record>> {
    let mut key = Key::default();
    // A part ends between two records: they are put into files whole.
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
            let mut spill = scratch.spill("records");
            for number in 0..2000 {
                spill.push(&key(number), number.to_string().as_bytes());
                spill.relieve().unwrap();
                assert!(spill.buffered <= memory / 8, "{} of {memory}", spill.buffered);
            }
            let files = fs::read_dir(scratch.folder.path()).unwrap().count();
            assert_eq!(files > 0, memory < 1 << 20, "{files} files with {memory}");
            for wanted in [1, 7, 300, u64::from(u32::MAX)] {
                let slices = scratch.slices(wanted * memory as u64);
                let mut found = BTreeSet::new();
                for slice in slices.all() {
                    let mut cursor = Spill::cursor(slices, slice);
                    loop {
                        let records = spill.read(&mut cursor, 7).unwrap();
                        if records.is_empty() {
                            break;
                        }
                        for (key, payload) in records {
                            assert_eq!(slices.of(&key), slice);
                            assert!(slices.first_bytes(slice).contains(&key[0]));
                            assert!(found.insert(payload));
                        }
                    }
                }
                let expected: BTreeSet<_> = (0..2000)
                    .map(|number: u32| number.to_string().into_bytes())
                    .collect();
                assert_eq!(found, expected, "{wanted} slices of {memory}");
            }
        }
    }

    #[test]
    fn what_is_taken_out_is_gone_and_the_rest_stays() {
        let scratch = Scratch::new(64).unwrap();
        let mut spill = scratch.spill("records");
        for number in 0..500 {
            spill.push(&key(number), &[]);
            if number == 250 {
                spill.relieve().unwrap();
            }
        }
        let slices = scratch.slices(2 * 64);
        let first = spill.drain(slices, 0).unwrap();
        assert!(first.iter().all(|key| key[0] < 0x80));
        assert!(spill.drain(slices, 0).unwrap().is_empty());
        spill.push(&first[0], &[]);
        assert_eq!(spill.drain(slices, 0).unwrap(), [first[0]]);
        assert_eq!(spill.drain(slices, 1).unwrap().len() + first.len(), 500);
    }
}
