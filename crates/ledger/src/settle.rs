//! Is the last pack one that packing had finished with?
//!
//! Segments are retired only after the pack that replaces them was read back and checked. A crash
//! before that leaves both, and nobody may have checked the pack. Here it is: if it is sound, the
//! segments go; if it is not, it is passed over, and the segments have its records.
//!
//! A pack is never removed, not even one that is damaged: another process may have read it
//! correctly, and retired the segments on the strength of that.

use stele_merkle::Hash;
use stele_store::{ObjectName, Store, StoreError};

use crate::format::Role;
use crate::objects::{Object, PACKS, SEGMENTS, segment_name};
use crate::tree::{TILE_LEAVES, Tile};
use crate::verify::check_block;
use crate::{LedgerError, ReadError};

/// What a ledger is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Nothing may be changed.
    Reading,
    /// What a crash has left undone is done.
    Writing,
}

/// The last of `packs`, if the segments that it replaces are all still there and it is not sound. If
/// it is sound, whoever writes retires those segments.
pub(crate) fn settle_last_pack(
    store: &dyn Store,
    packs: &[ObjectName],
    access: Access,
) -> Result<Option<ObjectName>, LedgerError> {
    let Some((pack, segments)) = unsettled(store, packs)? else { return Ok(None) };
    let object = match check_pack(store, pack) {
        Ok((object, _)) => object,
        Err(ReadError::Corrupt { what, .. }) => {
            tracing::error!(object = %pack, what, "a pack that was never finished is passed over");
            return Ok(Some(pack.clone()));
        }
        Err(error) => return Err(error.into()),
    };
    if access == Access::Writing {
        // Whoever made it may have died before its name was durable.
        store.make_durable(pack)?;
        let replaced = |name: &&ObjectName| name.number_in(SEGMENTS) < Some(object.head.number);
        for segment in segments.iter().filter(replaced) {
            store.retire(segment)?;
        }
    }
    Ok(None)
}

/// The last pack and all segments, if the segments go back to the pack's first record without a
/// hole and are those that it was made of.
fn unsettled<'a>(
    store: &dyn Store,
    packs: &'a [ObjectName],
) -> Result<Option<(&'a ObjectName, Vec<ObjectName>)>, LedgerError> {
    let Some(pack) = packs.last() else { return Ok(None) };
    let segments = store.list(&format!("{SEGMENTS}/"), None)?;
    let numbers: Option<Vec<u64>> = segments.iter().map(|s| s.number_in(SEGMENTS)).collect();
    let without_hole =
        |numbers: &Vec<u64>| numbers.windows(2).all(|pair| Some(pair[1]) == pair[0].checked_add(1));
    let (Some(first), Some(_)) = (segments.first(), numbers.filter(without_hole)) else {
        return Ok(None);
    };
    // A segment that is damaged is not the one that the pack was made of; one that cannot be read
    // leaves the question open, and a pack that nobody has checked must not be believed then.
    let loaded = |name: &ObjectName| match Object::load(store, name) {
        Ok(object) => Ok(Some(object)),
        Err(ReadError::Corrupt { .. } | ReadError::Store(StoreError::NotFound { .. })) => Ok(None),
        Err(error) => Err(error),
    };
    let begins =
        loaded(first)?.is_some_and(|segment| Some(segment.head.first) <= pack.number_in(PACKS));
    // A writer that was asleep may have used a retired number again: see `tail`.
    let made_of = loaded(pack)?.and_then(|pack| Some((pack.head.number.checked_sub(1)?, pack)));
    let all = begins
        && match made_of {
            Some((last, pack)) => loaded(&segment_name(last))?
                .is_some_and(|segment| segment.digest == pack.head.previous),
            None => true,
        };
    Ok(all.then_some((pack, segments)))
}

/// Checks every byte of a pack; gives its leaves.
pub(crate) fn check_pack(
    store: &dyn Store,
    name: &ObjectName,
) -> Result<(Object, Vec<Hash>), ReadError> {
    let bytes = store.read(name)?;
    let object = Object::decode(name, &bytes, bytes.len() as u64)?;
    let corrupt = |what: &str| ReadError::corrupt(name, None, what);
    if object.head.role != Role::Pack || Some(object.head.first) != name.number_in(PACKS) {
        return Err(corrupt("it is not the pack that its name says"));
    }
    let (mut leaves, mut sound) = (Vec::new(), true);
    for block in 0..object.head.blocks.len() {
        let checked = check_block(&object, block, &bytes);
        sound &= checked.faults.is_empty();
        leaves.extend(checked.records.iter().flatten().map(|record| record.leaf_hash));
    }
    let tiles = leaves.chunks(TILE_LEAVES as usize);
    let roots: Vec<Hash> = tiles.filter_map(|tile| Tile::of(tile.iter().copied()).1).collect();
    if !sound || roots != object.head.tiles {
        return Err(corrupt("its records are not what was written"));
    }
    Ok((object, leaves))
}
