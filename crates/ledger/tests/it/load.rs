//! Many appends at once on a real disk, with packs made and records read meanwhile.

use std::sync::Arc;
use std::time::Duration;

use stele_ledger::{Ledger, LedgerOptions, fsck};
use stele_merkle::{LeafIndex, verify_inclusion};
use stele_record::Kind;
use stele_store::{DiskStore, ManualClock, Store, UnixNanos};

use crate::common::{Source, clock, create, key, open, options, wait_for_packs};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn appends_packs_and_reads_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let store: Arc<dyn Store> = Arc::new(DiskStore::open(directory.path()).unwrap());
    let ledger = create(&store, 512);
    let mut sizes = ledger.subscribe();
    let tasks: Vec<_> = (1..9)
        .map(|seed| {
            let ledger = ledger.clone();
            tokio::spawn(async move {
                let mut source = Source::new(seed, 1);
                for _ in 0..20 {
                    let receipt = ledger.append(source.events(16, 200)).await.unwrap();
                    let proofs = ledger.proofs_for(&receipt).unwrap();
                    let checkpoint = &receipt.checkpoint;
                    for (index, proof) in receipt.indices().zip(&proofs) {
                        let leaf = ledger.read(index).unwrap().leaf_hash;
                        let (size, root) = (checkpoint.size, checkpoint.root);
                        verify_inclusion(leaf, index, size, proof, root).unwrap();
                    }
                    ledger.read(LeafIndex(receipt.first_index.0 / 2)).unwrap();
                }
                source
            })
        })
        .collect();
    for task in tasks {
        let source = task.await.unwrap();
        assert_eq!(ledger.source_head(&source.id).unwrap().chain_head, source.head);
    }
    assert_eq!(sizes.borrow_and_update().0, 8 * 20 * 16);
    wait_for_packs(&*store, 5);
    let verifier = ledger.verifier().clone();
    tokio::task::spawn_blocking(move || drop(ledger)).await.unwrap();
    let report = fsck(&*store, &verifier, &mut |_| {});
    assert_eq!(report.problems, []);
    assert_eq!((report.records, report.packs), (2560, 5));
    assert_eq!(report.segments, 0);
    let reader = Ledger::open_read_only(Arc::clone(&store), &verifier).unwrap();
    assert_eq!(reader.size().0, 2560);
    drop(open(&store, 512));
}

#[test]
fn a_reader_of_a_live_directory_follows_records_into_packs() {
    let directory = tempfile::tempdir().unwrap();
    let store: Arc<dyn Store> = Arc::new(DiskStore::open(directory.path()).unwrap());
    let ledger = create(&store, 256);
    let mut source = Source::new(1, 1);
    ledger.append_blocking(source.events(100, 20)).unwrap();
    ledger.append_blocking(source.events(100, 20)).unwrap();
    let readable: Arc<dyn Store> = Arc::new(DiskStore::open_read_only(directory.path()).unwrap());
    let reader = Ledger::open_read_only(readable, ledger.verifier()).unwrap();
    assert_eq!(reader.size().0, 200);
    ledger.append_blocking(source.events(400, 20)).unwrap();
    wait_for_packs(&*store, 2);
    for _ in 0..2000 {
        if store.list("segments/", None).unwrap().len() <= 1 {
            break;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    for index in [0, 99, 100, 199] {
        assert_eq!(reader.read(LeafIndex(index)).unwrap().header.seq.0, index);
    }
}

#[test]
fn the_ledger_records_its_own_checkpoints() {
    let store: Arc<dyn Store> = Arc::new(stele_store::MemoryStore::new());
    let time = Arc::new(ManualClock::new(UnixNanos(1_700_000_000_000_000_000)));
    let every = Duration::from_secs(10);
    let options = LedgerOptions { checkpoint_record_pause: every, ..options(256) };
    let ledger =
        Ledger::create(Arc::clone(&store), &key(), Arc::clone(&time) as _, options.clone())
            .unwrap();
    let mut source = Source::new(1, 1);
    ledger.append_blocking(source.events(3, 10)).unwrap();
    assert_eq!(ledger.size().0, 3);
    time.advance(every);
    let receipt = ledger.append_blocking(source.events(1, 10)).unwrap();
    assert_eq!((receipt.first_index.0, ledger.size().0), (3, 7));
    let kinds: Vec<Kind> =
        (4..7).map(|index| ledger.read(LeafIndex(index)).unwrap().header.kind).collect();
    assert_eq!(kinds, [Kind::SOURCE_OPEN, Kind::CHECKPOINT, Kind::SEAL]);
    let note = ledger.read(LeafIndex(5)).unwrap();
    assert_eq!(note.header.source, ledger.own_source());
    assert_eq!(ledger.verifier().open(&note.payload.unwrap()).unwrap().size.0, 3);
    ledger.append_blocking(source.events(1, 10)).unwrap();
    assert_eq!(ledger.size().0, 8);
    time.advance(every);
    ledger.append_blocking(source.events(1, 10)).unwrap();
    assert_eq!(ledger.size().0, 11);
    drop(ledger);
    // A new boot of the own source, in packs too.
    let ledger = Ledger::open(Arc::clone(&store), &key(), clock(), options).unwrap();
    ledger.append_blocking(source.events(300, 10)).unwrap();
    wait_for_packs(&*store, 1);
    let verifier = ledger.verifier().clone();
    drop(ledger);
    let report = fsck(&*store, &verifier, &mut |_| {});
    assert_eq!(report.problems, []);
    assert_eq!((report.checkpoints, report.seals), (3, 2));
}
