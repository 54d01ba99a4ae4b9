//! Checking every byte of one segment or pack: what packing does before it retires anything, and
//! what `fsck` does.

use bytes::Bytes;

use crate::StoredRecord;
use crate::format::{BlockEntry, Entry, HeadersRead, decode_payloads, read_headers};
use crate::objects::Object;
use crate::reader::record;

/// What was found at one index.
#[derive(Debug)]
pub(crate) struct Checked {
    pub(crate) index: u64,
    /// The record's header, where it is what was written.
    pub(crate) entry: Option<Entry>,
    /// The whole record, or what is wrong.
    pub(crate) record: Result<StoredRecord, Fault>,
}

/// What is wrong at an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    /// This record is at fault.
    Here(String),
    /// Something in its block is at fault; told at one index of the block.
    InBlock(String),
    /// It cannot be checked because of a fault told at another index.
    Elsewhere,
}

/// Reads all records of an object whose header was checked, and tells of each index exactly once,
/// in order.
pub(crate) fn verify_object(object: &Object, bytes: &Bytes, tell: &mut dyn FnMut(Checked)) {
    for (block, entry) in object.head.blocks.iter().enumerate() {
        let (first, _) = object.place(block);
        let (headers, payloads) = object.parts_of(block, bytes);
        let block = Block {
            object,
            first,
            last: first + entry.count - 1,
            payloads: decode_payloads(entry, &payloads).map_err(|e| e.what),
        };
        block.verify(read_headers(entry, &headers), entry, tell);
    }
}

struct Block<'a> {
    object: &'a Object,
    first: u64,
    last: u64,
    payloads: Result<Bytes, String>,
}

impl Block<'_> {
    fn verify(&self, read: HeadersRead, entry: &BlockEntry, tell: &mut dyn FnMut(Checked)) {
        let mut in_block = self.payloads.as_ref().err().cloned();
        let framed = read.framed;
        let mut here = None;
        if let Some(fault) = read.fault {
            match fault.entry {
                Some(position) => here = Some((self.first + position as u64, fault.what)),
                None => in_block = Some(fault.what),
            }
        }
        let count = usize::try_from(entry.count).unwrap_or(usize::MAX);
        let missing = count.saturating_sub(read.entries.len());
        let entries = read.entries.into_iter().chain(std::iter::repeat_n(None, missing));
        for (index, entry) in (self.first..=self.last).zip(entries) {
            let record = if let Some((_, what)) = here.take_if(|(at, _)| *at == index) {
                Err(Fault::Here(what))
            } else if let Some(what) = in_block.take() {
                Err(Fault::InBlock(format!("records {} to {}: {what}", self.first, self.last)))
            } else {
                self.record(index, entry.as_ref().filter(|_| framed))
            };
            tell(Checked { index, entry, record });
        }
    }

    fn record(&self, index: u64, entry: Option<&Entry>) -> Result<StoredRecord, Fault> {
        let (Some(entry), Ok(payloads)) = (entry, &self.payloads) else {
            return Err(Fault::Elsewhere);
        };
        let at = |offset: u64| usize::try_from(offset).unwrap_or(usize::MAX);
        let range = at(entry.payload.start)..at(entry.payload.end);
        if payloads.get(range.clone()).is_none() {
            return Err(Fault::Here("its payload lies outside of the block".to_owned()));
        }
        let record = record(self.object, index, entry, payloads.slice(range))
            .map_err(|error| Fault::Here(error.fault()))?;
        if record.payload.is_none() {
            // Else whoever owns the storage could call any payload erased.
            let what = format!("its payload has data key {}, nothing is erasable", entry.data_key);
            return Err(Fault::Here(what));
        }
        let header = &record.header;
        if self.object.writer_of(index) != Some((header.source, header.boot, header.seq)) {
            let what = "the object's header says that another source's record is here";
            return Err(Fault::Here(what.to_owned()));
        }
        Ok(record)
    }
}
