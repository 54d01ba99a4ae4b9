//! The reading end of the spool: replay at the start, batches for delivery.

use std::fs::File;
use std::io::{BufReader, ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use sha2::{Digest, Sha256};
use stele_record::{
    Boot, Epoch, HEADER_BYTES_MAX, Header, PAYLOAD_BYTES_MAX, SUBMISSION_BYTES_TARGET,
    SUBMISSION_RECORDS_MAX, SubmittedRecord,
};

use super::{Position, RECORD, STATE, SpoolState, decode_cursors, file_path};
use crate::SourceError;

/// Longest body of an entry: a record, its cursors and the numbers around them.
const BODY_BYTES_MAX: u64 = PAYLOAD_BYTES_MAX + HEADER_BYTES_MAX as u64 + 1024 * 1024;

/// What a file holds.
pub(super) struct Replay {
    /// The state after its last whole entry; `None` if not even the first is whole.
    pub(super) state: Option<SpoolState>,
    /// Where a damaged entry begins, if one does.
    pub(super) torn_at: Option<u64>,
}

/// Reads a whole file and follows the state through it.
pub(super) fn replay(path: &Path) -> Result<Replay, SourceError> {
    let file = File::open(path).map_err(reading)?;
    let mut entries = Entries { input: BufReader::new(file), offset: 0 };
    let mut state: Option<SpoolState> = None;
    loop {
        let start = entries.offset;
        let body = match entries.next()? {
            Read1::Body(body) => body,
            Read1::End => return Ok(Replay { state, torn_at: None }),
            Read1::Torn => return Ok(Replay { state, torn_at: Some(start) }),
        };
        let followed = match (body.first(), &mut state) {
            (Some(&STATE), _) => {
                state = serde_json::from_slice(&body[1..]).ok();
                state.is_some()
            }
            (Some(&RECORD), Some(state)) => follow(state, &body)?,
            _ => false,
        };
        if !followed {
            return Ok(Replay { state, torn_at: Some(start) });
        }
    }
}

fn follow(state: &mut SpoolState, body: &Bytes) -> Result<bool, SourceError> {
    let Some((record, rest)) = split_record(body) else { return Ok(false) };
    let Ok(header) = Header::decode(&record.header) else { return Ok(false) };
    let Some(cursors) = decode_cursors(&rest) else { return Ok(false) };
    state.advance(&record.header, header.observed_time.unix_ns(), &cursors)?;
    Ok(true)
}

/// A run of records of one boot, ready for delivery.
pub(crate) struct Batch {
    pub(crate) boot: Boot,
    pub(crate) epoch: Epoch,
    pub(crate) records: Vec<SubmittedRecord>,
    /// Where reading goes on once they are delivered.
    pub(crate) end: Position,
}

/// Reads batches in order, up to what is durable.
pub(crate) struct SpoolReader {
    dir: PathBuf,
    at: Position,
    open: Option<Entries>,
}

impl SpoolReader {
    pub(super) fn new(dir: PathBuf, first: u64) -> Self {
        Self { dir, at: Position { file: first, offset: 0 }, open: None }
    }

    pub(crate) fn position(&self) -> Position {
        self.at
    }

    /// The next records before `durable`, or `None` if there are none.
    pub(crate) fn next_batch(&mut self, durable: Position) -> Result<Option<Batch>, SourceError> {
        let mut batch: Option<Batch> = None;
        let mut bytes = 0;
        while self.at < durable {
            let Some(body) = self.next_body(durable)? else { continue };
            let Some((record, _)) = split_record(&body) else {
                // The state at the head of a file.
                self.at.offset = self.offset();
                continue;
            };
            let header = Header::decode(&record.header)
                .map_err(|e| self.corrupt(format!("a spooled header: {e}")))?;
            let size = record.header.len() + record.payload.len();
            match &batch {
                Some(batch)
                    if batch.boot != header.boot
                        || batch.records.len() >= SUBMISSION_RECORDS_MAX
                        || bytes + size > SUBMISSION_BYTES_TARGET =>
                {
                    // It opens the next batch: read it again then.
                    self.open = None;
                    break;
                }
                _ => {}
            }
            bytes += size;
            self.at.offset = self.offset();
            let batch = batch.get_or_insert_with(|| Batch {
                boot: header.boot,
                epoch: header.epoch,
                records: Vec::new(),
                end: self.at,
            });
            batch.records.push(record);
            batch.end = self.at;
        }
        Ok(batch)
    }

    /// The next entry of the current file; `None` after moving on to the next file.
    fn next_body(&mut self, durable: Position) -> Result<Option<Bytes>, SourceError> {
        let mut entries = match self.open.take() {
            Some(entries) => entries,
            None => {
                let mut file = File::open(file_path(&self.dir, self.at.file)).map_err(reading)?;
                file.seek(SeekFrom::Start(self.at.offset)).map_err(reading)?;
                Entries { input: BufReader::new(file), offset: self.at.offset }
            }
        };
        match entries.next()? {
            Read1::Body(body) => {
                self.open = Some(entries);
                Ok(Some(body))
            }
            Read1::End if self.at.file < durable.file => {
                self.at = Position { file: self.at.file + 1, offset: 0 };
                Ok(None)
            }
            Read1::End | Read1::Torn => Err(self.corrupt("an entry is damaged".to_owned())),
        }
    }

    fn offset(&self) -> u64 {
        self.open.as_ref().map_or(self.at.offset, |entries| entries.offset)
    }

    fn corrupt(&self, detail: String) -> SourceError {
        SourceError::Corrupt {
            path: file_path(&self.dir, self.at.file),
            offset: self.at.offset,
            detail,
        }
    }
}

struct Entries {
    input: BufReader<File>,
    offset: u64,
}

enum Read1 {
    Body(Bytes),
    End,
    Torn,
}

impl Entries {
    fn next(&mut self) -> Result<Read1, SourceError> {
        let mut prefix = [0; 12];
        match fill(&mut self.input, &mut prefix)? {
            0 => return Ok(Read1::End),
            12 => {}
            _ => return Ok(Read1::Torn),
        }
        let (len, check) = prefix.split_at(4);
        let len = u64::from(u32::from_le_bytes([len[0], len[1], len[2], len[3]]));
        if len > BODY_BYTES_MAX {
            return Ok(Read1::Torn);
        }
        let mut body = vec![0; len as usize];
        if fill(&mut self.input, &mut body)? < body.len()
            || Sha256::digest(&body).get(..8) != Some(check)
        {
            return Ok(Read1::Torn);
        }
        self.offset += 12 + len;
        Ok(Read1::Body(Bytes::from(body)))
    }
}

/// Reads until `buffer` is full or the input ends; how many bytes came.
fn fill(input: &mut impl Read, buffer: &mut [u8]) -> Result<usize, SourceError> {
    let mut filled = 0;
    while filled < buffer.len() {
        match input.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(reading(e)),
        }
    }
    Ok(filled)
}

/// The record in an entry's body and what follows it; `None` if the body is no record.
fn split_record(body: &Bytes) -> Option<(SubmittedRecord, Bytes)> {
    if body.first() != Some(&RECORD) {
        return None;
    }
    let header_len = usize::from(u16::from_le_bytes(body.get(1..3)?.try_into().ok()?));
    let payload_at = 3 + header_len + 4;
    let payload_len = u32::from_le_bytes(body.get(payload_at - 4..payload_at)?.try_into().ok()?);
    let end = payload_at + payload_len as usize;
    if end > body.len() {
        return None;
    }
    let header = body.slice(3..3 + header_len);
    Some((SubmittedRecord { header, payload: body.slice(payload_at..end) }, body.slice(end..)))
}

fn reading(e: std::io::Error) -> SourceError {
    SourceError::io("read the spool", e)
}
