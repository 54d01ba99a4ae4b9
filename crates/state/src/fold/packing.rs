//! Compressing pieces of bodies, by whichever thread has nothing else to do.
//!
//! Invariant: what is given is packed once, or the batch fails; which thread does it leaves no trace.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::StateError;
use crate::bases::{Base, Packer};
use crate::bodies::Piece;

/// A piece that is not written yet.
pub(super) struct Loose {
    pub(super) chunk: u64,
    pub(super) first: u32,
    /// What comes before it.
    pub(super) earlier: Vec<Stored>,
    pub(super) piece: Piece,
    pub(super) whole: bool,
    pub(super) base: Option<(u64, Arc<Base>)>,
}

/// The row of a piece, with its base.
pub(super) type Stored = (Vec<u8>, Option<Arc<Base>>);
/// Where a piece is stored, and what.
pub(super) type Packed = ((u64, u32), Vec<u8>);

impl Loose {
    fn pack(self, packer: &mut Packer) -> Result<Packed, StateError> {
        let all = joined(self.earlier, self.piece)?;
        let base = self.base.as_ref().map(|(number, base)| (*number, base.as_ref()));
        Ok(((self.chunk, self.first), all.pack(packer, self.whole, base)?))
    }
}

/// The bodies of stored pieces, and behind them those of another one.
pub(super) fn joined(earlier: Vec<Stored>, piece: Piece) -> Result<Piece, StateError> {
    let mut all = Piece::default();
    for (row, base) in earlier {
        let missing = || StateError::Damaged("no such base".to_owned());
        all.append(Piece::read(&row, |_| base.ok_or_else(missing))?);
    }
    all.append(piece);
    Ok(all)
}

/// See the module.
#[derive(Default)]
pub(super) struct Packing {
    jobs: Mutex<Jobs>,
    changed: Condvar,
}

#[derive(Default)]
struct Jobs {
    waiting: VecDeque<Loose>,
    closed: bool,
    packed: Vec<Packed>,
    failed: Option<StateError>,
    packers: Vec<Packer>,
}

impl Packing {
    /// With packers that were used before.
    pub(super) fn with(packers: Vec<Packer>) -> Self {
        Self { jobs: Mutex::new(Jobs { packers, ..Jobs::default() }), ..Self::default() }
    }

    fn jobs(&self) -> MutexGuard<'_, Jobs> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives a piece to be packed.
    pub(super) fn give(&self, loose: Loose) {
        self.jobs().waiting.push_back(loose);
        self.changed.notify_one();
    }

    /// No more pieces come once what this gives is dropped.
    pub(super) fn closing(&self) -> impl Drop {
        Closing(self)
    }

    /// Packs what there is and what comes, until no more pieces come.
    pub(super) fn work(&self) {
        let mut packer = self.jobs().packers.pop().unwrap_or_default();
        while let Some(loose) = self.next() {
            let packed = loose.pack(&mut packer);
            let mut jobs = self.jobs();
            match packed {
                Ok(packed) => jobs.packed.push(packed),
                Err(error) => jobs.failed = Some(error),
            }
        }
        self.jobs().packers.push(packer);
    }

    fn next(&self) -> Option<Loose> {
        let mut jobs = self.jobs();
        loop {
            if let Some(loose) = jobs.waiting.pop_front() {
                return Some(loose);
            }
            if jobs.closed {
                return None;
            }
            jobs = self.changed.wait(jobs).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// What was packed, in any order, and the packers for the next time; to be called when nobody works any
    /// more.
    pub(super) fn take(&self) -> Result<(Vec<Packed>, Vec<Packer>), StateError> {
        let jobs = std::mem::take(&mut *self.jobs());
        jobs.failed.map_or_else(|| Ok((jobs.packed, jobs.packers)), Err)
    }
}

struct Closing<'p>(&'p Packing);

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        self.0.jobs().closed = true;
        self.0.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loose(chunk: u64) -> Loose {
        let mut piece = Piece::default();
        piece.push(&chunk.to_be_bytes()).unwrap();
        Loose { chunk, first: 0, earlier: Vec::new(), piece, whole: true, base: None }
    }

    #[test]
    fn all_that_is_given_is_packed_once_by_however_many() {
        for helpers in 0..4 {
            let packing = Packing::default();
            std::thread::scope(|scope| {
                for _ in 0..helpers {
                    scope.spawn(|| packing.work());
                }
                let closing = packing.closing();
                (0..100).for_each(|chunk| packing.give(loose(chunk)));
                drop(closing);
                packing.work();
            });
            let (mut packed, packers) = packing.take().unwrap();
            packed.sort();
            assert!((1..=helpers + 1).contains(&packers.len()));
            assert!(packed.iter().map(|((chunk, _), _)| *chunk).eq(0..100));
        }
    }

    #[test]
    fn what_cannot_be_packed_fails_the_batch() {
        let packing = Packing::default();
        packing.give(Loose { earlier: vec![(vec![1, 2, 3], None)], ..loose(1) });
        packing.give(loose(2));
        drop(packing.closing());
        packing.work();
        assert!(packing.take().is_err());
    }
}
