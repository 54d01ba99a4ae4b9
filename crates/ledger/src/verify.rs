//! Checking every byte of one segment or pack: what packing does before it retires anything, and
//! what `fsck` does.

use bytes::Bytes;

use crate::StoredRecord;
use crate::format::{BlockEntry, HeadersRead, decode_payloads, read_headers};
use crate::objects::Object;
use crate::reader::record;

/// What was found at one index.
#[derive(Debug)]
pub(crate) struct Checked {
    pub(crate) index: u64,
    /// Whether a fault is known to be in this very record, and not only in its block.
    pub(crate) named: bool,
    /// The record, or what is wrong with it. A fault of a whole block is told once, at its first
    /// index; the block's other records are then told as [`Checked::LOST`].
    pub(crate) record: Result<StoredRecord, String>,
}

impl Checked {
    /// The fault of a record that is lost with its block.
    pub(crate) const LOST: &str = "";
}

/// Reads all records of an object whose header was checked, and tells of each index exactly once.
pub(crate) fn verify_object(object: &Object, bytes: &Bytes, tell: &mut dyn FnMut(Checked)) {
    for (block, entry) in object.head.blocks.iter().enumerate() {
        let (first, _) = object.place(block);
        let (headers, payloads) = object.parts_of(block, bytes);
        let read = read_headers(entry, &headers);
        let whole = decode_payloads(entry, &payloads);
        verify_block(object, first, entry, read, whole.map_err(|e| e.what), tell);
    }
}

fn verify_block(
    object: &Object,
    first: u64,
    entry: &BlockEntry,
    read: HeadersRead,
    payloads: Result<Bytes, String>,
    tell: &mut dyn FnMut(Checked),
) {
    let last = first + entry.count - 1;
    let of_block = |index: u64, what: String| {
        let what = format!("records {first} to {last}: {what}");
        Checked { index, named: false, record: Err(what) }
    };
    let lost = |index: u64| Checked { index, named: false, record: Err(Checked::LOST.to_owned()) };
    let payloads = match payloads {
        Ok(payloads) => payloads,
        Err(what) => {
            tell(of_block(first, what));
            (first + 1..=last).for_each(|index| tell(lost(index)));
            return;
        }
    };
    let mut fault = read.fault;
    // A fault that no single record shows is told at the block's first index.
    let mut told_first = false;
    if let Some(error) = fault.take_if(|error| error.entry.is_none()) {
        tell(of_block(first, error.what));
        told_first = true;
    }
    let mut entries = read.entries.into_iter();
    for index in first..=last {
        let found = entries.next().flatten();
        if told_first && index == first {
            continue;
        }
        let Some(found) = found else {
            let named = fault.take_if(|e| e.entry.map(|n| first + n as u64) == Some(index));
            tell(named.map_or_else(
                || lost(index),
                |error| Checked { index, named: true, record: Err(error.what) },
            ));
            continue;
        };
        let at = |offset: u64| usize::try_from(offset).unwrap_or(usize::MAX);
        let range = at(found.payload.start)..at(found.payload.end);
        let checked = match payloads.get(range.clone()) {
            Some(_) => {
                record(object, index, &found, payloads.slice(range)).map_err(|error| error.fault())
            }
            None => Err("its payload lies outside of the block".to_owned()),
        };
        tell(Checked { index, named: checked.is_err(), record: checked });
    }
}
