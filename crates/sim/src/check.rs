//! What is held against the log at the end, and noted on the way.

use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;
use std::sync::Arc;

use stele_ledger::{FsckOptions, LedgerCore, SignedCheckpoint, fsck_with};
use stele_merkle::{Hash, LeafIndex, MemoryTree, TreeSize, root};
use stele_record::{Boot, Seq, SourceId};
use stele_store::Store;

use crate::client::Acknowledged;

/// Notes of one run.
#[derive(Debug, Default)]
pub(crate) struct Checks {
    acknowledged: Vec<Acknowledged>,
    /// Index after the last acknowledged record.
    floor: u64,
    checkpoints: BTreeMap<u64, Hash>,
    /// What contradicts L1 to L4.
    pub(crate) violations: Vec<String>,
    /// What was said by somebody who noticed that something is wrong.
    pub(crate) noticed: Vec<String>,
    pub(crate) records: u64,
}

impl Checks {
    /// What a checkpoint that is signed from now on must cover.
    pub(crate) fn floor(&self) -> u64 {
        self.floor
    }

    pub(crate) fn acknowledged(&self) -> &[Acknowledged] {
        &self.acknowledged
    }

    pub(crate) fn checkpoints(&self) -> usize {
        self.checkpoints.len()
    }

    /// A process has signed; `floor` is that of the moment at which it began to.
    pub(crate) fn signed(&mut self, checkpoint: &SignedCheckpoint, floor: u64) {
        let SignedCheckpoint { size, root, .. } = checkpoint;
        if size.0 < floor {
            let what =
                format!("L1: size {size} is signed after record {} was acknowledged", floor - 1);
            self.violations.push(what);
        }
        if self.checkpoints.insert(size.0, *root).is_some_and(|other| other != *root) {
            self.violations
                .push(format!("L2: two checkpoints of size {size} contradict each other"));
        }
    }

    /// Records were acknowledged in this checkpoint.
    pub(crate) fn acknowledge(&mut self, said: Vec<Acknowledged>, checkpoint: &SignedCheckpoint) {
        for one in &said {
            if one.index >= checkpoint.size.0 {
                let what = format!("L1: record {} is not below its checkpoint", one.index);
                self.violations.push(what);
            }
            self.floor = self.floor.max(one.index + 1);
        }
        self.acknowledged.extend(said);
    }

    /// A record was read at an index.
    pub(crate) fn read(&mut self, wanted: &Acknowledged, leaf: Hash) {
        if leaf != wanted.leaf {
            self.violations.push(format!("L1: another record is read at {}", wanted.index));
        }
    }

    /// Checks everything against a ledger that was opened after the run, on a store without faults.
    pub(crate) fn finish(&mut self, store: &Arc<dyn Store>, core: &LedgerCore) {
        // One thread, so that the order of reads is the same in every run.
        let options = FsckOptions { threads: 1, ..FsckOptions::default() };
        match fsck_with(&**store, core.verifier(), &options, &mut |_| {}) {
            Ok(outcome) => {
                let problems = outcome.report.problems.into_iter();
                self.noticed.extend(problems.map(|problem| format!("fsck: {problem}")));
            }
            Err(error) => self.noticed.push(format!("fsck: {error}")),
        }
        let mut tree = MemoryTree::new();
        let mut next: HashMap<(SourceId, Boot), Seq> = HashMap::new();
        let mut holes = Vec::new();
        let read = core.reader().scan(0..u64::MAX, &mut |record| {
            tree.push(record.leaf_hash);
            let header = &record.header;
            let next = next.entry((header.source, header.boot)).or_insert(Seq(0));
            if *next != header.seq {
                holes.push(format!("L4: {} follows, {next} was next", header.seq));
            }
            *next = header.seq.next();
            ControlFlow::Continue(())
        });
        self.violations.extend(holes);
        self.records = tree.size().0;
        if let Err(error) = read {
            self.noticed.push(format!("L3: {error}"));
            return;
        }
        self.finish_tree(&tree);
    }

    fn finish_tree(&mut self, tree: &MemoryTree) {
        for (size, signed) in &self.checkpoints {
            if root(TreeSize(*size), tree).ok() != Some(*signed) {
                let what = format!("L2: the checkpoint of size {size} is not one of this log");
                self.violations.push(what);
            }
        }
        for one in &self.acknowledged {
            let leaf = stele_merkle::Subtrees::subtree(tree, 0, LeafIndex(one.index).0).ok();
            if leaf != Some(one.leaf) {
                let Acknowledged { source, seq, index, .. } = one;
                let what = format!("L1: record {seq} of {source} is not at index {index}");
                self.violations.push(what);
            }
        }
    }
}
