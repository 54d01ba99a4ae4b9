//! Checking every byte of one segment or pack: what packing does before it retires anything, what
//! `fsck` does, and what a mirror does before it writes.
//!
//! Not here: whether the object is where it belongs, and what its records are together (`fsck`).

use std::ops::Range;

use bytes::Bytes;

use crate::StoredRecord;
use crate::format::{
    BlockEntry, Codec, Entry, FormatError, HeadersRead, Opener, read_headers, salvage_payloads,
};
use crate::objects::Object;
use crate::reader::record;

/// Everything that the bytes of one block tell.
#[derive(Debug)]
pub(crate) struct CheckedBlock {
    /// For each record its header, where it is what was written.
    pub(crate) entries: Vec<Option<Entry>>,
    /// For each record all of it, where all of it is what was written.
    pub(crate) records: Vec<Option<StoredRecord>>,
    /// What is wrong, one for each cause.
    pub(crate) faults: Vec<Fault>,
}

/// What is wrong in a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    /// Indices of the records concerned.
    pub(crate) records: Range<u64>,
    /// Where it lies in the object, as closely as is known.
    pub(crate) bytes: Range<u64>,
    pub(crate) what: String,
}

impl Fault {
    /// The record, if it is about one alone.
    pub(crate) fn record(&self) -> Option<u64> {
        (self.records.end - self.records.start == 1).then_some(self.records.start)
    }
}

/// Checks one block of an object whose header was checked, out of the bytes of the whole object.
pub(crate) fn check_block(object: &Object, block: usize, bytes: &Bytes) -> CheckedBlock {
    let entry = &object.head.blocks[block];
    let (first, offset) = object.place(block);
    let middle = offset + entry.headers.stored_len;
    let (headers, payloads) = object.parts_of(block, bytes);
    let mut check = BlockCheck {
        object,
        entry,
        first,
        headers_bytes: offset..middle,
        payloads_bytes: middle..middle + entry.payloads.stored_len,
        faults: Vec::new(),
    };
    let (payloads, fault) = match salvage_payloads(entry, &payloads) {
        Ok(payloads) => (Some(payloads), None),
        Err((fault, salvaged)) => (salvaged.filter(|_| entry.bare), Some(fault)),
    };
    let (entries, framed) = if entry.bare {
        check.bare_headers(&headers, payloads.as_ref(), fault)
    } else {
        if let Some(fault) = fault {
            check.fault(check.all(), check.payloads_bytes.clone(), fault.what);
        }
        check.headers(read_headers(entry, &headers, None))
    };
    // The check of an entry that was made whole covers its payload too.
    let placed = framed || entry.bare;
    let records = (first..).zip(&entries).map(|(index, entry)| {
        let (entry, payloads) = (entry.as_ref().filter(|_| placed)?, payloads.as_ref()?);
        check.record(index, entry, payloads)
    });
    let records = records.collect();
    CheckedBlock { entries, records, faults: check.faults }
}

struct BlockCheck<'a> {
    object: &'a Object,
    entry: &'a BlockEntry,
    first: u64,
    headers_bytes: Range<u64>,
    payloads_bytes: Range<u64>,
    faults: Vec<Fault>,
}

impl BlockCheck<'_> {
    fn all(&self) -> Range<u64> {
        self.first..self.first + self.entry.count
    }

    fn fault(&mut self, records: Range<u64>, bytes: Range<u64>, what: impl Into<String>) {
        self.faults.push(Fault { records, bytes, what: what.into() });
    }

    /// As [`Self::headers`], of headers that lack their commitments; with the payloads, as far as they
    /// can be had, and what is wrong with them.
    fn bare_headers(
        &mut self,
        stored: &Bytes,
        payloads: Option<&Bytes>,
        fault: Option<FormatError>,
    ) -> (Vec<Option<Entry>>, bool) {
        let nothing = Bytes::new();
        let opener = Opener { payloads: payloads.unwrap_or(&nothing), salts: self.object.salts() };
        let mut read = read_headers(self.entry, stored, Some(opener));
        let Some(fault) = fault else { return self.headers(read) };
        if payloads.is_none() {
            read.entries.clear();
        }
        let count = usize::try_from(self.entry.count).unwrap_or(usize::MAX);
        read.entries.resize(count, None);
        let lost = |entry: &Option<Entry>| entry.is_none();
        let first = read.entries.iter().position(lost).map(|at| self.first + at as u64);
        let last = read.entries.iter().rposition(lost).map(|at| self.first + at as u64);
        // Each record's check tells whether its payload is what it was.
        let records = first.zip(last).map_or(self.all(), |(first, last)| first..last + 1);
        let what = format!("{}, without which there are no headers either", fault.what);
        self.fault(records.clone(), self.payloads_bytes.clone(), what);
        if !read.intact {
            let what = "the headers part does not have its digest";
            self.fault(records, self.headers_bytes.clone(), what);
        }
        (read.entries, read.framed)
    }

    /// The records' headers, and whether the lengths say where each payload is.
    fn headers(&mut self, mut read: HeadersRead) -> (Vec<Option<Entry>>, bool) {
        let count = usize::try_from(self.entry.count).unwrap_or(usize::MAX);
        read.entries.resize(count, None);
        if let Some(fault) = read.fault {
            let altered = (self.first..).zip(&read.entries).filter(|(_, entry)| entry.is_none());
            let altered: Vec<u64> = altered.map(|(index, _)| index).collect();
            let bytes = self.headers_bytes.clone();
            match (altered.first(), altered.last()) {
                // A changed bit of a compressed part may change many records: one cause.
                (Some(first), Some(last)) if self.entry.headers.codec == Codec::Zstd => {
                    self.fault(*first..last + 1, bytes, fault.what);
                }
                (Some(_), Some(_)) if read.framed => {
                    for index in altered {
                        let what = "the record is not the one that was written";
                        self.fault(index..index + 1, bytes.clone(), what);
                    }
                }
                // Behind a wrong length nothing is where it was.
                _ => {
                    let named = fault.entry.map(|entry| self.first + entry as u64);
                    let named = named.filter(|_| read.framed).map(|index| index..index + 1);
                    let end = if read.framed { bytes.end } else { self.payloads_bytes.end };
                    self.fault(named.unwrap_or(self.all()), bytes.start..end, fault.what);
                }
            }
        }
        (read.entries, read.framed)
    }

    fn record(&mut self, index: u64, entry: &Entry, payloads: &Bytes) -> Option<StoredRecord> {
        let at = |offset: u64| usize::try_from(offset).unwrap_or(usize::MAX);
        let (start, end) = (entry.payload.start, entry.payload.end);
        if payloads.get(at(start)..at(end)).is_none() {
            let what = "its payload lies outside of the block";
            self.fault(index..index + 1, self.headers_bytes.clone(), what);
            return None;
        }
        match record(self.object, index, entry, payloads.slice(at(start)..at(end))) {
            Ok(record) => self.tables(record, entry),
            Err(error) => {
                let part = self.payloads_bytes.clone();
                let raw = self.entry.payloads.stored_len == self.entry.payloads.raw_len;
                let alone = part.start + start..part.start + end;
                let bytes = if raw && !alone.is_empty() { alone } else { part };
                self.fault(index..index + 1, bytes, error.fault());
                None
            }
        }
    }

    /// What the object's header says of the record must be so.
    fn tables(&mut self, record: StoredRecord, entry: &Entry) -> Option<StoredRecord> {
        let index = record.index.0;
        let header = &record.header;
        let what = if record.payload.is_none() {
            // Else whoever owns the storage could call any payload erased.
            format!("its payload has data key {}, nothing is erasable", entry.data_key)
        } else if self.object.writer_of(index) != Some((header.source, header.boot, header.seq)) {
            "the object's header says that another source's record is here".to_owned()
        } else {
            return Some(record);
        };
        self.fault(index..index + 1, self.headers_bytes.clone(), what);
        None
    }
}
