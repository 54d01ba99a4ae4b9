//! Everything that one object tells by itself: the part of a check that needs no other object and
//! is done on several cores at once.
//!
//! Not here: whether the object continues the log (`walk`).

use std::ops::Range;

use bytes::Bytes;
use stele_merkle::Hash;
use stele_record::{Header, Kind, LedgerTime, Seq};
use stele_store::{ObjectName, Store, StoreError};

use super::report::SourceRange;
use super::streams::Place;
use crate::format::{Digest, Head, PREFIX_BYTES, Prefix, Role, digest_of};
use crate::objects::{Object, PACKS, SEGMENTS};
use crate::tree::{TILE_LEAVES, Tile};
use crate::verify::{CheckedBlock, Fault, check_block};

/// The kinds of records whose payloads are looked into.
const KINDS: [Kind; 4] = [Kind::SOURCE_OPEN, Kind::SEAL, Kind::CHECKPOINT, Kind::KEY_ROTATION];

/// One object, read and checked.
#[derive(Debug)]
pub(crate) struct Examined {
    pub(crate) name: ObjectName,
    /// Its length in bytes; 0 if it could not be read.
    pub(crate) len: u64,
    pub(crate) content: Result<Content, Unreadable>,
}

/// Why nothing of an object can be used.
#[derive(Debug)]
pub(crate) struct Unreadable {
    pub(crate) what: String,
    /// Where the fault lies.
    pub(crate) bytes: Option<Range<u64>>,
    /// It is not there, although it was listed.
    pub(crate) gone: bool,
    /// What is left of its header, to recognise the original by.
    pub(crate) remains: Remains,
}

/// What is left of a header whose digest is wrong.
#[derive(Debug, Default)]
pub(crate) struct Remains {
    /// Digest of the prefix and header as they are now.
    computed: Option<Digest>,
    /// The digest stored after them.
    stored: Option<Digest>,
}

impl Remains {
    /// Whether an object with this digest is the one that was here: either the header is still
    /// whole, or the digest of it is.
    pub(crate) fn are_of(&self, digest: &Digest) -> bool {
        self.computed.as_ref() == Some(digest) || self.stored.as_ref() == Some(digest)
    }

    fn of(bytes: &[u8], header: &Range<u64>) -> Self {
        let at = |offset: u64| usize::try_from(offset).unwrap_or(usize::MAX);
        let Some(end) = at(header.end).checked_sub(32) else { return Self::default() };
        let computed = bytes.get(..end).map(|signed| digest_of(&[signed]));
        let stored = bytes.get(end..end + 32).and_then(|digest| digest.try_into().ok());
        Self { computed, stored }
    }
}

/// What an object with a sound header holds.
#[derive(Debug)]
pub(crate) struct Content {
    pub(crate) head: Head,
    pub(crate) digest: Digest,
    /// In order of the index; `None` where not even the header is what was written.
    pub(crate) records: Vec<Option<Seen>>,
    /// The roots of a pack's tiles as its records give them.
    pub(crate) tiles: Vec<Option<Hash>>,
    pub(crate) faults: Vec<(Fault, Vec<SourceRange>)>,
}

/// What the rest of the check needs of a record.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) leaf: Hash,
    /// `None` if the header was written in a form that cannot be read.
    pub(crate) place: Option<Place>,
    /// The payload, of the kinds that are looked into.
    pub(crate) payload: Option<Bytes>,
    /// When the ledger took it in, if all of the record is what was written.
    pub(crate) time: Option<LedgerTime>,
}

/// Reads an object and checks all that it holds.
pub(crate) fn examine(store: &dyn Store, name: &ObjectName) -> Examined {
    match store.read(name) {
        Ok(bytes) => examine_bytes(name, &bytes),
        Err(error) => {
            let gone = matches!(error, StoreError::NotFound { .. });
            let what = if gone { "it is missing".to_owned() } else { error.to_string() };
            let content = Err(Unreadable { what, bytes: None, gone, remains: Remains::default() });
            Examined { name: name.clone(), len: 0, content }
        }
    }
}

/// Checks all that an object holds.
pub(crate) fn examine_bytes(name: &ObjectName, bytes: &Bytes) -> Examined {
    let len = bytes.len() as u64;
    let unreadable = |what: String, at: Range<u64>, remains| {
        Err(Unreadable { what, bytes: Some(at), gone: false, remains })
    };
    let content = match Object::decode(name, bytes, len) {
        Err(error) => {
            let at = place_of_header_fault(bytes);
            let remains = Remains::of(bytes, &at);
            unreadable(error.fault(), at, remains)
        }
        Ok(object) => match misplaced(name, &object.head) {
            Some(what) => unreadable(what.to_owned(), 0..len, Remains::default()),
            None => Ok(content(object, bytes)),
        },
    };
    Examined { name: name.clone(), len, content }
}

/// The bytes among which a fault lies that keeps a header from being read.
fn place_of_header_fault(bytes: &[u8]) -> Range<u64> {
    let len = bytes.len() as u64;
    let Ok(prefix) = Prefix::decode(bytes) else { return 0..len.min(PREFIX_BYTES as u64) };
    let end = prefix.blocks_start();
    // A header that can be read, or that is cut off: the length of the object is wrong.
    let wrong_length = end > len || Head::decode(bytes).is_ok();
    if wrong_length { 0..len } else { 0..end }
}

/// Why an object is not the one that its name says.
fn misplaced(name: &ObjectName, head: &Head) -> Option<&'static str> {
    match (name.number_in(PACKS), name.number_in(SEGMENTS), head.role) {
        (Some(first), _, Role::Pack) if first == head.first => None,
        (_, Some(number), Role::Segment) if number == head.number => None,
        (Some(_), _, Role::Pack) => Some("the pack has another first index than its name"),
        (_, Some(_), Role::Segment) => Some("the segment has another number than its name"),
        _ => Some("a segment under a pack's name, or the reverse"),
    }
}

fn content(object: Object, bytes: &Bytes) -> Content {
    let mut records = Vec::new();
    let mut faults = Vec::new();
    for block in 0..object.head.blocks.len() {
        let checked = check_block(&object, block, bytes);
        let told = checked.faults.iter().map(|fault| {
            let sources = sources_of(&object.head, &fault.records);
            (fault.clone(), sources)
        });
        faults.extend(told);
        see(&checked, &mut records);
    }
    let tiles = if object.head.role == Role::Pack { tiles(&records) } else { Vec::new() };
    Content { digest: object.digest, head: object.head, records, tiles, faults }
}

fn see(checked: &CheckedBlock, records: &mut Vec<Option<Seen>>) {
    for (entry, record) in checked.entries.iter().zip(&checked.records) {
        let seen = entry.as_ref().map(|entry| {
            let decoded;
            let header = match record {
                Some(record) => Some(&record.header),
                None => {
                    decoded = Header::decode(&entry.header).ok();
                    decoded.as_ref()
                }
            };
            let place = header.map(Place::of);
            let wanted = |record: &&crate::StoredRecord| KINDS.contains(&record.header.kind);
            let payload = record.as_ref().filter(wanted).and_then(|r| r.payload.as_ref());
            Seen {
                leaf: entry.leaf,
                place,
                // A copy: a slice would keep the whole block in memory.
                payload: payload.map(|payload| Bytes::copy_from_slice(payload)),
                time: record.as_ref().map(|record| record.ledger_time),
            }
        });
        records.push(seen);
    }
}

fn tiles(records: &[Option<Seen>]) -> Vec<Option<Hash>> {
    let tile = |records: &[Option<Seen>]| {
        let leaves: Option<Vec<Hash>> =
            records.iter().map(|seen| seen.as_ref().map(|seen| seen.leaf)).collect();
        Tile::of(leaves?).1
    };
    records.chunks(TILE_LEAVES as usize).map(tile).collect()
}

/// Whose records the header says are at these indices.
pub(crate) fn sources_of(head: &Head, records: &Range<u64>) -> Vec<SourceRange> {
    let mut found: Vec<(usize, u64, u64)> = Vec::new();
    let from = head.runs.partition_point(|run| run.first_index + run.count <= records.start);
    for run in head.runs[from..].iter().take_while(|run| run.first_index < records.end) {
        let skip = records.start.saturating_sub(run.first_index);
        let end = run.count.min(records.end - run.first_index);
        let (first, last) = (run.first_seq.0 + skip, run.first_seq.0 + end - 1);
        // The records of one stream in one object follow each other.
        match found.iter_mut().find(|(stream, ..)| *stream == run.stream) {
            Some(known) => known.2 = last,
            None => found.push((run.stream, first, last)),
        }
    }
    let range = |(stream, first, last): (usize, u64, u64)| {
        let stream = &head.streams[stream];
        SourceRange::new(&head.sources[stream.source], stream.boot, Seq(first), Seq(last))
    };
    found.into_iter().map(range).collect()
}
