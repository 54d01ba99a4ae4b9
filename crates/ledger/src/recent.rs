//! The newest records as they were checked when they came in, so that neither packing nor whoever
//! follows the log has to read and hash their segments again.
//!
//! Not here: anything that was read from a store. A segment that is not here (there was no room,
//! another process wrote it, or it is older than this process) is read and checked.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use stele_record::{Boot, Epoch, Seq, SourceId};

use crate::append::PreparedRecord;

/// Bytes of records that are kept: a pack of records of 900 bytes. What is over it is left to be
/// read again.
const RECENT_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Consecutive new records of one submission.
#[derive(Debug, Clone)]
pub(crate) struct Taken {
    pub(crate) source: SourceId,
    pub(crate) boot: Boot,
    pub(crate) epoch: Epoch,
    /// That of the first new record.
    pub(crate) first_seq: Seq,
    /// All records of the submission.
    pub(crate) records: Arc<Vec<PreparedRecord>>,
    /// How many of them are not new.
    pub(crate) known: usize,
}

impl Taken {
    /// The new records.
    pub(crate) fn new_records(&self) -> &[PreparedRecord] {
        &self.records[self.known..]
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    /// By the index of the first record.
    segments: BTreeMap<u64, Segment>,
    bytes: usize,
}

#[derive(Debug)]
struct Segment {
    end: u64,
    bytes: usize,
    taken: Arc<Vec<Taken>>,
}

/// The records of a segment.
#[derive(Debug)]
pub(crate) struct Kept {
    first: u64,
    /// Index after the last one.
    pub(crate) end: u64,
    taken: Arc<Vec<Taken>>,
}

/// One of them.
#[derive(Debug)]
pub(crate) struct KeptRecord<'a> {
    pub(crate) index: u64,
    pub(crate) seq: Seq,
    /// What it came with.
    pub(crate) taken: &'a Taken,
    pub(crate) record: &'a PreparedRecord,
}

impl Kept {
    /// Those of a range.
    pub(crate) fn records(&self, range: Range<u64>) -> impl Iterator<Item = KeptRecord<'_>> {
        let mut next = self.first;
        self.taken.iter().flat_map(move |taken| {
            let (first, records) = (next, taken.new_records());
            next += records.len() as u64;
            let in_run = |wanted: u64| {
                let before = usize::try_from(wanted.saturating_sub(first)).unwrap_or(usize::MAX);
                before.min(records.len())
            };
            let (from, to) = (in_run(range.start), in_run(range.end));
            (from as u64..).zip(&records[from..to]).map(move |(at, record)| {
                let (index, seq) = (first + at, Seq(taken.first_seq.0 + at));
                KeptRecord { index, seq, taken, record }
            })
        })
    }
}

impl Recent {
    /// Keeps the records of a segment if there is room.
    pub(crate) fn keep(&mut self, range: Range<u64>, bytes: usize, taken: Vec<Taken>) {
        if self.bytes + bytes > RECENT_BYTES_MAX {
            return;
        }
        self.bytes += bytes;
        let segment = Segment { end: range.end, bytes, taken: Arc::new(taken) };
        self.segments.insert(range.start, segment);
    }

    /// The segment that holds `index`.
    pub(crate) fn holding(&self, index: u64) -> Option<Kept> {
        let (first, Segment { end, taken, .. }) = self.segments.range(..=index).next_back()?;
        let kept = || Kept { first: *first, end: *end, taken: Arc::clone(taken) };
        (index < *end).then(kept)
    }

    /// Forgets the segments that end there or before.
    pub(crate) fn forget_before(&mut self, end: u64) {
        while let Some(first) = self.segments.first_entry().filter(|s| s.get().end <= end) {
            self.bytes -= first.remove().bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn firsts(recent: &Recent) -> Vec<Option<u64>> {
        [0, 9, 10, 29, 30].map(|index| recent.holding(index).map(|kept| kept.first)).into()
    }

    #[test]
    fn what_is_kept_is_found_until_it_is_forgotten() {
        let mut recent = Recent::default();
        recent.keep(0..10, 1, Vec::new());
        recent.keep(10..30, 1, Vec::new());
        assert_eq!(firsts(&recent), [Some(0), Some(0), Some(10), Some(10), None]);
        recent.forget_before(29);
        assert_eq!(firsts(&recent), [None, None, Some(10), Some(10), None]);
        recent.forget_before(30);
        assert_eq!((firsts(&recent), recent.bytes), (vec![None; 5], 0));
    }

    #[test]
    fn what_finds_no_room_is_not_kept() {
        let mut recent = Recent::default();
        recent.keep(0..10, RECENT_BYTES_MAX, Vec::new());
        recent.keep(10..30, 1, Vec::new());
        assert_eq!(firsts(&recent), [Some(0), Some(0), None, None, None]);
        recent.forget_before(10);
        recent.keep(30..40, 1, Vec::new());
        assert_eq!(firsts(&recent)[4], Some(30));
    }
}
