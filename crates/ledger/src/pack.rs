//! Packing: runs of segments become one object of whole tiles.
//!
//! A pack is a function of the records alone. It is written, read back and hashed again, byte for
//! byte against the tree and the commitments, before any segment that it replaces is retired.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;

use stele_merkle::{Hash, TreeSize};
use stele_store::StoreError;

use crate::format::{
    BLOCK_RECORDS, Built, Compression, Content, Head, ObjectBuilder, RecordRef, Role, TimeRun,
};
use crate::objects::{Object, pack_name};
use crate::reader::Reader;
use crate::tables::Tables;
use crate::tree::TILE_LEVELS;
use crate::verify::check_block;
use crate::{ReadError, StoredRecord};

/// A pack takes no further tile once its stored blocks have this many bytes. Object stores take
/// larger objects in several pieces only.
const PACK_BYTES: u64 = 192 * 1024 * 1024;

/// zstd level of packs: packing runs beside the writer, which must not wait for it.
const PACK_COMPRESSION: Compression = Compression::Zstd(3);

pub(crate) struct Packer {
    reader: Reader,
    records: u64,
    closing: Arc<AtomicBool>,
    /// After a failure: the size from which packing is tried again.
    retry_from: u64,
}

impl Packer {
    pub(crate) fn new(reader: Reader, records: u64, closing: Arc<AtomicBool>) -> Self {
        Self { reader, records, closing, retry_from: 0 }
    }

    /// Packs what can be packed whenever it is told that the log has grown.
    pub(crate) fn run(&mut self, wake: &Receiver<()>) {
        loop {
            while let Some(end) = self.next_end() {
                if let Err(error) = self.pack(end) {
                    tracing::error!(%error, "packing failed; the segments stay");
                    self.retry_from = self.reader.size().0.saturating_add(self.records);
                }
            }
            if wake.recv().is_err() {
                return;
            }
            while wake.try_recv().is_ok() {}
        }
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

    fn pack(&self, end: u64) -> Result<(), ReadError> {
        let first = self.reader.objects().packed_end();
        let built = self.build(first, end)?;
        let name = pack_name(first);
        // After a crash the pack may be there already, made by another version of the compressor:
        // whatever is there is verified below and counts if it holds the same records.
        match self.reader.store().put_new(&name, &built.slices()) {
            Ok(_) | Err(StoreError::Conflict { .. }) => {}
            // What is read back may be in memory alone.
            Err(error @ StoreError::Fatal { .. }) => return Err(error.into()),
            Err(error) => {
                tracing::warn!(%error, object = %name, "the outcome is unknown; reading back");
            }
        }
        let object = match self.verify(&name, &built) {
            Ok(object) => object,
            Err(error) => {
                self.withdraw(&name, &error);
                return Err(error);
            }
        };
        let retired = self.reader.objects_mut().add_pack(&object.head);
        self.reader.streams_mut().forget_before(object.head.end());
        for segment in retired {
            if let Err(error) = self.reader.store().retire(&segment.name) {
                tracing::warn!(%error, object = %segment.name, "a packed segment could not be removed");
            }
        }
        Ok(())
    }

    /// Removes a pack that is not what was to be written: a later opening would believe its header,
    /// although the segments have the records still.
    fn withdraw(&self, name: &stele_store::ObjectName, error: &ReadError) {
        if !matches!(error, ReadError::Corrupt { .. }) {
            return;
        }
        if let Err(error) = self.reader.store().retire(name) {
            tracing::error!(%error, object = %name, "a damaged pack could not be removed");
        }
    }

    fn build(&self, first: u64, wanted_end: u64) -> Result<Built, ReadError> {
        let mut builder = ObjectBuilder::new(first, PACK_COMPRESSION);
        let mut tables = Tables::new(self.reader.objects().packed_streams.clone());
        let mut times: Vec<TimeRun> = Vec::new();
        let mut next = first;
        while next < wanted_end && (next == first || builder.stored_len() < PACK_BYTES) {
            self.reader.scan_objects(next..next + BLOCK_RECORDS, &mut |object, record| {
                tables.add(object, record)?;
                add(&mut builder, &mut times, object, record)
            })?;
            next += BLOCK_RECORDS;
        }
        let end = next;
        let Content { blocks, parts } = builder.finish();
        let tiles = (first / BLOCK_RECORDS..end / BLOCK_RECORDS)
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

    /// Number and predecessor of the first segment that ends after `end`.
    fn after(&self, end: u64) -> (u64, crate::format::Digest) {
        let objects = self.reader.objects();
        let covered = objects.segments.values().take_while(|s| s.head.end() <= end).last();
        covered.map_or(objects.unpacked, |segment| (segment.head.number + 1, segment.digest))
    }

    /// Reads the pack back and checks every byte of it.
    fn verify(&self, name: &stele_store::ObjectName, built: &Built) -> Result<Object, ReadError> {
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
        let first = object.head.first / BLOCK_RECORDS;
        for (tile, number) in object.head.tiles.iter().zip(first..) {
            if self.reader.node(TILE_LEVELS, number)? != *tile {
                let what = format!("tile {number} is not the one in the tree");
                return Err(ReadError::corrupt(&object.name, None, what));
            }
        }
        Ok(())
    }
}

fn add(
    builder: &mut ObjectBuilder,
    times: &mut Vec<TimeRun>,
    object: &Object,
    record: &StoredRecord,
) -> Result<(), ReadError> {
    let Some(payload) = &record.payload else {
        let what = "a payload under a data key cannot be packed by this version";
        return Err(ReadError::corrupt(&object.name, Some(record.index.0), what));
    };
    let (header, leaf) = (&record.header_bytes, record.leaf_hash);
    builder.push(RecordRef { header, leaf, data_key: 0, payload });
    let time = record.ledger_time;
    match times.last_mut() {
        Some(last) if last.time == time => last.count += 1,
        _ => times.push(TimeRun { count: 1, time }),
    }
    Ok(())
}
