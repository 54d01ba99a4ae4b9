//! Rows of versions: up to [`ROW_VERSIONS`] consecutive versions of an object, each told by what
//! differs from the one before it.
//!
//! Rows are in the order of the versions and under the order key of their first one; the newest one
//! stands in the row of the life, which everybody reads anyway. Which versions share a row is a
//! function of the order in which they came.

use std::ops::{Bound, Range};

use serde::{Deserialize, Serialize};

use crate::StateError;
use crate::bodies::Place;
use crate::life::LifeRow;
use crate::query::{Cursor, Verb};
use crate::rv::{Rank, order_key};
use crate::table::Table;
use crate::tables::{VersionRow, row, unrow};

/// Most versions in a row.
const ROW_VERSIONS: usize = 16;

/// A row: its key's bytes, and its versions.
type Row = (Vec<u8>, Vec<VersionRow>);
/// (object, order key of the row's first version) → versions.
type Rows = Table<(u64, &'static [u8]), &'static [u8]>;

/// A version, less what it has in common with the one before it in its row; the first one is told
/// from one that all first ones could follow.
#[derive(Serialize, Deserialize)]
struct Packed {
    /// The verb, the basis of the time from [`BASIS_BIT`] on, and [`REDACTED`].
    state: u8,
    index: i64,
    /// Difference of the resource versions, where both are numbers.
    rv: i64,
    time: i64,
    /// Differences of the places of their bodies.
    chunk: i64,
    at: i64,
    more: Option<More>,
}

/// What is rarely another than expected.
#[derive(Default, PartialEq, Serialize, Deserialize)]
struct More {
    /// Difference of the numbers, less one.
    number: i32,
    ordinal: u32,
    /// What is left out is as before.
    source: Option<u32>,
    /// Where there is no difference.
    rv: Option<String>,
    after_rv: Option<String>,
    version: Option<String>,
}

const BASIS_BIT: u8 = 4;
const VERB_MASK: u8 = (1 << BASIS_BIT) - 1;
const REDACTED: u8 = 128;
/// API version of most objects.
const VERSION: &str = "v1";

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

    /// Before the first version of a row.
    fn nothing() -> Self {
        Self { number: u32::MAX, version: VERSION.to_owned(), ..Self::default() }
    }

    fn pack(&self, before: &Self) -> Packed {
        let rv = number(&self.rv)
            .zip(number(&before.rv).or(before.rv.is_empty().then_some(0)))
            .map(|(own, before)| own - before);
        let signed = |own: u64, before: u64| own.wrapping_sub(before).cast_signed();
        let more = More {
            number: self.number.wrapping_sub(before.number.wrapping_add(1)).cast_signed(),
            ordinal: self.ordinal,
            source: (self.source != before.source).then_some(self.source),
            rv: rv.is_none().then(|| self.rv.clone()),
            after_rv: self.after_rv.clone(),
            version: (self.version != before.version).then(|| self.version.clone()),
        };
        let redacted = if self.redacted { REDACTED } else { 0 };
        Packed {
            state: self.verb | self.basis << BASIS_BIT | redacted,
            index: signed(self.index, before.index),
            rv: rv.unwrap_or(0),
            time: self.time.wrapping_sub(before.time),
            chunk: signed(self.body.chunk, before.body.chunk),
            at: i64::from(self.body.at) - i64::from(before.body.at),
            more: (more != More::default()).then_some(more),
        }
    }

    fn unpack(packed: Packed, before: &Self) -> Result<Self, StateError> {
        let more = packed.more.unwrap_or_default();
        let rv = match more.rv {
            Some(text) => text,
            None => {
                let before = number(&before.rv).unwrap_or(0);
                before.checked_add(packed.rv).ok_or_else(damaged)?.to_string()
            }
        };
        Ok(Self {
            verb: packed.state & VERB_MASK,
            rv,
            after_rv: more.after_rv,
            index: before.index.wrapping_add_signed(packed.index),
            ordinal: more.ordinal,
            time: before.time.wrapping_add(packed.time),
            basis: (packed.state & !REDACTED) >> BASIS_BIT,
            redacted: packed.state & REDACTED != 0,
            number: before.number.wrapping_add(1).wrapping_add_signed(more.number),
            body: Place {
                chunk: before.body.chunk.wrapping_add_signed(packed.chunk),
                at: u32::try_from(i64::from(before.body.at).wrapping_add(packed.at))
                    .map_err(|_| damaged())?,
            },
            source: more.source.unwrap_or(before.source),
            version: more.version.unwrap_or_else(|| before.version.clone()),
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

/// The bytes of a row.
pub(crate) fn pack(versions: &[VersionRow]) -> Vec<u8> {
    let nothing = VersionRow::nothing();
    let before = std::iter::once(&nothing).chain(versions);
    let packed: Vec<Packed> =
        versions.iter().zip(before).map(|(v, before)| v.pack(before)).collect();
    row(&packed)
}

/// Reads a row.
pub(crate) fn unpack(bytes: &[u8]) -> Result<Vec<VersionRow>, StateError> {
    let packed: Vec<Packed> = unrow(bytes)?;
    let mut versions: Vec<VersionRow> = Vec::with_capacity(packed.len());
    let nothing = VersionRow::nothing();
    for packed in packed {
        let version = VersionRow::unpack(packed, versions.last().unwrap_or(&nothing))?;
        versions.push(version);
    }
    Ok(versions)
}

fn all_of(object: u64) -> Range<(u64, &'static [u8])> {
    (object, [].as_slice())..(object + 1, [].as_slice())
}

/// The row before the newest one in which a version with this order key is, or belongs.
fn row_at(rows: &Rows, object: u64, order: &[u8]) -> Result<Option<Row>, StateError> {
    let below = rows.range((object, [].as_slice())..=(object, order)).next_back();
    let found = match below {
        Some(found) => Some(found),
        None => rows.range(all_of(object)).next(),
    };
    let Some((key, value)) = found.transpose()? else { return Ok(None) };
    Ok(Some((key.value().1.to_vec(), unpack(value.value())?)))
}

/// The versions of one object.
#[derive(Clone, Copy)]
pub(crate) struct Versions<'a> {
    pub(crate) rows: &'a Rows,
    pub(crate) object: u64,
    pub(crate) life: &'a LifeRow,
}

impl Versions<'_> {
    /// All of them, in their order.
    pub(crate) fn all(&self) -> Result<Vec<VersionRow>, StateError> {
        let mut versions = Vec::new();
        if self.has_rows() {
            for entry in self.rows.range(all_of(self.object)) {
                versions.append(&mut unpack(entry?.1.value())?);
            }
        }
        versions.extend_from_slice(&self.life.newest);
        Ok(versions)
    }

    /// Whether there are others than those that the life has.
    fn has_rows(&self) -> bool {
        self.life.newest.len() < self.life.versions as usize
    }

    /// Whether a version with this order key is among those that the life has, if it is any.
    fn is_newest(&self, order: &[u8]) -> bool {
        !self.has_rows() || self.life.newest.first().is_some_and(|first| *first.order() <= *order)
    }

    /// The first version, from the newest in order on, of which `wanted` says so.
    pub(crate) fn last_where(
        &self,
        wanted: impl FnMut(&VersionRow) -> bool,
    ) -> Result<Option<VersionRow>, StateError> {
        self.last_in(all_of(self.object), wanted)
    }

    /// As [`Versions::last_where`], of the versions before an order key.
    pub(crate) fn last_before(
        &self,
        order: &[u8],
        mut wanted: impl FnMut(&VersionRow) -> bool,
    ) -> Result<Option<VersionRow>, StateError> {
        let range = (self.object, [].as_slice())..(self.object, order);
        self.last_in(range, |version| version.order().as_slice() < order && wanted(version))
    }

    fn last_in(
        &self,
        range: Range<(u64, &[u8])>,
        mut wanted: impl FnMut(&VersionRow) -> bool,
    ) -> Result<Option<VersionRow>, StateError> {
        let found = self.life.newest.iter().rev().find(|version| wanted(version));
        if found.is_some() || !self.has_rows() {
            return Ok(found.cloned());
        }
        for entry in self.rows.range(range).rev() {
            let found = unpack(entry?.1.value())?.into_iter().rev().find(&mut wanted);
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// The version with this order key.
    pub(crate) fn get(&self, order: &[u8]) -> Result<Option<VersionRow>, StateError> {
        let is_it = |version: &VersionRow| version.order() == order;
        if self.is_newest(order) {
            return Ok(self.life.newest.iter().find(|version| is_it(version)).cloned());
        }
        let row = row_at(self.rows, self.object, order)?;
        Ok(row.and_then(|(_, versions)| versions.into_iter().find(is_it)))
    }

    /// The first version behind an order key.
    pub(crate) fn next(&self, order: &[u8]) -> Result<Option<VersionRow>, StateError> {
        let is_behind = |version: &VersionRow| *version.order() > *order;
        if !self.is_newest(order) {
            let row = row_at(self.rows, self.object, order)?;
            let behind = row.and_then(|(_, versions)| versions.into_iter().find(is_behind));
            if behind.is_some() {
                return Ok(behind);
            }
            let after = (self.object, order);
            let end = (self.object + 1, [].as_slice());
            let range = (Bound::Excluded(after), Bound::Excluded(end));
            if let Some(entry) = self.rows.range(range).next() {
                return Ok(unpack(entry?.1.value())?.into_iter().find(is_behind));
            }
        }
        Ok(self.life.newest.iter().find(|version| is_behind(version)).cloned())
    }
}

/// Puts a version among others at its place; one with the same order key is replaced. Gives the
/// place.
fn place(versions: &mut Vec<VersionRow>, version: VersionRow, order: &[u8]) -> usize {
    let at = versions.iter().rposition(|v| *v.order() <= *order).map_or(0, |at| at + 1);
    if at > 0 && *versions[at - 1].order() == *order {
        versions[at - 1] = version;
        return at - 1;
    }
    versions.insert(at, version);
    at
}

/// Adds a version, which the life does not count yet; one with the same order key is replaced.
pub(crate) fn put(
    rows: &mut Rows,
    object: u64,
    life: &mut LifeRow,
    version: VersionRow,
) -> Result<(), StateError> {
    let order = version.order();
    if !(Versions { rows, object, life }).is_newest(&order) {
        return put_below(rows, object, version, &order);
    }
    let versions = &mut life.newest;
    let at = place(versions, version, &order);
    if versions.len() > ROW_VERSIONS {
        // Rows that are appended to stay full.
        let middle = if at == ROW_VERSIONS { at } else { ROW_VERSIONS / 2 };
        let newest = versions.split_off(middle);
        let full = std::mem::replace(versions, newest);
        rows.insert((object, full[0].order().as_slice()), pack(&full).as_slice());
    }
    Ok(())
}

/// Adds a version that comes before those that the life has.
fn put_below(
    rows: &mut Rows,
    object: u64,
    version: VersionRow,
    order: &[u8],
) -> Result<(), StateError> {
    let Some((first, mut versions)) = row_at(rows, object, order)? else {
        rows.insert((object, order), pack(&[version]).as_slice());
        return Ok(());
    };
    rows.remove((object, first.as_slice()));
    place(&mut versions, version, order);
    let middle = if versions.len() > ROW_VERSIONS { ROW_VERSIONS / 2 } else { versions.len() };
    let rest = versions.split_off(middle);
    for versions in [versions, rest].iter().filter(|versions| !versions.is_empty()) {
        let first = versions[0].order();
        rows.insert((object, first.as_slice()), pack(versions).as_slice());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::State;

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
            body: Place { chunk: seed % 9, at: (seed % 4) as u32 },
            source: (seed % 2) as u32,
            version: if seed.is_multiple_of(11) { "v1beta1" } else { "v1" }.to_owned(),
        }
    }

    #[test]
    fn rows_hold_what_a_sorted_map_holds() {
        let state = State::temporary().unwrap();
        let (mut model, mut seed) = (BTreeMap::new(), 1_u64);
        let mut lives: BTreeMap<u64, LifeRow> = BTreeMap::new();
        let mut tables = state.tables();
        for number in 0..500 {
            // Some rows are in the engine, and some are not.
            if number == 300 {
                state.commit(tables).unwrap();
                tables = state.tables();
            }
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let version = version(seed >> 33, number);
            for object in [6, 7, 8] {
                let life = lives.entry(object).or_default();
                put(&mut tables.versions, object, life, version.clone()).unwrap();
                life.versions = number + 1;
            }
            model.insert(version.order(), version);
            let life = LifeRow::unpack(&lives[&7].pack()).unwrap();
            assert_eq!(life, lives[&7]);
            if number % 100 == 7 {
                holds(&tables.versions, &life, &model);
            }
        }
        state.commit(tables).unwrap();
        holds(&state.tables().versions, &lives[&7], &model);
        assert!(state.tables().versions.iter().count() > 3 * 10);
    }

    fn holds(rows: &Rows, life: &LifeRow, model: &BTreeMap<Vec<u8>, VersionRow>) {
        let versions = Versions { rows, object: 7, life };
        let wanted: Vec<VersionRow> = model.values().cloned().collect();
        assert_eq!(versions.all().unwrap(), wanted);
        for (order, version) in model {
            assert_eq!(versions.get(order).unwrap().as_ref(), Some(version));
            let behind = (Bound::Excluded(order.clone()), Bound::Unbounded);
            let behind = model.range(behind).next();
            assert_eq!(versions.next(order).unwrap().as_ref(), behind.map(|(_, v)| v));
            let before = model.range(..order.clone()).rev();
            let before = before.map(|(_, v)| v).find(|v| v.index % 2 == 0);
            let found = versions.last_before(order, |v| v.index % 2 == 0).unwrap();
            assert_eq!(found.as_ref(), before);
        }
        for limit in [0, 100, 500, 999] {
            let last = model.values().rev().find(|v| v.index <= limit).cloned();
            assert_eq!(versions.last_where(|v| v.index <= limit).unwrap(), last);
        }
        assert_eq!(versions.get(b"none").unwrap(), None);
    }
}
