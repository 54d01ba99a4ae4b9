//! The ledger against a plain list: random submissions of several sources, repeats, restarts and
//! packs; every record, receipt, proof and tile must be what the list says.

use std::ops::ControlFlow;
use std::sync::Arc;

use stele_ledger::{Ledger, Receipt, RecordContent, fsck};
use stele_merkle::{
    LeafIndex, MemoryTree, TreeSize, consistency_proof, inclusion_proof, root, tile,
    verify_inclusion,
};
use stele_record::{Header, Submission};
use stele_store::{MemoryStore, Store};

use crate::common::{Random, Source, create, open};

const PACK: u64 = 512;

#[derive(Default)]
struct Model {
    leaves: Vec<(Vec<u8>, Vec<u8>)>,
    tree: MemoryTree,
}

impl Model {
    /// Adds what is new and gives the place of every record.
    fn append(&mut self, submission: &Submission) -> Vec<u64> {
        let place = |(header, payload): (Vec<u8>, Vec<u8>)| {
            let known = self.leaves.iter().position(|(h, _)| *h == header);
            known.unwrap_or_else(|| {
                self.tree.push(stele_merkle::leaf_hash(&header));
                self.leaves.push((header, payload));
                self.leaves.len() - 1
            }) as u64
        };
        let records = submission.records.iter();
        records.map(|r| (r.header.to_vec(), r.payload.to_vec())).map(place).collect()
    }

    fn check_receipt(&self, receipt: &Receipt, places: &[u64]) {
        let found: Vec<u64> = receipt.indices().map(|index| index.0).collect();
        assert_eq!(found, places);
        assert_eq!(receipt.count, places.len() as u64);
        assert_eq!(receipt.first_index.0, places[0]);
        assert_eq!(receipt.checkpoint.root, root(receipt.checkpoint.size, &self.tree).unwrap());
    }

    fn check(&self, ledger: &Ledger) {
        let size = TreeSize(self.leaves.len() as u64);
        assert_eq!(ledger.size(), size);
        assert_eq!(ledger.checkpoint().root, root(size, &self.tree).unwrap());
        let mut next = 0;
        ledger
            .scan(0..size.0, &mut |record| {
                let (header, payload) = &self.leaves[next];
                assert_eq!(record.header_bytes, header);
                assert_eq!(record.payload.as_deref(), Some(&payload[..]));
                next += 1;
                ControlFlow::Continue(())
            })
            .unwrap();
        assert_eq!(next, self.leaves.len());
        for first in [0, size.0 / 3, size.0] {
            let mut contents = Vec::new();
            ledger
                .contents(first..size.0 - size.0 / 5, &mut |content| {
                    contents.push(content);
                    ControlFlow::Continue(())
                })
                .unwrap();
            let mut scanned: Vec<RecordContent> = Vec::new();
            ledger
                .scan(first..size.0 - size.0 / 5, &mut |record| {
                    scanned.push(record.into());
                    ControlFlow::Continue(())
                })
                .unwrap();
            assert_eq!(contents, scanned);
        }
    }

    fn check_proofs(&self, ledger: &Ledger, random: &mut Random) {
        let size = self.leaves.len() as u64;
        for _ in 0..40 {
            let at = TreeSize(1 + random.below(size));
            let index = LeafIndex(random.below(at.0));
            let proof = ledger.inclusion_proof(index, at).unwrap();
            assert_eq!(proof, inclusion_proof(index, at, &self.tree).unwrap());
            let leaf = ledger.read(index).unwrap().leaf_hash;
            verify_inclusion(leaf, index, at, &proof, root(at, &self.tree).unwrap()).unwrap();
            let old = TreeSize(random.below(at.0 + 1));
            let proof = ledger.consistency_proof(old, at).unwrap();
            assert_eq!(proof, consistency_proof(old, at, &self.tree).unwrap());
            let record = ledger.read(index).unwrap();
            let Header { source, boot, seq, .. } = record.header;
            assert_eq!(ledger.find(&source, boot, seq).unwrap(), Some(index));
        }
    }

    fn check_tiles(&self, ledger: &Ledger) {
        let size = TreeSize(self.leaves.len() as u64);
        for level in 0..3 {
            for index in 0.. {
                let width = tile::width_at(level, index, size);
                if width == 0 {
                    ledger.hash_tile(level, index, 1).unwrap_err();
                    break;
                }
                let bytes = ledger.hash_tile(level, index, width).unwrap();
                let hashes = tile::decode_hashes(&bytes, width).unwrap();
                let first = index * 256;
                for (hash, node) in hashes.iter().zip(first..) {
                    use stele_merkle::Subtrees;
                    assert_eq!(*hash, self.tree.subtree(level * 8, node).unwrap());
                }
                if level == 0 {
                    let bundle = ledger.entry_bundle(index, width).unwrap();
                    let entries = tile::decode_bundle(&bundle, width).unwrap();
                    for (entry, at) in entries.iter().zip(first..) {
                        assert_eq!(*entry, self.leaves[usize::try_from(at).unwrap()].0);
                    }
                    ledger.entry_bundle(index, width.saturating_add(1).max(2)).map(drop).ok();
                }
            }
        }
    }
}

fn random_submission(sources: &mut [Source], random: &mut Random) -> Submission {
    let source = random.below(sources.len() as u64);
    let source = &mut sources[usize::try_from(source).unwrap()];
    let count = 1 + usize::try_from(random.below(40)).unwrap();
    let bytes = usize::try_from(random.below(600)).unwrap();
    if random.below(20) == 0 {
        source.epoch.0 += 1;
    }
    let mut submission = source.events(count, bytes);
    if random.below(4) == 0 {
        let seal = source.seal_record();
        submission.records.push(seal);
    }
    submission
}

/// A repeat of an earlier submission, of a part of it, or of it and what came next.
fn random_repeat(history: &[Submission], random: &mut Random) -> Submission {
    let at = usize::try_from(random.below(history.len() as u64)).unwrap();
    let mut repeat = history[at].clone();
    let skip = usize::try_from(random.below(repeat.records.len() as u64)).unwrap();
    repeat.records.drain(..skip);
    let last = Header::decode(&repeat.records.last().unwrap().header).unwrap();
    for next in &history[at + 1..] {
        let header = Header::decode(&next.records[0].header).unwrap();
        let follows = header.source == last.source && header.boot == last.boot;
        if follows && next.epoch == repeat.epoch && header.seq == last.seq.next() {
            repeat.records.extend(next.records.iter().cloned());
            break;
        }
    }
    repeat
}

fn run(seed: u64, steps: usize) {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let mut ledger = create(&store, PACK);
    let mut random = Random::new(seed);
    let mut model = Model::default();
    let mut sources: Vec<Source> = (1..5).map(|seed| Source::new(seed, 1)).collect();
    for source in &mut sources {
        let record = source.open_record();
        let submission = source.submission(vec![record]);
        let places = model.append(&submission);
        model.check_receipt(&ledger.append_blocking(submission).unwrap(), &places);
    }
    let mut history = Vec::new();
    for step in 0..steps {
        match random.below(20) {
            0 => {
                drop(ledger);
                ledger = open(&store, PACK);
                model.check(&ledger);
            }
            1..4 if !history.is_empty() => {
                let repeat = random_repeat(&history, &mut random);
                let places = model.append(&repeat);
                model.check_receipt(&ledger.append_blocking(repeat).unwrap(), &places);
            }
            4 => {
                // A new boot of one source; what its old one still had to deliver comes late.
                let at = usize::try_from(random.below(4)).unwrap();
                let seed = u8::try_from(at + 1).unwrap();
                let mut old =
                    std::mem::replace(&mut sources[at], Source::new(seed, step as u64 + 2));
                let record = sources[at].open_record();
                let new_boot = sources[at].submission(vec![record]);
                for submission in [new_boot, old.events(1, 1)] {
                    let places = model.append(&submission);
                    let receipt = ledger.append_blocking(submission).unwrap();
                    model.check_receipt(&receipt, &places);
                }
            }
            _ => {
                let submission = random_submission(&mut sources, &mut random);
                let places = model.append(&submission);
                model.check_receipt(&ledger.append_blocking(submission.clone()).unwrap(), &places);
                history.push(submission);
            }
        }
    }
    model.check(&ledger);
    model.check_proofs(&ledger, &mut random);
    model.check_tiles(&ledger);
    for source in &sources {
        let head = ledger.source_head(&source.id).unwrap();
        assert_eq!(
            (head.boot, head.next_seq, head.chain_head),
            (source.boot, source.seq, source.head)
        );
    }
    let verifier = ledger.verifier().clone();
    drop(ledger);
    let report = fsck(&*store, &verifier, &mut |_| {});
    assert_eq!(report.problems, []);
    assert_eq!(report.records, model.leaves.len() as u64);
    assert!(report.packs > 0 && report.seals > 0);
    assert_eq!(report.seals_unchecked, 0);
}

#[test]
fn random_histories_are_those_of_the_plain_list() {
    for seed in 0..6 {
        run(seed, 120);
    }
}
