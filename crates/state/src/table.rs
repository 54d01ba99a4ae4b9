//! A typed table: rows of a snapshot of the engine, and over them the rows that one batch has
//! written so far.
//!
//! What a batch wrote is seen by it alone until all of it is committed at once.

use std::borrow::Borrow;
use std::collections::{BTreeMap, btree_map};
use std::marker::PhantomData;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

use fjall::{Iter, Keyspace, OwnedWriteBatch, Readable, Snapshot, UserKey, UserValue};

use crate::StateError;
use crate::key::{Held, Part, bytes_of};

/// Rows of all tables at a time, by where they are.
#[derive(Clone)]
pub(crate) struct Space {
    pub(crate) keyspace: Keyspace,
    pub(crate) snapshot: Arc<Snapshot>,
}

/// Longest key of the engine, which ends whoever brings a longer one. None that is written comes near
/// (`fold::reading`), so what is asked for may be cut off there: it is not found either way.
const KEY_BYTES_MAX: usize = 65_535;

/// What a batch wrote under a key; `None`: it removed it.
type Written = Option<UserValue>;

/// See the module.
pub(crate) struct Table<K, V> {
    /// First byte of its keys.
    id: u8,
    space: Space,
    written: BTreeMap<Vec<u8>, Written>,
    of: PhantomData<fn() -> (K, V)>,
}

impl<K: Part, V: Part> Table<K, V> {
    pub(crate) fn new(id: u8, space: &Space) -> Self {
        Self { id, space: space.clone(), written: BTreeMap::new(), of: PhantomData }
    }

    fn key(&self, key: &K::View<'_>) -> Vec<u8> {
        let mut bytes = vec![self.id];
        K::put(key, &mut bytes, true);
        bytes
    }

    /// A key to look for.
    fn wanted(&self, key: &K::View<'_>) -> Vec<u8> {
        let mut bytes = self.key(key);
        bytes.truncate(KEY_BYTES_MAX);
        bytes
    }

    /// The value under a key.
    pub(crate) fn get<'k>(
        &self,
        key: impl Borrow<K::View<'k>>,
    ) -> Result<Option<Held<V>>, StateError> {
        let key = self.wanted(key.borrow());
        let found = match self.written.get(&key) {
            Some(written) => written.clone(),
            None => self.space.snapshot.get(&self.space.keyspace, &key)?,
        };
        found.map(|value| Held::read(&value).ok_or_else(|| damaged(self.id))).transpose()
    }

    /// Writes a row, over the one under the same key.
    pub(crate) fn insert<'k, 'v>(
        &mut self,
        key: impl Borrow<K::View<'k>>,
        value: impl Borrow<V::View<'v>>,
    ) {
        let value = bytes_of::<V>(value.borrow());
        self.written.insert(self.key(key.borrow()), Some(value.into()));
    }

    /// Removes a row.
    pub(crate) fn remove<'k>(&mut self, key: impl Borrow<K::View<'k>>) {
        self.written.insert(self.key(key.borrow()), None);
    }

    /// Rows within a range of keys, in order.
    pub(crate) fn range<'k, B: Borrow<K::View<'k>>>(
        &self,
        range: impl RangeBounds<B>,
    ) -> Rows<'_, K, V> {
        let bound = |bound: Bound<&B>| bound.map(|key| self.wanted(key.borrow()));
        let from = match bound(range.start_bound()) {
            Bound::Unbounded => Bound::Included(vec![self.id]),
            bound => bound,
        };
        let to = match bound(range.end_bound()) {
            Bound::Unbounded => Bound::Excluded(vec![self.id + 1]),
            bound => bound,
        };
        Rows::new(self, (from, to))
    }

    /// All rows, in order.
    pub(crate) fn iter(&self) -> Rows<'_, K, V> {
        self.range::<K::View<'_>>(..)
    }

    /// Hands over all that was written.
    pub(crate) fn commit(self, batch: &mut OwnedWriteBatch) {
        for (key, written) in self.written {
            match written {
                Some(value) => batch.insert(&self.space.keyspace, key, value),
                None => batch.remove(&self.space.keyspace, key),
            }
        }
    }
}

fn damaged(id: u8) -> StateError {
    StateError::Damaged(format!("a row of table {id} cannot be read"))
}

/// Rows of a table, from both ends.
pub(crate) struct Rows<'t, K, V> {
    id: u8,
    stored: Option<Iter>,
    written: Option<btree_map::Range<'t, Vec<u8>, Written>>,
    /// Taken from the iterators and not given yet, at the front and at the back.
    stored_ends: [Option<(UserKey, UserValue)>; 2],
    written_ends: [Option<(&'t Vec<u8>, &'t Written)>; 2],
    of: PhantomData<fn() -> (K, V)>,
}

const FRONT: usize = 0;
const BACK: usize = 1;

/// A row as it is stored.
type Bytes = (UserKey, UserValue);
/// A row of a table.
pub(crate) type Row<K, V> = Result<(Held<K>, Held<V>), StateError>;

impl<'t, K: Part, V: Part> Rows<'t, K, V> {
    fn new(table: &'t Table<K, V>, range: (Bound<Vec<u8>>, Bound<Vec<u8>>)) -> Self {
        let mut rows = Self {
            id: table.id,
            stored: None,
            written: None,
            stored_ends: [None, None],
            written_ends: [None, None],
            of: PhantomData,
        };
        if !is_empty(&range) {
            rows.written = (!table.written.is_empty()).then(|| table.written.range(range.clone()));
            rows.stored = Some(table.space.snapshot.range(&table.space.keyspace, range));
        }
        rows
    }

    /// Fills in what comes next at an end.
    fn fill(&mut self, end: usize) -> Result<(), StateError> {
        if self.stored_ends[end].is_none() {
            let next = self.stored.as_mut().and_then(|rows| match end {
                FRONT => rows.next(),
                _ => rows.next_back(),
            });
            self.stored_ends[end] = match next {
                Some(row) => Some(row.into_inner()?),
                None => self.stored_ends[1 - end].take(),
            };
        }
        if self.written_ends[end].is_none() {
            let next = self.written.as_mut().and_then(|rows| match end {
                FRONT => rows.next(),
                _ => rows.next_back(),
            });
            self.written_ends[end] = next.or_else(|| self.written_ends[1 - end].take());
        }
        Ok(())
    }

    fn step(&mut self, end: usize) -> Result<Option<Bytes>, StateError> {
        loop {
            self.fill(end)?;
            let order = match (&self.stored_ends[end], &self.written_ends[end]) {
                (None, None) => return Ok(None),
                (Some(_), None) => std::cmp::Ordering::Less,
                (None, Some(_)) => std::cmp::Ordering::Greater,
                (Some((stored, _)), Some((written, _))) => {
                    let order = stored[..].cmp(&written[..]);
                    if end == FRONT { order } else { order.reverse() }
                }
            };
            if order.is_lt() {
                return Ok(self.stored_ends[end].take());
            }
            if order.is_eq() {
                self.stored_ends[end] = None;
            }
            if let Some((key, Some(value))) = self.written_ends[end].take() {
                return Ok(Some((key.as_slice().into(), value.clone())));
            }
        }
    }

    /// The next row as it is stored, with the table's byte before the key.
    pub(crate) fn next_bytes(&mut self) -> Result<Option<Bytes>, StateError> {
        self.step(FRONT)
    }

    fn read(&self, row: Bytes) -> Row<K, V> {
        let key = row.0.get(1..).and_then(Held::read).ok_or_else(|| damaged(self.id))?;
        let value = Held::read(&row.1).ok_or_else(|| damaged(self.id))?;
        Ok((key, value))
    }
}

impl<K: Part, V: Part> Iterator for Rows<'_, K, V> {
    type Item = Row<K, V>;

    fn next(&mut self) -> Option<Self::Item> {
        self.step(FRONT).transpose().map(|row| self.read(row?))
    }
}

impl<K: Part, V: Part> DoubleEndedIterator for Rows<'_, K, V> {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.step(BACK).transpose().map(|row| self.read(row?))
    }
}

fn is_empty(range: &(Bound<Vec<u8>>, Bound<Vec<u8>>)) -> bool {
    match range {
        (Bound::Included(from), Bound::Included(to)) => from > to,
        (
            Bound::Included(from) | Bound::Excluded(from),
            Bound::Included(to) | Bound::Excluded(to),
        ) => from >= to,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use crate::State;

    /// Rows of which half are in the engine and half were written over them, from both ends and
    /// however the two meet, beside a sorted map.
    #[test]
    fn rows_are_those_of_a_sorted_map() {
        let (mut seed, mut model) = (7_u64, BTreeMap::new());
        let mut random = |below: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 33) % below
        };
        let state = State::temporary().unwrap();
        for round in 0..40 {
            let mut tables = state.tables();
            for _ in 0..random(30) {
                let (record, value) = (random(24), random(1_000));
                if random(3) == 0 {
                    tables.lives.remove(record);
                    model.remove(&record);
                } else {
                    tables.lives.insert(record, value.to_be_bytes().as_slice());
                    model.insert(record, value);
                }
            }
            for record in 0..25 {
                let found = tables.lives.get(record).unwrap();
                let found = found.map(|found| found.value().to_vec());
                assert_eq!(found, model.get(&record).map(|value| value.to_be_bytes().to_vec()));
            }
            for _ in 0..50 {
                let (from, to) = (random(26), random(26));
                let wanted: Vec<u64> = model
                    .iter()
                    .filter(|(record, _)| (from..to).contains(record))
                    .map(|(record, _)| *record)
                    .collect();
                let mut rows = tables.lives.range(from..to);
                let (mut front, mut back) = (Vec::new(), Vec::new());
                while let Some(row) = if random(2) == 0 { rows.next() } else { rows.next_back() } {
                    let record = row.unwrap().0.value();
                    // Where it is in what is wanted tells from which end it came.
                    if wanted.get(front.len()) == Some(&record) {
                        front.push(record);
                    } else {
                        back.push(record);
                    }
                }
                front.extend(back.iter().rev());
                assert_eq!(front, wanted, "round {round}: {from}..{to}");
            }
            if round % 2 == 1 {
                state.commit(tables).unwrap();
            } else {
                // What is not committed is seen by nobody else.
                model = rows_of(&state.tables());
            }
        }
    }

    fn rows_of(tables: &crate::tables::Tables) -> BTreeMap<u64, u64> {
        let rows = tables.lives.iter().map(|row| {
            let (key, value) = row.unwrap();
            (key.value(), u64::from_be_bytes(value.value().try_into().unwrap()))
        });
        rows.collect()
    }

    #[test]
    fn what_is_longer_than_a_key_is_not_found() {
        let state = State::temporary().unwrap();
        let mut tables = state.tables();
        tables.clusters.insert("a", 1);
        tables.clusters.insert("z", 2);
        state.commit(tables).unwrap();
        let (tables, long) = (state.tables(), "m".repeat(100_000));
        assert!(tables.clusters.get(long.as_str()).unwrap().is_none());
        assert_eq!(tables.clusters.range(long.as_str()..).count(), 1);
        assert_eq!(tables.clusters.range(..long.as_str()).count(), 1);
    }

    #[test]
    fn a_table_ends_where_the_next_one_begins() {
        let state = State::temporary().unwrap();
        let mut tables = state.tables();
        tables.type_rows.insert(u32::MAX, [1].as_slice());
        tables.sources.insert(&[0; 32], 5);
        tables.source_rows.insert(0, [2].as_slice());
        assert_eq!(tables.type_rows.range(0..).count(), 1);
        assert_eq!(tables.type_rows.range(..=u32::MAX).count(), 1);
        assert_eq!(tables.sources.iter().count(), 1);
        assert_eq!(tables.source_rows.range::<u32>(..).count(), 1);
        let (from, to) = (1, 0);
        assert_eq!(tables.source_rows.range(from..to).count(), 0);
    }
}
