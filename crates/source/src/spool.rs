//! The spool: records on disk between the source and the ledger.
//!
//! Files `NNNNNNNNNNNNNNNNNNNN.spool` in order of their numbers. Each is a run of entries: length
//! of the body (u32, little-endian), first 8 bytes of the body's SHA-256, body. The first body of
//! a file is the [`SpoolState`] before it (JSON), so that older files can go as soon as they are
//! delivered. A torn end of the newest file is what a crash leaves: it was never durable, never
//! delivered, and is cut. Anywhere else it is corruption.

mod reader;

pub(crate) use reader::{Batch, SpoolReader};

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use stele_record::{Boot, ChainHead, Epoch, SourceId};

use crate::{Cursor, SourceError};

/// A file that has grown over this many bytes is followed by a new one.
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Bytes kept in memory before they go to the file.
const BUFFER_BYTES: usize = 256 * 1024;

const STATE: u8 = 0;
const RECORD: u8 = 1;

/// A place in the spool: everything before it, in this file and older ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Position {
    pub(crate) file: u64,
    pub(crate) offset: u64,
}

/// Where the source stands after some record.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SpoolState {
    pub(crate) boot: u64,
    pub(crate) epoch: u32,
    pub(crate) next_seq: u64,
    pub(crate) last_observed_ns: i64,
    chain: String,
    pub(crate) cursors: BTreeMap<String, String>,
}

impl SpoolState {
    pub(crate) fn begin(
        source: &SourceId,
        boot: Boot,
        epoch: Epoch,
        now_ns: i64,
        cursors: BTreeMap<String, String>,
    ) -> Self {
        Self {
            boot: boot.0,
            epoch: epoch.0,
            next_seq: 0,
            last_observed_ns: now_ns,
            chain: hex::encode(ChainHead::start(source, boot).as_bytes()),
            cursors,
        }
    }

    pub(crate) fn chain_head(&self) -> Result<ChainHead, SourceError> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(&self.chain, &mut bytes).map_err(|_| SourceError::Stopped)?;
        Ok(ChainHead::from_bytes(bytes))
    }

    fn advance(
        &mut self,
        header: &[u8],
        observed_ns: i64,
        cursors: &[Cursor],
    ) -> Result<(), SourceError> {
        self.chain = hex::encode(self.chain_head()?.push(header).as_bytes());
        self.next_seq += 1;
        self.last_observed_ns = observed_ns;
        for cursor in cursors {
            match &cursor.value {
                Some(value) => self.cursors.insert(cursor.key.clone(), value.clone()),
                None => self.cursors.remove(&cursor.key),
            };
        }
        Ok(())
    }
}

/// The writing end.
pub(crate) struct SpoolWriter {
    dir: PathBuf,
    state: SpoolState,
    number: u64,
    file: Arc<File>,
    buffer: Vec<u8>,
    /// Bytes of the current file, buffer included.
    file_bytes: u64,
    /// Lengths of the older files that still exist, by number.
    older: BTreeMap<u64, u64>,
    durable: Position,
    /// The disk refused once: what it holds is unknown, so nothing more is written.
    failed: bool,
}

impl SpoolWriter {
    /// Begins a new file after all that exist.
    pub(crate) fn create(dir: &Path, state: SpoolState) -> Result<Self, SourceError> {
        let mut older = BTreeMap::new();
        for number in numbers(dir)? {
            let size = fs::metadata(file_path(dir, number)).map_err(opening)?.len();
            older.insert(number, size);
        }
        let number = older.keys().next_back().map_or(0, |last| last + 1);
        let file = create_file(dir, number)?;
        let mut writer = Self {
            dir: dir.to_owned(),
            state,
            number,
            file: Arc::new(file),
            buffer: Vec::with_capacity(BUFFER_BYTES),
            file_bytes: 0,
            older,
            durable: Position { file: number, offset: 0 },
            failed: false,
        };
        writer.write_state()?;
        Ok(writer)
    }

    pub(crate) fn state(&self) -> &SpoolState {
        &self.state
    }

    /// End of all records taken.
    pub(crate) fn end(&self) -> Position {
        Position { file: self.number, offset: self.file_bytes }
    }

    /// Bytes that lie after `position`.
    pub(crate) fn bytes_after(&self, position: Position) -> u64 {
        let older: u64 = self
            .older
            .range(position.file..)
            .map(|(number, size)| match number == &position.file {
                true => size.saturating_sub(position.offset),
                false => *size,
            })
            .sum();
        let current = match position.file == self.number {
            true => self.file_bytes.saturating_sub(position.offset),
            false => self.file_bytes,
        };
        older + current
    }

    pub(crate) fn append(
        &mut self,
        header: &[u8],
        payload: &[u8],
        observed_ns: i64,
        cursors: &[Cursor],
    ) -> Result<(), SourceError> {
        if self.file_bytes > FILE_BYTES_MAX {
            self.rotate()?;
        }
        let mut prefix = Vec::with_capacity(header.len() + 7);
        prefix.push(RECORD);
        prefix.extend_from_slice(&(header.len() as u16).to_le_bytes());
        prefix.extend_from_slice(header);
        prefix.extend_from_slice(&(payload.len() as u32).to_le_bytes());
        let cursors_json = encode_cursors(cursors);
        self.entry(&[&prefix, payload, &cursors_json])?;
        self.state.advance(header, observed_ns, cursors)
    }

    fn write_state(&mut self) -> Result<(), SourceError> {
        let json = serde_json::to_vec(&self.state)
            .map_err(|e| SourceError::io("write the spool's state", e.into()))?;
        self.entry(&[&[STATE], &json])
    }

    fn entry(&mut self, parts: &[&[u8]]) -> Result<(), SourceError> {
        if self.failed {
            return Err(SourceError::Stopped);
        }
        let len: usize = parts.iter().map(|part| part.len()).sum();
        let mut hash = Sha256::new();
        parts.iter().for_each(|part| hash.update(part));
        self.buffer.extend_from_slice(&(len as u32).to_le_bytes());
        self.buffer.extend_from_slice(&hash.finalize()[..8]);
        parts.iter().for_each(|part| self.buffer.extend_from_slice(part));
        self.file_bytes += 12 + len as u64;
        if self.buffer.len() >= BUFFER_BYTES {
            self.write_buffer()?;
        }
        Ok(())
    }

    fn write_buffer(&mut self) -> Result<(), SourceError> {
        let written = (&*self.file).write_all(&self.buffer);
        self.failed |= written.is_err();
        written.map_err(|e| SourceError::io("write to the spool", e))?;
        self.buffer.clear();
        Ok(())
    }

    fn rotate(&mut self) -> Result<(), SourceError> {
        self.write_buffer()?;
        let synced = self.file.sync_data();
        self.failed |= synced.is_err();
        synced.map_err(|e| SourceError::io("flush the spool", e))?;
        let file = create_file(&self.dir, self.number + 1)?;
        self.older.insert(self.number, self.file_bytes);
        self.number += 1;
        self.file = Arc::new(file);
        self.file_bytes = 0;
        self.durable = Position { file: self.number, offset: 0 };
        self.write_state()
    }

    /// Hands the buffer to the system; the file to sync, if anything is not durable yet, and the
    /// position that is durable once it is synced.
    pub(crate) fn begin_flush(&mut self) -> Result<(Option<Arc<File>>, Position), SourceError> {
        if self.failed {
            return Err(SourceError::Stopped);
        }
        self.write_buffer()?;
        let end = self.end();
        let dirty = end > self.durable;
        Ok((dirty.then(|| Arc::clone(&self.file)), end))
    }

    /// End of what a crash of the machine would leave.
    pub(crate) fn end_of_durable(&self) -> Position {
        self.durable
    }

    /// Takes note of how a flush went. After a failure nothing more is written: the system may
    /// drop what it could not flush, and report success the next time.
    pub(crate) fn end_flush(
        &mut self,
        end: Position,
        synced: std::io::Result<()>,
    ) -> Result<(), SourceError> {
        self.failed |= synced.is_err();
        synced.map_err(|e| SourceError::io("flush the spool", e))?;
        self.durable = self.durable.max(end);
        Ok(())
    }

    /// Removes the files that lie wholly before `position`.
    pub(crate) fn forget_before(&mut self, position: Position) -> Result<(), SourceError> {
        while let Some(entry) = self.older.first_entry() {
            if *entry.key() >= position.file {
                break;
            }
            fs::remove_file(file_path(&self.dir, *entry.key()))
                .map_err(|e| SourceError::io("remove a delivered spool file", e))?;
            entry.remove();
        }
        Ok(())
    }

    pub(crate) fn reader(&self) -> SpoolReader {
        let first = self.older.keys().next().copied().unwrap_or(self.number);
        SpoolReader::new(self.dir.clone(), first)
    }
}

/// Reads what an earlier boot left and cuts a torn end off the newest file. `None` in a new
/// directory.
pub(crate) fn recover(dir: &Path) -> Result<Option<SpoolState>, SourceError> {
    let mut last = None;
    let numbers = numbers(dir)?;
    for number in &numbers {
        let path = file_path(dir, *number);
        let newest = Some(number) == numbers.last();
        match reader::replay(&path)? {
            reader::Replay { state: Some(state), torn_at: None } => {
                if newest {
                    // What is read here is believed and delivered; a process that was killed may
                    // not have flushed it.
                    File::open(&path).and_then(|file| file.sync_all()).map_err(opening)?;
                }
                last = Some(state);
            }
            // Made just before a crash.
            reader::Replay { state: None, torn_at: None } => {}
            reader::Replay { state, torn_at: Some(offset) } if newest => {
                let file = OpenOptions::new().write(true).open(&path).map_err(opening)?;
                file.set_len(offset).and_then(|()| file.sync_all()).map_err(opening)?;
                last = state.or(last);
            }
            reader::Replay { torn_at, .. } => {
                return Err(SourceError::Corrupt {
                    path,
                    offset: torn_at.unwrap_or(0),
                    detail: "an entry is damaged".to_owned(),
                });
            }
        }
    }
    Ok(last)
}

/// Makes the names in `dir` durable.
pub(crate) fn sync_dir(dir: &Path) -> Result<(), SourceError> {
    File::open(dir)
        .and_then(|dir| dir.sync_all())
        .map_err(|e| SourceError::io("flush the source's directory", e))
}

fn numbers(dir: &Path) -> Result<Vec<u64>, SourceError> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(dir).map_err(opening)? {
        let name = entry.map_err(opening)?.file_name();
        let digits = name.to_str().and_then(|name| name.strip_suffix(".spool"));
        numbers.extend(digits.and_then(|digits| digits.parse::<u64>().ok()));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

fn file_path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:020}.spool"))
}

fn create_file(dir: &Path, number: u64) -> Result<File, SourceError> {
    let file = OpenOptions::new()
        .create_new(true)
        .append(true)
        .open(file_path(dir, number))
        .map_err(opening)?;
    sync_dir(dir)?;
    Ok(file)
}

fn opening(e: std::io::Error) -> SourceError {
    SourceError::io("open the spool", e)
}

fn encode_cursors(cursors: &[Cursor]) -> Vec<u8> {
    if cursors.is_empty() {
        return Vec::new();
    }
    let pairs: Vec<(&str, Option<&str>)> =
        cursors.iter().map(|cursor| (cursor.key.as_str(), cursor.value.as_deref())).collect();
    serde_json::to_vec(&pairs).unwrap_or_default()
}

fn decode_cursors(bytes: &[u8]) -> Option<Vec<Cursor>> {
    if bytes.is_empty() {
        return Some(Vec::new());
    }
    let pairs: Vec<(String, Option<String>)> = serde_json::from_slice(bytes).ok()?;
    Some(pairs.into_iter().map(|(key, value)| Cursor { key, value }).collect())
}
