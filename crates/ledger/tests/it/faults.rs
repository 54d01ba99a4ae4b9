//! Stores that fail, and sources that do: what is acknowledged is there, what is not is wholly
//! there or wholly absent, and a repeat settles which.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use stele_ledger::{AppendError, Ledger, LedgerError, LedgerOptions};
use stele_merkle::{LeafIndex, TreeSize};
use stele_record::{Boot, EpochSecret, Kind};
use stele_store::{MemoryStore, ObjectName, Put, Store, StoreError};

use crate::common::{
    Change, HookedStore, Source, clock, create, fatal, io, key, memory, open, options,
    wait_for_packs,
};

/// What happens to the next create of a segment.
#[derive(Clone, Copy, PartialEq)]
#[repr(u8)]
enum Fault {
    None,
    ErrorBefore,
    ErrorAfter,
    FullOnce,
    FatalBefore,
    FatalAfter,
    Foreign,
    ErrorForEver,
    FullForEver,
}

const FAULTS: [Fault; 9] = [
    Fault::None,
    Fault::ErrorBefore,
    Fault::ErrorAfter,
    Fault::FullOnce,
    Fault::FatalBefore,
    Fault::FatalAfter,
    Fault::Foreign,
    Fault::ErrorForEver,
    Fault::FullForEver,
];

#[derive(Default)]
struct Faults {
    next: AtomicU8,
    /// Held by a test to keep a write in flight.
    gate: Mutex<()>,
    /// Segments that were to be written.
    puts: AtomicU32,
}

impl Faults {
    fn fail_next(&self, fault: Fault) {
        self.next.store(fault as u8, Ordering::SeqCst);
    }

    fn make(&self, store: &dyn Store, change: &Change<'_>) -> Result<Put, StoreError> {
        let Change::Create(..) = change else { return change.make(store) };
        let _gate = self.gate.lock().unwrap();
        let Some((name, _)) = change.created_in("segments") else { return change.make(store) };
        self.puts.fetch_add(1, Ordering::SeqCst);
        let fault = FAULTS[usize::from(self.next.load(Ordering::SeqCst))];
        if !matches!(fault, Fault::ErrorForEver | Fault::FullForEver) {
            self.fail_next(Fault::None);
        }
        match fault {
            Fault::None => change.make(store),
            Fault::ErrorBefore | Fault::ErrorForEver => Err(io()),
            Fault::ErrorAfter => change.make(store).and(Err(io())),
            Fault::FullOnce | Fault::FullForEver => Err(StoreError::Full),
            Fault::FatalBefore => Err(fatal()),
            Fault::FatalAfter => change.make(store).and(Err(fatal())),
            Fault::Foreign => {
                store.put_new(name, &[b"somebody else's"])?;
                change.make(store)
            }
        }
    }
}

fn faulty() -> (Arc<Faults>, Arc<dyn Store>) {
    let faults = Arc::new(Faults::default());
    let hook = Arc::clone(&faults);
    let store = HookedStore::shared(&memory(), move |store, change| hook.make(store, change));
    (faults, store)
}

#[test]
fn passing_faults_are_settled_by_reading_back() {
    for fault in [Fault::ErrorBefore, Fault::ErrorAfter, Fault::FullOnce] {
        let (faults, store) = faulty();
        let ledger = create(&store, 65_536);
        let mut source = Source::new(1, 1);
        ledger.append_blocking(source.events(2, 10)).unwrap();
        faults.fail_next(fault);
        let receipt = ledger.append_blocking(source.events(3, 10)).unwrap();
        assert_eq!(receipt.first_index, LeafIndex(2));
        let receipt = ledger.append_blocking(source.events(1, 10)).unwrap();
        assert_eq!(receipt.first_index, LeafIndex(5));
        drop(ledger);
        assert_eq!(open(&store, 65_536).size(), TreeSize(6));
    }
}

#[test]
fn lasting_faults_stop_the_ledger_and_a_repeat_after_restart_settles() {
    let cases = [(Fault::FatalBefore, 2), (Fault::FatalAfter, 5), (Fault::ErrorForEver, 2)];
    for (fault, size) in cases {
        let (faults, store) = faulty();
        let ledger = create(&store, 65_536);
        let mut source = Source::new(1, 1);
        let first = ledger.append_blocking(source.events(2, 10)).unwrap();
        faults.fail_next(fault);
        let batch = source.events(3, 10);
        let refused = ledger.append_blocking(batch.clone());
        assert!(matches!(refused, Err(AppendError::Stopped(_))), "{refused:?}");
        let refused = ledger.append_blocking(batch.clone());
        assert!(matches!(refused, Err(AppendError::Stopped(_))));
        assert!(ledger.stopped().is_some());
        assert_eq!(ledger.read(LeafIndex(1)).unwrap().index, LeafIndex(1));
        assert_eq!(ledger.checkpoint().note, first.checkpoint.note);
        drop(ledger);
        faults.fail_next(Fault::None);
        let ledger = open(&store, 65_536);
        assert_eq!(ledger.size(), TreeSize(size));
        let receipt = ledger.append_blocking(batch).unwrap();
        assert_eq!((receipt.first_index, receipt.count), (LeafIndex(2), 3));
        assert_eq!(ledger.size(), TreeSize(5));
    }
}

#[test]
fn a_ledger_without_space_waits_and_can_still_be_closed() {
    let (faults, store) = faulty();
    let ledger = create(&store, 65_536);
    let mut source = Source::new(1, 1);
    faults.fail_next(Fault::FullForEver);
    let batch = source.events(3, 10);
    std::thread::scope(|scope| {
        let puts = faults.puts.load(Ordering::SeqCst);
        let waiting = scope.spawn(|| ledger.append_blocking(batch.clone()));
        while faults.puts.load(Ordering::SeqCst) == puts {
            std::thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(ledger.stopped(), None);
        ledger.close();
        let refused = waiting.join().unwrap();
        assert!(matches!(refused, Err(AppendError::Stopped(why)) if why.contains("no space")));
    });
}

#[test]
fn a_foreign_segment_stops_the_ledger() {
    let (faults, store) = faulty();
    let ledger = create(&store, 65_536);
    let mut source = Source::new(1, 1);
    faults.fail_next(Fault::Foreign);
    let refused = ledger.append_blocking(source.events(3, 10));
    let Err(AppendError::Stopped(why)) = refused else { panic!("{refused:?}") };
    assert!(why.contains("segments/00000000000000000000"), "{why}");
    assert!(why.contains("shorter than its prefix"), "{why}");
}

#[test]
fn what_arrives_during_a_write_goes_into_one_segment() {
    let (faults, store) = faulty();
    let ledger = create(&store, 65_536);
    let gate = faults.gate.lock().unwrap();
    let mut sources: Vec<Source> = (1..21).map(|seed| Source::new(seed, 1)).collect();
    std::thread::scope(|scope| {
        let appends: Vec<_> = sources
            .iter_mut()
            .map(|source| {
                let ledger = &ledger;
                let submission = source.events(5, 10);
                scope.spawn(move || ledger.append_blocking(submission).unwrap())
            })
            .collect();
        while ledger.queue_bytes_free() > options(256).queue_bytes - 20 * 5 * 256 {
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_millis(50));
        drop(gate);
        let receipts: Vec<_> = appends.into_iter().map(|append| append.join().unwrap()).collect();
        assert_eq!(receipts.iter().map(|r| r.count).sum::<u64>(), 100);
    });
    let segments = store.list("segments/", None).unwrap().len();
    assert!((1..=3).contains(&segments), "{segments} segments");
    assert_eq!(ledger.queue_bytes_free(), options(256).queue_bytes);
}

#[test]
fn a_full_queue_refuses_after_a_while() {
    let (faults, store) = faulty();
    let small = LedgerOptions { queue_bytes: 4096, ..options(256) };
    let ledger = Ledger::create(
        Arc::clone(&store),
        &key(),
        Arc::new(stele_store::SystemClock::new()),
        small,
    )
    .unwrap();
    let mut source = Source::new(1, 1);
    let too_large = ledger.append_blocking(source.events(20, 10));
    assert!(matches!(too_large, Err(AppendError::TooLarge { limit: 4096 })));
    let mut source = Source::new(1, 1);
    let gate = faults.gate.lock().unwrap();
    std::thread::scope(|scope| {
        let first = source.events(8, 10);
        let waiting = scope.spawn(|| ledger.append_blocking(first).unwrap());
        while ledger.queue_bytes_free() > 2048 {
            std::thread::sleep(Duration::from_millis(1));
        }
        let next = source.events(8, 10);
        let refused = ledger.append_blocking(next.clone());
        assert!(matches!(refused, Err(AppendError::Overloaded)));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let refused = runtime.block_on(ledger.append(next.clone()));
        assert!(matches!(refused, Err(AppendError::Overloaded)));
        drop(gate);
        assert_eq!(waiting.join().unwrap().count, 8);
        assert_eq!(runtime.block_on(ledger.append(next)).unwrap().first_index, LeafIndex(8));
    });
}

#[test]
fn bad_submissions_are_refused_whole() {
    let (_, store) = faulty();
    let ledger = create(&store, 65_536);
    let mut source = Source::new(1, 1);
    ledger.append_blocking(source.events(2, 10)).unwrap();
    let good = source.events(3, 10);
    let refuse = |change: &dyn Fn(&mut stele_record::Submission)| {
        let mut bad = good.clone();
        change(&mut bad);
        ledger.append_blocking(bad).unwrap_err()
    };
    let error = refuse(&|s| s.records[1].payload = Bytes::from_static(b"0123456789"));
    assert!(matches!(error, AppendError::CommitmentMismatch { record: 1 }), "{error}");
    let error = refuse(&|s| s.records[2].payload = Bytes::new());
    assert!(matches!(error, AppendError::Invalid { record: 2, .. }), "{error}");
    let error = refuse(&|s| s.records[0].header = Bytes::from_static(b"\xa0"));
    assert!(matches!(error, AppendError::Invalid { record: 0, .. }), "{error}");
    let error = refuse(&|s| s.records.clear());
    assert!(matches!(error, AppendError::Invalid { .. }), "{error}");
    let error = refuse(&|s| s.records.swap(0, 1));
    assert!(matches!(error, AppendError::Invalid { record: 1, .. }), "{error}");
    let error = refuse(&|s| s.epoch.0 += 1);
    assert!(matches!(error, AppendError::Invalid { record: 0, .. }), "{error}");
    let error = refuse(&|s| drop(s.records.remove(0)));
    let AppendError::SequenceHole { expected, got } = error else { panic!("{error}") };
    assert_eq!((expected.0, got.0), (2, 3));
    assert_eq!(ledger.size(), TreeSize(2));
    ledger.append_blocking(good).unwrap();

    // Another record under a number that is taken: the source contradicts itself.
    let mut liar = Source::new(1, 1);
    let record = liar.record(Kind::EVENT, &b"another story"[..]);
    let error = ledger.append_blocking(liar.submission(vec![record])).unwrap_err();
    assert!(matches!(error, AppendError::Contradiction { index: LeafIndex(0), .. }), "{error}");
    let mut old = Source::new(1, 0);
    ledger.append_blocking(old.events(1, 1)).unwrap_err();
    assert_eq!(ledger.size(), TreeSize(5));
}

#[test]
fn opening_checks_what_it_opens() {
    let (_, store) = faulty();
    let opened =
        |key: &stele_ledger::LogKey| Ledger::open(Arc::clone(&store), key, clock(), options(256));
    assert!(matches!(opened(&key()), Err(LedgerError::NotALedger)));
    let ledger = create(&store, 256);
    drop(ledger);
    let again = Ledger::create(Arc::clone(&store), &key(), clock(), options(256));
    assert!(matches!(again, Err(LedgerError::AlreadyExists)));
    let other = stele_ledger::LogKey::from_seeds("example.org/test", [9; 32], [2; 32]).unwrap();
    assert!(matches!(opened(&other), Err(LedgerError::WrongKey { .. })));
    let bad = Ledger::open(Arc::clone(&store), &key(), clock(), options(100));
    assert!(matches!(bad, Err(LedgerError::Option { option: "pack_records", .. })));
    drop(opened(&key()).unwrap());
}

#[test]
fn lost_records_are_noticed_by_the_signed_checkpoint() {
    let store = memory();
    let ledger = create(&store, 65_536);
    let mut source = Source::new(1, 1);
    for _ in 0..3 {
        ledger.append_blocking(source.events(2, 10)).unwrap();
    }
    drop(ledger);
    let last = store.list("segments/", None).unwrap().pop().unwrap();
    store.retire(&last).unwrap();
    let refused = Ledger::open(store, &key(), clock(), options(256));
    let Err(LedgerError::Corrupt { what, .. }) = refused else { panic!() };
    assert!(what.contains("6 records were signed, only 4 are here"), "{what}");
}

/// A source that makes records under another secret than its first submissions came with.
fn with_secret(source: &Source, secret: u8, payload: &'static [u8]) -> stele_record::Submission {
    let secret = EpochSecret::from_bytes([secret; 32]);
    let header = stele_record::Header {
        source: source.id,
        boot: source.boot,
        seq: source.seq,
        epoch: source.epoch,
        kind: Kind::EVENT,
        event_time: None,
        observed_time: stele_record::ObservedTime::from_unix_ns(1),
        origin_counter: None,
        payload_len: payload.len() as u64,
        payload_type: stele_record::PayloadType::BYTES,
        commitment: stele_record::Commitment::new(&secret.salt(source.boot, source.seq), payload),
    };
    let header = header.encode().into();
    let record = stele_record::SubmittedRecord { header, payload: Bytes::from_static(payload) };
    stele_record::Submission { epoch: source.epoch, secret, records: vec![record] }
}

#[test]
fn an_epoch_has_one_secret_or_its_records_could_not_be_read_again() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let ledger = create(&store, 256);
    let mut source = Source::new(1, 1);
    ledger.append_blocking(source.events(3, 20)).unwrap();
    let refused = |ledger: &Ledger, source: &Source| {
        let error = ledger.append_blocking(with_secret(source, 77, b"x")).unwrap_err();
        assert!(matches!(error, AppendError::Invalid { .. }), "{error}");
    };
    refused(&ledger, &source);
    drop(ledger);
    let ledger = open(&store, 256);
    refused(&ledger, &source);
    ledger.append_blocking(source.events(300, 20)).unwrap();
    wait_for_packs(&*store, 1);
    drop(ledger);
    let ledger = open(&store, 256);
    refused(&ledger, &source);
    let mut read = 0;
    ledger
        .scan(0..u64::MAX, &mut |_| {
            read += 1;
            std::ops::ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(read, 303);
}

#[test]
fn two_secrets_of_one_epoch_in_one_segment_are_refused_too() {
    let (faults, store) = faulty();
    let ledger = create(&store, 65_536);
    let gate = faults.gate.lock().unwrap();
    let waiting = |submission| {
        let ledger = ledger.clone();
        let handle = std::thread::spawn(move || ledger.append_blocking(submission));
        std::thread::sleep(Duration::from_millis(100));
        handle
    };
    // The first one is being written while the two others gather.
    let first = waiting(Source::new(9, 1).events(1, 10));
    let mut source = Source::new(1, 1);
    let honest = waiting(source.events(1, 10));
    let poisoned = waiting(with_secret(&source, 77, b"x"));
    drop(gate);
    first.join().unwrap().unwrap();
    honest.join().unwrap().unwrap();
    assert!(matches!(poisoned.join().unwrap(), Err(AppendError::Invalid { .. })));
    (0..2).for_each(|index| drop(ledger.read(LeafIndex(index)).unwrap()));
}

#[test]
fn nobody_else_writes_as_the_ledger() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let options = LedgerOptions { checkpoint_record_pause: Duration::ZERO, ..options(65_536) };
    let ledger = Ledger::create(store, &key(), clock(), options).unwrap();
    let mut source = Source::new(1, 1);
    ledger.append_blocking(source.events(1, 10)).unwrap();
    let head = ledger.source_head(&ledger.own_source()).unwrap();
    let mut foreign = Source::new(2, 1);
    foreign.id = ledger.own_source();
    for (boot, seq) in [(head.boot, head.next_seq), (Boot(i64::MAX as u64), stele_record::Seq(0))] {
        (foreign.boot, foreign.seq) = (boot, seq);
        let error = ledger.append_blocking(foreign.events(1, 10)).unwrap_err();
        assert!(matches!(error, AppendError::Invalid { .. }), "{error}");
    }
    ledger.append_blocking(source.events(1, 10)).unwrap();
    assert_eq!(ledger.stopped(), None);
}

#[test]
fn there_is_always_a_later_boot() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let ledger = create(&store, 65_536);
    let error = ledger.append_blocking(Source::new(1, u64::MAX).events(1, 10)).unwrap_err();
    assert!(matches!(error, AppendError::Invalid { .. }), "{error}");
    ledger.append_blocking(Source::new(1, 5).events(1, 10)).unwrap();
}

fn copy(from: &dyn Store) -> Arc<dyn Store> {
    let store = MemoryStore::new();
    for name in from.list("", None).unwrap() {
        store.put_new(&name, &[&from.read(&name).unwrap()]).unwrap();
    }
    let hint = ObjectName::parse("checkpoint").unwrap();
    store.put_hint(&hint, &from.read_hint(&hint).unwrap().unwrap()).unwrap();
    Arc::new(store)
}

#[test]
fn a_pack_that_is_written_wrongly_costs_nothing() {
    let done = AtomicBool::new(false);
    let store =
        HookedStore::shared(&memory(), move |store, change| match change.created_in("packs") {
            Some((name, parts)) if !done.swap(true, Ordering::SeqCst) => {
                let mut bytes = parts.concat();
                *bytes.last_mut().unwrap() ^= 1;
                store.put_new(name, &[&bytes])
            }
            _ => change.make(store),
        });
    let ledger = create(&store, 256);
    let mut source = Source::new(1, 1);
    ledger.append_blocking(source.events(300, 20)).unwrap();
    wait_for_packs(&*store, 1);
    for _ in 0..3 {
        ledger.append_blocking(source.events(300, 20)).unwrap();
    }
    ledger.close();
    // Another process may have read it correctly and rely on it: it stays, and so do the segments.
    assert_eq!(store.list("packs/", None).unwrap().len(), 1);
    assert_eq!(store.list("segments/", None).unwrap().len(), 4);
    let ledger = open(&store, 256);
    for index in 0..ledger.size().0 {
        ledger.read(LeafIndex(index)).unwrap();
    }
    ledger.close();
    let report = stele_ledger::fsck(&*store, ledger.verifier(), &mut |_| {});
    let damaged = ObjectName::numbered("packs", 0).unwrap();
    assert!(!report.problems.is_empty());
    assert!(report.problems.iter().all(|problem| problem.object == damaged.as_str()));
    // Once its owner has removed it, packing goes on.
    store.retire(&damaged).unwrap();
    let ledger = open(&store, 256);
    ledger.append_blocking(source.events(300, 20)).unwrap();
    wait_for_packs(&*store, 5);
    ledger.close();
    let report = stele_ledger::fsck(&*store, ledger.verifier(), &mut |_| {});
    assert_eq!(report.problems, []);
    let segments = store.list("segments/", None).unwrap();
    assert!(segments.len() <= 2, "{segments:?}");
}

#[test]
fn segments_left_behind_by_a_crash_are_retired_by_the_next_opening() {
    let store = HookedStore::shared(&memory(), |store, change| match change {
        Change::Retire(_) => Ok(Put::Created),
        _ => change.make(store),
    });
    let ledger = create(&store, 256);
    let mut source = Source::new(1, 1);
    (0..6).for_each(|_| drop(ledger.append_blocking(source.events(50, 20)).unwrap()));
    wait_for_packs(&*store, 1);
    ledger.close();
    let after = copy(&*store);
    assert_eq!(after.list("segments/", None).unwrap().len(), 6);
    // Whoever made the pack may have died before its name was durable: that comes first.
    let pack = ObjectName::numbered("packs", 0).unwrap();
    let (is_durable, name) = (AtomicBool::new(false), pack.clone());
    let watched = HookedStore::shared(&after, move |store, change| {
        match change {
            Change::MakeDurable(object) if **object == name => {
                is_durable.store(true, Ordering::SeqCst);
            }
            Change::Retire(_) => assert!(is_durable.load(Ordering::SeqCst)),
            _ => {}
        }
        change.make(store)
    });
    let ledger = open(&watched, 256);
    assert_eq!(after.list("segments/", None).unwrap().len(), 1);
    assert_eq!(ledger.read(LeafIndex(299)).unwrap().index, LeafIndex(299));
    ledger.append_blocking(source.events(50, 20)).unwrap();
}

#[test]
fn ledger_times_never_run_backwards_whatever_the_clock_does() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let clock = clock();
    let now = stele_store::Clock::now(&*clock);
    let ledger = Ledger::create(Arc::clone(&store), &key(), clock.clone(), options(256)).unwrap();
    let mut source = Source::new(1, 1);
    let first = ledger.append_blocking(source.events(1, 10)).unwrap().checkpoint.time;
    clock.set(stele_store::UnixNanos(now.0 - 3_600_000_000_000));
    let second = ledger.append_blocking(source.events(1, 10)).unwrap().checkpoint.time;
    ledger.close();
    let ledger = Ledger::open(Arc::clone(&store), &key(), clock, options(256)).unwrap();
    let third = ledger.checkpoint().time;
    let fourth = ledger.append_blocking(source.events(1, 10)).unwrap().checkpoint.time;
    assert!(first <= second && second <= third && third <= fourth);
    let times = [0, 1, 2].map(|index| ledger.read(LeafIndex(index)).unwrap().ledger_time);
    assert!(times.is_sorted());
    let signed = ledger.verifier().open_signed(ledger.checkpoint().note.as_bytes()).unwrap();
    assert_eq!(signed.time(), Some(stele_store::UnixNanos(fourth.unix_ns()).unix_seconds()));
}

#[test]
fn a_key_is_replaced_for_good_or_not_at_all() {
    let new = stele_ledger::LogKey::from_seeds("example.org/test", [3; 32], [4; 32]).unwrap();
    let keys = [key(), new.clone()].map(|key| key.signer().unwrap().verifier());
    for fault in [Fault::ErrorBefore, Fault::ErrorAfter, Fault::FatalBefore, Fault::FatalAfter] {
        let (faults, store) = faulty();
        drop(create(&store, 256));
        faults.fail_next(fault);
        let rotate = || Ledger::rotate_key(Arc::clone(&store), &key(), &new, clock(), options(256));
        let fatal = matches!(fault, Fault::FatalBefore | Fault::FatalAfter);
        let rotated = rotate();
        assert_eq!(rotated.is_err(), fatal, "{} {rotated:?}", fault as u8);
        if !fatal {
            // The hand-over is signed by both, whatever it took.
            let reader = Ledger::open_read_only(Arc::clone(&store), &keys[0]).unwrap();
            let note = reader.signed_checkpoint().unwrap().note.clone();
            keys.iter().for_each(|known| drop(known.open(note.as_bytes()).unwrap()));
        }
        assert_eq!(rotate().unwrap(), LeafIndex(1));
        let opened = Ledger::open(Arc::clone(&store), &new, clock(), options(256));
        assert_eq!(opened.unwrap().rotations().unwrap().len(), 1);
    }
}
