//! What a batch leaves for the next one: rows that are wanted again soon.
//!
//! It holds nothing that is not in the tables once the batch is committed.

use std::collections::BTreeMap;

use super::Fold;
use crate::StateError;
use crate::bases::{Bases, Packer};
use crate::generations::Generations;
use crate::life::LifeRow;
use crate::tables::{FactRow, SpanList};

/// Rows of objects that are kept, of some 150 bytes; at any time there are up to twice as many, as of
/// the others here.
const LIVES_KEPT: usize = 131_072;
/// Objects of which the facts are kept.
const ADDRESSED_KEPT: usize = 8_192;
/// Uids that are kept.
const UIDS_KEPT: usize = 131_072;

/// Cluster, key of a uid, type.
pub(super) type UidKey = (u32, Vec<u8>, u32);

/// See the module.
#[derive(Default)]
pub(crate) struct Kept {
    /// One for each thread that packed.
    pub(super) packers: Vec<Packer>,
    pub(super) bases: Bases,
    pub(super) lives: Lives,
    /// Objects by their uids.
    pub(super) uids: Generations<UidKey, u64, UIDS_KEPT>,
    pub(super) addressed: Generations<u64, Addressed, ADDRESSED_KEPT>,
}

/// What is known of the addresses of an object.
#[derive(Default)]
pub(super) struct Addressed {
    /// All of its facts, by their order keys.
    pub(super) facts: BTreeMap<Vec<u8>, FactRow>,
    pub(super) list: SpanList,
}

/// Rows of objects.
#[derive(Default)]
pub(super) struct Lives {
    /// As they are in the table.
    kept: Generations<u64, Box<[u8]>, LIVES_KEPT>,
    /// Not written yet.
    changed: BTreeMap<u64, LifeRow>,
}

impl Lives {
    /// The row of an object, if it is here.
    pub(super) fn get(&mut self, object: u64) -> Result<Option<LifeRow>, StateError> {
        if let Some(life) = self.changed.get(&object) {
            return Ok(Some(life.clone()));
        }
        self.kept.get(&object).map(|row| LifeRow::unpack(row)).transpose()
    }

    /// Keeps a row as it is in the table.
    pub(super) fn keep(&mut self, object: u64, row: &[u8]) {
        self.kept.put(object, row.into(), 1);
    }

    /// Takes a row that is to be written.
    pub(super) fn put(&mut self, object: u64, life: LifeRow) {
        self.changed.insert(object, life);
    }
}

impl Fold<'_> {
    /// Writes the rows of objects that this batch changed.
    pub(super) fn put_lives(&mut self) {
        for (object, life) in std::mem::take(&mut self.kept.lives.changed) {
            let row = life.pack();
            self.w.lives.insert(object, row.as_slice());
            self.kept.lives.keep(object, &row);
        }
    }
}
