//! Rows of versions: up to [`ROW_VERSIONS`] consecutive versions of an object, each told by what
//! differs from the one before it.
//!
//! Rows are in the order of the versions and under the order key of their first one. Which versions
//! share a row is a function of the order in which they came.

use std::ops::{Bound, Range};

use minicbor::{Decode, Encode};
use redb::{ReadableTable, Table};

use crate::StateError;
use crate::query::{Cursor, Verb};
use crate::rv::{Rank, order_key};
use crate::tables::{VersionRow, row, unrow};

/// Most versions in a row.
const ROW_VERSIONS: usize = 16;

/// A row: its key's bytes, and its versions.
type Row = (Vec<u8>, Vec<VersionRow>);
type Key = (u64, &'static [u8]);
type Value = &'static [u8];

/// A version, less what it has in common with the one before it in its row; the first one is told
/// from nothing.
#[derive(Encode, Decode)]
#[cbor(array)]
struct Packed {
    #[n(0)]
    verb: u8,
    /// Difference of the resource versions, where both are numbers.
    #[n(1)]
    rv: Option<i64>,
    #[n(2)]
    index: i64,
    #[n(3)]
    time: i64,
    /// Difference of the numbers, less one.
    #[n(4)]
    number: i64,
    /// How many versions ago its body came.
    #[n(5)]
    body: u32,
    #[n(6)]
    ordinal: u32,
    /// Basis of the time; 128 is added if values were redacted.
    #[n(7)]
    flags: u8,
    /// What is left out is as before.
    #[n(8)]
    source: Option<u32>,
    #[n(9)]
    rv_text: Option<String>,
    #[n(10)]
    after_rv: Option<String>,
    #[n(11)]
    version: Option<String>,
}

const REDACTED: u8 = 128;

impl VersionRow {
    /// What sorts it among the versions of its object.
    pub(crate) fn order(&self) -> Vec<u8> {
        let rank = match Verb::from_code(self.verb) {
            Verb::Deleted => Rank::Deleted,
            Verb::Vanished | Verb::Replaced => Rank::Gone,
            Verb::Listed | Verb::Added | Verb::Modified => Rank::Body,
        };
        order_key(&self.rv, self.number, rank)
    }

    /// Where it stands in the log.
    pub(crate) fn place(&self) -> Cursor {
        Cursor { index: self.index, ordinal: self.ordinal }
    }

    fn pack(&self, before: &Self) -> Packed {
        let rv = number(&self.rv)
            .zip(number(&before.rv).or((before.rv.is_empty()).then_some(0)))
            .map(|(own, before)| own - before);
        let signed = |own: u64, before: u64| own.wrapping_sub(before).cast_signed();
        Packed {
            verb: self.verb,
            rv,
            index: signed(self.index, before.index),
            time: self.time.wrapping_sub(before.time),
            number: i64::from(self.number) - i64::from(before.number) - 1,
            body: self.number - self.body,
            ordinal: self.ordinal,
            flags: self.basis | if self.redacted { REDACTED } else { 0 },
            source: (self.source != before.source).then_some(self.source),
            rv_text: rv.is_none().then(|| self.rv.clone()),
            after_rv: self.after_rv.clone(),
            version: (self.version != before.version).then(|| self.version.clone()),
        }
    }

    fn unpack(packed: Packed, before: &Self) -> Result<Self, StateError> {
        let rv = match (packed.rv_text, packed.rv) {
            (Some(text), _) => text,
            (None, Some(difference)) => {
                let before = number(&before.rv).unwrap_or(0);
                before.checked_add(difference).ok_or_else(damaged)?.to_string()
            }
            (None, None) => return Err(damaged()),
        };
        let number = i64::from(before.number).wrapping_add(packed.number).wrapping_add(1);
        let number = u32::try_from(number).map_err(|_| damaged())?;
        Ok(Self {
            verb: packed.verb,
            rv,
            after_rv: packed.after_rv,
            index: before.index.wrapping_add_signed(packed.index),
            ordinal: packed.ordinal,
            time: before.time.wrapping_add(packed.time),
            basis: packed.flags & !REDACTED,
            redacted: packed.flags & REDACTED != 0,
            number,
            body: number.checked_sub(packed.body).ok_or_else(damaged)?,
            source: packed.source.unwrap_or(before.source),
            version: packed.version.unwrap_or_else(|| before.version.clone()),
        })
    }
}

/// A resource version as a number, if it is one that comes back the same from it.
fn number(rv: &str) -> Option<i64> {
    crate::rv::is_ordered(rv).then(|| rv.parse().ok())?
}

fn damaged() -> StateError {
    StateError::Damaged("a row of versions cannot be read".to_owned())
}

fn pack(versions: &[VersionRow]) -> Vec<u8> {
    let nothing = VersionRow::default();
    let before = std::iter::once(&nothing).chain(versions);
    let packed: Vec<Packed> =
        versions.iter().zip(before).map(|(v, before)| v.pack(before)).collect();
    row(&packed)
}

fn unpack(bytes: &[u8]) -> Result<Vec<VersionRow>, StateError> {
    let packed: Vec<Packed> = unrow(bytes)?;
    let mut versions: Vec<VersionRow> = Vec::with_capacity(packed.len());
    for packed in packed {
        let nothing = VersionRow::default();
        let version = VersionRow::unpack(packed, versions.last().unwrap_or(&nothing))?;
        versions.push(version);
    }
    Ok(versions)
}

fn all_of(object: u64) -> Range<(u64, &'static [u8])> {
    (object, [].as_slice())..(object + 1, [].as_slice())
}

/// The row in which a version with this order key is, or belongs.
fn row_at(
    table: &impl ReadableTable<Key, Value>,
    object: u64,
    order: &[u8],
) -> Result<Option<Row>, StateError> {
    let below = table.range((object, [].as_slice())..=(object, order))?.next_back();
    let found = match below {
        Some(found) => Some(found),
        None => table.range(all_of(object))?.next(),
    };
    let Some((key, value)) = found.transpose()? else { return Ok(None) };
    Ok(Some((key.value().1.to_vec(), unpack(value.value())?)))
}

/// All versions of an object, in their order.
pub(crate) fn all(
    table: &impl ReadableTable<Key, Value>,
    object: u64,
) -> Result<Vec<VersionRow>, StateError> {
    let mut versions = Vec::new();
    for entry in table.range(all_of(object))? {
        versions.append(&mut unpack(entry?.1.value())?);
    }
    Ok(versions)
}

/// The first version, from the newest in order on, of which `wanted` says so.
pub(crate) fn last_where(
    table: &impl ReadableTable<Key, Value>,
    object: u64,
    wanted: impl FnMut(&VersionRow) -> bool,
) -> Result<Option<VersionRow>, StateError> {
    last_in(table, all_of(object), wanted)
}

/// As [`last_where`], of the versions before an order key.
pub(crate) fn last_before(
    table: &impl ReadableTable<Key, Value>,
    object: u64,
    order: &[u8],
    mut wanted: impl FnMut(&VersionRow) -> bool,
) -> Result<Option<VersionRow>, StateError> {
    let range = (object, [].as_slice())..(object, order);
    last_in(table, range, |version| version.order().as_slice() < order && wanted(version))
}

fn last_in(
    table: &impl ReadableTable<Key, Value>,
    range: Range<(u64, &[u8])>,
    mut wanted: impl FnMut(&VersionRow) -> bool,
) -> Result<Option<VersionRow>, StateError> {
    for entry in table.range(range)?.rev() {
        let found = unpack(entry?.1.value())?.into_iter().rev().find(&mut wanted);
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

/// The version with this order key.
pub(crate) fn get(
    table: &impl ReadableTable<Key, Value>,
    object: u64,
    order: &[u8],
) -> Result<Option<VersionRow>, StateError> {
    let row = row_at(table, object, order)?;
    Ok(row.and_then(|(_, versions)| versions.into_iter().find(|v| v.order() == order)))
}

/// The first version behind an order key.
pub(crate) fn next(
    table: &impl ReadableTable<Key, Value>,
    object: u64,
    order: &[u8],
) -> Result<Option<VersionRow>, StateError> {
    let behind = |versions: Vec<VersionRow>| versions.into_iter().find(|v| *v.order() > *order);
    if let Some(found) = row_at(table, object, order)?.and_then(|(_, versions)| behind(versions)) {
        return Ok(Some(found));
    }
    let range = (Bound::Excluded((object, order)), Bound::Excluded((object + 1, [].as_slice())));
    let Some(entry) = table.range(range)?.next() else { return Ok(None) };
    Ok(behind(unpack(entry?.1.value())?))
}

/// Adds a version; one with the same order key is replaced.
pub(crate) fn put(
    table: &mut Table<'_, Key, Value>,
    object: u64,
    version: VersionRow,
) -> Result<(), StateError> {
    let order = version.order();
    let Some((first, mut versions)) = row_at(&*table, object, &order)? else {
        table.insert((object, order.as_slice()), pack(&[version]).as_slice())?;
        return Ok(());
    };
    let at = versions.iter().rposition(|v| v.order() <= order).map_or(0, |at| at + 1);
    if at > 0 && versions[at - 1].order() == order {
        versions[at - 1] = version;
        table.insert((object, first.as_slice()), pack(&versions).as_slice())?;
        return Ok(());
    }
    if at == versions.len() && at >= ROW_VERSIONS {
        // Rows that are appended to stay full.
        table.insert((object, order.as_slice()), pack(&[version]).as_slice())?;
        return Ok(());
    }
    versions.insert(at, version);
    let rest = if versions.len() > ROW_VERSIONS {
        versions.split_off(ROW_VERSIONS / 2)
    } else {
        Vec::new()
    };
    if at == 0 {
        table.remove((object, first.as_slice()))?;
    }
    for versions in [versions, rest].iter().filter(|versions| !versions.is_empty()) {
        let first = versions[0].order();
        table.insert((object, first.as_slice()), pack(versions).as_slice())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use redb::{Database, ReadableDatabase, TableDefinition, backends::InMemoryBackend};

    use super::*;

    const TABLE: TableDefinition<'_, Key, Value> = TableDefinition::new("versions");

    fn version(seed: u64, number: u32) -> VersionRow {
        let rv = match seed % 5 {
            0 => format!("x{seed}"),
            1 => format!("{}", u128::from(seed) << 70),
            _ => (1_000 + seed % 300).to_string(),
        };
        VersionRow {
            verb: (seed % 6) as u8,
            rv,
            after_rv: seed.is_multiple_of(7).then(|| "12".to_owned()),
            index: seed % 1_000,
            ordinal: (seed % 3) as u32,
            time: (seed as i64).wrapping_mul(-77),
            basis: (seed % 2) as u8,
            redacted: seed.is_multiple_of(3),
            number,
            body: number - (seed % 2) as u32 * number.min(1),
            source: (seed % 2) as u32,
            version: if seed.is_multiple_of(11) { "v1beta1" } else { "v1" }.to_owned(),
        }
    }

    #[test]
    fn rows_hold_what_a_sorted_map_holds() {
        let db = Database::builder().create_with_backend(InMemoryBackend::new()).unwrap();
        let mut model = std::collections::BTreeMap::new();
        let mut seed = 1_u64;
        let txn = db.begin_write().unwrap();
        let mut table = txn.open_table(TABLE).unwrap();
        for number in 0..500 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let version = version(seed >> 33, number);
            for other in [6, 8] {
                put(&mut table, other, version.clone()).unwrap();
            }
            put(&mut table, 7, version.clone()).unwrap();
            model.insert(version.order(), version);
        }
        drop(table);
        txn.commit().unwrap();
        let table = db.begin_read().unwrap().open_table(TABLE).unwrap();
        let wanted: Vec<VersionRow> = model.values().cloned().collect();
        assert_eq!(all(&table, 7).unwrap(), wanted);
        for (order, version) in &model {
            assert_eq!(get(&table, 7, order).unwrap().as_ref(), Some(version));
            let behind = (Bound::Excluded(order.clone()), Bound::Unbounded);
            let behind = model.range(behind).next();
            assert_eq!(next(&table, 7, order).unwrap().as_ref(), behind.map(|(_, v)| v));
        }
        for limit in [0, 100, 500, 999] {
            let last = model.values().rev().find(|v| v.index <= limit).cloned();
            assert_eq!(last_where(&table, 7, |v| v.index <= limit).unwrap(), last);
        }
        assert_eq!(get(&table, 9, &wanted[0].order()).unwrap(), None);
    }
}
