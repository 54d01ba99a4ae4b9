//! What a batch leaves for the next one: rows that are wanted again soon.
//!
//! It holds nothing that is not in the tables once the batch is committed.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::Fold;
use crate::bodies::Packer;
use crate::tables::{FactRow, LifeRow, SpanList, row};

/// Rows of objects that are kept; at any time there are up to twice as many.
const LIVES_KEPT: usize = 32_768;
/// Objects of which the facts are kept.
const ADDRESSED_KEPT: usize = 16_384;
/// Uids that are kept.
const UIDS_KEPT: usize = 65_536;

/// Cluster, key of a uid, type.
pub(super) type UidKey = (u32, Vec<u8>, u32);

/// See the module.
#[derive(Default)]
pub(crate) struct Kept {
    /// One for each core.
    pub(super) packers: Vec<Packer>,
    pub(super) lives: Lives,
    pub(super) uids: HashMap<UidKey, u64>,
    pub(super) addressed: HashMap<u64, Addressed>,
}

/// What is known of the addresses of an object.
#[derive(Default)]
pub(super) struct Addressed {
    /// All of its facts, by their order keys.
    pub(super) facts: BTreeMap<Vec<u8>, FactRow>,
    pub(super) list: SpanList,
}

impl Kept {
    /// Keeps what is known of the addresses of an object.
    pub(super) fn keep_addressed(&mut self, object: u64, addressed: Addressed) {
        if self.addressed.len() >= ADDRESSED_KEPT {
            self.addressed.clear();
        }
        self.addressed.insert(object, addressed);
    }

    /// Keeps which object has a uid.
    pub(super) fn keep_uid(&mut self, key: UidKey, object: u64) {
        if self.uids.len() >= UIDS_KEPT {
            self.uids.clear();
        }
        self.uids.insert(key, object);
    }
}

/// Rows of objects.
#[derive(Default)]
pub(super) struct Lives {
    young: HashMap<u64, LifeRow>,
    /// What was not used since there were [`LIVES_KEPT`] others.
    old: HashMap<u64, LifeRow>,
    /// Of those in `young`: not written yet.
    changed: BTreeSet<u64>,
}

impl Lives {
    /// The row of an object, if it is kept.
    pub(super) fn get(&mut self, object: u64) -> Option<&LifeRow> {
        if let Some(life) = self.old.remove(&object) {
            self.young.insert(object, life);
        }
        self.young.get(&object)
    }

    /// Keeps a row as it is in the table.
    pub(super) fn keep(&mut self, object: u64, life: LifeRow) {
        // What is not written yet must stay.
        if self.young.len() >= LIVES_KEPT && self.changed.is_empty() {
            self.old = std::mem::take(&mut self.young);
        }
        self.old.remove(&object);
        self.young.insert(object, life);
    }

    /// Keeps a row that is to be written.
    pub(super) fn put(&mut self, object: u64, life: LifeRow) {
        self.keep(object, life);
        self.changed.insert(object);
    }
}

impl Fold<'_> {
    /// Writes the rows of objects that this batch changed.
    pub(super) fn put_lives(&mut self) {
        for object in std::mem::take(&mut self.kept.lives.changed) {
            if let Some(life) = self.kept.lives.young.get(&object) {
                self.w.lives.insert(object, row(life).as_slice());
            }
        }
    }
}
