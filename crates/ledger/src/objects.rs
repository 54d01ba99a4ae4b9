//! Which object holds which records: packs first, then the segments after them.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use stele_record::{Boot, ChainHead, LedgerTime, Seq, SourceId};
use stele_store::{ObjectName, Store, StoreError};

use crate::ReadError;
use crate::format::{Built, Digest, Head, PREFIX_BYTES, Prefix, SaltTable};
use crate::info::numbered;
use crate::streams::StreamId;

pub(crate) const SEGMENTS: &str = "segments";
pub(crate) const PACKS: &str = "packs";

/// Bytes that are read at once in the hope that they hold the whole header.
const FIRST_READ_BYTES: u64 = 64 * 1024;

pub(crate) fn segment_name(number: u64) -> ObjectName {
    numbered(SEGMENTS, number)
}

/// Packs are named by the index of their first record.
pub(crate) fn pack_name(first: u64) -> ObjectName {
    numbered(PACKS, first)
}

/// A segment or pack with its header decoded.
#[derive(Debug)]
pub(crate) struct Object {
    pub(crate) name: ObjectName,
    pub(crate) head: Head,
    pub(crate) digest: Digest,
    /// First index and offset of each block.
    places: Vec<(u64, u64)>,
    /// Index after the last record of each run of one ledger time.
    time_ends: Vec<u64>,
    /// Made when a payload, or a header without its commitment, is first asked for.
    salts: OnceLock<SaltTable>,
}

impl Object {
    pub(crate) fn new(name: ObjectName, head: Head, digest: Digest, blocks_start: u64) -> Self {
        let (mut first, mut offset) = (head.first, blocks_start);
        let mut places = Vec::with_capacity(head.blocks.len());
        for block in &head.blocks {
            places.push((first, offset));
            first += block.count;
            offset = offset.saturating_add(block.stored_len());
        }
        let mut end = head.first;
        let time_ends = head.times.iter().map(|run| {
            end = end.saturating_add(run.count);
            end
        });
        let time_ends = time_ends.collect();
        Self { name, head, digest, places, time_ends, salts: OnceLock::new() }
    }

    pub(crate) fn of_built(name: ObjectName, built: Built) -> Self {
        let blocks_start = built.parts[0].len() as u64;
        Self::new(name, built.head, built.digest, blocks_start)
    }

    /// Reads and checks the header, and that the object is as long as the header says.
    pub(crate) fn load(store: &dyn Store, name: &ObjectName) -> Result<Self, ReadError> {
        Self::load_start(store, name).map(|(object, _)| object)
    }

    /// As [`Object::load`]; gives what was read too, which for small objects is everything.
    pub(crate) fn load_start(
        store: &dyn Store,
        name: &ObjectName,
    ) -> Result<(Self, Bytes), ReadError> {
        let size = store.size(name)?;
        Self::load_sized(store, name, size)
    }

    /// As [`Object::load_start`], of an object whose length is known.
    pub(crate) fn load_sized(
        store: &dyn Store,
        name: &ObjectName,
        size: u64,
    ) -> Result<(Self, Bytes), ReadError> {
        let mut bytes = store.read_range(name, 0..size.min(FIRST_READ_BYTES))?;
        let corrupt = |what: String| ReadError::corrupt(name, None, what);
        let prefix = Prefix::decode(&bytes).map_err(|e| corrupt(e.what))?;
        let start = prefix.blocks_start();
        if start > size {
            return Err(corrupt("the object ends inside its header".to_owned()));
        }
        if start > bytes.len() as u64 {
            bytes = store.read_range(name, 0..start)?;
        }
        let object = Self::decode(name, &bytes, size)?;
        Ok((object, bytes))
    }

    /// As [`Object::load`], from the object's first bytes and its whole length.
    pub(crate) fn decode(name: &ObjectName, bytes: &[u8], size: u64) -> Result<Self, ReadError> {
        let corrupt = |what: String| ReadError::corrupt(name, None, what);
        let (head, digest) = Head::decode(bytes).map_err(|e| corrupt(e.what))?;
        let prefix = Prefix::decode(&bytes[..PREFIX_BYTES]).map_err(|e| corrupt(e.what))?;
        let object = Self::new(name.clone(), head, digest, prefix.blocks_start());
        let end = object.end_offset(prefix.blocks_start());
        if size != end {
            return Err(corrupt(format!("the object has {size} bytes, its header says {end}")));
        }
        Ok(object)
    }

    fn end_offset(&self, blocks_start: u64) -> u64 {
        match (self.places.last(), self.head.blocks.last()) {
            (Some((_, offset)), Some(block)) => offset.saturating_add(block.stored_len()),
            _ => blocks_start,
        }
    }

    /// Number of the block that holds `index`, which must be in the object.
    pub(crate) fn block_of(&self, index: u64) -> usize {
        self.places.partition_point(|(first, _)| *first <= index).saturating_sub(1)
    }

    /// First index and offset of a block.
    pub(crate) fn place(&self, block: usize) -> (u64, u64) {
        self.places[block]
    }

    /// When the ledger took in the record at `index`, which must be in the object.
    pub(crate) fn time_of(&self, index: u64) -> LedgerTime {
        let run = self.time_ends.partition_point(|end| *end <= index);
        self.head.times.get(run).map_or(LedgerTime::from_unix_ns(0), |run| run.time)
    }

    /// Whose record the header says is at `index`.
    pub(crate) fn writer_of(&self, index: u64) -> Option<(SourceId, Boot, Seq)> {
        let runs = &self.head.runs;
        let after = runs.partition_point(|run| run.first_index <= index);
        let run = runs.get(after.checked_sub(1)?)?;
        let stream = self.head.streams.get(run.stream)?;
        let seq = run.first_seq.0.checked_add(index - run.first_index)?;
        Some((*self.head.sources.get(stream.source)?, stream.boot, Seq(seq)))
    }

    /// What makes the salts of its records, as far as secrets are here and in clear.
    pub(crate) fn salts(&self) -> &SaltTable {
        self.salts.get_or_init(|| SaltTable::of(&self.head))
    }

    /// The stored bytes of a block's two parts, out of the whole object.
    pub(crate) fn parts_of(&self, block: usize, bytes: &Bytes) -> (Bytes, Bytes) {
        let entry = &self.head.blocks[block];
        let at = |offset: u64| usize::try_from(offset).unwrap_or(usize::MAX);
        let start = self.places[block].1;
        let middle = start + entry.headers.stored_len;
        let end = middle + entry.payloads.stored_len;
        (bytes.slice(at(start)..at(middle)), bytes.slice(at(middle)..at(end)))
    }
}

/// What is kept in memory of a pack.
#[derive(Debug)]
pub(crate) struct Pack {
    pub(crate) first: u64,
    pub(crate) end: u64,
    streams: Vec<(SourceId, Boot, Seq, Seq)>,
}

impl Pack {
    pub(crate) fn of(head: &Head) -> Self {
        let streams = head.streams.iter();
        let streams = streams.map(|s| (head.sources[s.source], s.boot, s.first_seq, s.next_seq));
        Self { first: head.first, end: head.end(), streams: streams.collect() }
    }

    /// Whether it holds this record.
    pub(crate) fn holds(&self, source: &SourceId, boot: Boot, seq: Seq) -> bool {
        self.streams
            .iter()
            .any(|(s, b, first, next)| s == source && *b == boot && (*first..*next).contains(&seq))
    }
}

/// All objects that hold records.
#[derive(Debug)]
pub(crate) struct Objects {
    pub(crate) packs: Vec<Pack>,
    /// By first index.
    pub(crate) segments: BTreeMap<u64, Arc<Object>>,
    /// Number and predecessor's digest of the first segment that is not wholly in packs.
    pub(crate) unpacked: (u64, Digest),
    /// Where each stream stands after the last pack.
    pub(crate) packed_streams: HashMap<StreamId, (Seq, ChainHead)>,
}

/// Where an index is.
#[derive(Debug)]
pub(crate) enum Place {
    Pack(ObjectName),
    Segment(Arc<Object>),
}

impl Objects {
    pub(crate) fn new(log_info: Digest) -> Self {
        Self {
            packs: Vec::new(),
            segments: BTreeMap::new(),
            unpacked: (0, log_info),
            packed_streams: HashMap::new(),
        }
    }

    /// Index after the last packed record.
    pub(crate) fn packed_end(&self) -> u64 {
        self.packs.last().map_or(0, |pack| pack.end)
    }

    pub(crate) fn place(&self, index: u64) -> Option<Place> {
        if index < self.packed_end() {
            let pack = self.packs.partition_point(|pack| pack.end <= index);
            return Some(Place::Pack(pack_name(self.packs.get(pack)?.first)));
        }
        let (_, segment) = self.segments.range(..=index).next_back()?;
        (index < segment.head.end()).then(|| Place::Segment(Arc::clone(segment)))
    }

    pub(crate) fn add_segment(&mut self, object: Arc<Object>) {
        self.segments.insert(object.head.first, object);
    }

    /// Adds the next pack, unless somebody was faster, and gives the segments that it makes
    /// superfluous.
    pub(crate) fn add_pack(&mut self, head: &Head) -> Vec<Arc<Object>> {
        if head.first != self.packed_end() {
            return Vec::new();
        }
        self.packs.push(Pack::of(head));
        self.unpacked = (head.number, head.previous);
        for stream in &head.streams {
            let id = (head.sources[stream.source], stream.boot);
            self.packed_streams.insert(id, (stream.next_seq, stream.head));
        }
        let covered = |segment: &Arc<Object>| segment.head.end() <= head.end();
        let firsts: Vec<u64> =
            self.segments.iter().take_while(|(_, s)| covered(s)).map(|(first, _)| *first).collect();
        firsts.iter().filter_map(|first| self.segments.remove(first)).collect()
    }
}

/// Reads the stored bytes of a block's headers part, if they are not in the object's start.
pub(crate) fn read_headers_part(
    store: &dyn Store,
    object: &Object,
    block: usize,
    start: &Bytes,
) -> Result<Bytes, StoreError> {
    let (_, offset) = object.place(block);
    let length = object.head.blocks[block].headers.stored_len;
    let at = |offset: u64| usize::try_from(offset).unwrap_or(usize::MAX);
    if offset + length <= start.len() as u64 {
        return Ok(start.slice(at(offset)..at(offset + length)));
    }
    read_part(store, object, offset, length)
}

/// Reads the stored bytes of one part of a block.
pub(crate) fn read_part(
    store: &dyn Store,
    object: &Object,
    offset: u64,
    length: u64,
) -> Result<Bytes, StoreError> {
    if length == 0 {
        return Ok(Bytes::new());
    }
    store.read_range(&object.name, offset..offset + length)
}
