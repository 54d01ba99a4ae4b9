//! What was read of one state of the view, kept for all questions at it.
//!
//! Not here: what depends on a question. Invariant: two snapshots with the same next record show
//! the same rows of these tables, so an answer does not depend on what was asked before.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use super::gaps::Watched;
use crate::generations::{Generations, get_or};
use crate::tables::{ClusterRow, TypeRow};
use crate::{StateError, TimeBasis};

/// Rows of gaps, streams and sources that are kept.
const WATCHED_ROWS_MAX: usize = 65_536;

/// See the module.
#[derive(Default)]
pub(crate) struct Memo {
    /// The next record to be folded.
    pub(crate) next: u64,
    pub(super) types: Rows<u32, TypeRow>,
    pub(super) clusters: Rows<u32, ClusterRow>,
    /// By cluster, with all records that there are.
    pub(super) last_times: Rows<u32, Option<(i64, TimeBasis)>>,
    watched: Mutex<Generations<(u32, String, String), Arc<Watched>, WATCHED_ROWS_MAX>>,
}

impl Memo {
    /// The memo of the state before this record: the one that is kept, or a new one. The newest
    /// is kept.
    pub(crate) fn of(kept: &Mutex<Arc<Self>>, next: u64) -> Arc<Self> {
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.next == next {
            return Arc::clone(&kept);
        }
        let memo = Arc::new(Self { next, ..Self::default() });
        if kept.next < next {
            *kept = Arc::clone(&memo);
        }
        memo
    }

    /// How a type of a cluster was looked at, as all records tell.
    pub(super) fn watched(
        &self,
        (cluster, group, resource): (u32, &str, &str),
        read: impl FnOnce() -> Result<Watched, StateError>,
    ) -> Result<Arc<Watched>, StateError> {
        let key = (cluster, group.to_owned(), resource.to_owned());
        get_or(&self.watched, key, || {
            let watched = read()?;
            let weight = 1 + watched.rows_len();
            Ok((watched, weight))
        })
    }
}

/// Rows of a table of which all may be kept.
#[derive(Debug)]
pub(super) struct Rows<K, R>(RwLock<BTreeMap<K, R>>);

impl<K, R> Default for Rows<K, R> {
    fn default() -> Self {
        Self(RwLock::default())
    }
}

impl<K: Ord, R: Clone> Rows<K, R> {
    /// A row that was read before, or is read now.
    pub(super) fn get_or(
        &self,
        key: K,
        read: impl FnOnce() -> Result<R, StateError>,
    ) -> Result<R, StateError> {
        if let Some(row) = self.0.read().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return Ok(row.clone());
        }
        let row = read()?;
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(key, row.clone());
        Ok(row)
    }
}
