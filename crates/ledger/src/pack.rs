//! Packing: runs of segments become one object of whole tiles.
//!
//! A pack is a function of the segments alone, so any process may make it. Every record is hashed
//! against the tree and its commitment on its way into a pack, and again as it comes back from a block
//! that lacks commitments; the pack is written, read back and compared byte for byte with what was
//! hashed before any segment that it replaces is retired. One that another process has made of the
//! same records is hashed again itself.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;
use std::time::Duration;

use stele_merkle::{Hash, TreeSize};
use stele_record::Header;
use stele_store::{Clock, ObjectName, StoreError, UnixNanos};

use crate::append::PreparedRecord;
use crate::format::{Built, Compression, Content, Head, ObjectBuilder, RecordRef, Role, TimeRun};
use crate::info::lease_hint;
use crate::objects::{Object, Place, pack_name};
use crate::reader::Reader;
use crate::recent::{Kept, KeptRecord, Taken};
use crate::tables::{Position, Tables};
use crate::tree::{TILE_LEAVES, TILE_LEVELS};
use crate::verify::check_block;
use crate::{ReadError, StoredRecord};

/// A pack takes no further tile once its stored blocks have this many bytes. Object stores take
/// larger objects in several pieces only.
const PACK_BYTES: u64 = 192 * 1024 * 1024;

/// zstd level of packs: packing runs beside the writer, which must not wait for it.
const PACK_COMPRESSION: Compression = Compression::Zstd(6);

/// How long the process that packs asks others to leave packing to it.
const LEASE: Duration = Duration::from_secs(60);

/// Makes packs. One that is dropped while it holds the lease delays others for a while.
pub struct Packer {
    reader: Reader,
    clock: Arc<dyn Clock>,
    records: u64,
    closing: Arc<AtomicBool>,
    /// After a failure: the size from which packing is tried again.
    retry_from: u64,
    /// Who this is in the lease.
    nonce: [u8; 16],
    leased: bool,
}

impl std::fmt::Debug for Packer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Packer").field("records", &self.records).finish_non_exhaustive()
    }
}

impl Packer {
    pub(crate) fn new(
        reader: Reader,
        clock: Arc<dyn Clock>,
        records: u64,
        closing: Arc<AtomicBool>,
        nonce: [u8; 16],
    ) -> Self {
        Self { reader, clock, records, closing, retry_from: 0, nonce, leased: false }
    }

    /// Packs what can be packed whenever it is told that the log has grown.
    pub(crate) fn run(&mut self, wake: &Receiver<()>) {
        loop {
            while self.step() {}
            if wake.recv().is_err() {
                break;
            }
            while wake.try_recv().is_ok() {}
        }
        self.release();
    }

    /// Makes the next pack, if the log is long enough and no other process is at it; whether one
    /// was made.
    pub fn step(&mut self) -> bool {
        let Some(end) = self.next_end() else { return false };
        let first = self.reader.objects().packed_end();
        if self.is_retired(first) {
            return self.pass_on(first);
        }
        if !self.lease(end) {
            return false;
        }
        let Err(error) = self.pack(first, end) else { return true };
        if self.is_retired(first) {
            // Somebody else was faster.
            return self.pass_on(first);
        }
        tracing::error!(%error, "packing failed; the segments stay");
        self.retry_from = self.reader.size().0.saturating_add(self.records);
        false
    }

    /// Takes note of a pack that somebody else has made; whether there is one.
    fn pass_on(&self, first: u64) -> bool {
        self.reader.look_for_packs(first);
        self.reader.objects().packed_end() > first
    }

    /// End of the next pack, if the log is long enough for it.
    fn next_end(&self) -> Option<u64> {
        let size = self.reader.size().0;
        if self.closing.load(Ordering::Relaxed) || size < self.retry_from {
            return None;
        }
        let first = self.reader.objects().packed_end();
        let end = (first / self.records + 1) * self.records;
        (end <= size).then_some(end)
    }

    /// Whether the segment at an index is gone.
    fn is_retired(&self, index: u64) -> bool {
        let Some(Place::Segment(segment)) = self.reader.objects().place(index) else {
            return false;
        };
        matches!(self.reader.store().size(&segment.name), Err(StoreError::NotFound { .. }))
    }

    /// Asks the other processes to leave packing to this one; whether to pack. Two that pack the
    /// same do no harm, so it may be wrong. Who holds the lease and lets a whole pack wait is
    /// not waited for.
    fn lease(&mut self, end: u64) -> bool {
        let now = self.clock.now();
        let store = self.reader.store();
        let held = store.read_hint(&lease_hint()).ok().flatten();
        let held = held.as_deref().and_then(Lease::decode);
        let waits = self.reader.size().0 >= end.saturating_add(self.records);
        if held.is_some_and(|held| held.holder != self.nonce && now < held.until) && !waits {
            return false;
        }
        let lease = Lease { holder: self.nonce, until: now.after(LEASE) };
        self.leased = store.put_hint(&lease_hint(), &lease.encode()).is_ok();
        true
    }

    /// Gives the lease back.
    pub(crate) fn release(&mut self) {
        if std::mem::take(&mut self.leased) {
            // A lease that stays runs out by itself.
            let _ = self.reader.store().put_hint(&lease_hint(), b"");
        }
    }

    fn pack(&self, first: u64, end: u64) -> Result<(), ReadError> {
        let built = self.build(first, end)?;
        let name = pack_name(first);
        // Another process may have made it meanwhile, or this one before a crash, with another
        // version of the compressor: whatever is there is checked below and counts if it holds the
        // same records.
        match self.reader.store().put_new(&name, &built.slices()) {
            Ok(_) | Err(StoreError::Conflict { .. }) => {}
            // It may be there and readable, but not durable: the segments stay until a repeat
            // succeeds.
            Err(error) => return Err(error.into()),
        }
        // A damaged one stays, and the segments with it: see `settle`.
        let head = match built.is_stored(self.reader.store(), &name)? {
            true => built.head,
            false => self.verify(&name, &built)?.head,
        };
        let retired = self.reader.add_pack(&head);
        self.reader.streams_mut().forget_before(head.end());
        for segment in retired {
            if let Err(error) = self.reader.store().retire(&segment.name) {
                tracing::warn!(%error, object = %segment.name, "a packed segment could not be removed");
            }
        }
        Ok(())
    }

    fn build(&self, first: u64, wanted_end: u64) -> Result<Built, ReadError> {
        let mut builder = ObjectBuilder::new(first, PACK_COMPRESSION);
        let mut tables = Tables::new(self.reader.objects().packed_streams.clone());
        let mut times: Vec<TimeRun> = Vec::new();
        let mut next = first;
        while next < wanted_end && (next == first || builder.stored_len() < PACK_BYTES) {
            self.each(next..next + TILE_LEAVES, &mut |object, position, record| {
                if let Some(secret) = tables.add(object, &position)? {
                    builder.add_secret(position.source, secret);
                }
                builder.push(record);
                let time = object.time_of(position.index);
                match times.last_mut() {
                    Some(last) if last.time == time => last.count += 1,
                    _ => times.push(TimeRun { count: 1, time }),
                }
                Ok(())
            })?;
            next += TILE_LEAVES;
        }
        let end = next;
        let Content { blocks, parts } = builder.finish();
        let tiles = (first / TILE_LEAVES..end / TILE_LEAVES)
            .map(|tile| self.reader.node(TILE_LEVELS, tile))
            .collect::<Result<Vec<Hash>, _>>()?;
        let (number, previous) = self.after(end);
        let head = Head {
            role: Role::Pack,
            number,
            previous,
            writer: None,
            first,
            count: end - first,
            times,
            root: stele_merkle::root(TreeSize(end), &self.reader)?,
            sources: tables.sources,
            streams: tables.streams,
            runs: tables.runs,
            secrets: tables.secrets,
            blocks,
            tiles,
        };
        Ok(Built::new(head, parts))
    }

    /// Calls `f` for each record of `range`: for those that this process has taken in as they were
    /// checked then, else as they are stored, checked against the tree and their commitments.
    fn each(&self, range: Range<u64>, f: &mut Each<'_>) -> Result<(), ReadError> {
        let mut next = range.start;
        while next < range.end {
            let recent = self.reader.recent().holding(next);
            let Some(kept) = recent else {
                // Block by block, so that what comes after is asked for again.
                let end = range.end.min(self.reader.object(next)?.head.end());
                self.reader.scan_objects(next..end, &mut |object, record| {
                    each_stored(object, record, f)
                })?;
                next = end;
                continue;
            };
            let end = range.end.min(kept.end);
            each_kept(&*self.reader.object(next)?, &kept, next..end, f)?;
            next = end;
        }
        Ok(())
    }

    /// Number and predecessor of the first segment that ends after `end`.
    fn after(&self, end: u64) -> (u64, crate::format::Digest) {
        let objects = self.reader.objects();
        let covered = objects.segments.values().take_while(|s| s.head.end() <= end).last();
        covered.map_or(objects.unpacked, |segment| (segment.head.number + 1, segment.digest))
    }

    /// Reads a pack with other bytes and checks each of them: whether it holds the same records.
    fn verify(&self, name: &ObjectName, built: &Built) -> Result<Object, ReadError> {
        let bytes = self.reader.store().read(name)?;
        let object = Object::decode(name, &bytes, bytes.len() as u64)?;
        for block in 0..object.head.blocks.len() {
            let checked = check_block(&object, block, &bytes);
            if let Some(fault) = checked.faults.first() {
                // L3 holds still: the segments stay.
                return Err(ReadError::corrupt(name, fault.record(), fault.what.clone()));
            }
            for record in checked.records.iter().flatten() {
                if self.reader.node(0, record.index.0)? != record.leaf_hash {
                    let what = "the record is not the one in the tree";
                    return Err(ReadError::corrupt(name, Some(record.index.0), what));
                }
            }
        }
        let same = Head { blocks: Vec::new(), ..object.head.clone() }
            == Head { blocks: Vec::new(), ..built.head.clone() };
        if !same {
            return Err(ReadError::corrupt(name, None, "the pack is not made of these records"));
        }
        self.check_tiles(&object)?;
        Ok(object)
    }

    fn check_tiles(&self, object: &Object) -> Result<(), ReadError> {
        let first = object.head.first / TILE_LEAVES;
        for (tile, number) in object.head.tiles.iter().zip(first..) {
            if self.reader.node(TILE_LEVELS, number)? != *tile {
                let what = format!("tile {number} is not the one in the tree");
                return Err(ReadError::corrupt(&object.name, None, what));
            }
        }
        Ok(())
    }
}

/// What is done with each record of a pack.
type Each<'a> = dyn FnMut(&Object, Position, RecordRef<'_>) -> Result<(), ReadError> + 'a;

fn each_kept(
    object: &Object,
    kept: &Kept,
    range: Range<u64>,
    f: &mut Each<'_>,
) -> Result<(), ReadError> {
    for KeptRecord { index, seq, taken, record } in kept.records(range) {
        let &Taken { source, boot, epoch, .. } = taken;
        let PreparedRecord { header, payload, leaf } = record;
        let leaf = *leaf;
        let position = Position { index, leaf, source, boot, seq, epoch };
        f(object, position, RecordRef { header, leaf, data_key: 0, payload })?;
    }
    Ok(())
}

fn each_stored(object: &Object, record: &StoredRecord, f: &mut Each<'_>) -> Result<(), ReadError> {
    let index = record.index.0;
    let Some(payload) = &record.payload else {
        let what = "a payload under a data key cannot be packed by this version";
        return Err(ReadError::corrupt(&object.name, Some(index), what));
    };
    let (header, leaf) = (&record.header_bytes, record.leaf_hash);
    let Header { source, boot, seq, epoch, .. } = record.header;
    let position = Position { index, leaf, source, boot, seq, epoch };
    f(object, position, RecordRef { header, leaf, data_key: 0, payload })
}

/// Who packs, as a hint: `HOLDER UNTIL`, 32 hexadecimal digits and nanoseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Lease {
    holder: [u8; 16],
    until: UnixNanos,
}

impl Lease {
    fn encode(self) -> Vec<u8> {
        format!("{} {}\n", hex::encode(self.holder), self.until.0).into_bytes()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (holder, until) = std::str::from_utf8(bytes).ok()?.trim_end().split_once(' ')?;
        let mut lease = Self { holder: [0; 16], until: UnixNanos(until.parse().ok()?) };
        hex::decode_to_slice(holder, &mut lease.holder).ok()?;
        Some(lease)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leases_come_back_and_anything_else_is_none() {
        let lease = Lease { holder: [7; 16], until: UnixNanos(-5) };
        assert_eq!(Lease::decode(&lease.encode()), Some(lease));
        for other in [&b""[..], b"7 7", b"\xff 7", &lease.encode()[1..], &lease.encode()[..33]] {
            assert_eq!(Lease::decode(other), None);
        }
    }
}
