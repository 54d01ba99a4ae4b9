//! Reading a ledger at open: packs first, then the segments after them, then whatever came while
//! those were read.
//!
//! Payloads are checked when they are read, and by `fsck`.

use std::sync::Arc;

use bytes::Bytes;
use stele_merkle::LogVerifier;
use stele_record::LedgerTime;
use stele_store::{ObjectName, Store, StoreError};

use crate::format::Digest;
use crate::info::checkpoint_hint;
use crate::objects::{PACKS, SEGMENTS, segment_name};
use crate::reader::Reader;
use crate::settle::{Access, settle_last_pack};
use crate::tail::Tail;
use crate::{LedgerError, ReadError, SignedCheckpoint};

/// How often reading is begun anew because another process was packing meanwhile.
const MOVED_RETRIES: usize = 4;

pub(crate) fn recover(
    store: Arc<dyn Store>,
    origin: String,
    log_info: Digest,
    verifier: &LogVerifier,
    access: Access,
) -> Result<Tail, LedgerError> {
    let mut tries = 0;
    loop {
        let reader = Reader::new(Arc::clone(&store), origin.clone(), log_info);
        // Before the records: a ledger that is open elsewhere goes on meanwhile.
        let hint = read_hint(&reader);
        let packs = store.list(&format!("{PACKS}/"), None)?;
        let read = read_all(reader, &packs, access);
        // What was read while packs were made may be numbers that were used again: see `tail`.
        let moved = tries < MOVED_RETRIES && store.list(&format!("{PACKS}/"), None)? != packs;
        match read {
            Ok(_)
            | Err(LedgerError::Store(StoreError::NotFound { .. }) | LedgerError::Corrupt { .. })
                if moved =>
            {
                tries += 1;
            }
            Err(error) => return Err(error),
            Ok(tail) => {
                tail.reader.publish_size(tail.reader.tree().size());
                let verifier = tail.reader.following(verifier)?;
                take_hint(&tail.reader, hint, &verifier)?;
                return Ok(tail);
            }
        }
    }
}

fn read_all(reader: Reader, packs: &[ObjectName], access: Access) -> Result<Tail, LedgerError> {
    let unsound = settle_last_pack(reader.store(), packs, access)?;
    let mut tail = Tail::new(reader);
    for name in packs.iter().filter(|name| unsound.as_ref() != Some(*name)) {
        tail.add_pack(name)?;
    }
    tail.unsound = unsound;
    tail.advance()?;
    tail.unsound = None;
    // What is asked for by name is never behind, as a list may be; but a list shows what is missing.
    let last = tail.next.0.checked_sub(1).map(segment_name);
    let after = tail.reader.store().list(&format!("{SEGMENTS}/"), last.as_ref())?;
    match after.first() {
        Some(name) if name.number_in(SEGMENTS) != Some(tail.next.0) => {
            let what = format!("segment {} is missing before this one", tail.next.0);
            Err(ReadError::corrupt(name, None, what).into())
        }
        Some(_) => Ok(tail.advance().map(|()| tail)?),
        None => Ok(tail),
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
