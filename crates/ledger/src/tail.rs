//! The end of the log as this process knows it, and taking in what others have written after it.
//!
//! Segments are read as far as their headers parts go, and every leaf is hashed again; of packs
//! that are read at open only the header is believed against the tree. A pack that is taken in
//! later, because its segments are gone, is checked byte for byte.
//!
//! Invariant: a segment counts only if no pack covers its number. Segments are retired after their
//! pack is there, and a writer that has not seen that pack could create a retired number again:
//! so whoever creates or reads a segment looks for such a pack *afterwards*, and packs are never
//! removed. That look-up is what makes the create of a segment a fence.

use std::sync::Arc;

use bytes::Bytes;
use stele_merkle::{Hash, TreeSize};
use stele_record::{LedgerTime, Seq};
use stele_store::{ObjectName, StoreError};

use crate::ReadError;
use crate::format::{Digest, Role, decode_headers};
use crate::objects::{Object, pack_name, read_headers_part, segment_name};
use crate::reader::Reader;
use crate::settle::check_pack;
use crate::streams::StreamRun;

/// See the module.
#[derive(Debug)]
pub(crate) struct Tail {
    pub(crate) reader: Reader,
    /// Number and predecessor's digest of the next segment.
    pub(crate) next: (u64, Digest),
    /// Highest epoch of a writer so far.
    pub(crate) writer_epoch: u64,
    pub(crate) last_time: LedgerTime,
    /// The last object that was taken in and that nobody in this process has made durable.
    pub(crate) unflushed: Option<ObjectName>,
    /// While the ledger is opened: a pack that is passed over, because its segments are all there
    /// and it is not sound.
    pub(crate) unsound: Option<ObjectName>,
}

impl Tail {
    /// The tail of an empty log.
    pub(crate) fn new(reader: Reader) -> Self {
        let next = reader.objects().unpacked;
        let last_time = LedgerTime::from_unix_ns(i64::MIN);
        Self { reader, next, writer_epoch: 0, last_time, unflushed: None, unsound: None }
    }

    /// Takes in everything that the store has after the tail. What was taken in before an error
    /// stays; nothing else does.
    pub(crate) fn advance(&mut self) -> Result<(), ReadError> {
        loop {
            let name = segment_name(self.next.0);
            let segment = absent(Object::load_start(self.reader.store(), &name))?;
            // Only now: see the module.
            if let Some(end) = self.covered_to(self.next.0)? {
                self.take_packs(end)?;
            } else if let Some((object, start)) = segment {
                self.enter_segment(object, &start)?;
                self.unflushed = Some(name);
            } else {
                return Ok(());
            }
        }
    }

    /// Makes the last object that was taken in durable, and with it those before: whoever created
    /// it may have died before its name was. Nothing that was taken in is signed for before.
    pub(crate) fn flush(&mut self) -> Result<(), StoreError> {
        if let Some(name) = &self.unflushed {
            self.reader.store().make_durable(name)?;
            self.unflushed = None;
        }
        Ok(())
    }

    /// Whether the log had gone on past segment `number` before it was created: a pack covers it.
    pub(crate) fn is_overtaken(&self, number: u64) -> Result<bool, ReadError> {
        Ok(self.covered_to(number)?.is_some())
    }

    /// The index after the last record of the pack that covers segment `number`, if one does that
    /// this process does not know. Packs before it were checked by whoever made it.
    fn covered_to(&self, number: u64) -> Result<Option<u64>, ReadError> {
        let mut first = self.reader.objects().packed_end();
        while let Some(pack) = self.pack_at(first)? {
            first = pack.head.end();
            if pack.head.number > number {
                return Ok(Some(first));
            }
        }
        Ok(None)
    }

    /// Takes in the packs up to the one that ends at `end`.
    fn take_packs(&mut self, end: u64) -> Result<(), ReadError> {
        loop {
            let first = self.reader.objects().packed_end();
            if first >= end {
                return Ok(());
            }
            let pack = self.pack_at(first)?;
            let gone = || StoreError::NotFound { name: pack_name(first) };
            self.take_pack(&pack.ok_or_else(gone)?)?;
        }
    }

    fn pack_at(&self, first: u64) -> Result<Option<Object>, ReadError> {
        let name = pack_name(first);
        if self.unsound.as_ref() == Some(&name) {
            return Ok(None);
        }
        let store = self.reader.store();
        let Some(size) = absent(store.size(&name).map_err(ReadError::from))? else {
            return Ok(None);
        };
        let Some(object) = absent(Object::load_sized(store, &name, size).map(|(o, _)| o))? else {
            return Ok(None);
        };
        if object.head.role != Role::Pack || object.head.first != first {
            return Err(ReadError::corrupt(&name, None, "it is not the pack that its name says"));
        }
        Ok(Some(object))
    }

    /// Adds a pack by its header: at open, where its segments are gone.
    pub(crate) fn add_pack(&mut self, name: &ObjectName) -> Result<(), ReadError> {
        let object = Object::load(self.reader.store(), name)?;
        let head = &object.head;
        let corrupt = |what: &str| ReadError::corrupt(name, None, what);
        let first = self.reader.objects().packed_end();
        if head.role != Role::Pack || head.first != first || *name != pack_name(first) {
            return Err(corrupt("the pack does not continue the one before"));
        }
        head.tiles.iter().for_each(|tile| self.reader.tree_mut().push_tile(*tile));
        self.check_root(&object)?;
        self.enter_pack(&object);
        self.next = self.reader.objects().unpacked;
        Ok(())
    }

    /// Takes in a pack that another process has made of segments that may be gone.
    fn take_pack(&mut self, pack: &Object) -> Result<(), ReadError> {
        let size = self.reader.tree().size();
        if pack.head.end() <= size && self.reader.has_tiles(&pack.head) {
            self.reader.objects_mut().add_pack(&pack.head);
            self.reader.streams_mut().forget_before(pack.head.end());
            return Ok(());
        }
        let (object, leaves) = check_pack(self.reader.store(), &pack.name)?;
        let head = &object.head;
        self.push_after(size, head.first, &leaves);
        let checked = self.check_root(&object);
        if checked.is_err() || !self.reader.has_tiles(head) {
            self.reader.tree_mut().truncate(size);
            let what = "the pack does not continue what is known of the log";
            return checked.and(Err(ReadError::corrupt(&object.name, None, what)));
        }
        self.enter_pack(&object);
        self.reader.streams_mut().forget_before(head.end());
        if head.number > self.next.0 {
            self.next = (head.number, head.previous);
            self.unflushed = Some(object.name.clone());
        }
        Ok(())
    }

    /// Pushes those leaves that follow the first `size` ones.
    fn push_after(&self, size: u64, first: u64, leaves: &[Hash]) {
        let mut tree = self.reader.tree_mut();
        let new = (first..).zip(leaves).filter(|(index, _)| *index >= size);
        new.for_each(|(_, leaf)| tree.push(*leaf));
    }

    fn enter_pack(&mut self, object: &Object) {
        let head = &object.head;
        let mut streams = self.reader.streams_mut();
        for stream in &head.streams {
            let id = (head.sources[stream.source], stream.boot);
            streams.advance(id, stream.next_seq, stream.head);
        }
        streams.add_secrets(head);
        drop(streams);
        self.reader.add_pack(head);
        if let Some(last) = head.times.last() {
            self.last_time = self.last_time.max(last.time);
        }
    }

    /// Adds the next segment, which was loaded by [`Object::load_start`].
    fn enter_segment(&mut self, object: Object, start: &Bytes) -> Result<(), ReadError> {
        let size = self.reader.tree().size();
        let entered = self.check_segment(&object, size).and_then(|()| {
            for block in 0..object.head.blocks.len() {
                self.push_block(&object, block, start, size)?;
            }
            self.check_root(&object)
        });
        if let Err(error) = entered {
            self.reader.tree_mut().truncate(size);
            return Err(error);
        }
        let head = &object.head;
        self.next = (head.number + 1, object.digest);
        self.writer_epoch = self.writer_epoch.max(head.writer.map_or(0, |writer| writer.epoch));
        if let Some(last) = head.times.last() {
            self.last_time = self.last_time.max(last.time);
        }
        enter(&self.reader, &Arc::new(object));
        Ok(())
    }

    /// Whether the segment's header continues the log of `size` records.
    fn check_segment(&self, object: &Object, size: u64) -> Result<(), ReadError> {
        let head = &object.head;
        let corrupt = |what: &str| Err(ReadError::corrupt(&object.name, None, what));
        if head.role != Role::Segment || head.number != self.next.0 {
            return corrupt("the segment has another number than its name");
        }
        if head.previous != self.next.1 {
            return corrupt("the segment does not follow the one before it");
        }
        // The first one after a pack may begin inside it.
        let packed = self.reader.objects().packed_end() == size;
        let continues = head.first == size || (packed && head.first < size && size < head.end());
        if !continues {
            return corrupt("the segment's first index does not continue the log");
        }
        let streams = self.reader.streams();
        let follows = head.streams.iter().all(|stream| {
            let id = (head.sources[stream.source], stream.boot);
            let next = streams.position(&id).map_or(Seq(0), |(next, _)| next);
            stream.first_seq == next || (head.first < size && stream.first_seq < next)
        });
        if !follows {
            return corrupt("a source's sequence does not go on where it stood");
        }
        Ok(())
    }

    fn push_block(
        &self,
        object: &Object,
        block: usize,
        start: &Bytes,
        size: u64,
    ) -> Result<(), ReadError> {
        let (first, _) = object.place(block);
        let stored = read_headers_part(self.reader.store(), object, block, start)?;
        let headers = decode_headers(first, &object.head.blocks[block], &stored).map_err(|e| {
            let record = e.entry.map(|entry| first + entry as u64);
            ReadError::corrupt(&object.name, record, e.what)
        })?;
        let leaves: Vec<Hash> = headers.entries.iter().map(|entry| entry.leaf).collect();
        self.push_after(size, first, &leaves);
        Ok(())
    }

    fn check_root(&self, object: &Object) -> Result<(), ReadError> {
        let root = stele_merkle::root(TreeSize(object.head.end()), &self.reader)?;
        if root == object.head.root {
            return Ok(());
        }
        let what = "its records do not give the root in its header";
        Err(ReadError::corrupt(&object.name, None, what))
    }
}

/// What is there, or that it is not.
fn absent<T>(found: Result<T, ReadError>) -> Result<Option<T>, ReadError> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(ReadError::Store(StoreError::NotFound { .. })) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Enters a segment, whose leaves are in the tree, into the tables of objects and streams.
pub(crate) fn enter(reader: &Reader, object: &Arc<Object>) {
    let head = &object.head;
    let mut streams = reader.streams_mut();
    let ids: Vec<_> = head.streams.iter().map(|s| (head.sources[s.source], s.boot)).collect();
    for (id, stream) in ids.iter().zip(&head.streams) {
        streams.advance(*id, stream.next_seq, stream.head);
    }
    streams.add_secrets(head);
    for run in &head.runs {
        let (first_seq, first_index, count) = (run.first_seq, run.first_index, run.count);
        streams.add_run(&ids[run.stream], StreamRun { first_seq, first_index, count });
    }
    drop(streams);
    reader.objects_mut().add_segment(Arc::clone(object));
    reader.tree_mut().trim();
}
