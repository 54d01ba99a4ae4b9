//! The first path: create, append, prove, reopen, repeat.

use std::ops::ControlFlow;
use std::sync::Arc;

use crate::common::{Source, create, open};
use stele_ledger::Ledger;
use stele_merkle::{LeafIndex, TreeSize, verify_consistency, verify_inclusion};
use stele_store::{MemoryStore, Store};

#[test]
fn append_prove_reopen_repeat() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let ledger = create(&store, 65_536);
    let mut source = Source::new(7, 1);
    let first = source.events(3, 100);
    let receipt = ledger.append_blocking(first.clone()).unwrap();
    assert_eq!((receipt.first_index, receipt.count), (LeafIndex(0), 3));
    let more = ledger.append_blocking(source.events(700, 10)).unwrap();
    let proofs = ledger.proofs_for(&more).unwrap();
    for (index, proof) in more.indices().zip(&proofs) {
        let record = ledger.read(index).unwrap();
        let checkpoint = &more.checkpoint;
        verify_inclusion(record.leaf_hash, index, checkpoint.size, proof, checkpoint.root).unwrap();
    }
    let opened = ledger.verifier().open(more.checkpoint.note.as_bytes()).unwrap();
    assert_eq!((opened.size, opened.root), (TreeSize(703), more.checkpoint.root));
    drop(ledger);

    let ledger = open(&store, 65_536);
    assert_eq!(ledger.size(), TreeSize(703));
    let again = ledger.append_blocking(first).unwrap();
    assert_eq!((again.first_index, again.count), (LeafIndex(0), 3));
    assert_eq!(ledger.size(), TreeSize(703));
    let proof = ledger.consistency_proof(TreeSize(3), TreeSize(703)).unwrap();
    let (old, new) = (&receipt.checkpoint, &more.checkpoint);
    verify_consistency(old.size, old.root, new.size, new.root, &proof).unwrap();
    let mut seen = 0;
    ledger
        .scan(0..u64::MAX, &mut |record| {
            assert_eq!(record.index.0, seen);
            seen += 1;
            ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(seen, 703);
    let verifier = ledger.verifier().clone();
    ledger.close();
    let reader = Ledger::open_read_only(store, &verifier).unwrap();
    assert_eq!(reader.size(), TreeSize(703));
    assert_eq!(reader.signed_checkpoint().unwrap().size, TreeSize(703));
}

/// Whoever derives something of the newest records gets them from memory; whoever checks what is stored
/// does not.
#[test]
fn contents_of_the_newest_records_are_not_read_back() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let ledger = create(&store, 65_536);
    let mut source = Source::new(7, 1);
    let sent: Vec<_> = (0..3)
        .flat_map(|_| {
            let submission = source.events(50, 100);
            ledger.append_blocking(submission.clone()).unwrap();
            submission.records
        })
        .collect();
    for segment in store.list("segments/", None).unwrap() {
        store.retire(&segment).unwrap();
    }
    for range in [0..u64::MAX, 49..51, 149..150, 150..151] {
        let mut next = usize::try_from(range.start).unwrap();
        ledger
            .contents(range.clone(), &mut |content| {
                assert_eq!(content.index.0, next as u64);
                assert_eq!(content.header.encode(), sent[next].header);
                assert_eq!(content.payload.as_ref(), Some(&sent[next].payload));
                next += 1;
                ControlFlow::Continue(())
            })
            .unwrap();
        assert_eq!(next as u64, range.end.min(sent.len() as u64).max(range.start));
    }
    ledger.scan(0..1, &mut |_| ControlFlow::Continue(())).unwrap_err();
}
