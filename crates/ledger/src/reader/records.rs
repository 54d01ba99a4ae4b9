//! Single records, and runs of them.

use std::ops::{ControlFlow, Range};

use bytes::Bytes;
use stele_merkle::{Hash, LeafIndex};
use stele_record::{Commitment, Header, LedgerTime, Salt};

use super::Reader;
use crate::ReadError;
use crate::format::{BlockHeaders, CLEAR, Codec, Entry};
use crate::objects::{Object, read_part};
use crate::recent::KeptRecord;

/// A record with everything that belongs to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRecord {
    /// Its place in the log.
    pub index: LeafIndex,
    /// Hash of the leaf.
    pub leaf_hash: Hash,
    /// The leaf: the encoded header.
    pub header_bytes: Bytes,
    /// The decoded header.
    pub header: Header,
    /// The payload, checked against the commitment; `None` if its data key is gone.
    pub payload: Option<Bytes>,
    /// What opens the commitment; `None` if its data key is gone.
    pub salt: Option<Salt>,
    /// When the ledger took it in.
    pub ledger_time: LedgerTime,
}

/// What a record says, without what proves it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordContent {
    /// Its place in the log.
    pub index: LeafIndex,
    /// The decoded header.
    pub header: Header,
    /// The payload; `None` if its data key is gone.
    pub payload: Option<Bytes>,
}

impl From<StoredRecord> for RecordContent {
    fn from(record: StoredRecord) -> Self {
        Self { index: record.index, header: record.header, payload: record.payload }
    }
}

impl Reader {
    /// One record.
    ///
    /// # Errors
    /// [`ReadError::OutOfRange`] if the log does not hold it yet; [`ReadError::Corrupt`] if what is
    /// stored is not what was written.
    pub fn read(&self, index: LeafIndex) -> Result<StoredRecord, ReadError> {
        self.check_range(index.0)?;
        self.with_object(index.0, |object| {
            let block = object.block_of(index.0);
            let headers = self.stored_headers(object, block, index.0)?;
            let position = usize::try_from(index.0 - headers.first).unwrap_or(usize::MAX);
            let entry = &headers.entries[position];
            self.check_entry(object, index.0, entry)?;
            let payload = match object.head.blocks[block].payloads.codec {
                Codec::Zstd => self.block_payloads(object, block)?.slice(in_memory(&entry.payload)),
                Codec::Raw => self.payload_alone(object, block, entry)?,
            };
            record(object, index.0, entry, payload)
        })
    }

    /// All records of `range` in order, as long as `each` wants to go on. The range is cut to what
    /// the log holds.
    ///
    /// # Errors
    /// [`ReadError`] for the first record that cannot be read; those before it were given.
    pub fn scan(
        &self,
        range: Range<u64>,
        each: &mut dyn FnMut(StoredRecord) -> ControlFlow<()>,
    ) -> Result<(), ReadError> {
        self.walk(range, |rest| self.give_block(rest, each))
    }

    /// What all records of `range` say, as [`Reader::scan`], for whoever derives something of it. The
    /// newest ones are given as they were checked when this process took them in: they are not read
    /// back, so this says nothing about what is stored.
    ///
    /// # Errors
    /// As [`Reader::scan`].
    pub fn contents(
        &self,
        range: Range<u64>,
        each: &mut dyn FnMut(RecordContent) -> ControlFlow<()>,
    ) -> Result<(), ReadError> {
        self.walk(range, |rest| {
            let kept = self.recent().holding(rest.start);
            let Some(kept) = kept else {
                return self.give_block(rest, &mut |record| each(record.into()));
            };
            for record in kept.records(rest) {
                if each(kept_content(record)?).is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
            Ok(ControlFlow::Continue(kept.end))
        })
    }

    /// Calls `give` with what is left of a range, cut to what the log holds, until it wants no more;
    /// it says where to go on.
    fn walk(
        &self,
        range: Range<u64>,
        mut give: impl FnMut(Range<u64>) -> Result<ControlFlow<(), u64>, ReadError>,
    ) -> Result<(), ReadError> {
        let end = range.end.min(self.size().0);
        let mut next = range.start;
        while next < end {
            match give(next..end)? {
                ControlFlow::Continue(after) => next = after,
                ControlFlow::Break(()) => break,
            }
        }
        Ok(())
    }

    /// Gives the records of [`Reader::block`]; says where they end.
    fn give_block(
        &self,
        range: Range<u64>,
        each: &mut dyn FnMut(StoredRecord) -> ControlFlow<()>,
    ) -> Result<ControlFlow<(), u64>, ReadError> {
        let block = |object: &Object| self.block(object, range.clone());
        let records = self.with_object(range.start, block)?;
        let after = range.start + records.len() as u64;
        Ok(records.into_iter().try_for_each(each).map_continue(|()| after))
    }

    /// All records of `range` with the object that each is in; the range must be in the log.
    pub(crate) fn scan_objects(
        &self,
        range: Range<u64>,
        each: &mut dyn FnMut(&Object, &StoredRecord) -> Result<(), ReadError>,
    ) -> Result<(), ReadError> {
        let mut next = range.start;
        while next < range.end {
            let object = self.object(next)?;
            for record in self.block(&object, next..range.end)? {
                each(&object, &record)?;
                next += 1;
            }
        }
        Ok(())
    }

    /// Records of the range from its first one on, as far as their headers are had together.
    fn block(&self, object: &Object, range: Range<u64>) -> Result<Vec<StoredRecord>, ReadError> {
        let block = object.block_of(range.start);
        let headers = self.stored_headers(object, block, range.start)?;
        let payloads = self.block_payloads(object, block)?;
        entries(&headers, &range)
            .map(|(index, entry)| {
                self.check_entry(object, index, entry)?;
                record(object, index, entry, payloads.slice(in_memory(&entry.payload)))
            })
            .collect()
    }

    /// The payload of one record, where the part is stored as it is.
    fn payload_alone(
        &self,
        object: &Object,
        block: usize,
        entry: &Entry,
    ) -> Result<Bytes, ReadError> {
        let (_, offset) = object.place(block);
        let start = offset + object.head.blocks[block].headers.stored_len + entry.payload.start;
        let length = entry.payload.end - entry.payload.start;
        Ok(read_part(self.store(), object, start, length)?)
    }

    pub(super) fn check_range(&self, index: u64) -> Result<(), ReadError> {
        let size = self.size();
        if index < size.0 { Ok(()) } else { Err(ReadError::OutOfRange { index, size }) }
    }
}

fn kept_content(kept: KeptRecord<'_>) -> Result<RecordContent, ReadError> {
    let KeptRecord { index, record, .. } = kept;
    let header = Header::decode(&record.header).map_err(|error| ReadError::Corrupt {
        object: "memory".to_owned(),
        record: Some(index),
        what: error.to_string(),
    })?;
    let payload = Some(record.payload.clone());
    Ok(RecordContent { index: LeafIndex(index), header, payload })
}

fn in_memory(range: &Range<u64>) -> Range<usize> {
    let at = |offset: u64| usize::try_from(offset).unwrap_or(usize::MAX);
    at(range.start)..at(range.end)
}

/// The entries that lie in `range`, with their indices.
pub(crate) fn entries<'a>(
    headers: &'a BlockHeaders,
    range: &Range<u64>,
) -> impl Iterator<Item = (u64, &'a Entry)> {
    let range = range.clone();
    (headers.first..).zip(&headers.entries).filter(move |(index, _)| range.contains(index))
}

/// Puts a record together and checks its payload against its commitment.
pub(crate) fn record(
    object: &Object,
    index: u64,
    entry: &Entry,
    payload: Bytes,
) -> Result<StoredRecord, ReadError> {
    let corrupt = |what: String| ReadError::corrupt(&object.name, Some(index), what);
    let header = Header::decode(&entry.header).map_err(|e| corrupt(e.to_string()))?;
    let salts = object.salts().get(&header.source, header.epoch);
    let salt = salts.map(|salts| salts.salt(header.boot, header.seq));
    let payload = (entry.data_key == CLEAR).then_some(payload);
    if let (Some(salt), Some(payload)) = (&salt, &payload) {
        if payload.len() as u64 != header.payload_len {
            return Err(corrupt("the payload does not have the length in the header".to_owned()));
        }
        if !entry.fits_payload && Commitment::new(salt, payload) != header.commitment {
            return Err(corrupt("the payload is not what the header commits to".to_owned()));
        }
    } else if payload.is_some() {
        return Err(corrupt("the object lacks the secret of the record's epoch".to_owned()));
    }
    Ok(StoredRecord {
        index: LeafIndex(index),
        leaf_hash: entry.leaf,
        header_bytes: entry.header.clone(),
        header,
        payload,
        salt,
        ledger_time: object.time_of(index),
    })
}
