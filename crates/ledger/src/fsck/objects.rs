//! Packs and segments, one after the other.

use bytes::Bytes;
use stele_merkle::{Hash, TreeSize};
use stele_record::{Header, Kind};
use stele_store::{ObjectName, StoreError};

use super::Fsck;
use crate::ReadError;
use crate::format::{BLOCK_RECORDS, Role};
use crate::objects::{Object, PACKS, SEGMENTS, segment_name};
use crate::tree::Tile;
use crate::verify::{Checked, Fault, verify_object};

/// Records between two reports of progress inside an object.
const PROGRESS_RECORDS: u64 = 1024;

impl Fsck<'_> {
    pub(super) fn pack(&mut self, name: &ObjectName) {
        let named = name.number_in(PACKS);
        let Some((object, bytes)) = self.load(name, Role::Pack) else {
            // Where it ends is only known from what follows.
            self.next_segment = None;
            return self.lose_tree();
        };
        let head = &object.head;
        if named != Some(head.first) {
            self.problem(name.as_str(), None, "the pack has another first index than its name");
        }
        self.expect_index(name, head.first);
        if head.first < self.next_index {
            return self.problem(name.as_str(), None, "its records are in the pack before it too");
        }
        let mut leaves: Vec<Option<Hash>> = Vec::with_capacity(BLOCK_RECORDS as usize);
        verify_object(&object, &bytes, &mut |checked| {
            leaves.push(self.record(name, checked));
            if leaves.len() as u64 == BLOCK_RECORDS {
                self.tile(&object, &leaves);
                leaves.clear();
            }
        });
        self.next_segment = Some(head.number);
        self.previous = Some(head.previous);
        self.end_of_object(&object);
    }

    /// Adds a pack's tile to the tree; from the pack's header where a record is lost.
    fn tile(&mut self, object: &Object, leaves: &[Option<Hash>]) {
        let end = self.next_index;
        let position = (end - object.head.first) / BLOCK_RECORDS - 1;
        let stated = usize::try_from(position).ok().and_then(|at| object.head.tiles.get(at));
        let Some(stated) = stated.copied() else { return };
        let whole: Option<Vec<Hash>> = leaves.iter().copied().collect();
        let Some(whole) = whole else {
            if let Some(tree) = &mut self.tree {
                tree.push_tile(stated);
            }
            return;
        };
        if Tile::of(whole.iter().copied()).1 != Some(stated) {
            let first = end - BLOCK_RECORDS;
            let what = format!("records {first} to {} do not give their tile's root", end - 1);
            self.problem(object.name.as_str(), None, what);
        }
        if let Some(tree) = &mut self.tree {
            whole.iter().for_each(|leaf| tree.push(*leaf));
        }
    }

    pub(super) fn segment(&mut self, name: &ObjectName) {
        let number = name.number_in(SEGMENTS).unwrap_or(u64::MAX);
        let next = self.next_segment.unwrap_or(number);
        if number < next {
            return self.packed_segment(name);
        }
        let previous = self.previous.take().filter(|_| self.next_segment == Some(number));
        self.next_segment = number.checked_add(1);
        if number > next {
            let last = number - 1;
            let what = if next == last {
                "the segment is missing".to_owned()
            } else {
                format!("the segments up to number {last} are missing")
            };
            self.problem(segment_name(next).as_str(), None, what);
            self.lose_tree();
        }
        let Some((object, bytes)) = self.load(name, Role::Segment) else {
            return self.lose_tree();
        };
        let head = &object.head;
        if head.number != number {
            self.problem(name.as_str(), None, "the segment has another number than its name");
        }
        if previous.is_some_and(|previous| previous != head.previous) {
            self.problem(name.as_str(), None, "the segment does not follow the one before it");
        }
        self.previous = Some(object.digest);
        let first = self.next_index;
        if head.first > first || head.end() <= first {
            self.expect_index(name, head.first);
        }
        let first = self.next_index;
        verify_object(&object, &bytes, &mut |checked| {
            if checked.index < first {
                return self.fault(name, checked.index, checked.record.err());
            }
            match (self.record(name, checked), &mut self.tree) {
                (Some(leaf), Some(tree)) => tree.push(leaf),
                (None, _) => self.lose_tree(),
                (Some(_), None) => {}
            }
        });
        self.end_of_object(&object);
    }

    /// A segment whose records are in a pack: it must still be sound, but adds nothing.
    fn packed_segment(&mut self, name: &ObjectName) {
        if matches!(self.store.size(name), Err(StoreError::NotFound { .. })) {
            // Retired since it was listed.
            return;
        }
        if let Some((object, bytes)) = self.load(name, Role::Segment) {
            verify_object(&object, &bytes, &mut |checked| {
                self.fault(name, checked.index, checked.record.err());
            });
        }
    }

    fn load(&mut self, name: &ObjectName, role: Role) -> Option<(Object, Bytes)> {
        let loaded = self.store.read(name).map_err(ReadError::from).and_then(|bytes| {
            let object = Object::decode(name, &bytes, bytes.len() as u64)?;
            Ok((object, bytes))
        });
        match loaded {
            Ok(loaded) if loaded.0.head.role == role => Some(loaded),
            Ok(_) => {
                self.problem(name.as_str(), None, "a segment under a pack's name, or the reverse");
                None
            }
            Err(error) => {
                self.moved |= matches!(error, ReadError::Store(StoreError::NotFound { .. }));
                self.problem(name.as_str(), None, error.fault());
                None
            }
        }
    }

    /// Tells of records that are missing before `first`, unless what held them was told of.
    fn expect_index(&mut self, name: &ObjectName, first: u64) {
        let next = self.next_index;
        if first > next {
            if self.tree.is_some() {
                let what = format!("records {next} to {} before it are missing", first - 1);
                self.problem(name.as_str(), None, what);
            }
            self.lose_tree();
            self.next_index = first;
        } else if first < next && self.tree.is_some() {
            self.problem(name.as_str(), None, "its first index does not continue the log");
        }
    }

    fn lose_tree(&mut self) {
        self.tree = None;
        self.streams.lost();
    }

    fn fault(&mut self, name: &ObjectName, index: u64, fault: Option<Fault>) {
        match fault {
            Some(Fault::Here(what)) => self.problem(name.as_str(), Some(index), what),
            Some(Fault::InBlock(what)) => self.problem(name.as_str(), None, what),
            Some(Fault::Elsewhere) | None => {}
        }
    }

    /// Takes note of one record in order; gives its leaf hash if it is known.
    fn record(&mut self, name: &ObjectName, checked: Checked) -> Option<Hash> {
        let Checked { index, entry, record } = checked;
        self.next_index = index + 1;
        self.done.records_done += 1;
        if self.done.records_done.is_multiple_of(PROGRESS_RECORDS) {
            (self.progress)(&self.done);
        }
        let payload = match record {
            Ok(record) => {
                self.report.records += 1;
                if self.last_time.is_some_and(|last| record.ledger_time < last) {
                    let what = "its ledger time is before that of the record before it";
                    self.problem(name.as_str(), Some(index), what);
                }
                self.last_time = Some(record.ledger_time);
                record.payload
            }
            Err(fault) => {
                self.fault(name, index, Some(fault));
                None
            }
        };
        let Some(entry) = entry else {
            self.streams.lost();
            return None;
        };
        if let Ok(header) = Header::decode(&entry.header) {
            let own = self.own_source.as_ref() == Some(&header.source.to_string());
            if own && header.kind == Kind::CHECKPOINT {
                self.pending.extend(payload.clone().map(|note| (index, note)));
            }
            let checked = self.streams.add(&header, &entry.leaf, payload.as_deref());
            self.report.seals += checked.seals;
            self.report.seals_unchecked += checked.seals_unchecked;
            for what in checked.faults {
                self.problem(name.as_str(), Some(index), what);
            }
        }
        Some(entry.leaf)
    }

    /// What the header of an object says about all of its records together.
    fn end_of_object(&mut self, object: &Object) {
        let head = &object.head;
        let name = object.name.as_str();
        if self.root(TreeSize(head.end())).is_some_and(|root| root != head.root) {
            self.problem(name, None, "its records do not give the root in its header");
        }
        for stream in &head.streams {
            let id = (head.sources[stream.source], stream.boot);
            if self.streams.contradicts(&id, stream.next_seq, &stream.head) {
                let what = format!("its header gives another chain head for source {}", id.0);
                self.problem(name, None, what);
            }
        }
        for (index, note) in std::mem::take(&mut self.pending) {
            if let Err(what) = self.checkpoint(&note) {
                self.problem(name, Some(index), format!("recorded checkpoint: {what}"));
            }
        }
    }
}
