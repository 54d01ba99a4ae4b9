//! Reading a ledger at open: packs first, then the segments after them.
//!
//! Segments are read whole as far as their headers parts go, and every leaf is hashed again. Of
//! packs only the header is read: their tiles' roots must give the root that was signed. Payloads
//! are checked when they are read, and by `fsck`.

use std::sync::Arc;

use bytes::Bytes;
use stele_merkle::{LogVerifier, TreeSize};
use stele_record::LedgerTime;
use stele_store::{ObjectName, Store, StoreError};

use crate::format::{Digest, Role, decode_headers};
use crate::info::checkpoint_hint;
use crate::objects::{Object, PACKS, SEGMENTS, pack_name, read_headers_part, segment_name};
use crate::reader::Reader;
use crate::writer::enter;
use crate::{LedgerError, ReadError, SignedCheckpoint};

/// How often reading is begun anew because another process was packing meanwhile.
const MOVED_RETRIES: usize = 4;

/// What opening a ledger found.
pub(crate) struct Recovered {
    pub(crate) reader: Reader,
    /// Number and predecessor's digest of the next segment.
    pub(crate) next: (u64, Digest),
    /// Highest epoch of a writer so far.
    pub(crate) writer_epoch: u64,
    pub(crate) last_time: LedgerTime,
}

pub(crate) fn recover(
    store: Arc<dyn Store>,
    origin: String,
    log_info: Digest,
    verifier: &LogVerifier,
) -> Result<Recovered, LedgerError> {
    let mut tries = 0;
    loop {
        let reader = Reader::new(Arc::clone(&store), origin.clone(), log_info);
        // Before the records: a ledger that is open elsewhere goes on meanwhile.
        let hint = read_hint(&reader);
        let packs = store.list(&format!("{PACKS}/"), None)?;
        match read_all(reader, &packs) {
            Err(LedgerError::Store(StoreError::NotFound { .. }) | LedgerError::Corrupt { .. })
                if tries < MOVED_RETRIES && store.list(&format!("{PACKS}/"), None)? != packs =>
            {
                tries += 1;
            }
            Err(error) => return Err(error),
            Ok(recovered) => {
                take_hint(&recovered.reader, hint, verifier)?;
                return Ok(recovered);
            }
        }
    }
}

fn read_all(reader: Reader, packs: &[ObjectName]) -> Result<Recovered, LedgerError> {
    let mut found = Recovered {
        next: (0, [0; 32]),
        reader,
        writer_epoch: 0,
        last_time: LedgerTime::from_unix_ns(i64::MIN),
    };
    for name in packs {
        add_pack(&mut found, name)?;
    }
    found.next = found.reader.objects().unpacked;
    let first = found.next.0;
    let after = first.checked_sub(1).map(segment_name);
    let names = found.reader.store().list(&format!("{SEGMENTS}/"), after.as_ref())?;
    for name in &names {
        if name.number_in(SEGMENTS) != Some(found.next.0) {
            let what = format!("segment {} is missing before this one", found.next.0);
            return Err(ReadError::corrupt(name, None, what).into());
        }
        add_segment(&mut found, name)?;
    }
    Ok(found)
}

fn add_pack(found: &mut Recovered, name: &ObjectName) -> Result<(), LedgerError> {
    let object = Object::load(found.reader.store(), name)?;
    let head = &object.head;
    let corrupt = |what: &str| LedgerError::from(ReadError::corrupt(name, None, what));
    let first = found.reader.objects().packed_end();
    if head.role != Role::Pack || head.first != first || *name != pack_name(first) {
        return Err(corrupt("the pack does not continue the one before"));
    }
    head.tiles.iter().for_each(|tile| found.reader.tree_mut().push_tile(*tile));
    found.check_root(&object)?;
    enter_pack(&found.reader, &object);
    found.reader.objects_mut().add_pack(head);
    if let Some(last) = head.times.last() {
        found.last_time = found.last_time.max(last.time);
    }
    Ok(())
}

fn enter_pack(reader: &Reader, object: &Object) {
    let mut streams = reader.streams_mut();
    for stream in &object.head.streams {
        let id = (object.head.sources[stream.source], stream.boot);
        streams.advance(id, stream.next_seq, stream.head);
    }
    streams.add_secrets(&object.head);
}

fn add_segment(found: &mut Recovered, name: &ObjectName) -> Result<(), LedgerError> {
    let (object, start) = Object::load_start(found.reader.store(), name)?;
    let head = &object.head;
    let corrupt = |what: &str| LedgerError::from(ReadError::corrupt(name, None, what));
    if head.role != Role::Segment || head.number != found.next.0 {
        return Err(corrupt("the segment has another number than its name"));
    }
    if head.previous != found.next.1 {
        return Err(corrupt("the segment does not follow the one before it"));
    }
    let size = found.reader.tree().size();
    let continues = if found.reader.objects().segments.is_empty() {
        head.first <= size && size < head.end()
    } else {
        head.first == size
    };
    if !continues {
        return Err(corrupt("the segment's first index does not continue the log"));
    }
    for (block, entry) in head.blocks.iter().enumerate() {
        let (first, _) = object.place(block);
        let stored = read_headers_part(found.reader.store(), &object, block, &start)?;
        let headers = decode_headers(first, entry, &stored).map_err(|e| {
            let record = e.entry.map(|entry| first + entry as u64);
            ReadError::corrupt(name, record, e.what)
        })?;
        let mut tree = found.reader.tree_mut();
        let new = (first..).zip(&headers.entries).filter(|(index, _)| *index >= size);
        new.for_each(|(_, entry)| tree.push(entry.leaf));
    }
    found.check_root(&object)?;
    found.next = (head.number + 1, object.digest);
    found.writer_epoch = found.writer_epoch.max(head.writer.map_or(0, |writer| writer.epoch));
    if let Some(last) = head.times.last() {
        found.last_time = found.last_time.max(last.time);
    }
    enter(&found.reader, &Arc::new(object));
    Ok(())
}

impl Recovered {
    fn check_root(&self, object: &Object) -> Result<(), LedgerError> {
        let root = stele_merkle::root(TreeSize(object.head.end()), &self.reader)?;
        if root == object.head.root {
            return Ok(());
        }
        let what = "its records do not give the root in its header";
        Err(ReadError::corrupt(&object.name, None, what).into())
    }
}

fn read_hint(reader: &Reader) -> Option<Bytes> {
    match reader.store().read_hint(&checkpoint_hint()) {
        Ok(note) => note,
        Err(error) => {
            tracing::warn!(%error, "the checkpoint beside the log cannot be read");
            None
        }
    }
}

/// Compares the log with the checkpoint stored beside it. A hint may be missing or stale, and one
/// that does not verify says nothing; but one that verifies was signed for records that must be
/// here.
fn take_hint(
    reader: &Reader,
    hint: Option<Bytes>,
    verifier: &LogVerifier,
) -> Result<(), LedgerError> {
    let Some(note) = hint else { return Ok(()) };
    let opened = match verifier.open_signed(&note) {
        Ok(opened) if opened.checkpoint.origin == reader.origin() => opened,
        Ok(_) => {
            tracing::warn!("the checkpoint beside the log is another log's");
            return Ok(());
        }
        Err(error) => {
            tracing::warn!(%error, "the checkpoint beside the log does not verify");
            return Ok(());
        }
    };
    let time = opened.time().unwrap_or(0);
    let checkpoint = opened.checkpoint;
    let corrupt = |what: String| LedgerError::Corrupt {
        object: "hints/checkpoint".to_owned(),
        record: None,
        what,
    };
    let size = reader.tree().size();
    if checkpoint.size.0 > size {
        let signed = checkpoint.size;
        return Err(corrupt(format!("{signed} records were signed, only {size} are here")));
    }
    if stele_merkle::root(checkpoint.size, reader)? != checkpoint.root {
        let signed = checkpoint.size;
        return Err(corrupt(format!("the first {signed} records do not give the signed root")));
    }
    let Ok(note) = String::from_utf8(note.to_vec()) else { return Ok(()) };
    let ns = i64::try_from(time).unwrap_or(i64::MAX).saturating_mul(1_000_000_000);
    reader.set_checkpoint(Some(Arc::new(SignedCheckpoint {
        size: checkpoint.size,
        root: checkpoint.root,
        note,
        time: LedgerTime::from_unix_ns(ns),
    })));
    Ok(())
}
