//! Before a ledger is opened for writing: is its last pack one that packing had finished with?
//!
//! Segments are retired only after the pack that replaces them was read back and checked. A crash
//! before that leaves both, and nobody has checked the pack. Here it is checked, and removed if it
//! is not sound: the segments have its records.

use bytes::Bytes;
use stele_store::{ObjectName, Store};

use crate::format::{BLOCK_RECORDS, Role};
use crate::objects::{Object, PACKS, SEGMENTS};
use crate::tree::Tile;
use crate::verify::check_block;
use crate::{LedgerError, ReadError};

/// Checks the last pack if the segments that it replaces are all still there.
pub(crate) fn settle_last_pack(store: &dyn Store) -> Result<(), LedgerError> {
    let packs = store.list(&format!("{PACKS}/"), None)?;
    let Some(pack) = packs.last() else { return Ok(()) };
    let segments = store.list(&format!("{SEGMENTS}/"), None)?;
    if !replaced_are_there(store, pack, &segments) {
        return Ok(());
    }
    match check(store, pack) {
        Ok(next_segment) => {
            let replaced = |name: &&ObjectName| name.number_in(SEGMENTS) < Some(next_segment);
            for segment in segments.iter().filter(replaced) {
                store.retire(segment)?;
            }
            Ok(())
        }
        Err(ReadError::Corrupt { what, .. }) => {
            tracing::error!(object = %pack, what, "a pack that was never finished is removed");
            Ok(store.retire(pack)?)
        }
        Err(error) => Err(error.into()),
    }
}

/// Whether the segments go back to the pack's first record without a hole.
fn replaced_are_there(store: &dyn Store, pack: &ObjectName, segments: &[ObjectName]) -> bool {
    let numbers: Option<Vec<u64>> = segments.iter().map(|s| s.number_in(SEGMENTS)).collect();
    let without_hole =
        |numbers: &Vec<u64>| numbers.windows(2).all(|pair| Some(pair[1]) == pair[0].checked_add(1));
    let (Some(first), Some(_)) = (segments.first(), numbers.filter(without_hole)) else {
        return false;
    };
    Object::load(store, first)
        .is_ok_and(|segment| Some(segment.head.first) <= pack.number_in(PACKS))
}

/// Checks every byte of a pack; gives the number of the first segment after it.
fn check(store: &dyn Store, name: &ObjectName) -> Result<u64, ReadError> {
    let bytes: Bytes = store.read(name)?;
    let object = Object::decode(name, &bytes, bytes.len() as u64)?;
    let corrupt = |what: &str| ReadError::corrupt(name, None, what);
    if object.head.role != Role::Pack || Some(object.head.first) != name.number_in(PACKS) {
        return Err(corrupt("it is not the pack that its name says"));
    }
    let (mut leaves, mut roots, mut sound) = (Vec::new(), Vec::new(), true);
    for block in 0..object.head.blocks.len() {
        let checked = check_block(&object, block, &bytes);
        sound &= checked.faults.is_empty();
        for record in checked.records.iter().flatten() {
            leaves.push(record.leaf_hash);
            if leaves.len() as u64 == BLOCK_RECORDS {
                roots.extend(Tile::of(leaves.drain(..)).1);
            }
        }
    }
    if !sound || roots != object.head.tiles {
        return Err(corrupt("its records are not what was written"));
    }
    Ok(object.head.number)
}
